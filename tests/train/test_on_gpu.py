"""What training promises, kept on a GPU: gradients, clipping and steps, pictures, kill and resume, NCCL."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian.config import Augmentation, Loss, Optimizer, Recipe
from clip_italian.errors import UsageError
from clip_italian.models_torch.cut import whole
from clip_italian.models_torch.devices import choose_device
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.train import checkpoint, optim, parallel
from clip_italian.train.loss import contrastive_loss, loss_and_gradients
from clip_italian.train.optim import Group
from clip_italian.train.parallel import Processes, join
from clip_italian.train.pictures import FilePictures, LivePictures
from clip_italian.train.run import train
from clip_italian.train.step import Batch, Embedder, choose_precision, compute_gradients
from tests.forked import command
from tests.gpu import GPU, needs_gpu, needs_two_gpus
from tests.tars import write_tar
from tests.train.test_loss import GROUPS, random_rows
from tests.train.test_optim import stage
from tests.train.test_parallel import assert_close, plain
from tests.train.test_resume import as_file, assert_same_run, losses, settings, wait_for_steps
from tests.train.test_step import POSITION, batch, check_gradients

pytestmark = needs_gpu


def on_gpu(given: Batch) -> Batch:
    images, texts = ({key: value.to(GPU) for key, value in side.items()} for side in (given.images, given.texts))
    return replace(given, images=images, texts=texts, groups=given.groups.to(GPU))


def test_auto_is_the_gpu_in_bf16():
    device = choose_device("auto")
    assert device == torch.device("cuda", 0)
    assert choose_precision("auto", device) == choose_precision("bf16", device) == torch.bfloat16
    assert choose_precision("float32", device) == torch.float32


def test_a_gpu_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "99")
    with pytest.raises(UsageError, match=r"device = 'cuda': .*use cpu, cuda, mps or auto"):
        choose_device("cuda")


@pytest.mark.parametrize("chunk", [None, 5, 1])
def test_gradients_in_chunks_are_those_of_the_whole_batch(chunk):
    check_gradients(on_gpu(batch(12, [0, 1, 2, 1, 4, 5, 5, 5, 8, 9, 10, 11])), chunk, GPU)


@pytest.mark.parametrize("kind", ["contrastive", "sigmoid"])
def test_the_loss_and_its_gradients_are_those_of_the_cpu_in_float64(kind, monkeypatch):
    monkeypatch.setattr("clip_italian.train.loss.SCORES", 30)  # a few rows at a time
    images, texts = random_rows(1), random_rows(2)
    settings = Loss(kind=kind)
    found = {}
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.float32)):
        rows = [side.to(device, dtype) for side in (images, texts)]
        scale, bias = (torch.tensor(value, device=device, dtype=dtype) for value in (20.0, -3.0))
        groups = GROUPS.to(device)
        found[device] = loss_and_gradients(*rows, *rows, 0, scale, bias, groups, groups, settings)
    for one, other in zip(vars(found["cuda"]).values(), vars(found["cpu"]).values(), strict=True):
        if other is not None:
            torch.testing.assert_close(one.cpu().double(), other, rtol=1e-4, atol=1e-5)
    if kind == "contrastive":
        by_entries = contrastive_loss(images, texts, 20.0, GROUPS)
        torch.testing.assert_close(found["cuda"].loss.cpu().double(), by_entries, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["adabelief", "adamw"])
def test_steps_with_clipping_are_those_of_the_cpu(name):
    rng = torch.Generator().manual_seed(0)
    shapes = [(40, 7), (3,), (), (129,), (2, 2, 3, 3), (600, 5)]
    start = [torch.randn(shape, generator=rng) for shape in shapes]
    gradients = [[10 * torch.randn(shape, generator=rng) for shape in shapes] for _ in range(10)]
    found = {}
    for device in ("cpu", "cuda"):
        weights = [nn.Parameter(value.clone().to(device)) for value in start]
        groups = [Group(weights[:2], 1e-2, 0.1), Group(weights[2:5], 2e-3), Group(weights[5:], 1e-3, 0.0, True)]
        chain = optim.build(groups, Optimizer(name=name), stage())
        for drawn in gradients:
            for weight, gradient in zip(weights, drawn, strict=True):
                weight.grad = gradient.clone().to(device)
            chain.step()
        found[device] = weights
    for one, other in zip(found["cuda"], found["cpu"], strict=True):
        torch.testing.assert_close(one.detach().cpu(), other.detach(), rtol=1e-4, atol=1e-5)


def test_pictures_are_made_ready_on_the_gpu_as_on_the_cpu(tmp_path):
    draw = np.random.default_rng(0)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24})
    augmentation = Augmentation(equalize_p=0.5, autocontrast_p=0.3, perspective_p=0.5, flip_p=0.5)
    live = LivePictures(FilePictures([]), processor, augmentation, 0)
    pixels = torch.from_numpy(draw.integers(0, 256, (32, 3, 24, 24), np.uint8))
    plain_ones = [live.on_device(pixels, False, torch.device(device)).cpu() for device in ("cpu", "cuda")]
    torch.testing.assert_close(plain_ones[1], plain_ones[0])
    distorted = []
    for device in ("cpu", "cuda", "cuda"):
        torch.manual_seed(7)
        distorted.append(live.on_device(pixels, True, torch.device(device)).cpu())
    assert torch.equal(distorted[1], distorted[2])
    # Drawn alike; a value at the border of two equalised levels may fall to the other side.
    assert (distorted[1] - distorted[0]).abs().mean() < 0.02


def cuda_settings(pairs, base, output, **more):
    return settings(pairs, base, output, device="cuda", **more)


def as_shards(pairs):
    """The pictures of the pairs file in two shards."""
    rows = [(path.stem, path) for path in sorted((pairs.parent / "images").glob("*.png"))]
    folder = pairs.parent / "shards"
    for number in range(2):
        members = {}
        for name, path in rows[number::2]:
            shape, colour, _ = name.split("-")
            members |= {f"{name}.png": path.read_bytes(), f"{name}.txt": f"un {shape} {colour}".encode()}
        write_tar(folder / f"{number:05}.tar", members)
    return folder


@pytest.mark.parametrize("source", ["files", "shards"])
def test_a_killed_run_goes_on_to_the_last_bit(tmp_path, tiny_folder, shapes, cache, source):
    pairs = shapes if source == "files" else as_shards(shapes)
    train(Recipe.model_validate(cuda_settings(pairs, tiny_folder, tmp_path / "whole")))
    values = cuda_settings(pairs, tiny_folder, tmp_path / "killed")
    file = as_file(values, tmp_path / "killed.toml")
    process = command("train", file)
    wait_for_steps(process, tmp_path / "killed", 8)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    resumed = command("train", file, "--resume")
    _, err = resumed.communicate()
    assert resumed.returncode == 0, err
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_a_run_learns_what_it_learns_on_the_cpu(tmp_path, tiny_folder, shapes, cache):
    """No dropout and no distortion, which each device draws for itself; AdamW, since AdaBelief enlarges rounding."""
    for device in ("cpu", "cuda"):
        values = plain(shapes, tiny_folder, tmp_path / device, optimizer={"name": "adamw", "eps": 1e-4}, device=device)
        train(Recipe.model_validate(values))
    ours, theirs = losses(tmp_path / "cuda"), losses(tmp_path / "cpu")
    assert [one[:3] for one in ours] == [one[:3] for one in theirs]
    assert max(abs(a[3] - b[3]) for a, b in zip(ours, theirs, strict=True)) < 2e-3


def test_a_run_on_the_cpu_goes_on_on_the_gpu(tmp_path, tiny_folder, shapes, cache, monkeypatch):
    from clip_italian.train import run as run_module
    from clip_italian.train.loop import StoppedError
    from tests.train.test_resume import stop_after

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "Monitor", stop_after(7))
        with pytest.raises(StoppedError):
            train(Recipe.model_validate(settings(shapes, tiny_folder, tmp_path / "run", device="cpu")))
    done = train(Recipe.model_validate(cuda_settings(shapes, tiny_folder, tmp_path / "run")), unfinished="resume")
    assert done.encoder.device.type == "cpu"
    assert [one[2] for one in losses(tmp_path / "run")] == list(range(1, len(losses(tmp_path / "run")) + 1))


@pytest.fixture
def nccl(tmp_path):
    """A group of this process alone, over NCCL."""
    torch.cuda.set_device(0)
    torch.distributed.init_process_group("nccl", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def step_of(folder, how):
    """Gradients of one step, weights after it, and the checkpoint of it, in chunks, bf16 off."""
    encoder = DualEncoder.load(folder).to(GPU)
    parts = encoder.parts
    if how == "sharded":
        parallel.shard(parts, Processes(0, 2))
    embedder = Embedder(parts, whole(parts.vision), whole(parts.text), 0.0, 0.0, False, torch.float32)
    wrapped = DistributedDataParallel(embedder, broadcast_buffers=False) if how == "copied" else embedder
    rng = torch.Generator().manual_seed(1)
    images = {"pixel_values": torch.randn(12, 3, 32, 32, generator=rng).to(GPU)}
    tokens = encoder.tokenize([f"un {word} che dorme" for word in ("gatto", "cerchio", "quadrato") * 4])
    rows = torch.arange(12)
    given = Batch(rows, images, {key: value.to(GPU) for key, value in tokens.items()}, rows.to(GPU))
    moving = [(name, value) for name, value in encoder.model.named_parameters() if name != "logit_scale"]
    parts.logit_scale.requires_grad_(False)
    chain = optim.build(
        optim.parameter_groups(moving, stage(learning_rate=1e-3)),
        Optimizer(name="adamw", eps=1e-4),
        stage(clipping=0.1),
    )
    for _ in range(2):
        embedder.train()
        loss = compute_gradients(wrapped, given, parts.logit_scale, None, Loss(), 5, Processes(), POSITION)
        chain.step()
        chain.zero_grad(set_to_none=True)
    if how == "sharded":
        assert all(isinstance(value, DTensor) for name, value in moving if name.startswith("text_model.encoder"))
    weights, state = checkpoint.weights_of(moving), checkpoint.optimizer_state(chain, moving)
    checkpoint.put_weights(moving, weights)
    checkpoint.put_optimizer_state(chain, moving, state)
    again = checkpoint.weights_of(moving)
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    return loss.cpu(), weights


@pytest.mark.parametrize("how", ["copied", "sharded"])
def test_steps_over_nccl_are_those_without(tmp_path, tiny_folder, nccl, how):
    loss, weights = step_of(tiny_folder, how)
    expected_loss, expected = step_of(tiny_folder, "alone")
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-5)
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=2e-5, msg=name)


def test_sums_and_waits_over_nccl(nccl):
    two = Processes(0, 2)  # says that there are two, so that the group is asked
    assert two.total([1.5, 2.0]) == [1.5, 2.0]
    assert two.any(True) and not two.any(False)
    two.barrier()


def test_torchrun_with_one_process_needs_no_group(monkeypatch):
    for name, value in {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with join(choose_device("auto")) as alone:
        assert alone == Processes()


@needs_two_gpus
@pytest.mark.parametrize("sharding", [False, True])
def test_two_gpus_are_as_one(tmp_path, tiny_folder, shapes, cache, sharding):
    values = plain(shapes, tiny_folder, tmp_path / "two", device="cuda", sharding=sharding)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    file = as_file(values, tmp_path / "two.toml")
    subprocess.run([*torchrun, "clip_italian", "train", str(file)], check=True, capture_output=True)
    train(Recipe.model_validate(values | {"output": str(tmp_path / "one"), "sharding": False}))
    assert_close(tmp_path / "two", tmp_path / "one")
