"""Download the pictures of a pairs file into WebDataset shards.

    shards/00000.tar          pictures (JPEG) with captions (.txt) and the pair's columns (.json)
    shards/00000.parquet      the outcome of each picture
    shards.rejects.jsonl      pictures that failed, with the reason

A killed run resumes with the shards that are not complete. The same command on a finished folder retries pictures
that failed for a passing reason (no connection, timeout, a busy host), in new shards.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from clip_italian import console, pairs, privacy
from clip_italian.clean.pictures import PictureLimits
from clip_italian.errors import UserError
from clip_italian.fetch import outcomes
from clip_italian.fetch.download import Policy
from clip_italian.fetch.shards import INPUT_FOLDER, download_shard, finished, remove_unfinished
from clip_italian.files.atomic import staged
from clip_italian.pairs import Pair
from clip_italian.pipeline import parts
from clip_italian.pipeline.cluster import check_reachable
from clip_italian.pipeline.rejects import Reject, rejects_path, write_rejects

JOB_FILE = "fetch.job"  # JSON, but not named so: programs take the .json files of a folder of shards for data


@dataclass(frozen=True)
class Settings:
    """Options of `fetch`.

    `size` is the pixels of the shorter side above which pictures are reduced, `quality` that of the JPEGs, `shard` the
    number of pictures in a shard, `workers` the number of processes and `threads` of requests at once in each. For
    `per_host` (divided among the processes), `timeout` and `retries` see `download.Policy`.
    """

    size: int = 256
    quality: int = 95
    shard: int = 1_000
    workers: int = 1
    threads: int = 32
    distributor: str = "multiprocessing"
    per_host: int = 4
    timeout: float = 30.0
    retries: int = 3
    min_side: int = 64

    def policy(self) -> Policy:
        """The policy of one process."""
        limits = PictureLimits(min_side=self.min_side, max_aspect=1_000)  # `clean` decides about narrow pictures
        return Policy(
            limits, per_host=max(1, self.per_host // self.workers), timeout=self.timeout, retries=self.retries,
            size=self.size, quality=self.quality,
        )  # fmt: skip


@dataclass(frozen=True)
class FetchSummary:
    """Number of rows of the pairs file, of pictures fetched, of pictures by source and outcome, and of local rows.

    Rows whose picture is a file have no outcome.
    """

    pairs: int
    fetched: int
    by_source: dict[str, dict[str, int]]
    local: int


def fetch(source: Path, output: Path, settings: Settings, ray: str | None = None) -> FetchSummary:
    """Download the pictures of `source` into shards in the folder `output`, also on the Ray cluster at `ray`.

    Raises UserError if Ray is not installed or cannot be reached, if the folder belongs to another job or is in use,
    or if no picture at all could be fetched.
    """
    privacy.refuse_offline(f"{source}: downloading its pictures", "index pictures that are on this machine")
    pairs.require_file(source)
    if settings.distributor == "pyspark":
        console.notice("--distributor pyspark is deprecated and uses processes; for several machines use --ray ADDRESS")
    if ray is not None:
        check_reachable(ray)
    elif settings.distributor == "ray":
        ray = "local"  # a cluster of this machine, for this command
    if output.is_file():
        raise UserError(f"{output}: a file; give the name of a folder for the shards")
    output.mkdir(parents=True, exist_ok=True)
    with parts.exclusive_lock(output):
        _check_job(settings, source, output)
        remove_unfinished(output)
        remote, local = _write_lists(source, output, settings.shard)
        if not _missing(output):
            _list_retryable(output, settings.shard)
        _download(output.resolve(), settings, ray)
        with outcomes.read(output) as found, staged(rejects_path(output)) as temporary:
            write_rejects(chain(_local_rejects(source), found.failed()), temporary)
            by_source = found.by_source()
    total = sum(map(Counter, by_source.values()), Counter[str]())
    if remote and not total[outcomes.FETCHED]:
        reasons = ", ".join(f"{outcome} {count:,}" for outcome, count in total.most_common())
        raise UserError(
            f"{source}: none of its {remote:,} pictures came ({reasons}); "
            "check the network, then run the same command again"
        )
    return FetchSummary(remote + local, total[outcomes.FETCHED], by_source, local)


def _check_job(settings: Settings, source: Path, output: Path) -> None:
    """Describe the job in `output`; raise UserError if the folder holds shards of another job.

    Options that only change how fast pictures are fetched may differ between runs.
    """
    job = {
        "input": parts.file_identity(source),
        "size": settings.size,
        "quality": settings.quality,
        "shard": settings.shard,
        "min_side": settings.min_side,
    }
    note = output / JOB_FILE
    if note.is_file() and json.loads(note.read_text(encoding="utf-8"))["job"] != job:
        raise UserError(f"{output}: holds shards of another pairs file or other settings; choose another output")
    with staged(note) as temporary:
        temporary.write_text(json.dumps({"job": job, "settings": asdict(settings)}, indent=2), encoding="utf-8")


def _write_lists(source: Path, output: Path, shard: int) -> tuple[int, int]:
    """Write a list of URLs for each shard, unless they exist; return the number of rows with a URL and without."""
    folder = output / INPUT_FOLDER
    if not folder.is_dir():
        with staged(folder) as temporary:
            temporary.mkdir()
            _write_numbered((pair for pair in _pairs(source) if _is_url(pair)), temporary, 0, shard)
    elif any(pairs.count(path) > shard for path in folder.glob("*.parquet")):
        # Version 0.3 wrote lists of ten shards each.
        with staged(folder) as temporary:
            temporary.mkdir()
            number = 0
            for path in sorted(folder.glob("*.parquet")):
                number = _write_numbered(_pairs(path), temporary, number, shard)
    counts = Counter(map(_is_url, _pairs(source)))
    return counts[True], counts[False]


def _write_numbered(rows: Iterator[Pair], folder: Path, number: int, shard: int) -> int:
    """Write pairs files of at most `shard` rows, numbered from `number`; return the next number."""
    while some := list(islice(rows, shard)):
        pairs.write(some, folder / f"{number:06d}.parquet")
        number += 1
    return number


def _list_retryable(output: Path, shard: int) -> None:
    """Write lists of the pictures that failed for a passing reason, for further shards."""
    lists = sorted((output / INPUT_FOLDER).glob("*.parquet"))
    with outcomes.read(output) as found:
        if count := found.count_retryable():
            console.notice(f"{output}: retries {count:,} pictures that failed for a passing reason")
            again = (pair for batch in found.retryable(lists) for pair in pairs.from_batch(batch))
            _write_numbered(again, output / INPUT_FOLDER, len(lists), shard)


def _missing(output: Path) -> list[int]:
    """Numbers of the lists whose shard is not complete."""
    complete = set(map(int, finished(output)))
    return [number for path in sorted((output / INPUT_FOLDER).glob("*.parquet"))
            if (number := int(path.stem)) not in complete]  # fmt: skip


def _download(output: Path, settings: Settings, ray: str | None) -> None:
    missing, complete = _missing(output), finished(output)
    work = partial(
        download_shard, folder=output, policy=settings.policy(), threads=settings.threads, shard_size=settings.shard
    )
    with console.progress("shards", len(missing) + len(complete)) as advance:
        advance(len(complete))
        parts.run(work, missing, settings.workers, ray, advance)


def _pairs(source: Path) -> Iterator[Pair]:
    return (pair for batch in pairs.batches(source) for pair in pairs.from_batch(batch))


def _is_url(pair: Pair) -> bool:
    return pair.image.lower().startswith(("http://", "https://"))


def _local_rejects(source: Path) -> Iterator[Reject]:
    return (Reject(pair.id, "no-address", pair.image) for pair in _pairs(source) if not _is_url(pair))
