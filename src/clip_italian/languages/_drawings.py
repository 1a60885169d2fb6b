"""Drawings and colours of the probes, for all languages.

The drawings are from OpenMoji; each shows a single object (OpenMoji's sock, for example, shows two).
"""

from collections.abc import Callable, Sequence

from clip_italian.languages import Thing

# Objects that are recognisable in any colour, with the fill colours to replace, from light to dark.
_PAINTABLE = {
    "apple": ("1F34E", "#ea5a47", "#d22f27"),
    "car": ("1F697", "#ea5a47"),
    "umbrella": ("2602", "#B399C8", "#8967AA"),
    "balloon": ("1F388", "#EA5A47", "#D22F27"),
    "t-shirt": ("1F455", "#61b2e4", "#92d3f5"),
    "cap": ("1F9E2", "#b1cc33", "#5c9e31", "#186648"),
    "book": ("1F4D5", "#d22f27"),
    "dress": ("1F457", "#61B2E4"),
    "heart": ("2764", "#d22f27"),
    "star": ("2B50", "#FCEA2B"),
    "backpack": ("1F392", "#EA5A47", "#D22F27"),
    "shoe": ("1F460", "#d22f27"),
    "fish": ("1F41F", "#92d3f5", "#61b2e4"),
    "butterfly": ("1F98B", "#92D3F5"),
    "key": ("1F511", "#F4AA41", "#E27022"),
    "chair": ("1FA91", "#fcea2b", "#f1b31c"),
}
_OTHERS = {
    "pear": "1F350", "cat": "1F408", "dog": "1F415", "turtle": "1F422", "duck": "1F986", "elephant": "1F418",
    "cow": "1F404", "horse": "1F40E", "bee": "1F41D", "house": "1F3E0", "bicycle": "1F6B2", "guitar": "1F3B8",
    "candle": "1F56F", "lemon": "1F34B", "strawberry": "1F353", "carrot": "1F955", "pencil": "270F", "door": "1F6AA",
}  # fmt: skip
_PAINTS = {
    "red": "#d22f27", "yellow": "#fcea2b", "green": "#5c9e31", "orange": "#f28c1e", "brown": "#7a4a28",
    "black": "#222222", "grey": "#9b9b9a", "blue": "#1e50c8", "purple": "#8040b0", "pink": "#ffa7c0",
}  # fmt: skip


def things(words: str) -> tuple[Thing, ...]:
    """Parse lines of drawing, singular, plural and gender (m, f or n), such as "apple mela mele f"."""
    rows = (line.split() for line in words.strip().splitlines())
    return tuple(Thing(*_drawing(name), singular, plural, gender) for name, singular, plural, gender in rows)


def _drawing(drawing: str) -> tuple[str, tuple[str, ...]]:
    code, *paints = _PAINTABLE.get(drawing) or (_OTHERS[drawing],)
    return code, tuple(paints)


def counting(one: Callable[[Thing], str], numbers: Sequence[str]) -> Callable[[Thing, int], tuple[str, ...]]:
    """Return `Probes.counted` for languages that put numbers before the plural: "una mela", "tre mele"."""
    return lambda thing, number: (one(thing) if number == 1 else f"{numbers[number - 2]} {thing.plural}",)


def paints(**names: str) -> dict[str, str]:
    """Map the names of colours in a language to their values: `paints(red="rosso")` → {"rosso": "#d22f27"}."""
    return {names[colour]: paint for colour, paint in _PAINTS.items()}
