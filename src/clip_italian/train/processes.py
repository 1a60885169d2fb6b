"""The processes of a run: one by default, without any process group; several under `torchrun`.

Communication is torch.distributed's: NCCL between GPUs, gloo between CPUs.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from clip_italian.errors import UsageError


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count`; with a count of 1 nothing is communicated."""

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    @property
    def first_on_machine(self) -> bool:
        """Whether this process is the one of its machine that does what need be done there once."""
        return int(os.environ.get("LOCAL_RANK", self.rank)) == 0

    @property
    def machines(self) -> int:
        """How many machines there are, as torchrun says."""
        return self.count // int(os.environ.get("LOCAL_WORLD_SIZE", self.count))

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's part (n // count) of rows that all know; a remainder of less than `count` is left out."""
        size = len(rows) // self.count
        return rows[self.rank * size : (self.rank + 1) * size]

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        """(count * n, …): the tensors (n, …) of all processes, in order of rank; n is the same everywhere."""
        if self.count == 1:
            return own
        everyone = own.new_empty(self.count * len(own), *own.shape[1:])
        dist.all_gather_into_tensor(everyone, own.contiguous())
        return everyone

    def sum(self, own: torch.Tensor) -> torch.Tensor:
        """The sum over all processes; the input may be used for it."""
        if self.count > 1:
            dist.all_reduce(own)
        return own

    def any(self, own: bool) -> bool:
        """Whether it is so in any process."""
        return self.total([own])[0] > 0

    def total(self, own: Sequence[float]) -> list[float]:
        """The sums of numbers over all processes."""
        if self.count == 1:
            return list(own)
        found: list[float] = self.sum(torch.tensor(own, dtype=torch.float64, device=_device_of_group())).tolist()
        return found

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """A block that the main process goes through before the others: they find in the cache what it made."""
        if not self.is_main:
            self.wait()
        yield
        if self.is_main:
            self.wait()

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def join(device: torch.device) -> Iterator[Processes]:
    """The processes that `torchrun` started, for a block; this one alone where it did not.

    Raises UsageError where the environment names a world of several processes, but not how to meet.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UsageError(f"WORLD_SIZE is {count}, but {', '.join(missing)} is not set; start the run by torchrun")
    # Features of millions of pictures may be made by the main process while the others wait.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=2))
    try:
        processes = Processes(dist.get_rank(), count)
        yield processes
        processes.wait()  # a process that leaves while another still talks may be aborted
    finally:
        dist.destroy_process_group()


def end_process() -> None:
    """End this process with 0, if it is one of several, without the interpreter's own clean-up; else do nothing.

    Where tensors were sharded, torch 2.13 keeps the group's threads running beyond `destroy_process_group` (seen with
    gdb). One that lets go of a Python object while the interpreter ends aborts the process, though the run is whole.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _device_of_group() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
