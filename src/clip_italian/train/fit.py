"""All stages of a run on given rows, with everything that is computed once prepared before."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn
from torch.nn.functional import normalize

from clip_italian import console, languages
from clip_italian.config import Recipe, Stage
from clip_italian.errors import UsageError
from clip_italian.evaluate import ranks, retrieval
from clip_italian.models_torch.cut import POOLED, Cut, Inputs, cut, take_pooled, whole
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.towers import Parts
from clip_italian.train import freeze, optimiser, parallel, precision
from clip_italian.train.checkpoint import Checkpoint, Position, Progress
from clip_italian.train.closed_form import set_head, set_projections
from clip_italian.train.embedder import Embedder
from clip_italian.train.examples import Examples
from clip_italian.train.feed import Feed, Images, KeptImages, KeptTexts, LiveImages, LiveTexts, Texts
from clip_italian.train.keep import keep_images, keep_texts
from clip_italian.train.live_pictures import LivePictures
from clip_italian.train.loss import contrastive_loss
from clip_italian.train.processes import Processes
from clip_italian.train.stage import Record, Surroundings, run_stage
from clip_italian.train.step import Batch, compute_gradients
from clip_italian.train.store import Store, TensorStore, run_all

_ROWS = 64  # pictures embedded at a time when measuring
_TEXTS = 256


@dataclass(frozen=True)
class Prepared:
    """Examples with the outputs of the frozen trunks, where any stage uses them; one store a view, the plain one first.

    `places` (views, n) finds a row's place in the store of a view, -1 where it has none. `class_names`
    are those that the recipe wants as a first guess, often none.
    """

    examples: Examples
    class_names: Sequence[str]
    images: Sequence[Store]
    places: torch.Tensor
    texts: Store | None


@dataclass(frozen=True)
class Sources:
    """Where the inputs of both towers come from."""

    images: Images
    texts: Texts


def prepare(recipe: Recipe, encoder: DualEncoder, examples: Examples, rows: torch.Tensor) -> Prepared:
    """Run the layers that cached stages leave frozen over all pictures and captions, or read them from the cache.

    Augmented views are made of the pictures `rows`, those that may be trained on.
    """
    class_names = _class_names(recipe)
    dtype = precision.choose(recipe.precision, encoder.device)
    vision, text = _kept_cuts(recipe, encoder)
    views = max((stage.views for stage in recipe.stage if stage.cached), default=0)
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(recipe.seed))]
    distorted = shuffled[: math.ceil(recipe.augmentation.share * len(rows))].sort().values
    images: list[Store] = []
    places = torch.full((views + 1, len(examples)), -1)
    if vision.trunk is not None:
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
    return Prepared(examples, class_names, images, places, texts)


def fit(
    recipe: Recipe, encoder: DualEncoder, data: Prepared, train: torch.Tensor, held: torch.Tensor,
    around: Surroundings, found: Checkpoint | None = None,
) -> Callable[[torch.Tensor], Record]:  # fmt: skip
    """Train `encoder.model` in place on the rows `train`, judged by the rows `held`.

    The watch gets each evaluation: of the untrained model, then of each stage before its first step and
    after its epochs. `found` is the checkpoint to go on from. Returns what judges the trained model on other rows.
    """
    torch.manual_seed(recipe.seed)
    sources, embedder = _open(recipe, encoder, data, None)
    if found is None:
        untrained = judge(embedder, sources, encoder, data.examples, held)
        around.watch.evaluation(untrained | {"stage": "untrained", "epoch": 0, "step": 0})
    if recipe.model.landmarks or recipe.model.start == "ridge":
        _set_start(recipe, encoder, data, train, embedder, sources)
    if recipe.sharding:
        parallel.shard(encoder.parts, around.processes)

    progress = found.progress if found is not None else Progress()
    for number, stage in enumerate(recipe.stage):
        if number < progress.position.stage:
            continue
        sources, embedder = _open(recipe, encoder, data, stage)
        touched = freeze.apply(encoder.model, [p for s in recipe.stage[: number + 1] for p in s.trainable], ["*"])
        moving = freeze.apply(encoder.model, stage.trainable, stage.frozen)
        if around.processes.is_main:
            console.notice(_counts(stage, encoder))
        feed = Feed(
            data.examples, train, sources.images, sources.texts, batch_size(recipe, around.processes.count),
            recipe.data.original_captions, stage.views > 0, around.processes, (recipe.seed, number),
        )  # fmt: skip
        optimizer = optimiser.build(optimiser.parameter_groups(moving, stage), recipe.optimizer, stage)
        around.watch.stage(stage.name, stage.epochs * len(feed))
        wrapped = parallel.wrap(embedder, around.processes, recipe.sharding)
        gradients = partial(_gradients, recipe, wrapped, encoder.parts, around.processes)
        judged = partial(judge, embedder, sources, encoder, data.examples, held)
        run_stage(stage, moving, touched, optimizer, feed, gradients, judged, progress, found, around)
        progress, found = Progress(progress.position.next_stage()), None
    return partial(judge, embedder, sources, encoder, data.examples)


@torch.no_grad()
def judge(embedder: Embedder, sources: Sources, encoder: DualEncoder, examples: Examples, rows: torch.Tensor) -> Record:
    """Loss and text-to-image figures of the model as it is on some rows, plain view."""
    embedder.eval()
    pairs = examples.pairs(rows)
    answers = retrieval.retrieval_set(pairs)
    number = {
        caption: int(examples.own[row]) + place
        for row, pair in zip(rows.tolist(), pairs, strict=True)
        for place, caption in enumerate(pair.captions)
    }
    queries = torch.tensor([number[caption] for caption in answers.captions])
    images = _units(embedder.images(inputs) for inputs in _plain(sources.images, rows))
    texts = _units(embedder.texts(sources.texts.inputs(part)) for part in queries.split(_TEXTS))
    first_captions = torch.tensor([captions[0] for captions in answers.captions_of])
    scale = encoder.parts.logit_scale.exp().cpu()
    loss = contrastive_loss(images, texts[first_captions], scale, examples.groups[rows])
    found = ranks.ranks(texts.numpy(), images.numpy(), answers.images_of)
    return {"validation_loss": loss.item()} | ranks.summary(found, len(images))


def batch_size(recipe: Recipe, processes: int) -> int:
    """Pictures in a batch of all processes. Raises UsageError where they cannot be shared out evenly."""
    size = recipe.batch.effective or recipe.batch.per_device * processes
    if size % processes:
        raise UsageError(f"batch.effective = {size} cannot be shared out to {processes} processes; take a multiple")
    return size


def _kept_cuts(recipe: Recipe, encoder: DualEncoder) -> tuple[Cut, Cut]:
    """Where both towers are cut for what is kept: as low as any cached stage needs that leaves a trunk frozen.

    Leaves the model frozen as a whole.
    """
    cuts = []
    for tower in (encoder.parts.vision, encoder.parts.text):
        patterns: list[str] = []
        uses = False
        for stage in recipe.stage:
            freeze.apply(encoder.model, stage.trainable, ["*"])
            if stage.cached and cut(tower).trunk is not None:
                patterns += stage.trainable
                uses = True
        freeze.apply(encoder.model, patterns, ["*"])
        cuts.append(cut(tower) if uses else whole(tower))
    freeze.apply(encoder.model, [], ["*"])
    return cuts[0], cuts[1]


def _open(recipe: Recipe, encoder: DualEncoder, data: Prepared, stage: Stage | None) -> tuple[Sources, Embedder]:
    """Where a stage reads from and what it computes; None: before the first one, all frozen.

    A tower that is frozen in it, but for what was kept cut lower, is run to its end once, now.
    """
    parts, device = encoder.parts, encoder.device
    dtype = precision.choose(recipe.precision, device)
    kept = _kept_cuts(recipe, encoder)
    freeze.apply(encoder.model, stage.trainable if stage else [], ["*"])
    cached = stage is None or stage.cached
    vision, text = (
        kept_cut if cached and kept_cut.trunk is not None and cut(tower).trunk is not None else whole(tower)
        for kept_cut, tower in zip(kept, (parts.vision, parts.text), strict=True)
    )
    images: Images
    if vision.trunk is not None:
        vision, stores = _run_frozen(vision, data.images, parts.vision, device)
        images = KeptImages(stores, data.places, device)
    else:
        live = LivePictures(data.examples.pictures, encoder.image_processor, recipe.augmentation, recipe.data.workers)
        images = LiveImages(live, device)
    texts: Texts = LiveTexts(data.examples, encoder, device)
    if text.trunk is not None:
        assert data.texts is not None
        text, (store,) = _run_frozen(text, [data.texts], parts.text, device)
        texts = KeptTexts(store, device)
    more = (stage.image_dropout, stage.text_dropout, stage.tower_dropout) if stage else (0.0, 0.0, False)
    return Sources(images, texts), Embedder(parts, vision, text, *more, dtype)


def _run_frozen(
    kept: Cut, stores: Sequence[Store], tower: nn.Module, device: torch.device
) -> tuple[Cut, Sequence[Store]]:
    """The pooled features of a tower that does not train, in memory; what is kept as pooled stays where it lies."""
    if kept.tail is take_pooled or any(parameter.requires_grad for parameter in tower.parameters()):
        return kept, stores
    pooled = [TensorStore({POOLED: run_all(kept.tail, store, device)}) for store in stores]
    return replace(kept, tail=take_pooled), pooled


def _set_start(
    recipe: Recipe, encoder: DualEncoder, data: Prepared, train: torch.Tensor, embedder: Embedder, sources: Sources
) -> None:
    """The closed-form start: landmarks, where the recipe wants them, and projections."""
    generator = torch.Generator().manual_seed(recipe.seed)
    with torch.no_grad():
        images = torch.cat([embedder.pooled(0, inputs).cpu() for inputs in _plain(sources.images, train)])
        if recipe.model.landmarks:
            images = set_head(encoder, images, recipe.model.landmarks, bool(data.class_names), generator)
        if recipe.model.start == "ridge":
            own = data.examples.own
            counts = own[train + 1] - own[train]
            owners = torch.repeat_interleave(counts)
            numbers = own[train][owners] + torch.arange(len(owners)) - (counts.cumsum(0) - counts)[owners]
            pooled = (embedder.pooled(1, sources.texts.inputs(part)).cpu() for part in numbers.split(_TEXTS))
            texts = torch.cat(list(pooled))
            set_projections(encoder, images, texts, owners, data.examples.groups[train], data.class_names)
    encoder.to(encoder.device)  # a new head too


def _gradients(
    recipe: Recipe, embedder: nn.Module, parts: Parts, processes: Processes, batch: Batch, position: Position
) -> torch.Tensor:
    embedder.train()
    where = (recipe.seed, position.stage, position.epoch, position.done)
    return compute_gradients(
        embedder, batch, parts.logit_scale, parts.logit_bias, recipe.loss, recipe.batch.chunk, processes, where
    )


def _plain(images: Images, rows: torch.Tensor) -> Iterator[Inputs]:
    """The vision tower's inputs of plain pictures, some rows at a time."""
    return map(images.ready, images.stream([(part, torch.zeros_like(part)) for part in rows.split(_ROWS)]))


def _units(embeddings: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.cat([normalize(part.float(), dim=1).cpu() for part in embeddings])


def _counts(stage: Stage, encoder: DualEncoder) -> str:
    trainable, frozen = freeze.counts(encoder.model)
    return f"{stage.name}: {trainable:,} weights move, {frozen:,} are frozen"


def _class_names(recipe: Recipe) -> Sequence[str]:
    if not recipe.model.class_names:
        return ()
    # The text tower that class names are for reads many languages: those of another one do.
    language = languages.get(recipe.language)
    if not language.imagenet:
        language = languages.get(languages.DEFAULT)
        console.notice(
            f"language {recipe.language!r} names no classes: model.class_names takes those in {language.english_name}"
        )
    return [one.label for one in language.imagenet]
