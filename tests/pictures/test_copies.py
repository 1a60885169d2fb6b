"""Copies are proposed by features and verified: every distortion is found, and no other pictures match."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from clip_italian.pictures.copies import (
    SIGNATURE_BYTES,
    Thumbnail,
    confirmed,
    features_of,
    matches_signature,
    propose,
    same,
    signatures,
)
from tests.pictures.thumbnails import Thumbnails


def scene(seed, size=(240, 180)):
    """Return coloured shapes on smooth noise, with detail everywhere as in photos."""
    numbers = np.random.default_rng(seed)
    image = Image.fromarray(numbers.integers(40, 190, (7, 9, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(25):
        x, y, w, h = (int(v) for v in numbers.integers(0, size[0], 4))
        colour = tuple(int(v) for v in numbers.integers(40, 190, 3))
        pen.ellipse((x, y, x + w // 4 + 10, y + h // 4 + 10), fill=colour)
    return image


def cut(image, left, top, right, bottom):
    width, height = image.size
    return image.crop((width * left, height * top, width * (1 - right), height * (1 - bottom)))


def lettered(image):
    image = image.copy()
    ImageDraw.Draw(image).text((image.width * 0.6, image.height * 0.92), "Foto: Rossi", fill="white")
    return image


DISTORTIONS = {
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.2),
    "darker": lambda i: ImageEnhance.Brightness(i).enhance(0.82),
    "contrast": lambda i: ImageEnhance.Contrast(i).enhance(1.25),
    "mirrored": ImageOps.mirror,
    "3 %": lambda i: cut(i, *[0.03] * 4),
    "10 %": lambda i: cut(i, *[0.1] * 4),
    "one side": lambda i: cut(i, 0.15, 0, 0, 0),
    "grey": lambda i: i.convert("L").convert("RGB"),
    "half": lambda i: i.resize((i.width // 2, i.height // 2)),
    "together": lambda i: ImageEnhance.Brightness(cut(ImageOps.mirror(i), *[0.05] * 4)).enhance(1.15),
    "letters": lettered,
}


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_distorted_copy_matches_in_both_directions(name):
    for seed in range(3):
        one, other = Thumbnail.of(scene(seed)), Thumbnail.of(DISTORTIONS[name](scene(seed)))
        assert same(one, other)
        assert same(other, one)


def test_both_cropped_at_opposite_sides():
    assert same(Thumbnail.of(cut(scene(1), 0.1, 0, 0, 0)), Thumbnail.of(cut(scene(1), 0, 0, 0.1, 0)))


def test_other_pictures_do_not_match():
    looks = [Thumbnail.of(scene(seed)) for seed in range(8)]
    assert not [(i, j) for i in range(8) for j in range(i) if same(looks[i], looks[j])]


def clock(hour):
    image = Image.new("RGB", (200, 200), "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((20, 20, 180, 180), outline="black", width=12)
    angle = np.deg2rad(hour * 30 - 90)
    pen.line((100, 100, 100 + 60 * np.cos(angle), 100 + 60 * np.sin(angle)), fill="black", width=12)
    return image


def stripes(*colours):
    image = Image.new("RGB", (240, 160))
    for number, colour in enumerate(colours):
        image.paste(colour, (number * 80, 0, number * 80 + 80, 160))
    return image


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (clock(1), clock(2)),  # differ in a detail
        (clock(3), clock(9).rotate(90)),
        (stripes("navy", "gold", "red"), stripes("green", "gold", "red")),  # differ in a colour
        (stripes("red", "white", "red"), stripes("grey", "white", "grey")),
        (Image.new("RGB", (90, 90), "navy"), Image.new("RGB", (90, 90), "navy")),  # no detail
    ],
)
def test_similar_drawings_do_not_match(one, other):
    assert not same(Thumbnail.of(one), Thumbnail.of(other))


@pytest.mark.parametrize("count", [1, 30, 2_100])
def test_candidates_by_exact_search_and_by_graph(count):
    rows = np.random.default_rng(0).standard_normal((count, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    both = np.concatenate([rows, rows[::3] + 0.001])
    found = propose(both, floor=0.95)
    assert found == [(3 * n, count + n) for n in range(len(rows[::3]))]
    assert propose(both, floor=0.95) == found


def test_files_are_verified_and_damaged_ones_never_match(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    scene(0).save(paths[0])
    ImageOps.mirror(scene(0)).save(paths[1])
    scene(1).save(paths[2])
    paths[3].write_text("no picture")
    features = features_of(paths, Thumbnails())
    assert features.shape == (4, 64)
    assert not features[3].any()
    assert features[0] @ features[1] == pytest.approx(1, abs=1e-3)
    everything = [(a, b) for b in range(4) for a in range(b)]
    assert confirmed(everything, lambda number: paths[number]) == [(0, 1)]


def test_signatures_are_stable_and_close_for_close_features():
    rows = np.random.default_rng(0).standard_normal((50, 64)).astype(np.float32)
    signed = signatures(rows)
    assert signed.shape == (50, SIGNATURE_BYTES)
    assert signatures(np.eye(2, 64, dtype=np.float32))[0, :4].tolist() == [9, 4, 255, 40]
    assert matches_signature(signatures(rows[:1] + 0.1)[0], signed)
    assert not matches_signature(signed[0], signed[1:])
    none = signatures(np.zeros((1, 64), np.float32))
    assert not none.any()
    assert not matches_signature(none[0], none)
