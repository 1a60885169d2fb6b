import io
import json
import tarfile

import pytest
import torch
from PIL import Image

from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.pictures.decoding import PictureError
from clip_italian.train.data import load_examples
from clip_italian.train.shards import read_shards
from tests.sources.test_webdataset import DOTTED
from tests.tars import write_tar
from tests.train.test_data import STAGE


def jpeg(colour):
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "JPEG")
    return file.getvalue()


def as_json(**values):
    return json.dumps(values).encode()


@pytest.fixture
def folder(tmp_path, cache):
    """Two shards as fetch (with our columns) and img2dataset (caption only) write them."""
    folder = tmp_path / "shards"
    folder.mkdir()
    write_tar(
        folder / "00000.tar",
        {
            "000000000.jpg": jpeg("red"),
            "000000000.json": as_json(
                id="r", captions=["rosso", "una foto rossa"], captions_original=["red", "a red photo"]
            ),
            "000000000.txt": b"rosso",
            "000000001.jpg": jpeg("blue"),
            "000000001.json": as_json(url="https://example.org/b.jpg", caption="blu"),
            "000000002.txt": b"niente",
        },
    )  # fmt: skip
    write_tar(
        folder / "00001.tar",
        {"000000000.webp": jpeg("lime"), "000000000.txt": b"verde", "000000001.png": jpeg("white"), "x.jpg": b"?"},
    )
    return folder


def test_rows_and_pictures_of_all_shards(folder, capsys):
    rows, pictures = read_shards(folder)
    assert rows["captions"].to_pylist() == [["rosso", "una foto rossa"], ["blu"], ["verde"]]
    assert rows["captions_original"].to_pylist()[0] == ["red", "a red photo"]
    assert rows["id"][0].as_py() == "r"
    assert len(pictures) == 3
    assert [pictures.bytes(row) for row in range(3)] == [jpeg("red"), jpeg("blue"), jpeg("lime")]
    assert pictures.open(2).getpixel((5, 5))[1] > 240
    assert pictures.name(2) == f"{folder / '00001.tar'}/000000000.webp"
    assert pictures.subset(torch.tensor([2])).bytes(0) == jpeg("lime")
    assert "3 samples are left out (no-caption 2, no-picture 1)" in capsys.readouterr().err


def test_shards_are_examples(folder):
    settings = {"output": "out", "data": {"pairs": folder, "original_captions": 0.5}, "stage": [STAGE]}
    write_tar(folder / "00002.tar", {"a.jpg": jpeg("black"), "a.json": as_json(caption="nero")})
    examples = load_examples(Recipe.model_validate(settings | {"data": settings["data"] | {"validation": 0.5}}))
    assert examples.texts.to_pylist() == ["rosso", "una foto rossa", "blu", "verde", "nero", "red", "a red photo"]
    assert len(examples.identities.unique()) == 4  # members of one name in different shards are different pictures
    assert examples.pictures.bytes(3) == jpeg("black")


def test_an_index_is_read_once_until_its_shard_changes(folder, monkeypatch):
    read_shards(folder)
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", None)
        assert len(read_shards(folder)[1]) == 3
    write_tar(folder / "00001.tar", {"a.jpg": jpeg("black"), "a.txt": b"nero"})
    assert read_shards(folder)[0]["captions"].to_pylist()[-1] == ["nero"]


def test_a_missing_shard_is_named(folder):
    (folder / "00002_stats.json").write_text("{}")
    with pytest.raises(UserError, match=r"00002\.tar: this shard is missing"):
        read_shards(folder)


@pytest.mark.parametrize("kept", [600, 1024, 2048, 3000])
def test_a_shortened_shard_is_named(folder, kept):
    shard = folder / "00000.tar"
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"00000\.tar: the shard is damaged or cut off"):
        read_shards(folder)


def test_no_shards_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no shards in it"):
        read_shards(tmp_path)


def test_a_shard_that_vanishes_later_is_named(folder):
    _, pictures = read_shards(folder)
    (folder / "00001.tar").rename(folder / "elsewhere.tar")
    with pytest.raises(PictureError, match=r"00001\.tar"):
        pictures.open(2)
    shard = folder / "00000.tar"
    shard.write_bytes(shard.read_bytes()[:600])
    with pytest.raises(PictureError, match=r"00000\.tar.*shorter"):
        pictures.open(1)


def test_keys_with_dots(tmp_path, cache, capsys):
    shard = {name: jpeg("red") if content.isdigit() else content for name, content in DOTTED.items()}
    write_tar(tmp_path / "d" / "0.tar", shard)
    rows, pictures = read_shards(tmp_path / "d")
    assert [one[0] for one in rows["captions"].to_pylist()] == [
        "uno", "due", "tre", "quattro", "cinque", "sei", "sette",
    ]  # fmt: skip
    assert [pictures.name(row).rpartition("0.tar/")[2] for row in range(3)] == ["foto.1.jpg", "foto.2.jpg", "a.b/c.jpg"]
    assert pictures.open(6).size == (40, 30)
    assert "2 samples are left out (further-picture 2)" in capsys.readouterr().err
