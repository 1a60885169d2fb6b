import pytest
from torch import nn

from clip_italian.errors import UsageError
from clip_italian.train import freeze


@pytest.fixture
def model():
    return nn.ModuleDict({"tower": nn.Linear(3, 3), "projection": nn.Linear(3, 2)})


def test_patterns_decide_and_trainable_wins(model):
    chosen = freeze.apply(model, ["projection.*", "tower.bias"], ["tower.*"])
    assert [name for name, _ in chosen] == ["tower.bias", "projection.weight", "projection.bias"]
    assert not model["tower"].weight.requires_grad


def test_an_uncovered_parameter_is_an_error(model):
    with pytest.raises(UsageError, match=r"tower\.weight: neither"):
        freeze.apply(model, ["projection.*"], ["tower.bias"])


def test_a_pattern_without_a_parameter_is_an_error(model):
    with pytest.raises(UsageError, match="'projektion"):
        freeze.apply(model, ["projektion.*"], ["*"])


def test_counts_of_weights(model):
    freeze.apply(model, ["projection.*"], ["tower.*"])
    assert freeze.counts(model) == (3 * 2 + 2, 3 * 3 + 3)
