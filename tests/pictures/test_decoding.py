import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from clip_italian.clean.pictures import PictureLimits, header_failure
from clip_italian.fetch.download import to_jpeg
from clip_italian.pictures import decoding
from clip_italian.serve.pictures import uploaded


def test_transparency_is_composited_on_white(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(path)
    assert decoding.open_picture(path).getpixel((0, 0)) == (255, 255, 255)


def test_exif_orientation_is_applied(tmp_path):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert decoding.open_picture(path).size == (20, 40)


def test_every_bad_file_is_a_picture_error_with_its_path(tmp_path, monkeypatch):
    good = tmp_path / "good.jpg"
    Image.effect_noise((64, 64), 50).convert("RGB").save(good)
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes(good.read_bytes()[:700])
    text = tmp_path / "text.png"
    text.write_text("no picture")
    empty = tmp_path / "empty.png"
    empty.touch()
    for path in (truncated, text, empty, tmp_path / "missing.png"):
        with pytest.raises(decoding.PictureError, match=path.name):
            decoding.open_picture(path)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 100)
    with pytest.raises(decoding.PictureError, match="64 x 64"):
        decoding.open_picture(good)


def test_a_folder_is_reported_as_a_folder(tmp_path):
    with pytest.raises(decoding.PictureError, match="a folder; give a picture"):
        decoding.open_picture(tmp_path)


def test_fit_square_centres_and_keeps_the_aspect_ratio():
    square = decoding.fit_square(Image.new("RGB", (20, 10), "black"), 100, margin=0.1)
    assert square.size == (100, 100)
    dark = square.convert("L").point(lambda v: 255 if v < 128 else 0).getbbox()
    assert dark == (10, 30, 90, 70)


def test_trim_crops_the_transparent_border():
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (5, 6, 9, 12))
    assert decoding.trim(image).size == (4, 6)
    assert decoding.trim(Image.new("RGBA", (3, 3), (0, 0, 0, 0))).size == (3, 3)


def test_decode_batches_keeps_order_and_reports_errors(tmp_path):
    paths = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (number + 1, 1)).save(path)
        paths.append(path)
    paths.insert(2, tmp_path / "gone.png")
    seen = list(decoding.decode_batches(paths, 4, lambda image: image.width))
    assert [width for _, widths, _ in seen for width in widths] == [1, 2, 3, 4, 5]
    assert [path for good, _, _ in seen for path in good] == [p for p in paths if p.name != "gone.png"]
    assert ["gone.png" in str(error) for _, _, bad in seen for error in bad] == [True]


def png(*chunks, tail=(), **more):
    """Return a grey-green PNG with raw chunks (name, content) before and after its pixels."""
    sink = io.BytesIO()
    Image.new("RGB", (20, 10), (10, 200, 30)).save(sink, "PNG", **more)
    content = sink.getvalue()

    def raw(some):
        return b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in some
        )

    data = content.index(b"IDAT") - 4
    end = content.index(b"IEND") - 4
    return content[:data] + raw(chunks) + content[data:end] + raw(tail) + content[end:]


def jpeg(*segments, exif=b""):
    """Return a green JPEG with raw segments (marker, content) after its first marker."""
    sink = io.BytesIO()
    Image.new("RGB", (20, 10), (10, 200, 30)).save(sink, "JPEG", exif=exif)
    raw = b"".join(bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return sink.getvalue()[:2] + raw + sink.getvalue()[2:]


LONG = zlib.compress(b"x" * (2 << 20))
BROKEN_EXIF = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff" * 9
ODD = {
    "zTXt": png((b"zTXt", b"k\0\0" + LONG)),
    "iTXt": png((b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG)),
    "text at the end": png(tail=[(b"zTXt", b"k\0\0" + LONG)]),
    "much text": png(*[(b"tEXt", b"k%d\0" % n + b"x" * (13 << 20)) for n in range(5)]),
    "large profile": png((b"iCCP", b"p\0\0" + zlib.compress(bytes(3 << 20)))),
    "unknown compression": png((b"iCCP", b"p\0\7abc")),
    "text of unknown compression": png((b"zTXt", b"k\0\7abc")),
    "short gAMA": png((b"gAMA", b"\0"), (b"cHRM", b""), (b"pHYs", b"\0"), (b"sRGB", b"")),
    "short tRNS": png((b"tRNS", b"\0")),
    "wrong sum": png((b"tEXt", b"k\0abc")).replace(b"k\0abc", b"k\0abd"),
    "broken animation": png((b"acTL", b"\0"), (b"fcTL", b"\0")),
    "exif of a PNG": png((b"eXIf", BROKEN_EXIF)),
    "exif": jpeg((0xE1, BROKEN_EXIF)),
    "xmp": jpeg((0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta \xff\0")),
    "profile cut off": jpeg((0xE2, b"ICC_PROFILE\0"), (0xE2, b"ICC_PROFILE\0\2\3ab")),
    "photoshop": jpeg((0xED, b"Photoshop 3.0\x008BIM\x04\x04\xff")),
    "preview": jpeg((0xE2, b"MPF\0II*\0\xff\xff\xff\xff")),
    "adobe": jpeg((0xEE, b"Adobe")),
    "jfif": jpeg((0xE0, b"JFIF")),
}


@pytest.mark.parametrize("what", ODD)
def test_damaged_metadata_does_not_prevent_decoding(what, tmp_path):
    whole = decoding.decode_bytes(ODD[what], "x")
    assert whole.size == (20, 10)
    assert np.abs(np.asarray(whole, int) - (10, 200, 30)).max() <= 3
    path = tmp_path / "x"
    path.write_bytes(ODD[what])
    assert np.array_equal(np.asarray(decoding.open_picture(path)), np.asarray(whole))
    assert uploaded(ODD[what], "x", 1_000).size == (20, 10)
    assert header_failure(path, PictureLimits(min_side=15)) == ("too-small", "20 x 10")
    stored = to_jpeg(ODD[what], PictureLimits(min_side=5))
    assert (stored.width, stored.height, stored.original_width, stored.original_height) == (20, 10, 20, 10)


def test_damaged_pixels_with_damaged_metadata_are_an_error():
    for content in (ODD["zTXt"], ODD["profile cut off"]):
        with pytest.raises(decoding.PictureError, match=r"^x: "):
            decoding.decode_bytes(content[:-60], "x")
    with pytest.raises(decoding.PictureError, match="20 x 10 pixels, more than 100"):
        decoding.decode(io.BytesIO(ODD["zTXt"]), "x", most_pixels=100)


def test_text_chunks_are_skipped_without_reading():
    content = png(*[(b"zTXt", b"k\0\0" + zlib.compress(b"x" * (16 << 20)))] * 40)
    tracemalloc.start()
    decoding.decode_bytes(content, "x")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 << 20  # of 640 MB


def turned(orientation, mode="RGB"):
    """Return a 40 x 20 picture with one light half and an EXIF orientation."""
    image = Image.new("L", (40, 20))
    image.paste(255, (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = orientation
    sink = io.BytesIO()
    image.convert(mode).save(sink, "JPEG" if mode != "RGBA" else "PNG", exif=exif)
    return sink.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_orientation_is_applied_once(mode, orientation):
    content = turned(orientation, mode)
    by_bytes = decoding.decode_bytes(content, "x")
    handed = Image.open(io.BytesIO(content))
    before = dict(handed.info)
    seen = decoding.as_displayed(handed)
    assert np.array_equal(np.asarray(seen), np.asarray(by_bytes))
    for again in (decoding.as_displayed(seen), decoding.as_displayed(by_bytes)):
        assert np.array_equal(np.asarray(again), np.asarray(by_bytes))
    assert handed.size == (40, 20)
    assert dict(handed.info) == before
    light = {1: (0, 10), 3: (39, 10), 6: (10, 0), 8: (10, 39)}[orientation]
    assert seen.getpixel(light)[0] > 240


def test_an_invalid_orientation_is_ignored():
    for told in (0, 9, 77):
        assert decoding.decode_bytes(turned(told), "x").size == (40, 20)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[[np.nan, 0.5]], [[np.nan, np.nan]], [[np.inf, 1.0]], [[-np.inf, 1.0]]])
def test_nan_and_infinite_values_are_errors(values, tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.array(values, np.float32)).save(path)
    with pytest.raises(decoding.PictureError, match=r"a\.tif: \d of 2 values are NaN or infinite") as caught:
        decoding.open_picture(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(decoding.PictureError, match=r"a\.tif"):
        decoding.as_displayed(Image.open(path))
    Image.fromarray(np.array([[-3e38, 3e38]], np.float32)).save(path)
    assert np.asarray(decoding.open_picture(path))[0, :, 0].tolist() == [0, 255]


def test_a_damaged_image_is_an_error(tmp_path):
    path = tmp_path / "a.jpg"
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(decoding.PictureError, match=r"a\.jpg: damaged picture"):
        decoding.as_displayed(Image.open(path))
