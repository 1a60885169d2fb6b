"""Probes of numbers, colours and places: drawings made for the purpose, and sentences of which one is right.

Section 6 of the paper saw by hand that its model counts up to three. Here it is measured, for numbers from one to six,
colours and places, on OpenMoji drawings put on a white square.
"""

import json
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image
from scipy.stats import binomtest

from clip_italian.errors import UserError
from clip_italian.evaluate.ranks import unit
from clip_italian.files import assets
from clip_italian.files.atomic import staged
from clip_italian.languages import Probes, Thing
from clip_italian.models.encoder import Encoder
from clip_italian.pairs import Pair, write
from clip_italian.pictures.decoding import trim
from clip_italian.sources.emoji import rasterise

Kind = Literal["number", "colour", "relation"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUMBERS = range(1, 7)
# Position of the first thing, seen from the second; y grows downwards.
RELATIONS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
SIZE = 288  # pixels, the side of a picture
_CELLS = list(product((1 / 6, 1 / 2, 5 / 6), repeat=2))
_JITTER = 0.03  # of the picture's side; the largest drawing stays inside its cell
_SHADE = 0.78  # brightness of a paint relative to the next lighter one
_BATCH = 64
_TIE = "none"  # the answer of a model that gives the best score to several choices


@dataclass(frozen=True)
class Case:
    """A picture (RGB) of one value ("3", "rosso", "left") of a kind.

    `choices` are the possible answers by value, each in one or more wordings; `about` names the thing or things.
    """

    kind: Kind
    value: str
    about: str
    picture: Image.Image
    choices: dict[str, tuple[str, ...]]


def make_cases(words: Probes, each: int, seed: int, kinds: tuple[Kind, ...] = KINDS) -> Iterator[Case]:
    """`each` cases of every value of every kind, the same for the same seed.

    Things, places and sizes are drawn independently of the answer.
    """
    drawer = _Drawer(words)
    builders = {"number": _numbers, "colour": _colours, "relation": _relations}
    for kind in kinds:
        # Each kind has its own generator, so that the other kinds do not depend on it.
        yield from builders[kind](words, drawer, each, np.random.default_rng([seed, KINDS.index(kind)]))


def save_cases(cases: Iterable[Case], folder: Path) -> None:
    """Write `folder` atomically: PNG pictures, right answers in `pairs.jsonl`, all choices in `choices.jsonl`."""
    with staged(folder) as temporary:
        (temporary / "images").mkdir(parents=True)
        pairs = []
        lines = []
        for number, case in enumerate(cases):
            id_ = f"{case.kind}-{case.value}-{number:05d}"
            case.picture.save(temporary / "images" / f"{id_}.png")
            pairs.append(Pair(id_, f"images/{id_}.png", case.choices[case.value], f"probe-{case.kind}", "test"))
            lines.append(json.dumps({"id": id_, "right": case.value, "choices": case.choices}, ensure_ascii=False))
        write(pairs, temporary / "pairs.jsonl")
        (temporary / "choices.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def probe(
    encoder: Encoder, words: Probes, language: str, each: int, seed: int,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """`measure` on `each` drawings of every value, with the settings to draw them again and a digest of the weights."""
    drawn = {"language": language, "seed": seed, "each": each, "weights_sha256": encoder.facts()["weights_sha256"]}
    return drawn | measure(encoder, make_cases(words, each, seed), progress)


def measure(
    encoder: Encoder, cases: Iterable[Case], progress: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Accuracy by kind and by value, each with chance and a 95 % interval (Wilson), and the answers.

    `answers` counts the values that the model chose for each right value; "none" is a tie. `mistakes` has the mistake
    of each value with the largest margin between wrong and right choice, sorted by margin. `progress` gets the number
    of cases done with each batch. Raises UserError for embeddings that are NaN, infinite or zero.
    """
    answers: dict[str, list[_Answer]] = {}
    embedded: dict[str, np.ndarray] = {}
    remaining = iter(cases)
    while some := list(islice(remaining, _BATCH)):
        wordings = (wording for case in some for several in case.choices.values() for wording in several)
        new = [wording for wording in dict.fromkeys(wordings) if wording not in embedded]
        if new:
            embedded.update(zip(new, unit(encoder.encode_text(new), "sentences"), strict=True))
        images = unit(encoder.encode_images([case.picture for case in some]), "drawings")
        for case, image in zip(some, images, strict=True):
            mine = answers.setdefault(case.kind, [])
            cosines = {
                value: float(_mean([embedded[wording] for wording in several]) @ image)
                for value, several in case.choices.items()
            }
            captions = {value: several[0] for value, several in case.choices.items()}
            mine.append(_Answer(len(mine), case.value, _nearest(cosines), cosines, captions))
        progress(len(some))
    return {kind: _figures(some) for kind, some in answers.items()}


@dataclass(frozen=True)
class _Answer:
    """The value chosen for a drawing, and `number`, the drawing's place among those of its kind."""

    number: int
    right: str
    chosen: str
    cosines: Mapping[str, float]
    captions: Mapping[str, str]

    @property
    def margin(self) -> float:
        """Cosine of the nearest choice less that of the right one."""
        return max(self.cosines.values()) - self.cosines[self.right]

    def mistake(self) -> dict[str, Any]:
        """The mistake for people, with the number to draw it again."""
        right, taken = (
            {"value": value, "caption": self.captions[value], "cosine": round(self.cosines[value], 4)}
            for value in (self.right, self.chosen)
        )
        return {"number": self.number, "right": right, "taken": taken}


def _nearest(cosines: Mapping[str, float]) -> str:
    """The choice nearest to the picture; a model that gives several the best score has not answered."""
    best = max(cosines.values())
    winners = [value for value, cosine in cosines.items() if cosine == best]
    return winners[0] if len(winners) == 1 else _TIE


def _figures(answers: Sequence[_Answer]) -> dict[str, Any]:
    """The figures of one kind."""
    counts: dict[str, Counter[str]] = {}
    widest: dict[str, _Answer] = {}
    for one in answers:
        counts.setdefault(one.right, Counter())[one.chosen] += 1
        if one.chosen not in (one.right, _TIE):
            widest[one.right] = max(widest.get(one.right, one), one, key=lambda answer: answer.margin)
    mistakes = sorted(widest.values(), key=lambda answer: answer.margin, reverse=True)
    return {
        **_share(sum(chosen[value] for value, chosen in counts.items()), len(answers)),
        "chance": round(1 / len(answers[0].cosines), 4),
        "by_value": {value: _share(chosen[value], chosen.total()) for value, chosen in counts.items()},
        "answers": {value: dict(chosen) for value, chosen in counts.items()},
        "mistakes": [one.mistake() for one in mistakes],
    }


def _mean(vectors: Sequence[np.ndarray]) -> np.ndarray:
    mean: np.ndarray = np.mean(vectors, axis=0)
    return mean / np.linalg.norm(mean)


def _share(right: int, cases: int) -> dict[str, Any]:
    low, high = binomtest(right, cases).proportion_ci(method="wilson")
    return {"accuracy": round(right / cases, 4), "interval": [round(low, 4), round(high, 4)], "cases": cases}


class _Drawer:
    """Draws things; each drawing is rasterised once."""

    def __init__(self, words: Probes) -> None:
        self._svgs = read_drawings(words.things)
        self._colours = words.colours
        self.draw = lru_cache(maxsize=None)(self._draw)

    def _draw(self, thing: Thing, colour: str | None = None) -> Image.Image:
        svg = self._svgs[thing.code]
        return raster(svg if colour is None else paint(svg, thing.paints, self._colours[colour]))


def _numbers(words: Probes, drawer: _Drawer, each: int, random: np.random.Generator) -> Iterator[Case]:
    for number, _ in product(NUMBERS, range(each)):
        thing = words.things[random.integers(len(words.things))]
        side = random.uniform(0.16, 0.26)  # whatever the number
        cells = random.permutation(len(_CELLS))[:number]
        places = (np.array(_CELLS[cell]) + random.uniform(-_JITTER, _JITTER, 2) for cell in cells)
        picture = _compose(_Placed(drawer.draw(thing), float(x), float(y), side) for x, y in places)
        yield Case("number", str(number), thing.singular, picture, {str(n): words.counted(thing, n) for n in NUMBERS})


def _colours(words: Probes, drawer: _Drawer, each: int, random: np.random.Generator) -> Iterator[Case]:
    paintable = [thing for thing in words.things if thing.paints]
    for colour, _ in product(words.colours, range(each)):
        thing = paintable[random.integers(len(paintable))]
        x, y = random.uniform(0.4, 0.6, 2)
        picture = _compose([_Placed(drawer.draw(thing, colour), float(x), float(y), random.uniform(0.4, 0.75))])
        yield Case("colour", colour, thing.singular, picture, {c: words.coloured(thing, c) for c in words.colours})


def _relations(words: Probes, drawer: _Drawer, each: int, random: np.random.Generator) -> Iterator[Case]:
    for (relation, (right, down)), _ in product(RELATIONS.items(), range(each)):
        first, second = (words.things[i] for i in random.permutation(len(words.things))[:2])
        x, y = random.uniform(0.45, 0.55, 2)
        distance, side = random.uniform(0.21, 0.25), random.uniform(0.3, 0.38)
        picture = _compose(
            _Placed(drawer.draw(thing), float(x + sign * right * distance), float(y + sign * down * distance), side)
            for thing, sign in ((first, 1), (second, -1))
        )
        about = f"{first.singular}, {second.singular}"
        yield Case("relation", relation, about, picture, {r: words.related(first, r, second) for r in RELATIONS})


def read_drawings(things: Iterable[Thing]) -> dict[str, str]:
    """SVG text of each thing's drawing, by code.

    Raises UserError if OpenMoji cannot be downloaded or lacks a drawing.
    """
    with zipfile.ZipFile(assets.fetch(assets.DRAWINGS)) as archive:
        members = {Path(name).stem: name for name in archive.namelist() if name.endswith(".svg")}
        codes = [thing.code for thing in things]
        if missing := [code for code in codes if code not in members]:
            raise UserError(
                f"OpenMoji {assets.DRAWINGS.version}: no drawing {', '.join(missing)}; fix the language file"
            )
        return {code: archive.read(members[code]).decode("utf-8") for code in codes}


def paint(svg: str, paints: Sequence[str], colour: str) -> str:
    """The drawing with `paints`, from light to dark, replaced by `colour` (#rrggbb) and darker shades of it.

    Raises ValueError if the drawing lacks one of these fills.
    """
    lower = svg.lower()
    if missing := [old for old in paints if old.lower() not in lower]:
        raise ValueError(f"the drawing has no fill {', '.join(missing)}")
    # In one pass: a new paint may equal one of the old ones.
    shades = {old.lower(): _darker(colour, _SHADE**number) for number, old in enumerate(paints)}
    return re.sub("|".join(shades), lambda match: shades[match[0].lower()], svg, flags=re.IGNORECASE)


def _darker(colour: str, share: float) -> str:
    """A colour (#rrggbb) with each channel multiplied by `share`."""
    return "#" + "".join(f"{round(int(colour[start : start + 2], 16) * share):02x}" for start in (1, 3, 5))


def raster(svg: str) -> Image.Image:
    """The drawing as RGBA pixels, without its empty border."""
    return trim(rasterise(svg, SIZE))


@dataclass(frozen=True)
class _Placed:
    """A drawing with its centre and its longer side, as shares of the picture's side."""

    image: Image.Image
    x: float
    y: float
    side: float


def _compose(placed: Iterable[_Placed]) -> Image.Image:
    """Drawings on a white square; RGB."""
    canvas = Image.new("RGB", (SIZE, SIZE), "white")
    for one in placed:
        scale = one.side * SIZE / max(one.image.size)
        width, height = (max(1, round(side * scale)) for side in one.image.size)
        resized = one.image.resize((width, height), Image.Resampling.LANCZOS)
        canvas.paste(resized, (round(one.x * SIZE - width / 2), round(one.y * SIZE - height / 2)), resized)
    return canvas
