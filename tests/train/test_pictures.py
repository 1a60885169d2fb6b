import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from clip_italian.pictures.decoding import PictureError
from clip_italian.train.pictures import FilePictures


@pytest.fixture
def photo(tmp_path):
    """A smooth picture of 400 x 300 that its EXIF data turn upright by a quarter."""
    y, x = np.mgrid[0:300, 0:400]
    image = Image.fromarray(np.stack([x * 255 // 400, y * 255 // 300, (x + y) * 255 // 700], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "photo.jpg", quality=95, exif=exif)
    return tmp_path / "photo.jpg"


def test_files_by_row(tmp_path, photo):
    Image.new("RGBA", (10, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    pictures = FilePictures(["clear.png", "photo.jpg"], tmp_path)
    assert len(pictures) == 2
    assert pictures.open(0).getpixel((0, 0)) == (255, 255, 255)
    assert pictures.open(1).size == (300, 400)
    assert pictures.bytes(1) == photo.read_bytes()
    assert pictures.name(1) == str(photo)
    assert pictures.state(1) == (str(photo), photo.stat().st_size, photo.stat().st_mtime_ns)
    assert pictures.subset(torch.tensor([1])).name(0) == str(photo)
    assert pickle.loads(pickle.dumps(pictures)).name(0) == pictures.name(0)


@pytest.mark.parametrize(
    ("at_least", "size"), [(None, (300, 400)), (151, (300, 400)), (150, (150, 200)), (30, (38, 50))]
)
def test_a_jpeg_comes_smaller_but_not_too_small(photo, at_least, size):
    assert FilePictures([photo]).open(0, at_least=at_least).size == size


def test_a_smaller_jpeg_is_the_same_picture(photo):
    whole, small = (
        FilePictures([photo]).open(0, at_least=n).resize((30, 40), Image.Resampling.BOX) for n in (None, 30)
    )
    assert np.abs(np.asarray(whole, int) - np.asarray(small, int)).max() <= 6


def test_a_picture_that_is_gone_is_named(tmp_path):
    pictures = FilePictures([tmp_path / "gone.png"])
    for read in (pictures.open, pictures.bytes, pictures.state):
        with pytest.raises(PictureError, match=r"gone\.png"):
            read(0)
