"""Raters' files: what is drawn, what spreadsheets make of it, and what is read back."""

import csv
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_italian.errors import UserError
from clip_italian.pairs import Pair, write
from clip_italian.translate import rating, sheet
from clip_italian.translate.agreement import Weighting

SCALE = rating.SCALE


@pytest.fixture
def translated(tmp_path):
    pairs = [
        Pair(
            f"{number:05d}",
            f"http://example.org/{number}.jpg",
            (f"gatto {number} è qui", f'=cane {number}; «bello», "sì"\nqui'),
            "cc",
            captions_original=(f"cat {number} is here", f"-dog {number}, nice"),
        )
        for number in range(60)
    ]
    write([*pairs, Pair("plain", "a.jpg", ("non tradotta",), "wit")], tmp_path / "cc.parquet")
    return tmp_path / "cc.parquet"


def sheets(translated, raters=("anna", "bruno"), size=8, delimiter=";"):
    drawn = rating.draw(translated, size, 0)
    return rating.write_sheets(drawn, raters, translated.parent / "rating", delimiter)


def fill(path, grades, encoding="utf-8-sig", delimiter=";", newline="\r\n"):
    """Save the file as another program would, with these ratings."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file, delimiter=";"))
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=newline)
        writer.writerow(rows[0])
        writer.writerows([*row[:4], grade] for row, grade in zip(rows[1:], grades, strict=True))


def test_the_sample(translated, tmp_path):
    drawn = rating.draw(translated, 10, 1)
    assert drawn == rating.draw(translated, 10, 1) != rating.draw(translated, 10, 2)
    assert len(set(drawn)) == 10
    assert all(item.original.split()[1].strip(",") == item.translation.split()[1].strip(";") for item in drawn)
    assert Counter(item.id[-2:] for item in rating.draw(translated, 1_000, 0)) == {":1": 60, ":2": 60}
    # The same pairs in another file and order give the same sample.
    write(reversed([Pair(str(n), "x", (f"t{n}",), "s", captions_original=(f"o{n}",)) for n in range(30)]),
          tmp_path / "a.jsonl")  # fmt: skip
    write([Pair(str(n), "x", (f"t{n}",), "s", captions_original=(f"o{n}",)) for n in range(30)],
          tmp_path / "b.parquet")  # fmt: skip
    assert rating.draw(tmp_path / "a.jsonl", 5, 0) == rating.draw(tmp_path / "b.parquet", 5, 0)


def test_nothing_translated(tmp_path):
    write([Pair("a", "a.jpg", ("un gatto",), "wit")], tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no translated captions"):
        rating.draw(tmp_path / "a.parquet", 10, 0)


@pytest.mark.parametrize("delimiter", sheet.DELIMITERS.values())
def test_sheets_for_spreadsheets(translated, delimiter):
    anna, bruno = sheets(translated, size=120, delimiter=delimiter)
    assert anna.read_bytes() == bruno.read_bytes()
    assert anna.read_bytes().startswith(b"\xef\xbb\xbf")
    with anna.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file, delimiter=delimiter)
    assert header == ["number", "id", "original", "translation", "rating"]
    assert [row[0] for row in rows] == [str(n) for n in range(1, 121)]
    assert {row[4] for row in rows} == {""}
    # Nothing that a spreadsheet program would calculate, and one line a row.
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    assert sum(row[3].startswith("'=cane") for row in rows) == 60
    assert len(anna.read_text(encoding="utf-8-sig").splitlines()) == 121
    explained = (anna.parent / "rating-scale.txt").read_text(encoding="utf-8")
    assert all(f"{grade}  {meaning}" in explained for grade, meaning in SCALE.items())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@pytest.mark.parametrize("newline", ["\r\n", "\n", "\r"])
def test_what_spreadsheets_save(translated, encoding, delimiter, newline):
    anna, bruno = sheets(translated)
    grades = ["3", "3,0", "3.0", " 4 ", "'2", "4,", "", "1,00"]
    fill(anna, grades, encoding, delimiter, newline)
    assert [row.rating for row in sheet.read(anna, SCALE)] == [3, 3, 3, 4, 2, 4, None, 1]
    fill(bruno, ["3"] * 8)
    found = rating.score([anna, bruno])
    assert found.raters["anna"].distribution == {1: 1, 2: 1, 3: 3, 4: 2}
    assert found.raters["anna"].missing == 1
    assert found.raters["anna"].mean == pytest.approx(20 / 7)
    assert found.raters["bruno"].mean == 3
    assert found.together.mean == pytest.approx(44 / 15)
    identity = found.agreement[Weighting.identity]
    assert (identity.items, identity.shared) == (8, 7)
    assert identity.observed == pytest.approx(3 / 7)


def test_rows_that_spreadsheets_add_and_ids_that_they_change(translated):
    anna, bruno = sheets(translated)
    fill(anna, "43214321")
    fill(bruno, "43214321")
    text = bruno.read_text(encoding="utf-8-sig").replace(";0", ";")
    bruno.write_text("sep=;\n" + text + ";;;;\n\n", encoding="utf-8")
    found = rating.score([anna, bruno])
    assert found.items == 8
    assert found.agreement[Weighting.quadratic].coefficient == 1


def test_a_row_that_was_removed_is_missing(translated):
    anna, bruno = sheets(translated)
    fill(anna, "44444444")
    fill(bruno, "44444444")
    lines = bruno.read_text(encoding="utf-8-sig").splitlines()
    bruno.write_text("\n".join(lines[:3] + lines[4:]), encoding="utf-8")
    assert rating.score([anna, bruno]).raters["bruno"].missing == 1


def test_one_rater_has_no_agreement(translated):
    (anna,) = sheets(translated, ["anna"])
    fill(anna, "44443333")
    found = rating.score([anna])
    assert found.together.mean == 3.5
    assert found.agreement == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (b"PK\x03\x04rest", "save the sheet as CSV"),
        (b"\x00\x00\x00", "line 1: lacks the columns"),
        ("gatto è\n".encode("latin-1"), "line 1: lacks the columns"),
        (b"number;id;original;translation;rating\n1;a;b;c;4\n2;a;b;c;5\n", "line 3: rating '5'; write a number from 1"),
        (b"number;id;original;translation;rating\n1;a;\"b\nb\";c;4\n2;a;b;c;good\n", "line 4: rating 'good'"),
        (b"number;id;original;translation;rating\n1;a;b;c;3,5\n", "line 2: rating '3,5'"),
        (b"number;id;original;translation;rating\n1;a;b;c;\x00\n", "line 2: rating "),
        (b"number;id;original;translation;rating\nx;a;b;c;3\n", "line 2: 'x' is no row number"),
        (b"number;id;original;translation;rating\n1;a;b;c;3\n1;a;b;c;3\n", "line 3: number 1 occurs twice"),
        (b"number;id;original;translation;rating\n1;a;b;c;\n", "no ratings in it yet"),
        (b"number;id;original;translation;rating\n1;a;" + b"b" * 200_000 + b";c;\n", "line 2: not CSV"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path, content, words):
    (tmp_path / "anna.csv").write_bytes(content)
    with pytest.raises(UserError) as error:
        rating.score([tmp_path / "anna.csv"])
    assert str(tmp_path / "anna.csv") in str(error.value)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_do_not_belong_together(translated):
    anna, bruno = sheets(translated)
    fill(anna, "44444444")
    fill(bruno, "44444444")
    with pytest.raises(UserError, match="given twice"):
        rating.score([anna, anna.parent / ".." / anna.parent.name / "anna.csv"])
    other = rating.write_sheets(rating.draw(translated, 8, 99), ["carla"], anna.parent, ";")
    fill(other[0], "44444444")
    with pytest.raises(UserError, match=r"carla.csv, line 2: number 1 has another text than in .*anna.csv, line 2"):
        rating.score([anna, bruno, *other])
    with pytest.raises(UserError, match="no such file"):
        rating.score([anna.parent / "none.csv"])


def test_ratings_are_not_overwritten(translated):
    anna, bruno = sheets(translated)
    sheets(translated)  # without ratings, they may be
    fill(bruno, ["", "", "3", "", "", "", "", ""])
    kept = bruno.read_bytes()
    anna.unlink()
    with pytest.raises(UserError, match=r"bruno.csv: holds ratings"):
        sheets(translated)
    assert bruno.read_bytes() == kept
    assert not anna.exists()
    bruno.write_text("not ours")
    with pytest.raises(UserError, match="lacks the columns"):
        sheets(translated)
    assert bruno.read_text() == "not ours"
    assert sheets(translated, ["carla"])[0].is_file()


@given(st.binary(max_size=200))
def test_any_bytes_give_ratings_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "anna.csv"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        list(sheet.read(path, SCALE))
    assert "\n" not in str(error.value)


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=20), st.none() | st.integers(1, 4)), min_size=1, max_size=8, unique=True
    )
)
def test_any_text_comes_back(tmp_path_factory, items):
    folder = tmp_path_factory.mktemp("text")
    drawn = [rating.Item(f"{text}:1", text, text) for text, _ in items]
    (path,) = rating.write_sheets(drawn, ["anna"], folder, ";")
    fill(path, ["" if grade is None else str(grade) for _, grade in items])
    assert [row.rating for row in sheet.read(path, SCALE)] == [grade for _, grade in items]
