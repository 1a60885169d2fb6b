"""What a published test set is, and the check that all of it is there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from clip_italian import pairs
from clip_italian.errors import UserError
from clip_italian.files.atomic import staged
from clip_italian.pairs import Pair


@dataclass(frozen=True)
class Found:
    """What a folder holds of a test set.

    `pairs` name pictures that are there, by absolute path; `missing` are the names of those that are not.
    `notes` are what whoever measures should know.
    """

    pairs: list[Pair]
    missing: list[str]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Size:
    """What was published. None where the number of captions is not known to us."""

    pictures: int
    captions: int | None = None


@dataclass(frozen=True)
class EvaluationSet:
    """A published test set: what it is, how to get it, and how to read it from a folder.

    `steps` say what to download and where to put it, FOLDER standing for the folder that is given to `read`.
    """

    name: str
    title: str
    task: Literal["retrieval", "zeroshot"]
    licence: str
    steps: tuple[str, ...]
    size: Size | None
    read: Callable[[Path], Found]


def load(test_set: EvaluationSet, folder: Path, partial: bool = False) -> Found:
    """Read a test set and check that it is whole; its pairs get the set's name as source and the split "test".

    Raises UserError, in one line, where the folder or files of it are not there, where the counts are not the
    published ones, or where pictures are missing; with `partial` a set without some of its pictures is taken, and
    a note says so.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `clip-italian evaluate sets {test_set.name}` says what goes there")
    found = test_set.read(folder.resolve())
    notes = list(found.notes)
    problem = _problem(test_set, folder, found)
    if problem and not (partial and found.pairs):
        raise UserError(problem)
    if problem:
        notes.append(f"measured in part: {problem}")
    kept = [replace(pair, source=test_set.name, split="test") for pair in found.pairs]
    return Found(kept, found.missing, tuple(notes))


def write(found: Sequence[Pair], output: Path) -> None:
    """Write a pairs file; pictures below its folder are named relative to it."""
    with staged(output) as temporary, pairs.Writer(temporary) as writer:
        writer.write_batch(pairs.relocated(pairs.to_batch(found), output.parent, output.parent))


def find(folder: Path, places: Sequence[str], what: str) -> Path:
    """The first of some places in `folder` that is a file.

    Raises UserError that names what is missing.
    """
    for place in places:
        if (folder / place).is_file():
            return folder / place
    raise UserError(f"{folder}: no {places[0]} in it; {what}")


def picture(folder: Path, places: Sequence[str]) -> Path | None:
    """The first of some places in `folder` where a picture lies."""
    return next((folder / place for place in places if (folder / place).is_file()), None)


def _problem(test_set: EvaluationSet, folder: Path, found: Found) -> str | None:
    whole = len(found.pairs) + len(found.missing)
    if found.missing:
        return (
            f"{folder}: {len(found.missing):,} of {whole:,} pictures of {test_set.name} are missing, first "
            f"{found.missing[0]}; get them (clip-italian evaluate sets {test_set.name}), or give --partial"
        )
    size = test_set.size
    if size and whole != size.pictures:
        return f"{folder}: {whole:,} pictures of {test_set.name}, published are {size.pictures:,}; download it again"
    captions = sum(len(pair.captions) for pair in found.pairs)
    if size and size.captions and captions != size.captions:
        return f"{folder}: {captions:,} captions of {test_set.name}, published are {size.captions:,}; download it again"
    if not whole:
        return f"{folder}: nothing of {test_set.name} in it; `clip-italian evaluate sets {test_set.name}` helps"
    return None
