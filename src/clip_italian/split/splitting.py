"""Split a pairs file into train, val and test, with each picture in only one of them.

Published splits are kept. If a picture of a published test (or validation) split also occurs elsewhere, the other rows
move to that split or are rejected: a model must not be tested on pictures it was trained on.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import console, pairs
from clip_italian.errors import UserError
from clip_italian.files import digests
from clip_italian.files.atomic import staged
from clip_italian.files.digests import NO_KEY
from clip_italian.files.names import as_stored
from clip_italian.pictures import copies
from clip_italian.pictures.near import SHAPED, find_near
from clip_italian.pictures.phash import DISTANCE, is_hash
from clip_italian.pipeline import parts
from clip_italian.pipeline.database import count_rows, database
from clip_italian.pipeline.rejects import Reject, by_reason, rejects_path, write_rejects
from clip_italian.pipeline.stage import PAIRS_FILE, Summary, with_small_row_groups
from clip_italian.split import groups
from clip_italian.split.draw import uniform

KEYS_FILE = "keys.parquet"
KEYS_COLUMNS = (
    "row BIGINT, id VARCHAR, key UBIGINT, address UBIGINT, content UBIGINT, phash VARCHAR,"
    " published TINYINT, draw DOUBLE"
)
# In order of precedence: of one picture's published splits the last is kept.
SIDES = ("", "train", "val", "test")


@dataclass(frozen=True)
class Plan:
    """Options of `split`.

    `val` and `test` are shares of the pictures without a published split, `redraw` ignores published splits, and
    `distance` is the hash distance up to which pictures are the same.
    """

    val: float = 0.05
    test: float = 0.05
    seed: int = 1
    redraw: bool = False
    distance: int = DISTANCE


@dataclass(frozen=True)
class SplitSummary(Summary):
    """Also the number of rows in each split, and of different pictures."""

    splits: dict[str, int]
    pictures: int


def split(
    source: Path, output: Path, plan: Plan, workers: int = 1, ray: str | None = None,
    encoder: Callable[[], copies.Encoder | None] | None = None,
) -> SplitSummary:  # fmt: skip
    """Write the pairs of `source` with `split` (and `phash`, if the picture is local) to `output`.

    With an `encoder`, copies of local pictures that the hash misses are found, too (`pictures.copies`). It is called
    only if there are local pictures, and may return None to use the hash only. The draw depends only on ids and seed:
    further rows move no other row, unless they show the same picture. Raises UserError for an unknown split name.
    """
    pairs.refuse_overwrite(source, output)
    identity = parts.file_identity(pairs.require_file(source))
    job = {"stage": "split", "plan": plan.__dict__, "copies": encoder is not None, "input": identity}
    with parts.workspace(output, job) as folder:
        divided = with_small_row_groups(source, folder)
        count = pq.ParquetFile(divided).num_row_groups
        work = partial(_hash_part, source=divided, root=source.resolve().parent, plan=plan)
        with console.progress("split", count) as advance:
            parts.make_parts(work, count, folder, workers, ray, advance)
        folders = [parts.part_folder(folder, number) for number in range(count)]
        with database(folder) as base:
            _load_keys(base, folders)
            found = _copies(base, folders, folder, source.resolve().parent, encoder) if encoder else []
            groups.group_rows(base, plan.distance, found)
            assign_splits(base, plan.val, plan.test)
            splits = _write(folders, source, output, _decisions(base))
            pictures = count_rows(
                base, "(SELECT DISTINCT root FROM groups JOIN sides USING (row) WHERE beside IS NULL)"
            )
        kept = splits.total()
        rejected = by_reason(rejects_path(output))
        return SplitSummary(
            kept + sum(rejected.values()), kept, rejected, {name: splits[name] for name in SIDES[1:]}, pictures
        )


def assign_splits(base: duckdb.DuckDBPyConnection, val: float, test: float) -> None:
    """Create the table `sides` (row, side, beside) from the tables `keys` and `groups` (row, root).

    `side` is an index into `SIDES`. `beside` is the published row with which a row conflicts, or null. A group gets
    the split of its published row with the highest precedence, or else the draw of its row with the smallest key.
    """
    base.execute(
        f"""
        CREATE TABLE sides AS
        WITH heads AS (
            SELECT root, row AS head, published AS strongest, draw FROM keys JOIN groups USING (row)
            QUALIFY row_number() OVER (PARTITION BY root ORDER BY published DESC, key, row) = 1
        )
        SELECT row,
            CASE WHEN published > 0 THEN published
                 WHEN strongest > 0 THEN strongest
                 WHEN heads.draw < $test THEN {SIDES.index("test")}
                 WHEN heads.draw < $test + $val THEN {SIDES.index("val")}
                 ELSE {SIDES.index("train")} END AS side,
            CASE WHEN published < strongest AND strongest > {SIDES.index("train")} THEN head END AS beside
        FROM keys JOIN groups USING (row) JOIN heads USING (root)
        """,
        {"val": val, "test": test},
    )


def _hash_part(number: int, folder: Path, source: Path, root: Path, plan: Plan) -> None:
    """Write a part's pairs with their picture hashes, and a table of the keys by which rows are grouped."""
    folder.mkdir()
    batch = pairs.as_batch(pq.ParquetFile(source).read_row_group(number, use_threads=False).combine_chunks())
    seen = [_with_hash(pair, root) for pair in pairs.from_batch(batch)]
    rows = [pair for pair, _ in seen]
    first = number * pairs.rows.PART_ROWS
    table = {
        "row": pa.array(range(first, first + len(rows)), pa.int64()),
        "id": pa.array([pair.id for pair in rows], pa.string()),
        "key": pa.array([digests.hash64(pair.id) for pair in rows], pa.uint64()),
        "address": pa.array([groups.address_key(pair.image) for pair in rows], pa.uint64()),
        "content": pa.array([content for _, content in seen], pa.uint64()),
        "phash": pa.array([pair.phash for pair in rows], pa.string()),
        "published": pa.array([0 if plan.redraw else _side(pair.split, pair.id) for pair in rows], pa.int8()),
        "draw": pa.array([uniform(f"{plan.seed}:{pair.id}") for pair in rows], pa.float64()),
    }
    pq.write_table(pa.Table.from_batches([pairs.to_batch(rows)]), folder / PAIRS_FILE)
    pq.write_table(pa.table(table), folder / KEYS_FILE)


def _with_hash(pair: pairs.Pair, root: Path) -> tuple[pairs.Pair, int]:
    if "://" in pair.image:
        return replace(pair, phash=pair.phash if pair.phash and is_hash(pair.phash) else None), NO_KEY
    path = as_stored(root / pair.image)
    known = pair.phash if pair.phash and is_hash(pair.phash) else groups.hash_file(path)
    return replace(pair, phash=known), digests.content_key(path)


def _side(name: str | None, id_: str) -> int:
    side = pairs.split_name(name) or ""
    if side not in SIDES:
        raise UserError(f"pair {id_!r}: split {name!r} is not train, val or test; rename it, or give --redraw")
    return SIDES.index(side)


def _copies(
    base: duckdb.DuckDBPyConnection, folders: Sequence[Path], folder: Path, root: Path,
    load: Callable[[], copies.Encoder | None],
) -> list[tuple[int, int]]:  # fmt: skip
    """Pairs of rows whose local pictures are copies of each other, by features or by outline.

    Features are kept in `folder`, part by part, for a killed run to resume.
    """
    firsts = "SELECT min(row) FROM keys WHERE content <> 0 AND phash IS NOT NULL GROUP BY content ORDER BY 1"
    chosen = np.array([row for [row] in base.sql(firsts).fetchall()], np.int64)
    encoder = load() if len(chosen) > 1 else None
    if encoder is None:
        return []
    paths: list[str] = []
    with console.progress("features", len(chosen)) as advance:
        for number, place in enumerate(folders):
            images = pq.read_table(place / PAIRS_FILE, columns=["image"])["image"]
            start = number * pairs.rows.PART_ROWS
            mine = chosen[(chosen >= start) & (chosen < start + len(images))] - start
            some = [str(image) for image in images.take(pa.array(mine)).to_pylist()]
            paths += some
            target = folder / f"{encoder.name}-{number:06d}.npy"
            if target.is_file():
                advance(len(some))
                continue
            found = copies.features_of([root / name for name in some], encoder, advance)
            with staged(target) as temporary, temporary.open("wb") as file:
                np.save(file, found.astype(np.float16))
    features = np.concatenate([np.load(folder / f"{encoder.name}-{n:06d}.npy") for n in range(len(folders))])
    near = set(copies.propose(features)) | _outlines(base, chosen)
    agreed = copies.confirmed(sorted(near), lambda number: root / paths[number])
    return [(int(chosen[a]), int(chosen[b])) for a, b in agreed]


def _outlines(base: duckdb.DuckDBPyConnection, chosen: np.ndarray) -> set[tuple[int, int]]:
    """Pairs of positions in `chosen` of pictures with nearly the same outline, whatever their colours: grey copies."""
    base.register("chosen", pa.table({"place": pa.array(range(len(chosen))), "row": pa.array(chosen)}))
    base.execute(
        "CREATE OR REPLACE TABLE looks AS SELECT min(place) AS row, left(phash, 16) || '-000000000000' AS phash"
        f" FROM chosen JOIN keys USING (row) WHERE {SHAPED} GROUP BY left(phash, 16), substr(phash, 18)"
    )
    find_near(base, copies.OUTLINE_DISTANCE)
    found = {(int(a), int(b)) for a, b in base.sql("SELECT earlier, later FROM near").fetchall()}
    base.execute("DROP TABLE near; DROP TABLE looks")
    return found


def _load_keys(base: duckdb.DuckDBPyConnection, folders: Sequence[Path]) -> None:
    """Create the table `keys` from all parts."""
    base.execute(f"CREATE TABLE keys ({KEYS_COLUMNS})")
    if folders:
        files = [str(folder / KEYS_FILE) for folder in folders]
        base.execute("INSERT INTO keys BY NAME SELECT * FROM read_parquet($files)", {"files": files})


def _decisions(base: duckdb.DuckDBPyConnection) -> Iterator[tuple[int, int | None, str | None]]:
    """For each row its side, and side and id of the published row that it conflicts with, if any."""
    found = base.sql(
        "SELECT s.side, other.side, keys.id FROM sides s LEFT JOIN sides other ON s.beside = other.row"
        " LEFT JOIN keys ON s.beside = keys.row ORDER BY s.row"
    )
    for batch in found.to_arrow_reader(pairs.rows.PART_ROWS):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _write(
    folders: Sequence[Path], source: Path, output: Path, decisions: Iterator[tuple[int, int | None, str | None]]
) -> Counter[str]:
    """Write kept rows and rejects; return the number of kept rows by split."""
    left: Counter[str] = Counter()
    with staged(rejects_path(output)) as refused, staged(output) as temporary, pairs.Writer(temporary) as writer:

        def rejects() -> Iterator[Reject]:
            for pair, (side, other, name) in zip(_pairs(folders, source, output), decisions, strict=True):
                if other is None:
                    left[SIDES[side]] += 1
                    writer.write(replace(pair, split=SIDES[side]))
                else:
                    yield Reject(pair.id, f"overlaps-{SIDES[other]}", pair.image, f"same picture as {name}")

        write_rejects(rejects(), refused)
    return left


def _pairs(folders: Sequence[Path], source: Path, output: Path) -> Iterator[pairs.Pair]:
    for folder in folders:
        for batch in pq.ParquetFile(folder / PAIRS_FILE).iter_batches():
            yield from pairs.from_batch(pairs.relocated(batch, source.parent, output.parent))
