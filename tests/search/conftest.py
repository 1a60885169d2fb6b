"""Folders of noise pictures, and indexes of them."""

import numpy as np
import pytest
from PIL import Image

from clip_italian.search import update
from tests.search.fakes import FakeEncoder


@pytest.fixture
def encoder():
    return FakeEncoder()


@pytest.fixture
def model(encoder):
    return update.Model(encoder, "fake")


def noise(seed, size=(20, 20)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture
def photos(tmp_path):
    """12 pictures in a folder and one below it, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number in range(12):
        noise(number).save(folder / ("sub" if number % 3 else "") / f"{number:02}.png")
    (folder / "broken.jpg").write_text("no picture")
    return folder
