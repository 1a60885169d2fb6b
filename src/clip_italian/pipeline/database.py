"""DuckDB for what must be sorted or grouped over a whole pairs file: in little memory, the rest on the disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from clip_italian.errors import UserError

_MEMORY = "400MB"


@contextmanager
def database(room: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an empty database; what does not fit into memory goes to files in `room`, where one is given.

    Raises UserError where DuckDB gives up, as on a full disk.
    """
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY, "threads": 2,
        # It would download an extension that a query needs, into the home folder.
        "autoinstall_known_extensions": False,
    }  # fmt: skip
    if room is not None:
        settings["temp_directory"] = str(room / "sort")
    try:
        with duckdb.connect(config=settings) as base:
            yield base
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise UserError(
            f"{room or 'memory'}: sorting failed ({reason}); see to the disk, the same command goes on"
        ) from error


def count_rows(base: duckdb.DuckDBPyConnection, table: str) -> int:
    """How many rows a table, a join or a subquery has."""
    [[count]] = base.sql(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)
