"""How fast a run goes, from the times of its steps: samples/s, waiting for data, time left, thinned curves."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from clip_italian.train.journal import Record

_WINDOW = 50  # steps that the shown speed is averaged over


@dataclass
class Part:
    """Sums over the steps of one stage: how many, their samples, seconds, and seconds waiting for data."""

    steps: int = 0
    samples: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0

    def add(self, record: Record) -> None:
        """Count one step in."""
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
        """Share of the steps' time that went by waiting for data, 0 to 1."""
        return self.data_seconds / self.seconds if self.seconds else 0.0


@dataclass
class Pace:
    """Speed and time left of the stage that is running.

    `steps` is how many it takes at most, `done` how many of them were done before (a resumed run).
    """

    steps: int
    done: int
    clock: Callable[[], float]
    recent: deque[Record] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    _first: float | None = None
    _here: int = 0

    def add(self, record: Record) -> None:
        """Count one step in, when it has just ended."""
        if self._first is None:
            self._first = self.clock() - record["seconds"]
        self._here += 1
        self.recent.append(record)

    @property
    def taken(self) -> int:
        """Steps of the stage that are done."""
        return self.done + self._here

    @property
    def eta(self) -> float | None:
        """Seconds until the stage's last step at the speed so far, evaluations included; None before the first."""
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
    """Some consecutive steps in one: the last one's number and rate, the mean loss, and sums."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    samples: int
    seconds: float
    data_seconds: float


class Curve:
    """The course of a run in at most `limit` points: where there are more, neighbours are joined."""

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
    """“1:02:03”, “2:03”, or “–” where it is not known."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
