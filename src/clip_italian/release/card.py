"""A model card in the Hub's format: YAML for machines, Markdown for people; every figure is from the model's files.

Facts that no file has are said to be missing. The text around the figures is `templates/model_card.md`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers.models.auto.modeling_auto import MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.evaluate.results import RETRIEVAL
from clip_italian.evaluate.retrieval import DIRECTIONS
from clip_italian.files.atomic import staged
from clip_italian.pages import render
from clip_italian.pictures import leaks
from clip_italian.release import failures
from clip_italian.release.facts import Base, ModelFacts, short
from clip_italian.tables import aligned_markdown
from clip_italian.train.cost import Spent
from clip_italian.train.progress import clock_time
from clip_italian.train.report import settings, stages

CARD = "README.md"
MARK = "<!-- Written by `clip-italian card`; the next run writes it again. -->"
_UNKNOWN = "unknown"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")  # the Hub refuses a card that names data otherwise
# Settings that are paths.
_PATHS = ("output", "data.pairs", "model.base", "model.vision", "model.text", "model.teacher")
_TASKS = {"text_to_image": "text-to-image-retrieval", "image_to_text": "image-to-text-retrieval"}
_ZEROSHOT = "zero-shot-image-classification"
_FIGURE = re.compile(r"(MRR|R|accuracy)@\d+|median_rank|mean_rank")


def with_licence(facts: ModelFacts, licence: str | None) -> ModelFacts:
    """The same facts with another licence of the weights than the recipe's; None keeps it."""
    if licence is None:
        return facts
    info = {**facts.info, "recipe": {**facts.recipe, "license": licence}}
    return replace(facts, info=info, missing=[one for one in facts.missing if not one.startswith("licence")])


def card(facts: ModelFacts, picture: str | None = None) -> str:
    """The card's text: YAML between lines of dashes, then Markdown; `picture` is a picture of mistakes to link to."""
    text = f"---\n{metadata(facts).to_yaml()}\n---\n{MARK}\n\n{_body(facts, picture)}\n"
    ModelCard(text)  # fails here rather than on the Hub if the card cannot be parsed
    return text


def publish(facts: ModelFacts, path: Path) -> None:
    """Write a card, and beside it the picture of mistakes (`failures.jpg`, or NAME-failures.jpg beside NAME.md).

    Raises UserError as `write` and `failures.write` do.
    """
    _check_ours(path)
    sheet = path.with_name(failures.FILE if path.name == CARD else f"{path.stem}-{failures.FILE}")
    shows = facts.probe is not None and failures.write(facts.probe, sheet)
    write(card(facts, sheet.name if shows else None), path)


def write(text: str, path: Path) -> None:
    """Write a card atomically; raises UserError for a file that somebody else wrote."""
    _check_ours(path)
    with staged(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _check_ours(path: Path) -> None:
    if path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{path}: written by somebody else; choose another name (-o)")


def metadata(facts: ModelFacts) -> ModelCardData:
    """The card's YAML."""
    licence = facts.recipe.get("license")
    evaluated = eval_results(facts.results)
    on_hub = [base.hub_id for base in facts.bases if base.hub_id]
    return ModelCardData(
        language=facts.info.get("language"),
        license=licence,
        library_name="clip-italian" if facts.own_classes else "transformers",
        pipeline_tag="zero-shot-image-classification"
        if facts.model_type in MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES
        else "feature-extraction",
        tags=["clip", "clip-italian", "image-text-retrieval", "zero-shot-image-classification"],
        datasets=[one["source"] for one in facts.sources if _HUB_NAME.fullmatch(one["source"])] or None,
        base_model=on_hub or None,
        model_name=facts.name,
        eval_results=evaluated or None,
        metrics=list(dict.fromkeys(one.metric_type for one in evaluated)) or None,
        **_emissions(facts.costs.get("training")),
    )


def _emissions(spent: Spent | None) -> dict[str, Any]:
    if spent is None or spent.co2_kg is None:
        return {}
    last = spent.parts[-1]
    emissions = {
        "emissions": round(spent.co2_kg * 1000, 3),  # the Hub's unit is the gram
        "source": "codecarbon",
        "training_type": "fine-tuning",
        "geographical_location": last.country,
        "hardware_used": f"{last.devices} x {last.device}",
    }
    return {"co2_eq_emissions": emissions}


def _body(facts: ModelFacts, picture: str | None) -> str:
    code = facts.info.get("language")
    language = languages.get(code) if code in languages.available() else None
    recipe, trained_on = facts.recipe, facts.info.get("data") or {}
    return render(
        "model_card.md",
        facts=facts,
        language=f"{language.name} ({code})" if language else code,
        queries=list(language.example_queries[:2]) if language else ["a cat", "a dog"],
        load_name="mini" if facts.folder is None else facts.name,
        data=_data_table(facts),
        pairs=short(str(trained_on.get("pairs", ""))),
        fingerprint=trained_on.get("fingerprint"),
        teacher=short((recipe.get("model") or {}).get("teacher") or ""),
        fingerprints=(facts.info.get(leaks.INFO_KEY) or {}).get("count"),
        merged=facts.info.get("merged"),
        train=sum(one["pictures"] for one in facts.sources),
        settings=_settings_table(recipe),
        stages=_stages_table(recipe),
        results=[(_data_name(one), aligned_markdown(*_figure_table(one)), _notes(one)) for one in facts.results],
        validation=facts.info.get("validation"),
        number=_number,
        costs=_cost_table(facts),
        spent=facts.costs.get("training"),
        licences=_licence_table(facts),
        fails=failures.summary(facts.probe) if facts.probe else None,
        picture=picture,
        of_each=failures.MAX_SHOWN,
        credit=failures.CREDIT,
        bias=_bias(facts),
        version=version("clip-italian"),
    )


def _data_table(facts: ModelFacts) -> str:
    rows: list[Sequence[str]] = [
        (one["source"], ", ".join(licence or _UNKNOWN for licence in one["licenses"]),
         f"{one['pictures']:,}", f"{one['captions']:,}")
        for one in facts.sources
    ]  # fmt: skip
    if len(rows) > 1:
        rows.append(("all", "", *(f"{sum(one[key] for one in facts.sources):,}" for key in ("pictures", "captions"))))
    return aligned_markdown(("source", "licence", "pictures", "pairs"), rows, names=2) if rows else ""


def _licence_table(facts: ModelFacts) -> str:
    rows: list[Sequence[str]] = [("these weights", facts.recipe.get("license") or _UNKNOWN, "")]
    rows += [(base.what, base.licence or _base_unknown(base), base.place or "") for base in facts.bases]
    for one in facts.sources:
        licences = one["licenses"].items()
        rows += [(f"data: {one['source']}", licence or _UNKNOWN, f"{count:,} pictures") for licence, count in licences]
    return aligned_markdown(("what", "licence", "where"), rows, names=3)


def _base_unknown(base: Base) -> str:
    return "see its card" if base.place else _UNKNOWN


def _settings_table(recipe: Mapping[str, Any]) -> str:
    rows = [(key, short(value) if key in _PATHS else value) for key, value in settings(recipe).items()]
    return aligned_markdown(("setting", "value"), rows, names=2) if rows else ""


def _stages_table(recipe: Mapping[str, Any]) -> str:
    if not recipe.get("stage"):
        return ""
    table = stages(recipe["stage"])
    rows = [(key.replace("_", " "), *cells) for key, cells in table["rows"]]
    return aligned_markdown(("stage", *table["names"]), rows, names=1 + len(table["names"]))


def _cost_table(facts: ModelFacts) -> str:
    if not facts.costs:
        return ""
    currency = next(iter(facts.costs.values())).currency
    header = ("", "devices", "time", "device hours", f"{currency} per device", f"{currency} in all", "kWh", "kg CO2eq")
    rows = [
        (
            what, str(spent.devices), clock_time(spent.seconds), f"{spent.device_hours:.3g}",
            _amount(spent.price_per_device), _amount(spent.price), _amount(spent.energy_kwh), _amount(spent.co2_kg),
        )
        for what, spent in facts.costs.items()
    ]  # fmt: skip
    return aligned_markdown(header, rows)


def _amount(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3g}"


def _bias(facts: ModelFacts) -> dict[str, Any] | None:
    """Table of the prompts whose interval excludes 0 for some group, their number, and the limits."""
    if not facts.bias:
        return None
    groups = list(facts.bias["pictures"])
    shown = [one for one in facts.bias["prompts"] if any(part["beside_zero"] for part in one["groups"].values())]
    rows = [(one["prompt"], *(f"{one['groups'][name]['association']:+.3f}" for name in groups)) for one in shown]
    header = ("prompt", *(f"{name} ({count})" for name, count in facts.bias["pictures"].items()))
    return {
        "table": aligned_markdown(header, rows) if rows else "",
        "shown": len(shown),
        "all": len(facts.bias["prompts"]),
        "neutral": facts.bias["neutral"],
        "limits": facts.bias["limits"],
    }


def eval_results(results: Sequence[Mapping[str, Any]]) -> list[EvalResult]:
    """The Hub's model-index: each figure of each result, in their order, with the numbers of the result files."""
    return [
        EvalResult(
            task_type=task, task_name=task.replace("-", " "),
            dataset_type=re.sub(r"[^\w.]+", "-", _data_name(result)).strip("-"), dataset_name=_data_name(result),
            dataset_config=_config(result), dataset_split=", ".join(result["data"].get("splits") or []) or None,
            dataset_revision=result["data"].get("fingerprint") or result["data"].get("pictures_sha256"),
            metric_type=figure.lower(), metric_name=figure.replace("_", " "), metric_value=values[figure],
        )
        for result in results
        for task, values in _parts(result)
        for figure in _figure_names(values)
    ]  # fmt: skip


def _figure_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a result's table: figures with 95 % intervals, directions side by side."""
    parts = dict(_parts(result))
    header = [""]
    for task in parts:
        header += [task.replace("-", " "), "95 % interval"]
    names = dict.fromkeys(name for values in parts.values() for name in _figure_names(values))
    rows = []
    for name in names:
        row = [name.replace("_", " ")]
        for values in parts.values():
            interval = (values.get("intervals") or {}).get(name)
            row += [_number(values.get(name)), f"{_number(interval[0])} to {_number(interval[1])}" if interval else "–"]
        rows.append(row)
    return header, rows


def _notes(result: Mapping[str, Any]) -> list[str]:
    """Sentences about how a result was measured."""
    sentences = []
    if folds := result.get("folds"):
        sentences.append(
            f"Cross-validated: {folds['count']} models of this recipe, each measured on the fold that it was not "
            "trained on; none of them is this model, which was trained on all of it."
        )
    for key, task in _TASKS.items():
        if key in result:
            sizes = (result.get("galleries") or {}).get(key) or [result[key].get("gallery")]
            gallery = " to ".join(dict.fromkeys(f"{size:,}" for size in (min(sizes), max(sizes))))
            name = task.replace("-", " ").capitalize()
            sentences.append(f"{name}: {result[key]['queries']:,} queries, gallery of {gallery}.")
    if "labels" in result:
        prompts = "; ".join(result["prompts"])
        sentences.append(f"{result['pictures']:,} pictures, {result['labels']:,} labels, prompts: {prompts}.")
    overlap = result.get("overlap") or {}
    if not overlap.get("checked"):
        sentences.append("It is unknown whether training pictures are among these.")
    elif overlap.get("pictures"):
        sentences.append(f"Careful: {overlap['pictures']:,} of these pictures were trained on.")
    else:
        sentences.append("None of these pictures, nor a copy of one, was trained on.")
    if left_out := result["data"].get("left_out"):
        sentences.append(f"{len(left_out):,} pictures could not be read.")
    bootstrap = result.get("bootstrap") or {}
    if bootstrap:
        sentences.append(f"Intervals: bootstrap by {bootstrap['by']}, {bootstrap['resamples']:,} resamples.")
    if result.get("ties"):
        sentences.append(f"Ties are {result['ties']}.")
    return sentences


def _data_name(result: Mapping[str, Any]) -> str:
    """Name of a result's data: the end of its path."""
    return short(result["data"]["source"])


def _number(value: Any) -> str:
    """A figure with at most four digits."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}"


def _figure_names(values: Mapping[str, Any]) -> list[str]:
    """Names of the figures among the keys of a result."""
    return [name for name in values if _FIGURE.fullmatch(name)]


def _parts(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if result["kind"] != RETRIEVAL:
        yield _ZEROSHOT, result
        return
    for direction in DIRECTIONS:
        yield _TASKS[direction], result[direction]


def _config(result: Mapping[str, Any]) -> str:
    """A text that distinguishes results on one data set."""
    if folds := result.get("folds"):
        return f"{folds['count']} folds"
    if result["kind"] == RETRIEVAL:
        return f"captions: {result.get('captions')}"
    return "; ".join([*([result["label_set"]] if result.get("label_set") else []), *result.get("prompts", [])])
