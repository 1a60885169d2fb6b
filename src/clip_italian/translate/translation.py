"""Translate the captions of a pairs file: fill the cache with missing texts, then write the output from the cache.

The cache is the only state: a killed run resumes with the texts that are not in it. Memory does not grow with the
input: the list of missing texts is on disk, and only a few batches are in flight.
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
class TranslationSummary(Summary):
    """Also the number of rows translated before, of captions that equal their original, and of texts sent."""

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
) -> TranslationSummary:
    """Write the pairs of `source` with translated captions to `output`; the originals go to `captions_original`.

    Pairs with `captions_original` are copied unchanged, or translated again from those with `again`. Raises UserError
    if the engine has to stop or `max_characters` is too small; translations up to then are in the cache.
    """
    pairs.refuse_overwrite(pairs.require_file(source), output)
    with opened(cache_path, engine.identity) as cache:
        _note_missing(source, engine, cache, again)
        texts, characters = cache.count_missing()
        _print_estimate(texts, characters, engine, max_characters)
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
                f"{source}: stopped before exceeding --max-characters {max_characters}, "
                f"{_pairs_left(source, cache, again):,} pairs are left; translations are kept: "
                "run the same command with a larger budget to resume"
            )
        counts = _Counts()
        rows = _write(source, output, cache, again, counts)
        rejected = by_reason(rejects_path(output))
    return TranslationSummary(counts.before, rows, rejected, counts.already, counts.unchanged, sent, characters_sent)


def originals(pair: Pair, again: bool) -> tuple[str, ...] | None:
    """The captions to translate; None for a pair that is translated already."""
    if pair.captions_original is None:
        return pair.captions
    return pair.captions_original if again else None


def _note_missing(source: Path, engine: Engine, cache: Cache, again: bool) -> None:
    for batch in pairs.batches(source):
        texts = [text for pair in pairs.from_batch(batch) for text in _texts(pair, again)]
        cache.note_missing({text: engine.characters(text) for text in texts})


def _texts(pair: Pair, again: bool) -> Iterator[str]:
    """Texts to send for a pair: its non-empty captions, stripped."""
    return filter(None, (caption.strip() for caption in originals(pair, again) or ()))


def _print_estimate(texts: int, characters: int, engine: Engine, budget: int | None) -> None:
    if not texts:
        console.notice("every caption is in the cache; nothing is sent")
        return
    quota = engine.quota()
    line = f"to translate: {texts:,} texts, {characters:,} characters"
    line += "" if budget is None else f"; budget: {budget:,}"
    console.notice(line + ("" if quota is None else f"; the account has {quota:,} left"))
    if quota is not None and quota < (characters if budget is None else min(characters, budget)):
        console.notice("the account has less left than that: the run will stop there and can be resumed later")


def _translate_missing(engine: Engine, cache: Cache, budget: int | None) -> Iterator[int]:
    """Translate and store missing texts within the budget; yields the number of texts of each batch."""

    def work(texts: list[str]) -> int:
        # Stored by the thread that received it: an error elsewhere cannot lose paid translations.
        cache.store(dict(zip(texts, (_stripped(text) for text in engine.translate(texts)), strict=True)))
        return len(texts)

    batches = engine.batches(_within(cache, budget))
    with ThreadPoolExecutor(engine.parallel) as pool:
        in_flight: set[Future[int]] = set()
        try:
            for batch in batches:
                in_flight.add(pool.submit(work, batch))
                if len(in_flight) == engine.parallel:
                    finished, in_flight = wait(in_flight, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in finished)
            finished, in_flight = wait(in_flight)
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
    """Originals with their translations, and rejects for captions without a usable one."""
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
