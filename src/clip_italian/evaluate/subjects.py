"""The models of one measurement: loaded, and named as reports will call them."""

from collections.abc import Sequence
from dataclasses import dataclass

from clip_italian.errors import UsageError
from clip_italian.languages import Language
from clip_italian.models.encoder import Encoder
from clip_italian.models.load import load_rival


@dataclass(frozen=True)
class Subject:
    """A model by folder, id or other name; what reports call it; and the model itself."""

    source: str
    name: str
    encoder: Encoder


def named(sources: Sequence[str], names: Sequence[str]) -> list[str]:
    """What reports call the models: the given names, or what the models were asked for by.

    Raises UsageError where there are not as many names as models, or two models share one.
    """
    if names and len(names) != len(sources):
        raise UsageError(f"{len(names)} names for {len(sources)} models; give --name once for each --model, or never")
    found = list(names or sources)
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two models are called {twice!r}; give each another --name")
    return found


def load(sources: Sequence[str], names: Sequence[str], language: Language, device: str) -> list[Subject]:
    """Load the models in order; all are in memory together. `names` are those that `named` found."""
    return [
        Subject(source, name, load_rival(source, language, device)) for source, name in zip(sources, names, strict=True)
    ]
