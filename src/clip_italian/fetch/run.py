"""From a pairs file with addresses to WebDataset shards of pictures, by img2dataset.

shards/00000.tar          pictures (JPEG) with captions (.txt) and the pair's columns (.json)
shards/00000.parquet      what became of each address
shards.rejects.jsonl      what did not come, with its reason

A killed run goes on with the shards that are not finished. The same command on a finished folder asks once
more for what failed for the moment (no connection, timeout, a busy host), in new shards.
"""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clip_italian import console, pairs, privacy
from clip_italian.errors import UserError
from clip_italian.fetch import outcomes
from clip_italian.fetch.settings import INPUT_FOLDER, Settings, write
from clip_italian.files.atomic import staged
from clip_italian.pairs import Pair
from clip_italian.pipeline.cluster import check_reachable
from clip_italian.pipeline.parts import exclusive_lock
from clip_italian.pipeline.rejects import Reject, rejects_path, write_rejects

LOG_FILE = "fetch.log"
_SCHEMA = pairs.SCHEMA.append(pa.field("caption", pa.string()))
# What img2dataset's distributors need beside it; without Ray it would do nothing and say so nowhere.
_NEEDS = {"ray": '"clip-italian[cluster]"', "pyspark": "pyspark (Java has to be there as well)"}
_SHARDS_A_FILE = 10  # img2dataset takes the list of addresses into memory file by file


@dataclass(frozen=True)
class Fetched:
    """Rows of the pairs file, pictures that came, and outcomes by source; rows without an address are in none."""

    pairs: int
    fetched: int
    by_source: dict[str, dict[str, int]]
    local: int


def fetch(source: Path, output: Path, settings: Settings, ray: str | None = None) -> Fetched:
    """Download the pictures of `source` into shards in the folder `output`.

    Raises UserError where img2dataset or its distributor is not installed, the Ray cluster cannot be reached,
    the folder belongs to another run or is in use, or nothing at all could be fetched.
    """
    privacy.refuse_offline(f"{source}: downloading its pictures", "index pictures that are on this machine")
    if find_spec("img2dataset") is None:
        raise UserError('img2dataset is not installed: pip install "clip-italian[collect]"')
    library = settings.distributor
    if library in _NEEDS and find_spec(library) is None:
        raise UserError(f"{library} is not installed: pip install {_NEEDS[library]}")
    pairs.require_file(source)
    if ray is not None:
        check_reachable(ray)
    if output.is_file():
        raise UserError(f"{output}: a file; give the name of a folder for the shards")
    output.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(output):
        write(settings, source, output)
        rows, local = _prepare(source, output, settings.shard)
        if _complete(output, settings.shard):
            _list_again(output, settings.shard)
        if not _complete(output, settings.shard):
            _run(output, settings.shard, ray)
        with outcomes.read(output) as found, staged(rejects_path(output)) as temporary:
            write_rejects(chain(_local(source), found.failed()), temporary)
            counts = found.by_source()
    fetched = sum(some.get(outcomes.FETCHED, 0) for some in counts.values())
    if rows and not fetched:
        total: Counter[str] = Counter()
        for some in counts.values():
            total.update(some)
        reasons = ", ".join(f"{outcome} {count:,}" for outcome, count in total.most_common())
        raise UserError(
            f"{source}: none of its {rows:,} pictures came ({reasons}); check the network, the same command tries again"
        )
    return Fetched(rows + local, fetched, counts, local)


def _prepare(source: Path, output: Path, shard: int) -> tuple[int, int]:
    """Write the lists of addresses, where they are not there; return how many rows have one, and how many not."""
    folder = output / INPUT_FOLDER
    if not folder.is_dir():
        with staged(folder) as temporary:
            temporary.mkdir()
            _write_lists((pair for pair in _pairs(source) if _is_address(pair)), temporary, 0, shard)
    total = sum(1 for pair in _pairs(source))
    local = sum(1 for pair in _pairs(source) if not _is_address(pair))
    return total - local, local


def _pairs(source: Path) -> Iterator[Pair]:
    return (pair for batch in pairs.batches(source) for pair in pairs.from_batch(batch))


def _is_address(pair: Pair) -> bool:
    return pair.image.lower().startswith(("http://", "https://"))


def _local(source: Path) -> Iterator[Reject]:
    return (Reject(pair.id, "no-address", pair.image) for pair in _pairs(source) if not _is_address(pair))


def _write_lists(rows: Iterator[Pair], folder: Path, first: int, shard: int) -> None:
    """Files of some shards each, numbered from `first`."""
    while some := list(islice(rows, shard * _SHARDS_A_FILE)):
        batch = pairs.to_batch(some)
        captions = pa.array([pair.captions[0] if pair.captions else "" for pair in some], pa.string())
        table = pa.Table.from_arrays([*batch.columns, captions], schema=_SCHEMA)
        with staged(folder / f"{first:06d}.parquet") as temporary:
            pq.write_table(table, temporary)
        first += 1


def _expected(output: Path, shard: int) -> int:
    """Shards that the lists make."""
    rows = (pq.read_metadata(path).num_rows for path in (output / INPUT_FOLDER).glob("*.parquet"))
    return sum(-(-count // shard) for count in rows)


def _complete(output: Path, shard: int) -> bool:
    return len(_finished(output)) == _expected(output, shard)


def _finished(output: Path) -> list[Path]:
    """Statistics of finished shards; one that a kill cut off is removed, so that its shard is made again."""
    whole = []
    for path in outcomes.shard_files(output):
        try:
            json.loads(path.read_text(encoding="utf-8"))
            whole.append(path)
        except json.JSONDecodeError:
            path.unlink()
    return whole


def _list_again(output: Path, shard: int) -> None:
    """Lists of what failed for the moment, for further shards."""
    lists = sorted((output / INPUT_FOLDER).glob("*.parquet"))
    with outcomes.read(output) as found:
        if failed := found.failed_for_the_moment():
            console.notice(f"{output}: asks again for {failed:,} pictures that failed for the moment")
            again = (pair for batch in found.to_ask_again(lists) for pair in pairs.from_batch(batch))
            _write_lists(again, output / INPUT_FOLDER, len(lists), shard)


def _run(output: Path, shard: int, ray: str | None) -> None:
    """img2dataset in its own process group, with a bar for the finished shards."""
    # Spark's workers would be the python3 of the path, which need not have this package.
    defaults = {"PYSPARK_PYTHON": sys.executable}
    environment = defaults | os.environ | ({"RAY_ADDRESS": ray} if ray else {})
    command = [sys.executable, "-m", "clip_italian.fetch.job", str(output.resolve())]
    with (
        (output / LOG_FILE).open("ab") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, start_new_session=True
        ) as job,
        console.progress("shards", _expected(output, shard)) as advance,
    ):
        _watch(job.poll, output, advance)
    if job.returncode or not _complete(output, shard):
        lines = (output / LOG_FILE).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = f" ({lines[-1][:200]})" if job.returncode and lines else ""
        raise UserError(
            f"{output}: img2dataset stopped before all shards were done{last}; see {output / LOG_FILE}, "
            "the same command goes on"
        )


def _watch(poll: Callable[[], int | None], output: Path, advance: Callable[[int], None]) -> None:
    shown = 0
    while poll() is None:
        done = len(outcomes.shard_files(output))
        advance(done - shown)
        shown = done
        time.sleep(0.2)
