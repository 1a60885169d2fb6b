"""How often a model says the right number, colour or place."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from scipy.stats import binomtest

from clip_italian.evaluate.embeddings import unit
from clip_italian.evaluate.probes.cases import Case, make
from clip_italian.languages import Probes
from clip_italian.models.encoder import Encoder

_BATCH = 64
_NONE = "none"


def cosines(case: Case, image: np.ndarray, embedded: Mapping[str, np.ndarray]) -> dict[str, float]:
    """By value, the cosine of the picture `image` (dim,) and the mean of the ways to say it.

    `embedded` are all ways to say all values, (dim,) each, of unit length.
    """
    return {value: float(_mean([embedded[way] for way in ways]) @ image) for value, ways in case.choices.items()}


def answer(scores: Mapping[str, float]) -> str | None:
    """The value that the model chooses: the nearest one.

    None where the nearest is not the only one: a model that gives every choice the same score has not answered.
    """
    best = max(scores.values())
    winners = [value for value, score in scores.items() if score == best]
    return winners[0] if len(winners) == 1 else None


@dataclass(frozen=True)
class _Answer:
    """What was said of the drawing of this number among those of its kind; "none": nothing, all are as near."""

    number: int
    value: str
    said: str
    cosines: Mapping[str, float]
    captions: Mapping[str, str]

    @property
    def width(self) -> float:
        """How much nearer than the right one the nearest is."""
        return max(self.cosines.values()) - self.cosines[self.value]

    def mistake(self) -> dict[str, Any]:
        """For people, and for drawing it again."""
        right, taken = (
            {"value": value, "caption": self.captions[value], "cosine": round(self.cosines[value], 4)}
            for value in (self.value, self.said)
        )
        return {"number": self.number, "right": right, "taken": taken}


def measure(
    encoder: Encoder, cases: Iterable[Case], progress: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Accuracy by kind and by value, each with chance and a 95 % interval (Wilson), and what was said instead.

    `answers` counts, for each value, the values that the model chose; "none" is a tie. `mistakes` holds the widest
    mistake of each value, the widest first: that whose wrong choice is nearest in comparison with the right one.
    `progress` gets the number of cases done with each batch. Raises UserError for embeddings that are NaN, infinite
    or zero.
    """
    answers: dict[str, list[_Answer]] = {}
    embedded: dict[str, np.ndarray] = {}
    remaining = iter(cases)
    while some := list(islice(remaining, _BATCH)):
        ways = (way for case in some for ways in case.choices.values() for way in ways)
        new = [way for way in dict.fromkeys(ways) if way not in embedded]
        if new:
            embedded.update(zip(new, unit(encoder.encode_text(new), "sentences"), strict=True))
        images = unit(encoder.encode_images([case.picture for case in some]), "drawings")
        for case, image in zip(some, images, strict=True):
            mine, found = answers.setdefault(case.kind, []), cosines(case, image, embedded)
            captions = {value: ways[0] for value, ways in case.choices.items()}
            mine.append(_Answer(len(mine), case.value, answer(found) or _NONE, found, captions))
        progress(len(some))
    return {kind: _figures(found) for kind, found in answers.items()}


def probe(
    encoder: Encoder, words: Probes, language: str, each: int, seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """`measure` on `each` drawings of every value, with what is needed to draw them again and to know the weights."""
    drawn = {"language": language, "seed": seed, "each": each, "weights_sha256": encoder.facts()["weights_sha256"]}
    return drawn | measure(encoder, make(words, each, seed), progress)


def _figures(answers: Sequence[_Answer]) -> dict[str, Any]:
    """The figures of one kind."""
    said: dict[str, Counter[str]] = {}
    widest: dict[str, _Answer] = {}
    for one in answers:
        said.setdefault(one.value, Counter())[one.said] += 1
        if one.said not in (one.value, _NONE):
            widest[one.value] = max(widest.get(one.value, one), one, key=lambda found: found.width)
    mistakes = sorted(widest.values(), key=lambda found: found.width, reverse=True)
    return {
        **_share(sum(count[value] for value, count in said.items()), len(answers)),
        "chance": round(1 / len(answers[0].cosines), 4),
        "by_value": {value: _share(count[value], count.total()) for value, count in said.items()},
        "answers": {value: dict(count) for value, count in said.items()},
        "mistakes": [one.mistake() for one in mistakes],
    }


def _mean(vectors: Sequence[np.ndarray]) -> np.ndarray:
    mean: np.ndarray = np.mean(vectors, axis=0)
    return mean / np.linalg.norm(mean)


def _share(right: int, cases: int) -> dict[str, Any]:
    low, high = binomtest(right, cases).proportion_ci(method="wilson")
    return {"accuracy": round(right / cases, 4), "interval": [round(low, 4), round(high, 4)], "cases": cases}
