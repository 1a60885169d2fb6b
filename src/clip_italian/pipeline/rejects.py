"""Rejects: what a stage leaves out and why, one JSON object per line, in a file beside the stage's output."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reject:
    """A pair, caption, picture or input line that was left out.

    `id` is the pair's, or "" if it has none yet. `reason` is a short stable name ("too-short", "not-italian") that
    counts group by, `text` the rejected text, if it is text, and `detail` an explanation for people ("line 7", "fr",
    "2 words").
    """

    id: str
    reason: str
    text: str = ""
    detail: str = ""


def rejects_path(output: Path) -> Path:
    """Path of an output's rejects file: `pairs.rejects.jsonl` for `pairs.parquet`."""
    return output.with_suffix(".rejects.jsonl")


def write_rejects(rejects: Iterable[Reject], path: Path) -> None:
    """Write one JSON object per line; not atomic, so give it a staged path."""
    with path.open("w", encoding="utf-8") as file:
        for reject in rejects:
            filled = {key: value for key, value in asdict(reject).items() if value}
            file.write(json.dumps(filled, ensure_ascii=False) + "\n")


def read_rejects(path: Path) -> Iterator[Reject]:
    """The rejects of a file that `write_rejects` wrote."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield Reject(**({"id": ""} | json.loads(line)))


def by_reason(path: Path) -> dict[str, int]:
    """Number of rejects by reason, the most frequent first."""
    return dict(Counter(reject.reason for reject in read_rejects(path)).most_common())
