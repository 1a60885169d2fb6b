"""The Unsplash data set, Lite (25,000 photos, the paper's gallery) or Full: files `photos.tsv000`, `photos.csv000` …

https://github.com/unsplash/datasets. Tab-separated values with a header line. Descriptions are in English, written by
the photographer or by a program. A photo without a description is kept: it can be searched for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.text import Row, lines, one_line, place, rows

NEEDED = ("photo_id", "photo_image_url")
LICENSE = "Unsplash Dataset License; see https://unsplash.com/data"
_DESCRIPTIONS = ("photo_description", "ai_description")


@dataclass(frozen=True)
class Unsplash:
    """Reads one file, one pair per photo; URLs ask for `width` pixels, or for the photo as uploaded if 0."""

    width: int = 640

    def __call__(self, path: Path) -> Iterator[Pair | Reject]:
        """The pairs and rejects of a file. Raises UserError if the header lacks photo_id or photo_image_url."""
        columns: list[str] | None = None
        for row in rows(lines(path), "\t"):
            if isinstance(row, Reject):
                yield row
            elif columns is None:
                columns = _header(row.fields, path)
            else:
                yield self._pair(row, columns, path)

    def _pair(self, row: Row, columns: list[str], path: Path) -> Pair | Reject:
        where = place(path, row.number)
        if len(row.fields) != len(columns):
            return Reject("", "wrong-columns", detail=f"{where}: {len(row.fields)} columns, not {len(columns)}")
        values = dict(zip(columns, map(one_line, row.fields), strict=True))
        id_, url = values["photo_id"], values["photo_image_url"]
        if not id_:
            return Reject("", "no-id", url[:200], where)
        if not url.startswith(("http://", "https://")) or " " in url:
            return Reject(f"unsplash-{id_}", "no-url", url[:200], where)
        captions = tuple(dict.fromkeys(filter(None, (values.get(name, "") for name in _DESCRIPTIONS))))
        page = values.get("photo_url") or None
        return Pair(f"unsplash-{id_}", self._sized(url), captions, "unsplash", license=LICENSE, page=page)

    def _sized(self, url: str) -> str:
        """URL of the photo as a JPEG of the given width; the original has several megabytes."""
        if not self.width:
            return url
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query)) | {"w": str(self.width), "q": "85", "fm": "jpg"}
        return urlunsplit(parts._replace(query=urlencode(query)))


def _header(fields: list[str], path: Path) -> list[str]:
    columns = [field.strip() for field in fields]
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise UserError(f"{path}: lacks the columns {', '.join(missing)}; give photos.tsv000 as Unsplash publishes it")
    return columns
