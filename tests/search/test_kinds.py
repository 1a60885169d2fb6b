"""Pictures of every kind, in a folder as people have them: indexed as they look, or listed with the reason."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from clip_italian.pictures import decoding
from clip_italian.search import update
from clip_italian.search.index import Index

SIZE = (48, 32)


def flag(mode="RGB"):
    """Red above, blue below."""
    image = Image.new("RGB", SIZE, "red")
    ImageDraw.Draw(image).rectangle((0, 16, 48, 32), fill="blue")
    return image.convert(mode)


def gradient(highest, kind):
    """Grey from black to white, from left to right."""
    return np.tile(np.linspace(0, highest, SIZE[0]), (SIZE[1], 1)).astype(kind)


def looks_like(image, other, tolerance=12):
    return np.abs(np.asarray(image, np.int16) - np.asarray(other, np.int16)).mean() < tolerance


def bomb(width, height):
    """A PNG that says it is huge, in some hundred bytes."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "kinds"
    folder.mkdir()
    flag("CMYK").save(folder / "cmyk.jpg", quality=95)
    flag("CMYK").save(folder / "cmyk.tif")
    flag("P").save(folder / "palette.png")
    flag().save(folder / "plain.webp", lossless=True)
    flag().save(folder / "plain.tiff", compression="tiff_lzw")
    flag().save(folder / "plain.bmp")
    flag().save(folder / "avif.avif", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 8
    exif[0x0132] = "2019:05:04 03:02:01"
    flag().rotate(-90, expand=True).save(folder / "turned.jpg", exif=exif, quality=95)
    others = [Image.new("RGB", SIZE, "green")] * 3
    flag().save(folder / "moving.gif", save_all=True, append_images=others)
    flag().save(folder / "moving.webp", save_all=True, append_images=others, lossless=True)
    flag().save(folder / "moving.png", save_all=True, append_images=others)
    Image.fromarray(gradient(65535, np.uint16)).save(folder / "grey16.png")
    Image.fromarray(gradient(65535, np.uint16)).save(folder / "grey16.tif")
    Image.fromarray(gradient(65535, np.int32)).save(folder / "grey32.tif")
    Image.fromarray(gradient(1, np.float32)).save(folder / "float.tif")
    Image.fromarray(gradient(255, np.uint8)).save(folder / "grey8.png")
    (folder / "bomb.png").write_bytes(bomb(60_000, 60_000))
    (folder / "worse.png").write_bytes(bomb(12_000, 12_000))
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no picture")
    whole = (folder / "cmyk.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "broken.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    (folder / "notes.txt").write_text("not even looked at")
    (folder / "folder.jpg").mkdir()
    return folder


def test_pictures_look_as_they_should(folder):
    grey = Image.fromarray(gradient(255, np.uint8)).convert("RGB")
    for path in folder.iterdir():
        if path.stem.startswith(("cmyk", "palette", "plain", "avif", "turned", "moving")):
            opened = decoding.open_picture(path)
            assert opened.size == SIZE, path
            assert looks_like(opened, flag(), 40 if path.stem == "cmyk" else 12), path
        elif path.stem.startswith(("grey", "float")):
            assert looks_like(decoding.open_picture(path), grey, 2), path


def test_an_index_of_all_of_them(folder, tmp_path, model, monkeypatch):
    (folder / "large.jpg").write_bytes(bytes(50_000))
    monkeypatch.setattr(decoding, "MAX_BYTES", 49_999)
    change = update.build(tmp_path / "idx", [folder], model)
    reasons = {one.id: one.detail for one in change.left_out}
    assert set(reasons) == {
        "bomb.png", "worse.png", "empty.jpg", "text.jpg", "cut.jpg", "broken.tif", "large.jpg",
    }  # fmt: skip
    assert "pixels" in reasons["bomb.png"]
    assert "12000 x 12000 pixels" in reasons["worse.png"]
    assert "bytes, more than" in reasons["large.jpg"]
    assert all(reasons.values())
    hits = Index.open(tmp_path / "idx").search(np.eye(24)[0], 50)
    assert {"cmyk.jpg", "turned.jpg", "moving.gif", "grey16.png"} <= {hit.id for hit in hits}
    taken = {}
    for table, _ in Index.open(tmp_path / "idx").store.content(["id", "taken"]):
        taken |= zip(table["id"].to_pylist(), table["taken"].to_pylist(), strict=True)
    assert str(taken["turned.jpg"]) == "2019-05-04 03:02:01"
    assert taken["plain.bmp"].year > 2020, "else when the file was changed"


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif", reason="extra `heic` is not installed")
    pillow_heif.register_heif_opener()
    large = flag().resize((96, 64), Image.Resampling.NEAREST)
    large.save(tmp_path / "a.heic", quality=95)
    assert looks_like(decoding.open_picture(tmp_path / "a.heic"), large)
    monkeypatch.setattr(decoding, "register_heic", lambda: False)
    (tmp_path / "b.heic").write_bytes(b"x")
    with pytest.raises(decoding.PictureError, match=r"clip-italian\[heic\]"):
        decoding.open_picture(tmp_path / "b.heic")


def test_names_that_are_no_text_are_listed(tmp_path, model):
    folder = tmp_path / "names"
    folder.mkdir()
    flag().save(folder / "così.png")
    try:
        (folder / "caff\udce9.png").write_bytes((folder / "così.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    change = update.build(tmp_path / "idx", [folder], model)
    assert change.pictures == 1
    assert [one.reason for one in change.left_out] == ["broken-name"]


def test_what_has_no_text_for_a_name_and_cannot_be_read_is_listed(tmp_path, model):
    folder = tmp_path / "names"
    folder.mkdir()
    flag().save(folder / "a.png")
    try:
        (folder / "citt\udce0").symlink_to("nothing")
        (folder / "\udce8.jpg").symlink_to("nothing")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    change = update.build(tmp_path / "idx", [folder], model)
    assert change.pictures == 1
    assert sorted(one.id for one in change.left_out) == ["?.jpg", "citt?"]
