"""Run the parts of a job on a Ray cluster (extra `cluster`), with Ray Data.

Input, output and the parts' folder must be on storage that all nodes see. Ray makes a part again on another node
if its node dies.
"""

import logging
import socket
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from clip_italian import privacy
from clip_italian.errors import UserError


def run_on_cluster(
    work: Callable[[int], None], numbers: Sequence[int], address: str, advance: Callable[[int], None]
) -> None:
    """Call `work` with each of `numbers` on the cluster at `address` ("auto", "HOST:6379", "ray://HOST:10001").

    Raises UserError if Ray is not installed, the cluster cannot be reached, or a call fails.
    """
    try:
        import ray.data
    except ImportError as error:
        raise UserError('--ray needs Ray: pip install "clip-italian[cluster]"') from error
    if not numbers:
        return
    privacy.refuse_offline(f"--ray {address}", "use --workers", address)
    check_reachable(address)
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unreachable(address, error) from error

    def run(row: dict[str, Any]) -> dict[str, Any]:
        # Errors are returned as rows: Ray would wrap them into pages of traceback.
        try:
            work(int(row["item"]))
        except UserError as error:
            return {"error": str(error), "traceback": ""}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        return {"error": "", "traceback": ""}

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it logs execution plans
    ray.data.DataContext.get_current().enable_progress_bars = False
    results = ray.data.from_items(list(numbers), override_num_blocks=len(numbers)).map(run)
    try:
        for result in results.iter_rows():
            if result["traceback"]:
                raise _failed(result["error"]) from RuntimeError(result["traceback"])
            if result["error"]:
                raise UserError(result["error"])
            advance(1)
    except ray.exceptions.RayError as error:
        raise _failed(str(error)) from error


def _failed(reason: str) -> UserError:
    line = " ".join(reason.split())[:300]
    return UserError(f"a worker of the Ray cluster failed ({line}); run the same command again to resume")


def check_reachable(address: str) -> None:
    """Raise UserError if nothing listens at HOST:PORT; Ray itself would retry for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:
            socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> UserError:
    return UserError(f"{address}: no Ray cluster there ({error}); start one with `ray start --head`")
