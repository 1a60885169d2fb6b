"""Killed or stopped at any step, a run that goes on shows the losses and weights of an undisturbed one."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pairs import read
from clip_italian.train import cost
from clip_italian.train import run as run_module
from clip_italian.train.loop import StoppedError
from clip_italian.train.run import train
from tests.conftest import draw_shapes, save_tiny_model
from tests.forked import command
from tests.tars import write_tar
from tests.wait import until

pytestmark = pytest.mark.integration

ALL = ["vision_model.*", "text_model.*", "*projection.*"]


def settings(pairs, base, output, **more):
    first = {
        "name": "projections", "trainable": ["*projection.*"], "frozen": ["vision_model.*", "text_model.*", "logit_*"],
        "learning_rate": 1e-2, "epochs": 2, "patience": 9, "views": 1, "image_dropout": 0.3,
    }  # fmt: skip
    second = {
        "name": "all", "trainable": ALL, "frozen": ["logit_scale"], "learning_rate": 1e-3, "epochs": 2, "patience": 9,
        "views": 1, "tower_dropout": True, "text_dropout": 0.2, "average": 0.5,
    }  # fmt: skip
    return {
        "output": str(output),
        "data": {"pairs": str(pairs), "validation": 0.2},
        "model": {"base": str(base), "projection_dim": 24, "logit_scale": 20},
        "batch": {"effective": 16, "chunk": 8},
        "checkpoints": {"every": 1},
        "stage": [first, second],
    } | more


def recipe(*given, **more):
    return Recipe.model_validate(settings(*given, **more))


def lines(output, name):
    return [json.loads(line) for line in (Path(output) / name).read_text().splitlines()]


def losses(output):
    return [
        (record["stage"], record["epoch"], record["step"], record["loss"]) for record in lines(output, "steps.jsonl")
    ]


def assert_same_run(one, other):
    assert losses(one) == losses(other)
    assert lines(one, "history.jsonl") == lines(other, "history.jsonl")
    weights, expected = (load_file(Path(folder) / "model/model.safetensors") for folder in (one, other))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that came to its end at once, for all tests to compare with."""
    room = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIP_ITALIAN_CACHE", str(room / "cache"))
        train(recipe(draw_shapes(room), save_tiny_model(room), room / "whole"))
    return room / "whole"


class Fragile(run_module.Monitor):
    """Breaks off at its second step, before the checkpoint of it."""

    count = 0

    def step(self, record):
        super().step(record)
        self.count += 1
        if self.count == 2:
            raise RuntimeError("power cut")


@pytest.mark.parametrize("every", [1, 2])
def test_broken_off_at_every_step(tmp_path, tiny_folder, shapes, cache, undisturbed, monkeypatch, every):
    again = recipe(shapes, tiny_folder, tmp_path / "broken", checkpoints={"every": every, "keep": 1})

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "Monitor", Fragile)
        attempts = 0
        unfinished = "refuse"
        while True:
            attempts += 1
            assert attempts < 50
            try:
                train(again, unfinished=unfinished)
                break
            except RuntimeError:
                unfinished = "resume"
                # A step after the checkpoint is lost each time; with a checkpoint a step every second step counts.
                if every == 2:
                    patch.setattr(Fragile, "count", -1)
    assert attempts > 3
    assert_same_run(tmp_path / "broken", undisturbed)
    spent = cost.read(tmp_path / "broken" / "cost.json")
    assert len(spent.parts) == attempts
    info = json.loads((tmp_path / "broken/model/clip_italian.json").read_text())
    assert cost.Spent.from_json(info["cost"]) == spent


def as_file(values, path):
    """The settings as a TOML file: JSON's values are TOML's, but for tables."""
    parts = []
    for key, value in values.items():
        if key == "stage":
            continue
        if isinstance(value, dict):
            parts.append(f"[{key}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in value.items()))
        else:
            parts.insert(0, f"{key} = {json.dumps(value)}")
    parts += [
        "[[stage]]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in stage.items()) for stage in values["stage"]
    ]
    path.write_text("\n".join(parts))
    return path


def wait_for_steps(process, output, steps):
    done = output / "steps.jsonl"
    until(lambda: done.is_file() and done.read_bytes().count(b"\n") >= steps, process, seconds=300)


@pytest.mark.parametrize(("how", "steps"), [(signal.SIGKILL, 5), (signal.SIGTERM, 3)])
def test_killed_or_asked_to_stop(tmp_path, tiny_folder, shapes, cache, undisturbed, how, steps):
    output = tmp_path / "killed"
    file = as_file(settings(shapes, tiny_folder, output), tmp_path / "killed.toml")
    process = command("train", file)
    wait_for_steps(process, output, steps)
    os.kill(process.pid, how)
    _, err = process.communicate()
    assert process.returncode == (0 if how == signal.SIGTERM else -signal.SIGKILL), err
    if how == signal.SIGTERM:
        assert "--resume continues from here" in err
    assert not (output / "model").exists()

    refused = command("train", file)
    _, err = refused.communicate()
    assert refused.returncode == 1
    assert "holds an unfinished run; continue it with --resume" in err

    resumed = command("train", file, "--resume")
    _, err = resumed.communicate()
    assert resumed.returncode == 0, err
    assert_same_run(output, undisturbed)
    finished = command("train", file, "--resume")
    _, err = finished.communicate()
    assert finished.returncode == 0, err
    assert "finished already" in err


def test_a_picture_that_vanishes_costs_no_work(tmp_path, tiny_folder, shapes, cache, undisturbed, monkeypatch):
    images, hidden = shapes.parent / "images", shapes.parent / "hidden"

    class Thief(run_module.Monitor):
        """Takes the pictures away after a step of the stage that reads them."""

        def step(self, record):
            super().step(record)
            if record["step"] == 8:
                images.rename(hidden)

    again = recipe(shapes, tiny_folder, tmp_path / "robbed", checkpoints={"every": 100})
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "Monitor", Thief)
        with pytest.raises(UserError, match=r"images/\w+-\w+-\d\.png: "):
            train(again)
    hidden.rename(images)
    steps = [int(path.stem.removeprefix("step-")) for path in (tmp_path / "robbed/checkpoints").glob("step-*.pt")]
    assert max(steps) >= 8
    train(again, unfinished="resume")
    assert_same_run(tmp_path / "robbed", undisturbed)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, tiny_folder, shapes, cache, undisturbed, monkeypatch):
    again = recipe(shapes, tiny_folder, tmp_path / "full")
    saved = []

    def save(content, path):
        if len(saved) == 6:
            Path(path).write_bytes(b"half a check")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        saved.append(path)
        original(content, path)

    original = torch.save
    with monkeypatch.context() as patch:
        patch.setattr("clip_italian.train.checkpoint.torch.save", save)
        with pytest.raises(OSError, match="No space left"):
            train(again)
    left = {path.name for path in (tmp_path / "full/checkpoints").iterdir()}
    assert any(name.startswith("step-") for name in left)
    assert all(name.endswith(".pt") for name in left)
    train(again, unfinished="resume")
    assert_same_run(tmp_path / "full", undisturbed)


def stop_after(steps):
    class Stopping(run_module.Monitor):
        """Asks the run to stop, as SIGTERM does."""

        def step(self, record):
            super().step(record)
            if record["step"] == steps:
                os.kill(os.getpid(), signal.SIGTERM)

    return Stopping


def test_another_recipe_does_not_go_on_with_it(tmp_path, tiny_folder, shapes, cache, monkeypatch):
    monkeypatch.setattr(run_module, "Monitor", stop_after(2))
    output = tmp_path / "stopped"
    with pytest.raises(StoppedError):
        train(recipe(shapes, tiny_folder, output))
    before = sorted(path.name for path in (output / "checkpoints").iterdir())
    other = recipe(shapes, tiny_folder, output, seed=2)
    with pytest.raises(UserError, match=r"another recipe\.seed: 1, not 2"):
        train(other, unfinished="resume")
    assert sorted(path.name for path in (output / "checkpoints").iterdir()) == before
    newest = max((output / "checkpoints").glob("step-*.pt"))
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged"):
        train(recipe(shapes, tiny_folder, output), unfinished="resume")


def test_a_loss_that_is_no_number_is_told_with_the_pairs(tmp_path, tiny_folder, shapes, cache):
    wild = settings(shapes, tiny_folder, tmp_path / "wild")
    wild["stage"][0] |= {"learning_rate": 1e38, "clipping": 0.0, "warmup": 0.0}
    wild["optimizer"] = {"name": "adamw"}
    with pytest.raises(
        UserError, match=r"stage projections, step \d+: the loss is (nan|inf).*pairs: (cerchio|quadrato|tri)"
    ):
        train(Recipe.model_validate(wild))
    assert list((tmp_path / "wild/checkpoints").glob("step-*.pt"))


def test_the_last_checkpoints_and_the_best_stay(tmp_path, tiny_folder, shapes, cache):
    train(recipe(shapes, tiny_folder, tmp_path / "run", checkpoints={"every": 1, "keep": 3}))
    names = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert "finished" in names
    assert len([name for name in names if name.startswith("step-")]) == 3
    assert any(name.startswith("best-0-") for name in names)
    assert any(name.startswith("best-1-") for name in names)
    # Every checkpoint that stays refers to weights that stay.
    for file in (tmp_path / "run/checkpoints").glob("step-*.pt"):
        assert torch.load(file, weights_only=True)["progress"]["best_file"] in names


def one_stage(*given, **more):
    values = settings(*given, **more)
    return Recipe.model_validate(values | {"stage": values["stage"][:1]})


def test_a_finished_run_keeps_no_checkpoints_unless_asked(tmp_path, tiny_folder, shapes, cache, monkeypatch):
    settled = []
    original = run_module.DualEncoder.save

    def save(encoder, folder):
        settled.append(sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()))
        original(encoder, folder)

    monkeypatch.setattr(run_module.DualEncoder, "save", save)
    again = one_stage(shapes, tiny_folder, tmp_path / "run")
    trained = train(again)
    # All are there until the model is written.
    assert len([name for name in settled[0] if name.startswith("step-")]) == 2
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["finished"]
    (tmp_path / "run/checkpoints/step-00000099.pt").touch()  # as a run leaves that was killed while removing them
    resumed = train(again, unfinished="resume")
    assert resumed.history == trained.history
    assert resumed.encoder.weights_hash == trained.encoder.weights_hash
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["finished"]


def test_what_is_asked_to_stay_counts_at_the_end(tmp_path, tiny_folder, shapes, cache):
    train(one_stage(shapes, tiny_folder, tmp_path / "run", checkpoints={"every": 1, "keep": 1}))
    (last,) = (tmp_path / "run/checkpoints").glob("step-*.pt")
    best = torch.load(last, weights_only=True)["progress"]["best_file"]
    assert sorted(path.name for path in last.parent.iterdir()) == sorted([best, "finished", last.name])


@pytest.fixture
def stopped(tmp_path, tiny_folder, shapes, cache, monkeypatch):
    """A run stopped after two steps, on a base of its own; its folder."""
    shutil.copytree(tiny_folder, tmp_path / "base")
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "Monitor", stop_after(2))
        with pytest.raises(StoppedError):
            train(one_stage(shapes, tmp_path / "base", tmp_path / "run"))
    return tmp_path / "run"


def moved(tmp_path, how):
    """Pairs and base elsewhere."""
    for name, other in (("shapes", "elsewhere"), ("base", "other base")):
        if how == "moved":
            (tmp_path / name).rename(tmp_path / other)
        elif how == "linked":
            (tmp_path / other).symlink_to(tmp_path / name)
        else:
            shutil.copytree(tmp_path / name, tmp_path / other)
    return tmp_path / "elsewhere/pairs.jsonl", tmp_path / "other base"


@pytest.mark.parametrize("how", ["moved", "linked"])
def test_data_and_base_may_lie_elsewhere(tmp_path, shapes, stopped, how):
    train(one_stage(shapes, tmp_path / "base", tmp_path / "whole"))
    pairs, base = moved(tmp_path, how)
    train(one_stage(pairs, base, stopped), unfinished="resume")
    assert_same_run(stopped, tmp_path / "whole")
    assert json.loads((stopped / "model/clip_italian.json").read_text())["data"]["pairs"] == str(pairs)


def change_caption(pairs, base):
    pairs.write_text(pairs.read_text().replace("un cerchio rosso", "un disco rosso", 1))


def change_picture(pairs, base):
    first, second = sorted((pairs.parent / "images").iterdir())[:2]
    first.write_bytes(second.read_bytes())


def change_weights(pairs, base):
    encoder = DualEncoder.load(base)
    with torch.no_grad():
        encoder.model.text_projection.weight += 1
    encoder.save(base)


def change_preprocessing(pairs, base):
    file = base / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_mean": [0.4, 0.4, 0.4]}))


def test_what_was_moved_and_changed_is_refused(tmp_path, stopped):
    for change, named in (
        (change_caption, "data"), (change_picture, "content of its pictures"), (change_weights, "base"),
        (change_preprocessing, "preprocessing"),
    ):  # fmt: skip
        pairs, base = moved(tmp_path, "copied")
        change(pairs, base)
        with pytest.raises(UserError, match=f"the unfinished run has another {named}.*put it back"):
            train(one_stage(pairs, base, stopped), unfinished="resume")
        shutil.rmtree(pairs.parent)
        shutil.rmtree(base)


def test_shards_may_lie_elsewhere(tmp_path, tiny_folder, shapes, cache, monkeypatch):
    members = {}
    for pair in read(shapes):
        members[f"{pair.id}.png"] = Path(shapes.parent, pair.image).read_bytes()
        members[f"{pair.id}.txt"] = pair.captions[0].encode()
    write_tar(tmp_path / "shards/00000.tar", members)
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "Monitor", stop_after(2))
        with pytest.raises(StoppedError):
            train(one_stage(tmp_path / "shards", tiny_folder, tmp_path / "run"))
    (tmp_path / "shards").rename(tmp_path / "moved")
    train(one_stage(tmp_path / "moved", tiny_folder, tmp_path / "run"), unfinished="resume")
    train(one_stage(tmp_path / "moved", tiny_folder, tmp_path / "whole"))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_checkpoint_of_an_older_version_goes_on(tmp_path, shapes, stopped):
    """Its identity holds places, and fewer digests."""
    for file in (stopped / "checkpoints").glob("step-*.pt"):
        content = torch.load(file, weights_only=True)
        identity = content["identity"]
        identity["recipe"]["data"]["pairs"] = "/gone/pairs.jsonl"
        identity["recipe"]["model"] |= {"base": "/gone/base", "vision": None, "text": None}
        for key in ("pictures", "tokenizer", "preprocessing"):
            del identity[key]
        torch.save(content, file)
    train(one_stage(shapes, tmp_path / "base", stopped), unfinished="resume")
    assert (stopped / "model/model.safetensors").is_file()
