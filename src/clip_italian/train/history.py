"""The records of a run, as JSON lines, and the alarm when a figure of an evaluation becomes worse.

runs/demo/steps.jsonl    one line a step, appended
runs/demo/history.jsonl  one line an evaluation, rewritten each time (it is small)
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from clip_italian.errors import UserError
from clip_italian.files.atomic import staged

Record = dict[str, Any]  # of a step, or of an evaluation: stage, epoch, step, losses, metrics

HISTORY_FILE = "history.jsonl"
STEPS_FILE = "steps.jsonl"
_HIGHER_IS_BETTER = ("MRR@", "R@", "accuracy@")
_LOWER_IS_BETTER = ("validation_loss", "median_rank")
# A stage that starts where the last one ended may vary by this share of a figure without harm; below the start of the
# run nothing is harmless.
_TOLERANCE = 0.02


def read(path: Path) -> list[Record]:
    """All records of a file; none where it is missing. An incomplete last line, as a crash leaves it, is left out."""
    return list(_records(path)) if path.is_file() else []


def write(path: Path, records: Iterable[Record]) -> None:
    """Write exactly these records into the file; where that fails, the old file stays unchanged."""
    try:
        with staged(path) as temporary:
            temporary.write_text("".join(map(_line, records)), encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error


class Journal:
    """A file of records to append to, each line flushed at once.

    `open_new` replaces an old file with the first record, not before; `reopen` truncates one.
    """

    def __init__(self, path: Path, file: TextIO | None) -> None:
        self._path = path
        self._file = file

    @classmethod
    def open_new(cls, path: Path) -> "Journal":
        """A new journal; an old file stays until there is a first record to replace it."""
        return cls(path, None)

    @classmethod
    def reopen(cls, path: Path, wanted: Callable[[Record], bool], each: Callable[[Record], None]) -> "Journal":
        """Continue after the last record that is `wanted`; later ones are dropped. `each` gets those that stay.

        Records are in order: reading ends at the first one that is not wanted.
        """
        if not path.is_file():
            return cls(path, None)
        kept = 0
        for record, end in _records_with_ends(path):
            if not wanted(record):
                break
            each(record)
            kept = end
        try:
            file = path.open("r+", encoding="utf-8", newline="\n", buffering=1)
            # Truncating needs no space, so it works on a full disk.
            file.truncate(kept)
            file.seek(kept)
        except OSError as error:
            raise _unwritable(path, error) from error
        return cls(path, file)

    def append(self, record: Record) -> None:
        """Add one record. Raises UserError where it cannot be written."""
        if self._file is None:
            write(self._path, [record])
            self._file = self._path.open("a", encoding="utf-8", newline="\n", buffering=1)
            return
        try:
            self._file.write(_line(record))
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def close(self) -> None:
        """Close the file; every line is flushed already."""
        if self._file is not None:
            # A full disk may refuse the rest of a line again; that was reported when it was written.
            with suppress(OSError):
                self._file.close()


def running_steps(history: Sequence[Record]) -> list[int]:
    """The step of each evaluation counted through all stages; records have the step within their stage."""
    steps, before, last_stage, last = [], 0, None, 0
    for record in history:
        if record["stage"] != last_stage:
            before, last_stage = before + last, record["stage"]
        last = record["step"]
        steps.append(before + last)
    return steps


def _line(record: Record) -> str:
    try:
        return json.dumps(record, allow_nan=False) + "\n"
    except ValueError:  # JSON has no NaN and no infinity
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        return json.dumps(plain) + "\n"


def _records(path: Path) -> Iterable[Record]:
    return (record for record, _ in _records_with_ends(path))


def _records_with_ends(path: Path) -> Iterable[tuple[Record, int]]:
    """Each record with the byte at which its line ends."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            end += len(line)
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line), end
            except ValueError as error:
                raise UserError(f"{path}: line {number} is no JSON ({error}); delete the line or the file") from error


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"{path}: cannot be written ({error.strerror}); make room or choose another output, then --resume")


@dataclass(frozen=True)
class Regression:
    """A figure of an evaluation that is worse than `start`, its value at the start of `since`."""

    figure: str
    value: float
    start: float
    since: str


def alarm(history: Sequence[Record]) -> list[Regression]:
    """Figures of the last evaluation that are worse than at the start of the run, or by 2 % than at that of its stage.

    For losses and median rank, an increase is a regression. A figure that is worse than both starts is listed once,
    with the stage's.
    """
    if not history:
        return []
    now = history[-1]
    first_of_stage = next(record for record in history if record["stage"] == now["stage"])
    regressions: dict[str, Regression] = {}
    starts = ((first_of_stage, f"stage {now['stage']!r}", _TOLERANCE), (history[0], "the run", 0.0))
    for start, since, tolerance in starts:
        for figure in _worse(now, start, tolerance):
            regressions.setdefault(figure, Regression(figure, now[figure], start[figure], since))
    return list(regressions.values())


def _worse(now: Record, start: Record, tolerance: float) -> Iterator[str]:
    for figure, value in now.items():
        before = start.get(figure)
        if before is None or value is None:
            continue
        lower = figure.startswith(_HIGHER_IS_BETTER) and value < before * (1 - tolerance)
        if lower or (figure in _LOWER_IS_BETTER and value > before * (1 + tolerance)):
            yield figure


def describe(regressions: Sequence[Regression]) -> str:
    """Regressions in a few words: “than at the start of stage 'unfrozen': MRR@10 0.31 (was 0.35)”."""
    parts = []
    for since in dict.fromkeys(one.since for one in regressions):
        figures = ", ".join(
            f"{one.figure.replace('_', ' ')} {one.value:.4g} (was {one.start:.4g})"
            for one in regressions
            if one.since == since
        )
        parts.append(f"than at the start of {since}: {figures}")
    return "; ".join(parts)
