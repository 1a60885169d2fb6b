import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from clip_italian import languages
from clip_italian.search import locate as module
from clip_italian.search.locate import LONGEST, Located, Windows, grid_shape, heat_of, locate, overlay, read

IT = languages.get("it")


class RedEncoder:
    """Sees how red a picture is, and understands "rosso": an encoder whose right answers are known."""

    maps = None

    def __init__(self):
        self.pictures = 0

    def encode_text(self, texts):
        return np.array([[1, 0] if "rosso" in text else [0, 1] for text in texts], np.float32)

    def encode_images(self, images):
        self.pictures += len(images)
        pixels = [np.asarray(image.convert("RGB"), np.float32) for image in images]
        red = [np.clip(one[:, :, 0] - one[:, :, 1], 0, 255).mean() / 255 for one in pixels]
        return np.array([[share, 0.1] for share in red], np.float32)


@given(st.integers(0, 3), st.integers(0, 2), st.sampled_from([(800, 600), (600, 800), (640, 640)]))
@settings(max_examples=12, deadline=None)
def test_the_red_square_is_found_wherever_it_lies(column, row, size):
    side = 150
    left, top = column * (size[0] - side) // 3, row * (size[1] - side) // 2
    picture = Image.new("RGB", size, (220, 220, 220))
    ImageDraw.Draw(picture).rectangle((left, top, left + side - 1, top + side - 1), fill="red")
    encoder = RedEncoder()
    found = locate(encoder, picture, "un quadrato rosso", IT)
    assert left <= found.point[0] < left + side
    assert top <= found.point[1] < top + side
    assert found.encoded == encoder.pictures <= 38
    assert found.heat.shape == grid_shape(size)
    assert (found.heat.min(), found.heat.max()) == (0, 1)
    box = found.box
    assert box[0] <= found.point[0] < box[2]
    assert box[1] <= found.point[1] < box[3]
    width = min(box[2], left + side) - max(box[0], left)
    height = min(box[3], top + side) - max(box[1], top)
    union = (box[2] - box[0]) * (box[3] - box[1]) + side * side - width * height
    assert width * height / union > 0.3


def test_large_pictures_are_looked_at_smaller_but_answered_in_their_own_pixels():
    picture = Image.new("RGB", (4000, 3000), "white")
    ImageDraw.Draw(picture).rectangle((3000, 2000, 3800, 2800), fill="red")
    seen = []

    class Watching(RedEncoder):
        def encode_images(self, images):
            seen.extend(max(image.size) for image in images)
            return super().encode_images(images)

    found = locate(Watching(), picture, "rosso", IT)
    assert max(seen) < 700
    assert found.size == (4000, 3000)
    assert 3000 <= found.point[0] <= 3800
    assert 2000 <= found.point[1] <= 2800


def test_what_is_not_there_has_less_strength():
    picture = Image.new("RGB", (300, 200), "white")
    without = locate(RedEncoder(), picture, "rosso", IT)
    assert not without.heat.any()  # nothing is warmer than the rest
    assert without.box == (0, 0, 300, 200)
    ImageDraw.Draw(picture).rectangle((10, 10, 90, 90), fill="red")
    assert locate(RedEncoder(), picture, "rosso", IT).strength > without.strength + 0.1


THIN = [(1, 1), (3, 3), (3, 1), (1, 3), (3, 500), (500, 3), (5000, 1), (1, 5000), (2, 4000), (40, 40)]


@pytest.mark.parametrize("size", THIN)
def test_odd_pictures(size, tiny_encoder):
    found = locate(tiny_encoder, Image.new("RGBA", size, (9, 9, 9, 0)), "un gatto", IT)
    left, top, right, bottom = found.box
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    scale = min(1, LONGEST / max(size))
    assert overlay(Image.new("L", size), found).size == tuple(max(1, round(side * scale)) for side in size)


def test_a_picture_that_is_handed_in_is_seen_upright():
    picture = Image.new("RGB", (400, 200), (220, 220, 220))
    ImageDraw.Draw(picture).rectangle((0, 0, 99, 99), fill="red")
    exif = Image.Exif()
    exif[0x0112] = 6
    sink = io.BytesIO()
    picture.save(sink, "PNG", exif=exif)
    found = locate(RedEncoder(), Image.open(sink), "rosso", IT)
    assert found.size == (200, 400)
    assert found.point[0] >= 100 > found.point[1]
    assert overlay(Image.open(sink), found).size == (200, 400)


def test_heat_of_windows_by_hand(monkeypatch):
    monkeypatch.setattr(module, "_SMOOTH", 1e-9)
    left, right = [0, 0, 0.5, 1], [0.5, 0, 1, 1]
    whole = Windows(np.array([left, right]), np.array([0.2, 0.4]), np.ones(2), 2)
    half = Windows(np.array([right]), np.array([0.8]), np.ones(1), 1)
    # Where only the first kind looked, the second has the first one's mean.
    assert heat_of([whole, half], (1, 2)) == pytest.approx(np.array([[(0.2 + 0.3) / 2, (0.4 + 0.8) / 2]]))
    assert heat_of([whole], (2, 4)) == pytest.approx(np.array([[0.2, 0.2, 0.4, 0.4]] * 2))


def test_box_and_point_of_a_heat_map():
    heat = np.zeros((4, 5), np.float32)
    heat[1, 1:4] = (0.8, 1, 0.8)
    heat[3, 0] = 0.9  # another part
    box, point = read(heat, (500, 400), 0.7)
    assert box == (100, 100, 400, 200)
    assert point == (250, 150)
    heat[1, 3] = 0.9
    assert read(heat, (500, 400), 0.7)[1][0] > 250
    assert read(heat, (500, 400), 0.95)[0] == (200, 100, 300, 200)


def test_overlay_is_warm_where_the_heat_is_and_marks_the_box():
    heat = np.zeros((3, 4), np.float32)
    heat[1, 2] = 1
    located = Located("x", (400, 300), (200, 100, 300, 200), (250, 150), heat, 0.5, 1)
    picture = Image.new("RGB", (400, 300), (128, 128, 128))
    shown = np.asarray(overlay(picture, located)).astype(int)
    assert shown.shape == (300, 400, 3)
    red, blue = shown[170, 225, 0], shown[170, 225, 2]
    assert red - blue > 40
    assert abs(shown[20, 20] - 128).max() <= 2  # cold: as it was
    assert shown[100, 230].tolist() == [255, 255, 255]
    large = Image.new("RGB", (5000, 100))
    wide = Located("x", (5000, 100), (0, 0, 50, 50), (9, 9), heat, 0.5, 1)
    assert overlay(large, wide).size == (LONGEST, 32)
