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
from tests.conftest import draw_shape, shared_folder
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
        # With the older exporter, as publishers did.
        torch.onnx.export(
            graph.eval(), example, str(file), input_names=inputs, output_names=[output], dynamo=False,
            dynamic_axes=dict.fromkeys(inputs, dynamic) if dynamic else None,
        )  # fmt: skip


def immich_graphs(encoder, folder):
    """Write both graphs with a fixed batch of one, and int32 ids padded to the context."""
    context, side = encoder.max_tokens, encoder.parts.vision.config.image_size
    pixels, ids = torch.rand(1, 3, side, side), torch.ones(1, context, dtype=torch.int32)
    image, text = Graph(encoder, "image", True), Graph(encoder, "text", True)
    write_graph(image, (pixels,), folder / "visual/model.onnx", ["image"], "image_embedding", None)
    write_graph(text, (ids,), folder / "textual/model.onnx", ["text"], "text_embedding", None)
    return folder


def immich(encoder, folder, **text_cfg):
    """Write open_clip's settings beside the graphs of `immich_graphs`."""
    side = encoder.parts.vision.config.image_size
    encoder.tokenizer.save_pretrained(folder / "textual")
    processor = encoder.image_processor
    squash = "shortest_edge" not in processor.size
    preprocess = {
        "size": [side, side], "mode": "RGB", "mean": list(processor.image_mean), "std": list(processor.image_std),
        "interpolation": "bicubic", "resize_mode": "squash" if squash else "shortest", "fill_color": 0,
    }  # fmt: skip
    (folder / "visual/preprocess_cfg.json").write_text(json.dumps(preprocess))
    config = {"embed_dim": encoder.dim, "text_cfg": {"context_length": encoder.max_tokens, **text_cfg}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def transformers_js(encoder, folder, kind):
    """Write both graphs with a dynamic batch, and the files of a transformers.js repository."""
    side, siglip = encoder.parts.vision.config.image_size, kind == "siglip"
    image, text = Graph(encoder, "image", False), Graph(encoder, "text", False)
    vision = folder / "onnx/vision_model.onnx"
    write_graph(image, (torch.rand(2, 3, side, side),), vision, ["pixel_values"], "image_embeds", {0: "batch"})
    if siglip:  # no mask: padding counts
        text.forward = lambda given: text.projection(text.tower(input_ids=given).pooler_output)
        example, names, axes = (torch.ones(2, encoder.max_tokens, dtype=torch.int64),), ["input_ids"], {0: "batch"}
    else:
        example = (torch.ones(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.int64))
        names, axes = ["input_ids", "attention_mask"], {0: "batch", 1: "length"}
    write_graph(text, example, folder / "onnx/text_model.onnx", names, "text_embeds", axes)
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
def graphs_of_clip(tmp_path_factory):
    """The folder `clip` of a CLIP, its graphs as immich has them in `immich`, and as transformers.js in `js`."""

    def make(room):
        encoder = DualEncoder.load(kinds.folder("clip", room / "clip"))
        immich_graphs(encoder, room / "immich")
        transformers_js(encoder, room / "js", "clip")

    return shared_folder(tmp_path_factory, "published", make)


@pytest.fixture
def clip(graphs_of_clip):
    """The CLIP that the graphs were made of."""
    return DualEncoder.load(graphs_of_clip / "clip")


@pytest.fixture
def as_immich(graphs_of_clip, tmp_path):
    """Copy the CLIP's graphs for immich to a folder of the name, and give them the settings of an encoder."""

    def copy(name, encoder, **text_cfg):
        return immich(encoder, shutil.copytree(graphs_of_clip / "immich", tmp_path / name), **text_cfg)

    return copy


@pytest.fixture
def js(graphs_of_clip, tmp_path):
    """A copy of the CLIP's graphs for transformers.js."""
    return shutil.copytree(graphs_of_clip / "js", tmp_path / "js")


@pytest.fixture(scope="module")
def xlm(tmp_path_factory):
    """A CLIP in open_clip's format with an XLM-R."""
    torch.manual_seed(3)
    return DualEncoder.load(
        test_open_clip.write(tmp_path_factory.mktemp("xlm") / "open", test_open_clip.Reference(False, 2))
    )


def test_immichs_graphs_of_open_clip_with_an_xlm_r(xlm, tmp_path, cache):
    check_equal(load.load(immich(xlm, immich_graphs(xlm, tmp_path / "XLM-Roberta-Base"))), xlm)


def test_immichs_graphs_of_a_siglip_squash_pictures_and_clean_texts(clip, as_immich, cache):
    clip.image_processor = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    found = load.load(as_immich("ViT-SigLIP", clip, tokenizer_kwargs={"clean": "canonicalize"}))
    check_equal(found, clip)
    assert np.allclose(
        found.encode_text(["  Un   GATTO, che dorme!"]), clip.encode_text(["un gatto che dorme"]), atol=1e-4
    )


def test_nllbs_texts_begin_with_their_language(clip, as_immich, cache, monkeypatch):
    found = load.load(as_immich("nllb-clip-base", clip))
    assert found.prepare(" un  gatto") == "ita_Latnun gatto"


def test_graphs_of_transformers_js(clip, js, cache):
    check_equal(load.load(js), clip)


def test_graphs_of_transformers_js_without_a_mask(tmp_path, cache):
    encoder = DualEncoder.load(kinds.folder("siglip", tmp_path / "siglip"))
    check_equal(load.load(transformers_js(encoder, tmp_path / "js", "siglip")), encoder)


def test_a_variant_is_chosen_by_name(clip, js, cache):
    for file in ("vision_model", "text_model"):
        (js / f"onnx/{file}.onnx").rename(js / f"onnx/{file}_quantized.onnx")
    for name in (f"{js}:quantized", str(js)):  # without others they are the default
        found = load.load(name)
        check_equal(found, clip)
        assert found.identity.precision == "int8"
    with pytest.raises(UserError, match=r"vision_model_fp16\.onnx: missing"):
        load.load(f"{js}:fp16")


def test_a_hub_id_is_read_from_the_hubs_cache(clip, js, tmp_path, cache, monkeypatch):
    snapshot = tmp_path / "hub" / "models--anna--js" / "snapshots" / "0123"
    snapshot.parent.mkdir(parents=True)
    js.rename(snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0123")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    check_equal(load.load("anna/js"), clip)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("visual/model.onnx", "onnxruntime cannot read it"),
        ("textual/tokenizer.json", "cannot be read"),
        ("visual/preprocess_cfg.json", "missing or damaged"),
        ("config.json", "missing or damaged"),
    ],
)
def test_damaged_files_are_one_line(file, line, clip, as_immich, cache):
    folder = as_immich("immich", clip)
    (folder / file).write_bytes(b"damaged")
    with pytest.raises(UserError, match=line) as caught:
        load.load(folder).encode_images(PICTURES)
    assert "\n" not in str(caught.value)


def test_other_folders_are_not_published_graphs(tiny_folder, tmp_path):
    assert published.find(str(tiny_folder)) is None
    assert published.find(str(tmp_path / "none")) is None
    assert published.find("mini") is None
