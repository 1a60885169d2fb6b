import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_italian.errors import UserError
from clip_italian.train import history
from clip_italian.train.history import Journal, running_steps


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def step(number):
    return {"stage": "a", "step": number, "loss": 1 / number}


def test_an_old_file_stays_until_there_is_a_record_to_replace_it(tmp_path):
    file = tmp_path / "steps.jsonl"
    file.write_text('{"step": 9}\n')
    fresh = Journal.open_new(file)
    assert lines(file) == [{"step": 9}]
    fresh.append(step(1))
    fresh.append(step(2))
    assert lines(file) == [step(1), step(2)]  # before it is closed


@given(at=st.integers(0, 6), torn=st.booleans())
def test_a_journal_is_cut_back_and_goes_on(tmp_path_factory, at, torn):
    file = tmp_path_factory.mktemp("run") / "steps.jsonl"
    written = "".join(json.dumps(step(n)) + "\n" for n in range(1, 6))
    file.write_text(written + ('{"stage": "a", "st' if torn else ""))
    kept = []
    again = Journal.reopen(file, lambda record: record["step"] <= at, kept.append)
    again.append(step(at + 1))
    again.close()
    stay = [step(n) for n in range(1, min(at, 5) + 1)]
    assert kept == stay
    assert lines(file) == [*stay, step(at + 1)]


def test_losses_come_back_bit_for_bit_and_no_number_is_null(tmp_path):
    file = tmp_path / "steps.jsonl"
    book = Journal.open_new(file)
    for loss in (0.1 + 0.2, math.nan, math.inf):
        book.append({"step": 1, "loss": loss})
    assert [record["loss"] for record in history.read(file)] == [0.1 + 0.2, None, None]
    assert "NaN" not in file.read_text()


def test_a_broken_line_is_named(tmp_path):
    file = tmp_path / "history.jsonl"
    file.write_text('{"step": 1}\n{"step"\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"history.jsonl: line 2 is no JSON"):
        history.read(file)


def test_a_full_disk_is_one_line_and_what_was_written_stays(tmp_path):
    with pytest.raises(UserError, match=r"cannot be written \(.*No space left.*--resume"):
        Journal("steps", open("/dev/full", "w", buffering=1)).append(step(1))  # noqa: PTH123, SIM115


def test_a_refused_rewrite_leaves_the_old_file(tmp_path, monkeypatch):
    file = tmp_path / "history.jsonl"
    history.write(file, [step(1)])

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(UserError, match="No space left"):
        history.write(file, [step(1), step(2)])
    assert lines(file) == [step(1)]


def test_steps_run_on_through_the_stages():
    history = [{"stage": s, "step": n} for s, n in [("u", 0), ("a", 0), ("a", 4), ("a", 8), ("b", 0), ("b", 3)]]
    assert running_steps(history) == [0, 0, 4, 8, 8, 11]
