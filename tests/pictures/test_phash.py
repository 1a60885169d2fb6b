import io

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw

from clip_italian.pictures.phash import COLOUR_TOLERANCE, alike, parts, picture_hash


def scene(seed: int, size=(240, 180)) -> Image.Image:
    """Return coloured shapes on a gradient."""
    numbers = np.random.default_rng(seed)
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    pen = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, w, h, *colour = (int(v) for v in numbers.integers(0, 180, 7))
        pen.ellipse((x, y, x + w // 2 + 10, y + h // 2 + 10), fill=tuple(colour))
    return image


def recompressed(image: Image.Image) -> Image.Image:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=50)
    return Image.open(sink)


def test_the_parts_are_imagehash_and_mean_colours():
    image = Image.new("RGB", (32, 32), (10, 20, 30))
    image.paste((200, 100, 0), (0, 16, 32, 32))
    outline, colours = parts(picture_hash(image))
    assert outline == int(str(imagehash.phash(image)), 16)
    assert tuple(colours) == (10, 20, 30, 200, 100, 0)


@pytest.mark.parametrize(
    "distort",
    [recompressed, lambda i: i.resize((120, 90)), lambda i: recompressed(i.resize((480, 360))), lambda i: i.copy()],
)
def test_distorted_copies_match(distort):
    for seed in range(20):
        image = scene(seed)
        assert alike(picture_hash(image), picture_hash(distort(image)))


def test_other_pictures_do_not_match():
    hashes = [picture_hash(scene(seed)) for seed in range(60)]
    assert not [(i, j) for i in range(60) for j in range(i) if alike(hashes[i], hashes[j])]


def test_the_same_outline_in_another_colour_does_not_match():
    red, dark, blue = (Image.new("RGB", (90, 90), "white") for _ in range(3))
    for image, colour in ((red, (200, 0, 0)), (dark, (195, 0, 0)), (blue, (0, 0, 200))):
        ImageDraw.Draw(image).polygon([(10, 80), (30, 10), (80, 60)], fill=colour)
    assert alike(picture_hash(red), picture_hash(dark))
    assert not alike(picture_hash(red), picture_hash(blue), distance=64)


def test_the_limits_are_exact():
    same = "00000000000000ff-808080808080"
    assert alike(same, "00000000000000f0-808080808080", 4)
    assert not alike(same, "00000000000000f0-808080808080", 3)
    assert alike(same, f"00000000000000ff-8080808080{0x80 + COLOUR_TOLERANCE:02x}", 0)
    assert not alike(same, f"00000000000000ff-8080808080{0x81 + COLOUR_TOLERANCE:02x}", 0)


def test_pictures_without_an_outline_never_match():
    white = picture_hash(Image.new("RGB", (50, 50), "white"))
    assert white == "0000000000000000-ffffffffffff"
    assert not alike(white, white, 64)


@pytest.mark.parametrize("text", ["", "0123456789abcdef", "0123456789abcdef-0123", "0123456789abcdeg-0123456789ab"])
def test_an_invalid_hash_is_an_error(text):
    with pytest.raises(ValueError):
        parts(text)
