"""The pairs file: one row per image with its captions, as Parquet or the original project's JSON lines.

    id, image, captions, source, split, captions_original, license, page, phash

`image` is a path relative to the file, an absolute path or a URL. Pipeline stages are functions from pairs to
pairs; none changes its input file.
"""

from clip_italian.pairs.files import (
    Writer,
    batches,
    count,
    has_small_row_groups,
    image_path,
    read,
    refuse_overwrite,
    relocated,
    require_file,
    write,
)
from clip_italian.pairs.rows import (
    SCHEMA,
    Pair,
    as_batch,
    concept,
    fingerprint,
    fingerprint_of,
    from_batch,
    split_name,
    to_batch,
)

__all__ = [
    "SCHEMA",
    "Pair",
    "Writer",
    "as_batch",
    "batches",
    "concept",
    "count",
    "fingerprint",
    "fingerprint_of",
    "from_batch",
    "has_small_row_groups",
    "image_path",
    "read",
    "refuse_overwrite",
    "relocated",
    "require_file",
    "split_name",
    "to_batch",
    "write",
]
