"""Evaluation results as the Hub's model-index, and as tables of a card; numbers stay those of the result files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult

from clip_italian.evaluate.results import RETRIEVAL
from clip_italian.evaluate.retrieval import DIRECTIONS
from clip_italian.release.facts import short

Result = Mapping[str, Any]
_TASKS = {"text_to_image": "text-to-image-retrieval", "image_to_text": "image-to-text-retrieval"}
_ZEROSHOT = "zero-shot-image-classification"
_FIGURE = re.compile(r"(MRR|R|accuracy)@\d+|median_rank|mean_rank")


def eval_results(found: Sequence[Result]) -> list[EvalResult]:
    """Every figure of every result, in their order."""
    return [
        EvalResult(
            task_type=task, task_name=task.replace("-", " "),
            dataset_type=re.sub(r"[^\w.]+", "-", data_name(result)).strip("-"), dataset_name=data_name(result),
            dataset_config=_config(result), dataset_split=", ".join(result["data"].get("splits") or []) or None,
            dataset_revision=result["data"].get("fingerprint") or result["data"].get("pictures_sha256"),
            metric_type=figure.lower(), metric_name=figure.replace("_", " "), metric_value=values[figure],
        )
        for result in found
        for task, values in _parts(result)
        for figure in figures_of(values)
    ]  # fmt: skip


def tables(result: Result) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a result's table: each figure with its 95 % interval, directions side by side."""
    parts = dict(_parts(result))
    header = [""]
    for task in parts:
        header += [task.replace("-", " "), "95 % interval"]
    names = dict.fromkeys(name for values in parts.values() for name in figures_of(values))
    rows = []
    for name in names:
        row = [name.replace("_", " ")]
        for values in parts.values():
            interval = (values.get("intervals") or {}).get(name)
            row += [number(values.get(name)), f"{number(interval[0])} to {number(interval[1])}" if interval else "–"]
        rows.append(row)
    return header, rows


def notes(result: Result) -> list[str]:
    """What one should know of a result, a sentence each."""
    said = []
    if folds := result.get("folds"):
        said.append(
            f"Cross-validated: {folds['count']} models of this recipe, each measured on the fold that it was not "
            "trained on; none of them is this model, which was trained on all of it."
        )
    for key, task in _TASKS.items():
        if key in result:
            sizes = (result.get("galleries") or {}).get(key) or [result[key].get("gallery")]
            gallery = " to ".join(dict.fromkeys(f"{size:,}" for size in (min(sizes), max(sizes))))
            name = task.replace("-", " ").capitalize()
            said.append(f"{name}: {result[key]['queries']:,} queries, gallery of {gallery}.")
    if "labels" in result:
        prompts = "; ".join(result["prompts"])
        said.append(f"{result['pictures']:,} pictures, {result['labels']:,} labels, prompts: {prompts}.")
    overlap = result.get("overlap") or {}
    if not overlap.get("checked"):
        said.append("Whether training pictures are among these is not known.")
    elif overlap.get("pictures"):
        said.append(f"Careful: {overlap['pictures']:,} of these pictures were trained on.")
    else:
        said.append("None of these pictures, nor a copy of one, was trained on.")
    if left_out := result["data"].get("left_out"):
        said.append(f"{len(left_out):,} pictures could not be read.")
    bootstrap = result.get("bootstrap") or {}
    if bootstrap:
        said.append(f"Intervals: bootstrap by {bootstrap['by']}, {bootstrap['resamples']:,} resamples.")
    if result.get("ties"):
        said.append(f"Ties are {result['ties']}.")
    return said


def data_name(result: Result) -> str:
    """What the data of a result is called: the end of its path."""
    return short(result["data"]["source"])


def number(value: Any) -> str:
    """A figure in four digits at most."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def figures_of(values: Mapping[str, Any]) -> list[str]:
    """Names of the figures among the keys of a result."""
    return [name for name in values if _FIGURE.fullmatch(name)]


def _parts(result: Result) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if result["kind"] != RETRIEVAL:
        yield _ZEROSHOT, result
        return
    for direction in DIRECTIONS:
        yield _TASKS[direction], result[direction]


def _config(result: Result) -> str:
    """What tells results on one data set apart."""
    if folds := result.get("folds"):
        return f"{folds['count']} folds"
    if result["kind"] == RETRIEVAL:
        return f"captions: {result.get('captions')}"
    return "; ".join([*([result["label_set"]] if result.get("label_set") else []), *result.get("prompts", [])])
