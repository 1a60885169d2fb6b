"""Pairs files are written: in row groups, and in place at the end."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.files.atomic import staged
from clip_italian.pairs import rows
from clip_italian.pairs.rows import SCHEMA, Pair, to_batch


def write(pairs: Iterable[Pair], path: Path) -> int:
    """Write Parquet (`.parquet`) or JSON lines (`.jsonl`), in place at the end; return the row count."""
    with staged(path) as temporary:
        with Writer(temporary) as writer:
            for pair in pairs:
                writer.write(pair)
        return writer.rows


class Writer:
    """Writes pairs as they come, in row groups of `PART_ROWS`; the suffix of `path` decides the form.

    Not atomic: give it a staged path. `rows` is how many were written.
    """

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._waiting: list[pa.RecordBatch] = []
        self._pairs: list[Pair] = []
        self._lines = path.open("w", encoding="utf-8") if path.suffix == ".jsonl" else None
        self._table = None if self._lines else pq.ParquetWriter(path, SCHEMA, compression="zstd")

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush_pairs()
        self._flush(everything=True)
        for file in (self._lines, self._table):
            if file is not None:
                file.close()

    def write(self, pair: Pair) -> None:
        """One pair."""
        self._pairs.append(pair)
        if len(self._pairs) == 1_000:
            self._flush_pairs()

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Rows with `SCHEMA`."""
        self._flush_pairs()
        self._waiting.append(batch)
        self.rows += len(batch)
        self._flush()

    def _flush_pairs(self) -> None:
        if self._pairs:
            waiting, self._pairs = self._pairs, []
            self.write_batch(to_batch(waiting))

    def _flush(self, everything: bool = False) -> None:
        if not everything and sum(map(len, self._waiting)) < rows.PART_ROWS:
            return
        table = pa.Table.from_batches(self._waiting, schema=SCHEMA)
        self._waiting = []
        if self._lines is not None:
            self._lines.writelines(_to_json_line(row) for row in table.to_pylist())
            return
        assert self._table is not None
        whole = len(table) if everything else len(table) - len(table) % rows.PART_ROWS
        for start in range(0, whole, rows.PART_ROWS):
            self._table.write_table(table.slice(start, min(rows.PART_ROWS, whole - start)).combine_chunks())
        if whole < len(table):
            self._waiting = table.slice(whole).to_batches()


def _to_json_line(row: dict[str, Any]) -> str:
    kept = {"image_path": row.pop("image"), "captions": row.pop("captions")}
    kept.update({key: value for key, value in row.items() if value is not None})
    return json.dumps(kept, ensure_ascii=False) + "\n"
