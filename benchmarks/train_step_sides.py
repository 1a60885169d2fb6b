"""One side of benchmarks/train_step.py, in a process of its own, so that the peak memory is its own.

    python benchmarks/train_step_sides.py SIDE INPUTS PRECISION WARMUPS STEPS [DEVICE [CHUNK]]

SIDE is ours, ours-adamw, ours-compiled, open_clip, transformers or plain; INPUTS is the folder that train_step.py
writes (captions, tokenizer, configuration of the text tower); PRECISION is bf16 or float32; DEVICE is cpu or cuda; with
CHUNK so many pictures of a batch are in memory at a time (gradient caching; open_clip's --accum-freq). Prints one line
of JSON. The sides import their own library only: open_clip lives in another environment than the rest.

On a GPU every step has its pictures brought there: bytes by ours, which is how its loader gives them; pinned float32,
what the others' loaders give, by the others.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

PICTURE = 224
SCRIPT_TOKENS = 96  # the published script pads every caption to this length
MODEL = "vit-b-32-bert-base"
DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}
DEVICE = torch.device(sys.argv[6] if len(sys.argv) > 6 else "cpu")
CHUNK = int(sys.argv[7]) if len(sys.argv) > 7 else 0


def pixels(batch: int) -> torch.Tensor:
    """Pictures (batch, 3, 224, 224) as the vision tower takes them; their content does not matter for speed."""
    made = torch.randn(batch, 3, PICTURE, PICTURE, generator=torch.Generator().manual_seed(1))
    return made if DEVICE.type == "cpu" else made.pin_memory()


class Clock:
    """What each step took; a side calls `step` where one begins, before it looks at the batch."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float]] = []
        self.tokens: list[int] = []

    def step(self) -> None:
        """The step before, if any, is over and a new one begins."""
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        self._marks.append((time.perf_counter(), time.process_time()))

    def seconds(self, kind: int) -> list[float]:
        """Of each step: 0, by the clock on the wall; 1, of all processor cores."""
        return [later[kind] - mark[kind] for mark, later in pairwise(self._marks)]


Side = Callable[[Path, list[list[str]], str, Clock], None]


def ours(
    inputs: Path, batches: list[list[str]], precision: str, clock: Clock, optimizer: str = "adabelief",
    compiled: bool = False,
) -> None:  # fmt: skip
    """Steps of the paper's second stage, everything unfrozen, by the functions that `clip-italian train` calls."""
    from dataclasses import replace

    from transformers import AutoTokenizer

    from clip_italian.config import load_recipe
    from clip_italian.models.preprocess import Preprocess
    from clip_italian.models_torch.base import load_base
    from clip_italian.models_torch.cut import Inputs, cut
    from clip_italian.models_torch.processors import normalise
    from clip_italian.train import optim
    from clip_italian.train.batches import to
    from clip_italian.train.parallel import Processes
    from clip_italian.train.step import Batch, Embedder, compute_gradients

    recipe = load_recipe("paper", ["model.init=random", f"optimizer.name={optimizer}"])
    stage = recipe.stage[-1]
    encoder = load_base(recipe.model)
    encoder = replace(encoder, tokenizer=AutoTokenizer.from_pretrained(inputs / "text")).to(DEVICE)
    parts = encoder.parts
    moving = optim.freeze(encoder.model, stage.trainable, stage.frozen)
    steps = optim.build(optim.parameter_groups(moving, stage), recipe.optimizer, stage)
    schedule = optim.cosine_with_warmup(steps, len(batches), stage.warmup)
    cuts = [cut(tower, optim.names_within(tower, moving)) for tower in (parts.vision, parts.text)]
    embedder = Embedder(parts, *cuts, stage.image_dropout, stage.text_dropout, stage.tower_dropout, DTYPES[precision])
    images = {"pixel_values": pixels(len(batches[0]))}
    preprocess = Preprocess.of(encoder.image_processor)
    if DEVICE.type != "cpu":
        images = {"pixel_values": (images["pixel_values"] * 64 + 128).clamp(0, 255).byte()}
    if compiled:
        parts.vision.compile()
        parts.text.compile()

    def ready(given: Inputs, _: int) -> Inputs:
        if DEVICE.type == "cpu":
            return given
        return {"pixel_values": normalise(preprocess, given["pixel_values"].to(DEVICE, non_blocking=True))}

    for number, captions in enumerate(batches):
        clock.step()
        rows = torch.arange(len(captions))
        texts = encoder.tokenize(captions)
        clock.tokens.append(texts["input_ids"].numel())
        embedder.train()
        batch = Batch(rows, images, to(texts, DEVICE), rows.to(DEVICE), ready)
        loss = compute_gradients(
            embedder, batch, parts.logit_scale, parts.logit_bias, recipe.loss, CHUNK or None, Processes(),
            (1, 1, 1, number),
        )  # fmt: skip
        loss.item()
        steps.step()
        steps.zero_grad(set_to_none=True)
        schedule.step()


def open_clip(inputs: Path, batches: list[list[str]], precision: str, clock: Clock) -> None:
    """open_clip's own `train_one_epoch`, set up as its command line does, with defaults for all that is not said.

    Its loop takes a batch where it begins a step: the loader given to it tells the clock.
    """
    import open_clip as library
    from open_clip_train.params import parse_args
    from open_clip_train.scheduler import cosine_lr
    from open_clip_train.train import train_one_epoch

    settings = {
        "embed_dim": 512,
        "quick_gelu": True,
        "vision_cfg": {"image_size": PICTURE, "layers": 12, "width": 768, "patch_size": 32},
        "text_cfg": {
            "hf_model_name": str(inputs / "text"), "hf_tokenizer_name": str(inputs / "text"),
            "hf_pooler_type": "cls_pooler", "hf_proj_type": "linear",
        },
    }  # fmt: skip
    (inputs / f"{MODEL}.json").write_text(json.dumps(settings), encoding="utf-8")
    library.add_model_config(inputs / f"{MODEL}.json")
    name = {"bf16": "amp_bf16", "float32": "fp32"}[precision]
    size = CHUNK or len(batches[0])
    parts = len(batches[0]) // size
    given = {"model": MODEL, "precision": name, "batch-size": size, "device": DEVICE, "accum-freq": parts}
    args = parse_args([word for key, value in given.items() for word in (f"--{key}", str(value))])
    vars(args).update(distributed=False, horovod=False, distill=False, rank=0, local_rank=0, world_size=1, wandb=False)
    torch.manual_seed(1)
    model, _, _ = library.create_model_and_transforms(
        MODEL, precision=name, output_dict=True, pretrained_text=False, device=DEVICE
    )
    # From here on as open_clip_train/main.py, which has no function for it.
    plain = [p for n, p in model.named_parameters() if p.ndim < 2 or any(x in n for x in ("bn", "ln", "bias"))]
    others = {id(parameter) for parameter in plain}
    decayed = [parameter for parameter in model.parameters() if id(parameter) not in others]
    optimizer = torch.optim.AdamW(
        [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": args.wd}],
        lr=args.lr, betas=(args.beta1, args.beta2), eps=args.eps,
    )  # fmt: skip
    tokenize = library.get_tokenizer(MODEL)
    images = pixels(size)

    class Loader:
        num_batches = len(batches) * parts
        num_samples = len(batches) * len(batches[0])

        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for captions in batches:
                clock.step()
                texts = tokenize(captions)
                clock.tokens.append(texts.numel())
                for part in texts.split(size):
                    yield images, part

    data = {"train": SimpleNamespace(dataloader=Loader(), set_epoch=lambda epoch: None)}
    schedule = cosine_lr(optimizer, args.lr, args.warmup, len(batches))
    train_one_epoch(model, data, library.create_loss(args), 0, optimizer, None, schedule, None, args)


def transformers(inputs: Path, batches: list[list[str]], precision: str, clock: Clock) -> None:
    """A plain loop over `VisionTextDualEncoderModel`, captions padded as by the published script, AdamW."""
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertModel,
        CLIPVisionConfig,
        CLIPVisionModel,
        VisionTextDualEncoderModel,
    )

    vision = CLIPVisionModel(CLIPVisionConfig())  # whose defaults are ViT-B/32
    text = BertModel(BertConfig.from_pretrained(inputs / "text"))
    model = VisionTextDualEncoderModel(vision_model=vision, text_model=text).train().to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(inputs / "text")
    images = pixels(len(batches[0]))
    for captions in batches:
        clock.step()
        texts = tokenizer(
            captions, padding="max_length", max_length=SCRIPT_TOKENS, truncation=True, return_tensors="pt"
        )
        clock.tokens.append(texts["input_ids"].numel())
        given = {key: value.to(DEVICE, non_blocking=True) for key, value in texts.items()}
        with torch.autocast(DEVICE.type, DTYPES[precision], enabled=precision != "float32"):
            loss = model(**given, pixel_values=images.to(DEVICE, non_blocking=True), return_loss=True).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()


SIDES: dict[str, Side] = {
    "ours": ours,
    "ours-adamw": partial(ours, optimizer="adamw"),
    "ours-compiled": partial(ours, compiled=True),
    "open_clip": open_clip,
    "transformers": transformers,
}


def plain(precision: str, runs: int) -> dict[str, Any]:
    """Milliseconds of a matrix product and of the patch convolution, forwards and backwards: torch by itself."""
    tokens = torch.randn(3200, 768, dtype=DTYPES[precision], requires_grad=True)
    linear = torch.nn.Linear(768, 3072, dtype=DTYPES[precision])
    patches = torch.nn.Conv2d(3, 768, 32, 32, bias=False, dtype=DTYPES[precision])
    images = pixels(64).to(DTYPES[precision])

    def milliseconds(module: torch.nn.Module, given: torch.Tensor) -> list[float]:
        times = []
        for _ in range(runs + 2):
            start = time.perf_counter()
            module(given).sum().backward()
            times.append((time.perf_counter() - start) * 1000)
        return times[2:]

    return {"linear": milliseconds(linear, tokens), "convolution": milliseconds(patches, images)}


def peak_gigabytes() -> float:
    """Peak memory of tensors on the GPU, or peak resident memory of this process (Linux counts kB)."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    side, folder, precision, warmups, steps = sys.argv[1:6]
    inputs, count = Path(folder), int(warmups) + int(steps)
    result: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if side == "plain":
        print(json.dumps(result | plain(precision, int(steps))))
        return
    batches = json.loads((inputs / "captions.json").read_text(encoding="utf-8"))
    batches = [batches[number % len(batches)] for number in range(count)]
    clock, first = Clock(), int(warmups)
    SIDES[side](inputs, batches, precision, clock)
    clock.step()
    result |= {"seconds": clock.seconds(0)[first:], "cpu_seconds": clock.seconds(1)[first:]}
    if DEVICE.type == "cuda":
        result["device"] = torch.cuda.get_device_name(DEVICE)
    print(json.dumps(result | {"tokens": clock.tokens[first:], "peak": peak_gigabytes()}))


if __name__ == "__main__":
    main()
