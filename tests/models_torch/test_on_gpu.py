"""Embeddings on a GPU equal those on the CPU for every kind of model, and nearly in bf16."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image

from clip_italian.config import load_recipe
from clip_italian.models_torch.base import load_base
from clip_italian.models_torch.cut import whole
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.train.step import Embedder, autocast
from tests.gpu import GPU, needs_gpu
from tests.models_torch import kinds

pytestmark = needs_gpu
TEXTS = ["un gatto che dorme", "foto", "una foto di un cerchio rosso", "un quadrato blu"]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Disable tf32 during the tests."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def pictures(count):
    draw = np.random.default_rng(0)
    small = (Image.fromarray(draw.integers(0, 256, (5, 7, 3), np.uint8)) for _ in range(count))
    return [image.resize((90, 60), Image.Resampling.BICUBIC) for image in small]


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_gives_the_same_embeddings_as_on_the_cpu(tmp_path, kind):
    encoder = DualEncoder.load(kinds.folder(kind, tmp_path / kind))
    expected = encoder.encode_images(pictures(9)), encoder.encode_text(TEXTS)
    encoder.to(GPU)
    assert encoder.device.type == "cuda"
    for found, wanted in zip((encoder.encode_images(pictures(9)), encoder.encode_text(TEXTS)), expected, strict=True):
        assert found.dtype == np.float32
        assert np.abs(found - wanted).max() < 2e-5
    back = encoder.to("cpu").encode_images(pictures(9))
    assert np.abs(back - expected[0]).max() < 1e-6


def test_the_papers_towers_equal_the_cpu_and_nearly_so_in_bf16():
    torch.manual_seed(0)
    encoder = load_base(load_recipe("paper", ["model.init=random"]).model)
    images, texts = pictures(12), [f"una foto di {count} gatti e un cane che dormono" for count in range(12)]
    expected = encoder.encode_images(images), encoder.encode_text(texts)
    encoder.to(GPU)
    exact_ones = encoder.encode_images(images), encoder.encode_text(texts)
    with autocast(encoder.device, torch.bfloat16):
        rough = encoder.encode_images(images), encoder.encode_text(texts)
    for wanted, exact_one, rough_one in zip(expected, exact_ones, rough, strict=True):
        assert np.abs(exact_one - wanted).max() < 1e-4
        assert (exact_one * wanted).sum(axis=1).min() > 0.99999
        assert (rough_one * wanted).sum(axis=1).min() > 0.999
        assert np.abs(rough_one - wanted).max() > 1e-5  # bf16 was used


def test_an_embedder_in_bf16_gives_float32_on_the_gpu(tiny_encoder):
    tiny_encoder.to(GPU)
    parts = tiny_encoder.parts
    embedder = Embedder(parts, whole(parts.vision), whole(parts.text), 0.0, 0.0, False, torch.bfloat16).eval()
    pixels = torch.stack([tiny_encoder.preprocess(image) for image in pictures(3)]).to(GPU)
    tokens = {key: value.to(GPU) for key, value in tiny_encoder.tokenize(TEXTS[:3]).items()}
    for found in embedder({"pixel_values": pixels}, tokens):
        assert found.dtype == torch.float32
        assert found.device.type == "cuda"


def test_texts_in_many_parts_keep_their_order_on_the_gpu(tiny_encoder, monkeypatch):
    monkeypatch.setattr("clip_italian.train.step._TEXTS", 3)
    tiny_encoder.to(GPU)
    parts = tiny_encoder.parts
    embedder = Embedder(parts, whole(parts.vision), whole(parts.text), 0.0, 0.0, False, torch.float32).eval()
    texts = TEXTS * 3
    tokens = {key: value.to(GPU) for key, value in tiny_encoder.tokenize(texts).items()}
    with torch.no_grad():
        found = torch.nn.functional.normalize(embedder.texts(tokens), dim=1).cpu().numpy()
    assert np.abs(found - tiny_encoder.encode_text(texts)).max() < 2e-5
