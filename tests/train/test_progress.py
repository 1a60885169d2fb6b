import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_italian.train.progress import Curve, Pace, Part, clock_time


def record(step, loss=1.0, samples=10, seconds=2.0, data_seconds=0.5):
    return {
        "stage": "a", "epoch": 1, "step": step, "loss": loss, "learning_rate": step / 100, "samples": samples,
        "seconds": seconds, "data_seconds": data_seconds,
    }  # fmt: skip


def test_sums_of_a_stage():
    part = Part()
    assert (part.samples_per_second, part.data_wait) == (0.0, 0.0)
    part.add(record(1))
    part.add(record(2, samples=20, seconds=4.0))
    assert part.samples_per_second == 30 / 6.0
    assert part.data_wait == 1.0 / 6.0


def test_time_left_counts_what_goes_by_between_the_steps():
    now = [100.0]
    pace = Pace(steps=10, done=2, clock=lambda: now[0])
    assert pace.eta is None
    now[0] = 103.0
    pace.add(record(3, seconds=2.0))  # began at 101
    now[0] = 111.0
    pace.add(record(4, seconds=2.0))
    assert pace.taken == 4
    assert pace.eta == 6 * (111.0 - 101.0) / 2


def test_speed_is_that_of_the_last_steps():
    pace = Pace(steps=1000, done=0, clock=lambda: 0.0)
    for step in range(1, 101):
        pace.add(record(step, seconds=8.0))
    for step in range(101, 151):
        pace.add(record(step, seconds=2.0))
    assert pace.window().samples_per_second == 5.0


@given(losses=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=300))
def test_a_thinned_curve_keeps_the_sums_and_the_mean(losses):
    curve = Curve(limit=8)
    for step, loss in enumerate(losses, start=1):
        curve.add(record(step, loss=loss))
    points = curve.points
    assert len(points) <= 8
    assert sum(point.steps for point in points) == len(losses)
    assert points[-1].step == len(losses)
    assert [point.step for point in points] == sorted({point.step for point in points})
    assert sum(point.seconds for point in points) == 2.0 * len(losses)
    mean = sum(point.loss * point.steps for point in points) / len(losses)
    assert mean == pytest.approx(sum(losses) / len(losses), abs=1e-6)


def test_a_curve_with_few_steps_has_each():
    curve = Curve(limit=8)
    for step in range(1, 9):
        curve.add(record(step, loss=float(step)))
    assert [(point.step, point.loss) for point in curve.points] == [(n, float(n)) for n in range(1, 9)]


@pytest.mark.parametrize(("seconds", "text"), [(None, "–"), (5.4, "0:05"), (123, "2:03"), (3723, "1:02:03")])
def test_times_as_clocks_show_them(seconds, text):
    assert clock_time(seconds) == text
