"""Published test sets: their description, and the check that a folder has all of one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.pairs import Pair


@dataclass(frozen=True)
class Contents:
    """Contents of a test set's folder: `pairs` with absolute paths, and names of `missing` pictures.

    `notes` are warnings about figures measured on the set.
    """

    pairs: list[Pair]
    missing: list[str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Size:
    """Published numbers of pictures and captions; None if unknown."""

    pictures: int
    captions: int | None = None


@dataclass(frozen=True)
class EvaluationSet:
    """A published test set: description, download instructions, and the function that reads it from a folder.

    `steps` say what to download and where to put it; FOLDER means the folder given to `read`.
    """

    name: str
    title: str
    task: Literal["retrieval", "zeroshot"]
    licence: str
    steps: tuple[str, ...]
    size: Size | None
    read: Callable[[Path], Contents]


def load(test_set: EvaluationSet, folder: Path, partial: bool = False) -> Contents:
    """Read a test set and check that it is complete; its pairs get the set's name as source and the split "test".

    Raises UserError for a missing folder or file, for counts other than the published ones, and for missing pictures;
    with `partial`, an incomplete set is accepted with a note.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `clip-italian evaluate sets {test_set.name}` says what goes there")
    contents = test_set.read(folder.resolve())
    notes = list(contents.notes)
    problem = _problem(test_set, folder, contents)
    if problem and not (partial and contents.pairs):
        raise UserError(problem)
    if problem:
        notes.append(f"measured in part: {problem}")
    kept = [replace(pair, source=test_set.name, split="test") for pair in contents.pairs]
    return Contents(kept, contents.missing, tuple(notes))


def write(some: Sequence[Pair], output: Path) -> None:
    """Write a pairs file; pictures below its folder get relative paths."""
    with staged(output) as temporary, pairs.Writer(temporary) as writer:
        writer.write_batch(pairs.relocated(pairs.to_batch(some), output.parent, output.parent))


def find(folder: Path, places: Sequence[str], what: str) -> Path:
    """The first of some places in `folder` that is a file.

    Raises UserError, which names the first place, if there is none.
    """
    for place in places:
        if (folder / place).is_file():
            return folder / place
    raise UserError(f"{folder}: no {places[0]} in it; {what}")


def picture(folder: Path, places: Sequence[str]) -> Path | None:
    """The first of some places in `folder` that is a file, else None."""
    return next((folder / place for place in places if (folder / place).is_file()), None)


def _problem(test_set: EvaluationSet, folder: Path, contents: Contents) -> str | None:
    whole = len(contents.pairs) + len(contents.missing)
    if contents.missing:
        return (
            f"{folder}: {len(contents.missing):,} of {whole:,} pictures of {test_set.name} are missing, first "
            f"{contents.missing[0]}; get them (clip-italian evaluate sets {test_set.name}), or give --partial"
        )
    size = test_set.size
    if size and whole != size.pictures:
        return f"{folder}: {whole:,} pictures of {test_set.name}, published are {size.pictures:,}; download it again"
    captions = sum(len(pair.captions) for pair in contents.pairs)
    if size and size.captions and captions != size.captions:
        return f"{folder}: {captions:,} captions of {test_set.name}, published are {size.captions:,}; download it again"
    if not whole:
        return f"{folder}: nothing of {test_set.name} in it; `clip-italian evaluate sets {test_set.name}` helps"
    return None
