import tracemalloc

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.efficientnet.image_processing_pil_efficientnet import EfficientNetImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from clip_italian.errors import UserError
from clip_italian.models.preprocess import Preprocess
from clip_italian.models_torch.processors import normalise

PROCESSORS = {
    "clip": CLIPImageProcessorPil(),
    "clip, cropped": CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 48, "width": 56}),
    "siglip": SiglipImageProcessorPil(size={"height": 96, "width": 80}),
    "vit": ViTImageProcessorPil(),
    "efficientnet": EfficientNetImageProcessorPil(size={"height": 50, "width": 50}, include_top=False),
    "efficientnet, normalised twice": EfficientNetImageProcessorPil(include_top=True, rescale_offset=True),
    "convnext": ConvNextImageProcessorPil(),
    "as it is": CLIPImageProcessorPil(do_resize=False, do_center_crop=False),
}  # fmt: skip


def picture(width, height):
    y, x = np.mgrid[0:height, 0:width]
    values = np.stack([x * 255 // width, y * 255 // height, (x * y) % 256], axis=-1)
    return Image.fromarray(values.astype(np.uint8))


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("size", [(300, 200), (201, 333), (40, 30)])
def test_pixels_equal_those_of_the_processor(name, size):
    processor = PROCESSORS[name]
    ours = Preprocess.of(processor)
    image = picture(*size)
    expected = processor(images=image, return_tensors="pt")["pixel_values"][0]
    found = normalise(ours, torch.from_numpy(ours.pixels(image)))
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=2e-6)


def test_only_a_processor_with_another_resize_is_called():
    assert [name for name, processor in PROCESSORS.items() if Preprocess.of(processor).geometry] == ["convnext"]


@pytest.mark.parametrize("name", [name for name in PROCESSORS if name != "convnext"])
@pytest.mark.parametrize("size", [(300, 200), (201, 333), (40, 30)])
def test_a_configuration_alone_gives_the_pixels_of_the_processor(name, size):
    processor, image = PROCESSORS[name], picture(*size)
    expected = processor(images=image, return_tensors="pt")["pixel_values"][0]
    ours = Preprocess.from_config(processor.to_dict(), name)
    found = normalise(ours, torch.from_numpy(ours.pixels(image)))
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=2e-6)
    assert ours.at_least == Preprocess.of(processor).at_least


def test_older_configurations_have_other_names_and_plain_numbers():
    config = {
        "feature_extractor_type": "CLIPFeatureExtractor", "size": 64, "crop_size": 48, "do_resize": True,
        "do_center_crop": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.25] * 3, "resample": 3,
    }  # fmt: skip
    ours = Preprocess.from_config(config, "old")
    assert (ours.resize, ours.crop) == (64, (48, 48))
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 64}, crop_size={"height": 48, "width": 48}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    expected = processor(images=picture(90, 70), return_tensors="pt")["pixel_values"][0]
    assert torch.allclose(normalise(ours, torch.from_numpy(ours.pixels(picture(90, 70)))), expected, atol=2e-6)


@pytest.mark.parametrize("config", [PROCESSORS["convnext"].to_dict(), {}, {"image_processor_type": "OddProcessor"}])
def test_an_unknown_kind_of_configuration_is_an_error(config):
    with pytest.raises(UserError, match=r"p\.json: image processor .* is not known"):
        Preprocess.from_config(config, "p.json")


def test_a_stretched_picture_is_resized_without_a_crop():
    ours = Preprocess.of(PROCESSORS["clip, cropped"])
    found = ours.stretched(picture(90, 40), 60, 50)
    expected = picture(90, 40).resize((60, 50), Image.Resampling.BICUBIC)
    assert np.array_equal(found, np.asarray(expected).transpose(2, 0, 1))


def test_a_non_linear_processor_is_an_error():
    class Odd(CLIPImageProcessorPil):
        def _preprocess(self, images, **more):
            found = super()._preprocess(images, **more)
            found["pixel_values"] = [np.square(pixels) for pixels in found["pixel_values"]]
            return found

    with pytest.raises(UserError, match="not linear"):
        Preprocess.of(Odd())


def test_random_crops_are_parts_of_the_resized_picture():
    ours = Preprocess.of(CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}))
    image = picture(96, 32)  # three crops wide, not resized
    whole = np.asarray(image).transpose(2, 0, 1)
    lefts = set()
    for seed in range(200):
        crop = ours.pixels(image, np.random.default_rng(seed))
        (left,) = [i for i in range(65) if np.array_equal(whole[:, :, i : i + 32], crop)]
        lefts.add(left)
    assert min(lefts) <= 2
    assert max(lefts) >= 62


def test_a_random_crop_larger_than_the_picture_repeats_its_edges():
    ours = Preprocess.of(CLIPImageProcessorPil(size={"shortest_edge": 4}, crop_size={"height": 6, "width": 6}))
    crop = ours.pixels(picture(4, 4), np.random.default_rng(0))
    assert np.array_equal(crop, np.pad(np.asarray(picture(4, 4)), [(1, 1), (1, 1), (0, 0)], "edge").transpose(2, 0, 1))


def test_a_random_crop_keeps_the_aspect_ratio():
    ours = Preprocess.of(SiglipImageProcessorPil(size={"height": 32, "width": 32}))
    wide = Image.new("RGB", (200, 100), "white")
    wide.paste(Image.new("RGB", (100, 100), "black"), (50, 0))  # a centred square
    squashed = ours.pixels(wide)[0]
    assert (squashed[16] < 128).sum() == 16
    widths = {int((ours.pixels(wide, np.random.default_rng(seed))[0, 16] < 128).sum()) for seed in range(30)}
    assert max(widths) == 32


def test_minimum_size_of_a_reduced_jpeg():
    assert Preprocess.of(PROCESSORS["clip"]).at_least == 224
    assert Preprocess.of(PROCESSORS["siglip"]).at_least == 96
    assert Preprocess.of(PROCESSORS["as it is"]).at_least is None


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("size", [(5000, 1), (1, 5000), (1, 1), (3, 3), (3, 1)])
def test_thin_pictures_use_little_memory_and_keep_their_colours(name, size):
    if name == "as it is":
        pytest.skip("does not resize")
    ours = Preprocess.of(PROCESSORS[name])
    tracemalloc.start()
    found = ours.pixels(Image.new("RGB", size, (250, 10, 120)))
    random = ours.pixels(Image.new("RGB", size, (250, 10, 120)), np.random.default_rng(0))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 64 << 20
    for pixels in (found, random):
        assert pixels.shape[0] == 3
        middle = pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2]
        assert middle.tolist() == [250, 10, 120]


def test_a_picture_longer_than_32_to_1_is_cropped_to_its_middle():
    ours = Preprocess.of(PROCESSORS["clip, cropped"])
    long = Image.new("RGB", (1000, 10))
    long.paste((255, 0, 0), (490, 0, 510, 10))
    cut = long.crop((400, 0, 600, 10))  # below the limit: not cropped
    assert np.array_equal(ours.pixels(long), ours.pixels(cut))
