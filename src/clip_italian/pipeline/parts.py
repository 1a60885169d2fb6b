"""Work in parts that survives kills: each part is written atomically, and a second run makes only missing ones.

While a job runs, `OUTPUT.parts/` holds `job.json` (the description of the job) and a folder for each finished part.
The same command resumes with the missing parts; another job on the same output starts over.
"""

import gc
import json
import multiprocessing
import os
import shutil
import sys
import threading
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
from clip_italian.pipeline.cluster import run_on_cluster

# Gets the number of a part and the folder to write it to, which does not exist yet. Runs in another
# process, perhaps on another machine: it must be picklable, and paths must be absolute.
Work = Callable[[int, Path], None]
Progress = Callable[[int], None]


def file_identity(path: Path) -> list[Any]:
    """Absolute path, size and modification time of an input: they change when it does."""
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


class BusyError(UserError):
    """Another process writes the output."""


@contextmanager
def exclusive_lock(output: Path) -> Iterator[None]:
    """Context that keeps other processes from writing `output`. Raises BusyError if one already does."""
    lock = FileLock(output.resolve().parent / f".{output.name}.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"{output}: another run is writing it; wait for it or choose another output") from None
    try:
        yield
    except OSError as error:
        error.add_note(str(output))  # ENOSPC carries no file name
        raise
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextmanager
def workspace(output: Path, job: dict[str, Any]) -> Iterator[Path]:
    """The locked folder for the parts of `output`, with the parts that an earlier run of the same `job` finished.

    `job` is JSON data: everything that decides the result. The folder is removed when the block ends without an
    error, and after an error if no part was finished. Raises BusyError if another process writes the same output.
    """
    folder = output.resolve().parent / f"{output.name}.parts"
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive_lock(output):
        folder.mkdir(exist_ok=True)  # another run, which has just ended, may have removed it
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
    """Folder of a finished part."""
    return folder / f"{number:06d}"


def make_parts(work: Work, count: int, folder: Path, workers: int, ray: str | None, advance: Progress) -> None:
    """Make the missing ones of parts 0 to count-1, in `workers` processes or on the Ray cluster at `ray`.

    `advance` gets the number of parts added. Finished parts stay when it raises: UserError if a worker process is
    killed, and any exception of `work`.
    """
    missing = [number for number in range(count) if not part_folder(folder, number).is_dir()]
    advance(count - len(missing))
    run(partial(_make_part, work, folder=folder), missing, workers, ray, advance)


def run(work: Callable[[int], None], numbers: Sequence[int], workers: int, ray: str | None, advance: Progress) -> None:
    """Call `work` with each number, in `workers` processes or on the Ray cluster at `ray`.

    `advance` is called with 1 after each. Raises UserError if a worker process is killed, and any exception of `work`.
    """
    if ray is not None:
        run_on_cluster(work, numbers, ray, advance)
    elif workers == 1 or len(numbers) < 2:
        for number in numbers:
            work(number)
            advance(1)
    else:
        _run_in_processes(work, numbers, workers, advance)


def _make_part(work: Work, number: int, folder: Path) -> None:
    """Run `work` for one part; its folder appears when it is complete."""
    with staged(part_folder(folder, number)) as temporary:
        work(number, temporary)


def _prepare_worker() -> None:
    end_with_parent()
    # Imported modules are never garbage; scanning them again and again takes a tenth of the time.
    gc.freeze()
    # With several processes, threads for small matrix products only compete for the cores.
    threadpool_limits(1)


def end_with_parent() -> None:
    """Make this process, a child of `multiprocessing`, end at once when its parent has ended."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    # Child processes do not notice that their parent was killed: they would write beside the next run's.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_in_processes(work: Callable[[int], None], numbers: Sequence[int], workers: int, advance: Progress) -> None:
    # A forked worker starts at once, with the word lists and settings that this process has loaded; a spawned one takes
    # a second to load them again. Arrow, the only library here with threads of its own, makes new ones after a fork.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare_worker) as pool:
        futures = [pool.submit(work, number) for number in numbers]
        try:
            for future in as_completed(futures):
                future.result()
                advance(1)
        except BrokenProcessPool as error:
            raise UserError("a worker process was killed; run the same command again to resume") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
