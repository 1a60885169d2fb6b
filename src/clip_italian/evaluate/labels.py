"""Labels of a classification set: the names of its classes in prompts."""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from clip_italian.errors import UserError
from clip_italian.files.names import natural_key
from clip_italian.languages import Language

Names = Mapping[str, tuple[str, ...]]  # the names of each class, the first one its main name
CURATED, CURATED_SYNONYMS = "curated", "curated-synonyms"  # the language's own for ImageNet
PROJECT_LABELS = "imagenet_labels_IT.tsv"  # of the original project, translated by DeepL in 2021
_PROJECT_COLUMNS = ("set_id", "query_short_translated")
_WORDNET_ID = re.compile(r"n\d{8}")


def from_class_names(classes: Sequence[str], language: Language) -> Names:
    """The classes' own names with articles: "gatto_siamese" → "un gatto siamese".

    Raises UserError for an empty name, and for WordNet ids.
    """
    if classes and all(_WORDNET_ID.fullmatch(name) for name in classes):
        raise UserError(f"{classes[0]}: the classes are WordNet ids, not words; give --labels {CURATED}, or a file")
    names = {}
    for name in classes:
        words = " ".join(name.replace("_", " ").split())
        if not words:
            raise UserError(f"class {name!r}: its name has no words; rename it, or give labels by --labels FILE")
        names[name] = (language.with_article(words),)
    return names


def curated(classes: Sequence[str], language: Language, synonyms: bool) -> Names:
    """The language's labels for all of ImageNet's classes; with `synonyms`, also their other names.

    `classes` are WordNet ids or numbers in ImageNet's order. Raises UserError for other classes, and for a language
    without labels for ImageNet.
    """
    if not language.imagenet:
        raise UserError(f"--labels {CURATED}: language {language.code!r} names no classes of ImageNet; give a file")
    numbers = {str(number): one for number, one in enumerate(language.imagenet)}
    wordnets = {one.wordnet: one for one in language.imagenet}
    known = next((table for table in (numbers, wordnets) if all(name in table for name in classes)), None)
    if known is None:
        strange = next(name for name in classes if name not in wordnets)
        raise UserError(
            f"--labels {CURATED}: class {strange!r} is none of ImageNet's (WordNet ids, or numbers from 0 to 999)"
        )
    return {name: (one.label, *(one.synonyms if synonyms else ())) for name, one in known.items()}


def read(path: Path, classes: Sequence[str] | None, language: Language) -> Names:
    """Names from a file; those without an article get one.

    The file is a JSON object (class → name or list of names), or a JSON list or plain lines with one name for each of
    `classes` in order; for None, positions in the list are the classes. A list of all of ImageNet's classes is also
    valid for some of them. The original project's table (`PROJECT_LABELS`) is read as it is, without adding articles,
    for classes by WordNet id. Raises UserError for another file, for too few or too many names, and for a list if the
    order of the classes is ambiguous ("foto2", "foto10").
    """
    if path.suffix == ".tsv" and (table := _project_table(path)):
        return table
    data = _content(path)
    if isinstance(data, list):
        wanted = [str(number) for number in range(len(data))] if classes is None else list(classes)
        imagenet = [one.wordnet for one in language.imagenet]
        if len(data) == len(imagenet) and set(wanted) <= set(imagenet):
            wanted = imagenet
        if len(wanted) != len(data):
            raise UserError(
                f"{path}: {len(data):,} labels for {len(wanted):,} classes; a list needs one for each class in "
                'alphabetical (numbers: numeric) order, else write {"class": "label", …}'
            )
        _check_order(wanted, path)
        data = dict(zip(wanted, data, strict=True))
    return _from_object(data, path, language)


def _check_order(classes: Sequence[str], path: Path) -> None:
    """Raise UserError if the classes' order differs as text and by number, or two are the same number."""
    if all(map(str.isdecimal, classes)):
        numbers: dict[int, str] = {}
        for name in classes:
            if (other := numbers.setdefault(int(name), name)) != name:
                why = f"classes {other!r} and {name!r} are the same number"
                break
        else:
            return
    elif sorted(classes, key=natural_key) == sorted(classes):
        return
    else:
        late = next(b for a, b in zip(sorted(classes), sorted(classes, key=natural_key), strict=True) if a != b)
        why = f"classes with numbers in their names have two orders (alphabetical or numeric, from {late!r} on)"
    raise UserError(f'{path}: {why}, so that a list is ambiguous; write {{"class": "label", …}}')


def read_own(path: Path, language: Language) -> Names:
    """Names from a file as for `read`; in a list, the labels are the classes (see `own`)."""
    data = _content(path)
    return own(data, str(path), language) if isinstance(data, list) else _from_object(data, path, language)


def own(words: Sequence[object], place: str, language: Language) -> Names:
    """Names of labels that are themselves the classes; those without an article get one.

    Raises UserError, which begins with `place`, for no labels, an empty label or a duplicate.
    """
    names: dict[str, tuple[str, ...]] = {}
    for number, word in enumerate(words, start=1):
        if not isinstance(word, str) or not word.strip():
            raise UserError(f"{place}: label {number} is empty; give each at least one word")
        name = " ".join(word.split())
        if name in names:
            raise UserError(f"{place}: the label {name!r} is given twice; remove one")
        names[name] = (language.with_article(name),)
    if not names:
        raise UserError(f"{place}: no labels; give some")
    return names


def _project_table(path: Path) -> Names:
    """Labels by WordNet id from a table with the columns of the original project; {} for another file."""
    lines = _content(path)
    rows = (
        list(csv.DictReader(map(str, lines), delimiter="\t", quoting=csv.QUOTE_NONE)) if isinstance(lines, list) else []
    )
    if not rows or not set(_PROJECT_COLUMNS) <= set(rows[0]):
        return {}
    wordnet, label = _PROJECT_COLUMNS
    names = {row[wordnet]: (row[label].strip(),) for row in rows if row[wordnet] and (row[label] or "").strip()}
    if len(names) < len(rows):
        raise UserError(f"{path}: a class without a label, or twice; download it again")
    return names


def _content(path: Path) -> object:
    """Content of a .json file, or the non-empty lines of any other."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text) if path.suffix == ".json" else [line for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise UserError(f"{path}: cannot read the labels ({error.strerror}); give a file with them") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON in UTF-8 ({error}); fix the file") from error


def _from_object(data: object, path: Path, language: Language) -> Names:
    if not isinstance(data, dict) or not data:
        raise UserError(f'{path}: no labels; expected {{"class": "label", …}} or a list of labels')
    return {name: _names(value, f"{path}: class {name!r}", language) for name, value in data.items()}


def _names(value: object, place: str, language: Language) -> tuple[str, ...]:
    some = value if isinstance(value, list) else [value]
    good = [name for name in some if isinstance(name, str) and name.strip()]
    if not good or len(good) < len(some):
        raise UserError(f"{place} has no label; give it a text or a list of texts")
    return tuple(language.with_article(" ".join(name.split())) for name in good)
