"""Whole splits: shares, published sides kept, copies of test pictures out, nothing on two sides."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.database import database
from clip_italian.pipeline.rejects import Reject, read_rejects, rejects_path
from clip_italian.split.splitting import SIDES, Plan, assign_splits, split
from tests.pictures.thumbnails import Thumbnails


def by_address(count, **more):
    return [Pair(f"p{i}", f"http://h/{i}.jpg", ("una foto",), "s", **more) for i in range(count)]


def run(tmp_path, rows, plan, name="out.parquet", **more):
    pairs.write(rows, tmp_path / "in.parquet")
    summary = split(tmp_path / "in.parquet", tmp_path / name, plan, **more)
    return summary, pairs.read(tmp_path / name), list(read_rejects(rejects_path(tmp_path / name)))


def test_shares_are_met_and_more_rows_move_no_other(tmp_path):
    summary, rows, rejects = run(tmp_path, by_address(3_000), Plan(val=0.1, test=0.2))
    assert rejects == []
    assert summary.pictures == summary.before == summary.after == 3_000
    assert summary.splits == {name: sum(row.split == name for row in rows) for name in SIDES[1:]}
    assert abs(summary.splits["val"] - 300) < 50
    assert abs(summary.splits["test"] - 600) < 66
    _, more, _ = run(tmp_path, by_address(3_500), Plan(val=0.1, test=0.2), "more.parquet")
    assert more[:3_000] == rows
    _, other, _ = run(tmp_path, by_address(3_000), Plan(val=0.1, test=0.2, seed=2), "other.parquet")
    assert other != rows


def test_published_splits_stay_and_copies_of_test_pictures_go(tmp_path):
    rows = [
        Pair("1", "http://coco/1.jpg", ("una foto",), "coco", split="test"),
        Pair("2", "https://coco/1.jpg", ("la stessa",), "wit"),
        Pair("3", "http://coco/3.jpg", ("un'altra",), "coco", split="dev"),
        Pair("4", "http://coco/3.jpg", ("già di training",), "coco", split="train"),
        Pair("5", "http://coco/5.jpg", ("da addestramento",), "coco", split="train"),
        Pair("6", "http://coco/5.jpg", ("di nuovo",), "wit"),
        Pair("7", "http://coco/7.jpg", ("nuova",), "wit"),
    ]
    summary, kept, rejects = run(tmp_path, rows, Plan(val=0, test=0))
    assert [(row.id, row.split) for row in kept] == [
        ("1", "test"), ("3", "val"), ("5", "train"), ("6", "train"), ("7", "train"),
    ]  # fmt: skip
    assert rejects == [
        Reject("2", "overlaps-test", "https://coco/1.jpg", "same picture as 1"),
        Reject("4", "overlaps-val", "http://coco/3.jpg", "same picture as 3"),
    ]
    assert summary.splits == {"train": 3, "val": 1, "test": 1}
    assert summary.rejected == {"overlaps-test": 1, "overlaps-val": 1}
    summary, kept, rejects = run(tmp_path, rows, Plan(val=0, test=0, redraw=True), "drawn.parquet")
    assert {row.split for row in kept} == {"train"}
    assert len(kept) == 7
    assert rejects == []
    assert summary.pictures == 4


def test_copies_of_a_local_picture_stand_together(tmp_path):
    draw = np.random.default_rng(0)
    rows = []
    for number in range(40):
        # Smooth noise, as photos are; each with a copy of half its size and poor quality.
        image = Image.fromarray(draw.integers(0, 255, (6, 6, 3), np.uint8)).resize((240, 240), Image.Resampling.BICUBIC)
        image.save(tmp_path / f"{number}.png")
        image.resize((120, 120)).save(tmp_path / f"copy-{number}.jpg", quality=50)
        rows += [Pair(name, name, ("c",), "s") for name in (f"{number}.png", f"copy-{number}.jpg")]
    summary, kept, _ = run(tmp_path, rows, Plan(val=0.3, test=0.3), workers=2)
    sides = {row.id: row.split for row in kept}
    assert all(sides[f"{number}.png"] == sides[f"copy-{number}.jpg"] for number in range(40))
    assert set(sides.values()) == {"train", "val", "test"}
    assert summary.pictures == 40
    assert all(row.phash for row in kept)
    # Copies of a published test picture are found by their look too.
    rows[0] = Pair("0.png", "0.png", ("c",), "s", split="test")
    _, kept, rejects = run(tmp_path, rows, Plan(), "published.parquet")
    assert [(reject.id, reject.reason) for reject in rejects] == [("copy-0.jpg", "overlaps-test")]


def test_pictures_that_cannot_be_read_stay(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    rows = [Pair("1", "broken.jpg", ("c",), "s", phash="another tool's"), Pair("2", "missing.jpg", ("c",), "s")]
    _, kept, _ = run(tmp_path, rows, Plan())
    assert [(row.id, row.phash) for row in kept] == [("1", None), ("2", None)]


def test_another_output_folder_and_json_lines(tmp_path):
    Image.linear_gradient("L").save(tmp_path / "a.png")
    pairs.write([Pair("1", "a.png", ("c",), "s")], tmp_path / "in.jsonl")
    (tmp_path / "elsewhere").mkdir()
    split(tmp_path / "in.jsonl", tmp_path / "elsewhere" / "out.jsonl", Plan(val=0, test=0))
    [row] = pairs.read(tmp_path / "elsewhere" / "out.jsonl")
    assert pairs.image_path(row, tmp_path / "elsewhere" / "out.jsonl").resolve() == tmp_path / "a.png"


def test_an_unknown_split_is_said(tmp_path):
    with pytest.raises(UserError, match=r"pair 'p0': split 'holdout' is not train, val or test"):
        run(tmp_path, by_address(1, split="holdout"), Plan())
    assert run(tmp_path, by_address(1, split="holdout"), Plan(redraw=True))[0].after == 1


def test_an_empty_file(tmp_path):
    pairs.write([], tmp_path / "in.parquet")
    assert split(tmp_path / "in.parquet", tmp_path / "out.parquet", Plan()).after == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.floats(0, 0.999), st.integers(1, 9)), max_size=20))
def test_no_group_stands_on_two_sides(rows):
    groups, published, draws, ids = ([row[k] for row in rows] for k in range(4))
    table = pa.table(
        {
            "row": pa.array(range(len(rows)), pa.int64()),
            "root": pa.array(groups, pa.int64()),
            "published": pa.array(published, pa.int8()),
            "draw": pa.array(draws, pa.float64()),
            "key": pa.array(ids, pa.uint64()),
        }
    )
    with database() as base:
        base.register("keys", table.drop(["root"]))
        base.register("groups", table.select(["row", "root"]))
        assign_splits(base, 0.2, 0.3)
        found = base.sql("SELECT side, beside FROM sides ORDER BY row").fetchall()
    assert len(found) == len(rows)
    for group in set(groups):
        mine = [row for row in range(len(rows)) if groups[row] == group]
        kept = [row for row in mine if found[row][1] is None]
        [side] = {found[row][0] for row in kept}
        strongest = max(published[row] for row in mine)
        if strongest == 0:
            smallest = min(ids[row] for row in mine)
            drawn = [draws[row] for row in mine if ids[row] == smallest]
            assert side in {3 if d < 0.3 else 2 if d < 0.5 else 1 for d in drawn}
            assert kept == mine
        else:
            assert side == strongest
            assert kept == [row for row in mine if published[row] == strongest or strongest == 1]
            assert {published[found[row][1]] for row in mine if row not in kept} <= {strongest}


def test_copies_that_a_hash_misses_stand_together(tmp_path):
    def brighter(image):
        return ImageEnhance.Brightness(image).enhance(1.15)

    def cropped(image):
        return image.crop((8, 8, 232, 232))

    ways = (lambda image: image, brighter, cropped, ImageOps.mirror, lambda i: i.convert("L").convert("RGB"))
    draw, rows = np.random.default_rng(0), []
    for number in range(8):
        noise = Image.fromarray(draw.integers(40, 190, (9, 9, 3), np.uint8))
        for way, distort in enumerate(ways):
            name = f"{number}-{way}.png"
            distort(noise.resize((240, 240), Image.Resampling.BICUBIC)).save(tmp_path / name)
            rows.append(Pair(name, name, ("c",), "s"))
    rows.append(Pair("broken", "broken.png", ("c",), "s"))
    (tmp_path / "broken.png").write_text("no picture")
    summary, kept, _ = run(tmp_path, rows, Plan(val=0.3, test=0.3), encoder=Thumbnails)
    assert summary.pictures == 9
    sides = {row.id: row.split for row in kept}
    for number in range(8):
        assert len({sides[f"{number}-{way}.png"] for way in range(len(ways))}) == 1
    # By the hash alone they are many, and so where there is no encoder to be had.
    assert run(tmp_path, rows, Plan(), "hash.parquet")[0].pictures > 20
    assert run(tmp_path, rows, Plan(), "none.parquet", encoder=lambda: None)[0].pictures > 20


def test_no_encoder_is_asked_for_without_local_pictures(tmp_path):
    assert run(tmp_path, by_address(5), Plan(), encoder=pytest.fail)[0].after == 5
