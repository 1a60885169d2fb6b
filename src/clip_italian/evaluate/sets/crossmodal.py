"""Crossmodal-3600: 3,600 pictures from all over the world, with captions written by native speakers.

Thapliyal et al. 2022, https://google.github.io/crossmodal-3600. About two captions a picture in each of 36 languages.
"""

import json
from functools import partial
from pathlib import Path

from clip_italian.errors import UserError
from clip_italian.evaluate.sets.base import Contents, EvaluationSet, Size, find, picture
from clip_italian.pairs import Pair
from clip_italian.sources.text import one_line, read_all

HOME = "https://google.github.io/crossmodal-3600"
_CAPTIONS = f"{HOME}/web-data/captions.zip"
_IMAGES = "https://open-images-dataset.s3.amazonaws.com/crossmodal-3600/images.tgz"


def crossmodal(language: str) -> EvaluationSet:
    """The set in one of its 36 languages, by ISO 639-1 code."""
    return EvaluationSet(
        name="xm3600",
        title="Crossmodal-3600: pictures from all over the world, captions by native speakers",
        task="retrieval",
        licence="captions CC BY 4.0; pictures CC BY 2.0 (Open Images)",
        steps=(
            f"get {_CAPTIONS} and unpack it: FOLDER/captions.jsonl",
            f"get {_IMAGES} and unpack it into FOLDER/images/",
        ),
        size=Size(3600),
        read=partial(_read, language),
    )


def _read(language: str, folder: Path) -> Contents:
    path = find(folder, ("captions.jsonl",), f"it comes from {_CAPTIONS}")
    pairs: list[Pair] = []
    missing: list[str] = []
    for number, line in enumerate(read_all(path).splitlines(), start=1):
        if not line.strip():
            continue
        key, captions = _captions(line, language, f"{path}, line {number}")
        image = picture(folder, (f"images/{key}.jpg", f"{key}.jpg"))
        if image is None:
            missing.append(f"{key}.jpg")
        else:
            pairs.append(Pair(f"xm3600-{key}", str(image), captions, "xm3600"))
    return Contents(pairs, missing)


def _captions(line: str, language: str, place: str) -> tuple[str, tuple[str, ...]]:
    """Key and captions of a picture. A caption that two people gave counts once."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not JSON; download {_CAPTIONS} again") from error
    try:
        key, texts = row["image/key"], row[language]["caption"]
        captions = tuple(dict.fromkeys(text for text in map(one_line, texts) if text))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{place}: no picture with captions in {language!r}; Crossmodal-3600 has 36 languages"
        ) from error
    if not isinstance(key, str) or not captions:
        raise UserError(f"{place}: a picture without a name or without a caption; download {_CAPTIONS} again")
    return key, captions
