"""Pictures with classes: folders `class/picture.jpg`, or WebDataset shards with a class beside each picture.

ImageNet's validation set is also read in its published forms (`sets.imagenet`); its classes are WordNet ids.

Classes that are all numbers are sorted numerically. In a shard the class of KEY.jpg is in KEY.cls (a number or a
name), or is `label` or `class` in KEY.json. A number is a position in the labels file, or in `classnames.txt` beside
the shard.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_italian import console
from clip_italian.errors import UsageError, UserError
from clip_italian.evaluate import labels
from clip_italian.evaluate.sets.imagenet import PICTURES, classified, is_validation
from clip_italian.files.names import natural_key
from clip_italian.languages import Language
from clip_italian.pictures.shards import Sample, ShardError, samples
from clip_italian.pictures.walk import groups, holds_shards, walk
from clip_italian.sources.webdataset import json_object

CLASS_NAMES_FILE = "classnames.txt"
FROM_CLASS_NAMES = "class names"
_MAX_LISTED = 5


@dataclass(frozen=True)
class LabelledSet:
    """Pictures with classes: `right` is each picture's place in `classes`, `names[c]` are the names of class c.

    `ids`, `paths` and `right` are parallel. `labels` names the set of labels the names come from.
    """

    place: str
    labels: str
    classes: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    right: tuple[int, ...]

    def fingerprint(self) -> str:
        """Hex digest of classes and picture ids, but not of names, so that sets of labels can be compared."""
        digest = hashlib.sha256(json.dumps(self.classes, ensure_ascii=False).encode())
        for row in zip(self.ids, self.right, strict=True):
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()[:16]


_Pictures = dict[str, list[tuple[str, Path]]]  # ids and paths of the pictures, by class


def load(
    sources: Sequence[Path], label_sets: Sequence[str], language: Language, room: Path, allow_empty: bool = False
) -> list[LabelledSet]:
    """Read a folder, or shards, whose pictures are unpacked into `room`: the same pictures with each set of labels.

    A set of labels is a file, or `curated` or `curated-synonyms` (the language's own for ImageNet). By default folders
    have their own names as labels, and numbers in shards those of `classnames.txt`. Raises UserError for a class
    without pictures (unless `allow_empty`, which keeps its label as a wrong answer), for a class without a label, and
    for sources that are neither a folder nor shards.
    """
    if len(sources) == 1 and sources[0].is_dir() and not holds_shards(sources[0]):
        found, beside, numbered = _from_folder(sources[0], language), None, False
    else:
        shards = _shards(sources)
        found = _from_shards(shards, room)
        beside = next((file for shard in shards if (file := shard.parent / CLASS_NAMES_FILE).is_file()), None)
        numbered = all(name.isdecimal() for name in found)
    if not any(found.values()):
        raise UserError(f"{sources[0]}: no pictures with a class in it; expected class/picture.jpg or shards")
    wanted = list(label_sets) or [str(beside) if beside else FROM_CLASS_NAMES]
    sets = [_labelled(sources, found, numbered, labels_from, language, allow_empty) for labels_from in wanted]
    if len({data.labels for data in sets}) < len(sets):
        raise UsageError("--labels: two sets have one name; give each once, or name the files differently")
    return sets


def _labelled(
    sources: Sequence[Path], found: _Pictures, numbered: bool, labels_from: str, language: Language, allow_empty: bool
) -> LabelledSet:
    names = _names(found, numbered, labels_from, language)
    unlabelled = [name for name in found if name not in names]
    if unlabelled:
        raise UserError(f"{labels_from}: no label for {_some(unlabelled, 'class', 'classes')}; add them to the file")
    empty = [name for name in names if not found.get(name)]
    if empty and not allow_empty:
        raise UserError(
            f"{sources[0]}: no pictures for {_some(empty, 'class', 'classes')}; add some, remove the label, or give "
            "--allow-empty to keep such labels as wrong answers"
        )
    _warn_of_equal(names, labels_from)
    # The order does not depend on that of the labels, so that sets of labels can be compared.
    classes = _in_order(names)
    rows = [(id_, path, number) for number, name in enumerate(classes) for id_, path in found.get(name, [])]
    ids, paths, right = zip(*rows, strict=True)
    place = ", ".join(map(str, sources))
    return LabelledSet(
        place, Path(labels_from).stem, tuple(classes), tuple(names[name] for name in classes), ids, paths, right
    )


def _names(found: _Pictures, numbered: bool, labels_from: str, language: Language) -> labels.Names:
    if labels_from in (labels.CURATED, labels.CURATED_SYNONYMS):
        return labels.curated(_in_order(found), language, labels_from == labels.CURATED_SYNONYMS)
    if labels_from != FROM_CLASS_NAMES:
        return labels.read(Path(labels_from), None if numbered else _in_order(found), language)
    if numbered:
        raise UserError(f"the classes are numbers; give their names by --labels FILE, or in {CLASS_NAMES_FILE}")
    return labels.from_class_names(_in_order(found), language)


def _from_folder(folder: Path, language: Language) -> _Pictures:
    wordnets = {one.wordnet for one in language.imagenet}
    if is_validation(folder, wordnets):
        return _from_imagenet(folder, wordnets)
    inside = groups(folder)
    if not inside:
        raise UserError(f"{folder}: no folders in it; expected a folder for each class: class/picture.jpg")
    found: _Pictures = {}
    for path in inside:
        found[path.name] = [(str(file.relative_to(folder)), file) for file in walk(path).pictures]
    return found


def _from_imagenet(folder: Path, wordnets: Collection[str]) -> _Pictures:
    found: _Pictures = {}
    for id_, path, wordnet in classified(folder, wordnets):
        found.setdefault(wordnet, []).append((id_, path))
    pictures = sum(map(len, found.values()))
    if pictures != PICTURES:
        console.notice(f"{folder}: {pictures:,} pictures, ImageNet's validation set has {PICTURES:,}")
    return found


def _shards(sources: Sequence[Path]) -> list[Path]:
    shards = [
        shard
        for source in sources
        for shard in (
            sorted(source.glob("*.tar"), key=lambda file: natural_key(file.name)) if source.is_dir() else [source]
        )
    ]
    for shard in shards:
        if not shard.is_file():
            raise UserError(f"{shard}: no such folder or shard; give class/picture.jpg folders or .tar files")
    if not shards:
        raise UserError(f"{sources[0]}: several folders without shards; give one folder with a folder for each class")
    return shards


def _from_shards(shards: Sequence[Path], room: Path) -> _Pictures:
    found: _Pictures = {}
    left_out = []
    for place, shard in enumerate(shards):
        try:
            for number, sample in enumerate(samples(shard, contents=True)):
                name = _class_of(sample)
                if name is None or sample.picture is None or sample.picture.content is None:
                    left_out.append(f"{shard.name}: {sample.key}")
                    continue
                path = room / f"{place:05}-{number:08}{sample.picture.suffix}"
                path.write_bytes(sample.picture.content)
                found.setdefault(name, []).append((f"{shard.name}/{sample.key}", path))
        except ShardError as error:
            raise UserError(f"{shard}: damaged shard ({error}); write or copy it again") from None
    if left_out:
        console.notice(f"{len(left_out):,} samples without picture or class are left out, first: {left_out[0]}")
    return found


def _class_of(sample: Sample) -> str | None:
    label = sample.text(".cls")
    if label is not None:
        name = label.decode("utf-8", errors="replace").strip()
        return str(int(name)) if name.isdecimal() else name or None
    data = json_object(sample.text(".json"))
    values: list[Any] = [data.get(key) for key in ("label", "class")] if isinstance(data, Mapping) else []
    return next((str(value) for value in values if isinstance(value, str | int) and str(value).strip()), None)


def _in_order(names: Iterable[str]) -> list[str]:
    """Names sorted by number if all are numbers, else as text."""
    some = sorted(names)
    return sorted(some, key=natural_key) if all(map(str.isdecimal, some)) else some


def _warn_of_equal(names: labels.Names, labels_from: str) -> None:
    counts = Counter(name for some in names.values() for name in set(some))
    equal = [text for text, count in counts.items() if count > 1]
    if equal:
        listed = _some(equal, "name", "names")
        console.notice(f"{labels_from}: {listed} for several classes: these may tie, and ties count against the model")


def _some(names: Sequence[str], one: str, several: str) -> str:
    listed = ", ".join(map(repr, names[:_MAX_LISTED]))
    return f"{len(names):,} {one if len(names) == 1 else several} ({listed}{', …' if len(names) > _MAX_LISTED else ''})"
