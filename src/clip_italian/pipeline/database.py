"""DuckDB for sorting and grouping a whole pairs file in little memory; the rest spills to disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from clip_italian.errors import UserError

_MEMORY = "400MB"


@contextmanager
def database(spill: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an empty database; data beyond its memory goes to files in the folder `spill`, if given.

    Raises UserError if DuckDB fails, for example on a full disk.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY, "threads": 2,
        # DuckDB would download an extension that a query needs into the home folder.
        "autoinstall_known_extensions": False,
    }  # fmt: skip
    if spill is not None:
        settings["temp_directory"] = str(spill / "sort")
    try:
        with duckdb.connect(config=settings) as base:
            yield base
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise UserError(
            f"{spill or 'memory'}: sorting failed ({reason}); check the disk, then run the same command again to resume"
        ) from error


def count_rows(base: duckdb.DuckDBPyConnection, table: str) -> int:
    """Number of rows of a table, a join or a subquery."""
    [[count]] = base.sql(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)
