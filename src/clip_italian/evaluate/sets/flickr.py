"""Pictures with captions in `captions.jsonl`, the form of Flickr8k and Flickr30k in Italian."""

from dataclasses import replace
from pathlib import Path

from clip_italian.evaluate.sets.base import Contents, EvaluationSet, find
from clip_italian.pairs import Pair, image_path
from clip_italian.pairs import read as read_pairs


def flickr() -> EvaluationSet:
    """A folder with `captions.jsonl` and its pictures."""
    return EvaluationSet(
        name="flickr",
        title="pictures with captions in JSON lines, as Flickr8k or Flickr30k in other languages",
        task="retrieval",
        licence="as the pictures'; Flickr8k and Flickr30k: research only",
        steps=(
            'write FOLDER/captions.jsonl, a line a picture: {"image_path": "images/1.jpg", "captions": ["…", "…"]}',
            "put the pictures where image_path says, from FOLDER",
        ),
        size=None,
        read=_read,
    )


def _read(folder: Path) -> Contents:
    path = find(folder, ("captions.jsonl",), 'it has a line a picture: {"image_path": …, "captions": […]}')
    pairs: list[Pair] = []
    missing: list[str] = []
    for pair in read_pairs(path):
        image = image_path(pair, path)
        if image.is_file():
            pairs.append(replace(pair, image=str(image)))
        else:
            missing.append(pair.image)
    return Contents(pairs, missing)
