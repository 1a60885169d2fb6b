"""The encodings that web pages come in, right and wrong."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_italian.sources.web import DAMAGE, decoded, origin, read_page, saved_from

TEXT = "<p>Perché la città è “così”</p>"
LATIN = "<p>Perché la città è così</p>"


@pytest.mark.parametrize(
    ("raw", "content_type", "expected"),
    [
        (TEXT.encode(), "", TEXT),
        (TEXT.encode(), "text/html; charset=iso-8859-1", TEXT),
        (b"\xef\xbb\xbf" + TEXT.encode(), "text/html; charset=iso-8859-1", TEXT),
        (TEXT.encode("utf-16"), "", TEXT),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "text/html; charset=utf-8", TEXT),
        (TEXT.encode("utf-16-le"), "text/html; charset=UTF-16LE", TEXT),
        (LATIN.encode("latin-1"), "", LATIN),
        (LATIN.encode("latin-1"), "text/html; charset=utf-8", LATIN),
        (TEXT.encode("cp1252"), 'text/html; charset="ISO-8859-1"', TEXT),
        (LATIN.encode("mac-roman"), "text/html;Charset=macintosh", LATIN),
        (b'<meta charset="mac-roman">' + LATIN.encode("mac-roman"), "", '<meta charset="mac-roman">' + LATIN),
        (b"<meta charset=mac-roman>" + LATIN.encode("cp1252"), "; charset=latin1", "<meta charset=mac-roman>" + LATIN),
        (LATIN.encode("latin-1"), "text/html; charset=klingon", LATIN),
        (LATIN.encode("latin-1"), "text/html; charset=rot13", LATIN),
        (b"<p>a\0b</p>\0\0", "", "<p>ab</p>"),
        (b"", "", ""),
        (b"\0" * 50, "", ""),
    ],
)  # fmt: skip
def test_decoded(raw, content_type, expected):
    assert decoded(raw, content_type) == expected


@given(st.binary(max_size=200), st.sampled_from(["", "utf-16", "utf-7", "latin-1", "unicode_escape", "x", "cp037"]))
def test_any_bytes_are_some_text_that_can_be_stored(raw, charset):
    text = decoded(raw, f"text/html; charset={charset}")
    assert "\0" not in text
    text.encode()


def test_pages_in_files(tmp_path):
    (tmp_path / "a.html.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert read_page(tmp_path / "a.html.gz") == TEXT
    (tmp_path / "b.html.gz").write_bytes(gzip.compress(TEXT.encode())[:-9])
    (tmp_path / "c.html.gz").write_bytes(b"\x1f\x8bno")
    for name in ("b", "c"):
        with pytest.raises(DAMAGE):
            read_page(tmp_path / f"{name}.html.gz")


@pytest.mark.parametrize("url", ["http://h/", "https://www.ilpost.it/2020/01/02/città/?a=b--c", "http://h/a>b"])
def test_where_a_page_was_saved_from(url):
    assert origin(saved_from(url) + TEXT) == url.replace(">", "%3E")
    assert origin("<!DOCTYPE html>\n<!-- saved from url=(0014)http://a/b/c-d/ -->\n<html>") == "http://a/b/c-d/"
    assert origin(TEXT) is None
