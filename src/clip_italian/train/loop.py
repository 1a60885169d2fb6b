"""The training loop: run → stages → epochs → steps → evaluations.

prepared = prepare(recipe, encoder, examples, rows)
Trainer(recipe, encoder, prepared, rows, validation_rows, checkpoints, monitor).run()
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import normalize

from clip_italian import console, languages
from clip_italian.config import Recipe, Stage
from clip_italian.errors import UsageError, UserError
from clip_italian.evaluate import ranks, retrieval
from clip_italian.models_torch.cut import POOLED, Cut, Inputs, cut, take_pooled, whole
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.pictures.decoding import PictureError
from clip_italian.train import checkpoint, optim, parallel
from clip_italian.train.batches import Batches, Images, KeptImages, KeptTexts, LiveImages, LiveTexts, NoImages, Texts
from clip_italian.train.checkpoint import Checkpoint, Checkpoints, Progress
from clip_italian.train.data import Examples
from clip_italian.train.distil import START_TEXTS, Targets, keep_targets, original_pairs, set_text_projection
from clip_italian.train.features import Store, keep_images, keep_texts, run_tail
from clip_italian.train.history import Record
from clip_italian.train.loss import contrastive_loss
from clip_italian.train.monitor import SilentMonitor
from clip_italian.train.parallel import Processes
from clip_italian.train.pictures import LivePictures
from clip_italian.train.start import set_head, set_projections
from clip_italian.train.step import Batch, Embedder, choose_precision, compute_gradients

_ROWS = 64  # pictures embedded at a time in an evaluation
_TEXTS = 256


class StoppedError(UserError):
    """The run was asked to stop; its work is in a checkpoint."""


@dataclass(frozen=True)
class Prepared:
    """Examples with the outputs of the frozen trunks, where any stage uses them; one store a view, the plain one first.

    `places` (views, n) is a row's place in the store of a view, -1 where it has none. `class_names` are the names that
    the recipe wants as a first guess, often none. `targets` are the teacher's embeddings, if there is a teacher.
    """

    examples: Examples
    class_names: Sequence[str]
    images: Sequence[Store]
    places: torch.Tensor
    texts: Store | None
    targets: Targets | None = None


def prepare(
    recipe: Recipe, encoder: DualEncoder, examples: Examples, rows: torch.Tensor, teacher: DualEncoder | None = None
) -> Prepared:
    """Outputs of the layers that cached stages leave frozen, for all pictures and captions; from the cache if there.

    Augmented views are made of the pictures `rows`, those that may be trained on. A `teacher` embeds the originals of
    all captions.
    """
    class_names = _class_names(recipe)
    dtype = choose_precision(recipe.precision, encoder.device)
    vision, text = _kept_cuts(recipe, encoder)
    views = max((stage.views for stage in recipe.stage if stage.cached), default=0)
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(recipe.seed))]
    distorted = shuffled[: math.ceil(recipe.augmentation.share * len(rows))].sort().values
    images: list[Store] = []
    places = torch.full((views + 1, len(examples)), -1)
    if vision.trunk is not None and recipe.reads_pictures:
        shown = [torch.arange(len(examples))] + [distorted] * views
        with console.progress("picture features", sum(map(len, shown))) as advance:
            for view, some in enumerate(shown):
                kept = keep_images(
                    vision, encoder, examples.pictures, some, view, recipe.augmentation, dtype, advance,
                    recipe.data.workers,
                )  # fmt: skip
                images.append(kept)
                places[view, some] = torch.arange(len(some))
    texts = None
    if text.trunk is not None:
        with console.progress("caption features", len(examples.texts)) as advance:
            texts = keep_texts(text, encoder, examples.texts, dtype, advance)
    targets = None
    if teacher is not None:
        originals = examples.originals()
        with console.progress("teacher's features", len(originals)) as advance:
            targets = keep_targets(teacher, originals, dtype, advance)
    return Prepared(examples, class_names, images, places, texts, targets)


class Trainer:
    """Trains `encoder.model` in place on the rows `train`, judged by the rows `held`.

    `monitor` is called for each stage, step and evaluation, the first one of the untrained model. `identity` names the
    run in its checkpoints, which are written every `recipe.checkpoints.every` steps and at each evaluation.
    `stop_requested` is asked after each step.
    """

    def __init__(
        self, recipe: Recipe, encoder: DualEncoder, data: Prepared, train: torch.Tensor, held: torch.Tensor,
        checkpoints: Checkpoints, monitor: SilentMonitor, processes: Processes | None = None,
        identity: dict[str, Any] | None = None, stop_requested: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        self.recipe, self.encoder, self.data = recipe, encoder, data
        self.train, self.held = train, held
        self.checkpoints, self.monitor = checkpoints, monitor
        self.processes = processes or Processes()
        self.identity = identity or {}
        self.stop_requested = stop_requested
        self.progress = Progress()

    def run(self, resumed: Checkpoint | None = None) -> None:
        """Train all stages, or the rest after a checkpoint; leave the last stage's best weights in the model.

        Raises StoppedError when asked to stop, and UserError for a loss that is not finite; both after writing a
        checkpoint.
        """
        torch.manual_seed(self.recipe.seed)
        optim.freeze(self.encoder.model, [], ["*"])
        self._open_inputs(None)
        if resumed is None:
            self.monitor.evaluation(self._measure() | {"stage": "untrained", "epoch": 0, "step": 0})
        else:
            self.progress = resumed.progress
        self._set_start()
        if self.recipe.sharding:
            parallel.shard(self.encoder.parts, self.processes)
        for stage in self.recipe.stage[self.progress.position.stage :]:
            self._set_up(stage, resumed)
            self._train_stage()
            self.progress, resumed = Progress(self.progress.position.next_stage()), None

    def _set_up(self, stage: Stage, resumed: Checkpoint | None) -> None:
        """Make all that a stage needs: inputs, moving parameters, batches, optimiser, schedule, average."""
        recipe, model, number = self.recipe, self.encoder.model, self.progress.position.stage
        self.stage = stage
        self._open_inputs(stage)
        # A checkpoint holds what this stage or an earlier one trains.
        self.trained = optim.choose(model, [p for s in recipe.stage[: number + 1] for p in s.trainable], ["*"])
        self.moving = optim.freeze(model, stage.trainable, stage.frozen)
        idle = next((name for name, _ in self.moving if not name.startswith("text_")), None)
        if idle is not None and not recipe.reads_pictures:
            raise UsageError(f"stage {stage.name}: captions alone do not train {idle}; move it to the stage's frozen")
        if self.processes.is_main:
            trainable = sum(parameter.numel() for _, parameter in self.moving)
            frozen = sum(parameter.numel() for parameter in model.parameters()) - trainable
            console.notice(f"{stage.name}: {trainable:,} weights move, {frozen:,} are frozen")
        self.batches = Batches(
            self.data.examples, self.train, self.images, self.texts, batch_size(recipe, self.processes.count),
            recipe.data.original_captions, stage.views > 0, self.processes, (recipe.seed, number), self.data.targets,
        )  # fmt: skip
        steps = stage.epochs * len(self.batches)
        self.optimizer = optim.build(optim.parameter_groups(self.moving, stage), recipe.optimizer, stage)
        self.schedule = optim.cosine_with_warmup(self.optimizer, steps, stage.warmup)
        self.wrapped = parallel.wrap(self.embedder, self.processes, recipe.sharding)
        self.average = optim.Average(self.moving, stage.average)
        self.monitor.stage(stage.name, steps)
        if resumed is not None:
            checkpoint.put_weights(self.trained, resumed.weights)
            checkpoint.put_optimizer_state(self.optimizer, self.moving, resumed.optimizer)
            self.average.load(resumed.average)
            optim.go_to(self.schedule, self.progress.position.in_stage)

    def _train_stage(self) -> None:
        """A stage from its first evaluation to its best weights, which it leaves in the model."""
        position = self.progress.position
        if self.progress.best is None:
            position.epoch = 0
            self._evaluate()
            position.epoch = 1
            self._save()
        try:
            while position.epoch <= self.stage.epochs and not self._is_out_of_patience():
                self._train_epoch()
        except PictureError:  # a picture that was readable before training
            if self.processes.count == 1:  # of several processes, others may be in the middle of a step
                self._save()
            raise
        assert self.progress.best_file is not None
        self.processes.barrier()
        checkpoint.put_weights(self.trained, self.checkpoints.best(self.progress.best_file))

    def _is_out_of_patience(self) -> bool:
        """True after `patience` evaluations without a better one."""
        best, stage = self.progress.best, self.stage
        assert best is not None
        return self.progress.position.epoch - 1 - best["epoch"] >= stage.patience * stage.evaluate_every

    def _train_epoch(self) -> None:
        """The rest of an epoch, its evaluation if one is due, and a checkpoint."""
        progress, position, stage = self.progress, self.progress.position, self.stage
        for batch, waited in _timed(self.batches.epoch(position.epoch, position.done)):
            self._train_step(batch, waited)
        if position.epoch % stage.evaluate_every == 0 or position.epoch == stage.epochs:
            losses = progress.losses
            self._evaluate(train_loss=sum(losses) / len(losses), learning_rate=self.schedule.get_last_lr()[0])
        position.epoch, position.done, progress.losses = position.epoch + 1, 0, []
        self._save()

    def _train_step(self, batch: Batch, waited: float) -> None:
        """One step on a batch, for which `waited` seconds were spent."""
        recipe, parts, position = self.recipe, self.encoder.parts, self.progress.position
        started = time.perf_counter()
        self.wrapped.train()
        where = (recipe.seed, position.stage, position.epoch, position.done)
        loss = compute_gradients(
            self.wrapped, batch, parts.logit_scale, parts.logit_bias, recipe.loss, recipe.batch.chunk, self.processes,
            where,
        ).item()  # fmt: skip
        if not math.isfinite(loss):
            self._save()
            ids = self.data.examples.ids.take(batch.rows.numpy()).to_pylist()
            raise UserError(
                f"stage {self.stage.name}, step {position.step + 1}: the loss is {loss}; lower the learning rate or "
                f"look at these pairs: {', '.join(ids)}"
            )
        rate = self.schedule.get_last_lr()[0]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.average.update()
        position.done += 1
        position.in_stage += 1
        position.step += 1
        self.progress.losses.append(loss)
        self.monitor.step(
            {
                "stage": self.stage.name, "epoch": position.epoch, "step": position.step, "loss": loss,
                "learning_rate": rate, "samples": len(batch.rows) * self.processes.count,
                "seconds": waited + time.perf_counter() - started, "data_seconds": waited,
            }
        )  # fmt: skip
        if self.processes.any(self.stop_requested()):
            self._save()
            raise StoppedError("stopped as asked; --resume continues from here")
        if recipe.checkpoints.every and position.step % recipe.checkpoints.every == 0:
            self._save()

    def _evaluate(self, **more: Any) -> None:
        """Measure the model, or the average of its weights; keep the weights if the validation loss is the best."""
        progress, position = self.progress, self.progress.position
        with self.average.swapped_in():
            place = {"stage": self.stage.name, "epoch": position.epoch, "step": position.in_stage}
            record = self._measure() | place | more
            self.monitor.evaluation(record)
            if progress.best is None or record["validation_loss"] < progress.best["validation_loss"]:
                progress.best = record
                progress.best_file = self.checkpoints.save_best(position, checkpoint.weights_of(self.trained))

    @torch.no_grad()
    def _measure(self) -> Record:
        """Validation loss and text-to-image figures of the model, plain view.

        Of captions alone, the figures are those of translations that look for their originals.
        """
        self.embedder.eval()
        recipe, examples, targets = self.recipe, self.data.examples, self.data.targets
        shown = examples.pairs(self.held) if recipe.reads_pictures else original_pairs(examples, self.held)
        answers = retrieval.retrieval_set(shown)
        numbers, _ = examples.captions(self.held)
        number = dict(zip(examples.texts_of(numbers), numbers.tolist(), strict=True))
        queries = torch.tensor([number[caption] for caption in answers.captions])
        texts = _units(self.embedder.texts(self.texts.inputs(part)) for part in queries.split(_TEXTS))
        loss = 0.0
        if targets is not None:
            loss += (texts - targets.of(queries).cpu()).square().sum(dim=1).mean().item()
        if recipe.reads_pictures:
            images = _units(self.embedder.images(inputs) for inputs in self._plain_pictures(self.held))
            first_captions = torch.tensor([captions[0] for captions in answers.captions_of])
            scale = self.encoder.parts.logit_scale.exp().cpu()
            of_pairs = contrastive_loss(images, texts[first_captions], scale, examples.groups[self.held]).item()
            loss += of_pairs if recipe.loss.pictures is None else recipe.loss.pictures * of_pairs
        else:
            assert targets is not None
            images = targets.of(torch.tensor([int(pair.id) for pair in shown])).cpu()
        found = ranks.ranks(texts.numpy(), images.numpy(), answers.images_of)
        return {"validation_loss": loss} | ranks.summary(found, len(images))

    def _plain_pictures(self, rows: torch.Tensor) -> Iterator[Inputs]:
        """The vision tower's inputs of plain pictures, some rows at a time."""
        stream = self.images.stream([(part, torch.zeros_like(part)) for part in rows.split(_ROWS)])
        return (self.images.prepare(part) for part in stream)

    def _save(self) -> None:
        """Write a checkpoint; all processes take part."""
        weights, state = checkpoint.weights_of(self.trained), checkpoint.optimizer_state(self.optimizer, self.moving)
        self.checkpoints.save(Checkpoint(self.identity, self.progress, weights, state, self.average.state()))

    def _open_inputs(self, stage: Stage | None) -> None:
        """Set `images`, `texts` and `embedder`: where a stage reads from, and what it computes from that.

        None: before the first stage, all frozen. A tower that is frozen in this stage, but kept at a lower cut for
        another one, is run to its end once, now.
        """
        recipe, encoder, data, device = self.recipe, self.encoder, self.data, self.encoder.device
        chosen = optim.choose(encoder.model, stage.trainable if stage else [], ["*"])
        cuts, frozen = [], []
        for tower, kept in zip((encoder.parts.vision, encoder.parts.text), _kept_cuts(recipe, encoder), strict=True):
            names = optim.names_within(tower, chosen)
            uses_kept = (stage is None or stage.cached) and None not in (kept.trunk, cut(tower, names).trunk)
            cuts.append(kept if uses_kept else whole(tower))
            frozen.append(not names)
        vision, text = cuts

        self.images: Images
        if not recipe.reads_pictures:
            self.images = NoImages(device)
        elif vision.trunk is not None:
            vision, stores = _run_if_frozen(vision, data.images, frozen[0], device)
            self.images = KeptImages(stores, data.places, device)
        else:
            pictures = data.examples.pictures
            live = LivePictures(pictures, encoder.image_processor, recipe.augmentation, recipe.data.workers)
            self.images = LiveImages(live, device)
        self.texts: Texts
        if text.trunk is not None:
            assert data.texts is not None
            text, (store,) = _run_if_frozen(text, [data.texts], frozen[1], device)
            self.texts = KeptTexts(store, device)
        else:
            self.texts = LiveTexts(data.examples, encoder, device)
        dropout = (stage.image_dropout, stage.text_dropout, stage.tower_dropout) if stage else (0.0, 0.0, False)
        dtype = choose_precision(recipe.precision, device)
        self.embedder = Embedder(encoder.parts, vision, text, *dropout, dtype)

    @torch.no_grad()
    def _set_start(self) -> None:
        """Set landmarks and projections in closed form, where the recipe asks for them."""
        model, encoder, examples = self.recipe.model, self.encoder, self.data.examples
        if not model.landmarks and model.start != "ridge":
            return
        generator = torch.Generator().manual_seed(self.recipe.seed)
        numbers, owners = examples.captions(self.train)
        if self.data.targets is not None:
            drawn = numbers[torch.randperm(len(numbers), generator=generator)[:START_TEXTS]].sort().values
            set_text_projection(encoder, self._pooled_texts(drawn), self.data.targets.of(drawn).cpu())
            return
        images = torch.cat([self.embedder.pooled(0, inputs).cpu() for inputs in self._plain_pictures(self.train)])
        if model.landmarks:
            images = set_head(encoder, images, model.landmarks, bool(self.data.class_names), generator)
        if model.start == "ridge":
            texts = self._pooled_texts(numbers)
            set_projections(encoder, images, texts, owners, examples.groups[self.train], self.data.class_names)
        encoder.to(encoder.device)  # a new head too

    def _pooled_texts(self, numbers: torch.Tensor) -> torch.Tensor:
        """Pooled features (k, hidden) of texts by number, on the CPU."""
        parts = (self.embedder.pooled(1, self.texts.inputs(part)).cpu() for part in numbers.split(_TEXTS))
        return torch.cat(list(parts))


def batch_size(recipe: Recipe, processes: int) -> int:
    """Pictures in a batch of all processes. Raises UsageError where they cannot be divided evenly."""
    size = recipe.batch.effective or recipe.batch.per_device * processes
    if size % processes:
        raise UsageError(f"batch.effective = {size} cannot be shared out to {processes} processes; take a multiple")
    return size


def _kept_cuts(recipe: Recipe, encoder: DualEncoder) -> tuple[Cut, Cut]:
    """Where both towers are cut for kept features: as low as any cached stage needs that leaves a trunk frozen."""
    cuts = []
    for tower in (encoder.parts.vision, encoder.parts.text):
        needed = []
        for stage in recipe.stage:
            names = optim.names_within(tower, optim.choose(encoder.model, stage.trainable, ["*"]))
            if stage.cached and cut(tower, names).trunk is not None:
                needed.append(names)
        cuts.append(cut(tower, set().union(*needed)) if needed else whole(tower))
    return cuts[0], cuts[1]


def _run_if_frozen(
    kept: Cut, stores: Sequence[Store], frozen: bool, device: torch.device
) -> tuple[Cut, Sequence[Store]]:
    """A frozen tower's pooled features in memory; pooled features that are kept already stay on disk."""
    if kept.tail is take_pooled or not frozen:
        return kept, stores
    pooled = [Store.of({POOLED: run_tail(kept.tail, store, device)}) for store in stores]
    return replace(kept, tail=take_pooled), pooled


def _timed(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds spent waiting for it."""
    with suppress(StopIteration):
        while True:
            started = time.perf_counter()
            batch = next(batches)
            yield batch, time.perf_counter() - started


def _units(embeddings: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.cat([normalize(part.float(), dim=1).cpu() for part in embeddings])


def _class_names(recipe: Recipe) -> Sequence[str]:
    if not recipe.model.class_names:
        return ()
    # The text tower that reads class names is multilingual: names in another language serve as well.
    language = languages.get(recipe.language)
    if not language.imagenet:
        language = languages.get(languages.DEFAULT)
        console.notice(
            f"language {recipe.language!r} names no classes: model.class_names takes those in {language.english_name}"
        )
    return [one.label for one in language.imagenet]
