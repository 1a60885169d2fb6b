import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerFast

from clip_italian import leaks
from clip_italian.errors import UserError
from clip_italian.leaks import Fingerprints
from clip_italian.model.dual_encoder import DualEncoder
from clip_italian.model.merge import merge

NAMES = ("before", "after")


@pytest.fixture
def pair(tiny_folder):
    """A model, and one with all its weights moved."""
    start, end = DualEncoder.load(tiny_folder), DualEncoder.load(tiny_folder)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in end.model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return start, end


def weights(encoder):
    return {name: value.clone() for name, value in encoder.model.state_dict().items()}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_every_weight_lies_between(pair, share):
    first, second = map(weights, pair)
    found = weights(merge(*pair, share, NAMES))
    assert found.keys() == first.keys()
    for name, value in found.items():
        assert torch.allclose(value, (1 - share) * first[name] + share * second[name], atol=1e-6)


def test_the_ends_are_the_models_themselves(pair):
    expected = pair[1].encode_text(["un gatto"])
    assert np.array_equal(merge(*pair, 1.0, NAMES).encode_text(["un gatto"]), expected)


def test_saved_and_loaded_again_it_is_the_same_and_tells_where_it_comes_from(pair, tmp_path):
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


def test_what_either_was_trained_on_counts(pair):
    pair[0].info[leaks.INFO_KEY] = pictures(5, 1, 2).to_json()
    pair[1].info[leaks.INFO_KEY] = pictures(2, 9).to_json()
    seen = Fingerprints.from_json(merge(*pair, 0.5, NAMES).info[leaks.INFO_KEY])
    expected = pictures(5, 1, 2, 9)
    assert seen.contents.tolist() == expected.contents.tolist()
    assert seen.outlines.tolist() == expected.outlines.tolist()
    assert seen.colours.tolist() == expected.colours.tolist()


def test_other_shapes_are_refused(pair):
    pair[1].model.text_projection = nn.Linear(24, 16, bias=False)
    with pytest.raises(UserError, match=r"text_projection\.weight is \[24, 24\] and \[16, 24\]"):
        merge(*pair, 0.5, NAMES)


def test_a_part_that_one_lacks_is_refused(pair):
    pair[1].model.text_projection = nn.Identity()
    with pytest.raises(UserError, match=r"before and after: .* \[24, 24\] and missing"):
        merge(*pair, 0.5, NAMES)


def test_another_tokenizer_is_refused(pair):
    assert isinstance(pair[1].tokenizer, PreTrainedTokenizerFast)
    pair[1].tokenizer.add_tokens(["cavallo"])
    with pytest.raises(UserError, match="tokenizers differ"):
        merge(*pair, 0.5, NAMES)


def test_other_preprocessing_is_refused(pair):
    pair[1].image_processor.image_mean = [0.4, 0.5, 0.5]
    with pytest.raises(UserError, match="prepare pictures differently"):
        merge(*pair, 0.5, NAMES)
