"""What became of each address: read from the tables that img2dataset writes beside its shards."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from clip_italian.ask import FOR_THE_MOMENT
from clip_italian.pipeline.rejects import Reject

FETCHED = "fetched"
# img2dataset's own words for what its resizer refuses.
_NAMES = {"image too small": "too-small", "image area too large": "too-many-pixels"}


@dataclass
class Outcomes:
    """Pictures by source and outcome, and those that did not come, by id. Memory grows with the latter only."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: dict[str, Reject] = field(default_factory=dict)

    def by_source(self) -> dict[str, dict[str, int]]:
        """Counts by outcome for each source, the most frequent outcome first."""
        found: dict[str, dict[str, int]] = {}
        for (source, outcome), count in self.counts.most_common():
            found.setdefault(source, {})[outcome] = count
        return found


def shard_files(folder: Path) -> list[Path]:
    """The statistics of finished shards, in order."""
    return sorted(folder.glob("[0-9]*_stats.json"))


def read(folder: Path) -> Outcomes:
    """The last outcome of every address: later shards hold what was tried again."""
    outcomes = Outcomes()
    sources: dict[str, str] = {}
    for id_, source, url, outcome in _rows(folder):
        if (earlier := outcomes.failed.pop(id_, None)) is not None:
            outcomes.counts[sources.pop(id_), earlier.reason] -= 1
        outcomes.counts[source, outcome] += 1
        if outcome != FETCHED:
            outcomes.failed[id_] = Reject(id_, outcome, url)
            sources[id_] = source
    outcomes.counts = +outcomes.counts
    return outcomes


def is_for_the_moment(outcome: str) -> bool:
    """Whether the picture may come another time."""
    return outcome.startswith(FOR_THE_MOMENT)


def _rows(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    columns = ["id", "source", "url", "status", "error_message"]
    for stats in shard_files(folder):
        table = pq.read_table(folder / f"{stats.name.removesuffix('_stats.json')}.parquet", columns=columns)
        for row in table.to_pylist():
            reason = row["error_message"] or "unreadable"
            outcome = FETCHED if row["status"] == "success" else _NAMES.get(reason, reason)
            # What else the resizer says is OpenCV's message about a file that it cannot read.
            yield row["id"], row["source"], row["url"], outcome if " " not in outcome else "unreadable"
