"""Import of Flax checkpoints, which the tests write from a torch model with an independent conversion."""

import json
import math

import msgpack
import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, VisionTextDualEncoderConfig, VisionTextDualEncoderModel

from clip_italian.errors import UserError
from clip_italian.models_torch import flax_checkpoint
from clip_italian.models_torch.dual_encoder import DualEncoder
from tests.conftest import draw_shape, tiny_bert, tiny_tokenizer

PICTURES = [draw_shape("cerchio", "red", 1), draw_shape("quadrato", "blue", 2)]
TEXTS = ["un gatto che dorme", "una foto"]


def random_model():
    """CLIP's vision tower and a BERT, with distinct random weights everywhere, so that mix-ups are detected."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = CLIPVisionModel(CLIPVisionConfig(image_size=64, patch_size=32, **shape))
    text = tiny_bert(hidden_size=16, layers=2)
    config = VisionTextDualEncoderConfig(vision_config=vision.config, text_config=text.config, projection_dim=8)
    model = VisionTextDualEncoderModel(config=config, vision_model=vision, text_model=text).eval()
    for tower in (model.vision_model, model.text_model):
        tower.config._attn_implementation = "eager"  # not set by the constructor
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def flax_tree(model, scale):
    """Return what `save_pretrained` of the Flax model would write."""
    tree = {"logit_scale": np.array(scale, np.float32)}

    def put(path, value):
        *parents, leaf = path
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
        node[leaf] = np.ascontiguousarray(value.detach().numpy())

    for name, module in model.named_modules():
        path = name.split(".")
        if path[0] == "vision_model":
            path = ["vision_model", *path]
        if isinstance(module, torch.nn.Conv2d):
            put([*path, "kernel"], module.weight.permute(2, 3, 1, 0))
        elif isinstance(module, torch.nn.Linear):
            put([*path, "kernel"], module.weight.T)
        elif isinstance(module, torch.nn.LayerNorm):
            put([*path, "scale"], module.weight)
        elif isinstance(module, torch.nn.Embedding):
            put([*path, "embedding"], module.weight)
        elif hasattr(module, "class_embedding"):
            put([*path, "class_embedding"], module.class_embedding)
        if getattr(module, "bias", None) is not None:
            put([*path, "bias"], module.bias)
    return tree


def packed(tree):
    def ext(value):
        assert isinstance(value, np.ndarray)
        return msgpack.ExtType(1, msgpack.packb((value.shape, value.dtype.name, value.tobytes())))

    return msgpack.packb(tree, default=ext, strict_types=True)


@pytest.fixture
def checkpoint(tmp_path):
    """The model, and a folder as the training script wrote it: settings of 2021, tokenizer, Flax weights."""
    model, folder = random_model(), tmp_path / "flax"
    folder.mkdir()
    vision, text = model.config.vision_config.to_dict(), model.config.text_config.to_dict()
    config = {
        "architectures": ["HybridCLIP"], "model_type": "hybrid-clip", "initializer_factor": 1.0, "seed": 42,
        "projection_dim": 8, "vision_config": vision, "text_config": text,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    tiny_tokenizer().save_pretrained(folder)
    (folder / "flax_model.msgpack").write_bytes(packed(flax_tree(model, 1.0)))
    return model, folder


def test_embeddings_equal_those_of_the_checkpoint(checkpoint, tmp_path):
    model, folder = checkpoint
    imported = flax_checkpoint.load(folder)
    imported.save(tmp_path / "imported")
    found = DualEncoder.load(tmp_path / "imported")
    assert np.allclose(found.encode_text(TEXTS), imported.encode_text(TEXTS), atol=1e-6)
    tokens = found.tokenize(TEXTS)
    pixels = torch.stack([found.preprocess(picture) for picture in PICTURES])
    with torch.no_grad():
        expected = model(**tokens, pixel_values=pixels)
    assert np.allclose(found.encode_text(TEXTS), expected.text_embeds, atol=1e-5)
    assert np.allclose(found.encode_images(PICTURES), expected.image_embeds, atol=1e-5)
    for name, value in model.state_dict().items():
        if name != "logit_scale":
            assert torch.equal(found.model.state_dict()[name], value), name
    assert pixels.shape[2:] == (64, 64)  # CLIP's default preprocessing, because the checkpoint has none


@pytest.mark.parametrize(("stored", "multiplier"), [(1.0, 20.0), ([20.0], 20.0), (math.log(50), 50.0)])
def test_the_scale_of_the_published_script_is_a_constant(stored, multiplier, checkpoint):
    model, folder = checkpoint
    (folder / "flax_model.msgpack").write_bytes(packed(flax_tree(model, stored)))
    assert flax_checkpoint.load(folder).logit_scale == pytest.approx(multiplier, rel=1e-5)


def test_chunked_and_bfloat16_arrays(checkpoint):
    model, folder = checkpoint
    tree = flax_tree(model, 1.0)
    words = tree["text_model"]["embeddings"]["word_embeddings"]
    flat, shape = words["embedding"].ravel(), words["embedding"].shape
    words["embedding"] = {
        "__msgpack_chunked_array__": True, "shape": {"0": shape[0], "1": shape[1]},
        "chunks": {"0": flat[:10].copy(), "1": flat[10:].copy()},
    }  # fmt: skip
    (folder / "flax_model.msgpack").write_bytes(packed(tree))
    found = flax_checkpoint.load(folder).model.state_dict()
    assert torch.equal(
        found["text_model.embeddings.word_embeddings.weight"], model.text_model.get_input_embeddings().weight
    )
    values = torch.tensor([[1.5, -2.0], [0.09, 3e8]]).to(torch.bfloat16)
    content = msgpack.packb(((2, 2), "bfloat16", values.view(torch.int16).numpy().tobytes()))
    (folder / "one.msgpack").write_bytes(msgpack.packb({"a": {"b": msgpack.ExtType(1, content)}}))
    assert np.array_equal(flax_checkpoint.read(folder / "one.msgpack")["a/b"], values.float().numpy())


def rename(tree):
    tree["text_projektion"] = tree.pop("text_projection")


def drop(tree):
    del tree["vision_model"]["vision_model"]["pre_layrnorm"]["bias"]


def add(tree):
    tree["text_model"]["extra"] = {"kernel": np.zeros((2, 2), np.float32)}


def reshape(tree):
    tree["visual_projection"]["kernel"] = tree["visual_projection"]["kernel"].T.copy()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (rename, r"text_projection\.weight is missing, text_projektion\.weight.*\(1 missing, 1 unexpected\)"),
        (drop, r"vision_model\.pre_layrnorm\.bias is missing \(1 missing, 0 unexpected\)"),
        (add, r"text_model\.extra\.weight is unexpected"),
        (reshape, r"visual_projection\.weight has shape \[32, 8\], expected \[8, 32\]"),
    ],
)
def test_other_names_and_shapes_are_errors(change, told, checkpoint):
    model, folder = checkpoint
    tree = flax_tree(model, 1.0)
    change(tree)
    (folder / "flax_model.msgpack").write_bytes(packed(tree))
    with pytest.raises(UserError, match=told) as caught:
        flax_checkpoint.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\x93", b"not msgpack at all", msgpack.packb([1, 2]), msgpack.packb({"a": 1})]
)
def test_damaged_weights_are_errors(content, checkpoint):
    _, folder = checkpoint
    (folder / "flax_model.msgpack").write_bytes(content)
    with pytest.raises(UserError, match=r"flax_model\.msgpack: ") as caught:
        flax_checkpoint.load(folder)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_an_error(checkpoint):
    _, folder = checkpoint
    file = folder / "flax_model.msgpack"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match="not a Flax checkpoint, or damaged"):
        flax_checkpoint.load(folder)


def test_a_checkpoint_without_tokenizer_needs_one(checkpoint, tmp_path):
    _, folder = checkpoint
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(UserError, match="no tokenizer; name a folder or Hub id: --tokenizer"):
        flax_checkpoint.load(folder)
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    found = flax_checkpoint.load(folder, str(tmp_path / "tokenizer"))
    assert found.tokenize(["un gatto"])["input_ids"].tolist() == [[2, 4, 8, 3]]


def test_other_configurations_are_errors(checkpoint):
    _, folder = checkpoint
    for content, told in (
        ("{", "not JSON"),
        ('{"model_type": "bert"}', "projection_dim, text_config, vision_config are missing"),
    ):
        (folder / "config.json").write_text(content)
        with pytest.raises(UserError, match=told):
            flax_checkpoint.load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match="no such file"):
        flax_checkpoint.load(folder)
