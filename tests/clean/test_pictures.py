import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clip_italian.clean.pictures import PictureFacts, PictureLimits, check
from clip_italian.pictures.phash import picture_hash

LIMITS = PictureLimits()


def noise(width, height, mode="RGB"):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def png_header(width, height):
    """A PNG that claims a size and has next to no content."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10)))


def test_facts_of_a_good_picture(tmp_path):
    image = noise(100, 80)
    image.save(tmp_path / "a.png")
    assert check(tmp_path / "a.png", LIMITS) == PictureFacts(100, 80, picture_hash(image))


def test_facts_are_of_the_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(100, 80).save(tmp_path / "a.jpg", exif=exif)
    facts = check(tmp_path / "a.jpg", LIMITS)
    assert isinstance(facts, PictureFacts)
    assert (facts.width, facts.height) == (80, 100)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I", "F", "CMYK", "I;16"])
def test_every_mode_can_be_looked_at(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode in ("F", "CMYK", "I", "I;16") else "a.png")
    picture = Image.fromarray(np.arange(100 * 100, dtype=np.uint16).reshape(100, 100) * 6)
    (picture if mode == "I;16" else noise(100, 100, "L" if mode in "IF" else "RGB").convert(mode)).save(path)
    assert isinstance(check(path, LIMITS), PictureFacts | tuple)


def bad_pictures(folder):
    """Path and the reason with which it must go."""

    def file(name, content):
        (folder / name).write_bytes(content)
        return folder / name

    def picture(name, image, **options):
        image.save(folder / name, **options)
        return folder / name

    (folder / "folder.jpg").mkdir()
    good = picture("good.jpg", noise(200, 200)).read_bytes()
    truncated_exif = good[:2] + b"\xff\xe1\x00\x10Exif\x00\x00II*\x00\xff\xff\xff\xff" + good[2:]
    frames = [noise(80, 80, "P"), noise(80, 80, "P").transpose(Image.Transpose.ROTATE_90)]
    dotted = Image.new("RGB", (500, 500), "white")
    dotted.putpixel((3, 3), (0, 0, 0))
    return [
        (folder / "missing.jpg", "unreadable"),
        (folder / "folder.jpg", "unreadable"),
        (file("empty.jpg", b""), "unreadable"),
        (file("text.jpg", b"no picture at all"), "unreadable"),
        (file("nul.jpg", bytes(5000)), "unreadable"),
        (file("truncated.jpg", good[: len(good) // 2]), "unreadable"),
        (file("header-only.png", png_header(100, 100)), "unreadable"),
        (file("svg.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "unreadable"),
        (file("exif.jpg", truncated_exif), None),
        (file("bomb.png", png_header(50_000, 50_000)), "too-many-pixels"),
        (file("large.png", png_header(9_600, 9_600)), "unreadable"),
        (file("larger.png", png_header(10_001, 10_000)), "too-many-pixels"),
        (picture("small.png", noise(300, 63)), "too-small"),
        (picture("least.png", noise(64, 64)), None),
        (picture("long.png", noise(257, 64)), "extreme-aspect"),
        (picture("tall.png", noise(64, 257)), "extreme-aspect"),
        (picture("four.png", noise(256, 64)), None),
        (picture("blue.png", Image.new("RGB", (90, 90), "blue")), "single-colour"),
        (picture("grey.jpg", Image.new("L", (90, 90), 77)), "single-colour"),
        (picture("dotted.png", dotted), "single-colour"),
        (picture("clear.png", Image.new("RGBA", (90, 90), (255, 0, 0, 0))), "single-colour"),
        (picture("moving.gif", frames[0], save_all=True, append_images=frames[1:]), "animated"),
        (picture("moving.webp", frames[0].convert("RGB"), save_all=True, append_images=frames[1:]), "animated"),
        (picture("moving.png", frames[0], save_all=True, append_images=frames[1:]), "animated"),
        (picture("pages.tif", frames[0], save_all=True, append_images=frames[1:]), None),
        (picture("still.gif", frames[0]), None),
    ]


def test_bad_pictures_go_with_their_reason_and_without_a_word(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path, reason in bad_pictures(tmp_path):
            found = check(path, LIMITS)
            assert (found[0] if isinstance(found, tuple) else None) == reason, (path.name, found)
            assert str(tmp_path) not in str(found)
    assert capfd.readouterr() == ("", "")


def test_limits_can_be_moved(tmp_path):
    noise(300, 40).save(tmp_path / "a.png")
    assert isinstance(check(tmp_path / "a.png", PictureLimits(min_side=40, max_aspect=7.5)), PictureFacts)
    assert check(tmp_path / "a.png", PictureLimits(max_pixels=11_999)) == ("too-many-pixels", "300 x 40")


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]))
def test_flipped_and_missing_bytes_never_raise(tmp_path_factory, data, kind):
    path = tmp_path_factory.mktemp("p") / "a.bin"
    noise(70, 70).save(path, kind)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content) - 1, 400)))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    assert isinstance(check(path, LIMITS), PictureFacts | tuple)
