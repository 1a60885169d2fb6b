"""Pictures with captions in JSON lines."""

import json

import pytest

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate import sets
from clip_italian.evaluate.sets.base import load

FLICKR = sets.known(languages.get("it"))["flickr"]


def test_captions_file_beside_the_pictures(tmp_path):
    (tmp_path / "images").mkdir()
    lines = [{"image_path": f"images/{n}.jpg", "captions": ["un cane", f"il cane {n}"]} for n in (1, 2)]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "images/1.jpg").touch()
    with pytest.raises(UserError, match=r"1 of 2 pictures of flickr are missing, first images/2.jpg"):
        load(FLICKR, tmp_path)
    (tmp_path / "images/2.jpg").touch()
    found = load(FLICKR, tmp_path)
    assert [(pair.id, pair.image, pair.captions, pair.split) for pair in found.pairs] == [
        (str(n), str(tmp_path / f"images/{n}.jpg"), ("un cane", f"il cane {n}"), "test") for n in (1, 2)
    ]


def test_without_the_file(tmp_path):
    with pytest.raises(UserError, match=r"no captions.jsonl in it; it has a line a picture"):
        load(FLICKR, tmp_path)
