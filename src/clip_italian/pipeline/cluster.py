"""The same parts on a Ray cluster (extra `cluster`), by Ray Data.

Input, output and the parts' folder must be on storage that all nodes see. A part whose node dies is
made again on another node.
"""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clip_italian.errors import UserError
from clip_italian.pipeline.parts import Progress, Work, make_part


def on_cluster(work: Work, numbers: Sequence[int], folder: Path, address: str, advance: Progress) -> None:
    """Make the parts `numbers` on the cluster at `address` ("auto", "HOST:6379", "ray://HOST:10001").

    Raises UserError where Ray is not installed or the cluster cannot be reached.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError('--ray needs Ray: pip install "clip-italian[cluster]"') from error
    if not numbers:
        return
    try:
        _check_reachable(address)
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{address}: no Ray cluster there ({error}); start one with `ray start --head`") from error

    def make(row: dict[str, Any]) -> dict[str, Any]:
        make_part(work, int(row["item"]), folder)
        return row

    ray.data.DataContext.get_current().enable_progress_bars = False
    parts = ray.data.from_items(list(numbers), override_num_blocks=len(numbers)).map(make)
    for _ in parts.iter_rows():
        advance(1)


def _check_reachable(address: str) -> None:
    """Raise OSError where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=5).close()
