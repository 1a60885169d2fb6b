"""Clean a pairs file: check each row, then remove duplicates across rows.

Memory does not grow with the input, except for a few bytes per picture with a perceptual hash.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from clip_italian import languages, pairs
from clip_italian.clean.duplicates import Verdict, verdicts
from clip_italian.clean.names import tagger
from clip_italian.clean.recipe import CleanRecipe
from clip_italian.clean.stage import Clean, keep_captions
from clip_italian.files.atomic import staged
from clip_italian.languages import Language
from clip_italian.pairs import Pair
from clip_italian.pictures import copies
from clip_italian.pipeline import parts
from clip_italian.pipeline.rejects import Reject, by_reason, read_rejects, rejects_path, write_rejects
from clip_italian.pipeline.stage import Summary, run_stage


def clean(
    source: Path, output: Path, recipe: CleanRecipe, workers: int = 1, ray: str | None = None,
    encoder: Callable[[], copies.Encoder | None] = lambda: None,
) -> Summary:  # fmt: skip
    """Write the pairs of `source` that pass `recipe` to `output`, the others to its rejects file.

    `encoder` is called if the recipe asks for copies to be found by features. A killed run resumes. Raises UserError
    for an input that cannot be read, and if a library or spaCy pipeline that the recipe needs is missing.
    """
    pairs.refuse_overwrite(source, output)
    language = languages.get(recipe.language)
    settings = recipe.model_dump(mode="json")
    if recipe.names is not None:
        # The tagger that "auto" selects decides the result, too.
        settings["tagger"] = tagger(recipe.names.backend, language, recipe.names.pipeline).name
    job = {"stage": "clean", "settings": settings, "input": parts.file_identity(pairs.require_file(source))}
    with parts.workspace(output, job) as folder:
        checked = folder / "checked.parquet"
        if not checked.is_file():
            root = source.resolve().parent
            if ray is None:
                Clean(recipe, root)(_probe(language))  # loads word lists and models once, before the workers are forked
            run_stage("clean", Clean(recipe, root), settings, source, checked, workers, ray)
        duplicates: Iterable[list[Verdict]] = ()
        if recipe.duplicates is not None:
            features = encoder() if recipe.duplicates.copies else None
            duplicates = verdicts(checked, recipe.duplicates, language.function_words, folder, features)
        rows = _write(checked, duplicates, output)
        return Summary(pairs.count(source), rows, by_reason(rejects_path(output)))


def _probe(language: Language) -> pa.RecordBatch:
    return pairs.to_batch([Pair("", "http://", language.example_queries, "")])


def _write(checked: Path, duplicates: Iterable[list[Verdict]], output: Path) -> int:
    """Write the rows of `checked` without `duplicates`, and the rejects of both steps; return the number of rows."""
    with staged(rejects_path(output)) as refused, staged(output) as temporary, pairs.Writer(temporary) as writer:

        def rejects() -> Iterator[Reject]:
            yield from read_rejects(rejects_path(checked))
            yield from _without(checked, duplicates, output, writer)

        write_rejects(rejects(), refused)
    return writer.rows


def _without(
    checked: Path, duplicates: Iterable[list[Verdict]], output: Path, writer: pairs.Writer
) -> Iterator[Reject]:
    """Write the rows without duplicates; yield the rejects."""
    waiting = iter(duplicates)
    found = next(waiting, None)
    start = 0
    for batch in pairs.batches(checked):
        end = start + len(batch)
        touched: dict[int, list[Verdict]] = {}  # by position in the batch
        while found and found[0].row < end:
            touched[found[0].row - start] = found
            found = next(waiting, None)
        kept, rejects = _apply(pairs.relocated(batch, checked.parent, output.parent), touched)
        writer.write_batch(kept)
        yield from rejects
        start = end


def _apply(batch: pa.RecordBatch, touched: Mapping[int, Sequence[Verdict]]) -> tuple[pa.RecordBatch, list[Reject]]:
    """The batch without the duplicates, and the rejects; rows without verdicts never become Python objects."""
    rejects: list[Reject] = []
    changed: list[Pair] = []
    order = {row: row for row in range(len(batch))}
    for row, pair in zip(touched, pairs.from_batch(batch.take(pa.array(touched, pa.int64()))), strict=True):
        positions = {verdict.position for verdict in touched[row]}
        for verdict in touched[row]:
            text = pair.image if verdict.position is None else pair.captions[verdict.position]
            rejects.append(Reject(pair.id, verdict.reason, text, verdict.detail))
        left = [] if None in positions else [i for i in range(len(pair.captions)) if i not in positions]
        kept = keep_captions(pair, left)
        if kept is None:
            del order[row]
        else:
            order[row] = len(batch) + len(changed)
            changed.append(kept)
    together = pa.Table.from_batches([batch, pairs.to_batch(changed)])
    return pairs.as_batch(together.take(pa.array(order.values(), pa.int64()))), rejects
