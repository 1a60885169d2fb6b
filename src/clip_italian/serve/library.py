"""The index that is served, as it is now."""

import logging
from pathlib import Path

from clip_italian.errors import UserError
from clip_italian.models.encoder import SearchEncoder
from clip_italian.search.index import Index

_log = logging.getLogger(__name__)


class Library:
    """An index that others may change meanwhile. Threads may share it."""

    def __init__(self, folder: Path, encoder: SearchEncoder) -> None:
        """Open it; raises UserError where there is none, or one of another model."""
        self._index = Index.open(folder)
        self._index.check_model(encoder)
        self._told: str | None = None

    def current(self) -> Index:
        """The index as it is now, or as it was where it cannot be opened any more or got another model."""
        try:
            now = self._index.fresh()
        except UserError as error:
            return self._stay(str(error))
        if now.manifest.model != self._index.manifest.model:
            return self._stay(f"{now.folder}: is built with another model now; start the service again")
        self._index, self._told = now, None
        return now

    def _stay(self, why: str) -> Index:
        if why != self._told:
            self._told = why
            _log.warning("%s; the index is served as it was", why)
        return self._index
