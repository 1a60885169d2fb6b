import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast, VisionTextDualEncoderConfig, VisionTextDualEncoderModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.errors import UserError
from clip_italian.models_torch.detailed_efficientnet import (
    DetailedEfficientNetConfig,
    DetailedEfficientNetModel,
    inner_width,
)
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.landmark_efficientnet import add_head
from clip_italian.models_torch.merge import merge
from clip_italian.pictures import leaks
from clip_italian.pictures.leaks import Fingerprints
from tests.conftest import tiny_bert, tiny_tokenizer

NAMES = ("before", "after")


@pytest.fixture
def pair(tiny_folder):
    """A model, and a copy with all weights changed."""
    start, end = DualEncoder.load(tiny_folder), DualEncoder.load(tiny_folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in end.model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return start, end


def weights(encoder):
    return {name: value.clone() for name, value in encoder.model.state_dict().items()}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_weight_is_interpolated(pair, share):
    first, second = map(weights, pair)
    found = weights(merge(*pair, share, NAMES))
    assert found.keys() == first.keys()
    for name, value in found.items():
        assert torch.allclose(value, (1 - share) * first[name] + share * second[name], atol=1e-6)


def test_the_ends_are_the_models_themselves(pair):
    expected = pair[1].encode_text(["un gatto"])
    assert np.array_equal(merge(*pair, 1.0, NAMES).encode_text(["un gatto"]), expected)


def test_a_saved_merge_loads_with_its_origins(pair, tmp_path):
    hashes = [encoder.weights_hash for encoder in pair]
    pair[1].info |= {"language": "it", "validation": {"MRR@10": 0.5}}
    merged = merge(*pair, 0.25, NAMES)
    merged.save(tmp_path / "between")
    again = DualEncoder.load(tmp_path / "between")
    assert np.array_equal(again.encode_text(["un gatto"]), merged.encode_text(["un gatto"]))
    assert again.info["language"] == "it"
    assert "validation" not in again.info
    assert again.info["merged"] == [
        {"model": "before", "weights": hashes[0], "share": 0.75},
        {"model": "after", "weights": hashes[1], "share": 0.25},
    ]
    assert again.weights_hash not in hashes


def pictures(*numbers):
    contents = np.array(numbers, np.uint64)
    return Fingerprints(contents, contents * np.uint64(3), np.stack([contents.astype(np.uint8)] * 6, axis=1))


def test_training_pictures_of_both_are_recorded(pair):
    pair[0].info[leaks.INFO_KEY] = pictures(5, 1, 2).to_json()
    pair[1].info[leaks.INFO_KEY] = pictures(2, 9).to_json()
    seen = Fingerprints.from_json(merge(*pair, 0.5, NAMES).info[leaks.INFO_KEY])
    expected = pictures(5, 1, 2, 9)
    assert seen.contents.tolist() == expected.contents.tolist()
    assert seen.outlines.tolist() == expected.outlines.tolist()
    assert seen.colours.tolist() == expected.colours.tolist()


def test_other_shapes_are_errors(pair):
    pair[1].model.text_projection = nn.Linear(24, 16, bias=False)
    with pytest.raises(UserError, match=r"text_projection\.weight is \[24, 24\] and \[16, 24\]"):
        merge(*pair, 0.5, NAMES)


def test_a_missing_part_is_an_error(pair):
    pair[1].model.text_projection = nn.Identity()
    with pytest.raises(UserError, match=r"before and after: .* \[24, 24\] and missing"):
        merge(*pair, 0.5, NAMES)


def test_another_tokenizer_is_an_error(pair):
    assert isinstance(pair[1].tokenizer, PreTrainedTokenizerFast)
    pair[1].tokenizer.add_tokens(["cavallo"])
    with pytest.raises(UserError, match="different tokenizers"):
        merge(*pair, 0.5, NAMES)


def test_other_preprocessing_is_an_error(pair):
    pair[1].image_processor.image_mean = [0.4, 0.5, 0.5]
    with pytest.raises(UserError, match="different image preprocessing"):
        merge(*pair, 0.5, NAMES)


def with_landmarks(seed, count, centre=0.5, inner=()):
    """Return a tiny model like `mini`, with separate seeds for the towers and for head and projections."""
    torch.manual_seed(0)
    shape = {"width_coefficient": 0.25, "depth_coefficient": 0.3, "image_size": 32, "hidden_dim": 320}
    plain = DetailedEfficientNetConfig(**shape, hidden_act="relu6", inner_blocks=list(inner))
    vision = DetailedEfficientNetModel(plain).eval()
    vision.config.hidden_size = 320 + inner_width(vision)
    text = tiny_bert(hidden_size=16, layers=1)
    config = VisionTextDualEncoderConfig(vision_config=vision.config, text_config=text.config, projection_dim=8)
    model = VisionTextDualEncoderModel(config=config, vision_model=vision, text_model=text).eval()
    torch.manual_seed(seed)
    features = centre + torch.rand(count, 320)
    add_head(model, features, (torch.randn(5, 320, generator=torch.Generator().manual_seed(9)), torch.zeros(5)))
    with torch.no_grad():
        model.visual_projection.weight.normal_()
        model.text_projection.weight.normal_()
        model.vision_model.head.temperature.fill_(1.5)
    processor = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    return DualEncoder(model, tiny_tokenizer(), processor)


PIXELS = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def image_vectors(encoder):
    """Return embeddings (3, dim) before normalisation."""
    parts = encoder.parts
    return parts.visual_projection(parts.vision(pixel_values=PIXELS).pooler_output)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("inner", [(), (5, 6)])
def test_the_merge_has_the_landmarks_of_both(share, inner, tmp_path):
    start, end = with_landmarks(1, 7, inner=inner), with_landmarks(2, 4, centre=0.1, inner=inner)
    first, second = image_vectors(start), image_vectors(end)
    merged = merge(start, end, share, NAMES)
    expected = (1 - share) * first + share * second
    assert torch.allclose(image_vectors(merged), expected, atol=1e-5)
    assert len(merged.parts.vision.head.landmarks.weight) == 11
    merged.save(tmp_path / "between")
    again = DualEncoder.load(tmp_path / "between")
    assert torch.allclose(image_vectors(again), expected, atol=1e-5)
    assert again.weights_hash == merged.weights_hash


def test_two_models_with_equally_many_landmarks(tmp_path):
    start, end = with_landmarks(1, 6), with_landmarks(2, 6)
    expected = (image_vectors(start) + image_vectors(end)) / 2
    merged = merge(start, end, 0.5, NAMES)
    assert torch.allclose(image_vectors(merged), expected, atol=1e-5)


def test_a_copy_shares_its_landmarks():
    start, copy = with_landmarks(1, 6), with_landmarks(1, 6)
    with torch.no_grad():
        copy.model.visual_projection.weight.mul_(3)
    expected = 2 * image_vectors(start)
    merged = merge(start, copy, 0.5, NAMES)
    assert torch.allclose(image_vectors(merged), expected, atol=1e-5)
    assert len(merged.parts.vision.head.landmarks.weight) == 6
    assert merged.parts.vision.head.landmarks.centre.shape == (320,)


def test_a_merged_model_can_be_merged_with_one_of_its_parents_and_another(tmp_path):
    def between():
        return merge(with_landmarks(1, 7), with_landmarks(2, 4), 0.5, NAMES)

    parents = [image_vectors(with_landmarks(seed, count)) for seed, count in ((1, 7), (2, 4), (3, 5))]
    back = merge(between(), with_landmarks(2, 4), 0.5, NAMES)
    assert torch.allclose(image_vectors(back), 0.25 * parents[0] + 0.75 * parents[1], atol=1e-5)
    assert len(back.parts.vision.head.landmarks.weight) == 11  # without duplicates
    third = merge(with_landmarks(3, 5), between(), 0.5, NAMES)
    expected = 0.25 * parents[0] + 0.25 * parents[1] + 0.5 * parents[2]
    assert torch.allclose(image_vectors(third), expected, atol=1e-5)


def test_the_sources_of_both_are_recorded(pair):
    one, two = (
        {"source": name, "pictures": count, "captions": 9, "licenses": {}} for name, count in (("a", 5), ("b", 7))
    )
    pair[0].info["data"] = {"sources": [one, two | {"pictures": 3}], "train": 10}
    pair[1].info["data"] = {"sources": [two], "train": 7}
    found = merge(*pair, 0.5, NAMES).info["data"]
    assert sorted(found["sources"], key=lambda source: source["source"]) == [one, two]
