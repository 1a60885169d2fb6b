"""Queries: words, pictures, both together, and what should not be there, combined into one embedding.

The index balances the parts of a query: each is divided by the spread of its cosines over this index. Otherwise a
picture, whose cosines are high and spread widely, would outweigh a text, whose cosines are low and close together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clip_italian.errors import UsageError
from clip_italian.models.encoder import SearchEncoder
from clip_italian.pictures.walk import names_picture
from clip_italian.search.filters import Filter
from clip_italian.search.index import Hit, Index

# What should not be there counts half, so that the rest of the query leads.
NOT_WEIGHT = 0.5
_SAMPLE = 1_000


@dataclass(frozen=True)
class Query:
    """One search. The embeddings of several texts (wordings of one thing) or pictures (examples) are averaged.

    `rows` are pictures of the index, by their numbers. Each text is inserted into each of `prompts` at {}. `words` are
    looked for in names, keywords, places, dates and other texts of the rows; None: those of a single text, "": none.
    Raises UsageError for an empty query or a prompt without {}.
    """

    texts: tuple[str, ...] = ()
    pictures: tuple[Path | Image.Image, ...] = ()
    not_texts: tuple[str, ...] = ()
    not_pictures: tuple[Path | Image.Image, ...] = ()
    prompts: tuple[str, ...] = ("{}",)
    words: str | None = None
    rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.has_looks and not (self.words or "").strip():
            raise UsageError("nothing to look for; give some words, or a picture")
        if not self.has_looks and (self.not_texts or self.not_pictures):
            raise UsageError("what should not be there needs something to look for; give a text or a picture too")
        if any(not text.strip() for text in (*self.texts, *self.not_texts)):
            raise UsageError("the query is empty; say what to look for")
        for prompt in self.prompts:
            if prompt.count("{}") != 1:
                raise UsageError(f"prompt {prompt!r}: needs exactly one {{}} for the query")

    @property
    def has_looks(self) -> bool:
        """True where pictures are compared: with texts or pictures, not with `words` alone."""
        return bool(self.texts or self.pictures or self.rows)

    @property
    def is_plain(self) -> bool:
        """True for texts only: scores are cosines of text and picture."""
        return not (self.pictures or self.rows or self.not_texts or self.not_pictures)


def divide(
    some: Sequence[str | Path | Image.Image],
) -> tuple[tuple[str, ...], tuple[Path | Image.Image, ...]]:
    """Words and pictures in what a user typed: a text that names a file, or ends like a picture's name, is a picture.

    Any other text is words. Raises UserError for a file that is no picture.
    """
    texts: list[str] = []
    pictures: list[Path | Image.Image] = []
    for one in some:
        if isinstance(one, Image.Image):
            pictures.append(one)
        elif names_picture(one):
            pictures.append(Path(one).expanduser())
        else:
            texts.append(str(one))
    return tuple(texts), tuple(pictures)


def embed(query: Query, encoder: SearchEncoder, index: Index) -> np.ndarray:
    """The query as one embedding (dim,) of unit length.

    Raises PictureError for a picture that cannot be read, UsageError for a row that the index does not have.
    """

    def texts(some: Sequence[str]) -> np.ndarray:
        return _mean(encoder.encode_text([prompt.replace("{}", text) for text in some for prompt in query.prompts]))

    if query.is_plain:
        return texts(query.texts)
    parts: list[tuple[float, np.ndarray]] = []
    for weight, words, pictures, rows in (
        (1.0, query.texts, query.pictures, query.rows),
        (-NOT_WEIGHT, query.not_texts, query.not_pictures, ()),
    ):
        parts += [(weight, texts(words))] if words else []
        examples = [*(encoder.encode_images(pictures) if pictures else ()), *(_vector(index, row) for row in rows)]
        parts += [(weight, _mean(examples))] if examples else []
    if len(parts) == 1:
        return parts[0][1]
    sample = index.store.sample(_SAMPLE)
    return _mean([weight * part / _spread(sample, part) for weight, part in parts])


def find(
    query: Query, encoder: SearchEncoder | None, index: Index, k: int = 10, *, skip: int = 0,
    where: Filter | None = None, group: bool = True, exact: bool = False,
) -> list[Hit]:  # fmt: skip
    """The pictures of an index that fit a query best: see `Index.search`.

    A query for `words` alone needs no encoder. Raises UserError where the index was made with another model.
    """
    vector = None
    if query.has_looks:
        assert encoder is not None
        index.check_model(encoder)
        vector = embed(query, encoder, index)
    words = query.words
    if words is None:
        words = query.texts[0] if len(query.texts) == 1 and index.store.has_words else ""
    return index.search(
        vector, k, skip=skip, where=where, group=group, exact=exact,
        calibrated=query.is_plain and query.has_looks, words=words,
    )  # fmt: skip


def _vector(index: Index, row: int) -> np.ndarray:
    """The vector (dim,) of a picture of the index. Raises UsageError where it is not there."""
    vector = index.store.vector(row)
    if vector is None:
        raise UsageError(f"no picture {row} in the index; give the row of one that a search found")
    return vector


def _mean(vectors: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The normalised sum of vectors (n, dim): (dim,) of unit length."""
    total = np.sum(np.asarray(vectors, np.float32), axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)


def _spread(sample: np.ndarray, part: np.ndarray) -> float:
    """Standard deviation of the sample's cosines with a part of a query; 1 where the sample is too small."""
    spread = float(np.std(sample @ part)) if len(sample) > 1 else 0.0
    return spread if spread > 1e-4 else 1.0
