"""The functions of the API, without HTTP. Every method may run in any thread."""

import base64
import logging
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from clip_italian.errors import UsageError, UserError
from clip_italian.evaluate.labels import own
from clip_italian.languages import Language
from clip_italian.models.encoder import SearchEncoder
from clip_italian.pictures.decoding import PictureError
from clip_italian.search import classify
from clip_italian.search.filters import Filter, near
from clip_italian.search.index import Hit, Index
from clip_italian.search.locate import locate, overlay
from clip_italian.search.query import Query, find
from clip_italian.search.storage import LackingError
from clip_italian.serve import pictures
from clip_italian.serve.encoder import SharedEncoder
from clip_italian.serve.schemas import Box, Details, Health, Label, ModelFacts, Picture, SearchParams
from clip_italian.serve.settings import Limits

if TYPE_CHECKING:
    from clip_italian.serve.watcher import Watcher  # needs an extra

_log = logging.getLogger(__name__)


class NotThereError(Exception):
    """The requested picture does not exist, or its file is gone."""


class ServedIndex:
    """The index of the service, which others may change meanwhile. Threads may share it."""

    def __init__(self, folder: Path, encoder: SearchEncoder) -> None:
        """Open it; raises UserError where there is none, or one of another model."""
        self._index = Index.open(folder)
        self._index.check_model(encoder)
        self._warned: str | None = None

    def current(self) -> Index:
        """The index as it is now; the last good state where it cannot be opened, or another model made it."""
        try:
            now = self._index.fresh()
        except UserError as error:
            return self._last_good(str(error))
        if now.manifest.model != self._index.manifest.model:
            return self._last_good(f"{now.folder}: is built with another model now; start the service again")
        self._index, self._warned = now, None
        return now

    def _last_good(self, why: str) -> Index:
        if why != self._warned:
            self._warned = why
            _log.warning("%s; the index is served as it was", why)
        return self._index


class Service:
    """A model and an index; `name` is the model's name in responses. Threads may share it.

    `places`: responses say where pictures were taken. `watcher` keeps the index up to date, if any does.
    """

    def __init__(
        self, index: ServedIndex, encoder: SharedEncoder, name: str, language: Language, limits: Limits,
        places: bool = True, watcher: "Watcher | None" = None,
    ) -> None:  # fmt: skip
        self.index, self.encoder, self.name, self.language, self.limits = index, encoder, name, language, limits
        self.places, self.watcher = places, watcher
        self._cache = pictures.Cache(limits.cache_bytes)

    def search(self, params: SearchParams, uploads: Sequence[bytes]) -> tuple[list[Picture], int]:
        """The pictures found, and the number of all pictures. Raises UsageError and PictureError."""
        index = self.index.current()
        texts, unlike, examples = tuple(params.text), tuple(params.unlike), tuple(self._decoded(uploads))
        query = Query(texts, examples, unlike, words=params.words, rows=tuple(params.like))
        equal = (("license", params.license),) if params.license else ()
        if params.near and not self.places:
            raise UsageError("near: this service does not say where pictures were taken; start it with --places")
        try:
            circle = near("near", params.near, params.within) if params.near else None
        except UserError as error:  # names of towns need an extra
            raise UsageError(str(error)) from error
        where = Filter(
            params.folder,
            params.source,
            params.since,
            params.until,
            equal,
            params.camera,
            tuple(params.keyword),
            circle,
        )
        try:
            hits = find(
                query, self.encoder, index, params.k, skip=params.skip, where=None if where == Filter() else where,
                group=not params.copies, exact=params.exact,
            )  # fmt: skip
        except LackingError as error:  # its message holds a path of this machine
            raise UsageError(error.reason) from error
        return [_shown(hit, self.places) for hit in hits], len(index)

    def picture(self, row: int, size: pictures.Size) -> bytes:
        """A picture of the index as a JPEG. Raises NotThereError."""
        index = self.index.current()
        key = (index.manifest.generation, row, size)
        content = self._cache.get(key)
        if content is None:
            hit = index.hit(row)
            if hit is None:
                raise NotThereError(f"no picture {row} in the index")
            try:
                content = pictures.of_hit(hit, size)
            except PictureError as error:  # its message holds a path of this machine
                raise NotThereError(f"the file of picture {row} is gone or damaged") from error
            if size != "full":
                self._cache.put(key, content)
        return content

    def details(self, row: int) -> Details:
        """What the index knows of a picture. Raises NotThereError."""
        found = self.index.current().details(row)
        if found is None:
            raise NotThereError(f"no picture {row} in the index")
        return Details(**found if self.places else found | {"location": None})

    def classify(self, upload: bytes, labels: Sequence[str], each: bool) -> list[Label]:
        """All labels, most probable first. Raises UsageError and PictureError."""
        if len(labels) < 2 and not each:
            raise UsageError("give two labels or more, or judge each independently")
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
        """Box, overlay as a data: URL, and the number of pictures encoded. Raises PictureError."""
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
        """The model and the index."""
        index = self.index.current()
        return ModelFacts(
            model=self.name, model_hash=self.encoder.weights_hash, dim=self.encoder.dim,
            parameters=self.encoder.parameters,
            longest_text=self.encoder.max_tokens, language=self.language.name, pictures=len(index),
            search=index.info["search"], calibrated=index.manifest.calibration is not None,
            version=metadata.version("clip-italian"),
        )  # fmt: skip

    def health(self) -> Health:
        """The state of the service and its index."""
        index, watcher = self.index.current(), self.watcher
        return Health(
            status="ok", pictures=len(index), updated=index.updated,
            checked=watcher.checked if watcher else None, watching=watcher is not None and watcher.is_running,
        )  # fmt: skip

    def _decoded(self, uploads: Sequence[bytes]) -> list[Image.Image]:
        limit = self.limits.picture_pixels
        return [pictures.uploaded(content, f"picture {n}", limit) for n, content in enumerate(uploads, start=1)]


def shown_name(model: str) -> str:
    """A model's name without paths of this machine: Hub ids and `mini` stay, folders lose their parents."""
    return Path(model).resolve().name if Path(model).exists() else model


def _shown(hit: Hit, places: bool) -> Picture:
    return Picture(
        rank=hit.rank, row=hit.row, id=_shown_id(hit.id), folder=_shown_folder(hit.inside),
        picture=f"/v1/pictures/{hit.row}",
        score=round(hit.score, 4), probability=None if hit.probability is None else round(hit.probability, 4),
        copies=[copy.row for copy in hit.copies], taken=hit.taken,
        latitude=hit.latitude if places else None, longitude=hit.longitude if places else None,
    )  # fmt: skip


def _shown_id(given: str) -> str:
    """An id, of which only the last part is shown where it is an absolute path of this machine."""
    path = PurePath(given)
    return path.name if path.is_absolute() else given


def _shown_folder(inside: str) -> str:
    """The folder of a path below an indexed folder; empty for none, and for a place outside."""
    folder = PurePosixPath(inside).parent
    return "" if folder.parts[:1] in ((), ("/",), ("..",)) else str(folder)
