"""The models that a run started from, with their licences where a file on this machine tells them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, try_to_load_from_cache

from clip_italian.files import assets

_HUB = "https://huggingface.co/"


@dataclass(frozen=True)
class Base:
    """A model by what it is, where it is from, its licence, and its id on the Hub, where these are told."""

    what: str
    place: str | None
    licence: str | None
    hub_id: str | None


def bases(recipe: Mapping[str, Any]) -> list[Base]:
    """The models that a recipe names; none where there is no recipe."""
    return list(_bases(recipe.get("model") or {}))


def _bases(model: Mapping[str, Any]) -> Iterator[Base]:
    names = [name for name in (model.get("vision"), model.get("text")) if name] or [model.get("base")]
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
    """The licence that a model card names."""
    if not card.is_file():
        return None
    try:
        found = ModelCard.load(card, ignore_metadata_errors=True).data.license
    except Exception:  # a card may hold anything: YAML that is none, text that is no text
        return None
    return str(found) if found else None
