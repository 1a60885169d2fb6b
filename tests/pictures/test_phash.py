import io
import platform

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw

from clip_italian.pictures.phash import COLOUR_TOLERANCE, FLAT, alike, parts, picture_hash


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


def noise(seed: int, size=(64, 48), low=0, high=256) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(low, high, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def ramp(direction: int, size=(100, 70)) -> Image.Image:
    return Image.linear_gradient("L").rotate(37 * direction, expand=True).resize(size)


ODD_SIZES = [(1, 40), (40, 1), (3, 500), (500, 3), (31, 33), (33, 31), (32, 32), (2, 2), (641, 479)]
VARIED = {
    "drawings": [scene(seed) for seed in range(60)],
    "noise": [noise(seed) for seed in range(60)],
    "gradients": [ramp(direction) for direction in range(1, 10)],
    "odd sizes": [noise(seed, size) for seed, size in enumerate(ODD_SIZES)],
    "other modes": [scene(seed).convert(mode) for seed, mode in enumerate(("L", "1", "P", "RGBA", "CMYK", "LA"))],
    "near-uniform": [noise(seed, (32, 32), 100, 107) for seed in range(60)],
}


def same_as_imagehash(image: Image.Image) -> bool:
    return picture_hash(image)[:16] == str(imagehash.phash(image.convert("RGB")))


@pytest.mark.parametrize("kind", VARIED)
def test_outlines_are_those_of_imagehash(kind):
    assert [place for place, image in enumerate(VARIED[kind]) if not same_as_imagehash(image)] == []


def symmetric(seed: int) -> Image.Image:
    """Return concentric shapes: most of its frequencies are 0, so that rounding decides about their bits."""
    numbers = np.random.default_rng(seed)
    width, height = (int(side) for side in numbers.choice([32, 64, 97, 128, 256, 333], 2))
    image = Image.new("RGB", (width, height), tuple(map(int, numbers.integers(0, 100, 3))))
    pen = ImageDraw.Draw(image)
    for _ in range(3):
        edge = int(numbers.integers(0, min(width, height) // 2 - 1))
        shape = (pen.ellipse, pen.rectangle)[int(numbers.integers(2))]
        shape((edge, edge, width - 1 - edge, height - 1 - edge), fill=tuple(map(int, numbers.integers(0, 256, 3))))
    return image


def stripes(width: int, across: bool, down: bool) -> Image.Image:
    places = np.arange(32) // width
    field = (places[:, None] * down + places * across) % 2
    return Image.fromarray((field * 190 + 10).astype(np.uint8))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors may round differently")
def test_outlines_of_regular_pictures_are_those_of_imagehash():
    regular = [symmetric(seed) for seed in range(200)]
    ways = ((True, False), (False, True), (True, True))
    regular += [stripes(width, *way) for width in range(1, 17) for way in ways]
    regular += [Image.linear_gradient("L"), Image.radial_gradient("L")]
    shaped = [image for image in regular if not picture_hash(image).startswith(FLAT)]
    assert len(shaped) > 200
    assert [place for place, image in enumerate(shaped) if not same_as_imagehash(image)] == []


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
