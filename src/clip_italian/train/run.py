"""A whole training run: recipe → examples → kept features → stages → model folder.

runs/demo/model/          what transformers loads
runs/demo/history.jsonl   losses and metrics of every evaluation, the first before any step
runs/demo/steps.jsonl     loss, learning rate and times of every step
runs/demo/report.html     the same as a page, written anew as the run goes
runs/demo/cost.json       time, device hours, energy, CO2 and price
runs/demo/checkpoints/    what --resume goes on from; removed at the end, but for `checkpoints.keep`
runs/demo/unreadable.txt  pictures that were left out, and why (where there are any)
"""

import hashlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from clip_italian import console
from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.models_torch.base import load_base
from clip_italian.models_torch.copy_features import CopyFeatures
from clip_italian.models_torch.devices import choose_device
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import settings_hash, tokenizer_hash
from clip_italian.models_torch.projections import add_logit_bias
from clip_italian.pictures import copies, leaks
from clip_italian.train import cost, journal
from clip_italian.train.checkpoint import Checkpoint, Checkpoints
from clip_italian.train.examples import SPLITS, Examples, load_examples, require_enough
from clip_italian.train.fit import batch_size, fit, prepare
from clip_italian.train.inspect import Inspection, inspect, write_errors
from clip_italian.train.processes import Processes, join
from clip_italian.train.sharded import whole
from clip_italian.train.stage import Record, StoppedError, Surroundings
from clip_italian.train.watch import HISTORY_FILE, NoWatch, Watch

MODEL_FOLDER = "model"
UNREADABLE_FILE = "unreadable.txt"

# What may differ between a run and the one that goes on with it: nothing that changes what is learned. Data and base
# are known by their content (`_identity`), so they may lie elsewhere.
_FREE: dict[str, Any] = {
    "output": True, "checkpoints": True, "tracking": True, "device": True,
    "data": {"workers": True, "pairs": True, "copies": True},
    "model": {"base": True, "vision": True, "text": True}, "cost": True, "license": True,
}  # fmt: skip
# Digests in an identity, by what they are of.
_CONTENTS = {
    "data": "data (ids, captions or splits)", "pictures": "content of its pictures", "base": "base (its weights)",
    "tokenizer": "tokenizer", "preprocessing": "preprocessing of pictures",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What a run leaves: the trained encoder, its folder, every evaluation, and the cost where it is known."""

    encoder: DualEncoder
    folder: Path
    history: list[Record]
    spent: cost.Spent | None


def train(
    recipe: Recipe, show: Callable[[Record], None] = lambda _: None,
    unfinished: Literal["refuse", "resume", "restart"] = "refuse",
) -> Run:  # fmt: skip
    """Train as the recipe says and write `recipe.output`; `show` gets each evaluation.

    `unfinished` says what to do about a run in that folder that did not come to its end. Under
    `torchrun` every process calls this; the first one writes. Raises UserError where the data, a
    model folder or nearly all pictures cannot be used, or the unfinished run is another one, and
    StoppedError after SIGTERM, with the work in a checkpoint.
    """
    device = choose_device(recipe.device)
    with (
        join(device) as processes,
        _asked_to_stop() as asked,
        cost.Meter(recipe.cost, processes, _name(device)) as meter,
    ):
        checkpoints = Checkpoints(recipe.output, recipe.checkpoints.keep, processes.is_main)
        if checkpoints.finished and unfinished == "resume":
            return _finished(recipe, checkpoints)
        found = _unfinished(checkpoints, unfinished, recipe.output)
        with processes.main_first():
            examples, inspection = _readable(recipe, processes)
        rows = {name: examples.split_rows(name) for name in SPLITS}
        torch.manual_seed(recipe.seed)
        encoder = _base(recipe).to(device)
        identity = _identity(recipe, examples, inspection, encoder, processes)
        if found is not None:
            _check_same(found, identity, recipe.output)
        cost_file = recipe.output / cost.COST_FILE
        earlier = cost.read(cost_file) if unfinished == "resume" else None
        processes.wait()
        if found is None:
            checkpoints.clear()
        meter.keep(cost_file, earlier)
        with processes.main_first():
            prepared = prepare(recipe, encoder, examples, rows["train"])
        at = None if found is None else found.progress.position.step
        watching = Watch(recipe, recipe.output, at, show, meter.so_far) if processes.is_main else NoWatch()
        with watching as watch:
            around = Surroundings(checkpoints, identity, recipe.checkpoints.every, watch, processes, asked.is_set)
            try:
                fit(recipe, encoder, prepared, rows["train"], rows["val"], around, found)
            except StoppedError:
                meter.finish()  # all processes stop at the same step
                raise
            best = _judged(watch.history)
            whole_encoder = _whole(encoder, recipe)
            spent = meter.finish()
            info = {
                "recipe": recipe.model_dump(mode="json"),
                "language": recipe.language,
                "data": {
                    "pairs": str(recipe.data.pairs),
                    "fingerprint": identity["data"],
                    "train": len(rows["train"]),
                    "sources": examples.sources(rows["train"]),
                },
                "validation": best,
                "cost": spent.to_json(),
                leaks.INFO_KEY: _fingerprints(recipe, examples, inspection, rows["train"], processes).to_json(),
            }
            encoder = replace(whole_encoder, info=info)
            if processes.is_main:
                encoder.save(recipe.output / MODEL_FOLDER)
            checkpoints.finish()
            watch.finish({"best validation loss": best["validation_loss"], "best MRR@10": best["MRR@10"]})
        return Run(encoder, recipe.output, watch.history, spent)


def _fingerprints(
    recipe: Recipe, examples: Examples, inspection: Inspection, rows: torch.Tensor, processes: Processes
) -> leaks.Fingerprints:
    """What the model keeps of its training pictures; features only in the process that writes it."""
    known = inspection.fingerprints(rows)
    encoder = CopyFeatures.load_or_say() if recipe.data.copies and processes.is_main else None
    if encoder is None:
        return known
    chosen = inspection.different(rows)
    with console.progress("features", len(chosen)) as advance:
        found = copies.features_of(chosen.tolist(), encoder, advance, examples.pictures.open)
    return known.described(found, encoder)


def _unfinished(checkpoints: Checkpoints, what: str, output: Path) -> Checkpoint | None:
    """The checkpoint to go on from, if that is wanted and there is one."""
    if what == "restart" or checkpoints.finished or not checkpoints.files():
        return None
    if what == "refuse":
        raise UserError(f"{output}: holds a run that was not finished; --resume goes on with it, or remove {output}")
    return checkpoints.last()


def _finished(recipe: Recipe, checkpoints: Checkpoints) -> Run:
    """A run that has come to its end, as it was left."""
    console.notice(f"{recipe.output}: the run is finished already")
    encoder = DualEncoder.load(recipe.output / MODEL_FOLDER)
    checkpoints.finish()  # in case it was killed amid removing them
    return Run(
        encoder,
        recipe.output,
        journal.read(recipe.output / HISTORY_FILE),
        cost.read(recipe.output / cost.COST_FILE),
    )


def _judged(history: list[Record]) -> Record:
    """The evaluation of the weights that a finished run leaves: the best one of its last stage.

    Earlier stages' figures are of other weights. Of a process without evaluations (it resumed after the last one)
    they are NaN; only the first process, which has all, writes them.
    """
    starts = [at for at, record in enumerate(history) if record["epoch"] == 0]
    last = history[starts[-1] if starts else 0 :]
    unknown = {"validation_loss": float("nan"), "MRR@10": float("nan")}
    return min(last, key=lambda record: record["validation_loss"], default=unknown)


def _name(device: torch.device) -> str:
    """What the device is called among people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def _readable(recipe: Recipe, processes: Processes) -> tuple[Examples, Inspection]:
    """Examples whose pictures can be decoded, and what was found out about them; the others are listed in a file."""
    examples = load_examples(recipe)
    with console.progress("pictures", len(examples)) as advance:
        inspection = inspect(examples, recipe.data.workers, advance)
    list_file = recipe.output / UNREADABLE_FILE
    if processes.is_main:
        write_errors(inspection, list_file)
    if inspection.errors:
        if processes.is_main:
            broken = f"{len(inspection.errors)} of {len(examples)} pictures"
            console.notice(f"{broken} cannot be read and are left out: see {list_file}")
        examples = examples.subset(inspection.good_rows)
        require_enough(examples, recipe.data.pairs, "readable pairs")
    return examples.same_where(inspection.contents), inspection


def _base(recipe: Recipe) -> DualEncoder:
    """What the recipe starts from, with the bias that its loss needs."""
    encoder = load_base(recipe.model)
    if recipe.loss.kind == "sigmoid" and encoder.parts.logit_bias is None:
        add_logit_bias(encoder.model, recipe.loss.bias)
    return encoder


def _identity(
    recipe: Recipe, examples: Examples, inspection: Inspection, encoder: DualEncoder, processes: Processes
) -> dict[str, Any]:
    """What a run that goes on must have in common with the one before: settings, and digests of what it reads."""
    return {
        "recipe": recipe.model_dump(mode="json", exclude=_FREE),
        "data": examples.fingerprint(),
        "pictures": hashlib.sha256(inspection.contents.tobytes()).hexdigest(),
        "base": encoder.weights_hash,
        "tokenizer": tokenizer_hash(encoder.tokenizer),
        "preprocessing": settings_hash(encoder.image_processor.to_dict()),
        "processes": processes.count,
        "batch": batch_size(recipe, processes.count),
    }


def _check_same(found: Checkpoint, identity: dict[str, Any], output: Path) -> None:
    before = found.identity | {"recipe": _without(found.identity.get("recipe", {}), _FREE)}
    for key, value in identity.items():
        if key in before and before[key] != value:  # older versions wrote fewer digests
            what = f"{_CONTENTS[key]}; put it back, or choose another output" if key in _CONTENTS else None
            raise UserError(f"{output}: the unfinished run has another {what or _difference(key, before[key], value)}")


def _without(settings: dict[str, Any], free: dict[str, Any]) -> dict[str, Any]:
    """Settings without the free ones, which older versions wrote into their checkpoints."""
    return {
        key: _without(value, free[key]) if isinstance(free.get(key), dict) and isinstance(value, dict) else value
        for key, value in settings.items()
        if free.get(key) is not True
    }


def _difference(name: str, old: Any, new: Any) -> str:
    """The first place where two values differ, by its dotted name."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return _difference(f"{name}.{key}", old.get(key), new.get(key))
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, now) in enumerate(zip(old, new, strict=True)):
            if before != now:
                return _difference(f"{name}.{number}", before, now)
    return f"{name}: {old!r}, not {new!r}; put it back, or choose another output"


def _whole(encoder: DualEncoder, recipe: Recipe) -> DualEncoder:
    """The encoder on the CPU, its weights put together where processes hold parts of them."""
    if not recipe.sharding:
        return encoder.to("cpu")
    weights = {name: whole(value).cpu() for name, value in encoder.model.state_dict().items()}
    fresh = _base(recipe)
    fresh.model.load_state_dict(weights)
    return fresh


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, for a block; only where this is the main thread, which alone gets signals."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)
