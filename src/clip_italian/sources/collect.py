"""Collect the files of a source into one pairs file: read each, then merge rows with the same id.

A source is a function from one input file to pairs and rejects. Merged pairs have the captions of all their rows.
DuckDB sorts the rows, on disk if they do not fit into memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from clip_italian import console, pairs
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.pairs import Pair
from clip_italian.pipeline import parts
from clip_italian.pipeline.database import database
from clip_italian.pipeline.rejects import Reject, by_reason, rejects_path, write_rejects
from clip_italian.pipeline.stage import PAIRS_FILE, REJECTS_FILE, Summary

# Returns the pairs and rejects of one input file in order. `image` is a URL or an absolute path. Runs in a worker
# process.
Read = Callable[[Path], Iterator[Pair | Reject]]


def collect(
    source: str, read: Read, settings: dict[str, Any], inputs: Sequence[Path], output: Path,
    workers: int = 1, ray: str | None = None,
) -> Summary:  # fmt: skip
    """Read `inputs` with `read`; write the pairs file `output` and its rejects file.

    Pairs are in the order of their first rows. A killed run resumes with the input files that were not finished.
    Raises UserError if an input is missing or no input has any pair.
    """
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give what the source {source!r} is read from")
        pairs.refuse_overwrite(path, output)
    job = {"source": source, "settings": settings, "inputs": [parts.file_identity(path) for path in inputs]}
    with parts.workspace(output, job) as folder:
        work = partial(_read_part, read=read, inputs=[path.resolve() for path in inputs])
        with console.progress(source, len(inputs)) as advance:
            parts.make_parts(work, len(inputs), folder, workers, ray, advance)
        folders = [parts.part_folder(folder, number) for number in range(len(inputs))]
        with staged(rejects_path(output)) as temporary, temporary.open("wb") as together:
            for part in folders:
                with (part / REJECTS_FILE).open("rb") as lines:
                    together.writelines(lines)
        with staged(output) as temporary:
            with pairs.Writer(temporary) as writer:
                found = merged([part / PAIRS_FILE for part in folders], folder)
                while some := list(islice(found, 1_000)):
                    writer.write_batch(pairs.relocated(pairs.to_batch(some), output.parent, output.parent))
            rejected = by_reason(rejects_path(output))
            if not writer.rows:
                reasons = ", ".join(f"{reason} {count}" for reason, count in rejected.items())
                raise UserError(f"{inputs[0]}: no pairs found{f'; rejected: {reasons}' if reasons else ''}")
        return Summary(writer.rows + sum(rejected.values()), writer.rows, rejected)


def merged(files: Sequence[Path], spill: Path) -> Iterator[Pair]:
    """Pairs of Parquet files, merged by id: captions in order, each once.

    Data that does not fit into memory goes to files in the folder `spill`.
    """
    with database(spill) as base:
        rows = base.sql(
            "SELECT * EXCLUDE (place, first) FROM (SELECT *, min(place) OVER (PARTITION BY id) AS first FROM ("
            f"SELECT {', '.join(pairs.SCHEMA.names)}, (file_index, file_row_number) AS place"
            " FROM read_parquet(?, file_row_number = true)))"
            " ORDER BY first, place",
            params=[[str(path) for path in files]],
        )
        reader: pa.RecordBatchReader = rows.to_arrow_reader(1_000)
        read = (pair for batch in reader for pair in pairs.from_batch(batch))
        for _, same in groupby(read, key=lambda pair: pair.id):
            yield _join(list(same))


def _join(rows: Sequence[Pair]) -> Pair:
    if len(rows) == 1:
        return rows[0]
    captions: dict[str, str | None] = {}
    for row in rows:
        originals = row.captions_original or (None,) * len(row.captions)
        for caption, original in zip(row.captions, originals, strict=False):
            captions.setdefault(caption, original)
    whole = tuple(original for original in captions.values() if original is not None)
    return replace(rows[0], captions=tuple(captions), captions_original=whole if len(whole) == len(captions) else None)


def _read_part(number: int, folder: Path, read: Read, inputs: Sequence[Path]) -> None:
    folder.mkdir()
    with pairs.Writer(folder / PAIRS_FILE) as writer:

        def rejects() -> Iterator[Reject]:
            for found in read(inputs[number]):
                if isinstance(found, Reject):
                    yield found
                else:
                    writer.write(found)

        write_rejects(rejects(), folder / REJECTS_FILE)
