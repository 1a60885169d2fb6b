"""Two processes with half of each batch give what one process with the whole batch gives."""

import gc
import os
import re
import signal
import socket
import subprocess
import sys
import weakref
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from clip_italian.config import Recipe
from clip_italian.errors import UsageError
from clip_italian.models_torch.devices import choose_device
from clip_italian.pairs import read, write
from clip_italian.train import cost, parallel
from clip_italian.train.parallel import Processes, join
from clip_italian.train.run import train
from tests.forked import Forked, command
from tests.train.test_resume import ALL, as_file, lines, losses, settings, wait_for_steps

PLAIN = {"views": 0, "image_dropout": 0.0, "text_dropout": 0.0, "tower_dropout": False}


def plain(pairs, base, output, **more):
    """No distortion and no dropout, which would be drawn otherwise in two processes."""
    values = settings(pairs, base, output, precision="float32", **more)
    values["stage"] = [stage | PLAIN for stage in values["stage"]]
    values["model"]["start"] = "random"
    return values


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_ranks(file, *more):
    """The command in two processes with the environment that torchrun gives each."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [
        command("train", file, *more, environment=shared | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"})
        for rank in "01"
    ]


def finish(ranks):
    """What the processes said, once both have ended well."""
    said = [err for _, err in [rank.communicate() for rank in ranks]]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)[-3000:]
    return "".join(said)


def join_alone(folder, ending):
    """Join a group of one process, use it, and leave it: the group must be there as long as the process."""
    os.environ["WORLD_SIZE"], init = "2", dist.init_process_group
    meeting = {"init_method": f"file://{folder}/meeting", "rank": 0, "world_size": 1}
    parallel.dist.init_process_group = lambda backend, **more: init(backend, **more, **meeting)
    with suppress(RuntimeError), join(torch.device("cpu")) as processes:
        group = weakref.ref(dist.group.WORLD)
        wrapped = parallel.wrap(torch.nn.Linear(2, 2), processes, sharded=False)
        wrapped(torch.ones(1, 2)).sum().backward()
        if ending == "error":
            raise RuntimeError
        if ending == "model first":
            del wrapped
    wrapped = None
    gc.collect()
    assert not dist.is_initialized()
    assert group() is not None


@pytest.mark.parametrize("ending", ["model last", "model first", "error"])
def test_a_group_is_not_freed_before_its_process_ends(ending, tmp_path):
    """To free it waits for threads that may themselves wait: a run of two processes stood still at its end."""
    environment = dict.fromkeys(("RANK", "MASTER_ADDR", "MASTER_PORT"), "not used here")
    alone = Forked(join_alone, tmp_path, ending, environment=environment)
    _, err = alone.communicate()
    assert alone.returncode == 0, err


@pytest.mark.integration
def test_torchrun_starts_two_processes(tmp_path, tiny_folder, shapes, cache):
    values = plain(shapes, tiny_folder, tmp_path / "two")
    file = as_file(values, tmp_path / "two.toml")
    program = Path(sys.executable).with_name("clip-italian")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    done = subprocess.run(
        [*torchrun, str(program), "train", str(file)], capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    train(Recipe.model_validate(values | {"output": str(tmp_path / "one")}))
    assert_close(tmp_path / "two", tmp_path / "one")
    assert cost.read(tmp_path / "two" / "cost.json").devices == 2


def assert_close(one, other):
    pairs = list(zip(losses(one), losses(other), strict=True))
    assert [(a[:3], b[:3]) for a, b in pairs if a[:3] != b[:3]] == []
    torch.testing.assert_close(
        torch.tensor([a[3] for a, _ in pairs]), torch.tensor([b[3] for _, b in pairs]), rtol=1e-4, atol=1e-5
    )
    weights, expected = (load_file(Path(folder) / "model/model.safetensors") for folder in (one, other))
    for name, value in expected.items():
        if name.endswith(("key.bias", "k_proj.bias")):
            continue  # softmax does not feel it: its gradient is rounding alone, of which Adam makes whole steps
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.integration
@pytest.mark.parametrize(
    "more",
    [{}, {"sharding": True}, {"loss": {"kind": "sigmoid"}}, {"loss": {"kind": "sigmoid"}, "sharding": True}],
    ids=["copied", "sharded", "sigmoid", "sharded-sigmoid"],
)
def test_two_processes_are_as_one(tmp_path, tiny_folder, shapes, cache, more):
    if "loss" in more:
        more = more | {"optimizer": {"name": "adamw"}}
    values = plain(shapes, tiny_folder, tmp_path / "two", **more)
    if "loss" in more:
        values["stage"][0] |= {"trainable": ["*projection.*", "logit_*"], "frozen": ["*_model.*"]}
        values["stage"][1] |= {"trainable": [*ALL, "logit_*"], "frozen": ["*"]}
    ranks = start_ranks(as_file(values, tmp_path / "two.toml"))
    single = values | {"output": str(tmp_path / "one"), "sharding": False}
    train(Recipe.model_validate(single))
    out = finish(ranks)
    assert_close(tmp_path / "two", tmp_path / "one")
    assert len(re.findall("weights move", out)) == 2  # one process speaks, once a stage
    assert lines(tmp_path / "two", "history.jsonl")[0]["stage"] == "untrained"
    spent = cost.read(tmp_path / "two" / "cost.json")
    assert spent.devices == 2
    assert spent.device_hours == pytest.approx(2 * spent.seconds / 3600)


@pytest.mark.integration
@pytest.mark.parametrize("pictures", [{}, {"loss": {"pictures": 0.5}}], ids=["captions", "pictures"])
@pytest.mark.parametrize("sharding", [False, True], ids=["copied", "sharded"])
def test_two_processes_learn_from_a_teacher_as_one(tmp_path, tiny_folder, shapes, cache, pictures, sharding):
    write([replace(pair, captions_original=pair.captions) for pair in read(shapes)], shapes)
    values = plain(shapes, tiny_folder, tmp_path / "two", **pictures)
    values["model"] = {"teacher": str(tiny_folder), "text": str(tiny_folder)}
    values["optimizer"] = {"name": "adamw"}
    values["stage"] = [values["stage"][1] | {"trainable": ["text_*"], "frozen": ["*"], "clipping": 0.0}]
    values["sharding"] = sharding
    ranks = start_ranks(as_file(values, tmp_path / "two.toml"))
    train(Recipe.model_validate(values | {"output": str(tmp_path / "one"), "sharding": False}))
    finish(ranks)
    assert_close(tmp_path / "two", tmp_path / "one")


@pytest.mark.integration
def test_two_killed_processes_go_on(tmp_path, tiny_folder, shapes, cache):
    values = settings(shapes, tiny_folder, tmp_path / "whole", checkpoints={"every": 2, "keep": 2})
    finish(start_ranks(as_file(values, tmp_path / "whole.toml")))
    file = as_file(values | {"output": str(tmp_path / "killed")}, tmp_path / "killed.toml")
    ranks = start_ranks(file)
    wait_for_steps(ranks[0], tmp_path / "killed", 5)
    for rank in ranks:
        rank.send_signal(signal.SIGKILL)
        rank.communicate()
    finish(start_ranks(file, "--resume"))
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    weights, expected = (load_file(tmp_path / name / "model/model.safetensors") for name in ("killed", "whole"))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_single_process_needs_no_group():
    with join(torch.device("cpu")) as alone:
        assert alone == Processes()
        assert not torch.distributed.is_initialized()
        rows = torch.arange(4)
        assert alone.share(rows) is not None
        assert torch.equal(alone.share(rows), rows)
        assert alone.gather(rows) is rows
        assert alone.any(True) and not alone.any(False)


def test_shares_are_even():
    rows = torch.arange(7)
    shares = [Processes(rank, 3).share(rows).tolist() for rank in range(3)]
    assert shares == [[0, 1], [2, 3], [4, 5]]


def test_errors(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(UsageError, match="RANK, MASTER_ADDR, MASTER_PORT is not set; start the run by torchrun"),
        join(torch.device("cpu")),
    ):
        pass
    with pytest.raises(UsageError, match="device = 'abacus'"):
        choose_device("abacus")
