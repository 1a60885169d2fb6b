"""Names of data: a digest over the rows."""

import hashlib
import json
from collections.abc import Iterable, Sequence

from clip_italian.pairs.rows import Pair


def fingerprint(pairs: Sequence[Pair]) -> str:
    """Hex digest over ids, captions and splits in order: names the data a model was trained or measured on."""
    return fingerprint_of((pair.id, pair.captions, pair.split) for pair in pairs)


def fingerprint_of(rows: Iterable[tuple[str, Sequence[str], str | None]]) -> str:
    """The same of (id, captions, split) of each row."""
    digest = hashlib.sha256()
    encode = json.JSONEncoder(ensure_ascii=False).encode  # made once: millions of rows
    for row in rows:
        digest.update(encode(row).encode())
    return digest.hexdigest()[:16]
