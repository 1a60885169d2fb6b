"""DuckDB for what must be sorted or grouped over a whole pairs file: in little memory, the rest on the disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from clip_italian.errors import UserError

_MEMORY = "400MB"


@contextmanager
def database(room: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an empty database; what does not fit into memory goes to files in `room`.

    Raises UserError where DuckDB gives up, as on a full disk.
    """
    try:
        temporary = str(room / "sort")
        with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": temporary, "threads": 2}) as base:
            yield base
    except duckdb.Error as error:
        reason = str(error).strip().splitlines()[0][:300]
        raise UserError(f"{room}: sorting failed ({reason}); see to the disk, the same command goes on") from error
