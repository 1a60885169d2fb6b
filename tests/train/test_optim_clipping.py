from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor, Shard, distribute_tensor, init_device_mesh

from clip_italian.train.optim import clip_gradients, unit_dims
from clip_italian.train.parallel import end_process
from tests.forked import Forked


def test_each_unit_is_limited_to_a_share_of_its_weight_norm():
    parameter = nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    parameter.grad = torch.tensor([[30.0, 40.0], [0.0, 0.01]])
    clip_gradients([parameter, nn.Parameter(torch.ones(2))], 0.01)
    # First unit: weight norm 5, gradient norm 50 → scaled to 0.05. Second: 0.01 < 0.02, untouched.
    assert torch.allclose(parameter.grad, torch.tensor([[0.03, 0.04], [0.0, 0.01]]))


def test_weights_at_zero_can_move_and_no_gradient_stays_none():
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.tensor([[30.0, 40.0], [0.0, 0.0]])
    clip_gradients([parameter], 0.01)
    assert torch.allclose(parameter.grad, torch.tensor([[0.6e-5, 0.8e-5], [0.0, 0.0]]))


@pytest.mark.parametrize(
    ("shape", "tables", "expected"),
    [
        ((), False, ()),
        ((5,), False, (0,)),
        ((4, 3), False, (1,)),
        ((4, 3), True, (0,)),
        ((1, 3), False, (0, 1)),
        ((4, 3, 2, 2), False, (1, 2, 3)),
        ((1, 50, 8), True, (0, 1)),
    ],
)
def test_units(shape, tables, expected):
    assert unit_dims(shape, tables) == expected


SHAPES = ((5, 3), (7,), (5, 2, 2, 2), (1, 6))


def weights():
    rng = torch.Generator().manual_seed(0)
    made = []
    for shape in SHAPES:
        parameter = nn.Parameter(torch.randn(shape, generator=rng))
        sizes = 10.0 ** torch.randint(-3, 2, (shape[0],) + (1,) * (len(shape) - 1), generator=rng)
        parameter.grad = sizes * torch.randn(shape, generator=rng)
        made.append(parameter)
    return made


def clip_sharded(rank, place):
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    for tables in (False, True):
        sharded = []
        for parameter in weights():
            shard = nn.Parameter(distribute_tensor(parameter.detach(), mesh, [Shard(0)]))
            shard.grad = distribute_tensor(parameter.grad, mesh, [Shard(0)])
            sharded.append(shard)
        clip_gradients(sharded, 0.01, tables)
        assert all(isinstance(shard.grad, DTensor) for shard in sharded)
        whole = [shard.grad.full_tensor() for shard in sharded]
        if rank == 0:
            torch.save(whole, Path(place) / f"{tables}.pt")
    torch.distributed.barrier()  # a process that leaves while another still talks may be aborted
    torch.distributed.destroy_process_group()
    end_process()


def test_units_of_sharded_weights_span_all_shards(tmp_path):
    environment = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    ranks = [Forked(clip_sharded, rank, str(tmp_path), environment=environment) for rank in range(2)]
    said = [err for _, err in [rank.communicate() for rank in ranks]]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
    for tables in (False, True):
        expected = weights()
        before = [parameter.grad.clone() for parameter in expected]
        clip_gradients(expected, 0.01, tables)
        assert any(not torch.equal(parameter.grad, old) for parameter, old in zip(expected, before, strict=True))
        for parameter, found in zip(expected, torch.load(tmp_path / f"{tables}.pt"), strict=True):
            assert torch.allclose(parameter.grad, found, atol=1e-7)


def test_a_feature_of_a_long_table_is_one_unit():
    rng = torch.Generator().manual_seed(0)
    table = nn.Parameter(torch.randn(600, 3, generator=rng))
    gradient = torch.randn(600, 3, generator=rng) * torch.tensor([1e-3, 1.0, 100.0])
    table.grad = gradient.clone()
    clip_gradients([table], 0.01, tables=True)
    limits = 0.01 * table.detach().norm(dim=0)
    assert torch.equal(table.grad[:, 0], gradient[:, 0])
    assert torch.allclose(table.grad[:, 1:].norm(dim=0), limits[1:])
    assert torch.allclose(table.grad[:, 1:], gradient[:, 1:] * (limits / gradient.norm(dim=0))[1:], rtol=1e-5)
