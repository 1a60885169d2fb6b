"""What the API does, without HTTP: every method runs in a thread of a request."""

import base64
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from clip_italian.errors import UsageError, UserError
from clip_italian.evaluate.labels import own
from clip_italian.languages import Language
from clip_italian.pictures.decoding import PictureError
from clip_italian.search import classify
from clip_italian.search.filters import Filter
from clip_italian.search.index import Hit
from clip_italian.search.locate import locate, overlay
from clip_italian.search.query import Query, find
from clip_italian.serve import pictures
from clip_italian.serve.answers import Asked, Box, Label, ModelFacts, Picture
from clip_italian.serve.library import Library
from clip_italian.serve.settings import Limits
from clip_italian.serve.shared_encoder import SharedEncoder


class NotThereError(Exception):
    """The picture that was asked for does not exist, or its file is gone."""


class Service:
    """A model and an index; `name` is what answers call the model. Threads may share it."""

    def __init__(self, library: Library, encoder: SharedEncoder, name: str, language: Language, limits: Limits) -> None:
        self.library, self.encoder, self.name, self.language, self.limits = library, encoder, name, language, limits
        self._cache = pictures.Cache(limits.cache_bytes)

    def search(self, asked: Asked, uploads: Sequence[bytes]) -> tuple[list[Picture], int]:
        """Pictures that fit, and how many there are in all. Raises UsageError and PictureError."""
        index = self.library.current()
        query = Query(tuple(asked.text), tuple(self._decoded(uploads)), tuple(asked.unlike))
        equal = (("license", asked.license),) if asked.license else ()
        where = Filter(asked.folder, asked.source, asked.since, asked.until, equal)
        hits = find(
            query, self.encoder, index, asked.k, skip=asked.skip, where=None if where == Filter() else where,
            group=not asked.copies, exact=asked.exact,
        )  # fmt: skip
        return [_shown(hit) for hit in hits], len(index)

    def picture(self, row: int, side: int) -> bytes:
        """A picture of the index as a JPEG of at most `side` pixels. Raises NotThereError."""
        index = self.library.current()
        key = (index.manifest.generation, row, side)
        content = self._cache.get(key)
        if content is None:
            hit = index.hit(row)
            if hit is None:
                raise NotThereError(f"no picture {row} in the index")
            try:
                content = pictures.of_hit(hit, side)
            except PictureError as error:  # its message holds a path of this machine
                raise NotThereError(f"the file of picture {row} is gone or damaged") from error
            self._cache.put(key, content)
        return content

    def classify(self, upload: bytes, labels: Sequence[str], each: bool) -> list[Label]:
        """All labels, likeliest first. Raises UsageError and PictureError."""
        if len(labels) < 2 and not each:
            raise UsageError("give two labels or more, or judge each by itself")
        image = self._decoded([upload])[0]
        try:
            names = own(labels, "labels", self.language)
            classifier = classify.make(self.encoder, names, [self.language.prompts[0]], self.language, each)
        except UserError as error:
            raise UsageError(str(error)) from error
        chances = classifier.probabilities(self.encoder.encode_images([image]))[0]
        order = np.argsort(-chances, kind="stable")
        return [Label(label=classifier.names[at], probability=round(float(chances[at]), 4)) for at in order]

    def locate(self, upload: bytes, text: str) -> tuple[Box, str, float]:
        """Box, overlay as a data: address, and pictures encoded. Raises PictureError."""
        image = self._decoded([upload])[0]
        found = locate(self.encoder, image, text, self.language)
        left, top, right, bottom = (at / side for at, side in zip(found.box, (*image.size, *image.size), strict=True))
        picture = pictures.jpeg(overlay(image, found), pictures.SIDE)
        shown = "data:image/jpeg;base64," + base64.b64encode(picture).decode("ascii")
        return Box(left=left, top=top, right=right, bottom=bottom), shown, round(found.encoded, 1)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings (n, dim)."""
        return self.encoder.encode_text(texts)

    def embed_pictures(self, uploads: Sequence[bytes]) -> np.ndarray:
        """Embeddings (n, dim). Raises PictureError."""
        return self.encoder.encode_images(self._decoded(uploads))

    def facts(self) -> ModelFacts:
        """What answers."""
        index = self.library.current()
        return ModelFacts(
            model=self.name, model_hash=self.encoder.weights_hash, dim=self.encoder.dim,
            parameters=self.encoder.parameters,
            longest_text=self.encoder.max_tokens, language=self.language.name, pictures=len(index),
            search=index.info["search"], calibrated=index.manifest.calibration is not None,
            version=metadata.version("clip-italian"),
        )  # fmt: skip

    def _decoded(self, uploads: Sequence[bytes]) -> list[Image.Image]:
        limit = self.limits.picture_pixels
        return [pictures.uploaded(content, f"picture {n}", limit) for n, content in enumerate(uploads, start=1)]


def shown_name(model: str) -> str:
    """A model's name without where it lies on this machine: Hub ids and `mini` stay, folders lose their parents."""
    return Path(model).resolve().name if Path(model).exists() else model


def _shown(hit: Hit) -> Picture:
    return Picture(
        rank=hit.rank, row=hit.row, id=_shown_id(hit.id), picture=f"/v1/pictures/{hit.row}",
        score=round(hit.score, 4), probability=None if hit.probability is None else round(hit.probability, 4),
        copies=[copy.row for copy in hit.copies],
    )  # fmt: skip


def _shown_id(given: str) -> str:
    """Ids are relative paths or names; of one that is a path of this machine only the last part is shown."""
    path = PurePath(given)
    return path.name if path.is_absolute() else given
