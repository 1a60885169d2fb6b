import pytest
from torch import nn

from clip_italian.errors import UsageError
from clip_italian.train import optim


@pytest.fixture
def model():
    return nn.ModuleDict({"tower": nn.Linear(3, 3), "projection": nn.Linear(3, 2)})


def test_patterns_decide_and_trainable_wins(model):
    chosen = optim.freeze(model, ["projection.*", "tower.bias"], ["tower.*"])
    assert [name for name, _ in chosen] == ["tower.bias", "projection.weight", "projection.bias"]
    assert not model["tower"].weight.requires_grad


def test_an_uncovered_parameter_is_an_error(model):
    with pytest.raises(UsageError, match=r"tower\.weight: neither"):
        optim.freeze(model, ["projection.*"], ["tower.bias"])


def test_a_pattern_without_a_parameter_is_an_error(model):
    with pytest.raises(UsageError, match="'projektion"):
        optim.freeze(model, ["projektion.*"], ["*"])


def test_names_within_a_module(model):
    chosen = optim.choose(model, ["*.weight"], ["*"])
    assert sum(parameter.numel() for _, parameter in chosen) == 3 * 2 + 3 * 3
    assert optim.names_within(model["tower"], chosen) == {"weight"}
    assert all(parameter.requires_grad for parameter in model.parameters())  # nothing is set
