"""Pictures with colour profiles are decoded to sRGB."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from clip_italian.clean.pictures import PictureLimits
from clip_italian.fetch.download import to_jpeg
from clip_italian.pictures import colours, decoding
from clip_italian.serve.pictures import jpeg, uploaded
from tests.pictures.test_decoding import png

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = colours._make_profile(256 / 563, (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06))


def tags(profile):
    """Return the offset of each entry in the tag table."""
    count = int.from_bytes(profile[128:132], "big")
    return {profile[at : at + 4]: at for at in range(132, 132 + 12 * count, 12)}


def exchanged(profile=SRGB):
    """Return a profile with red and blue swapped."""
    found, content = tags(profile), bytearray(profile)
    red, blue = found[b"rXYZ"], found[b"bXYZ"]
    content[red : red + 4], content[blue : blue + 4] = content[blue : blue + 4], content[red : red + 4]
    return bytes(content)


def grey(gamma):
    """Return a grey profile with a gamma, made from an RGB profile."""
    made = bytearray(colours._make_profile(1 / gamma, (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)))
    made[16:20] = b"GRAY"
    at = tags(bytes(made))[b"rTRC"]
    made[at : at + 4] = b"kTRC"
    return bytes(made)


def inks():
    """Return a CMYK profile whose cyan is red, with a Lab table of corners only."""
    corners = bytearray()
    for ink in np.ndindex(2, 2, 2, 2):
        cyan, _, _, black = ink
        corners += bytes((20, 128, 128) if black else (136, 208, 195) if cyan else (255, 128, 128))
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0\4\3\2\0" + struct.pack(">9i", *[65536, 0, 0, 0] * 2, 65536)
    table += 4 * ramp + bytes(corners) + 3 * ramp
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    start = 128 + 4 + 24
    header = bytearray(ADOBE[:128])
    header[:4] = struct.pack(">I", start + len(table) + len(white))
    header[8:24] = b"\x02\0\0\0prtrCMYKLab "
    entries = b"A2B0" + struct.pack(">2I", start, len(table))
    entries += b"wtpt" + struct.pack(">2I", start + len(table), len(white))
    return bytes(header) + struct.pack(">I", 2) + entries + table + white


def saved(image, kind="PNG", **more):
    sink = io.BytesIO()
    image.save(sink, kind, **more)
    return sink.getvalue()


BLUE = Image.new("RGB", (16, 16), (0, 0, 255))


@pytest.mark.parametrize(
    "image",
    [BLUE, BLUE.convert("P", palette=Image.Palette.ADAPTIVE), BLUE.convert("RGBA")],
    ids=lambda image: image.mode,
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG"])
def test_profiles_apply_in_every_format(image, kind):
    if kind == "JPEG":
        image = image.convert("RGB")
    if kind == "WEBP" and image.mode == "P":
        pytest.skip("WebP has no palettes")
    more = {"lossless": True} if kind == "WEBP" else {}
    content = saved(image, kind, icc_profile=exchanged(), **more)
    found = decoding.decode_bytes(content, "x")
    assert np.abs(np.asarray(found, int) - (255, 0, 0)).max() <= 4
    assert decoding.as_displayed(found) is found
    assert np.array_equal(np.asarray(decoding.as_displayed(Image.open(io.BytesIO(content)))), np.asarray(found))
    if kind != "TIFF":
        sent = Image.open(io.BytesIO(jpeg(uploaded(content, "x", 10_000), 16)))
        assert sent.getpixel((3, 3))[0] > 240
        assert "icc_profile" not in sent.info
        if kind != "WEBP":
            fetched = Image.open(io.BytesIO(to_jpeg(content, PictureLimits(min_side=8)).jpeg))
            assert fetched.convert("RGB").getpixel((3, 3))[0] > 240


def test_adobe_rgb_equals_littlecms():
    """Convert (100, 150, 200) from Adobe RGB by its definition."""
    linear = (np.array([100, 150, 200]) / 255) ** (563 / 256)
    to_xyz = np.array([[0.5767, 0.1856, 0.1882], [0.2973, 0.6274, 0.0753], [0.027, 0.0707, 0.9911]])
    to_rgb = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.204, 1.057]])
    light = to_rgb @ (to_xyz @ linear)
    expected = 255 * (1.055 * light.clip(0) ** (1 / 2.4) - 0.055)
    image = Image.new("RGB", (4, 4), (100, 150, 200))
    found = decoding.decode_bytes(saved(image, icc_profile=ADOBE), "x").getpixel((0, 0))
    assert found == pytest.approx(expected, abs=1.5)
    # Cameras flag it only in EXIF.
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    marked = saved(image, "JPEG", quality=100, subsampling=0, exif=exif)
    assert decoding.decode_bytes(marked, "x").getpixel((0, 0)) == pytest.approx(expected, abs=3)


def test_transparency_is_kept(tmp_path):
    image = BLUE.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((16, 16)))
    path = tmp_path / "a.png"
    image.save(path, icc_profile=exchanged())
    found = decoding.open_picture(path, mode="RGBA")
    assert np.array_equal(np.asarray(found.getchannel("A")), np.asarray(image.getchannel("A")))
    assert found.getpixel((0, 9))[:3] == pytest.approx((255, 0, 0), abs=2)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_grey_profiles(kind):
    image = Image.new("L", (16, 16), 100)
    found = decoding.decode_bytes(saved(image, kind, icc_profile=grey(1.0)), "x")
    assert found.mode == "RGB"
    assert found.getpixel((3, 3)) == pytest.approx((168, 168, 168), abs=3)  # linear 100 / 255
    deep = Image.fromarray(np.full((4, 4), 100 * 257, np.uint16))
    if kind != "JPEG":
        assert decoding.decode_bytes(saved(deep, kind, icc_profile=grey(1.0)), "x").getpixel((0, 0))[
            0
        ] == pytest.approx(168, abs=3)


def test_cmyk_profiles():
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    plain = decoding.decode_bytes(saved(image, "JPEG"), "x").getpixel((3, 3))
    red = decoding.decode_bytes(saved(image, "JPEG", icc_profile=inks()), "x").getpixel((3, 3))
    assert plain[2] > 200 > 60 > plain[0]
    assert red[0] > 200 > 60 > red[2]
    paper = Image.new("CMYK", (16, 16))
    assert decoding.decode_bytes(saved(paper, "TIFF", icc_profile=inks()), "x").getpixel((3, 3)) == (255, 255, 255)


def test_gamma_and_chromaticity_of_a_png():
    def shown(*chunks):
        return decoding.decode_bytes(png(*chunks), "x").getpixel((0, 0))

    def numbers(*values):
        return b"".join(round(100_000 * value).to_bytes(4, "big") for value in values)

    srgb = numbers(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    plain = (10, 200, 30)
    assert shown((b"gAMA", numbers(0.45455)), (b"cHRM", srgb)) == plain
    assert shown((b"cHRM", numbers(0.3127, 0.329, 0.15, 0.06, 0.3, 0.6, 0.64, 0.33))) == plain  # no gAMA
    swapped = numbers(0.3127, 0.329, 0.15, 0.06, 0.3, 0.6, 0.64, 0.33)
    assert shown((b"gAMA", numbers(0.45455)), (b"cHRM", swapped)) == pytest.approx((30, 200, 10), abs=2)
    assert shown((b"gAMA", numbers(1.0)))[1] == pytest.approx(228, abs=3)  # linear light
    assert shown((b"gAMA", numbers(1.0)), (b"sRGB", b"\0")) == plain  # sRGB takes precedence
    for odd in (numbers(0), numbers(9), b"\xff" * 4):
        assert shown((b"gAMA", odd)) == plain
    for odd in (bytes(32), b"\xff" * 32, numbers(*[0.3] * 8)):
        assert shown((b"gAMA", numbers(1.0)), (b"cHRM", odd)) == plain


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile", SRGB[:200], SRGB[:130], SRGB[:128] + b"\xff" * 400, bytes(4000), grey(2.2),
        SRGB.replace(b"mntr", b"link", 1), SRGB.replace(b"RGB ", b"CMYK", 1),
    ],
)  # fmt: skip
def test_damaged_and_mismatched_profiles_are_ignored(profile):
    assert decoding.decode_bytes(saved(BLUE, icc_profile=profile), "x").getpixel((0, 0)) == (0, 0, 255)
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    plain = decoding.decode_bytes(saved(inks, "JPEG"), "x")
    assert np.array_equal(np.asarray(decoding.decode_bytes(saved(inks, "JPEG", icc_profile=profile), "x")), plain)


def test_a_profile_with_a_single_colour_is_damaged():
    found, content = tags(ADOBE), bytearray(ADOBE)
    for name in (b"rXYZ", b"gXYZ", b"bXYZ"):
        start = int.from_bytes(ADOBE[found[name] + 4 : found[name] + 8], "big")
        content[start + 8 : start + 20] = bytes(12)
    assert decoding.decode_bytes(saved(BLUE, icc_profile=bytes(content)), "x").getpixel((0, 0)) == (0, 0, 255)


def test_srgb_pictures_are_returned_unchanged():
    content = saved(BLUE, "JPEG", icc_profile=SRGB)
    assert np.array_equal(decoding.decode_bytes(content, "x"), decoding.decode_bytes(saved(BLUE, "JPEG"), "x"))
    seen = Image.open(io.BytesIO(content))
    assert decoding.as_displayed(seen) is seen
    limits = PictureLimits(min_side=8)
    assert to_jpeg(saved(BLUE, icc_profile=SRGB), limits) == to_jpeg(saved(BLUE), limits)


def test_profiles_too_large_for_pillow_apply():
    """LittleCMS ignores bytes after the last tag."""
    large = bytearray(exchanged() + np.random.default_rng(0).bytes(2 << 20))
    large[:4] = struct.pack(">I", len(large))
    found = decoding.decode_bytes(png((b"iCCP", b"p\0\0" + zlib.compress(bytes(large)))), "x")
    assert found.getpixel((0, 0)) == pytest.approx((30, 200, 10), abs=2)
