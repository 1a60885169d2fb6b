"""Embeddings of every kind of joint model equal those of its `transformers` class."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from transformers import AutoModel, ChineseCLIPConfig, ChineseCLIPModel

from clip_italian.errors import UserError
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.towers import parts
from tests.conftest import WORDS, draw_shape
from tests.models_torch import kinds

PICTURES = [draw_shape("cerchio", "red", 1), draw_shape("quadrato", "blue", 2)]
TEXTS = ["un gatto che dorme", "un cerchio rosso"]


def features(model, encoder):
    """Return the embeddings by `transformers` of given token ids and preprocessed pictures."""
    ids = [[WORDS.index(word) for word in ("[CLS]", *text.split(), "[SEP]")] for text in TEXTS]
    # CLIP gets as many positions as there are tokens, SigLIP all of them.
    length = 12 if type(model).__name__ == "SiglipModel" else max(map(len, ids))
    mask = [[1] * len(row) + [0] * (length - len(row)) for row in ids]
    padded = torch.tensor([row + [kinds.PADDING] * (length - len(row)) for row in ids])
    masks = {} if type(model).__name__ == "SiglipModel" else {"attention_mask": torch.tensor(mask)}
    pixels = encoder.image_processor(images=PICTURES, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        texts = model.get_text_features(input_ids=padded, **masks).pooler_output
        images = model.get_image_features(pixel_values=pixels).pooler_output
    return normalize(images, dim=1).numpy(), normalize(texts, dim=1).numpy()


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_embeddings_equal_those_of_the_models_class(tmp_path, kind):
    folder = kinds.folder(kind, tmp_path / kind)
    encoder = DualEncoder.load(folder)
    images, texts = features(AutoModel.from_pretrained(folder).eval(), encoder)
    assert encoder.dim == texts.shape[1] == images.shape[1]
    assert np.allclose(encoder.encode_images(PICTURES), images, atol=1e-5)
    assert np.allclose(encoder.encode_text(TEXTS), texts, atol=1e-5)
    # Order and longer texts in the batch do not matter.
    alone = np.concatenate([encoder.encode_text([text]) for text in TEXTS])
    assert np.allclose(alone, texts, atol=1e-5)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_parts_are_the_modules_of_the_model(kind):
    model = kinds.model(kind)
    found = parts(model)
    names = {name for name, _ in model.named_parameters()}
    reached = {"logit_scale"} | ({"logit_bias"} if found.logit_bias is not None else set())
    for name, part in (
        ("vision_model", found.vision),
        ("text_model", found.text),
        ("visual_projection", found.visual_projection),
        ("text_projection", found.text_projection),
    ):
        reached |= {f"{name}.{inner}" for inner, _ in part.named_parameters()}
    assert reached == names
    assert (found.logit_bias is not None) == (kind == "siglip")
    assert found.logit_scale is model.logit_scale


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_save_and_load_keep_the_kind(tmp_path, kind):
    encoder = DualEncoder.load(kinds.folder(kind, tmp_path / "base"))
    encoder.save(tmp_path / "copy")
    again = DualEncoder.load(tmp_path / "copy")
    assert type(again.model) is type(encoder.model)
    assert again.weights_hash == encoder.weights_hash
    assert np.array_equal(again.encode_text(TEXTS), encoder.encode_text(TEXTS))


@pytest.mark.parametrize(("kind", "longest"), [("clip", 12), ("metaclip2", 12), ("siglip", 12), ("altclip", 12)])
def test_texts_over_the_towers_limit_are_truncated_and_counted(tmp_path, kind, longest):
    encoder = DualEncoder.load(kinds.folder(kind, tmp_path / kind))
    assert encoder.max_tokens == longest
    just = "un " * (longest - 2)  # plus two special tokens
    assert encoder.tokenize([just, just + "gatto"])["input_ids"].shape == (2, longest)
    assert encoder.count_truncated(["un gatto", just, just + "gatto"]) == 1
    assert encoder.encode_text([just + "gatto"]).shape == (1, encoder.dim)


def test_siglip_reads_padded_texts_without_a_mask(tmp_path):
    tokens = DualEncoder.load(kinds.folder("siglip", tmp_path / "siglip")).tokenize(["un gatto"])
    assert set(tokens) == {"input_ids"}
    assert tokens["input_ids"].tolist() == [[kinds.BEGIN, WORDS.index("un"), WORDS.index("gatto"), kinds.END, *[0] * 8]]


def test_siglip_2_with_gemmas_tokenizer_gets_lower_case(tmp_path, monkeypatch):
    encoder = DualEncoder.load(kinds.folder("siglip", tmp_path / "siglip"))
    capitals = encoder.tokenize(["Un GATTO"])["input_ids"]
    assert (capitals == WORDS.index("[UNK]")).any()
    gemma = type("GemmaTokenizer", (type(encoder.tokenizer),), {})
    monkeypatch.setattr(encoder.tokenizer, "__class__", gemma)
    assert torch.equal(encoder.tokenize(["Un GATTO"])["input_ids"], encoder.tokenize(["un gatto"])["input_ids"])


def test_an_unsupported_kind_is_an_error(tmp_path):
    config = ChineseCLIPConfig(
        text_config={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8},
        vision_config={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8},
    )
    with pytest.raises(UserError, match="ChineseCLIPModel: not a supported joint model"):
        parts(ChineseCLIPModel(config))


def test_the_device_is_that_of_the_weights(tmp_path):
    encoder = DualEncoder.load(kinds.folder("clip", tmp_path / "clip"))
    before = encoder.encode_images(PICTURES)
    assert encoder.device == torch.device("cpu")
    assert encoder.to("cpu") is encoder
    assert np.array_equal(encoder.encode_images(PICTURES), before)
    assert encoder.to("meta").device == torch.device("meta")
