"""The real clients, none of which may reach the network here: files, and wandb's offline mode."""

import struct
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.train.trackers import Tracker, open_trackers


def recipe(**tracking):
    stage = {
        "name": "one", "trainable": ["*"], "frozen": [], "learning_rate": 0.1, "epochs": 2, "patience": 1,
    }  # fmt: skip
    values = {"output": "runs/one", "data": {"pairs": "pairs.jsonl"}, "tracking": tracking, "stage": [stage]}
    return Recipe.model_validate(values)


def events(folder: Path):
    """What TensorBoard would read: length, checksum, message, checksum, one after the other."""
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def scalars(folder: Path):
    return [(e.step, v.tag, v.simple_value) for e in events(folder) for v in e.summary.value]


def test_no_tracker_is_opened_unless_asked_for(tmp_path):
    assert open_trackers(recipe(), tmp_path, None) == []
    assert not list(tmp_path.iterdir())


def test_tensorboard_gets_figures_by_step(tmp_path):
    (tracker,) = open_trackers(recipe(tensorboard=True), tmp_path, None)
    tracker.log({"train/loss": 2.5, "evaluation/MRR@10": 0.25}, 7)
    tracker.finish()
    assert scalars(tmp_path / "tensorboard") == [(7, "train/loss", 2.5), (7, "evaluation/MRR_10", 0.25)]


def test_tensorboard_goes_on_after_the_steps_that_are_done_and_starts_anew_with_a_fresh_run(tmp_path):
    (tracker,) = open_trackers(recipe(tensorboard=True), tmp_path, None)
    tracker.log({"train/loss": 2.5}, 8)
    tracker.finish()
    (tracker,) = open_trackers(recipe(tensorboard=True), tmp_path, 7)
    tracker.log({"train/loss": 2.25}, 8)
    tracker.finish()
    # From this mark on, TensorBoard hides what an earlier leg wrote from step 8 on.
    marks = [e.step for e in events(tmp_path / "tensorboard") if e.session_log.status]
    assert marks == [8]
    (tracker,) = open_trackers(recipe(tensorboard=True), tmp_path, None)
    tracker.log({"train/loss": 2.0}, 1)
    tracker.finish()
    assert scalars(tmp_path / "tensorboard") == [(1, "train/loss", 2.0)]


def test_wandb_goes_on_in_the_same_run(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for resume_at in (None, 3):
        (tracker,) = open_trackers(recipe(wandb="project"), tmp_path, resume_at)
        tracker.log({"train/loss": 2.5}, (resume_at or 0) + 1)
        tracker.finish()
        ids.append((tmp_path / "wandb-run.txt").read_text())
    assert ids[0] == ids[1]
    assert len(list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))) >= 2


def test_trackio_keeps_figures_by_step(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="the extra trackio is not installed")
    (tracker,) = open_trackers(recipe(trackio="project"), tmp_path, None)
    tracker.log({"train/loss": 2.5}, 7)
    tracker.finish()
    from trackio.sqlite_storage import SQLiteStorage

    (logged,) = SQLiteStorage.get_logs("project", tmp_path.name)
    assert (logged["step"], logged["train/loss"]) == (7, 2.5)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_missing_package_is_named_with_what_installs_it(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"tracking.{name}: .*pip install 'clip-italian\[{name}\]'"):
        open_trackers(recipe(**{name: "project"}), tmp_path, None)


def test_a_service_that_refuses_is_one_line(tmp_path, monkeypatch):
    class Refusing:
        def init(self, **_):
            raise RuntimeError("not logged in\nTraceback")

    monkeypatch.setitem(sys.modules, "wandb", Refusing())
    with pytest.raises(UserError, match=r"^tracking.wandb: not logged in; remove the setting to continue$"):
        open_trackers(recipe(wandb="project"), tmp_path, None)


def test_a_tracker_that_fails_is_given_up_once(capsys):
    asked = []

    def log(values, step):
        asked.append(step)
        raise ConnectionError("gone")

    tracker = Tracker("wandb", log, lambda: None)
    tracker.log({"train/loss": 1.0}, 1)
    tracker.log({"train/loss": 1.0}, 2)
    assert asked == [1]
    assert capsys.readouterr().err == "wandb: gone; nothing more is sent there\n"
