import json
import sys

import pytest

from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.train.cost import Spent
from clip_italian.train.monitor import Monitor, SilentMonitor

STAGE = {
    "trainable": ["*"], "frozen": [], "learning_rate": 0.1, "epochs": 2, "patience": 1,
}  # fmt: skip


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def no_page(monkeypatch):
    """For tests that are about the journals: drawing curves takes longer than all the rest."""
    monkeypatch.setattr("clip_italian.train.monitor.write_report", lambda path, snapshot: None)


def recipe(folder, **tracking):
    return Recipe.model_validate(
        {
            "output": folder, "data": {"pairs": "pairs.jsonl"}, "tracking": tracking,
            "stage": [STAGE | {"name": "one"}, STAGE | {"name": "two"}],
        }
    )  # fmt: skip


def step(number, stage="one", loss=None):
    return {
        "stage": stage, "epoch": 1, "step": number, "loss": 1 / number if loss is None else loss,
        "learning_rate": 0.1, "samples": 8, "seconds": 2.0, "data_seconds": 0.5,
    }  # fmt: skip


def evaluation(stage, number, mrr=0.5, loss=2.0):
    return {"stage": stage, "epoch": number // 2, "step": number, "validation_loss": loss, "MRR@10": mrr}


def whole_run(monitor):
    """Two stages of four steps each, evaluated at their start, middle and end."""
    monitor.evaluation(evaluation("untrained", 0, 0.1, 5.0))
    for stage, before in (("one", 0), ("two", 4)):
        monitor.stage(stage, 4)
        monitor.evaluation(evaluation(stage, 0))
        for number in range(1, 5):
            monitor.step(step(before + number, stage))
            if number % 2 == 0:
                monitor.evaluation(evaluation(stage, number, 0.5 + number / 100, 2.0 - number / 10))
    monitor.finish({"best validation loss": 1.6})


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_leaves_both_journals(tmp_path, clock, no_page):
    shown = []
    with Monitor(recipe(tmp_path), tmp_path, show=shown.append, clock=clock) as monitor:
        whole_run(monitor)
    assert lines(tmp_path / "history.jsonl") == monitor.history == shown
    assert [record["step"] for record in monitor.history] == [0, 0, 2, 4, 0, 2, 4]
    assert lines(tmp_path / "steps.jsonl") == [step(n, "one" if n <= 4 else "two") for n in range(1, 9)]


def test_a_run_leaves_a_report(tmp_path, clock):
    with Monitor(recipe(tmp_path), tmp_path, clock=clock) as monitor:
        monitor.stage("one", 4)
        monitor.evaluation(evaluation("one", 0))
        monitor.step(step(1))
        monitor.step(step(2))
        clock.now = 10.0
        monitor.finish({"best_validation_loss": 1.6})
    page = (tmp_path / "report.html").read_text()
    assert "finished" in page
    assert "http-equiv" not in page  # nothing comes any more
    assert "<dt>best validation loss</dt><dd>1.600</dd>" in page
    assert "<dt>running for</dt><dd>0:10</dd>" in page
    cells = "".join(f"<td>{cell}</td>" for cell in ("one", 2, "0:03", "0:01", "25.0%", 4))
    assert cells in page
    assert "<td>evaluations and the rest</td><td></td><td>0:06</td>" in page
    assert page.count("<svg") == 5


def test_the_report_tells_what_the_run_has_cost(tmp_path, clock):
    part = {
        "started": "", "seconds": 3600, "devices": 2, "device": "H100", "country": "ITA", "hourly": 4, "currency": "€",
        "energy_kwh": 1.5, "co2_kg": 0.5, "measured": 3600, "missing": None,
    }  # fmt: skip
    with Monitor(recipe(tmp_path), tmp_path, spent=lambda: Spent.from_json({"parts": [part]}), clock=clock) as monitor:
        monitor.finish({})
    told = "1:00:00 on 2 devices, 2 device hours, 1.5 kWh, 500 g CO2eq, € 8.00"
    assert f"<dt>cost</dt><dd>{told}</dd>" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("at", range(9))
def test_a_run_that_goes_on_has_the_journals_of_one_that_never_stopped(tmp_path, clock, no_page, at):
    undisturbed = tmp_path / "undisturbed"
    with Monitor(recipe(undisturbed), undisturbed, clock=clock) as monitor:
        whole_run(monitor)
    folder = tmp_path / "run"
    with Monitor(recipe(folder), folder, clock=clock) as monitor:
        whole_run(monitor)
    with (folder / "steps.jsonl").open("a") as file:
        file.write('{"stage": "two", "ep')  # as kill -9 may leave it
    with Monitor(recipe(folder), folder, at, clock=clock) as monitor:
        first = 1 if at < 4 else 5
        stages = [("one", 0), ("two", 4)] if at < 4 else [("two", 4)]
        for stage, before in stages:
            monitor.stage(stage, 4)
            if at <= before:
                monitor.evaluation(evaluation(stage, 0))
            for number in range(1, 5):
                if before + number > at:
                    monitor.step(step(before + number, stage))
                if number % 2 == 0 and before + number >= max(at, first):  # the one at `at` may be made again
                    monitor.evaluation(evaluation(stage, number, 0.5 + number / 100, 2.0 - number / 10))
        monitor.finish({})
    for name in ("steps.jsonl", "history.jsonl"):
        assert lines(folder / name) == lines(undisturbed / name)


def test_history_is_there_as_soon_as_a_run_goes_on(tmp_path, clock, no_page):
    with Monitor(recipe(tmp_path), tmp_path, clock=clock) as monitor:
        whole_run(monitor)
    with Monitor(recipe(tmp_path), tmp_path, 5, clock=clock) as monitor:
        assert [(r["stage"], r["step"]) for r in monitor.history] == [
            ("untrained", 0), ("one", 0), ("one", 2), ("one", 4), ("two", 0),
        ]  # fmt: skip
        assert lines(tmp_path / "history.jsonl") == monitor.history


def test_a_fresh_run_keeps_the_old_files_until_it_has_something(tmp_path, clock, no_page):
    with Monitor(recipe(tmp_path), tmp_path, clock=clock) as monitor:
        whole_run(monitor)
    before = lines(tmp_path / "history.jsonl")
    with Monitor(recipe(tmp_path), tmp_path, clock=clock) as monitor:
        assert monitor.history == []
        assert lines(tmp_path / "history.jsonl") == before
        monitor.evaluation(evaluation("untrained", 0))
        assert lines(tmp_path / "history.jsonl") == [evaluation("untrained", 0)]


def test_the_page_of_a_running_run_reads_itself_again_and_is_written_now_and_then(tmp_path, clock):
    page = tmp_path / "report.html"
    with Monitor(recipe(tmp_path), tmp_path, clock=clock) as monitor:
        monitor.stage("one", 40)
        monitor.step(step(1))
        assert not page.exists()
        clock.now = 11.0
        monitor.step(step(2))
        assert 'http-equiv="refresh"' in page.read_text()
        assert "stage ends in" in page.read_text()
        page.unlink()
        clock.now = 12.0
        monitor.step(step(3))
        assert not page.exists()
    assert "before its end" in page.read_text()


def test_a_run_that_fails_says_why_in_its_report(tmp_path, clock):
    with pytest.raises(UserError), Monitor(recipe(tmp_path), tmp_path, clock=clock) as monitor:
        monitor.stage("one", 4)
        raise UserError("loss is not a number at step 3 <b>")
    page = (tmp_path / "report.html").read_text()
    assert "stopped" in page
    assert "loss is not a number at step 3 &lt;b&gt;" in page


def test_a_line_now_and_then_where_there_is_no_terminal(tmp_path, clock, capsys):
    with Monitor(recipe(tmp_path), tmp_path, clock=clock) as monitor:
        monitor.stage("one", 100)
        for number in range(1, 41):
            clock.now += 2.0
            monitor.step(step(number))
    said = [line for line in capsys.readouterr().err.splitlines() if "samples/s" in line]
    assert said == [
        "one (1 of 2)  step 15 of 100  epoch 1  loss 0.067  4 samples/s  waiting for data 25%  ETA 2:50",
        "one (1 of 2)  step 30 of 100  epoch 1  loss 0.033  4 samples/s  waiting for data 25%  ETA 2:20",
    ]


def test_an_alarm_is_told_once_and_marked(tmp_path, clock, capsys):
    with Monitor(recipe(tmp_path), tmp_path, clock=clock) as monitor:
        monitor.evaluation(evaluation("untrained", 0, 0.1, 5.0))
        monitor.stage("one", 4)
        monitor.evaluation(evaluation("one", 0, 0.5, 2.0))
        monitor.evaluation(evaluation("one", 2, 0.4, 1.9))
        monitor.evaluation(evaluation("one", 4, 0.3, 1.8))
        monitor.finish({})
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "worse" in line]
    assert line == "one epoch 1 is worse than at the start of stage 'one': MRR@10 0.4 (was 0.5)"
    page = (tmp_path / "report.html").read_text()
    assert "MRR@10 0.3 (was 0.5)" in page
    assert page.count('class="worse"') == 2


def test_a_full_disk_ends_in_one_line_and_keeps_what_was_written(tmp_path, clock, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    said = r"history.jsonl: cannot be written \(No space left on device\)"
    with pytest.raises(UserError, match=said), Monitor(recipe(tmp_path), tmp_path, clock=clock) as monitor:
        monitor.evaluation(evaluation("untrained", 0))
        page = (tmp_path / "report.html").read_text()
        monkeypatch.setattr("pathlib.Path.write_text", full)
        monitor.evaluation(evaluation("one", 0))
    assert lines(tmp_path / "history.jsonl") == [evaluation("untrained", 0)]
    assert (tmp_path / "report.html").read_text() == page


def test_other_processes_remember_and_write_nothing(tmp_path):
    with SilentMonitor() as monitor:
        whole_run(monitor)
    assert [record["step"] for record in monitor.history] == [0, 0, 2, 4, 0, 2, 4]
    assert not list(tmp_path.iterdir())


def test_a_missing_tracker_is_one_line_before_the_first_step(tmp_path, clock, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(UserError, match=r"tracking.trackio: .*pip install"):
        Monitor(recipe(tmp_path, trackio="p"), tmp_path, clock=clock).__enter__()
