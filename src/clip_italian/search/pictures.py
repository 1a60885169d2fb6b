"""Searching a folder of pictures in one call: the model is loaded and the index kept up to date automatically."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from PIL import Image

from clip_italian.files.cache import cache_dir
from clip_italian.models.encoder import SearchEncoder
from clip_italian.models.load import Engine, lasting_name, load
from clip_italian.search import update
from clip_italian.search.filters import Filter
from clip_italian.search.index import Hit, Index
from clip_italian.search.query import Query, divide, find


@dataclass(frozen=True)
class Pictures:
    """A model and an index made with it: `Pictures.below(folder)` opens both. Threads may share it."""

    encoder: SearchEncoder
    index: Index

    @classmethod
    def below(
        cls, folder: str | Path, model: str = "mini", index: str | Path | None = None,
        exclude: Sequence[str] | None = None, hidden: bool | None = None, engine: Engine = "auto",
    ) -> Self:  # fmt: skip
        """Index the pictures below a folder: the first time all of them, later those that are new or changed.

        `model` and `engine` are those of `models.load.load`. The index is kept in the cache
        (CLIP_ITALIAN_CACHE), or in `index`. `exclude` and `hidden` select files below the folder, see `walk.Choice`;
        None: as the index was made. Raises UserError where there is no such folder, or no readable picture in it.
        """
        place, model = Path(folder).expanduser().resolve(), lasting_name(model)
        kept = Path(index).expanduser() if index is not None else cached_index(place, model)
        kept.parent.mkdir(parents=True, exist_ok=True)
        encoder = load(model, engine=engine)
        update.build(kept, [place], update.Model(encoder, model), exclude=exclude, hidden=hidden)
        return cls(encoder, Index.open(kept))

    def __len__(self) -> int:
        return len(self.index)

    def search(
        self, *what: str | Path | Image.Image, like: Sequence[str | Path | Image.Image] = (),
        unlike: Sequence[str | Path | Image.Image] = (), k: int = 10, where: Filter | None = None,
        words: str | None = None,
    ) -> list[Hit]:  # fmt: skip
        """The `k` pictures that fit words (several are wordings of one thing), pictures, or both best; best first.

        As on the command line, a text that names a picture file is that picture (`query.divide`); those of `like`
        always are. `unlike` is what should not be there; `words` are looked for in names, keywords, places and dates,
        see `query.Query`. `hit.open()` gives the picture, `hit.path` its file. Raises UserError for a text that
        names a file which is no picture.
        """
        examples = tuple(one if isinstance(one, Image.Image) else Path(one).expanduser() for one in like)
        texts, pictures = divide(what)
        query = Query(texts, (*pictures, *examples), *divide(unlike), words=words)
        return find(query, self.encoder, self.index, k, where=where)


def cached_index(folder: Path, model: str) -> Path:
    """The default location of an index of a resolved folder: one in the cache for each folder and model."""
    digest = sha256(f"{folder}\n{model}".encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return cache_dir() / "indexes" / f"{folder.name or 'all'}-{digest}"
