"""Stages over pairs files: same result for any form, part size and number of workers; kills undone."""

import pytest

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline import parts
from clip_italian.pipeline.rejects import read_rejects, rejects_path
from clip_italian.pipeline.stage import Summary, run_stage
from tests.pipeline.stages import DropMarked


def some_pairs(count):
    return [Pair(f"id-{i}", f"http://h/{i}.jpg", (("x" if i % 3 == 0 else "y") + f" {i}",), "s") for i in range(count)]


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(pairs.rows, "PART_ROWS", 7)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("workers", [1, 2])
def test_keeps_and_rejects_in_order(tmp_path, small_parts, suffix, workers):
    rows = some_pairs(50)
    source, output = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    pairs.write(rows, source)
    summary = run_stage("test", DropMarked(), {}, source, output, workers)
    assert summary == Summary(50, 33, {"marked": 17})
    assert pairs.read(output) == [row for i, row in enumerate(rows) if i % 3]
    assert [reject.id for reject in read_rejects(rejects_path(output))] == [f"id-{i}" for i in range(0, 50, 3)]
    assert {path.name for path in tmp_path.iterdir()} == {source.name, output.name, "out.rejects.jsonl"}


def test_an_input_with_large_row_groups_is_divided(tmp_path, monkeypatch):
    pairs.write(some_pairs(40), tmp_path / "in.parquet")
    monkeypatch.setattr(pairs.rows, "PART_ROWS", 7)
    assert not pairs.has_small_row_groups(tmp_path / "in.parquet")
    run_stage("test", DropMarked(), {}, tmp_path / "in.parquet", tmp_path / "out.parquet", 1)
    assert len(pairs.read(tmp_path / "out.parquet")) == 26


def test_a_killed_worker_is_one_line_and_the_same_command_goes_on(tmp_path, small_parts):
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pairs.write(some_pairs(50), source)
    stage = DropMarked("id-30", tmp_path / "died")
    with pytest.raises(UserError, match="worker process was killed"):
        run_stage("test", stage, {}, source, output, 2)
    assert not output.exists()
    made = set((tmp_path / "out.parquet.parts").glob("0*"))
    assert run_stage("test", stage, {}, source, output, 2) == Summary(50, 33, {"marked": 17})
    assert made, "nothing was finished before the kill"
    assert not (tmp_path / "out.parquet.parts").exists()


def test_parts_of_another_job_are_not_used(tmp_path, small_parts):
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pairs.write(some_pairs(50), source)
    with pytest.raises(RuntimeError), parts.workspace(output, {"stage": "other"}) as folder:
        parts.part_folder(folder, 0).mkdir()
        raise RuntimeError
    assert run_stage("test", DropMarked(), {}, source, output, 1).after == 33


def test_two_at_once_on_one_output_are_refused(tmp_path):
    busy = pytest.raises(UserError, match="another run is writing it")
    with parts.workspace(tmp_path / "out.parquet", {}), busy, parts.workspace(tmp_path / "out.parquet", {}):
        pass


def test_pictures_are_found_from_another_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    pairs.write([Pair("1", "img/1.png", ("y",), "s"), Pair("2", str(tmp_path / "b/2.png"), ("y",), "s")],
                tmp_path / "a/in.parquet")  # fmt: skip
    run_stage("test", DropMarked(), {}, tmp_path / "a/in.parquet", tmp_path / "b/out.parquet", 1)
    assert [pair.image for pair in pairs.read(tmp_path / "b/out.parquet")] == ["../a/img/1.png", "2.png"]


def test_an_empty_input_gives_an_empty_output(tmp_path):
    pairs.write([], tmp_path / "in.parquet")
    summary = run_stage("test", DropMarked(), {}, tmp_path / "in.parquet", tmp_path / "out.parquet", 2)
    assert summary == Summary(0, 0, {})
    assert pairs.count(tmp_path / "out.parquet") == 0


def test_missing_input(tmp_path):
    with pytest.raises(UserError, match="no such pairs file"):
        run_stage("test", DropMarked(), {}, tmp_path / "none.parquet", tmp_path / "out.parquet", 1)
