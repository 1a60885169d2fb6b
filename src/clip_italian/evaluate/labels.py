"""Labels of a classification set: what each class is called in prompts."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from clip_italian.errors import UserError
from clip_italian.languages import Language

Names = Mapping[str, tuple[str, ...]]  # the names of each class, the first one its main name
_WORDNET_ID = re.compile(r"n\d{8}")


def from_class_names(classes: Sequence[str], language: Language) -> Names:
    """The classes' own names with their articles: "gatto_siamese" → "un gatto siamese".

    Raises UserError where a name says nothing.
    """
    if classes and all(_WORDNET_ID.fullmatch(name) for name in classes):
        raise UserError(f"{classes[0]}: the classes are WordNet ids, no words; give their names by --labels FILE")
    names = {}
    for name in classes:
        words = " ".join(name.replace("_", " ").split())
        if not words:
            raise UserError(f"class {name!r}: its name says nothing; rename it, or give labels by --labels FILE")
        names[name] = (language.with_article(words),)
    return names


def read(path: Path, classes: Sequence[str] | None, language: Language) -> Names:
    """Names from a file, with articles put before those that have none.

    A JSON object (class → name or list of names), or a JSON list or plain lines with one name for each of
    `classes` in order; where `classes` is None, the places in that list are the classes. Raises
    UserError where the file is none of these or names too few or too many.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = json.loads(text) if path.suffix == ".json" else [line for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"{path}: cannot read the labels ({error.strerror}); give a file with them") from error
    except ValueError as error:
        raise UserError(f"{path}: no JSON in UTF-8 ({error}); mend the file") from error
    if isinstance(data, list):
        wanted = [str(number) for number in range(len(data))] if classes is None else list(classes)
        if len(wanted) != len(data):
            raise UserError(
                f"{path}: {len(data):,} labels for {len(wanted):,} classes; a list needs one for each class in "
                'alphabetical order, else write {"class": "label", …}'
            )
        data = dict(zip(wanted, data, strict=True))
    if not isinstance(data, dict) or not data:
        raise UserError(f'{path}: no labels; expected {{"class": "label", …}} or a list of labels')
    return {name: _names(value, f"{path}: class {name!r}", language) for name, value in data.items()}


def _names(value: object, place: str, language: Language) -> tuple[str, ...]:
    some = value if isinstance(value, list) else [value]
    good = [name for name in some if isinstance(name, str) and name.strip()]
    if not good or len(good) < len(some):
        raise UserError(f"{place} has no label; give it a text or a list of texts")
    return tuple(language.with_article(" ".join(name.split())) for name in good)
