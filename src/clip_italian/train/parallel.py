"""Towers over several processes: copied with averaged gradients (DDP), or divided among them (FSDP2)."""

from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from clip_italian.errors import UsageError
from clip_italian.models_torch.towers import Parts
from clip_italian.train.processes import Processes


def wrap(embedder: nn.Module, processes: Processes, sharded: bool) -> nn.Module:
    """The embedder itself, or one that averages its gradients over the processes as they come up.

    Divided towers do so by themselves.
    """
    if processes.count == 1 or sharded or not any(parameter.requires_grad for parameter in embedder.parameters()):
        return embedder
    # Buffers are batch norm's, which do not change; the same gradients in one pass as in several.
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
            _divide(layer)
        _divide(tower)
    for projection in (parts.visual_projection, parts.text_projection):
        if any(True for _ in projection.parameters()):
            _divide(projection)


def _divide(module: nn.Module) -> None:
    # Also after a forward pass that no backward pass follows: between steps a module has its own part alone, which
    # is what optimisers and checkpoints work on.
    fully_shard(module, reshard_after_forward=True)
