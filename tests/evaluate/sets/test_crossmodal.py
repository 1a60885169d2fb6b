"""Crossmodal-3600 from a tiny copy of its file."""

import json
from dataclasses import replace

import pytest

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import sets
from clip_italian.evaluate.sets.base import Size, load

ITALIAN = replace(sets.known(languages.get("it"))["xm3600"], size=Size(2))


def row(key, *captions):
    texts = {"caption": list(captions), "caption/tokenized": [], "caption/tokenized/lowercase": []}
    return {"image/key": key, "image/locale": "it", "it": texts, "en": {"caption": ["a cat"]}}


def write(folder, *rows):
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "images").mkdir(exist_ok=True)
    for one in rows:
        (folder / f"images/{one['image/key']}.jpg").touch()


def test_captions_of_the_language(tmp_path):
    write(tmp_path, row("0a1b", "Un  gatto", "Un gatto nero", "Un gatto"), row("2c3d", "", "Un treno"))
    found = load(ITALIAN, tmp_path)
    assert [(pair.id, pair.captions, pair.split) for pair in found.pairs] == [
        ("xm3600-0a1b", ("Un gatto", "Un gatto nero"), "test"),
        ("xm3600-2c3d", ("Un treno",), "test"),
    ]
    assert found.pairs[0].image == str(tmp_path / "images/0a1b.jpg")


def test_what_is_wrong_is_one_line(tmp_path):
    write(tmp_path, row("0a1b", "Un gatto"), row("2c3d", "Un treno"))
    (tmp_path / "images/2c3d.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 2 pictures of xm3600 are missing, first 2c3d.jpg"):
        load(ITALIAN, tmp_path)
    write(tmp_path, row("0a1b", "Un gatto"))
    with pytest.raises(UserError, match="1 pictures of xm3600, published are 2"):
        load(ITALIAN, tmp_path)
    write(tmp_path, row("0a1b", " "), row("2c3d", "Un treno"))
    with pytest.raises(UserError, match="line 1: a picture without a name or without a caption"):
        load(ITALIAN, tmp_path)
    (tmp_path / "captions.jsonl").write_text('{"image/key": "0a1b", "en": {"caption": ["a cat"]}}\n')
    with pytest.raises(UserError, match="line 1: no picture with captions in 'it'"):
        load(ITALIAN, tmp_path)
    (tmp_path / "captions.jsonl").write_text("{\n")
    with pytest.raises(UserError, match="line 1: not JSON"):
        load(ITALIAN, tmp_path)
