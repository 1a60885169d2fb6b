"""A run as seen from outside: progress on the terminal, journals, trackers, the report.

with Monitor(recipe, folder) as monitor:
    monitor.stage("projections", steps)
    monitor.evaluation({"stage": "projections", "epoch": 0, "step": 0, "validation_loss": 5.1, "MRR@10": 0.02})
    monitor.step({"stage": "projections", "epoch": 1, "step": 1, "loss": 4.9, "learning_rate": 1e-5,
                  "samples": 128, "seconds": 0.21, "data_seconds": 0.01})
    monitor.finish({"best validation loss": 2.3})

runs/demo/steps.jsonl    one line a step
runs/demo/history.jsonl  one line an evaluation, the first before any step
runs/demo/report.html    curves, figures, settings, where the time went; rewritten as the run goes
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clip_italian import console
from clip_italian.config import Recipe
from clip_italian.train import history
from clip_italian.train.cost import Spent
from clip_italian.train.history import HISTORY_FILE, STEPS_FILE, Journal, Record, Regression, alarm
from clip_italian.train.progress import Curve, Pace, Part, ProgressBar
from clip_italian.train.report import REPORT_FILE, Snapshot, write_report
from clip_italian.train.trackers import Tracker, open_trackers

_TRACK_EVERY = 2.0  # seconds between figures sent to trackers; steps.jsonl has every step
_REPORT_EVERY = 10.0  # seconds between reports while steps are done, at least
# Shares of the run's time that writing reports may take: in between, and when there is an evaluation to show.
_STEP_SHARE, _EVALUATION_SHARE = 0.01, 0.05


class SilentMonitor:
    """Remembers the evaluations and shows nothing: for all processes of a run but the first."""

    def __init__(self) -> None:
        self.history: list[Record] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write nothing."""

    def stage(self, name: str, steps: int) -> None:
        """Begin or resume a stage of at most so many steps, those before an interruption included."""

    def step(self, record: Record) -> None:
        """Record a step.

        `record`: stage, epoch, step (counted through all stages, from 1), loss, learning_rate, samples, seconds (the
        whole step, with the wait for its data), data_seconds (that wait).
        """

    def evaluation(self, record: Record) -> None:
        """Record an evaluation.

        `record`: stage, epoch, step (within its stage), validation_loss, other figures. One with the stage and step of
        an earlier record, as a resumed run may make, replaces that one and all after it.
        """
        at = _place(self.history, record)
        del self.history[at:]
        self.history.append(record)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the run as finished; `summary` is shown at the top of the report."""


class Monitor(SilentMonitor):
    """Shows and records a run in its folder; `show` is called with each evaluation, `spent` gives the cost so far.

    `resume_at`: steps of all stages already done; later ones are dropped from the journals. None: a fresh run, which
    replaces the files of an earlier one with its first records. Entering raises UserError where files cannot be written
    or a tracker cannot be opened; so do `step` and `evaluation` on a full disk, with all earlier records intact.
    """

    def __init__(
        self, recipe: Recipe, folder: Path, resume_at: int | None = None,
        show: Callable[[Record], None] = lambda _: None, spent: Callable[[], Spent | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        super().__init__()
        self._recipe = recipe
        self._folder = folder
        self._resume_at = resume_at
        self._show = show
        self._spent = spent
        self._clock = clock
        self._curve = Curve()
        self._parts: dict[str, Part] = {}  # by stage, in their order
        self._regressions: dict[int, list[Regression]] = {}  # by number of the evaluation
        self._last_step = resume_at or 0
        self._step_seconds = 0.0  # of all steps since the run began or resumed
        self._pace: Pace | None = None
        self._summary: Mapping[str, Any] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._resume_at is None:
            self._steps = Journal.open_new(self._folder / STEPS_FILE)
        else:
            at = self._resume_at
            self._steps = Journal.reopen(self._folder / STEPS_FILE, lambda record: record["step"] <= at, self._count)
            self._truncate_history(at)
        self._trackers: list[Tracker] = open_trackers(self._recipe, self._folder, self._resume_at)
        self._bar = ProgressBar([stage.name for stage in self._recipe.stage], self._clock)
        self._bar.start()
        self._started = self._clock()
        self._track_at = self._started + _TRACK_EVERY
        self._report_at = self._started + _REPORT_EVERY
        self._evaluation_report_at = self._started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._steps.close()
        if error is not None or self._summary is None:
            self._report("stopped", _reason(error))
        for tracker in self._trackers:
            tracker.finish()

    def stage(self, name: str, steps: int) -> None:
        done = self._parts[name].steps if name in self._parts else 0
        self._parts.setdefault(name, Part())
        self._pace = Pace(steps, done, self._clock)
        self._bar.stage(name, self._pace)

    def step(self, record: Record) -> None:
        self._steps.append(record)
        self._count(record)
        self._step_seconds += record["seconds"]
        assert self._pace is not None, "stage() comes before step()"
        self._pace.add(record)
        now = self._clock()
        self._bar.step(record, now)
        if now >= self._track_at:
            self._track_at = now + _TRACK_EVERY
            self._track_steps(record)
        if now >= self._report_at:
            self._report("running")

    def evaluation(self, record: Record) -> None:
        super().evaluation(record)
        history.write(self._folder / HISTORY_FILE, self.history)
        at = len(self.history) - 1
        self._regressions = {number: found for number, found in self._regressions.items() if number < at}
        step = history.running_steps(self.history)[-1]
        self._track({f"evaluation/{name}": value for name, value in record.items() if _is_figure(name, value)}, step)
        self._show(record)
        self._raise_alarm(at)
        if self._clock() >= self._evaluation_report_at:
            self._report("running")

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._summary = summary
        self._report("finished")

    def _truncate_history(self, at: int) -> None:
        path = self._folder / HISTORY_FILE
        old = history.read(path)
        steps = history.running_steps(old)
        self.history = [record for record, step in zip(old, steps, strict=True) if step <= at]
        if len(self.history) < len(old):
            history.write(path, self.history)
        for number in range(len(self.history)):
            self._regressions[number] = alarm(self.history[: number + 1])

    def _count(self, record: Record) -> None:
        self._last_step = record["step"]
        self._curve.add(record)
        self._parts.setdefault(record["stage"], Part()).add(record)

    def _raise_alarm(self, at: int) -> None:
        """Report figures that became worse since the previous evaluation; older regressions were reported then."""
        self._regressions[at] = found = alarm(self.history)
        known = {(one.figure, one.since) for one in self._regressions.get(at - 1, [])}
        new = [one for one in found if (one.figure, one.since) not in known]
        if new:
            record = self.history[at]
            console.notice(f"{record['stage']} epoch {record['epoch']} is worse {history.describe(new)}")

    def _track_steps(self, record: Record) -> None:
        assert self._pace is not None
        window = self._pace.window()
        values = {
            "train/loss": record["loss"],
            "train/learning_rate": record["learning_rate"],
            "train/samples_per_second": window.samples_per_second,
            "train/data_wait": window.data_wait,
        }
        self._track(values, record["step"])

    def _track(self, values: Mapping[str, float], step: int) -> None:
        for tracker in self._trackers:
            tracker.log(values, step)

    def _report(self, state: str, note: str = "") -> None:
        began = self._clock()
        snapshot = Snapshot(
            name=self._folder.name,
            state=state,
            note=note,
            recipe=self._recipe,
            history=self.history,
            regressions=self._regressions,
            points=self._curve.points,
            parts=self._parts,
            step=self._last_step,
            elapsed=began - self._started,
            rest=max(0.0, began - self._started - self._step_seconds),
            eta=self._pace.eta if self._pace and state == "running" else None,
            resumed_at=self._resume_at,
            summary=self._summary or {},
            spent=self._spent(),
        )
        try:
            write_report(self._folder / REPORT_FILE, snapshot)
        except OSError as error:
            # The old page stays; a run does not end because of its report.
            console.notice(f"{self._folder / REPORT_FILE}: cannot be written ({error.strerror}); training continues")
        took = self._clock() - began
        self._report_at = began + max(_REPORT_EVERY, took / _STEP_SHARE)
        self._evaluation_report_at = began + took / _EVALUATION_SHARE


def _place(history: list[Record], record: Record) -> int:
    """Index for a record: that of the same stage and step, or the end."""
    same = (number for number, old in enumerate(history)
            if (old["stage"], old["step"]) == (record["stage"], record["step"]))  # fmt: skip
    return next(same, len(history))


def _reason(error: BaseException | None) -> str:
    """Why a run ended early, in one line."""
    if error is None or isinstance(error, SystemExit):
        return "before its end; --resume continues it"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; --resume continues it"
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _is_figure(name: str, value: Any) -> bool:
    return isinstance(value, (int, float)) and name not in ("stage", "epoch", "step", "queries", "gallery")
