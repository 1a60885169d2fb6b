"""Conceptual Captions: plain lines of caption and URL."""

import gzip
from pathlib import Path

import pytest

from clip_italian import pairs
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.collect import collect
from clip_italian.sources.conceptual_captions import read

SAMPLE = Path(__file__).parents[1] / "data" / "conceptual_captions_sample.tsv"


def found(folder, raw, name="cc.tsv"):
    (folder / name).write_bytes(raw)
    return list(read(folder / name))


def test_the_sample_file(tmp_path):
    collect("conceptual-captions", read, {}, [SAMPLE], tmp_path / "cc.parquet")
    kept = pairs.read(tmp_path / "cc.parquet")
    assert [(pair.captions, pair.image) for pair in kept] == [
        (("a wooden bridge over a small river",), "http://pictures.invalid/bridge.jpg"),
        (('" the old mill " in winter',), "http://pictures.invalid/mill.jpg?w=640"),
        (("a loaf of bread on a table",), "http://pictures.invalid/bread.png"),
    ]
    assert {(pair.source, pair.split, pair.captions_original) for pair in kept} == {("conceptual-captions", None, None)}
    assert len({pair.id for pair in kept}) == 3


def test_captions_of_one_url_come_together(tmp_path):
    (tmp_path / "cc.tsv").write_text("a cat\thttp://a/1\na dog\thttp://a/2\none cat\thttp://a/1\n")
    collect("conceptual-captions", read, {}, [tmp_path / "cc.tsv"], tmp_path / "cc.parquet")
    assert [pair.captions for pair in pairs.read(tmp_path / "cc.parquet")] == [("a cat", "one cat"), ("a dog",)]


def test_quotes_do_not_join_lines(tmp_path):
    items = found(tmp_path, b'" a cat\thttp://a/1\n"a dog"\thttp://a/2\na "\thttp://a/3\n')
    assert [item.captions for item in items] == [('" a cat',), ('"a dog"',), ('a "',)]


def test_the_file_with_labels_and_one_with_a_header(tmp_path):
    (item,) = found(tmp_path, b"a cat\thttp://a/1\tcat,animal\t/m/1,/m/2\t0.9,0.8\n")
    assert (item.captions, item.image) == (("a cat",), "http://a/1")
    (item,) = found(tmp_path, b"Caption\tURL\na cat\thttp://a/1\n")
    assert item.captions == ("a cat",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"only a caption", "wrong-columns"),
        (b"a\tb\thttp://a/1", "wrong-columns"),
        (b"a cat\tfile.jpg", "no-url"),
        (b"a cat\t", "no-url"),
        (b"a cat\thttp://a/b c", "no-url"),
        (b"  \thttp://a/1", "no-caption"),
        (b"a\0cat\thttp://a/1", "nul-byte"),
    ],
)
def test_lines_that_cannot_be_used(tmp_path, line, reason):
    items = found(tmp_path, b"before\thttp://a/2\n" + line + b"\nafter\thttp://a/3\n")
    assert [item.captions[0] if isinstance(item, Pair) else item.reason for item in items] == [
        "before",
        reason,
        "after",
    ]
    assert "cc.tsv, line 2" in items[1].detail


def test_encodings_and_damage(tmp_path):
    assert found(tmp_path, b"") == []
    assert found(tmp_path, b"\xef\xbb\xbfa caf\xc3\xa9\thttp://a/1\r\n")[0].captions == ("a café",)
    assert found(tmp_path, b"a caf\xe9\thttp://a/1\n")[0].captions == ("a café",)
    whole = gzip.compress(b"a cat\thttp://a/1\n")
    items = found(tmp_path, whole[:-4])
    assert [type(item) for item in items] == [Pair, Reject]
    assert items[1].reason == "damaged-gzip"
