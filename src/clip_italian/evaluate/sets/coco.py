"""Test sets whose pictures are MSCOCO's: MSCOCO-IT and XTD10.

MSCOCO-IT: Scaiella, Croce and Basili 2019, https://github.com/crux82/mscoco-it. XTD10: Aggarwal and Kale 2020,
https://github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10. A picture has the same id in both.
"""

import re
from functools import partial
from pathlib import Path

from clip_italian.errors import UserError
from clip_italian.evaluate.sets.base import Contents, EvaluationSet, Size, find, picture
from clip_italian.pairs import Pair
from clip_italian.sources.mscoco_it import IMAGES_URL, PAGE, MscocoIt, picture_places
from clip_italian.sources.text import one_line, read_all

_NAME = re.compile(r"COCO_(train2014|val2014)_(\d{12})\.jpg")
_VAL = (
    f"get {IMAGES_URL}/zips/val2014.zip (6 GB) and unpack it: FOLDER/val2014/COCO_val2014_….jpg; 2017 names serve too"
)
_TRAIN = _VAL.replace("val2014", "train2014").replace("6 GB", "13 GB")
# File, title, pictures and captions as published (counted in the files).
_PARTS = {
    "mscoco-it-dev-unvalidated": (
        "devset_unvalidated",
        "development set, translated by machine; the paper's",
        1696,
        8486,
    ),
    "mscoco-it-dev": ("devset_validated", "development set, checked by people", 308, 1541),
    "mscoco-it-test": ("testset_validated", "test set, checked by people", 596, 2982),
}


def mscoco_it() -> list[EvaluationSet]:
    """MSCOCO-IT's three test sets."""
    return [
        EvaluationSet(
            name=name,
            title=f"MSCOCO-IT {title}",
            task="retrieval",
            licence="captions CC BY-SA 4.0 (MSCOCO-IT), CC BY 4.0 (MSCOCO); pictures by their Flickr licences",
            steps=(
                f"get captions_ita_{part}.json.gz from https://github.com/crux82/mscoco-it: FOLDER/ (packed or not)",
                _VAL,
            ),
            size=Size(pictures, captions),
            read=partial(_read_mscoco_it, part),
        )
        for name, (part, title, pictures, captions) in _PARTS.items()
    ]


def xtd10(language: str) -> EvaluationSet:
    """XTD10 in one of its languages (it, es, ko, pl, ru, tr, zh)."""
    return EvaluationSet(
        name="xtd10",
        title="XTD10: 1,000 pictures of MSCOCO with one caption each, written by people",
        task="retrieval",
        licence="captions: Adobe Research License, no commercial use; pictures by their Flickr licences",
        steps=(
            f"get XTD10/test_image_names.txt and XTD10/test_1kcaptions_{language}.txt from "
            "https://github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10: FOLDER/ or FOLDER/XTD10/",
            _TRAIN,
            _VAL,
        ),
        size=Size(1000, 1000),
        read=partial(_read_xtd10, language),
    )


def _read_mscoco_it(part: str, folder: Path) -> Contents:
    name = f"captions_ita_{part}.json"
    path = find(folder, (f"{name}.gz", name), "it comes from https://github.com/crux82/mscoco-it")
    pairs: list[Pair] = []
    missing: list[str] = []
    for item in MscocoIt(images=folder)(path):
        if isinstance(item, Pair):
            pairs.append(item)
        elif item.reason == "missing-image":
            missing.append(item.detail or item.id)
        else:
            raise UserError(f"{path}: {item.reason} ({item.detail or item.id}); download the file again")
    return Contents(pairs, missing)


def _read_xtd10(language: str, folder: Path) -> Contents:
    help_ = "it comes from https://github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10"
    names, captions = (
        read_all(find(folder, (name, f"XTD10/{name}"), help_)).split("\n")
        for name in ("test_image_names.txt", f"test_1kcaptions_{language}.txt")
    )
    names, captions = ([one_line(line) for line in _without_end(lines)] for lines in (names, captions))
    if len(names) != len(captions):
        raise UserError(f"{folder}: {len(names):,} names of pictures, {len(captions):,} captions; download both again")
    pairs: list[Pair] = []
    missing: list[str] = []
    trained = 0
    for line, (name, caption) in enumerate(zip(names, captions, strict=True), start=1):
        match = _NAME.fullmatch(name)
        if match is None or not caption:
            raise UserError(f"{folder}: line {line} of XTD10 has no picture of MSCOCO or no caption; download it again")
        part, number = match.groups()
        trained += part == "train2014"
        path = picture(folder, picture_places(name))
        if path is None:
            missing.append(name)
        else:
            pairs.append(Pair(f"coco-{number}", str(path), (caption,), "xtd10", page=f"{PAGE}{int(number)}"))
    note = (
        f"{trained:,} of its {len(names):,} pictures are training pictures of MSCOCO: "
        "a model that was trained on MSCOCO has seen them, and its figures here say little"
    )
    return Contents(pairs, missing, (note,) if trained else ())


def _without_end(lines: list[str]) -> list[str]:
    return lines[:-1] if lines and not lines[-1].strip() else lines
