"""Finds all pairs of similar picture hashes among millions, exactly, without comparing every pair.

Outlines with a Hamming distance of at most d (of 64 bits) are equal in at least one of d + 1 bands of bits, so only
pictures that share a band and have similar colours are compared. DuckDB performs the join and spills to disk if needed.
The time grows with the distance, because shorter bands are shared by more pictures.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import duckdb
import numpy as np
import pyarrow as pa

from clip_italian.pictures.phash import COLOUR_DIGITS, COLOUR_TOLERANCE, FLAT, OUTLINE_DIGITS, parts
from clip_italian.pipeline.database import database

BITS = 64
# SQL condition: the column `phash` is a picture hash with an outline.
SHAPED = (
    f"regexp_full_match(phash, '[0-9a-fA-F]{{{OUTLINE_DIGITS}}}-[0-9a-fA-F]{{{COLOUR_DIGITS}}}')"
    f" AND left(phash, {OUTLINE_DIGITS}) <> '{FLAT}'"
)
_READ = 10_000
_COLOURS = range(COLOUR_DIGITS // 2)


def near_pairs(hashes: Sequence[str], distance: int) -> list[tuple[int, int]]:
    """Return the index pairs (first < second) of all hashes that are `phash.alike` within `distance`, sorted.

    Raises ValueError for a text that is not a picture hash.
    """
    for text in hashes:
        parts(text)
    looks = pa.table({"row": pa.array(range(len(hashes)), pa.int64()), "phash": pa.array(hashes, pa.string())})
    with database() as base:
        base.register("looks", looks)
        find_near(base, distance)
        return base.sql("SELECT earlier, later FROM near ORDER BY ALL").fetchall()


def find_near(base: duckdb.DuckDBPyConnection, distance: int) -> None:
    """Create the table `near` (earlier, later) with the rows of the table `looks` (row, phash) that are `phash.alike`.

    `looks` should contain each hash once, because n rows with equal hashes make n² / 2 pairs. Rows without a valid hash
    or without an outline match nothing.
    """
    colours = ", ".join(f"('0x' || substr(phash, {OUTLINE_DIGITS + 2 + 2 * n}, 2))::UTINYINT AS c{n}" for n in _COLOURS)
    base.execute(
        f"CREATE OR REPLACE TABLE shaped AS SELECT row, ('0x' || left(phash, {OUTLINE_DIGITS}))::UBIGINT AS outline,"
        f" {colours} FROM looks WHERE {SHAPED}"
    )
    base.execute("CREATE OR REPLACE TABLE near (earlier BIGINT, later BIGINT)")
    masks = _bands(distance + 1)
    for number, mask in enumerate(masks):
        base.execute(_join(mask, masks[:number], distance))
    base.execute("DROP TABLE shaped")


def find_leaders(base: duckdb.DuckDBPyConnection, rows: int) -> None:
    """Create the table `replaced` (row, original) from the table `near`: rows that match an earlier row that is kept.

    There are no chains: a row that matches only replaced rows is kept. Row numbers must be less than `rows`; each takes
    one bit of memory.
    """
    base.execute("CREATE OR REPLACE TABLE replaced (row BIGINT, original BIGINT)")
    for batch in _replaced(base, rows):
        base.register("batch", batch)
        base.execute("INSERT INTO replaced SELECT * FROM batch")


def _replaced(base: duckdb.DuckDBPyConnection, rows: int) -> Iterator[pa.Table]:
    """Yield the pairs in `near` whose earlier picture is kept, one for each later picture."""
    gone = np.zeros(rows // 8 + 1, np.uint8)
    schema = pa.schema([("row", pa.int64()), ("original", pa.int64())])
    with base.cursor() as reading:
        # In this order, it is known whether the earlier picture is kept before its pairs are read.
        found = reading.sql("SELECT later, earlier FROM near ORDER BY later, earlier").to_arrow_reader(_READ)
        for batch in found:
            kept = []
            for later, earlier in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                if not any(gone[row >> 3] >> (row & 7) & 1 for row in (earlier, later)):
                    gone[later >> 3] |= 1 << (later & 7)
                    kept.append((later, earlier))
            yield pa.table([list(column) for column in zip(*kept, strict=True)] or [[], []], schema=schema)


def _join(mask: int, seen: Sequence[int], distance: int) -> str:
    """Return SQL that adds the pairs that share this band and none of the bands in `seen`.

    The first colour is divided into steps as wide as its tolerance, so that similar colours are in the same or in
    neighbouring steps.
    """
    step = COLOUR_TOLERANCE + 1
    near_colours = " AND ".join(f"greatest(a.c{n}, b.c{n}) - least(a.c{n}, b.c{n}) < {step}" for n in _COLOURS)
    other_bands = "".join(f" AND (xor(a.outline, b.outline) & {other}::UBIGINT) <> 0" for other in seen)
    banded = f"SELECT *, outline & {mask}::UBIGINT AS band, (c0 // {step})::INT"
    return f"""
        INSERT INTO near SELECT least(a.row, b.row), greatest(a.row, b.row)
        FROM ({banded} AS level FROM shaped) a
        JOIN ({banded} + shift AS level FROM shaped, (SELECT unnest([-1, 0, 1]) AS shift)) b
        ON a.band = b.band AND a.level = b.level
        WHERE a.row < b.row AND bit_count(xor(a.outline, b.outline)) <= {distance} AND {near_colours}{other_bands}
    """


def _bands(count: int) -> list[int]:
    """Return the masks of `count` bands of nearly equal width that cover all bits."""
    edges = [BITS * i // count for i in range(count + 1)]
    return [(1 << high) - (1 << low) for low, high in pairwise(edges)]
