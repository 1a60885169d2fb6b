"""Download a list of pictures into one WebDataset shard.

input/000007.parquet   the list: a pairs file
00007.tar              KEY.jpg, KEY.json (the pair and the picture's size) and KEY.txt (the first caption)
00007.parquet          the outcome of each picture of the list
00007_stats.json       counts; written last, so that a shard with this file is complete
"""

import io
import json
import math
import shutil
import tarfile
import tempfile
import time
from collections import Counter
from functools import cache
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import pairs
from clip_italian.fetch.download import Fetcher, Policy, StoredPicture
from clip_italian.http import FetchError

INPUT_FOLDER = "input"
_UNFINISHED = ".unfinished-"
_COLUMNS = ("id", "captions", "source", "split", "captions_original", "license", "page")  # copied from the pair
_OUTCOMES = pa.schema(
    [
        *(pairs.SCHEMA.field(name) for name in _COLUMNS),
        *(pa.field(name, pa.string()) for name in ("caption", "url", "key", "status", "error_message")),
        *(pa.field(name, pa.int32()) for name in ("width", "height", "original_width", "original_height")),
    ]
)


def list_path(folder: Path, number: int) -> Path:
    """The list of a shard."""
    return folder / INPUT_FOLDER / f"{number:06d}.parquet"


def finished(folder: Path) -> list[str]:
    """Names of the complete shards, in order."""
    return sorted(path.name.removesuffix("_stats.json") for path in folder.glob("[0-9]*_stats.json"))


def remove_unfinished(folder: Path) -> None:
    """Delete what killed runs left of shards."""
    for left in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left)


def download_shard(number: int, folder: Path, policy: Policy, threads: int, shard_size: int) -> None:
    """Download the pictures of list `number` with `threads` requests at once; the shard appears when complete.

    `shard_size` is the number of pictures in a full shard: keys have room for it.
    """
    start = time.time()
    fetcher = _fetcher(policy)
    rows = pq.read_table(list_path(folder, number)).to_pylist()
    digits = math.ceil(math.log10(shard_size))
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=folder) as temporary:
        tar, table, stats = (Path(temporary, f"{number:05d}{suffix}") for suffix in (".tar", ".parquet", "_stats.json"))
        outcomes: list[dict[str, Any]] = []
        # Threads of this pool are daemons: an interrupted command does not wait for slow hosts.
        with tarfile.open(tar, "w") as archive, ThreadPool(threads) as pool:
            for place, result in enumerate(pool.imap(lambda row: _attempt(fetcher, row["image"]), rows)):
                key = f"{number * 10**digits + place:0{digits + 5}d}"
                outcomes.append(_outcome(rows[place], key, result))
                if isinstance(result, StoredPicture):
                    _add_sample(archive, key, result.jpeg, outcomes[-1])
        pq.write_table(pa.Table.from_pylist(outcomes, schema=_OUTCOMES), table)
        stats.write_text(json.dumps(_stats(outcomes, start), indent=4), encoding="utf-8")
        for file in (tar, table, stats):
            file.replace(folder / file.name)


@cache
def _fetcher(policy: Policy) -> Fetcher:
    """One fetcher per process, so that what is known of hosts outlives a shard."""
    return Fetcher(policy)


def _attempt(fetcher: Fetcher, url: str) -> StoredPicture | FetchError:
    try:
        return fetcher.fetch(url)
    except FetchError as error:
        return error


def _outcome(row: dict[str, Any], key: str, result: StoredPicture | FetchError) -> dict[str, Any]:
    """A row of `_OUTCOMES`."""
    outcome = {name: row[name] for name in _COLUMNS}
    outcome |= {"caption": row["captions"][0] if row["captions"] else "", "url": row["image"], "key": key}
    if isinstance(result, FetchError):
        failed = dict.fromkeys(("width", "height", "original_width", "original_height"))
        return outcome | {"status": "failed_to_download", "error_message": result.reason} | failed
    sizes = {name: value for name, value in vars(result).items() if name != "jpeg"}
    return outcome | {"status": "success", "error_message": None} | sizes


def _add_sample(archive: tarfile.TarFile, key: str, jpeg: bytes, outcome: dict[str, Any]) -> None:
    members = {"jpg": jpeg, "json": json.dumps(outcome, indent=4).encode(), "txt": outcome["caption"].encode()}
    for suffix, content in members.items():
        member = tarfile.TarInfo(f"{key}.{suffix}")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def _stats(outcomes: list[dict[str, Any]], start: float) -> dict[str, Any]:
    end = time.time()
    counts = Counter(outcome["error_message"] or "success" for outcome in outcomes)
    return {
        "count": len(outcomes), "successes": counts["success"],
        "failed_to_download": len(outcomes) - counts["success"], "failed_to_resize": 0, "duration": end - start,
        "start_time": start, "end_time": end, "status_dict": dict(counts),
    }  # fmt: skip
