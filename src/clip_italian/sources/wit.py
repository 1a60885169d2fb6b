"""WIT, the Wikipedia-based image-text data set: reference descriptions in one language from its published TSV files.

https://github.com/google-research-datasets/wit. The text is CC BY-SA 3.0; each image has its own licence, which the
files do not state.
"""

import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from clip_italian import console
from clip_italian.errors import UserError
from clip_italian.pairs import Pair
from clip_italian.pipeline.rejects import Reject
from clip_italian.sources.text import Row, key_id, lines, one_line, place, rows

COLUMNS = (
    "language page_url image_url page_title section_title hierarchical_section_title caption_reference_description "
    "caption_attribution_description caption_alt_text_description mime_type original_height original_width "
    "is_main_image attribution_passes_lang_id page_changed_recently context_page_description "
    "context_section_description"
).split()
NEEDED = ("language", "page_url", "image_url", "caption_reference_description", "mime_type")
# Formats of photos; drawings (SVG), scans (TIFF, PDF) and animations (GIF) are left out.
MIME_TYPES = frozenset({"image/jpeg", "image/png", "image/webp"})
LICENSE = "text: CC BY-SA 3.0; image: see the page"

_ROW_START = re.compile(r'"?[a-z]{2,3}(-[a-z]+)*"?\t"?https?://')
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*")


@dataclass(frozen=True)
class Wit:
    """Reads one file: a pair for each row in `language`, a reject for a row that cannot be used.

    Rows in other languages are only counted, in a notice.
    """

    language: str

    def __call__(self, path: Path) -> Iterator[Pair | Reject]:
        columns, count, wanted = COLUMNS, 0, 0
        for row in rows(lines(path), "\t", starts=lambda line: _ROW_START.match(line) is not None):
            if isinstance(row, Reject):
                yield row
            elif count == 0 and "image_url" in row.fields:
                columns = _header(row.fields, path)
            else:
                count += 1
                if not _is_of_another_language(row.fields, self.language, columns):
                    wanted += 1
                    yield _pair(row, columns, path)
        if count:
            console.notice(f"{path.name}: {count:,} rows, {wanted:,} of them in {self.language!r} or unclear")


def _header(fields: list[str], path: Path) -> list[str]:
    missing = [name for name in NEEDED if name not in fields]
    if missing:
        raise UserError(f"{path}: lacks the columns {', '.join(missing)}; give the TSV files as WIT publishes them")
    return fields


def _is_of_another_language(fields: list[str], language: str, columns: list[str]) -> bool:
    at = columns.index("language")
    found = fields[at] if at < len(fields) else ""
    # The first word of a stray line may look like a language code: only a row followed by a page URL counts.
    known = len(fields) == len(columns) or (at == 0 and fields[1:2] and fields[1].startswith("http"))
    return bool(known and found != language and _LANGUAGE.fullmatch(found))


def _pair(row: Row, columns: list[str], path: Path) -> Pair | Reject:
    where = place(path, row.number)
    if len(row.fields) != len(columns):
        return Reject("", "wrong-columns", detail=f"{where}: {len(row.fields)} columns, not {len(columns)}")
    values = dict(zip(columns, row.fields, strict=True))
    url = values["image_url"].strip()
    if not _LANGUAGE.fullmatch(values["language"]):
        return Reject("", "no-language", values["language"][:100], where)
    if not url.startswith(("http://", "https://")) or any(c.isspace() for c in url):
        return Reject("", "no-url", url[:200], where)
    id_ = key_id("wit", url)
    caption = one_line(values["caption_reference_description"])
    if not caption:
        return Reject(id_, "no-caption", detail=where)
    mime = values["mime_type"].strip().lower() or mimetypes.guess_type(urlsplit(url).path)[0] or "unknown"
    if mime not in MIME_TYPES:
        return Reject(id_, "mime-type", caption, f"{where}: {mime}")
    return Pair(id_, url, (caption,), "wit", license=LICENSE, page=values["page_url"].strip() or None)
