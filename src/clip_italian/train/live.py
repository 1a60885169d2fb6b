"""The line that is seen while a run goes: a bar on a terminal, a plain line now and then elsewhere."""

from collections.abc import Callable, Sequence

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from clip_italian import console
from clip_italian.train.journal import Record
from clip_italian.train.pace import Pace, clock_time

_REFRESH = 0.25  # seconds between changes on a terminal
_LINE = 30.0  # seconds between lines elsewhere


class Live:
    """Shows the stage that is running with its loss, speed and time left, on stderr.

    The terminal is written to from `step`, not by a thread that would take time from the training.
    """

    def __init__(self, stages: Sequence[str], clock: Callable[[], float]) -> None:
        self._stages = list(stages)
        self._clock = clock
        self._on_terminal = console.errors.is_terminal
        self._every = _REFRESH if self._on_terminal else _LINE
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[now]}"),
        )
        self._bar = Progress(*columns, console=console.errors, auto_refresh=False, disable=not self._on_terminal)
        self._task = self._bar.add_task("", total=None, now="", visible=False)

    def start(self) -> None:
        """Begin to show."""
        self._due = self._clock() + self._every
        self._bar.start()

    def stop(self) -> None:
        """Leave the last line standing."""
        self._bar.refresh()
        self._bar.stop()

    def stage(self, name: str, pace: Pace) -> None:
        """Another stage begins."""
        self._name, self._pace = name, pace
        if len(self._stages) > 1 and name in self._stages:
            self._name = f"{name} ({self._stages.index(name) + 1} of {len(self._stages)})"
        self._bar.update(
            self._task, description=self._name, total=pace.steps, completed=pace.done, now="", visible=True
        )

    def step(self, record: Record, now: float) -> None:
        """A step is done; shown where the last change is long enough ago."""
        if now < self._due:
            return
        self._due = now + self._every
        said = describe(record, self._pace)
        if self._on_terminal:
            self._bar.update(self._task, completed=self._pace.taken, now=said, refresh=True)
        else:
            console.notice(f"{self._name}  step {self._pace.taken:,} of {self._pace.steps:,}  {said}")


def describe(record: Record, pace: Pace) -> str:
    """Loss, speed, wait for data and time left in a few words."""
    window = pace.window()
    return (
        f"epoch {record['epoch']}  loss {record['loss']:.3f}  {window.samples_per_second:,.0f} samples/s"
        f"  waiting for data {window.data_wait:.0%}  ETA {clock_time(pace.eta)}"
    )
