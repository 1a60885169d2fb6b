"""Exported graphs, run with onnxruntime and OpenVINO directly, compared to their source model."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.export import graphs, parity
from clip_italian.export import onnx as to_onnx
from clip_italian.export import openvino as to_openvino
from clip_italian.export.parity import Sample
from clip_italian.models import exported, load
from clip_italian.models.onnx import OnnxEncoder
from clip_italian.models.runtimes import OnnxGraph
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.serve.encoder import SharedEncoder
from tests.conftest import draw_shape, shared_folder, tiny_model, tiny_tokenizer
from tests.models_torch import kinds

IT = languages.get("it")
TEXTS = ["un gatto che dorme", "una foto di un gatto", "un", "gatto " * 150, "rosso"]
PICTURES = [draw_shape("cerchio", "red", 1), draw_shape("quadrato", "blue", 2), draw_shape("triangolo", "green", 3)]
WIDE = Image.new("RGB", (90, 40), "orange")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A vision-text dual encoder with a ViT and a BERT, a CLIP, and a SigLIP."""
    room = shared_folder(tmp_path_factory, "models", save_models)
    return {
        kind: to_onnx.Source(DualEncoder.load(room / kind), str(room / kind), Sample.of(IT))
        for kind in ("dual", "clip", "siglip")
    }


def save_models(room):
    processor = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    DualEncoder(tiny_model(), tiny_tokenizer(), processor, {"recipe": "tiny"}).save(room / "dual")
    for kind in ("clip", "siglip"):
        kinds.folder(kind, room / kind)


@pytest.fixture(scope="module")
def folders(sources, tmp_path_factory):
    """The exported folders of `sources`."""

    def export(room):
        for kind, source in sources.items():
            to_onnx.export(source, room / kind)

    room = shared_folder(tmp_path_factory, "onnx", export)
    return {kind: room / kind for kind in sources}


@pytest.mark.parametrize("kind", ["dual", "clip", "siglip"])
def test_attention_is_exported_plainly_and_left_as_it_was(kind, sources):
    model = sources[kind].encoder.model
    kinds_of = lambda: [  # noqa: E731
        layer.config._attn_implementation for layer in model.modules() if hasattr(layer, "config")
    ]
    before = kinds_of()
    assert "sdpa" in before
    with pytest.raises(ZeroDivisionError), graphs.plain_attention(model):
        assert set(kinds_of()) == {"eager"}
        1 / 0  # noqa: B018
    assert kinds_of() == before


@pytest.mark.parametrize("kind", ["dual", "clip", "siglip"])
def test_onnxruntime_alone_gives_the_same_embeddings(kind, sources, folders):
    encoder, folder = sources[kind].encoder, folders[kind]
    settings = json.loads((folder / "export.json").read_text())
    image = onnxruntime.InferenceSession(folder / "image.onnx")
    pixels = np.stack([encoder.preprocess(picture).numpy() for picture in [*PICTURES, WIDE]])
    (seen,) = image.run(None, {settings["image"]["inputs"][0]: pixels})
    assert np.allclose(seen, encoder.encode_images([*PICTURES, WIDE]), atol=1e-3)
    text = onnxruntime.InferenceSession(folder / "text.onnx")
    for some in (TEXTS, TEXTS[:1]):
        (read,) = text.run(None, {name: value.numpy() for name, value in encoder.tokenize(some).items()})
        assert np.allclose(read, encoder.encode_text(some), atol=1e-3)
        assert np.allclose(np.linalg.norm(read, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["dual", "clip", "siglip"])
def test_tokenizer_json_alone_gives_the_same_tokens(kind, sources, folders):
    found = Tokenizer.from_file(str(folders[kind] / "tokenizer.json")).encode_batch(TEXTS)
    expected = sources[kind].encoder.tokenize(TEXTS)
    assert [one.ids for one in found] == expected["input_ids"].tolist()
    if "attention_mask" in expected:
        assert [one.attention_mask for one in found] == expected["attention_mask"].tolist()


@pytest.mark.parametrize("kind", ["dual", "clip", "siglip"])
def test_an_onnx_encoder_replaces_the_model(kind, sources, folders):
    encoder, found = sources[kind].encoder, load.load(folders[kind])
    assert isinstance(found, OnnxEncoder)
    assert np.allclose(found.encode_text(TEXTS), encoder.encode_text(TEXTS), atol=1e-5)
    assert np.allclose(found.encode_images([*PICTURES, WIDE]), encoder.encode_images([*PICTURES, WIDE]), atol=1e-5)
    prepared = found.normalise([found.preprocess(picture) for picture in (*PICTURES, WIDE)])
    assert np.allclose(prepared, torch.stack([encoder.preprocess(one) for one in (*PICTURES, WIDE)]), atol=1e-5)
    for name in ("dim", "max_tokens", "weights_hash", "parameters", "logit_scale", "logit_bias", "info"):
        assert getattr(found, name) == getattr(encoder, name), name
    own = encoder.facts()
    assert {key: value for key, value in found.facts().items() if key in own} == own
    assert found.encode_text([]).shape == found.encode_images([]).shape == (0, encoder.dim)
    with pytest.raises(TypeError, match="list"):
        found.encode_text("un gatto")


def test_a_service_shares_an_encoder(sources, folders):
    shared = SharedEncoder(load.load(folders["clip"]))
    try:
        assert np.allclose(shared.encode_text(TEXTS), sources["clip"].encoder.encode_text(TEXTS), atol=1e-5)
        assert np.allclose(shared.encode_images(PICTURES), sources["clip"].encoder.encode_images(PICTURES), atol=1e-5)
        assert shared.weights_hash == sources["clip"].encoder.weights_hash and shared.maps is None
    finally:
        shared.close()


def test_the_folder_describes_itself(sources, folders):
    settings = exported.read(folders["dual"])
    for name, graph in (("image", settings.image), ("text", settings.text)):
        opsets = {one.domain: one.version for one in onnx.load(folders["dual"] / f"{name}.onnx").opset_import}
        assert opsets[""] == settings.opset
        assert graph.precision == "float32" and graph.parity.largest_difference < 1e-3 and graph.parity.sample > 10
    assert settings.source == "dual"  # the name without the path
    assert settings.source_weights_sha256 == sources["dual"].encoder.weights_hash
    assert isinstance(load.load_rival(str(folders["dual"]), IT, torch.device("cpu")), OnnxEncoder)


@pytest.fixture
def copy(folders, tmp_path):
    """A copy of the exported folder of the vision-text dual encoder."""
    return Path(shutil.copytree(folders["dual"], tmp_path / "copy"))


def test_quantised_graphs(sources, copy):
    source, before = sources["dual"], (copy / "text.onnx").stat().st_size
    settings = to_onnx.quantise_graphs(source, copy, exported.read(copy))
    found = OnnxEncoder.load(copy)
    # On processors without VNNI, int8 sums overflow, and a later attempt is used.
    by_block = "MatMul by block" in settings.text.quantised
    assert settings.text.precision == "int8" and any("MatMul" in kind for kind in settings.text.quantised)
    product = "MatMulNBits" if by_block else "MatMulInteger"
    assert product in {node.op_type for node in onnx.load(copy / "text.onnx").graph.node}
    assert (copy / "text.onnx").stat().st_size < before
    cosines = np.sum(found.encode_text(source.sample.texts) * source.encoder.encode_text(source.sample.texts), axis=1)
    assert cosines.min() == pytest.approx(settings.text.parity.least_cosine, abs=1e-6)
    assert 0.99 <= cosines.min() < 1 - 1e-7
    # The two models share an index if their hits agree.
    assert found.weights_hash == settings.weights_sha256 != source.encoder.weights_hash
    assert found.identity.source == source.encoder.weights_hash
    assert found.identity.agreement == settings.agreement > 0.5


def test_less_is_quantised_if_accuracy_requires_it(sources, copy):
    graph, expected = exported.read(copy).text, sources["dual"].encoder.encode_text(TEXTS)
    before = (copy / "text.onnx").read_bytes()
    assert to_onnx.first_accepted(copy, graph, lambda _: -expected, expected) == graph
    assert (copy / "text.onnx").read_bytes() == before
    for good, names, products in (
        (1, ("MatMul, large inputs apart", "Gather"), {"MatMulInteger"}),
        (2, ("MatMul by block", "Gather"), {"MatMulNBits"}),
        (3, ("Gather",), set()),
    ):
        (copy / "text.onnx").write_bytes(before)
        answers = iter([*[-expected] * good, expected])
        # Other graphs are measured for large inputs.
        answer = lambda run, all=answers: next(all) if isinstance(run, OnnxGraph) else expected  # noqa: E731
        found = to_onnx.first_accepted(copy, graph, answer, expected)
        assert found.precision == "int8" and found.quantised == names
        there = {node.op_type for node in onnx.load(copy / "text.onnx").graph.node}
        assert there & {"MatMulInteger", "MatMulNBits"} == products


def test_quantised_graphs_that_lose_too_much_are_errors(sources, copy, monkeypatch):
    monkeypatch.setattr(parity, "LEAST_COSINE", 1.1)
    with pytest.raises(UserError, match="no quantised graph has a cosine") as caught:
        to_onnx.quantise_graphs(sources["dual"], copy, exported.read(copy))
    assert "\n" not in str(caught.value)


def test_embeddings_that_differ_write_nothing(sources, folders, tmp_path, monkeypatch):
    # Graphs of a model with other weights.
    wrong = lambda _, folder: to_onnx.measure_parity(  # noqa: E731
        sources["dual"], Path(shutil.copytree(folders["clip"], folder)), exported.read(folder)
    )
    monkeypatch.setattr(to_onnx, "write", wrong)
    with pytest.raises(UserError, match=r"image\.onnx: the embeddings differ by") as caught:
        to_onnx.export(sources["dual"], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_openvino_gives_the_same_embeddings(precision, sources, copy):
    source = sources["dual"]
    settings = to_openvino.convert(source, copy, exported.read(copy), precision)
    assert {path.suffix for path in copy.glob("image*")} == {".xml", ".bin"}
    found = load.load(copy)
    tolerance = 1e-3 if precision == "float32" else 0.05
    assert settings.format == "openvino"
    assert (found.weights_hash == source.encoder.weights_hash) == (precision == "float32")
    assert np.allclose(found.encode_text(TEXTS), source.encoder.encode_text(TEXTS), atol=tolerance)
    assert np.allclose(found.encode_images(PICTURES), source.encoder.encode_images(PICTURES), atol=tolerance)


@pytest.mark.parametrize(("precision", "hint"), [("float32", "f32"), ("bf16", "bf16")])
def test_an_openvino_file_states_its_precision(precision, hint, sources, copy):
    """Read the precision from the file and pass it to `compile_model`, as docs/release.md describes."""
    import openvino

    to_openvino.convert(sources["dual"], copy, exported.read(copy), precision)
    core = openvino.Core()
    for name in ("image.xml", "text.xml"):
        model = core.read_model(copy / name)
        stated = model.get_rt_info(["runtime_options", "INFERENCE_PRECISION_HINT"]).astype(str)
        assert stated == hint
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": stated})
    wide = compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert wide or precision == "bf16"
    if precision == "float32":
        tokens = OnnxEncoder.load(copy).tokenize(TEXTS[:2])
        found = compiled({one.get_any_name(): tokens[one.get_any_name()] for one in compiled.inputs})[0]
        assert np.allclose(found, sources["dual"].encoder.encode_text(TEXTS[:2]), atol=1e-5)


@pytest.mark.parametrize("file", ["image.onnx", "text.onnx", "tokenizer.json"])
def test_a_missing_file_is_an_error(file, copy):
    (copy / file).unlink()
    with pytest.raises(UserError, match=f"{file} is missing; export the model again"):
        load.load(copy)
    (copy / file).write_bytes(b"damaged")
    with pytest.raises(UserError, match="export the model again") as caught:
        load.load(copy)
    assert "\n" not in str(caught.value)


def test_damaged_settings_and_training_on_graphs_are_errors(folders, tmp_path):
    with pytest.raises(UserError, match="an exported model"):
        DualEncoder.load(folders["dual"])
    (tmp_path / "export.json").write_text('{"version": 2}')
    with pytest.raises(UserError, match="damaged or of another version"):
        load.load(tmp_path)


def test_the_synthetic_sample_is_reproducible_and_like_photos():
    first, second = parity.synthetic(5), parity.synthetic(5)
    assert all(one.tobytes() == other.tobytes() for one, other in zip(first, second, strict=True))
    assert len({picture.size for picture in first}) == 5
    grey = np.asarray(first[0].convert("L"), float)
    assert 15 < grey.std() < 90
    # Neighbouring pixels are correlated, as in photos.
    assert np.corrcoef(grey[:, 1:].ravel(), grey[:, :-1].ravel())[0, 1] > 0.7


def test_a_sample_from_a_folder(tmp_path):
    for number, picture in enumerate(PICTURES):
        picture.save(tmp_path / f"{number}.png")
    (tmp_path / "damaged.png").write_text("x")
    assert len(Sample.of(IT, tmp_path).pictures) == 3
    for number in (1, 2):
        (tmp_path / f"{number}.png").unlink()
    with pytest.raises(UserError, match=r"too few readable pictures \(1\)"):
        Sample.of(IT, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["onnx", "openvino"])
def test_mini(way, real_assets, tmp_path):
    encoder = DualEncoder.load("mini")
    source = to_onnx.Source(encoder, "mini", Sample.of(IT))
    {"onnx": to_onnx, "openvino": to_openvino}[way].export(source, tmp_path / "out")
    found = OnnxEncoder.load(tmp_path / "out")
    pictures = [picture.resize((300, 200)) for picture in PICTURES]
    assert np.allclose(found.encode_text(TEXTS), encoder.encode_text(TEXTS), atol=1e-3)
    assert np.allclose(found.encode_images(pictures), encoder.encode_images(pictures), atol=1e-3)
