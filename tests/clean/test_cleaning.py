"""A whole cleaning: what stays, what is listed, and that kills at random moments change nothing."""

import multiprocessing
import os
import random
import signal
import time
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from clip_italian import pairs
from clip_italian.clean import cleaning
from clip_italian.clean.cleaning import clean
from clip_italian.clean.recipe import load_clean_recipe
from clip_italian.clean.stage import Clean
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import read_rejects, rejects_path

RECIPE = load_clean_recipe("paper", ["names.backend=lexicon"])
SUBJECTS = ("Un gatto", "Una donna", "Un vecchio pescatore", "Il treno", "Una bambina", "Un cane nero", "Il falegname")
DEEDS = ("dorme sul divano", "guarda il mare", "corre sulla spiaggia", "lavora nel giardino", "mangia una mela")


def some_pairs(count):
    draw = random.Random(3)
    for number in range(count):
        captions = [f"{draw.choice(SUBJECTS)} {draw.choice(DEEDS)} vicino alla casa {draw.choice('abcdefgh') * 3}"]
        captions += draw.choice([[], ["Kim Rhodes"], ["the old bridge over the wide river"], ["Duomo"]])
        yield Pair(f"id-{number:05}", f"http://h/{number}.jpg", tuple(captions), "s")


def test_a_whole_run(tmp_path):
    rows = [
        Pair("1", "http://h/1.jpg", ("Un gatto dorme sul divano[3]", "Kim Rhodes"), "s", split="test", license="CC0"),
        Pair("2", "http://h/2.jpg", ("Un gatto dorme sul divano",), "s"),
        Pair("3", "http://h/3.jpg", ("Una bambina mangia una mela in giardino",), "s"),
    ]
    pairs.write(rows, tmp_path / "in.jsonl")
    summary = clean(tmp_path / "in.jsonl", tmp_path / "out.parquet", RECIPE)
    assert pairs.read(tmp_path / "out.parquet") == [
        Pair("1", "http://h/1.jpg", ("Un gatto dorme sul divano",), "s", split="test", license="CC0"),
        rows[2],
    ]
    found = [(r.id, r.reason, r.text) for r in read_rejects(rejects_path(tmp_path / "out.parquet"))]
    assert found == [("1", "names", "Kim Rhodes"), ("2", "duplicate-caption", "Un gatto dorme sul divano")]
    assert (summary.before, summary.after) == (3, 2)
    assert summary.rejected == {"names": 1, "duplicate-caption": 1}
    assert pairs.count(tmp_path / "in.jsonl") == 3, "the input was changed"


@dataclass(frozen=True)
class Held(Clean):
    """The stage, but it goes no further once `wanted` parts are in the folder `parts`."""

    parts: Path = Path()
    wanted: int = 0

    def __call__(self, batch):
        while len(list(self.parts.glob("0*"))) >= self.wanted:
            time.sleep(0.01)
        return super().__call__(batch)


# Functions that the work goes through after the checks, and at which call of theirs it stops.
LATER = {"verdicts": 1, "_write": 1, "_apply": random.randrange(1, 30), "by_reason": 1}


def run_in_group(source, output, moment):
    """Clean in a process group of its own, and stop (to be killed) at `moment`: so many parts, or a later step."""
    os.setsid()
    if isinstance(moment, int):
        parts = output.parent / f"{output.name}.parts" / "checked.parquet.parts"
        cleaning.Clean = partial(Held, parts=parts, wanted=moment)
    else:
        real, at, times = getattr(cleaning, moment), LATER[moment], count(1)

        def stop(*arguments):
            if next(times) == at:
                (output.parent / "stopped").touch()
                time.sleep(600)
            return real(*arguments)

        setattr(cleaning, moment, stop)
    clean(source, output, RECIPE, workers=2)


def is_held(output, moment):
    if not isinstance(moment, int):
        return (output.parent / "stopped").exists()
    parts = output.parent / f"{output.name}.parts" / "checked.parquet.parts"
    return len(list(parts.glob("0*"))) >= moment


@pytest.mark.integration
def test_kill_at_random_moments_and_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs.rows, "PART_ROWS", 100)
    source = tmp_path / "in.parquet"
    pairs.write(some_pairs(4_000), source)
    expected, output = tmp_path / "expected.parquet", tmp_path / "out.parquet"
    clean(source, expected, RECIPE, workers=1)
    for moment in (*sorted(random.sample(range(1, 38), 3)), *LATER):
        (tmp_path / "stopped").unlink(missing_ok=True)
        process = multiprocessing.get_context("fork").Process(target=run_in_group, args=(source, output, moment))
        process.start()
        limit = time.monotonic() + 120
        # Parts of the run before count, too: the condition may hold before this process has a group of its own.
        while os.getpgid(process.pid) != process.pid or not is_held(output, moment):
            assert process.is_alive(), f"it ended before it could be killed at {moment}"
            assert time.monotonic() < limit
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        assert output.exists() == (moment == "by_reason")
    clean(source, output, RECIPE, workers=2)
    assert output.read_bytes() == expected.read_bytes()
    assert rejects_path(output).read_bytes() == rejects_path(expected).read_bytes()
    assert not (tmp_path / "out.parquet.parts").exists()


@pytest.mark.parametrize("content", [b"", b"\x00\x00", b"PAR1", b"{not json"])
def test_inputs_that_are_no_pairs_file(tmp_path, content):
    (tmp_path / "in.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"in\.parquet: not a Parquet file"):
        clean(tmp_path / "in.parquet", tmp_path / "out.parquet", RECIPE)
    assert not (tmp_path / "out.parquet").exists()
