"""Console output with streams of any encoding."""

import io
import sys

import pytest

from clip_italian import console

NAMES = "caffè 日本 a\udcff b\ud83d …"


def printed(monkeypatch, encoding, errors):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors=errors, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    console.replace_unencodable()
    print(NAMES)
    console.output.print(NAMES, markup=False)
    plain, rich = raw.getvalue().splitlines()
    assert plain == rich
    return plain


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "caffè 日本 a? b? …".encode()), ("cp1252", b"caff\xe8 ?? a? b? \x85"),
        ("latin-1", b"caff\xe8 ?? a? b? ?"), ("ascii", b"caff? ?? a? b? ?"),
    ],
)  # fmt: skip
def test_unencodable_characters_are_replaced(monkeypatch, encoding, expected):
    assert printed(monkeypatch, encoding, "strict") == expected


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", "caffè 日本 a".encode() + b"\xff b? \xe2\x80\xa6"), ("ascii", b"caff? ?? a\xff b? ?")],
)
def test_bytes_of_file_names_are_unchanged_in_the_c_locale(monkeypatch, encoding, expected):
    assert printed(monkeypatch, encoding, "surrogateescape") == expected


def test_other_error_handlers_are_kept(monkeypatch):
    assert printed(monkeypatch, "ascii", "backslashreplace") == rb"caff\xe8 \u65e5\u672c a\udcff b\ud83d \u2026"


def test_missing_and_replaced_streams_are_ignored(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    console.replace_unencodable()
    assert sys.stdout is None


def test_tables_use_characters_of_the_encoding(monkeypatch):
    from rich.table import Table

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    console.replace_unencodable()
    table = Table("日本", "caffè")
    table.add_row("a\udcff", "è")
    console.output.print(table)
    assert b"+--" in raw.getvalue() and b"caff?" in raw.getvalue()
