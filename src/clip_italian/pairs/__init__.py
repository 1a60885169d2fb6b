"""The pairs file: one row an image with its captions, as Parquet or the original project's JSON lines.

    id, image, captions, source, split, captions_original, license, page, phash

`image` is a path relative to the file (or absolute, or an URL). Stages of the pipeline are
functions from pairs to pairs; none changes its input file.
"""

from clip_italian.pairs.captions import concept
from clip_italian.pairs.fingerprints import fingerprint, fingerprint_of
from clip_italian.pairs.places import apart, image_path, relocated
from clip_italian.pairs.reading import batches, count, existing, has_small_row_groups, read
from clip_italian.pairs.rows import SCHEMA, Pair, as_batch, from_batch, split_name, to_batch
from clip_italian.pairs.writing import Writer, write

__all__ = [
    "SCHEMA",
    "Pair",
    "Writer",
    "apart",
    "as_batch",
    "batches",
    "concept",
    "count",
    "existing",
    "fingerprint",
    "fingerprint_of",
    "from_batch",
    "has_small_row_groups",
    "image_path",
    "read",
    "relocated",
    "split_name",
    "to_batch",
    "write",
]
