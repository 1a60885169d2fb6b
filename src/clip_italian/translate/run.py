"""Translate the captions of a pairs file: first what the cache lacks, then the file in one pass from the cache.

The cache is the state: a run that was killed goes on with the texts that are not in it. Memory does
not grow with the input: the list of missing texts is on the disk, and few batches are under way at once.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from clip_italian import console, pairs
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject, by_reason, rejects_path, write_rejects
from clip_italian.pipeline.stage import Summary
from clip_italian.translate.cache import Cache, opened
from clip_italian.translate.engine import Engine


@dataclass(frozen=True)
class Translated(Summary):
    """Rows before and after; how many had their translations already, captions that came back as they were,
    and what was sent to the engine by this run."""

    already: int
    unchanged: int
    texts_sent: int
    characters_sent: int


@dataclass
class _Counts:
    before: int = 0
    already: int = 0
    unchanged: int = 0


def translate(
    source: Path, output: Path, engine: Engine, cache_path: Path, max_characters: int | None = None, again: bool = False
) -> Translated:
    """Write the pairs of `source` with translated captions to `output`; the originals go to `captions_original`.

    Pairs that have `captions_original` pass as they are, or with `again` have those translated anew.
    Raises UserError where the engine must stop or `max_characters` are not enough: what is done by
    then is in the cache, and the same call goes on from there.
    """
    pairs.refuse_overwrite(pairs.require_file(source), output)
    with opened(cache_path, engine.identity) as cache:
        _note_missing(source, engine, cache, again)
        texts, characters = cache.count_missing()
        _tell_estimate(texts, characters, engine, max_characters)
        try:
            with console.progress("translate", texts) as advance:
                for done in _translate_missing(engine, cache, max_characters):
                    advance(done)
        except UserError as error:
            left = f"{cache.count_done()[0]:,} texts translated now, {_pairs_left(source, cache, again):,} pairs left"
            raise UserError(f"{error} ({left})") from error
        sent, characters_sent = cache.count_done()
        if sent < texts:
            raise UserError(
                f"{source}: stopped before --max-characters {max_characters} would be exceeded, "
                f"{_pairs_left(source, cache, again):,} pairs are left; what is done is kept, "
                "the same command with a bigger budget goes on"
            )
        counts = _Counts()
        rows = _write(source, output, cache, again, counts)
        rejected = by_reason(rejects_path(output))
    return Translated(counts.before, rows, rejected, counts.already, counts.unchanged, sent, characters_sent)


def originals(pair: Pair, again: bool) -> tuple[str, ...] | None:
    """The captions to translate; None for a pair that has its translations."""
    if pair.captions_original is None:
        return pair.captions
    return pair.captions_original if again else None


def _note_missing(source: Path, engine: Engine, cache: Cache, again: bool) -> None:
    for batch in pairs.batches(source):
        texts = [text for pair in pairs.from_batch(batch) for text in _texts(pair, again)]
        cache.note_missing({text: engine.characters(text) for text in texts})


def _texts(pair: Pair, again: bool) -> Iterator[str]:
    """What is sent for a pair: captions without white space around them, but for empty ones."""
    return filter(None, (caption.strip() for caption in originals(pair, again) or ()))


def _tell_estimate(texts: int, characters: int, engine: Engine, budget: int | None) -> None:
    if not texts:
        console.notice("every caption is in the cache; nothing is sent")
        return
    quota = engine.quota()
    line = f"to translate: {texts:,} texts, {characters:,} characters"
    line += "" if budget is None else f"; budget: {budget:,}"
    console.notice(line + ("" if quota is None else f"; the account has {quota:,} left"))
    if quota is not None and quota < (characters if budget is None else min(characters, budget)):
        console.notice("the account has less left than that: the run will stop there, and can be gone on with later")


def _translate_missing(engine: Engine, cache: Cache, budget: int | None) -> Iterator[int]:
    """Translate and store what is missing, as far as the budget goes; yields how many texts a batch had."""

    def work(texts: list[str]) -> int:
        # Stored by the thread that got it: an error elsewhere cannot lose what was paid for.
        cache.store(dict(zip(texts, (_stripped(text) for text in engine.translate(texts)), strict=True)))
        return len(texts)

    batches = engine.batches(_within(cache, budget))
    with ThreadPoolExecutor(engine.parallel) as pool:
        under_way: set[Future[int]] = set()
        try:
            for batch in batches:
                under_way.add(pool.submit(work, batch))
                if len(under_way) == engine.parallel:
                    finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in finished)
            finished, under_way = wait(under_way)
            yield from (future.result() for future in finished)
        except BaseException:
            engine.stop()
            raise


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip()


def _within(cache: Cache, budget: int | None) -> Iterator[str]:
    spent = 0
    for text, characters in cache.missing():
        spent += characters
        if budget is not None and spent > budget:
            return
        yield text


def _pairs_left(source: Path, cache: Cache, again: bool) -> int:
    left = 0
    for batch in pairs.batches(source):
        wanted = [list(_texts(pair, again)) for pair in pairs.from_batch(batch)]
        there = cache.get({text for texts in wanted for text in texts})
        left += sum(any(text not in there for text in texts) for texts in wanted)
    return left


def _write(source: Path, output: Path, cache: Cache, again: bool, counts: _Counts) -> int:
    with staged(rejects_path(output)) as refused, staged(output) as temporary, pairs.Writer(temporary) as writer:

        def rejects() -> Iterator[Reject]:
            for batch in pairs.batches(source):
                rows = list(pairs.from_batch(pairs.relocated(batch, source.parent, output.parent)))
                there = cache.get({text for pair in rows for text in _texts(pair, again)})
                for pair in rows:
                    counts.before += 1
                    captions = originals(pair, again)
                    if captions is None:
                        counts.already += 1
                        writer.write(pair)
                        continue
                    kept, why = _choose(pair.id, captions, there)
                    counts.unchanged += sum(original.strip() == caption for original, caption in kept)
                    if kept:
                        writer.write(
                            replace(
                                pair,
                                captions=tuple(caption for _, caption in kept),
                                captions_original=tuple(original for original, _ in kept),
                            )
                        )
                    yield from why

        write_rejects(rejects(), refused)
    return writer.rows


def _choose(
    id_: str, captions: Sequence[str], there: dict[str, str | None]
) -> tuple[list[tuple[str, str]], list[Reject]]:
    """Originals with their translations, and the captions that have none that could be used."""
    kept: list[tuple[str, str]] = []
    rejects: list[Reject] = []
    for caption in captions:
        text = caption.strip()
        translation = there[text] if text else ""
        if translation:
            kept.append((caption, translation))
        else:
            reason = "too-long" if translation is None else "empty-translation" if text else "empty-caption"
            rejects.append(Reject(id_, reason, caption[:1_000]))
    return kept, rejects
