"""All that a model card tells, read from the files of a run or a model; what is not there is listed as missing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.evaluate import results
from clip_italian.models import mini_facts
from clip_italian.models_torch import mini
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.registration import OWN_TYPES
from clip_italian.train import cost
from clip_italian.train.history import HISTORY_FILE
from clip_italian.train.run import MODEL_FOLDER

RESULTS_FOLDER = "results"


@dataclass(frozen=True)
class CardFacts:
    """A model and what its files say; values are as in the files, None or empty where nothing is told.

    `results` are result files (`evaluate.results`) of these very weights, or of a cross-validation of the recipe.
    """

    name: str
    folder: Path | None
    info: Mapping[str, Any]
    weights: str
    parameters: int
    dim: int
    max_tokens: int
    model_type: str
    own_classes: bool
    results: Sequence[Mapping[str, Any]]
    probe: Mapping[str, Any] | None
    bias: Mapping[str, Any] | None
    costs: Mapping[str, cost.Spent]
    missing: list[str] = field(default_factory=list)

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe of the run, empty where it is not told."""
        return self.info.get("recipe") or {}

    @property
    def sources(self) -> Sequence[Mapping[str, Any]]:
        """Training data by source: see `train.data.count_origins`."""
        return (self.info.get("data") or {}).get("sources") or []


def gather(place: str, given: Sequence[Path] = (), name: str | None = None) -> CardFacts:
    """Read a run's folder, a model folder, or `mini`; `given` are further result files or folders of them.

    Raises UserError where there is no model, or a given file is no result, or no given result is this model's.
    """
    run, folder = _places(place)
    encoder = DualEncoder.load(folder or "mini")
    info = encoder.info
    known: list[dict[str, Any]] = []
    probe: Mapping[str, Any] | None = None
    costs: dict[str, cost.Spent] = {}
    if folder is None and (facts := mini_facts.read(mini.HEADS)):
        known, probe = facts.results, facts.probe
        costs = {key: cost.Spent.from_json(value) for key, value in facts.costs.items()}
    if spent := (cost.Spent.from_json(info["cost"]) if "cost" in info else run and cost.read(run / cost.COST_FILE)):
        costs = {"training": spent} | costs
    lying = _read(run, folder)
    asked = [one for path in given for one in _given(path)]
    mine = [one for one in asked if _of_model(one, encoder.weights_hash, info)]
    if given and not mine:
        raise UserError(f"{given[0]}: no result of this model in it; measure it: clip-italian evaluate … -o FILE")
    mine = [one for one in lying if _is_result(one) and _of_model(one, encoder.weights_hash, info)] + mine
    mine = [one for at, one in enumerate(mine) if one not in mine[:at]]
    config = encoder.model.config
    found = CardFacts(
        name=name or ("clip-italian mini" if folder is None else (run or folder).resolve().name),
        folder=folder, info=info, weights=encoder.weights_hash,
        parameters=sum(weight.numel() for weight in encoder.model.parameters()), dim=encoder.dim,
        max_tokens=encoder.max_tokens, model_type=config.model_type, own_classes=bool(OWN_TYPES & _types(config)),
        results=[*known, *mine],
        probe=probe or next((one for one in lying if _is_probe(one, encoder.weights_hash, place, folder)), None),
        bias=next((one for one in lying if _is_bias(one, place, folder)), None), costs=costs,
    )  # fmt: skip
    found.missing.extend(_missing(found))
    return found


def learned(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what is learned from given data: those that folds share with the model on all of it."""
    free = ("output", "checkpoints", "tracking", "device", "cost", "license", "data")
    kept = {key: value for key, value in recipe.items() if key not in free}
    model = kept.get("model") or {}
    if model.get("vision"):  # beside two towers older versions wrote a base, which was none
        kept["model"] = {key: value for key, value in model.items() if key != "base"}
    return kept


def short(place: str) -> str:
    """The last two parts of a path: enough to know it by, and nothing of whose machine it was on."""
    return place if "://" in place else "/".join(Path(place).parts[-2:])


def _places(place: str) -> tuple[Path | None, Path | None]:
    """The run's folder, if any, and the model's; None for `mini`."""
    path = Path(place)
    if (path / MODEL_FOLDER / "config.json").is_file():
        return path, path / MODEL_FOLDER
    if (path / "config.json").is_file():
        parent = path.resolve().parent
        return (parent if (parent / HISTORY_FILE).is_file() else None), path
    if place == "mini":
        return None, None
    raise UserError(f"{place}: neither a finished run nor a model folder; give one that clip-italian train wrote")


def _read(run: Path | None, folder: Path | None) -> list[dict[str, Any]]:
    """JSON objects that lie in the run's folder, in its results folder, or in the model's."""
    folders = [place for place in (run, run and run / RESULTS_FOLDER, folder and folder / RESULTS_FOLDER) if place]
    found = []
    for path in (path for place in folders for path in sorted(place.glob("*.json"))):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            console.notice(f"{path}: no JSON, left out")
            continue
        if isinstance(value, dict):
            found.append(results.read(path).values if _is_result(value) else value)
    return found


def _given(path: Path) -> list[dict[str, Any]]:
    return [results.read(file).values for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]


def _is_result(value: Mapping[str, Any]) -> bool:
    return value.get("kind") in (results.RETRIEVAL, results.ZEROSHOT)


def _of_model(result: Mapping[str, Any], weights: str, info: Mapping[str, Any]) -> bool:
    """Whether a result is of these weights, or of the folds of a cross-validation of this recipe."""
    if folds := result.get("folds"):
        return "recipe" in info and learned(folds["recipe"]) == learned(info["recipe"])
    return bool((result.get("model") or {}).get("weights_sha256") == weights)


def _is_probe(value: Mapping[str, Any], weights: str, place: str, folder: Path | None) -> bool:
    """Whether it is what `evaluate probe --json` prints of this model; before it told the weights, by the place."""
    if not {"model", "language", "number", "colour"} <= value.keys():
        return False
    if "weights_sha256" in value:
        return bool(value["weights_sha256"] == weights)
    return _same_place(value["model"], place, folder)


def _is_bias(value: Mapping[str, Any], place: str, folder: Path | None) -> bool:
    """Whether it is what `evaluate bias --json` prints of this model."""
    return {"model", "neutral", "prompts", "limits"} <= value.keys() and _same_place(value["model"], place, folder)


def _same_place(model: str, place: str, folder: Path | None) -> bool:
    return model == place or (folder is not None and Path(model).resolve() == folder.resolve())


def _types(config: Any) -> set[str]:
    parts = (config, getattr(config, "vision_config", None), getattr(config, "text_config", None))
    return {part.model_type for part in parts if part is not None}


def _missing(found: CardFacts) -> list[str]:
    spent = found.costs.get("training")
    told = {
        "licence of the weights (license = … in the recipe, or --license)": found.recipe.get("license"),
        "recipe": found.recipe,
        "training data": found.sources,
        "results (clip-italian evaluate … -o RUN/results/NAME.json)": found.results,
        "cost": spent,
        f"energy ({spent.missing if spent else ''})": spent is None or spent.energy_kwh is not None,
    }
    return [what for what, value in told.items() if not value]
