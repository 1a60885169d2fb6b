import torch
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.config import Augmentation
from clip_italian.train.pictures import Augment

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
