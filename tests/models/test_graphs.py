"""Graphs in the cache: made once, checked, found again, and what happens where that fails."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from transformers import AutoModel

from clip_italian.errors import UsageError, UserError
from clip_italian.export import cached, onnx
from clip_italian.models import exported, graphs, known, load, mini_facts, precision
from clip_italian.models.onnx import OnnxEncoder
from clip_italian.models_torch.dual_encoder import DualEncoder
from tests.conftest import draw_shape
from tests.models_torch import kinds

TEXTS = ["un gatto che dorme", "una foto di un gatto", "rosso"]
PICTURES = [draw_shape("cerchio", "red", 1), draw_shape("quadrato", "blue", 2)]


def counted(monkeypatch, make):
    """Replace `cached.make`; returns the precisions for which it is called."""
    done = []

    def count(name, wanted, target):
        done.append(wanted)
        make(name, wanted, target)

    monkeypatch.setattr(cached, "make", count)
    return done


@pytest.fixture
def made(monkeypatch):
    """Precisions for which graphs were made."""
    return counted(monkeypatch, cached.make)


@pytest.fixture
def copied(monkeypatch, tiny_graphs):
    """As `made`; the graphs are copies of the tiny model's, made before."""
    return counted(monkeypatch, lambda _, __, target: shutil.copytree(tiny_graphs, target, dirs_exist_ok=True))


@pytest.mark.parametrize(
    "kind",
    ["dual", "siglip", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("clip", "metaclip2", "altclip"))],
)
def test_the_default_engine_gives_the_embeddings_of_torch(kind, tiny_folder, tmp_path, cache, made, monkeypatch):
    monkeypatch.setattr(precision, "preferred", lambda: "float32")
    folder = tiny_folder if kind == "dual" else kinds.folder(kind, tmp_path / kind)
    expected = DualEncoder.load(folder)
    for _ in range(2):
        found = load.load(folder)
        assert isinstance(found, OnnxEncoder) and found.settings.precision == "float32"
        assert np.allclose(found.encode_text(TEXTS), expected.encode_text(TEXTS), atol=1e-4)
        assert np.allclose(found.encode_images(PICTURES), expected.encode_images(PICTURES), atol=1e-4)
        assert found.identity == expected.identity
    assert made == ["float32"]


def test_int8_graphs_say_how_well_they_agree(tiny_folder, cache, made, monkeypatch):
    monkeypatch.setattr(precision, "preferred", lambda: "int8")
    monkeypatch.setattr(cached, "LEAST_AGREEMENT", 0.5)  # scores of random weights are close together
    found, expected = load.load(tiny_folder), DualEncoder.load(tiny_folder)
    identity = found.identity
    assert (identity.precision, identity.source) == ("int8", expected.weights_hash)
    assert identity.weights != expected.weights_hash
    assert 0.5 <= identity.agreement < 1
    assert found.facts()["precision"] == "int8"
    cosines = np.sum(found.encode_text(TEXTS) * expected.encode_text(TEXTS), axis=1)
    assert cosines.min() > 0.98


def test_int8_that_changes_the_hits_falls_back_to_float32_and_says_so(tiny_folder, cache, monkeypatch, capsys):
    monkeypatch.setattr(precision, "preferred", lambda: "int8")
    monkeypatch.setattr(onnx.parity, "agreement", lambda *_: 0.5)
    found = load.load(tiny_folder)
    assert found.identity == DualEncoder.load(tiny_folder).identity
    assert np.allclose(found.encode_text(TEXTS), DualEncoder.load(tiny_folder).encode_text(TEXTS), atol=1e-4)
    said = capsys.readouterr().err
    assert "runs in float32, since int8 changes its results too much (50% of the ten best hits are the same" in said


def test_a_model_that_cannot_be_exported_runs_on_torch_and_says_so_once(tiny_folder, cache, monkeypatch, capsys):
    tries = []

    def refuse(*_):
        tries.append(1)
        raise UserError("image.onnx: torch cannot export this architecture to ONNX")

    monkeypatch.setattr(onnx, "write", refuse)
    for _ in range(2):
        assert isinstance(load.load(tiny_folder), DualEncoder)
        assert "runs on torch, which is slower (image.onnx: torch cannot export" in capsys.readouterr().err
    assert len(tries) == 1
    with pytest.raises(UserError, match="cannot export"):
        load.load(tiny_folder, engine="onnx")


def test_a_missing_library_is_not_remembered(tiny_folder, cache, monkeypatch, capsys):
    with monkeypatch.context() as patch:

        def missing(*_):
            raise UserError("text.onnx: needs onnx and onnxscript") from ImportError("onnx")

        patch.setattr(onnx, "write", missing)
        assert isinstance(load.load(tiny_folder), DualEncoder)
        assert "runs on torch, which is slower (text.onnx: needs onnx" in capsys.readouterr().err
    assert not list((cache / "graphs").glob("*.json"))


@pytest.mark.parametrize("damage", ["truncated", "missing", "settings"])
def test_damaged_graphs_are_made_again(damage, tiny_folder, cache, copied, capsys):
    load.load(tiny_folder)
    (folder,) = (path for path in (cache / "graphs").iterdir() if path.is_dir())
    if damage == "truncated":
        os.truncate(folder / "text.onnx", 100)
    elif damage == "missing":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "export.json").write_text("{")
    found = load.load(tiny_folder)
    assert len(copied) == 2 and "making them again" in capsys.readouterr().err
    assert np.allclose(found.encode_text(TEXTS).shape, (3, found.dim))


def test_two_first_runs_make_the_graphs_once(tiny_folder, cache, copied):
    found = []
    threads = [threading.Thread(target=lambda: found.append(load.load(tiny_folder))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(copied) == 1 and len(found) == 2
    assert np.array_equal(found[0].encode_text(TEXTS), found[1].encode_text(TEXTS))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_cache_that_cannot_be_written_costs_only_time(number, tiny_folder, cache, monkeypatch, capsys):
    def fail(*_):
        raise OSError(number, os.strerror(number), str(cache / "graphs"))

    monkeypatch.setattr(cached, "make", fail)
    found = load.load(tiny_folder)
    assert isinstance(found, DualEncoder)
    assert "cannot be kept in the cache" in capsys.readouterr().err
    assert not [path for path in (cache / "graphs").glob("*") if path.is_dir()]
    with pytest.raises(OSError, match=os.strerror(number)):
        load.load(tiny_folder, engine="onnx")


def test_another_model_in_the_same_folder_gets_its_own_graphs(tiny_folder, tmp_path, cache_with_graphs, made):
    first = load.load(tiny_folder)
    shutil.rmtree(tiny_folder)
    encoder = DualEncoder.load(kinds.folder("siglip", tmp_path / "siglip"))
    encoder.save(tiny_folder)
    second = load.load(tiny_folder)
    assert len(made) == 1 and first.weights_hash != second.weights_hash
    assert np.allclose(second.encode_text(TEXTS), encoder.encode_text(TEXTS), atol=0.05)


def test_graphs_that_were_not_used_for_longest_are_removed(tiny_folder, cache, copied, monkeypatch):
    monkeypatch.setattr(graphs, "_MOST", 2)
    room = cache / "graphs"
    for age in (1, 2, 3):
        (room / f"old-{age}").mkdir(parents=True)
        (room / f"old-{age}" / exported.EXPORT_FILE).write_text("{}")
        os.utime(room / f"old-{age}", (1_000_000 - age, 1_000_000 - age))
    load.load(tiny_folder)
    assert sorted(path.name for path in room.iterdir() if path.name.startswith("old")) == ["old-1"]


@pytest.mark.parametrize(
    ("engine", "device", "gpu", "chosen"),
    [
        ("auto", "auto", False, "onnx"),
        ("auto", "auto", True, "torch"),
        ("auto", "cpu", True, "onnx"),
        ("auto", "cuda", True, "torch"),
        ("auto", "mps", False, "torch"),
        ("torch", "cpu", False, "torch"),
        ("onnx", "auto", True, "onnx"),
    ],
)
def test_the_engine_follows_the_device(engine, device, gpu, chosen, monkeypatch):
    monkeypatch.setattr(load, "_has_gpu", lambda: gpu)
    assert load.chosen_engine(engine, device) == chosen


def test_engines_that_do_not_fit_are_wrong_usage(tiny_folder, cache_with_graphs):
    with pytest.raises(UsageError, match="runs on the CPU only"):
        load.load(tiny_folder, "cuda", "onnx")
    (folder,) = (path for path in (cache_with_graphs / "graphs").iterdir() if path.is_dir())
    with pytest.raises(UsageError, match="exported graphs"):
        load.load(folder, engine="torch")


WITHOUT_TORCH = """
import sys
for name in ("torch", "transformers"):
    sys.modules[name] = None  # cannot be imported
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name in ("torch", "transformers") else real(name, *more)
from clip_italian import cli
sys.argv = ["clip-italian", *sys.argv[1:]]
cli.main()
"""


def without_torch(*arguments, environment=None):
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    return subprocess.run(command, text=True, capture_output=True, env=os.environ | (environment or {}))


def test_searching_needs_no_torch_once_the_graphs_are_there(tiny_folder, shapes, cache, tiny_graphs):
    refused = without_torch("find", "rosso", shapes.parent, "--model", tiny_folder)
    assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1
    assert "pip install 'clip-italian[train]', or give a folder by clip-italian export" in refused.stderr
    shutil.copytree(tiny_graphs, cache / "graphs" / tiny_graphs.name)
    found = without_torch("find", "un cerchio rosso", shapes.parent, "--model", tiny_folder, "--json")
    assert found.returncode == 0, found.stderr
    assert len(json.loads(found.stdout)["hits"]) > 1
    trained = without_torch("train", "mini")
    assert trained.returncode == 1
    assert "is missing; pip install 'clip-italian[train]'" in trained.stderr


def test_what_is_not_on_this_machine_needs_torch(shapes, cache):
    for name in ("none", "anna/clip"):
        refused = without_torch("find", "x", shapes.parent, "--model", name, environment={"CLIP_ITALIAN_OFFLINE": "1"})
        assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1, refused.stderr
        assert f"{name}: no such folder, nor in the Hub's cache; to download it: pip install" in refused.stderr
    refused = without_torch("demo")
    assert refused.stderr == "clip-italian: torch is missing; pip install 'clip-italian[train]'\n"


@pytest.fixture
def wheel(tmp_path, tiny_graphs, monkeypatch):
    """The folder of graphs of an installed `clip-italian-mini`; they are the tiny model's."""
    package = tmp_path / "installed" / graphs.MINI_PACKAGE
    shutil.copytree(tiny_graphs, package / "model")
    (package / "__init__.py").touch()
    (package / "model" / graphs.MINI_MARK).write_text(json.dumps({"version": mini_facts.version()}))
    monkeypatch.syspath_prepend(package.parent)
    return package / "model"


def test_the_wheels_graphs_of_mini_are_used_as_they_are(wheel, cache, copied):
    assert isinstance(graphs.load("mini", "int8"), OnnxEncoder)
    assert not copied and not (cache / "graphs").exists()


def test_damaged_graphs_of_the_wheel_are_named_and_made_again_with_torch(wheel, cache, copied, monkeypatch, capsys):
    os.truncate(wheel / "text.onnx", 100)
    graphs.load("mini", "int8")
    assert copied == ["int8"]
    assert "pip install --force-reinstall clip-italian-mini; until then" in capsys.readouterr().err
    monkeypatch.setattr(graphs, "has_torch", lambda: False)
    with pytest.raises(graphs.NoGraphsError, match=r"damaged.*; pip install --force-reinstall clip-italian-mini$"):
        graphs.load("mini", "int8")


def test_a_hub_id_is_found_in_the_hubs_cache_without_network(tiny_folder, tmp_path, cache, monkeypatch):
    hub = tmp_path / "hub"
    snapshot = hub / "models--anna--clip" / "snapshots" / "0123"
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(tiny_folder, snapshot)
    (hub / "models--anna--clip" / "refs").mkdir()
    (hub / "models--anna--clip" / "refs" / "main").write_text("0123")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    assert graphs._from_hub("anna/clip") == snapshot
    assert graphs._from_hub("anna/none") is None
    assert known.digest(snapshot) == known.digest(tiny_folder)
    assert AutoModel.from_pretrained(snapshot) is not None
