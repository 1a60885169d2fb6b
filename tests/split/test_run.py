"""Whole splits: shares, published sides kept, copies of test pictures out, nothing on two sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject, read_rejects, rejects_path
from clip_italian.split.run import SIDES, Plan, decide, split


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
    with pytest.raises(UserError, match=r"pair 'p0': split 'holdout' is none of train, val and test"):
        run(tmp_path, by_address(1, split="holdout"), Plan())


def test_an_empty_file(tmp_path):
    pairs.write([], tmp_path / "in.parquet")
    assert split(tmp_path / "in.parquet", tmp_path / "out.parquet", Plan()).after == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.floats(0, 0.999), st.integers(1, 9)), max_size=20))
def test_no_group_stands_on_two_sides(rows):
    numbers, published, draws, ids = (np.array([row[k] for row in rows], kind) for k, kind in
                                      enumerate((np.int32, np.int8, np.float64, np.uint64)))  # fmt: skip
    sides, overlaps = decide(numbers, published, draws, ids, 0.2, 0.3)
    for group in set(numbers.tolist()):
        mine = np.flatnonzero(numbers == group)
        kept = mine[overlaps[mine] < 0]
        assert len(kept) > 0
        assert len(set(sides[kept].tolist())) == 1
        strongest = published[mine].max()
        if strongest == 0:
            smallest = min(ids[mine])
            expected = {3 if d < 0.3 else 2 if d < 0.5 else 1 for d in draws[mine[ids[mine] == smallest]]}
            assert sides[kept[0]] in expected
            assert len(kept) == len(mine)
        else:
            assert sides[kept[0]] == strongest
            allowed = published[mine] == strongest if strongest > 1 else published[mine] >= 0
            assert sorted(kept) == sorted(mine[allowed])
