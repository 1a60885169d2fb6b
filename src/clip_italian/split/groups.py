"""Group the rows of a pairs file by picture: same id, URL or file content, or nearly the same look.

DuckDB groups them, on disk if they do not fit into memory.
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa

from clip_italian.files.digests import NO_KEY, hash64
from clip_italian.pictures import near
from clip_italian.pictures.decoding import PictureError, open_picture
from clip_italian.pictures.phash import picture_hash
from clip_italian.pipeline.database import count_rows


def address_key(image: str) -> int:
    """Key of a URL without scheme, fragment and case of the host; `NO_KEY` for a path."""
    if "://" not in image:
        return NO_KEY
    try:
        parts = urlsplit(image)
    except ValueError:
        return hash64(image)
    return hash64(f"{parts.netloc.lower()}{parts.path}?{parts.query}")


def hash_file(path: Path) -> str | None:
    """Perceptual hash of a picture file; None if it cannot be decoded."""
    try:
        return picture_hash(open_picture(path))
    except PictureError:
        return None


def group_rows(base: duckdb.DuckDBPyConnection, distance: int, copies: Sequence[tuple[int, int]] = ()) -> None:
    """Create the table `groups` (row, root) from the table `keys` (row, key, address, content, phash).

    Rows that share a key, an address, a content or a hash, directly or through others, are one picture; its root is
    the first of them. A picture whose hash is near an earlier one's, or that `copies` (pairs of rows) joins with one,
    joins the earlier one, unless that has itself joined another: each member is near the first of its group.
    """
    base.execute("CREATE TABLE links (a BIGINT, b BIGINT)")
    present = {column: f"{column} <> {NO_KEY}" for column in ("key", "address", "content")}
    for column, condition in (present | {"phash": near.SHAPED}).items():
        base.execute(
            f"INSERT INTO links SELECT first, row FROM (SELECT row, min(row) OVER (PARTITION BY {column}) AS first"
            f" FROM keys WHERE {condition}) WHERE first <> row"
        )
    _contract(base)
    base.execute(f"CREATE TABLE looks AS SELECT min(row) AS row, phash FROM keys WHERE {near.SHAPED} GROUP BY phash")
    near.find_near(base, distance)
    base.register("copied", pa.table({"earlier": pa.array([a for a, _ in copies], pa.int64()),
                                      "later": pa.array([b for _, b in copies], pa.int64())}))  # fmt: skip
    base.execute("INSERT INTO near SELECT earlier, later FROM copied")
    base.execute(
        "CREATE OR REPLACE TABLE near AS SELECT DISTINCT least(a.root, b.root) AS earlier,"
        " greatest(a.root, b.root) AS later FROM near JOIN groups a ON earlier = a.row JOIN groups b ON later = b.row"
        " WHERE a.root <> b.root"
    )
    near.find_leaders(base, count_rows(base, "keys"))
    base.execute(
        "CREATE OR REPLACE TABLE groups AS SELECT groups.row, coalesce(original, root) AS root"
        " FROM groups LEFT JOIN replaced ON groups.root = replaced.row"
    )
    base.execute("DROP TABLE near; DROP TABLE looks; DROP TABLE replaced")


def _contract(base: duckdb.DuckDBPyConnection) -> None:
    """Connected components in SQL: each root joins its smallest neighbour, until no link is left."""
    base.execute("CREATE TABLE groups AS SELECT row, row AS root FROM keys")
    while True:
        base.execute(
            "CREATE OR REPLACE TABLE hooks AS SELECT greatest(a, b) AS root, min(least(a, b)) AS towards"
            " FROM links GROUP BY root"
        )
        if not count_rows(base, "hooks"):
            return
        hooked = "LEFT JOIN hooks h ON {0} = h.root"
        while count_rows(base, "hooks h JOIN hooks further ON h.towards = further.root"):
            base.execute(
                "CREATE OR REPLACE TABLE hooks AS SELECT hooks.root, coalesce(h.towards, hooks.towards) AS towards"
                f" FROM hooks {hooked.format('hooks.towards')}"
            )
        base.execute(
            "CREATE OR REPLACE TABLE groups AS SELECT row, coalesce(h.towards, groups.root) AS root"
            f" FROM groups {hooked.format('groups.root')}"
        )
        base.execute(
            "CREATE OR REPLACE TABLE links AS SELECT DISTINCT coalesce(h.towards, a) AS a, coalesce(g.towards, b) AS b"
            " FROM links LEFT JOIN hooks h ON a = h.root LEFT JOIN hooks g ON b = g.root"
            " WHERE coalesce(h.towards, a) <> coalesce(g.towards, b)"
        )
