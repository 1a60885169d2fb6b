"""How long one optimiser step takes for the paper's two towers (ViT-B/32 and BERT-base, about 198 million weights).

    python benchmarks/optimiser_step.py

Weights and gradients are drawn by chance. The rounds go through all candidates in turn, so that other load on
the machine falls on all alike; where there is much of it, the processor seconds tell more. Prints Markdown, with the
memory that a step takes beyond weights, gradients and the optimiser's state. A quarter of the gradients' units is
beyond the clipping.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pytorch_optimizer import AdaBelief as TheirAdaBelief
from pytorch_optimizer.optimizer.agc import agc
from torch import nn
from transformers import BertConfig, BertModel, CLIPVisionConfig, CLIPVisionModel

from clip_italian.config import Optimizer, Stage
from clip_italian.train import optim

Named = list[tuple[str, nn.Parameter]]
STAGE = Stage(
    name="unfrozen", trainable=("*",), frozen=(), learning_rate=1e-5, epochs=1, patience=1, clipping=0.01
)  # fmt: skip


def weights(layers: int) -> Named:
    """Named weights of the two towers and projections to 512, with gradients."""
    with torch.device("meta"):
        towers = nn.ModuleDict(
            {
                "vision_model": CLIPVisionModel(
                    CLIPVisionConfig(hidden_size=768, num_hidden_layers=layers, num_attention_heads=12,
                                     intermediate_size=3072, patch_size=32)
                ),
                "text_model": BertModel(BertConfig(vocab_size=31102, num_hidden_layers=layers)),
                "visual_projection": nn.Linear(768, 512, bias=False),
                "text_projection": nn.Linear(768, 512, bias=False),
            }
        )  # fmt: skip
    torch.manual_seed(0)
    named = []
    for name, shape in ((name, parameter.shape) for name, parameter in towers.named_parameters()):
        parameter = nn.Parameter(0.02 * torch.randn(shape))
        sizes = 1e-2 * torch.rand((shape[0],) + (1,) * (len(shape) - 1)) / 0.75
        parameter.grad = 0.02 * sizes * torch.randn(shape)
        named.append((name, parameter))
    return named


def stepper(kind: str, named: Named) -> Callable[[], object]:
    """What one step of a candidate does."""
    parameters = [parameter for _, parameter in named]
    clipping = "clipping" in kind
    if kind.startswith("ours"):
        stage = STAGE if clipping else STAGE.model_copy(update={"clipping": 0.0})
        settings = Optimizer(name="adamw" if "AdamW" in kind else "adabelief")
        return optim.build(optim.parameter_groups(named, stage), settings, stage).step
    if kind.startswith("torch"):
        return torch.optim.AdamW(parameters, lr=1e-5, **{kind.split()[-1]: True}).step
    theirs = TheirAdaBelief(parameters, lr=1e-5)

    def clip_and_step() -> None:
        if clipping:
            with torch.no_grad():
                for parameter in parameters:
                    parameter.grad.copy_(agc(parameter, parameter.grad))
        theirs.step()

    return clip_and_step


KINDS = (
    "ours: AdaBelief, clipping",
    "ours: AdaBelief",
    "ours: AdamW, clipping",
    "torch: AdamW, fused",
    "torch: AdamW, foreach",
    "pytorch-optimizer: AdaBelief, clipping",
    "pytorch-optimizer: AdaBelief",
)


def status(key: str) -> float:
    """MiB of this process by /proc (Linux): VmRSS now, VmHWM at its largest."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=12, help="of each tower; fewer for a quick look")
    parser.add_argument("--memory", choices=KINDS, help="only the memory of this one, in MiB")
    arguments = parser.parse_args()
    named = weights(arguments.layers)
    if arguments.memory:
        step = stepper(arguments.memory, named)
        Path("/proc/self/clear_refs").write_text("5")  # forget how large the process was before
        before = status("VmRSS")
        for _ in range(2):
            step()
        state = 2 * sum(parameter.numel() for _, parameter in named) * 4 / 2**20
        print(max(0.0, status("VmHWM") - before - state))
        return
    print(f"{sum(parameter.numel() for _, parameter in named):,} weights, {torch.get_num_threads()} threads\n")
    gradients = [parameter.grad.clone() for _, parameter in named]
    times: dict[str, list[tuple[float, float]]] = {}
    for _ in range(arguments.rounds):
        for kind in KINDS:
            step = stepper(kind, named)
            step()  # makes the state
            for (_, parameter), gradient in zip(named, gradients, strict=True):
                parameter.grad.copy_(gradient)
            start, busy = time.perf_counter(), time.process_time()
            step()
            times.setdefault(kind, []).append((time.perf_counter() - start, time.process_time() - busy))
            del step
    print(
        "| one step | seconds, median | least | processor seconds, least | extra memory, MiB |\n"
        "|---|---:|---:|---:|---:|"
    )
    for kind, found in times.items():
        command = [sys.executable, __file__, "--layers", str(arguments.layers), "--memory", kind]
        extra = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        walls, busies = zip(*found, strict=True)
        print(f"| {kind} | {statistics.median(walls):.2f} | {min(walls):.2f} | {min(busies):.2f} | {extra:,.0f} |")


if __name__ == "__main__":
    main()
