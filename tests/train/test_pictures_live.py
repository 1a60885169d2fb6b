import io

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.config import Augmentation
from clip_italian.pictures.decoding import PictureError, open_picture
from clip_italian.train.pictures import FilePictures, LivePictures

PROCESSOR = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
CPU = torch.device("cpu")
CROPS = Augmentation(random_crop=True)


@pytest.fixture
def paths(tmp_path):
    """40 pictures that differ; every other one is a JPEG large enough to be decoded at half its sides."""
    found = []
    for number in range(40):
        draw = np.random.default_rng(number)
        image = Image.fromarray(draw.integers(0, 256, (6, 9, 3), np.uint8)).resize((160, 100), Image.Resampling.BICUBIC)
        found.append(tmp_path / (f"{number}.jpg" if number % 2 else f"{number}.png"))
        image.save(found[-1])
    return found


def all_batches(live, plan, augment=False, seeds=None):
    return list(live.batches([np.array(rows) for rows in plan], augment, seeds or [0] * len(plan)))


@pytest.mark.parametrize("workers", [0, 2])
def test_plain_pictures_are_what_the_processor_makes(paths, workers):
    live = LivePictures(FilePictures(paths), PROCESSOR, CROPS, workers)
    plan = [list(range(35)), [39, 3, 3], [8]]
    for rows, pixels in zip(plan, all_batches(live, plan), strict=True):
        assert pixels.dtype == torch.uint8
        found = live.on_device(pixels, False, CPU)
        for row, one in zip(rows, found, strict=True):
            expected = PROCESSOR(images=open_picture(paths[row]), return_tensors="pt")["pixel_values"][0]
            if row % 2 == 0:
                assert torch.allclose(one, expected, atol=2e-6)
            else:  # decoded at half its size
                assert torch.cosine_similarity(one.flatten(), expected.flatten(), dim=0) > 0.99


def test_crops_depend_on_seed_and_row_alone(paths):
    first = LivePictures(FilePictures(paths), PROCESSOR, CROPS, 0)
    second = LivePictures(FilePictures(paths), PROCESSOR, CROPS, 2)
    (large,) = all_batches(first, [range(40)], True, [7])
    parts = all_batches(second, [range(20, 40), range(20)], True, [7, 7])
    assert torch.equal(large, torch.cat([parts[1], parts[0]]))
    (other,) = all_batches(first, [range(40)], True, [8])
    assert (large != other).flatten(1).any(dim=1).sum() > 20
    (plain,) = all_batches(first, [range(40)], False, [7])
    assert (large != plain).flatten(1).any(dim=1).sum() > 20


def test_without_random_crops_pictures_are_cropped_from_the_middle_also_when_training(paths):
    live = LivePictures(FilePictures(paths), PROCESSOR, Augmentation(), 0)
    assert torch.equal(*all_batches(live, [[0, 2]], True), *all_batches(live, [[0, 2]], False))


def test_distortion_follows_the_global_seed(paths):
    live = LivePictures(FilePictures(paths), PROCESSOR, Augmentation(), 0)
    (pixels,) = all_batches(live, [[0, 1, 2]])

    def seeded(seed):
        torch.manual_seed(seed)
        return live.on_device(pixels, True, CPU)

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))
    assert not torch.equal(seeded(1), live.on_device(pixels, False, CPU))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_is_gone_is_named_when_its_batch_comes(paths, workers):
    paths[25].unlink()
    live = LivePictures(FilePictures(paths), PROCESSOR, CROPS, workers)
    batches = live.batches([np.arange(20), np.arange(20, 30)], False, [0, 0])
    assert len(next(batches)) == 20
    with pytest.raises(PictureError, match=r"25\.jpg: no such picture") as caught:
        next(batches)
    assert "\n" not in str(caught.value)


def test_a_large_photo_decoded_smaller_looks_the_same(tmp_path):
    """Smooth 1200 x 900 photo-like noise; its embedding input hardly moves."""
    draw = np.random.default_rng(1)
    small = Image.fromarray(draw.integers(0, 256, (12, 16, 3), np.uint8))
    file = io.BytesIO()
    small.resize((1200, 900), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    (tmp_path / "photo.jpg").write_bytes(file.getvalue())
    processor = CLIPImageProcessorPil()
    live = LivePictures(FilePictures([tmp_path / "photo.jpg"]), processor, CROPS, 0)
    found = live.on_device(next(live.batches([np.zeros(1, int)], False, [0])), False, CPU)[0]
    expected = processor(images=open_picture(tmp_path / "photo.jpg"), return_tensors="pt")["pixel_values"][0]
    assert torch.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.999
