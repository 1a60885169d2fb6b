"""Cases of the probes: a picture, what may be said of it, and which of that is right.

Section 6 of the paper saw by hand that its model counts up to three; here it is measured, for numbers from one to
six, colours and places.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Literal, get_args

import numpy as np
from PIL import Image

from clip_italian.evaluate.probes.drawings import Placed, compose, drawing, paint, read
from clip_italian.languages import Probes, Thing

Kind = Literal["number", "colour", "relation"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NUMBERS = range(1, 7)
# Where the first thing stands, seen from the second; y grows downwards.
RELATIONS = {"left": (-1, 0), "right": (1, 0), "above": (0, -1), "below": (0, 1)}
_CELLS = list(product((1 / 6, 1 / 2, 5 / 6), repeat=2))
_JITTER = 0.03  # of the square's side; with the largest drawing it stays inside a cell


@dataclass(frozen=True)
class Case:
    """A picture (RGB) of one value ("3", "rosso", "left") of a kind.

    `choices` are what may be said by value, each in one or more ways; `about` names the thing or things.
    """

    kind: Kind
    value: str
    about: str
    picture: Image.Image
    choices: dict[str, tuple[str, ...]]


def make(words: Probes, each: int, seed: int, kinds: tuple[Kind, ...] = KINDS) -> Iterator[Case]:
    """`each` cases of every value of every kind, the same for the same seed.

    Each picture is drawn independently of the others: things, places and sizes do not tell the answer.
    """
    draw = _Drawer(words)
    builders = {"number": _numbers, "colour": _colours, "relation": _relations}
    for kind in kinds:
        # A generator of its own, so that leaving out a kind changes nothing in the others.
        yield from builders[kind](words, draw, each, np.random.default_rng([seed, KINDS.index(kind)]))


class _Drawer:
    """Draws things, each of them once."""

    def __init__(self, words: Probes) -> None:
        self._svgs = read(words.things)
        self._colours = words.colours
        self.draw = lru_cache(maxsize=None)(self._draw)

    def _draw(self, thing: Thing, colour: str | None = None) -> Image.Image:
        svg = self._svgs[thing.code]
        return drawing(svg if colour is None else paint(svg, thing.paints, self._colours[colour]))


def _numbers(words: Probes, drawer: _Drawer, each: int, random: np.random.Generator) -> Iterator[Case]:
    for number, _ in product(NUMBERS, range(each)):
        thing = words.things[random.integers(len(words.things))]
        side = random.uniform(0.16, 0.26)  # whatever the number
        cells = random.permutation(len(_CELLS))[:number]
        places = (np.array(_CELLS[cell]) + random.uniform(-_JITTER, _JITTER, 2) for cell in cells)
        picture = compose(Placed(drawer.draw(thing), float(x), float(y), side) for x, y in places)
        yield Case("number", str(number), thing.singular, picture, {str(n): words.counted(thing, n) for n in NUMBERS})


def _colours(words: Probes, drawer: _Drawer, each: int, random: np.random.Generator) -> Iterator[Case]:
    paintable = [thing for thing in words.things if thing.paints]
    for colour, _ in product(words.colours, range(each)):
        thing = paintable[random.integers(len(paintable))]
        x, y = random.uniform(0.4, 0.6, 2)
        picture = compose([Placed(drawer.draw(thing, colour), float(x), float(y), random.uniform(0.4, 0.75))])
        yield Case("colour", colour, thing.singular, picture, {c: words.coloured(thing, c) for c in words.colours})


def _relations(words: Probes, drawer: _Drawer, each: int, random: np.random.Generator) -> Iterator[Case]:
    for (relation, (right, down)), _ in product(RELATIONS.items(), range(each)):
        first, second = (words.things[i] for i in random.permutation(len(words.things))[:2])
        x, y = random.uniform(0.45, 0.55, 2)
        apart, side = random.uniform(0.21, 0.25), random.uniform(0.3, 0.38)
        picture = compose(
            Placed(drawer.draw(thing), float(x + sign * right * apart), float(y + sign * down * apart), side)
            for thing, sign in ((first, 1), (second, -1))
        )
        about = f"{first.singular}, {second.singular}"
        yield Case("relation", relation, about, picture, {r: words.related(first, r, second) for r in RELATIONS})
