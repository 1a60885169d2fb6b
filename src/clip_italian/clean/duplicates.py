"""Duplicate captions and pictures over a whole pairs file, in little memory.

Two captions are near duplicates if they have the same words, regardless of order, case, accents, numbers, punctuation
and function words: OpenRefine's key collision method "fingerprint" without function words. DuckDB groups the keys, on
disk if they do not fit into memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian.clean.recipe import Duplicates
from clip_italian.pictures import copies, near
from clip_italian.pipeline.database import database

_UNLIMITED = 2**31
_BATCH = 10_000

# Keys are 64-bit hashes: the probability that two of 5 million different captions share one is 1e-6.
_CAPTIONS = r"""
WITH captions AS (
    SELECT file_row_number AS row, unnest(captions) AS caption, generate_subscripts(captions, 1) - 1 AS position
    FROM read_parquet($file, file_row_number = true)
    WHERE file_row_number NOT IN (SELECT row FROM pictures)
), split AS (
    SELECT row, position, lower(caption) AS lowered,
        list_sort(list_distinct(list_filter(
            string_split(trim(regexp_replace(regexp_replace(strip_accents(lower(caption)), '[0-9]+', '0', 'g'),
                                             '[^\p{L}\p{N}]+', ' ', 'g')), ' '),
            lambda word: word <> '' AND NOT list_contains($function_words, word)))) AS words
    FROM captions
), keyed AS (
    SELECT row, position, hash(lowered) AS exact,
        CASE WHEN len(words) = 0 THEN hash(lowered) ELSE hash(words) END AS near
    FROM split
), counted AS (
    SELECT row, position,
        count(DISTINCT row) OVER (PARTITION BY near) AS pictures,
        dense_rank() OVER (PARTITION BY near ORDER BY row) AS picture,
        row_number() OVER (PARTITION BY near, row ORDER BY position) AS within,
        row_number() OVER (PARTITION BY exact ORDER BY row, position) AS copy
    FROM keyed
)
SELECT row, position,
    CASE WHEN pictures > $boilerplate THEN 'boilerplate'
         WHEN copy > 1 THEN 'duplicate-caption' ELSE 'near-duplicate-caption' END AS reason,
    'at ' || pictures || ' pictures' AS detail
FROM counted WHERE pictures > $boilerplate OR picture > $keep OR within > 1
UNION ALL SELECT row, NULL, 'near-duplicate-picture', 'of ' || original FROM pictures
ORDER BY row, position
"""


@dataclass(frozen=True)
class Verdict:
    """The reason to reject the caption at `position` of a row, or the whole row if `position` is None."""

    row: int
    position: int | None
    reason: str
    detail: str


def verdicts(
    file: Path, recipe: Duplicates, function_words: frozenset[str], spill: Path,
    encoder: copies.Encoder | None = None,
) -> Iterator[list[Verdict]]:  # fmt: skip
    """The duplicates in the Parquet pairs file `file`: the verdicts of each row concerned, rows ascending.

    The first row of a caption or picture is kept. `spill` is a folder for data that does not fit into memory.
    """
    with database(spill) as base:
        _find_pictures_seen_before(base, file, recipe.picture_distance, encoder)
        values = {
            "file": str(file),
            "function_words": sorted(function_words),
            "boilerplate": recipe.boilerplate or _UNLIMITED,
            "keep": recipe.pictures_per_caption or _UNLIMITED,
        }
        reader: pa.RecordBatchReader = base.sql(_CAPTIONS, params=values).to_arrow_reader(_BATCH)
        found = (Verdict(*values) for batch in reader for values in zip(*_columns(batch), strict=True))
        for _, same in groupby(found, key=lambda verdict: verdict.row):
            yield list(same)


def _quoted(file: Path) -> str:
    return str(file).replace("'", "''")


def _columns(batch: pa.RecordBatch) -> list[list]:
    return [column.to_pylist() for column in batch.columns]


def _find_pictures_seen_before(
    base: duckdb.DuckDBPyConnection, file: Path, distance: int | None, encoder: copies.Encoder | None
) -> None:  # fmt: skip
    """Create the table `pictures`: rows whose picture looks like an earlier kept row's, and the id of that row."""
    base.execute("CREATE TABLE pictures (row BIGINT, original VARCHAR)")
    if distance is None:
        return
    rows = "(SELECT file_row_number AS row, id, phash FROM read_parquet($file, file_row_number = true))"
    values = {"file": str(file)}
    base.execute(
        f"CREATE TABLE looks AS SELECT min(row) AS row, phash FROM {rows} WHERE {near.SHAPED} GROUP BY phash", values
    )
    near.find_near(base, distance)
    if encoder is not None:
        # Rows with the same hash are one picture already, represented by the first.
        found = base.sql(
            f"SELECT row, image FROM read_parquet('{_quoted(file)}', file_row_number = true) JOIN looks"
            " ON looks.row = file_row_number WHERE NOT contains(image, '://') ORDER BY row"
        ).fetchall()
        paths = [file.parent / image for _, image in found]
        pairs = copies.confirmed(copies.propose(copies.features_of(paths, encoder)), lambda number: paths[number])
        if pairs:
            base.executemany("INSERT INTO near VALUES (?, ?)", [(found[a][0], found[b][0]) for a, b in pairs])
            base.execute("CREATE OR REPLACE TABLE near AS SELECT DISTINCT * FROM near")
    near.find_leaders(base, pq.read_metadata(file).num_rows)
    base.execute(
        f"INSERT INTO pictures SELECT rows.row, originals.id FROM {rows} rows JOIN looks USING (phash)"
        " LEFT JOIN replaced ON looks.row = replaced.row"
        f" JOIN {rows} originals ON originals.row = coalesce(replaced.original, looks.row)"
        " WHERE rows.row <> originals.row",
        values,
    )
