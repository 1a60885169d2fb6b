"""Work in parts that a kill cannot undo: each part is written whole or not at all, and only missing ones are made.

While a job runs, `OUTPUT.parts/` holds `job.json` (what the job is), a lock and a folder for each
finished part. The same command goes on with what is missing; another job on the same output starts anew.
"""

import gc
import json
import multiprocessing
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from threadpoolctl import threadpool_limits

from clip_italian import __version__
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.pipeline.cluster import on_cluster

# Takes the number of a part and the folder to write it to, which does not exist yet. Runs in another
# process, perhaps on another machine: it must be picklable, and paths must be absolute.
Work = Callable[[int, Path], None]
Progress = Callable[[int], None]


def file_identity(path: Path) -> list[Any]:
    """What tells that an input is still the same: absolute path, size and time of change."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Let no other process write `output` while the block runs. Raises UserError where one does."""
    lock = FileLock(output.resolve().parent / f".{output.name}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{output}: another run is writing it; wait for it or choose another output") from None
    try:
        yield
    except OSError as error:
        error.add_note(str(output))  # a full disk is told of without a name
        raise
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def workspace(output: Path, job: dict[str, Any]) -> Iterator[Path]:
    """The folder for the parts of `output`, locked, holding what an earlier run of the same `job` finished.

    `job` is JSON data: everything that decides the result. The folder is removed when the block
    ends well, and where nothing was finished in it. Raises UserError where another process writes the same output.
    """
    folder = output.resolve().parent / f"{output.name}.parts"
    folder.mkdir(parents=True, exist_ok=True)
    with alone(output):
        described = json.dumps({"version": __version__} | job, sort_keys=True, default=str)
        note = folder / "job.json"
        if not note.is_file() or note.read_text(encoding="utf-8") != described:
            shutil.rmtree(folder)
            folder.mkdir()
            note.write_text(described, encoding="utf-8")
        try:
            yield folder
        except Exception:
            if [path.name for path in folder.iterdir()] == [note.name]:
                shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def part_folder(folder: Path, number: int) -> Path:
    """Where a part lies once it is finished."""
    return folder / f"{number:06d}"


def complete(work: Work, count: int, folder: Path, workers: int, ray: str | None, advance: Progress) -> None:
    """Make the parts 0 to count-1 that are missing, in `workers` processes or on the Ray cluster at `ray`.

    `advance` gets how many more are there. Raises UserError where a worker process is killed; an
    exception in `work` comes through. What is finished by then stays.
    """
    missing = [number for number in range(count) if not part_folder(folder, number).is_dir()]
    advance(count - len(missing))
    if ray is not None:
        on_cluster(partial(make_part, work, folder=folder), missing, ray, advance)
    elif workers == 1 or len(missing) < 2:
        for number in missing:
            make_part(work, number, folder)
            advance(1)
    else:
        _in_processes(work, missing, folder, workers, advance)


def make_part(work: Work, number: int, folder: Path) -> None:
    """Run `work` for one part; its folder appears when all of it is written."""
    with staged(part_folder(folder, number)) as temporary:
        work(number, temporary)


def _prepare_worker() -> None:
    """Make a worker process fit to run beside others."""
    # What was imported before the fork is never garbage: looking through it again and again takes a tenth of the time.
    gc.freeze()
    # Small matrix products by several threads in each of several processes only get in each other's way.
    threadpool_limits(1)


def _in_processes(work: Work, numbers: Sequence[int], folder: Path, workers: int, advance: Progress) -> None:
    # A forked worker starts at once, with the word lists and settings that this process has loaded; a spawned one takes
    # a second to load them again. Arrow, the only library here with threads of its own, makes new ones after a fork.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        futures = [pool.submit(make_part, work, number, folder) for number in numbers]
        try:
            for future in as_completed(futures):
                future.result()
                advance(1)
        except BrokenProcessPool as error:
            raise UserError("a worker process was killed; the same command goes on with what is missing") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
