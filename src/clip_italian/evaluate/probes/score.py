"""How often a model says the right number, colour or place."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from scipy.stats import binomtest

from clip_italian.evaluate.embeddings import unit
from clip_italian.evaluate.probes.cases import Case
from clip_italian.model.encoder import Encoder

_BATCH = 64


def answer(case: Case, image: np.ndarray, embedded: Mapping[str, np.ndarray]) -> str | None:
    """What the model chooses: the value whose ways to say it are, on average, nearest to the picture `image` (dim,).

    `embedded` are all ways to say all values. None where the nearest is not the only one: a model that gives every
    choice the same score has not answered.
    """
    scores = {value: _mean([embedded[way] for way in ways]) @ image for value, ways in case.choices.items()}
    best = max(scores.values())
    winners = [value for value, score in scores.items() if score == best]
    return winners[0] if len(winners) == 1 else None


def measure(
    encoder: Encoder, cases: Iterable[Case], progress: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Accuracy by kind and by value, each with chance and a 95 % interval (Wilson), and what was said instead.

    `answers` counts, for each value, the values that the model chose; "none" is a tie. `progress` gets the number of
    cases done with each batch. Raises UserError for embeddings that are NaN, infinite or zero.
    """
    counts: dict[str, dict[str, Counter[str]]] = {}
    choices: dict[str, int] = {}
    embedded: dict[str, np.ndarray] = {}
    remaining = iter(cases)
    while some := list(islice(remaining, _BATCH)):
        ways = (way for case in some for ways in case.choices.values() for way in ways)
        new = [way for way in dict.fromkeys(ways) if way not in embedded]
        if new:
            embedded.update(zip(new, unit(encoder.encode_text(new), "sentences"), strict=True))
        images = unit(encoder.encode_images([case.picture for case in some]), "drawings")
        for case, image in zip(some, images, strict=True):
            said = answer(case, image, embedded) or "none"
            counts.setdefault(case.kind, {}).setdefault(case.value, Counter())[said] += 1
            choices[case.kind] = len(case.choices)
        progress(len(some))
    return {
        kind: _share(sum(said[value] for value, said in values.items()), sum(said.total() for said in values.values()))
        | {"chance": round(1 / choices[kind], 4), "by_value": {v: _share(s[v], s.total()) for v, s in values.items()}}
        | {"answers": {value: dict(said) for value, said in values.items()}}
        for kind, values in counts.items()
    }


def _mean(vectors: Sequence[np.ndarray]) -> np.ndarray:
    mean: np.ndarray = np.mean(vectors, axis=0)
    return mean / np.linalg.norm(mean)


def _share(right: int, cases: int) -> dict[str, Any]:
    low, high = binomtest(right, cases).proportion_ci(method="wilson")
    return {"accuracy": round(right / cases, 4), "interval": [round(low, 4), round(high, 4)], "cases": cases}
