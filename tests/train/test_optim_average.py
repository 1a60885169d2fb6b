"""The moving average against a computation by hand."""

import torch
from torch import nn

from clip_italian.train.optim import Average


def test_the_average_by_hand():
    weight = nn.Parameter(torch.tensor([0.0]))
    average = Average([("a.weight", weight)], 0.5)
    expected = 0.0
    for steps, value in enumerate((1.0, 3.0, 2.0, 8.0, -4.0, 5.0, 0.5, 9.0, 1.0, 2.0, 7.0)):
        with torch.no_grad():
            weight.fill_(value)
        average.update()
        decay = min(0.5, (1 + steps) / (10 + steps))
        expected = decay * expected + (1 - decay) * value
    with average.swapped_in():
        torch.testing.assert_close(weight.detach(), torch.tensor([expected]))
    assert weight.item() == 7.0

    resumed = Average([("a.weight", weight)], 0.5)
    resumed.load(average.state())
    average.update()
    resumed.update()
    assert torch.equal(average.state()["a.weight"], resumed.state()["a.weight"])


def test_off():
    weight = nn.Parameter(torch.tensor([2.0]))
    average = Average([("a.weight", weight)], 0.0)
    average.update()
    with average.swapped_in():
        assert weight.item() == 2.0
    assert average.state() == {}
    average.load({})
