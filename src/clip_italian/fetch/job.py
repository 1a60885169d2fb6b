"""img2dataset in a process of its own: it prints to stdout, takes signals, and starts processes.

    python -m clip_italian.fetch.job FOLDER < lifeline

When the lifeline (standard input) ends because the parent was killed, all processes of the job end too,
so that none of them writes shards while the next run does.
"""

import glob
import io
import multiprocessing
import os
import signal
import sys
import threading
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import img2dataset.downloader

from clip_italian.fetch.polite import Fetcher, Manners
from clip_italian.fetch.settings import INPUT_FOLDER, Settings, read
from clip_italian.http import FetchError

COLUMNS = ("id", "captions", "source", "split", "captions_original", "license", "page")  # kept in each picture's JSON


class PoliteDownloader(img2dataset.downloader.Downloader):  # type: ignore[misc]
    """img2dataset's downloader of a shard, with `Fetcher` for each picture."""

    def __init__(self, *arguments: Any, manners: Manners, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.manners = manners

    def download_shard(self, row: Any) -> None:
        """Download one shard; runs in a process of the distributor."""
        # img2dataset offers no way to say how to download; this is the function that its loop calls.
        img2dataset.downloader.download_image_with_retry = partial(_download, fetcher=_fetcher(self.manners))
        super().download_shard(row)


class _NoLogger:
    """In place of img2dataset's process that prints figures: `outcomes` reads what it would."""

    def __init__(self, *_: Any) -> None:
        self.done_shards: set[int] = set()

    def start(self) -> None: ...

    def join(self) -> None: ...

    def terminate(self) -> None: ...


_fetchers: dict[Manners, Fetcher] = {}  # one a process, so that what is known of hosts outlives a shard


def _fetcher(manners: Manners) -> Fetcher:
    return _fetchers.setdefault(manners, Fetcher(manners))


def _download(row: tuple[Any, str], fetcher: Fetcher, **_: Any) -> tuple[Any, io.BytesIO | None, str | None]:
    key, url = row
    try:
        return key, io.BytesIO(fetcher.fetch(url)), None
    except FetchError as error:
        return key, None, error.reason


def run(folder: Path, settings: Settings) -> None:
    """Download what `folder`/input lists into shards in `folder`; finished shards are left as they are."""
    main: Any = import_module("img2dataset.main")  # the package has a function of this name, too
    main.Downloader = partial(PoliteDownloader, manners=settings.manners())
    main.LoggerProcess = _NoLogger
    _take_folders_literally()
    if sys.platform == "linux":
        # It spawns its processes anew for every few shards; a forked one need not import everything again.
        import_module("img2dataset.distributor").get_context = lambda _: multiprocessing.get_context("fork")  # type: ignore[attr-defined]
    main.download(
        url_list=str(folder / INPUT_FOLDER),
        input_format="parquet",
        url_col="image",
        caption_col="caption",
        save_additional_columns=list(COLUMNS),
        output_folder=str(folder),
        output_format="webdataset",
        image_size=settings.size,
        resize_mode="keep_ratio",
        resize_only_if_bigger=True,
        encode_quality=settings.quality,
        number_sample_per_shard=settings.shard,
        processes_count=settings.workers,
        thread_count=settings.threads,
        distributor=settings.distributor,
        incremental_mode="incremental",
        extract_exif=False,
        compute_hash=None,
    )


def _take_folders_literally() -> None:
    """Let img2dataset, which lists FOLDER/*.parquet and FOLDER/*.json, read brackets in FOLDER as they are."""
    local: Any = import_module("fsspec.implementations.local").LocalFileSystem
    listed = local.glob

    def literal(system: Any, path: str, **named: Any) -> Any:
        folder, _, pattern = path.rpartition("/")
        return listed(system, f"{glob.escape(folder)}/{pattern}", **named)

    local.glob = literal


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    place = Path(sys.argv[1])
    run(place, read(place))
