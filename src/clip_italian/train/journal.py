"""What a run writes down as it goes: JSON lines, one a step and one an evaluation.

runs/demo/steps.jsonl    one line a step, appended
runs/demo/history.jsonl  one line an evaluation, written anew each time (it is small)
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from clip_italian.errors import UserError
from clip_italian.files.atomic import staged

Record = dict[str, Any]


def read(path: Path) -> list[Record]:
    """All records of a file; none where it is missing. A last line that a crash tore is left out."""
    return list(_records(path)) if path.is_file() else []


def write(path: Path, records: Iterable[Record]) -> None:
    """Put exactly these records into the file; where that fails, the old file stays as it was."""
    try:
        with staged(path) as temporary:
            temporary.write_text("".join(map(_line, records)), encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error


class Journal:
    """A file of records that is appended to, each line handed to the system at once.

    `open_new` replaces an old file with the first record, not before; `reopen` cuts one back.
    """

    def __init__(self, path: Path, file: TextIO | None) -> None:
        self._path = path
        self._file = file

    @classmethod
    def open_new(cls, path: Path) -> "Journal":
        """A new journal; a file that is already there stays until there is something to put into its place."""
        return cls(path, None)

    @classmethod
    def reopen(cls, path: Path, wanted: Callable[[Record], bool], each: Callable[[Record], None]) -> "Journal":
        """Go on after the last record that is `wanted`; what follows it is dropped. `each` gets those that stay.

        Records are in order: the first one that is not wanted ends the reading.
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
            # Shortening in place needs no room, so it works on a full disk.
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
        """Close the file; nothing is left to write, every line is already out."""
        if self._file is not None:
            # A full disk may refuse the rest of a line once more; that was reported when it was written.
            with suppress(OSError):
                self._file.close()


def running_steps(history: Sequence[Record]) -> list[int]:
    """Steps counted through all stages: each evaluation carries the step within its stage."""
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
