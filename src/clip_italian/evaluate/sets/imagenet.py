"""ImageNet-1k's validation set: 50,000 pictures, 1,000 classes by their WordNet ids.

Russakovsky et al. 2015, https://image-net.org. The picture's caption is its class's label, so that `evaluate zeroshot`
on the pairs classifies among the labels. The validation pictures are read in these forms:

    val/n01440764/ILSVRC2012_val_00000293.JPEG         a folder for each class
    val/ILSVRC2012_val_00000293_n01440764.JPEG         as on the Hugging Face Hub
    val/ILSVRC2012_val_00000293.JPEG                   as published, beside ILSVRC2012_devkit_t12/
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from clip_italian.errors import UserError
from clip_italian.evaluate.sets.base import Contents, EvaluationSet, Size
from clip_italian.languages import ImageClass
from clip_italian.pairs import Pair
from clip_italian.pictures.walk import find_pictures

CLASSES = 1000
PICTURES = 50 * CLASSES
_DEVKIT = "ILSVRC2012_devkit_t12/data"
_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})(?:_(n\d{8}))?\.JPEG")


def imagenet(classes: Sequence[ImageClass], labels: Sequence[str] | None = None) -> EvaluationSet:
    """The set with the labels of `classes`, or with other `labels` in the same order."""
    named = [one.label for one in classes] if labels is None else list(labels)
    of_wordnet = {one.wordnet: label for one, label in zip(classes, named, strict=True)}
    return EvaluationSet(
        name="imagenet",
        title="ImageNet-1k, validation set, with labels in the language",
        task="zeroshot",
        licence="ImageNet's terms: research and education, no commercial use",
        steps=(
            "ask for access at https://image-net.org and get ILSVRC2012_img_val.tar (6 GB): unpack it into FOLDER/val/",
            "get ILSVRC2012_devkit_t12.tar.gz there and unpack it: FOLDER/ILSVRC2012_devkit_t12/data/…; or sort the "
            "pictures into folders by class (FOLDER/val/n01440764/…), or take the Hub's names (…_n01440764.JPEG)",
        ),
        size=Size(PICTURES),
        read=partial(_read, of_wordnet),
    )


def legacy_labels(path: Path) -> list[str]:
    """Labels in ImageNet's order from a JSON list, such as the 2021 set of the original project.

    Raises UserError for a file that is no list of 1,000 texts.
    """
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no JSON list of labels ({error}); give a file with 1,000 labels in order") from error
    if not isinstance(labels, list) or len(labels) != CLASSES or not all(isinstance(x, str) and x for x in labels):
        raise UserError(f"{path}: not a list of {CLASSES:,} labels; give one label a class in ImageNet's order")
    return labels


def is_validation(folder: Path, wordnets: Collection[str]) -> bool:
    """True for a folder of ImageNet's validation pictures in one of the forms above."""
    inside = _pictures_folder(folder).iterdir()
    return any(path.name in wordnets if path.is_dir() else _NUMBER.fullmatch(path.name) for path in inside)


def classified(folder: Path, wordnets: Collection[str]) -> Iterator[tuple[str, Path, str]]:
    """Id, path and WordNet id of each picture in a folder.

    Raises UserError for a picture whose class is not in `wordnets` or cannot be determined.
    """
    truth: dict[int, str] | None = None
    for path in find_pictures(_pictures_folder(folder)):
        match = _NUMBER.fullmatch(path.name)
        wordnet = path.parent.name if path.parent.name in wordnets else match and match[2]
        if not wordnet and match:
            truth = _ground_truth(folder) if truth is None else truth
            wordnet = truth.get(int(match[1]))
        if not wordnet or wordnet not in wordnets:
            raise UserError(f"{path}: unknown class; put it into a folder with the class's WordNet id (n01440764)")
        yield f"imagenet-{match[1] if match else f'{wordnet}-{path.stem}'}", path, wordnet


def _read(of_wordnet: Mapping[str, str], folder: Path) -> Contents:
    return Contents(
        [
            Pair(id_, str(path), (of_wordnet[wordnet],), "imagenet")
            for id_, path, wordnet in classified(folder, of_wordnet.keys())
        ],
        [],
    )


def _pictures_folder(folder: Path) -> Path:
    return folder / "val" if (folder / "val").is_dir() else folder


def _ground_truth(folder: Path) -> dict[int, str]:
    """WordNet ids by number of the validation picture, from the development kit."""
    kit = next((place for place in (folder / _DEVKIT, folder / "data") if (place / "meta.mat").is_file()), None)
    if kit is None:
        raise UserError(f"{folder}: the pictures' names have no class; unpack ILSVRC2012_devkit_t12.tar.gz beside them")
    from scipy.io import loadmat

    synsets = loadmat(kit / "meta.mat", squeeze_me=True)["synsets"]
    wordnet = {int(entry["ILSVRC2012_ID"]): str(entry["WNID"]) for entry in synsets}
    lines = (kit / "ILSVRC2012_validation_ground_truth.txt").read_text(encoding="ascii").split()
    return {number: wordnet[int(line)] for number, line in enumerate(lines, start=1)}
