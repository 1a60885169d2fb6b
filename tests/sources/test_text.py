"""Lines and rows of text files: encodings, damage, quoting, and stray quotes that must cost no other row."""

import csv
import gzip
import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.pipeline.rejects import Reject, write_rejects
from clip_italian.sources import conceptual_captions, text
from clip_italian.sources.mscoco_it import MscocoIt
from clip_italian.sources.tables import Columns, Csv, JsonLines
from clip_italian.sources.text import Line, Row, decode, flaw, key_id, lines, one_line, read_all, rows
from clip_italian.sources.wit import Wit

DATA = Path(__file__).parents[1] / "data"


def written(folder, raw, name="a.txt"):
    (folder / name).write_bytes(raw)
    return folder / name


def read_rows(table, delimiter="\t", starts=None):
    return list(rows((Line(n, line) for n, line in enumerate(table, start=1)), delimiter, starts))


def fields(table, delimiter="\t", starts=None):
    return [row.fields for row in read_rows(table, delimiter, starts)]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "compressed without the suffix"])
def test_lines_of_plain_and_compressed_files(tmp_path, name):
    raw = "uno\r\ndue è\n\nquattro".encode()
    path = written(tmp_path, raw if name == "a.txt" else gzip.compress(raw), name)
    assert list(lines(path)) == [Line(1, "uno"), Line(2, "due è"), Line(3, ""), Line(4, "quattro")]


def test_encodings_line_by_line(tmp_path):
    raw = b"\xef\xbb\xbf" + "città\n".encode() + "perché “no”\n".encode("cp1252") + b"\x81\n" + "è\n".encode("latin-1")
    found = [line.text for line in lines(written(tmp_path, raw))]
    assert found == ["città", "perché “no”", "\x81", "è"]
    assert decode(b"\xef\xbb\xbfciao") == "ciao"


def test_utf_16_and_folders_are_refused_with_advice(tmp_path):
    with pytest.raises(UserError, match=r"UTF-16; save it as UTF-8"):
        list(lines(written(tmp_path, "ciao".encode("utf-16"))))
    with pytest.raises(UserError, match="a folder; give the files in it"):
        list(lines(tmp_path))


def test_empty_files_have_no_lines(tmp_path):
    assert list(lines(written(tmp_path, b""))) == []
    assert list(lines(written(tmp_path, gzip.compress(b""), "b.gz"))) == []
    assert fields([]) == []


def test_nul_bytes_cost_their_line(tmp_path):
    found = list(lines(written(tmp_path, b"uno\ndu\0e\ntre\n")))
    assert found == [Line(1, "uno"), Reject("", "nul-byte", detail="a.txt, line 2"), Line(3, "tre")]


def test_endless_lines_cost_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "MAX_LINE", 10)
    found = list(lines(written(tmp_path, b"uno\n" + b"x" * 95 + b"\ntre\n123456789\n1234567890")))
    assert [item.text if isinstance(item, Line) else item.reason for item in found] == [
        "uno", "line-too-long", "tre", "123456789", "line-too-long",
    ]  # fmt: skip
    assert found[2].number == 3


def test_a_truncated_download_keeps_what_was_read(tmp_path):
    many = [os.urandom(30).hex() for _ in range(20_000)]
    whole = gzip.compress("\n".join(many).encode())
    path = written(tmp_path, whole[: len(whole) // 2], "a.gz")
    *kept, last = lines(path)
    assert last.reason == "damaged-gzip"
    assert "a.gz, after line" in last.detail
    assert "download" in last.detail
    assert len(kept) > 5_000
    assert [line.text for line in kept] == many[: len(kept)]
    with pytest.raises(UserError, match=r"a\.gz: damaged gzip file .*download it again"):
        read_all(path)


@pytest.mark.parametrize("flip", [0.3, 0.9])
def test_flipped_bits_in_a_compressed_file(tmp_path, flip):
    raw = bytearray(gzip.compress("\n".join(map(str, range(50_000))).encode()))
    raw[int(len(raw) * flip)] ^= 0xFF
    found = list(lines(written(tmp_path, bytes(raw), "a.gz")))
    assert [item.reason for item in found if isinstance(item, Reject)][-1] == "damaged-gzip"


def test_flaws():
    assert flaw("perché 🙂") is None
    assert flaw("a\0b") == "nul-byte"
    assert flaw("a\ud83d") == "broken-text"
    assert one_line(" due\n\tcani  neri ") == "due cani neri"
    assert key_id("wit", "http://a/b.jpg") == key_id("wit", "http://a/b.jpg") != key_id("wit", "http://a/c.jpg")


# Rows as csv.writer writes them are read as csv.reader reads them.

CELL = st.text(st.sampled_from('ab "\t\n,è'), max_size=8)


@settings(max_examples=300, deadline=None)
@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=6)))
def test_what_csv_writes_is_read_back_where_nothing_is_ambiguous(table):
    header = [f"h{number}" for number in range(len(table[0]))]
    # A row that starts with a delimiter is not ambiguous, one that is empty is.
    table = [["r", *row[1:]] for row in table]
    file = io.StringIO()
    csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *table])
    assert fields(file.getvalue().removesuffix("\n").split("\n")) == [header, *table]


def test_quoting_by_example():
    header = "a,b,c"
    assert fields([header, '1,"due, ""tre""",4', '"x', 'y",2,3'], ",") == [
        ["a", "b", "c"], ["1", 'due, "tre"', "4"], ["x\ny", "2", "3"],
    ]  # fmt: skip
    # Quotes that open nothing.
    assert fields([header, '"Pane" caldo,2,3', '5" vite,2,3', '",2,3'], ",") == [
        ["a", "b", "c"], ['"Pane" caldo', "2", "3"], ['5" vite', "2", "3"], ['"', "2", "3"],
    ]  # fmt: skip
    # A closed quote that would swallow a column.
    assert fields([header, '"uno,due",3', '"uno,2",3,4'], ",")[1:] == [['"uno', 'due"', "3"], ["uno,2", "3", "4"]]
    assert read_rows([header, "", '"x', 'y",2,3', "1,2,3"], ",")[1:] == [
        Row(3, ["x\ny", "2", "3"]), Row(5, ["1", "2", "3"]),
    ]  # fmt: skip


def test_a_quote_that_never_closes_reaches_only_so_far():
    many = [f"{n}\tb\tc" for n in range(5_000)]
    broken = ["a\tb\tc", '1\t"mai chiuso\t3', *many]
    assert fields(broken) == [["a", "b", "c"], ["1", '"mai chiuso', "3"], *(line.split("\t") for line in many)]


def test_long_quoted_fields_within_reach():
    inside = "\n".join(["riga"] * text.REACH_LINES)
    assert fields(["a\tb", *f'1\t"{inside}"'.split("\n")])[1] == ["1", inside]
    beyond = fields(["a\tb", *f'1\t"{inside}\nancora"'.split("\n")])
    assert beyond[1] == ["1", '"riga']
    assert len(beyond) == text.REACH_LINES + 2


def test_a_rejected_line_ends_a_quoted_field():
    table = [Line(1, "a\tb"), Line(2, '1\t"due'), Reject("", "nul-byte"), Line(4, 'tre"\t4')]
    found = list(rows(iter(table), "\t"))
    assert found == [Row(1, ["a", "b"]), Row(2, ["1", '"due']), Reject("", "nul-byte"), Row(4, ['tre"', "4"])]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.lists(st.text(st.sampled_from('ab "\t\n'), max_size=6), min_size=4, max_size=4), min_size=2, max_size=6
    ),
    st.data(),
)
def test_a_stray_quote_costs_no_other_row(table, data):
    """One quote more, anywhere after a row's mark: all other rows stay, in order."""
    rest = [[f"#{number}", *row] for number, row in enumerate(table)]
    file = io.StringIO()
    csv.writer(file, delimiter="\t", lineterminator="\n").writerows([["#h", "a", "b", "c", "d"], *rest])
    written_rows = ["#" + part for part in file.getvalue().removesuffix("\n").split("\n#")]
    written_rows[0] = written_rows[0][1:]
    hit = data.draw(st.integers(1, len(table)))
    at = data.draw(st.integers(written_rows[hit].index("\t") + 1, len(written_rows[hit])))
    written_rows[hit] = written_rows[hit][:at] + '"' + written_rows[hit][at:]
    found = fields("\n".join(written_rows).split("\n"), starts=lambda line: line.startswith("#"))
    whole = [row for row in found if row in rest]
    assert [row for row in rest if row[0] != f"#{hit - 1}"] == [row for row in whole if row[0] != f"#{hit - 1}"]


SAMPLES = {
    "wit_sample.tsv": Wit("it"),
    "conceptual_captions_sample.tsv": conceptual_captions.read,
    "captions_ita_devset_validated_sample.json": MscocoIt(),
    "own_sample.jsonl": JsonLines(),
    "own_sample.csv": Csv(Columns("foto", "didascalia")),
}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(SAMPLES)), st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 40)))
)
def test_no_reader_falls_over_damaged_files(tmp_path_factory, name, cuts):
    """What comes is pairs and rejects that can be written, or one error for people."""
    raw = (DATA / name).read_bytes()
    for share, new, lost in cuts:
        at = int(share * len(raw))
        raw = raw[:at] + new + raw[at + lost :]
    folder = tmp_path_factory.mktemp("damaged")
    (folder / name).write_bytes(raw)
    try:
        items = list(SAMPLES[name](folder / name))
    except UserError as error:
        assert str(error).startswith(str(folder / name))
        assert "\n" not in str(error)
        return
    found = [item for item in items if isinstance(item, pairs.Pair)]
    pairs.write(found, folder / "out.parquet")
    write_rejects([item for item in items if isinstance(item, Reject)], folder / "rejects.jsonl")
    assert [pair.captions for batch in pairs.batches(folder / "out.parquet") for pair in pairs.from_batch(batch)] == [
        pair.captions for pair in found
    ]
    assert all(pair.captions and all(caption.strip() for caption in pair.captions) for pair in found)
