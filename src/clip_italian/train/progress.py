"""Speed and time left of a run, from the times of its steps, and the progress bar that shows them."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich import progress

from clip_italian import console
from clip_italian.train.history import Record

_WINDOW = 50  # steps that the shown speed is averaged over
_REFRESH = 0.25  # seconds between changes on a terminal
_LINE = 30.0  # seconds between lines elsewhere


@dataclass
class Part:
    """Sums over steps: count, samples, seconds, and seconds waiting for data."""

    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0

    def add(self, record: Record) -> None:
        """Add one step."""
        self.steps += 1
        self.samples += record["samples"]
        self.seconds += record["seconds"]
        self.data_seconds += record["data_seconds"]

    @property
    def samples_per_second(self) -> float:
        """0 before the first step."""
        return self.samples / self.seconds if self.seconds else 0.0

    @property
    def data_wait(self) -> float:
        """Share of the steps' time spent waiting for data, 0 to 1."""
        return self.data_seconds / self.seconds if self.seconds else 0.0


@dataclass
class Pace:
    """Speed and time left of the running stage.

    `steps` is the most it takes, `done` how many of them an earlier part of a resumed run did.
    """

    steps: int
    done: int
    clock: Callable[[], float]
    recent: deque[Record] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    _first: float | None = None
    _here: int = 0

    def add(self, record: Record) -> None:
        """Add one step, just after its end."""
        if self._first is None:
            self._first = self.clock() - record["seconds"]
        self._here += 1
        self.recent.append(record)

    @property
    def taken(self) -> int:
        """Steps of the stage done so far."""
        return self.done + self._here

    @property
    def eta(self) -> float | None:
        """Seconds to the stage's last step at the speed so far, evaluations included; None before the first step."""
        if self._first is None:
            return None
        left = max(0, self.steps - self.taken)
        return left * (self.clock() - self._first) / self._here

    def window(self) -> Part:
        """Sums over the last steps."""
        part = Part()
        for record in self.recent:
            part.add(record)
        return part


@dataclass(frozen=True)
class Point:
    """Consecutive steps as one point: the last one's number and rate, the mean loss, and sums."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    samples: int
    seconds: float
    data_seconds: float


class Curve:
    """The curve of a run in at most `limit` points; neighbours are joined where there are more."""

    def __init__(self, limit: int = 400) -> None:
        self._limit = limit
        self._size = 1  # steps in a full point
        self.points: list[Point] = []

    def add(self, record: Record) -> None:
        """Add one step."""
        loss = float("nan") if record["loss"] is None else record["loss"]
        point = Point(
            record["step"], 1, loss, record["learning_rate"], record["samples"], record["seconds"],
            record["data_seconds"],
        )  # fmt: skip
        if self.points and self.points[-1].steps < self._size:
            self.points[-1] = _join(self.points[-1], point)
        else:
            self.points.append(point)
        if len(self.points) > self._limit:
            pairs = [self.points[at : at + 2] for at in range(0, len(self.points), 2)]
            self.points = [_join(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
            self._size *= 2


def _join(a: Point, b: Point) -> Point:
    steps = a.steps + b.steps
    loss = (a.loss * a.steps + b.loss * b.steps) / steps
    return Point(
        b.step, steps, loss, b.learning_rate, a.samples + b.samples, a.seconds + b.seconds,
        a.data_seconds + b.data_seconds,
    )  # fmt: skip


def clock_time(seconds: float | None) -> str:
    """“1:02:03”, “2:03”, or “–” for None."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressBar:
    """The running stage with its loss, speed and time left on stderr: a bar on a terminal, some lines elsewhere.

    `step` writes to the terminal itself; a thread would take time from the training.
    """

    def __init__(self, stages: Sequence[str], clock: Callable[[], float]) -> None:
        self._stages = list(stages)
        self._clock = clock
        self._on_terminal = console.errors.is_terminal
        self._every = _REFRESH if self._on_terminal else _LINE
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(20),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[now]}"),
        )
        self._bar = progress.Progress(
            *columns, console=console.errors, auto_refresh=False, disable=not self._on_terminal
        )
        self._task = self._bar.add_task("", total=None, now="", visible=False)

    def start(self) -> None:
        """Show the bar."""
        self._due = self._clock() + self._every
        self._bar.start()

    def stop(self) -> None:
        """Leave the last line on the terminal."""
        self._bar.refresh()
        self._bar.stop()

    def stage(self, name: str, pace: Pace) -> None:
        """Begin a stage."""
        self._name, self._pace = name, pace
        if len(self._stages) > 1 and name in self._stages:
            self._name = f"{name} ({self._stages.index(name) + 1} of {len(self._stages)})"
        self._bar.update(
            self._task, description=self._name, total=pace.steps, completed=pace.done, now="", visible=True
        )

    def step(self, record: Record, now: float) -> None:
        """Show a finished step, unless the last change was just now."""
        if now < self._due:
            return
        self._due = now + self._every
        status = _status(record, self._pace)
        if self._on_terminal:
            self._bar.update(self._task, completed=self._pace.taken, now=status, refresh=True)
        else:
            console.notice(f"{self._name}  step {self._pace.taken:,} of {self._pace.steps:,}  {status}")


def _status(record: Record, pace: Pace) -> str:
    """Loss, speed, wait for data and time left in a few words."""
    window = pace.window()
    return (
        f"epoch {record['epoch']}  loss {record['loss']:.3f}  {window.samples_per_second:,.0f} samples/s"
        f"  waiting for data {window.data_wait:.0%}  ETA {clock_time(pace.eta)}"
    )
