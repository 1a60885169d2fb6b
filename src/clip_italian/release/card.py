"""A model card in the Hub's format: YAML for machines, Markdown for people; every figure from the model's own files.

What the files do not tell is said to be missing. The text around the figures is `templates/model_card.md`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from transformers.models.auto.modeling_auto import MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES

from clip_italian import languages
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.pages import render
from clip_italian.pictures import leaks
from clip_italian.release import failure_sheet, failures, figures
from clip_italian.release.bases import Base, bases
from clip_italian.release.facts import CardFacts, short
from clip_italian.stats.card import table
from clip_italian.train.cost import Spent
from clip_italian.train.progress import clock_time
from clip_italian.train.report import settings, stages

CARD = "README.md"
MARK = "<!-- Written by `clip-italian card`; the next run writes it again. -->"
_UNKNOWN = "not told"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")  # the Hub refuses a card that names data otherwise
_PLACES = ("output", "data.pairs", "model.base", "model.vision", "model.text")  # settings that are paths


def with_licence(found: CardFacts, licence: str | None) -> CardFacts:
    """The same facts with another licence of the weights than the recipe's, if one is given."""
    if licence is None:
        return found
    info = {**found.info, "recipe": {**found.recipe, "license": licence}}
    return replace(found, info=info, missing=[one for one in found.missing if not one.startswith("licence")])


def card(found: CardFacts, picture: str | None = None) -> str:
    """The card's text: YAML between lines of dashes, then Markdown; `picture` is a sheet of mistakes to link to."""
    text = f"---\n{metadata(found).to_yaml()}\n---\n{MARK}\n\n{_body(found, picture)}\n"
    ModelCard(text)  # what cannot be read back is a mistake of ours, and better found now
    return text


def publish(found: CardFacts, path: Path) -> None:
    """Write a card, and the sheet of mistakes beside it (`failures.jpg`, or NAME-failures.jpg beside NAME.md).

    Raises UserError as `write` and `failure_sheet.write` do.
    """
    _check_ours(path)
    sheet = path.with_name(failure_sheet.FILE if path.name == CARD else f"{path.stem}-{failure_sheet.FILE}")
    shows = found.probe is not None and failure_sheet.write(found.probe, sheet)
    write(card(found, sheet.name if shows else None), path)


def write(text: str, path: Path) -> None:
    """Write a card in place at the end; raises UserError where there is one that somebody else wrote."""
    _check_ours(path)
    with staged(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _check_ours(path: Path) -> None:
    if path.is_file() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{path}: written by somebody else; choose another name (-o)")


def metadata(found: CardFacts) -> ModelCardData:
    """What the Hub reads."""
    licence = found.recipe.get("license")
    evaluated = figures.eval_results(found.results)
    on_hub = [base.hub_id for base in bases(found.recipe) if base.hub_id]
    return ModelCardData(
        language=found.info.get("language"),
        license=licence,
        library_name="clip-italian" if found.own_classes else "transformers",
        pipeline_tag="zero-shot-image-classification"
        if found.model_type in MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES
        else "feature-extraction",
        tags=["clip", "clip-italian", "image-text-retrieval", "zero-shot-image-classification"],
        datasets=[one["source"] for one in found.sources if _HUB_NAME.fullmatch(one["source"])] or None,
        base_model=on_hub or None,
        model_name=found.name,
        eval_results=evaluated or None,
        metrics=list(dict.fromkeys(one.metric_type for one in evaluated)) or None,
        **_emissions(found.costs.get("training")),
    )


def _emissions(spent: Spent | None) -> dict[str, Any]:
    if spent is None or spent.co2_kg is None:
        return {}
    last = spent.parts[-1]
    told = {
        "emissions": round(spent.co2_kg * 1000, 3),  # the Hub's unit is the gram
        "source": "codecarbon",
        "training_type": "fine-tuning",
        "geographical_location": last.country,
        "hardware_used": f"{last.devices} x {last.device}",
    }
    return {"co2_eq_emissions": told}


def _body(found: CardFacts, picture: str | None) -> str:
    code = found.info.get("language")
    language = languages.get(code) if code in languages.available() else None
    recipe, trained_on = found.recipe, found.info.get("data") or {}
    return render(
        "model_card.md",
        found=found,
        language=f"{language.name} ({code})" if language else code,
        queries=list(language.example_queries[:2]) if language else ["a cat", "a dog"],
        load_name="mini" if found.folder is None else found.name,
        data=_data_table(found),
        pairs=short(str(trained_on.get("pairs", ""))),
        fingerprint=trained_on.get("fingerprint"),
        fingerprints=(found.info.get(leaks.INFO_KEY) or {}).get("count"),
        merged=found.info.get("merged"),
        train=sum(one["pictures"] for one in found.sources),
        settings=_settings_table(recipe),
        stages=_stages_table(recipe),
        results=[(figures.data_name(one), table(*figures.tables(one)), figures.notes(one)) for one in found.results],
        validation=found.info.get("validation"),
        number=figures.number,
        costs=_cost_table(found),
        spent=found.costs.get("training"),
        licences=_licence_table(found),
        fails=failures.told(found.probe) if found.probe else None,
        picture=picture,
        of_each=failure_sheet.OF_EACH,
        credit=failure_sheet.CREDIT,
        bias=_bias(found),
        version=version("clip-italian"),
    )


def _data_table(found: CardFacts) -> str:
    rows: list[Sequence[str]] = [
        (one["source"], ", ".join(licence or _UNKNOWN for licence in one["licenses"]),
         f"{one['pictures']:,}", f"{one['captions']:,}")
        for one in found.sources
    ]  # fmt: skip
    if len(rows) > 1:
        rows.append(("all", "", *(f"{sum(one[key] for one in found.sources):,}" for key in ("pictures", "captions"))))
    return table(("source", "licence", "pictures", "pairs"), rows, names=2) if rows else ""


def _licence_table(found: CardFacts) -> str:
    rows: list[Sequence[str]] = [("these weights", found.recipe.get("license") or _UNKNOWN, "")]
    rows += [(base.what, base.licence or _base_unknown(base), base.place or "") for base in bases(found.recipe)]
    for one in found.sources:
        told = one["licenses"].items()
        rows += [(f"data: {one['source']}", licence or _UNKNOWN, f"{count:,} pictures") for licence, count in told]
    return table(("what", "licence", "where"), rows, names=3)


def _base_unknown(base: Base) -> str:
    return "see its card" if base.place else _UNKNOWN


def _settings_table(recipe: Mapping[str, Any]) -> str:
    told = settings(recipe)
    rows = [(key, short(value) if key in _PLACES else value) for key, value in told.items()]
    return table(("setting", "value"), rows, names=2) if rows else ""


def _stages_table(recipe: Mapping[str, Any]) -> str:
    if not recipe.get("stage"):
        return ""
    found = stages(recipe["stage"])
    rows = [(key.replace("_", " "), *cells) for key, cells in found["rows"]]
    return table(("stage", *found["names"]), rows, names=1 + len(found["names"]))


def _cost_table(found: CardFacts) -> str:
    if not found.costs:
        return ""
    currency = next(iter(found.costs.values())).currency
    header = ("", "devices", "time", "device hours", f"{currency} per device", f"{currency} in all", "kWh", "kg CO2eq")
    rows = [
        (
            what, str(spent.devices), clock_time(spent.seconds), f"{spent.device_hours:.3g}",
            _amount(spent.price_per_device), _amount(spent.price), _amount(spent.energy_kwh), _amount(spent.co2_kg),
        )
        for what, spent in found.costs.items()
    ]  # fmt: skip
    return table(header, rows)


def _amount(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3g}"


def _bias(found: CardFacts) -> dict[str, Any] | None:
    """Table of the prompts that lie beside zero for some group, of how many, and the limits."""
    if not found.bias:
        return None
    groups = list(found.bias["pictures"])
    shown = [one for one in found.bias["prompts"] if any(part["beside_zero"] for part in one["groups"].values())]
    rows = [(one["prompt"], *(f"{one['groups'][name]['association']:+.3f}" for name in groups)) for one in shown]
    header = ("prompt", *(f"{name} ({count})" for name, count in found.bias["pictures"].items()))
    return {
        "table": table(header, rows) if rows else "",
        "shown": len(shown),
        "all": len(found.bias["prompts"]),
        "neutral": found.bias["neutral"],
        "limits": found.bias["limits"],
    }
