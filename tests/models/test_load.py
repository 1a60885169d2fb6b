"""Names of models: `mini`, folders and Hub ids, from whatever folder they are given."""

import pytest

from clip_italian.models import exported, graphs
from clip_italian.models.load import lasting_name, load, load_rival


@pytest.mark.parametrize("name", ["mini", "openai/clip-vit-base-patch32", "immich-app/ViT-B-32__openai:quantized"])
def test_names_that_are_no_folders_stay(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini").mkdir()  # as an album may be named
    assert lasting_name(name) == name


def test_folders_get_their_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini").mkdir()
    (tmp_path / "models" / "own").mkdir(parents=True)
    assert lasting_name("models/own") == lasting_name("models/../models/own/") == str(tmp_path / "models" / "own")
    assert lasting_name("./mini") == str(tmp_path / "mini")


def test_mini_is_the_packaged_model_beside_a_folder_of_that_name(tmp_path, monkeypatch, tiny_graphs):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini").symlink_to(tiny_graphs)
    assert exported.is_exported(tmp_path / "mini")
    monkeypatch.setattr(graphs, "load", lambda name, precision: ("graphs of", name))
    assert load("mini", engine="onnx") == ("graphs of", "mini")
    assert load_rival("mini", None, engine="onnx") == ("graphs of", "mini")
    assert load("./mini").dim == load(tiny_graphs).dim
