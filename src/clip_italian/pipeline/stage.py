"""Run a stage over a pairs file: kept pairs to the output, the others to its rejects file.

A stage is a function over Arrow record batches and knows nothing of files, processes or clusters. Each worker
holds one part (10,000 rows) in memory, however long the input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import console, pairs
from clip_italian.files.atomic import staged
from clip_italian.pipeline import parts
from clip_italian.pipeline.rejects import Reject, by_reason, rejects_path, write_rejects

# Returns the kept rows (with `pairs.SCHEMA`) and the rejects.
Stage = Callable[[pa.RecordBatch], tuple[pa.RecordBatch, Sequence[Reject]]]
PAIRS_FILE = "pairs.parquet"
REJECTS_FILE = "rejects.jsonl"


@dataclass(frozen=True)
class Summary:
    """Number of rows before and after a stage, and of rejects by reason."""

    before: int
    after: int
    rejected: dict[str, int]


def run_stage(
    name: str, stage: Stage, settings: dict[str, Any], source: Path, output: Path, workers: int, ray: str | None = None
) -> Summary:
    """Apply `stage` to all rows of the pairs file `source`; write `output` and its rejects file.

    `settings` (JSON data) holds what the stage depends on: a killed run resumes only if they are unchanged.
    Raises UserError for an input that cannot be read.
    """
    pairs.refuse_overwrite(source, output)
    job = {"stage": name, "settings": settings, "input": parts.file_identity(pairs.require_file(source))}
    with parts.workspace(output, job) as folder:
        divided = with_small_row_groups(source, folder)
        file = pq.ParquetFile(divided)
        count, rows = file.num_row_groups, file.metadata.num_rows
        with console.progress(name, count) as advance:
            parts.make_parts(partial(_run_part, stage=stage, source=divided), count, folder, workers, ray, advance)
        return Summary(rows, _join(folder, count, source, output), by_reason(rejects_path(output)))


def with_small_row_groups(source: Path, folder: Path) -> Path:
    """Parquet file with the rows of `source`, a part per row group: `source` itself or a copy in `folder`."""
    if source.suffix != ".jsonl" and pairs.has_small_row_groups(source):
        return source.resolve()
    copy = folder / "input.parquet"
    if not copy.is_file():
        with staged(copy) as temporary, pairs.Writer(temporary) as writer:
            for batch in pairs.batches(source):
                writer.write_batch(batch)
    return copy


def _run_part(number: int, folder: Path, stage: Stage, source: Path) -> None:
    table = pq.ParquetFile(source).read_row_group(number, use_threads=False).combine_chunks()
    kept, rejects = stage(pairs.as_batch(table))
    folder.mkdir()
    pq.write_table(pa.Table.from_batches([kept], schema=pairs.SCHEMA), folder / PAIRS_FILE)
    write_rejects(rejects, folder / REJECTS_FILE)


def _join(folder: Path, count: int, source: Path, output: Path) -> int:
    """Concatenate the parts in order into `output` and its rejects file; return the number of rows.

    Relative picture paths are rewritten from the folder of `source` to that of `output`.
    """
    with staged(rejects_path(output)) as temporary, temporary.open("wb") as together:
        for number in range(count):
            together.write((parts.part_folder(folder, number) / REJECTS_FILE).read_bytes())
    with staged(output) as temporary:
        with pairs.Writer(temporary) as writer:
            for number in range(count):
                for batch in pq.ParquetFile(parts.part_folder(folder, number) / PAIRS_FILE).iter_batches():
                    writer.write_batch(pairs.relocated(batch, source.parent, output.parent))
        return writer.rows
