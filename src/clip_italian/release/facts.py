"""The facts of a model card, read from the files of a run or a model; facts that no file has are listed as missing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, try_to_load_from_cache

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.evaluate import results
from clip_italian.files import assets
from clip_italian.models import mini_facts
from clip_italian.models_torch import mini
from clip_italian.models_torch.dual_encoder import DualEncoder
from clip_italian.models_torch.registration import OWN_TYPES
from clip_italian.train import cost
from clip_italian.train.history import HISTORY_FILE
from clip_italian.train.run import MODEL_FOLDER

RESULTS_FOLDER = "results"
_HUB = "https://huggingface.co/"


@dataclass(frozen=True)
class Base:
    """A base model: description, home page, licence and Hub id, None where unknown."""

    what: str
    place: str | None
    licence: str | None
    hub_id: str | None


@dataclass(frozen=True)
class ModelFacts:
    """A model and the facts in its files; None or empty where no file has them.

    `results` are result files (`evaluate.results`) of exactly these weights, or of a cross-validation of the recipe.
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
        """The recipe of the run; empty if unknown."""
        return self.info.get("recipe") or {}

    @property
    def sources(self) -> Sequence[Mapping[str, Any]]:
        """Training data by source: see `train.data.count_origins`."""
        return (self.info.get("data") or {}).get("sources") or []

    @property
    def bases(self) -> list[Base]:
        """The models that the run started from, as its recipe names them, with licences found on this machine."""
        return list(_bases(self.recipe.get("model") or {}))


def gather(place: str, given: Sequence[Path] = (), name: str | None = None) -> ModelFacts:
    """Read a run's folder, a model folder, or `mini`; `given` are further result files or folders of them.

    Raises UserError if there is no model, a given file is no result, or no given result is of this model.
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
    beside = _read(run, folder)
    mine = [one for path in given for one in _given(path) if _of_model(one, encoder.weights_hash, info)]
    if given and not mine:
        raise UserError(f"{given[0]}: no result of this model in it; measure it: clip-italian evaluate … -o FILE")
    mine = [one for one in beside if _is_result(one) and _of_model(one, encoder.weights_hash, info)] + mine
    mine = [one for at, one in enumerate(mine) if one not in mine[:at]]
    config = encoder.model.config
    gathered = ModelFacts(
        name=name or ("clip-italian mini" if folder is None else (run or folder).resolve().name),
        folder=folder, info=info, weights=encoder.weights_hash,
        parameters=sum(weight.numel() for weight in encoder.model.parameters()), dim=encoder.dim,
        max_tokens=encoder.max_tokens, model_type=config.model_type, own_classes=bool(OWN_TYPES & _types(config)),
        results=[*known, *mine],
        probe=probe or next((one for one in beside if _is_probe(one, encoder.weights_hash, place, folder)), None),
        bias=next((one for one in beside if _is_bias(one, place, folder)), None), costs=costs,
    )  # fmt: skip
    gathered.missing.extend(_missing(gathered))
    return gathered


def learned(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's settings that determine what is learned from given data: the same for all folds of a set."""
    free = ("output", "checkpoints", "tracking", "device", "cost", "license", "data")
    kept = {key: value for key, value in recipe.items() if key not in free}
    model = kept.get("model") or {}
    if model.get("vision"):  # older versions also wrote an unused base beside two towers
        kept["model"] = {key: value for key, value in model.items() if key != "base"}
    return kept


def short(place: str) -> str:
    """The last two parts of a path, which identify it without naming the machine's user."""
    return place if "://" in place else "/".join(Path(place).parts[-2:])


def _places(place: str) -> tuple[Path | None, Path | None]:
    """The run's folder, if any, and the model's folder, None for `mini`."""
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
    """JSON objects in the run's folder, in its results folder, and in the model's results folder."""
    folders = [place for place in (run, run and run / RESULTS_FOLDER, folder and folder / RESULTS_FOLDER) if place]
    objects = []
    for path in (path for place in folders for path in sorted(place.glob("*.json"))):
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            console.notice(f"{path}: no JSON, left out")
            continue
        if isinstance(value, dict):
            objects.append(results.read(path).values if _is_result(value) else value)
    return objects


def _given(path: Path) -> list[dict[str, Any]]:
    return [results.read(file).values for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]


def _is_result(value: Mapping[str, Any]) -> bool:
    return value.get("kind") in (results.RETRIEVAL, results.ZEROSHOT)


def _of_model(result: Mapping[str, Any], weights: str, info: Mapping[str, Any]) -> bool:
    """True for a result of these weights, and for one of a cross-validation of this recipe."""
    if folds := result.get("folds"):
        return "recipe" in info and learned(folds["recipe"]) == learned(info["recipe"])
    return bool((result.get("model") or {}).get("weights_sha256") == weights)


def _is_probe(value: Mapping[str, Any], weights: str, place: str, folder: Path | None) -> bool:
    """True for the output of `evaluate probe --json` for this model; old ones name no weights but the model's place."""
    if not {"model", "language", "number", "colour"} <= value.keys():
        return False
    if "weights_sha256" in value:
        return bool(value["weights_sha256"] == weights)
    return _same_place(value["model"], place, folder)


def _is_bias(value: Mapping[str, Any], place: str, folder: Path | None) -> bool:
    """True for the output of `evaluate bias --json` for this model."""
    return {"model", "neutral", "prompts", "limits"} <= value.keys() and _same_place(value["model"], place, folder)


def _same_place(model: str, place: str, folder: Path | None) -> bool:
    return model == place or (folder is not None and Path(model).resolve() == folder.resolve())


def _types(config: Any) -> set[str]:
    parts = (config, getattr(config, "vision_config", None), getattr(config, "text_config", None))
    return {part.model_type for part in parts if part is not None}


def _missing(model: ModelFacts) -> list[str]:
    spent = model.costs.get("training")
    known = {
        "licence of the weights (license = … in the recipe, or --license)": model.recipe.get("license"),
        "recipe": model.recipe,
        "training data": model.sources,
        "results (clip-italian evaluate … -o RUN/results/NAME.json)": model.results,
        "cost": spent,
        f"energy ({spent.missing if spent else ''})": spent is None or spent.energy_kwh is not None,
    }
    return [what for what, value in known.items() if not value]


def _bases(model: Mapping[str, Any]) -> Iterator[Base]:
    towers = (model.get("teacher"), model.get("vision"), model.get("text"))
    names = list(dict.fromkeys(name for name in towers if name)) or [model.get("base")]
    for name in names:
        if name == "mini":
            for wheel in (assets.VISION, assets.TEXT):
                on_hub = wheel.home.removeprefix(_HUB) if wheel.home.startswith(_HUB) else None
                yield Base(f"{wheel.provides}: {wheel.package} {wheel.version}", wheel.home, wheel.license, on_hub)
        elif name and Path(name).is_dir():
            yield Base(Path(name).name, None, _licence(Path(name) / "README.md"), None)
        elif name and name.count("/") == 1:
            cached = try_to_load_from_cache(name, "README.md")
            yield Base(name, _HUB + name, _licence(Path(cached)) if isinstance(cached, str) else None, name)
        elif name:
            yield Base(Path(name).name, None, None, None)


def _licence(card: Path) -> str | None:
    """The licence in a model card, None if there is none."""
    if not card.is_file():
        return None
    try:
        licence = ModelCard.load(card, ignore_metadata_errors=True).data.license
    except Exception:  # a card may be anything: invalid YAML, undecodable text
        return None
    return str(licence) if licence else None
