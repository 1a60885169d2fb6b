"""The same parts on a Ray cluster (extra `cluster`), by Ray Data.

Input, output and the parts' folder must be on storage that all nodes see. A part whose node dies is
made again on another node.
"""

import logging
import socket
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from clip_italian import privacy
from clip_italian.errors import UserError


def on_cluster(
    make_part: Callable[[int], None], numbers: Sequence[int], address: str, advance: Callable[[int], None]
) -> None:
    """Call `make_part` with each of `numbers` on the cluster at `address` ("auto", "HOST:6379", "ray://HOST:10001").

    Raises UserError where Ray is not installed, the cluster cannot be reached, or a part cannot be made.
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

    def make(row: dict[str, Any]) -> dict[str, Any]:
        # Errors come as rows: Ray would wrap them into pages of traceback.
        try:
            make_part(int(row["item"]))
        except UserError as error:
            return {"error": str(error), "traceback": ""}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        return {"error": "", "traceback": ""}

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells its plans
    ray.data.DataContext.get_current().enable_progress_bars = False
    parts = ray.data.from_items(list(numbers), override_num_blocks=len(numbers)).map(make)
    try:
        for made in parts.iter_rows():
            if made["traceback"]:
                raise _failed(made["error"]) from RuntimeError(made["traceback"])
            if made["error"]:
                raise UserError(made["error"])
            advance(1)
    except ray.exceptions.RayError as error:
        raise _failed(str(error)) from error


def _failed(reason: str) -> UserError:
    line = " ".join(reason.split())[:300]
    return UserError(f"a worker of the Ray cluster failed ({line}); the same command goes on with what is missing")


def check_reachable(address: str) -> None:
    """Raise UserError where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:
            socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> UserError:
    return UserError(f"{address}: no Ray cluster there ({error}); start one with `ray start --head`")
