"""Indexing and looking for places on a GPU give what the CPU gives."""

import numpy as np
import torch
from PIL import Image
from typer.testing import CliRunner

from clip_italian.cli import app
from clip_italian.search.index import Index
from tests.conftest import COLOURS, SHAPES, draw_shape
from tests.gpu import GPU, needs_gpu
from tests.search.test_windows import noise, with_maps  # noqa: F401

pytestmark = needs_gpu


def test_an_index_made_on_the_gpu_finds_the_same(tmp_path, tiny_folder, cache):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, (shape, colour) in enumerate((s, c) for s in SHAPES for c in COLOURS.values()):
        draw_shape(shape, colour, number).save(pictures / f"{number}.png")
    found = {}
    for device in ("cpu", "cuda"):
        index = tmp_path / f"{device}.idx"
        arguments = ["index", "build", str(pictures), "-o", str(index), "--model", str(tiny_folder), "--device", device]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        query = np.random.default_rng(0).standard_normal(24).astype(np.float32)
        found[device] = {hit.id: hit.score for hit in Index.open(index).search(query / np.linalg.norm(query), 18)}
    assert found["cpu"].keys() == found["cuda"].keys()
    assert max(abs(found["cpu"][name] - score) for name, score in found["cuda"].items()) < 0.01  # bfloat16's steps


def test_maps_and_embeddings_of_an_efficientnet(with_maps):  # noqa: F811
    pictures = [noise(100, 80, seed) for seed in range(5)]
    expected = with_maps.encode_images(pictures), with_maps.last_map(Image.new("RGB", (9, 9), "red"), 128, 64)
    with_maps.to(GPU)
    assert np.abs(with_maps.encode_images(pictures) - expected[0]).max() < 1e-3
    found = with_maps.last_map(Image.new("RGB", (9, 9), "red"), 128, 64).cpu()
    assert torch.allclose(found, expected[1], atol=1e-3, rtol=1e-3)
