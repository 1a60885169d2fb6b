"""Outcomes of a fetch: DuckDB over the Parquet tables beside the shards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from clip_italian.fetch.shards import finished
from clip_italian.http import RETRYABLE
from clip_italian.pairs.rows import PART_ROWS, SCHEMA
from clip_italian.pipeline.database import count_rows, database
from clip_italian.pipeline.rejects import Reject

FETCHED = "fetched"
# Shards of earlier versions have img2dataset's messages: its own about size, and OpenCV's, which have spaces.
_FAILED = r"""
CREATE TABLE failed AS
WITH named AS (
    SELECT id, source, url, filename AS shard, file_row_number AS place,
        CASE WHEN status = 'success' THEN $fetched
             WHEN error_message = 'image too small' THEN 'too-small'
             WHEN error_message = 'image area too large' THEN 'too-many-pixels'
             WHEN coalesce(error_message, '') = '' OR contains(error_message, ' ') THEN 'unreadable'
             ELSE error_message END AS outcome
    FROM read_parquet($files, filename = true, file_row_number = true)
)
SELECT * FROM named
QUALIFY row_number() OVER (PARTITION BY id ORDER BY shard DESC, place DESC) = 1 AND outcome <> $fetched
"""
_RETRYABLE = " OR ".join(f"starts_with(outcome, '{beginning}')" for beginning in RETRYABLE)


@dataclass(frozen=True)
class Outcomes:
    """The last outcome of every picture: later shards hold the retries."""

    _base: duckdb.DuckDBPyConnection
    _files: Sequence[str]

    def by_source(self) -> dict[str, dict[str, int]]:
        """Number of pictures by source and outcome, the most frequent outcome first."""
        found: dict[str, dict[str, int]] = {}
        rows = "SELECT source, outcome FROM failed"
        if self._files:
            rows += f" UNION ALL SELECT source, '{FETCHED}' FROM read_parquet($files) WHERE status = 'success'"
        counts = self._base.sql(
            f"SELECT source, outcome, count(*) AS pictures FROM ({rows}) GROUP BY ALL ORDER BY pictures DESC, outcome",
            params={"files": self._files} if self._files else {},
        )
        for source, outcome, count in counts.fetchall():
            found.setdefault(source, {})[outcome] = count
        return found

    def failed(self) -> Iterator[Reject]:
        """The pictures that failed, in the order of the shards."""
        rows = self._base.sql("SELECT id, outcome, url FROM failed ORDER BY shard, place").to_arrow_reader(PART_ROWS)
        for batch in rows:
            for id_, outcome, url in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield Reject(id_, outcome, url)

    def count_retryable(self) -> int:
        """Number of failed pictures that a later run may get."""
        return count_rows(self._base, f"failed WHERE {_RETRYABLE}")

    def retryable(self, lists: Sequence[Path]) -> Iterator[pa.RecordBatch]:
        """The rows of these pairs files whose pictures a later run may get, each id once, in order."""
        columns = ", ".join(SCHEMA.names)
        yield from self._base.sql(
            f"SELECT {columns} FROM read_parquet($files, filename = true, file_row_number = true)"
            f" WHERE id IN (SELECT id FROM failed WHERE {_RETRYABLE})"
            " QUALIFY row_number() OVER (PARTITION BY id ORDER BY filename, file_row_number) = 1"
            " ORDER BY filename, file_row_number",
            params={"files": [str(path) for path in lists]},
        ).to_arrow_reader(PART_ROWS)


@contextmanager
def read(folder: Path) -> Iterator[Outcomes]:
    """The outcomes of all complete shards."""
    files = [str(folder / f"{name}.parquet") for name in finished(folder)]
    with database(folder) as base:
        if files:
            base.execute(_FAILED, {"files": files, "fetched": FETCHED})
        else:
            text = "id VARCHAR, source VARCHAR, url VARCHAR, outcome VARCHAR, shard VARCHAR"
            base.execute(f"CREATE TABLE failed ({text}, place BIGINT)")
        yield Outcomes(base, files)
