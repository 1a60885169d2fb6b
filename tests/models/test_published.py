"""Graphs in the layouts of immich and transformers.js, held against the torch models that they came from."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from clip_italian.errors import UserError
from clip_italian.export.graphs import quiet
from clip_italian.models import load, published
from clip_italian.models.onnx import OnnxEncoder
from clip_italian.models_torch.dual_encoder import DualEncoder
from tests.conftest import draw_shape
from tests.models_torch import kinds, test_open_clip

TEXTS = ["un gatto che dorme", "rosso", "una foto di un gatto"]
PICTURES = [
    draw_shape("cerchio", "red", 1),
    draw_shape("quadrato", "blue", 2).resize((80, 50)),
    Image.new("RGB", (40, 90)),
]


class Graph(torch.nn.Module):
    """One tower of a model, as publishers export it."""

    def __init__(self, encoder, side, unit):
        super().__init__()
        self.tower = getattr(encoder.parts, "vision" if side == "image" else "text")
        self.projection = getattr(encoder.parts, f"{'visual' if side == 'image' else 'text'}_projection")
        self.side, self.unit, self.pad = side, unit, encoder.tokenizer.pad_token_id

    def forward(self, given, mask=None):
        """Return embeddings; open_clip's text towers compute the mask from the ids."""
        if self.side == "image":
            found = self.tower(pixel_values=given)
        elif mask is not None:
            found = self.tower(input_ids=given, attention_mask=mask)
        else:
            found = self.tower(input_ids=given.long(), attention_mask=(given != self.pad).long())
        embeddings = self.projection(found.pooler_output)
        return normalize(embeddings, dim=1) if self.unit else embeddings


def write_graph(graph, example, file, inputs, output, dynamic):
    file.parent.mkdir(parents=True, exist_ok=True)
    with quiet():
        torch.onnx.export(
            graph.eval(), example, str(file), input_names=inputs, output_names=[output], dynamo=True, verbose=False,
            dynamic_shapes=tuple(dynamic for _ in example) if dynamic else None,
        )  # fmt: skip


def immich(encoder, folder, **text_cfg):
    """Write both graphs with a fixed batch of one, int32 ids padded to the context, and open_clip's settings."""
    context, side = encoder.max_tokens, encoder.parts.vision.config.image_size
    pixels, ids = torch.rand(1, 3, side, side), torch.ones(1, context, dtype=torch.int32)
    image, text = Graph(encoder, "image", True), Graph(encoder, "text", True)
    write_graph(image, (pixels,), folder / "visual/model.onnx", ["image"], "image_embedding", None)
    write_graph(text, (ids,), folder / "textual/model.onnx", ["text"], "text_embedding", None)
    tokenizer = encoder.tokenizer
    tokenizer.save_pretrained(folder / "textual")
    processor = encoder.image_processor
    squash = "shortest_edge" not in processor.size
    preprocess = {
        "size": [side, side], "mode": "RGB", "mean": list(processor.image_mean), "std": list(processor.image_std),
        "interpolation": "bicubic", "resize_mode": "squash" if squash else "shortest", "fill_color": 0,
    }  # fmt: skip
    (folder / "visual/preprocess_cfg.json").write_text(json.dumps(preprocess))
    config = {"embed_dim": encoder.dim, "text_cfg": {"context_length": context, **text_cfg}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def transformers_js(encoder, folder, kind, suffix=""):
    """Write both graphs with a dynamic batch, and the files of a transformers.js repository."""
    side, siglip = encoder.parts.vision.config.image_size, kind == "siglip"
    image, text = Graph(encoder, "image", False), Graph(encoder, "text", False)
    vision = folder / f"onnx/vision_model{suffix}.onnx"
    write_graph(image, (torch.rand(2, 3, side, side),), vision, ["pixel_values"], "image_embeds", {0: "batch"})
    if siglip:  # no mask: padding counts
        text.forward = lambda given: text.projection(text.tower(input_ids=given).pooler_output)
        example, names, axes = (torch.ones(2, encoder.max_tokens, dtype=torch.int64),), ["input_ids"], {0: "batch"}
    else:
        example = (torch.ones(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.int64))
        names, axes = ["input_ids", "attention_mask"], {0: "batch", 1: "length"}
    write_graph(text, example, folder / f"onnx/text_model{suffix}.onnx", names, "text_embeds", axes)
    encoder.tokenizer.save_pretrained(folder)
    encoder.image_processor.save_pretrained(folder)
    text_config = {"max_position_embeddings": encoder.max_tokens}
    model_type = "siglip" if siglip else "clip"
    (folder / "config.json").write_text(json.dumps({"model_type": model_type, "text_config": text_config}))
    return folder


def check_equal(found, expected):
    assert isinstance(found, OnnxEncoder)
    assert (found.dim, found.max_tokens) == (expected.dim, expected.max_tokens)
    assert np.allclose(found.encode_text(TEXTS), expected.encode_text(TEXTS), atol=1e-4)
    assert np.allclose(found.encode_images(PICTURES), expected.encode_images(PICTURES), atol=1e-4)
    assert np.allclose(found.encode_text(TEXTS[:1]), expected.encode_text(TEXTS[:1]), atol=1e-4)


@pytest.fixture(scope="module")
def xlm(tmp_path_factory):
    """A CLIP in open_clip's format with an XLM-R."""
    torch.manual_seed(3)
    return DualEncoder.load(
        test_open_clip.write(tmp_path_factory.mktemp("xlm") / "open", test_open_clip.Reference(False, 2))
    )


def test_immichs_graphs_of_open_clip_with_an_xlm_r(xlm, tmp_path, cache):
    check_equal(load.load(immich(xlm, tmp_path / "XLM-Roberta-Base")), xlm)


def test_immichs_graphs_of_a_siglip_squash_pictures_and_clean_texts(tmp_path, cache):
    encoder = DualEncoder.load(kinds.folder("clip", tmp_path / "clip"))
    encoder.image_processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    encoder.__dict__.pop("_fast_preprocess", None)
    folder = immich(encoder, tmp_path / "ViT-SigLIP", tokenizer_kwargs={"clean": "canonicalize"})
    found = load.load(folder)
    check_equal(found, encoder)
    assert np.allclose(
        found.encode_text(["  Un   GATTO, che dorme!"]), encoder.encode_text(["un gatto che dorme"]), atol=1e-4
    )


def test_nllbs_texts_begin_with_their_language(tmp_path, cache, monkeypatch):
    encoder = DualEncoder.load(kinds.folder("clip", tmp_path / "clip"))
    found = load.load(immich(encoder, tmp_path / "nllb-clip-base"))
    assert found.prepare(" un  gatto") == "ita_Latnun gatto"


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_graphs_of_transformers_js(kind, tmp_path, cache):
    encoder = DualEncoder.load(kinds.folder(kind, tmp_path / kind))
    check_equal(load.load(transformers_js(encoder, tmp_path / "js", kind)), encoder)


def test_a_variant_is_chosen_by_name(tmp_path, cache):
    encoder = DualEncoder.load(kinds.folder("clip", tmp_path / "clip"))
    folder = transformers_js(encoder, tmp_path / "js", "clip", "_quantized")
    for name in (f"{folder}:quantized", str(folder)):  # without others they are the default
        found = load.load(name)
        check_equal(found, encoder)
        assert found.identity.precision == "int8"
    with pytest.raises(UserError, match=r"vision_model_fp16\.onnx: missing"):
        load.load(f"{folder}:fp16")


def test_a_hub_id_is_read_from_the_hubs_cache(tmp_path, cache, monkeypatch):
    encoder = DualEncoder.load(kinds.folder("clip", tmp_path / "clip"))
    snapshot = tmp_path / "hub" / "models--anna--js" / "snapshots" / "0123"
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(transformers_js(encoder, tmp_path / "js", "clip"), snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    check_equal(load.load("anna/js"), encoder)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("visual/model.onnx", "onnxruntime cannot read it"),
        ("textual/tokenizer.json", "cannot be read"),
        ("visual/preprocess_cfg.json", "missing or damaged"),
        ("config.json", "missing or damaged"),
    ],
)
def test_damaged_files_are_one_line(file, line, tmp_path, cache):
    encoder = DualEncoder.load(kinds.folder("clip", tmp_path / "clip"))
    folder = immich(encoder, tmp_path / "immich")
    (folder / file).write_bytes(b"damaged")
    with pytest.raises(UserError, match=line) as caught:
        load.load(folder).encode_images(PICTURES)
    assert "\n" not in str(caught.value)


def test_other_folders_are_not_published_graphs(tiny_folder, tmp_path):
    assert published.find(str(tiny_folder)) is None
    assert published.find(str(tmp_path / "none")) is None
    assert published.find("mini") is None
