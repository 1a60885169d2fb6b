"""`clip-italian stats` as people run it."""

import json

import pytest
from PIL import Image

from clip_italian.pairs import Pair, write
from clip_italian.pipeline.rejects import Reject, write_rejects


@pytest.fixture
def data(tmp_path):
    Image.new("RGB", (64, 48), "orange").save(tmp_path / "a.png")
    pairs = [
        Pair("a", "a.png", ("un'arancia matura sul tavolo della cucina", "il frutto più dolce"), "wit", license="CC0"),
        Pair("b", "https://example.org/b.jpg", ("due gatti che dormono sul divano di casa",), "ilpost"),
    ]
    write(pairs, tmp_path / "train.parquet")
    write_rejects([Reject("x", "not-italian", "a cat")] * 3, tmp_path / "clean.rejects.jsonl")
    return tmp_path / "train.parquet"


def test_card_and_json(run, data, tmp_path):
    code, out, err = run("stats", data, "-o", tmp_path / "card", "--title", "Prova", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["output"][0] == str(tmp_path / "card" / "README.md")
    assert found["captions"] == {"wit": 2, "ilpost": 1}
    assert found["rejects"] == {"clean": {"not-italian": 3}}
    assert found["words"] == {"4": 1, "6": 1, "8": 1}
    assert found["languages"] == {"it": 3}
    assert found["remote"] == found["local"] == 1
    text = (tmp_path / "card" / "README.md").read_text(encoding="utf-8")
    assert "# Prova" in text
    assert "2 images with 3 captions from 2 sources" in text

    code, out, _ = run("stats", data, "-o", tmp_path / "card")
    assert code == 0
    assert "README.md: 2 images, 3 captions" in out


def test_named_rejects_only(run, data, tmp_path):
    (tmp_path / "other").mkdir()
    write_rejects([Reject("x", "too-short")], tmp_path / "other" / "wit.rejects.jsonl")
    arguments = ("--rejects", tmp_path / "other" / "wit.rejects.jsonl", "--json")
    code, out, _ = run("stats", data, data, "-o", tmp_path / "card", *arguments)
    assert code == 0
    assert json.loads(out)["rejects"] == {"wit": {"too-short": 1}}


def test_bad_input_is_one_line(run, data, tmp_path):
    (tmp_path / "no.parquet").write_bytes(b"\x00" * 50)
    (tmp_path / "bad.jsonl").write_text("no json\n")
    (tmp_path / "empty.jsonl").touch()
    for arguments, words in [
        ((tmp_path / "none.parquet",), "no such pairs file"),
        ((tmp_path / "no.parquet",), "not a Parquet file"),
        ((tmp_path / "bad.jsonl",), "line 1: not JSON"),
        ((tmp_path / "empty.jsonl",), "no captions"),
        ((data, "--rejects", tmp_path / "bad.jsonl"), "bad.jsonl, line 1: not what a stage writes"),
        ((data, "--rejects", tmp_path / "none.jsonl"), "no such rejects file"),
    ]:
        code, out, err = run("stats", *arguments, "-o", tmp_path / "card")
        assert (code, out) == (1, ""), arguments
        assert words in err
        assert err.count("\n") == 1
    assert not (tmp_path / "card").exists()


def test_help_has_an_example(run):
    code, out, _ = run("stats", "--help")
    assert code == 0
    assert "Example: clip-italian stats" in out
