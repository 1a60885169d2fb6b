"""Divide a pairs file into train, val and test so that no picture stands on two sides.

Published splits stay as they are. Where a picture of a published test (or validation) part occurs
elsewhere too, it goes there: a model must not have seen what it is tested on.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import console, pairs
from clip_italian.assets import staged
from clip_italian.errors import UserError
from clip_italian.identity import DISTANCE, is_hash
from clip_italian.near import packed
from clip_italian.pipeline import parts
from clip_italian.pipeline.rejects import Reject, by_reason, rejects_path, write_rejects
from clip_italian.pipeline.stage import PAIRS_FILE, Summary, in_parts
from clip_italian.split import groups
from clip_italian.split.draw import uniform
from clip_italian.split.groups import NO_KEY, NO_LOOK, Keys

KEYS_FILE = "keys.parquet"
# By strength: of one picture's published sides the last is the one that stays.
SIDES = ("", "train", "val", "test")


@dataclass(frozen=True)
class Plan:
    """How to divide: the shares of val and test among pictures without a published split, the seed of the
    draw, whether published splits are drawn anew, and the `identity` distance up to which pictures are one."""

    val: float = 0.05
    test: float = 0.05
    seed: int = 1
    redraw: bool = False
    distance: int = DISTANCE


@dataclass(frozen=True)
class Divided(Summary):
    """Rows before and after, rejects by reason, rows on each side, and how many pictures they show."""

    splits: dict[str, int]
    pictures: int


def split(source: Path, output: Path, plan: Plan, workers: int = 1, ray: str | None = None) -> Divided:
    """Write the pairs of `source` with `split` (and `phash`, where the picture is local) to `output`.

    The draw hangs on ids and seed alone: more rows move no other, unless they show the same picture.
    Raises UserError for a split with an unknown name.
    """
    pairs.apart(source, output)
    job = {"stage": "split", "plan": plan.__dict__, "input": parts.file_identity(pairs.existing(source))}
    with parts.workspace(output, job) as folder:
        divided = in_parts(source, folder)
        count = pq.ParquetFile(divided).num_row_groups
        work = partial(_look_at_part, source=divided, root=source.resolve().parent, seed=plan.seed)
        with console.progress("split", count) as advance:
            parts.complete(work, count, folder, workers, ray, advance)
        folders = [parts.part_folder(folder, number) for number in range(count)]
        published, draws, keys = _keys(folders)
        if plan.redraw:
            published[:] = 0
        numbers = groups.groups(keys, plan.distance)
        sides, overlaps = decide(numbers, published, draws, keys.ids, plan.val, plan.test)
        _write(folders, source, output, sides, overlaps)
        left = Counter(SIDES[side] for side in sides[overlaps < 0].tolist())
        splits = {name: left[name] for name in SIDES[1:]}
        pictures = len(np.unique(numbers[overlaps < 0]))
        return Divided(len(sides), left.total(), by_reason(rejects_path(output)), splits, pictures)


def decide(
    numbers: np.ndarray, published: np.ndarray, draws: np.ndarray, ids: np.ndarray, val: float, test: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sides (n,) as positions in `SIDES`, and for each row the published row that it may not stand beside, or -1.

    `numbers` are the rows' groups, `published` their sides or 0, `draws` numbers from 0 to 1: a group
    without a published row goes by the draw of its row with the smallest id.
    """
    sides = published.copy()
    overlaps = np.full(len(numbers), -1, np.int64)
    order = np.lexsort((ids, -published, numbers))  # a group's first row has its strongest side
    starts = np.flatnonzero(np.r_[True, np.diff(numbers[order]) != 0]) if len(order) else order
    first = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))
    strongest = published[first]
    drawn = np.select([draws[first] < test, draws[first] < test + val], [SIDES.index("test"), SIDES.index("val")], 1)
    free = published[order] == 0
    sides[order[free]] = np.where(strongest == 0, drawn, strongest)[free]
    beside = published[order] < strongest
    taken = beside & (strongest > SIDES.index("train"))
    overlaps[order[taken]] = first[taken]
    return sides, overlaps


def _look_at_part(number: int, folder: Path, source: Path, root: Path, seed: int) -> None:
    """The part's pairs with their picture hashes, and beside them the other keys."""
    folder.mkdir()
    batch = pairs.as_batch(pq.ParquetFile(source).read_row_group(number, use_threads=False).combine_chunks())
    rows = list(pairs.from_batch(batch))
    seen = [_with_look(pair, root) for pair in rows]
    table = {
        "published": pa.array([_side(pair.split, pair.id) for pair in rows], pa.int8()),
        "draw": pa.array([uniform(f"{seed}:{pair.id}") for pair in rows], pa.float64()),
        "id": pa.array([groups.number(pair.id) for pair in rows], pa.uint64()),
        "address": pa.array([groups.address_key(pair.image) for pair in rows], pa.uint64()),
        "content": pa.array([content for _, content in seen], pa.uint64()),
    }
    pq.write_table(pa.Table.from_batches([pairs.to_batch([pair for pair, _ in seen])]), folder / PAIRS_FILE)
    pq.write_table(pa.table(table), folder / KEYS_FILE)


def _with_look(pair: pairs.Pair, root: Path) -> tuple[pairs.Pair, int]:
    if "://" in pair.image:
        return replace(pair, phash=pair.phash if pair.phash and is_hash(pair.phash) else None), NO_KEY
    path = root / pair.image
    known = pair.phash if pair.phash and is_hash(pair.phash) else groups.look(path)
    return replace(pair, phash=known), groups.content_key(path)


def _side(name: str | None, id_: str) -> int:
    side = pairs.split_name(name) or ""
    if side not in SIDES:
        raise UserError(f"pair {id_!r}: split {name!r} is none of train, val and test; rename it, or give --redraw")
    return SIDES.index(side)


def _keys(folders: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, Keys]:
    tables = [pq.read_table(folder / KEYS_FILE) for folder in folders]
    looks = [packed([])]
    for folder in folders:
        hashes = pq.read_table(folder / PAIRS_FILE, columns=["phash"])["phash"].fill_null(NO_LOOK)
        looks.append(packed(hashes.to_pylist()))
    outlines, colours = (np.concatenate(arrays) for arrays in zip(*looks, strict=True))
    if not tables:
        tables = [pa.table({name: [] for name in ("published", "draw", "id", "address", "content")})]
    table = pa.concat_tables(tables)
    column = {name: table[name].to_numpy().copy() for name in table.column_names}
    keys = Keys(column["id"], column["address"], column["content"], outlines, colours)
    return column["published"], column["draw"], keys


def _write(folders: Sequence[Path], source: Path, output: Path, sides: np.ndarray, overlaps: np.ndarray) -> None:
    wanted = set(overlaps[overlaps >= 0].tolist())
    names = {row: pair.id for row, pair in enumerate(_pairs(folders, source, output)) if row in wanted}
    with staged(rejects_path(output)) as refused, staged(output) as temporary, pairs.Writer(temporary) as writer:

        def rejects() -> Iterator[Reject]:
            for pair, side, other in zip(
                _pairs(folders, source, output), sides.tolist(), overlaps.tolist(), strict=True
            ):
                if other < 0:
                    writer.write(replace(pair, split=SIDES[side]))
                else:
                    yield Reject(
                        pair.id, f"overlaps-{SIDES[sides[other]]}", pair.image, f"same picture as {names[other]}"
                    )

        write_rejects(rejects(), refused)


def _pairs(folders: Sequence[Path], source: Path, output: Path) -> Iterator[pairs.Pair]:
    for folder in folders:
        for batch in pq.ParquetFile(folder / PAIRS_FILE).iter_batches():
            yield from pairs.from_batch(pairs.relocated(batch, source.parent, output.parent))
