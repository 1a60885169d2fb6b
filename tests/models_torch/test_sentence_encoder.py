"""Embeddings of a model like mCLIP equal those of sentence-transformers, and of its parts."""

import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from transformers import AutoModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.models.load import load_rival
from tests.conftest import draw_shape, tiny_tokenizer
from tests.models_torch import sentence_models

TEXTS = ["un gatto che dorme", "un cerchio rosso"]
PICTURES = [draw_shape("cerchio", "red", 1).resize((60, 44)), draw_shape("quadrato", "blue", 2)]


def load(name):
    return load_rival(name, languages.get("it"), torch.device("cpu"))


@pytest.fixture
def folders(tmp_path):
    pytest.importorskip("sentence_transformers")
    return sentence_models.texts(tmp_path / "texts"), sentence_models.pictures(tmp_path / "pictures")


def test_embeddings_equal_those_of_the_library_and_of_its_parts(folders):
    from sentence_transformers import SentenceTransformer

    texts, pictures = folders
    encoder = load(f"sentence-transformers:{texts},{pictures}")
    found = encoder.encode_text(TEXTS), encoder.encode_images(PICTURES)
    theirs = SentenceTransformer(str(texts)).encode(TEXTS), SentenceTransformer(str(pictures)).encode(PICTURES)
    for mine, other in zip(found, theirs, strict=True):
        assert mine.dtype == np.float32
        assert np.allclose(mine, other / np.linalg.norm(other, axis=1, keepdims=True), atol=1e-6)

    tokens = tiny_tokenizer()(TEXTS, padding=True, return_tensors="pt")
    mask = tokens["attention_mask"]
    matrix = torch.load(texts / "2_Dense/pytorch_model.bin")["linear.weight"]
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_mean=[0.48, 0.46, 0.41],
        image_std=[0.27, 0.26, 0.28],
    )  # fmt: skip
    with torch.no_grad():
        states = AutoModel.from_pretrained(texts)(input_ids=tokens["input_ids"], attention_mask=mask).last_hidden_state
        by_hand = (states * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True) @ matrix.T
        pixels = processor(images=PICTURES, return_tensors="pt")["pixel_values"]
        seen = AutoModel.from_pretrained(pictures / "0_CLIPModel").get_image_features(pixels).pooler_output
    assert np.allclose(found[0], normalize(by_hand, dim=1), atol=1e-5)
    assert np.allclose(found[1], normalize(seen, dim=1), atol=1e-5)


def test_facts_and_edge_cases(folders, tmp_path):
    encoder = load(f"sentence-transformers:{folders[0]},{folders[1]}")
    assert encoder.dim == 24
    assert encoder.encode_text([]).shape == encoder.encode_images([]).shape == (0, 24)
    facts = encoder.facts()
    assert (facts["dim"], facts["max_tokens"], encoder.info) == (24, 20, {})
    assert facts["library"].startswith("sentence-transformers ")
    other = load(f"sentence-transformers:{sentence_models.texts(tmp_path / 'again')},{folders[1]}")
    assert other.facts() == facts
    (tmp_path / "dense.bin").write_bytes((folders[0] / "2_Dense/pytorch_model.bin").read_bytes())
    torch.save({"linear.weight": torch.ones(24, 32)}, folders[0] / "2_Dense/pytorch_model.bin")
    assert load(f"sentence-transformers:{folders[0]},{folders[1]}").facts()["weights_sha256"] != facts["weights_sha256"]


def test_one_model_for_both(folders):
    encoder = load(f"sentence-transformers:{folders[1]}")
    assert encoder.encode_text(["un gatto"]).shape == encoder.encode_images(PICTURES[:1]).shape == (1, 24)
    assert encoder.facts()["max_tokens"] == 12


def test_mismatches_are_errors(folders, tmp_path, tiny_folder, monkeypatch):
    texts, pictures = folders
    other = sentence_models.texts(tmp_path / "other", dim=16)
    (texts / "model.safetensors").rename(tmp_path / "aside")
    for name, words in (
        (f"sentence-transformers:{other}", "does not embed pictures; name an image model too"),
        (f"sentence-transformers:{other},{pictures}", "text embeddings have 16 dimensions, image embeddings 24"),
        (f"sentence-transformers:{tiny_folder},{pictures}", "not a sentence-transformers model (no modules.json)"),
        (f"sentence-transformers:{tmp_path / 'none'},{pictures}", "not a sentence-transformers model"),
        (f"sentence-transformers:{texts},{pictures}", "sentence-transformers cannot load the model"),
        ("mclip", "clip-ViT-B-32-multilingual-v1: not a sentence-transformers model"),
    ):
        with pytest.raises(UserError) as caught:
            load(name)
        assert words in str(caught.value), name
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(UserError, match=r"pip install 'clip-italian\[rivals\]'"):
        load("mclip")
