"""A whole training run: recipe → examples → kept features → stages → model folder.

runs/demo/model/          the model, for transformers and `DualEncoder.load`
runs/demo/history.jsonl   losses and metrics of every evaluation, the first before any step
runs/demo/steps.jsonl     loss, learning rate and times of every step
runs/demo/report.html     the same as a page, rewritten as the run goes
runs/demo/cost.json       time, device hours, energy, CO2 and price
runs/demo/checkpoints/    state for --resume; removed at the end, except for `checkpoints.keep`
runs/demo/unreadable.txt  pictures that were left out, and why (if any)
"""

import hashlib
import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import torch
from torch.distributed.checkpoint.state_dict import get_model_state_dict

from clip_italian import console
from clip_italian.config import Recipe
from clip_italian.errors import UserError
from clip_italian.models_torch.base import load_base, load_teacher, new_student
from clip_italian.models_torch.copy_features import CopyFeatures
from clip_italian.models_torch.devices import choose_device
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.hashes import settings_hash, tokenizer_hash
from clip_italian.models_torch.towers import add_logit_bias
from clip_italian.pictures import copies, leaks
from clip_italian.train import cost, history
from clip_italian.train.checkpoint import WHOLE, Checkpoint, Checkpoints
from clip_italian.train.data import SPLITS, Examples, load_examples, require_enough
from clip_italian.train.history import HISTORY_FILE, Record
from clip_italian.train.inspect import Inspection, inspect, write_errors
from clip_italian.train.loop import StoppedError, Trainer, batch_size, prepare
from clip_italian.train.monitor import Monitor, SilentMonitor
from clip_italian.train.parallel import Processes, join

MODEL_FOLDER = "model"
UNREADABLE_FILE = "unreadable.txt"
_TEXTS = 10_000  # digested at a time

# Settings that may differ between a run and its resumption: none of them changes what is learned. Data and base are
# compared by content (`_identity`), so their paths may differ.
_FREE: dict[str, Any] = {
    "output": True, "checkpoints": True, "tracking": True, "device": True,
    "data": {"workers": True, "pairs": True, "copies": True},
    "model": {"base": True, "vision": True, "text": True, "teacher": True}, "cost": True, "license": True,
}  # fmt: skip
# What the digests in an identity are of.
_CONTENTS = {
    "data": "data (ids, captions or splits)", "pictures": "content of its pictures", "base": "base (its weights)",
    "tokenizer": "tokenizer", "preprocessing": "preprocessing of pictures", "teacher": "teacher (its weights)",
    "originals": "set of captions from before translation",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """The result of a run: the trained encoder, its folder, every evaluation, and the cost where it is known.

    With `sharding`, only the first process holds the encoder's whole weights.
    """

    encoder: DualEncoder
    folder: Path
    history: list[Record]
    spent: cost.Spent | None


def train(
    recipe: Recipe, show: Callable[[Record], None] = lambda _: None,
    unfinished: Literal["refuse", "resume", "restart"] = "refuse",
) -> Run:  # fmt: skip
    """Train as the recipe says and write `recipe.output`; `show` is called with each evaluation.

    `unfinished` decides about an unfinished run in that folder. Under `torchrun` every process calls this; the first
    one writes. Raises UserError where the data, a model folder or nearly all pictures cannot be used, or the unfinished
    run is another one, and StoppedError after SIGTERM, with the work in a checkpoint.
    """
    device = choose_device(recipe.device)
    with (
        join(device) as processes,
        _stop_requested() as stop,
        cost.Meter(recipe.cost, processes, _name(device)) as meter,
    ):
        checkpoints = Checkpoints(recipe.output, recipe.checkpoints.keep, processes.is_main)
        if checkpoints.finished and unfinished == "resume":
            return _finished(recipe, checkpoints)
        resumed = _unfinished(checkpoints, unfinished, recipe.output)
        with processes.main_first():
            examples, inspection = _readable(recipe, processes)
        rows = {name: examples.split_rows(name) for name in SPLITS}
        teacher = None if recipe.model.teacher is None else load_teacher(recipe.model.teacher)
        torch.manual_seed(recipe.seed)
        encoder = _base(recipe, teacher).to(device)
        identity = _identity(recipe, examples, inspection, encoder, teacher, processes)
        if resumed is not None:
            _check_same(resumed, identity, recipe.output)
        cost_file = recipe.output / cost.COST_FILE
        earlier = cost.read(cost_file) if unfinished == "resume" else None
        processes.barrier()
        if resumed is None:
            checkpoints.clear()
        meter.keep(cost_file, earlier)
        with processes.main_first():
            prepared = prepare(recipe, encoder, examples, rows["train"], teacher and teacher.to(device))
        taught = {} if teacher is None else _taught_by(recipe, teacher)
        del teacher  # its text tower is not needed any more
        at = None if resumed is None else resumed.progress.position.step
        opened = Monitor(recipe, recipe.output, at, show, meter.so_far) if processes.is_main else SilentMonitor()
        with opened as monitor:
            trainer = Trainer(
                recipe, encoder, prepared, rows["train"], rows["val"], checkpoints, monitor, processes, identity,
                stop.is_set,
            )  # fmt: skip
            try:
                trainer.run(resumed)
            except StoppedError:
                meter.finish()  # all processes stop at the same step
                raise
            best = _best_of_last_stage(monitor.history)
            encoder = _whole(encoder, recipe, processes)
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
            }
            info |= taught
            if inspection is not None:
                seen = _fingerprints(recipe, examples, inspection, rows["train"], processes)
                if leaks.INFO_KEY in taught:
                    seen = leaks.Fingerprints.union([seen, leaks.Fingerprints.from_json(taught[leaks.INFO_KEY])])
                info[leaks.INFO_KEY] = seen.to_json()
            encoder = replace(encoder, info=info)
            if processes.is_main:
                encoder.save(recipe.output / MODEL_FOLDER)
            checkpoints.finish()
            monitor.finish({"best validation loss": best["validation_loss"], "best MRR@10": best["MRR@10"]})
        return Run(encoder, recipe.output, monitor.history, spent)


def _taught_by(recipe: Recipe, teacher: DualEncoder) -> dict[str, Any]:
    """Metadata of the teacher: its name, the digest of its weights, and its training pictures, if it has a list."""
    seen = {leaks.INFO_KEY: teacher.info[leaks.INFO_KEY]} if leaks.INFO_KEY in teacher.info else {}
    return {"teacher": {"model": recipe.model.teacher, "weights_sha256": teacher.weights_hash}} | seen


def _fingerprints(
    recipe: Recipe, examples: Examples, inspection: Inspection, rows: torch.Tensor, processes: Processes
) -> leaks.Fingerprints:
    """Fingerprints of the training pictures, for the model folder; features only in the process that writes it."""
    known = inspection.fingerprints(rows)
    encoder = CopyFeatures.load_or_warn() if recipe.data.copies and processes.is_main else None
    if encoder is None:
        return known
    chosen = inspection.distinct(rows)
    with console.progress("features", len(chosen)) as advance:
        found = copies.features_of(chosen.tolist(), encoder, advance, examples.pictures.open)
    return known.described(found, encoder)


def _unfinished(checkpoints: Checkpoints, what: str, output: Path) -> Checkpoint | None:
    """The checkpoint to resume from, if there is one and it is wanted."""
    if what == "restart" or checkpoints.finished or not checkpoints.files():
        return None
    if what == "refuse":
        raise UserError(f"{output}: holds an unfinished run; continue it with --resume, or remove {output}")
    return checkpoints.last()


def _finished(recipe: Recipe, checkpoints: Checkpoints) -> Run:
    """The result of a run that is already finished."""
    console.notice(f"{recipe.output}: the run is finished already")
    encoder = DualEncoder.load(recipe.output / MODEL_FOLDER)
    checkpoints.finish()  # in case it was killed while removing them
    return Run(
        encoder,
        recipe.output,
        history.read(recipe.output / HISTORY_FILE),
        cost.read(recipe.output / cost.COST_FILE),
    )


def _best_of_last_stage(evaluations: list[Record]) -> Record:
    """The evaluation of the weights that a finished run leaves: the best one of its last stage.

    Earlier stages' figures are of other weights. In a process without evaluations (it resumed after the last one) they
    are NaN; only the first process, which has all, writes them.
    """
    starts = [at for at, record in enumerate(evaluations) if record["epoch"] == 0]
    last = evaluations[starts[-1] if starts else 0 :]
    unknown = {"validation_loss": float("nan"), "MRR@10": float("nan")}
    return min(last, key=lambda record: record["validation_loss"], default=unknown)


def _name(device: torch.device) -> str:
    """Human-readable name of the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def _readable(recipe: Recipe, processes: Processes) -> tuple[Examples, Inspection | None]:
    """Examples whose pictures can be decoded, and the inspection of them; unreadable ones are listed in a file.

    Of captions alone all examples, and no inspection.
    """
    examples = load_examples(recipe)
    if not recipe.reads_pictures:
        return examples, None
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


def _base(recipe: Recipe, teacher: DualEncoder | None = None) -> DualEncoder:
    """The recipe's base model, with the bias that its loss needs; `teacher` is the recipe's, if it is loaded."""
    encoder = load_base(recipe.model) if teacher is None else new_student(teacher, recipe.model)
    if recipe.loss.kind == "sigmoid" and encoder.parts.logit_bias is None:
        add_logit_bias(encoder.model, recipe.loss.bias)
    return encoder


def _identity(
    recipe: Recipe, examples: Examples, inspection: Inspection | None, encoder: DualEncoder,
    teacher: DualEncoder | None, processes: Processes,
) -> dict[str, Any]:  # fmt: skip
    """What a resumed run must share with its earlier part: settings, and digests of its inputs."""
    identity: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json", exclude=_FREE, exclude_none=True),
        "data": examples.fingerprint(),
        "base": encoder.weights_hash,
        "tokenizer": tokenizer_hash(encoder.tokenizer),
        "preprocessing": settings_hash(encoder.image_processor.to_dict()),
        "processes": processes.count,
        "batch": batch_size(recipe, processes.count),
    }
    if inspection is not None:
        identity["pictures"] = hashlib.sha256(inspection.contents.tobytes()).hexdigest()
    if teacher is not None:
        identity["teacher"] = teacher.weights_hash
        identity["originals"] = _digest(examples.originals())
    return identity


def _digest(texts: pa.Array) -> str:
    """Digest of texts in order."""
    digest = hashlib.sha256()
    for start in range(0, len(texts), _TEXTS):
        digest.update(json.dumps(texts[start : start + _TEXTS].to_pylist()).encode())
    return digest.hexdigest()


def _check_same(found: Checkpoint, identity: dict[str, Any], output: Path) -> None:
    before = found.identity | {"recipe": _without(found.identity.get("recipe", {}), _FREE)}
    for key, value in identity.items():
        if key in before and before[key] != value:  # older versions wrote fewer digests
            what = f"{_CONTENTS[key]}; put it back, or choose another output" if key in _CONTENTS else None
            raise UserError(f"{output}: the unfinished run has another {what or _difference(key, before[key], value)}")


def _without(settings: dict[str, Any], free: dict[str, Any]) -> dict[str, Any]:
    """Settings without the free ones and those that are None, which older versions wrote into their checkpoints."""
    return {
        key: _without(value, free.get(key, {})) if isinstance(value, dict) else value
        for key, value in settings.items()
        if free.get(key) is not True and value is not None
    }


def _difference(name: str, old: Any, new: Any) -> str:
    """The first difference between two values, with its dotted name."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                return _difference(f"{name}.{key}", old.get(key), new.get(key))
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, now) in enumerate(zip(old, new, strict=True)):
            if before != now:
                return _difference(f"{name}.{number}", before, now)
    return f"{name}: {old!r}, not {new!r}; put it back, or choose another output"


def _whole(encoder: DualEncoder, recipe: Recipe, processes: Processes) -> DualEncoder:
    """The encoder on the CPU; sharded weights are gathered in the main process, the others return their parts."""
    if not recipe.sharding:
        return encoder.to("cpu")
    weights = get_model_state_dict(encoder.model, options=WHOLE)
    if not processes.is_main:
        return encoder
    fresh = _base(recipe)
    fresh.model.load_state_dict(weights)
    return fresh


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that SIGTERM sets, within the context; only in the main thread, which alone gets signals."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)
