import os

import pytest
import torch

from clip_italian.train.pictures import in_order


def square(number):
    return torch.tensor(number * number)


def whoami(_):
    return os.getpid()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_order(workers):
    assert [int(n) for n in in_order(square, list(range(40)), workers)] == [n * n for n in range(40)]
    assert not list(in_order(square, [], workers))


def test_processes_are_others_and_threads_are_not():
    assert set(in_order(whoami, [1, 2], 0)) == {os.getpid()}
    assert os.getpid() not in set(in_order(whoami, [1, 2], 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_the_training_draws_stays_the_same(workers):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    list(in_order(square, [1, 2, 3], workers))
    assert torch.equal(torch.rand(2), expected)


def test_threads_do_not_run_far_ahead_of_the_reader():
    started = []
    results = in_order(lambda number: started.append(number), list(range(10_000)), 0)
    next(results)
    results.close()
    assert len(started) < 200
