"""`export` and `import` as a user gives them, and what else opens an exported folder."""

import json

import numpy as np

from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.search.index import Index
from tests.models_torch.test_flax_checkpoint import checkpoint  # noqa: F401


def test_search_by_an_exported_model(run, tiny_folder, shapes, tmp_path):
    out = tmp_path / "graphs"
    code, text, err = run("export", tiny_folder, "--to", "onnx", "-o", out, "--pictures", shapes.parent, "--json")
    assert code == 0, err
    told = json.loads(text)
    assert told["to"] == "onnx" and told["export"]["image"]["parity"]["sample"] == 54
    assert told["export"] == json.loads((out / "export.json").read_text())

    index = tmp_path / "photos.idx"
    assert run("index", "build", shapes.parent / "images", "-o", index, "--model", out)[0] == 0
    code, text, err = run("search", index, "un cerchio rosso", "-k", "3", "--json")
    assert code == 0, err
    encoder = DualEncoder.load(tiny_folder)
    for hit in json.loads(text)["results"][0]["hits"]:
        picture = encoder.encode_images([hit["path"]])[0]
        assert abs(picture @ encoder.encode_text(["un cerchio rosso"])[0] - hit["score"]) < 0.01
    # In float32 the graphs are the model: each searches the other's index.
    assert Index.open(index).manifest.model == encoder.weights_hash
    assert run("search", index, "un cerchio", "--model", tiny_folder)[0] == 0
    picture = next((shapes.parent / "images").iterdir())
    code, text, err = run("classify", picture, "--labels", "cerchio,quadrato", "--model", out, "--json")
    assert code == 0, err
    ours = json.loads(run("classify", picture, "--labels", "cerchio,quadrato", "--model", tiny_folder, "--json")[1])
    for one, other in zip(json.loads(text)["pictures"], ours["pictures"], strict=True):
        assert [label["label"] for label in one["labels"]] == [label["label"] for label in other["labels"]]
        chances = [[label["probability"] for label in some["labels"]] for some in (one, other)]
        assert np.allclose(*chances, atol=1e-3)
    code, text, err = run("locate", picture, "cerchio", "--model", out, "-o", tmp_path / "heat.png", "--json")
    assert code == 0 and len(json.loads(text)["box"]) == 4, err


def test_hf_by_command(run, tiny_folder, tmp_path):
    code, text, err = run("export", tiny_folder, "--to", "hf", "-o", tmp_path / "hf")
    assert (code, err) == (0, "") and "exported for hf" in text
    assert DualEncoder.load(tmp_path / "hf").weights_hash == DualEncoder.load(tiny_folder).weights_hash


def test_wrong_usage_is_one_line_and_writes_nothing(run, tiny_folder, tmp_path):
    out = tmp_path / "out"
    for more, told in (
        (["--to", "hf", "--quantise", "int8"], "--quantise int8: only with --to onnx"),
        (["--to", "onnx", "--quantise", "bf16"], "--quantise bf16: only with --to openvino"),
        (["--to", "hf", "--pictures", tmp_path], "--pictures: only with --to onnx or openvino"),
    ):
        code, _, err = run("export", tiny_folder, "-o", out, *more)
        assert code == 2 and told in err and err.count("\n") == 1
    assert run("export", tiny_folder, "-o", out, "--to", "coreml")[0] == 2
    code, _, err = run("export", tmp_path / "none", "-o", out, "--to", "hf")
    assert code == 1 and "no such model folder" in err
    assert not out.exists()


def test_an_output_that_holds_other_things_is_kept(run, tiny_folder, shapes):
    code, _, err = run("export", tiny_folder, "-o", shapes.parent, "--to", "hf")
    assert code == 1 and "would be lost" in err
    assert shapes.exists()


def test_import_by_command(run, checkpoint, tmp_path):  # noqa: F811
    _, folder = checkpoint
    code, text, err = run("import", folder, "-o", tmp_path / "model", "--json")
    assert code == 0, err
    found = DualEncoder.load(tmp_path / "model")
    assert json.loads(text) == {"model": str(tmp_path / "model"), "weights_hash": found.weights_hash, "dim": 8}
    assert found.info["imported"] == {"from": "flax", "format": "flax"}
    code, _, err = run("import", tmp_path / "nowhere", "-o", tmp_path / "other")
    assert code == 1 and err.count("\n") == 1 and "no such file" in err
    assert not (tmp_path / "other").exists()
