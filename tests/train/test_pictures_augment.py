import colorsys

import numpy as np
import pytest
import torch
from kornia import augmentation as K
from PIL import Image, ImageEnhance, ImageOps
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.config import Augmentation, load_recipe
from clip_italian.train.pictures import Augment, distortion

STILL = Augmentation(degrees=0, translate=0, scale=0, shear=0, perspective_p=0, equalize_p=0, colour_p=0, flip_p=0)
PROCESSOR = CLIPImageProcessorPil(image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4])


def pixels():
    values = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return (values - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)


def test_no_distortion_changes_nothing():
    assert torch.allclose(Augment(STILL, PROCESSOR, seed=1)(pixels()), pixels(), atol=1e-4)


def test_mirror():
    always = STILL.model_copy(update={"flip_p": 1.0})
    assert torch.allclose(Augment(always, PROCESSOR, seed=1)(pixels()), pixels().flip(-1), atol=1e-4)


def test_a_view_is_its_seed_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (Augment(Augmentation(), PROCESSOR, seed=3) for _ in range(2))
    images = pixels()
    assert torch.equal(first(images), second(images))
    assert not torch.equal(first(images), images)
    assert torch.equal(torch.rand(1), expected)


def test_draws_go_on_from_batch_to_batch():
    augment = Augment(Augmentation(), PROCESSOR, seed=3)
    assert not torch.equal(augment(pixels()), augment(pixels()))


def test_contrast_is_stretched_where_asked_for_and_nothing_else_changes_where_not():
    stretch = STILL.model_copy(update={"autocontrast_p": 1.0})
    flat = (torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3 - 0.5) / 0.5
    processor = CLIPImageProcessorPil(image_mean=[0.5] * 3, image_std=[0.5] * 3)
    found = Augment(stretch, processor, seed=1)(flat) * 0.5 + 0.5
    low, high = (flat.amin(dim=(2, 3), keepdim=True), flat.amax(dim=(2, 3), keepdim=True))
    assert torch.allclose(found, (flat - low) / (high - low), atol=1e-4)


def test_a_view_goes_on_from_a_kept_state():
    whole, first, second = (Augment(Augmentation(), PROCESSOR, seed=3) for _ in range(3))
    expected = [whole(pixels()), whole(pixels())]
    assert torch.equal(first(pixels()), expected[0])
    second.generator_state = first.generator_state
    assert torch.equal(second(pixels()), expected[1])


def photos(count):
    """Smooth pictures (count, 3, 24, 24) of whole bytes, in [0, 1], and the same in Pillow."""
    noise = np.random.default_rng(3).integers(0, 256, (count, 6, 6, 3), np.uint8)
    drawn = [Image.fromarray(one).resize((24, 24), Image.Resampling.BICUBIC) for one in noise]
    return torch.stack([torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in drawn]) / 255, drawn


def hue_turned(image, turn):
    """Every pixel's hue turned by a share of the circle, by Python's own conversion."""
    pixels = np.array(image) / 255
    for place in np.ndindex(pixels.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixels[place])
        pixels[place] = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
    return pixels


@pytest.mark.parametrize(
    ("setting", "by_hand"),
    [
        ("brightness", lambda image, factor: np.array(ImageEnhance.Brightness(image).enhance(factor)) / 255),
        ("contrast", lambda image, factor: np.array(ImageEnhance.Contrast(image).enhance(factor)) / 255),
        ("saturation", lambda image, factor: np.array(ImageEnhance.Color(image).enhance(factor)) / 255),
        ("hue", hue_turned),
    ],
)
def test_each_change_of_colour_is_that_of_pillow(setting, by_hand):
    """Pillow rounds to whole bytes, so that two steps of it may differ from one in float by a byte and a half."""
    inputs, drawn = photos(4)
    none = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "colour_p": 1.0}
    settings = STILL.model_copy(update=none | {setting: 0.3})
    distort = distortion(settings)
    torch.manual_seed(2)
    found = distort(inputs)
    (jitter,) = (part for part in distort if isinstance(part, K.ColorJitter))
    factors = jitter._params[f"{setting}_factor"].tolist()
    assert len(set(factors)) == 4  # each picture has its own
    for mine, image, factor in zip(found, drawn, factors, strict=True):
        np.testing.assert_allclose(mine.permute(1, 2, 0), by_hand(image, factor), atol=1.6 / 255)


def test_equalisation_is_that_of_pillow():
    """Up to four levels: the affine step before it, here without effect, moves some values across the edge of a bin."""
    inputs, drawn = photos(3)
    found = distortion(STILL.model_copy(update={"equalize_p": 1.0}))(inputs)
    for mine, image in zip(found, drawn, strict=True):
        np.testing.assert_allclose(mine.permute(1, 2, 0), np.array(ImageOps.equalize(image)) / 255, atol=4.1 / 255)


@pytest.mark.parametrize(("recipe", "ranges"), [("paper", (0.2, 0.2, 0.2, 0.1)), ("paper-code", (0.0, 0.0, 0.0, 0.1))])
def test_what_the_papers_recipes_draw_of_colours(recipe, ranges):
    """The paper changes brightness, contrast, saturation and a little hue; its script hue alone."""
    distort = distortion(load_recipe(recipe).augmentation)
    torch.manual_seed(1)
    distort(torch.rand(400, 3, 8, 8))
    (jitter,) = (part for part in distort if isinstance(part, K.ColorJitter))
    for name, middle, reach in zip(("brightness", "contrast", "saturation", "hue"), (1, 1, 1, 0), ranges, strict=True):
        drawn = jitter._params[f"{name}_factor"] - middle
        assert drawn.abs().max() <= reach + 1e-6
        assert drawn.min() <= -0.9 * reach and drawn.max() >= 0.9 * reach
