"""What a stage leaves out, and why: one JSON line each, beside the stage's output."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reject:
    """A pair, caption, picture or input line that was left out.

    `reason` is a short stable name ("too-short", "not-italian") that counts are made by; `text` what was
    refused, where it is text; `detail` what a person wants to know more ("line 7", "fr", "2 words").
    `id` is the pair's, or "" where it had none yet.
    """

    id: str
    reason: str
    text: str = ""
    detail: str = ""


def rejects_path(output: Path) -> Path:
    """`pairs.rejects.jsonl` for an output `pairs.parquet`."""
    return output.with_suffix(".rejects.jsonl")


def write_rejects(rejects: Iterable[Reject], path: Path) -> None:
    """One JSON object a line; the caller stages the path."""
    with path.open("w", encoding="utf-8") as file:
        for reject in rejects:
            filled = {key: value for key, value in asdict(reject).items() if value}
            file.write(json.dumps(filled, ensure_ascii=False) + "\n")


def read_rejects(path: Path) -> Iterator[Reject]:
    """What `write_rejects` wrote."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield Reject(**({"id": ""} | json.loads(line)))


def by_reason(path: Path) -> dict[str, int]:
    """Counts of a rejects file, the most frequent reason first."""
    return dict(Counter(reject.reason for reject in read_rejects(path)).most_common())
