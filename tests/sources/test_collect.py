"""Files of a source become one pairs file: rows of one picture joined, order kept, kills undone."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject, read_rejects, rejects_path
from clip_italian.sources.collect import collect


@dataclass(frozen=True)
class Lines:
    """Reads `id;caption` lines; dies at the line "kill" unless `survive` exists."""

    survive: Path | None = None

    def __call__(self, path):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line == "kill":
                if self.survive and not self.survive.exists():
                    self.survive.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                continue
            id_, _, caption = line.partition(";")
            if caption:
                yield Pair(id_, f"http://h/{id_}", (caption,), "lines", captions_original=(caption.upper(),))
            else:
                yield Reject(id_, "no-caption", detail=f"line {number}")


def write_files(folder, *texts):
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.txt")
        paths[-1].write_text(text, encoding="utf-8")
    return paths


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_of_one_picture_are_joined_in_order(tmp_path, workers):
    files = write_files(tmp_path, "z;uno\na;due\nb;\nz;tre\n", "a;quattro\nq;cinque\nz;uno\n")
    output = tmp_path / "out.parquet"
    summary = collect("lines", Lines(), {}, files, output, workers)
    assert [(p.id, p.captions) for p in pairs.read(output)] == [
        ("z", ("uno", "tre")),
        ("a", ("due", "quattro")),
        ("q", ("cinque",)),
    ]
    assert pairs.read(output)[0].captions_original == ("UNO", "TRE")
    assert list(read_rejects(rejects_path(output))) == [Reject("b", "no-caption", detail="line 3")]
    assert (summary.after, summary.rejected) == (3, {"no-caption": 1})


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("uvw"))), min_size=1, max_size=3))
def test_same_as_a_dictionary(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("c")
    files = write_files(folder, *("".join(f"{i};{c}\n" for i, c in part) for part in rows))
    expected: dict[str, list[str]] = {}
    for id_, caption in (row for part in rows for row in part):
        if caption not in expected.setdefault(id_, []):
            expected[id_].append(caption)
    if not expected:
        with pytest.raises(UserError, match="no pairs found"):
            collect("lines", Lines(), {}, files, folder / "out.parquet")
        return
    collect("lines", Lines(), {}, files, folder / "out.parquet")
    assert {p.id: list(p.captions) for p in pairs.read(folder / "out.parquet")} == expected
    assert [p.id for p in pairs.read(folder / "out.parquet")] == list(expected)


def test_a_kill_costs_only_the_unfinished_files(tmp_path):
    files = write_files(tmp_path, "a;uno\n", "b;due\nkill\nc;tre\n", "d;quattro\n")
    output = tmp_path / "out.parquet"
    read = Lines(tmp_path / "survived")
    with pytest.raises(UserError, match="worker process was killed"):
        collect("lines", read, {}, files, output, workers=2)
    assert not output.exists()
    collect("lines", read, {}, files, output, workers=2)
    assert [p.id for p in pairs.read(output)] == ["a", "b", "c", "d"]


def test_missing_input(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        collect("lines", Lines(), {}, [tmp_path / "none"], tmp_path / "out.parquet")


def test_nothing_found_leaves_no_output(tmp_path):
    files = write_files(tmp_path, "a;\n")
    with pytest.raises(UserError, match="no pairs found; rejected: no-caption 1"):
        collect("lines", Lines(), {}, files, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
