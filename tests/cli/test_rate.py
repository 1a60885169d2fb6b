"""`clip-italian rate` as people run it."""

import json

import pytest

from clip_italian.pairs import Pair, write


@pytest.fixture
def translated(tmp_path):
    pairs = (Pair(str(n), f"{n}.jpg", (f"gatto {n}",), "cc", captions_original=(f"cat {n}",)) for n in range(30))
    write(pairs, tmp_path / "cc.parquet")
    return tmp_path / "cc.parquet"


def fill(path, grade):
    """The same rating in every row."""
    header, *rows = path.read_text(encoding="utf-8-sig").splitlines()
    path.write_text("\n".join([header, *(row + grade for row in rows)]), encoding="utf-8")


def test_from_pairs_to_agreement(run, translated, tmp_path):
    folder = tmp_path / "rating"
    code, out, err = run("rate", "sample", translated, "-o", folder, "--raters", "anna, bruno", "--size", 12, "--json")
    assert code == 0, err
    files = [str(folder / "anna.csv"), str(folder / "bruno.csv")]
    assert json.loads(out) == {
        "files": files, "scale": str(folder / "rating-scale.txt"), "translations": 12, "seed": 0
    }  # fmt: skip
    fill(folder / "anna.csv", "4")
    fill(folder / "bruno.csv", "3,0")

    code, out, err = run("rate", "score", *files, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["together"] == {"distribution": {"1": 0, "2": 0, "3": 12, "4": 12}, "mean": 3.5, "missing": 0}
    assert set(found["agreement"]) == {"identity", "linear", "quadratic", "ordinal"}
    assert found["agreement"]["identity"]["observed"] == 0
    assert found["agreement"]["linear"]["observed"] == pytest.approx(2 / 3)

    code, out, _ = run("rate", "score", *files)
    assert code == 0
    for words in ("anna", "4.00", "3.50", "AC1", "AC2", "66.7%", "ordinal"):
        assert words in out

    code, out, err = run("rate", "sample", translated, "-o", folder, "--raters", "anna")
    assert (code, out) == (1, "")
    assert "anna.csv: holds ratings" in err


def test_fewer_than_asked_and_one_rater(run, translated, tmp_path):
    code, out, err = run("rate", "sample", translated, "-o", tmp_path / "r", "--raters", "anna")
    assert code == 0
    assert "only 30 different translations" in err
    assert "30 translations to rate" in out
    fill(tmp_path / "r" / "anna.csv", "2")
    code, out, err = run("rate", "score", tmp_path / "r" / "anna.csv")
    assert code == 0
    assert "2.00" in out
    assert "two raters" in err


@pytest.mark.parametrize("raters", ["", "anna,", "a/b", "../x", "anna,Anna", ".hidden"])
def test_names_that_cannot_be_files(run, translated, tmp_path, raters):
    code, out, err = run("rate", "sample", translated, "-o", tmp_path / "r", "--raters", raters)
    assert (code, out) == (2, "")
    assert "clip-italian: --raters" in err
    assert not (tmp_path / "r").exists()


def test_wrong_files_are_one_line(run, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("number;id;original;translation;rating\n1;a;b;c;7\n")
    for arguments, words in [
        (("score", tmp_path / "none.csv"), "no such file"),
        (("score", bad), "bad.csv, line 2: rating '7'"),
        (("sample", tmp_path / "none.parquet", "-o", tmp_path / "r", "--raters", "anna"), "no such pairs file"),
    ]:
        code, out, err = run("rate", *arguments)
        assert (code, out) == (1, "")
        assert [line for line in err.splitlines() if words in line] == err.splitlines()


@pytest.mark.parametrize("command", ["sample", "score"])
def test_help_has_an_example(run, command):
    code, out, _ = run("rate", command, "--help")
    assert code == 0
    assert f"Example: clip-italian rate {command}" in out
