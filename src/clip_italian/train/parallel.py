"""The processes of a run: one by default, without a process group; several under `torchrun`.

Towers are copied to each process with averaged gradients (DDP), or divided among the processes (FSDP2). Communication
is torch.distributed's: NCCL between GPUs, gloo between CPUs.
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
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from clip_italian.errors import UsageError
from clip_italian.models_torch.towers import Parts

# Groups whose context has ended. The last to drop a group would else be DDP's reducer, with the model: it holds the
# interpreter's lock and waits for the group's threads, of which one may wait for that lock, to free a tensor of the
# last communication. Both then wait for ever (seen with gdb, torch 2.13).
_ended: list[dist.ProcessGroup | None] = []


@dataclass(frozen=True)
class Processes:
    """This process is number `rank` of `count`; with a count of 1 nothing is communicated."""

    rank: int = 0
    count: int = 1

    @property
    def is_main(self) -> bool:
        """True for the process that writes files and messages."""
        return self.rank == 0

    @property
    def first_on_machine(self) -> bool:
        """True for the process that does the work needed once per machine."""
        return int(os.environ.get("LOCAL_RANK", self.rank)) == 0

    @property
    def machines(self) -> int:
        """Number of machines, as torchrun says."""
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
        """The sum over all processes; may overwrite the input."""
        if self.count > 1:
            dist.all_reduce(own)
        return own

    def any(self, own: bool) -> bool:
        """True where it is true in any process."""
        return self.total([own])[0] > 0

    def total(self, own: Sequence[float]) -> list[float]:
        """The sums of numbers over all processes."""
        if self.count == 1:
            return list(own)
        found: list[float] = self.sum(torch.tensor(own, dtype=torch.float64, device=_device_of_group())).tolist()
        return found

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """A context that the main process passes before the others: they find its results in the cache."""
        if not self.is_main:
            self.barrier()
        yield
        if self.is_main:
            self.barrier()

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def join(device: torch.device) -> Iterator[Processes]:
    """The processes that `torchrun` started, for the length of the context; without torchrun this one alone.

    Raises UsageError where the environment names a world of several processes, but not how to meet.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UsageError(f"WORLD_SIZE is {count}, but {', '.join(missing)} is not set; start the run by torchrun")
    # The main process may compute features of millions of pictures while the others wait.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=2))
    try:
        processes = Processes(dist.get_rank(), count)
        yield processes
        processes.barrier()  # a process that leaves while another still communicates may be aborted
    finally:
        _ended.append(dist.group.WORLD)
        dist.destroy_process_group()


def end_process() -> None:
    """End this process with exit code 0, without the interpreter's own clean-up, if it is one of several.

    Where tensors were sharded, torch 2.13 keeps the group's threads running after `destroy_process_group` (seen with
    gdb). One that releases a Python object while the interpreter ends aborts the process, though the run is complete.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _device_of_group() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def wrap(embedder: nn.Module, processes: Processes, sharded: bool) -> nn.Module:
    """The embedder itself, or wrapped in DDP, which averages gradients over the processes.

    Sharded towers average them without a wrapper.
    """
    if processes.count == 1 or sharded or not any(parameter.requires_grad for parameter in embedder.parameters()):
        return embedder
    # Buffers are batch norm's and do not change; without their broadcast one pass gives the gradients of several.
    return DistributedDataParallel(embedder, broadcast_buffers=False)


def shard(parts: Parts, processes: Processes) -> None:
    """Divide the weights of towers and projections among the processes, layer by layer, in place.

    Raises UsageError for a single process, and for towers without a list of layers.
    """
    if processes.count == 1:
        raise UsageError("sharding = true needs several processes; start the run by torchrun")
    for tower in (parts.vision, parts.text):
        layers = [child for child in tower.modules() if isinstance(child, nn.ModuleList)]
        if not layers:
            raise UsageError(f"sharding = true: {type(tower).__name__} has no list of layers; use sharding = false")
        for layer in max(layers, key=len):
            _shard(layer)
        _shard(tower)
    for projection in (parts.visual_projection, parts.text_projection):
        if any(True for _ in projection.parameters()):
            _shard(projection)


def _shard(module: nn.Module) -> None:
    # Also after a forward pass without a backward pass: between steps a module holds its own part alone, which is what
    # optimisers and checkpoints work on.
    fully_shard(module, reshard_after_forward=True)


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """This process's part of a sharded tensor, sharing its memory; a plain tensor is returned as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
