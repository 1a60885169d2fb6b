"""Arrow files mapped into memory, of which only what is touched is read."""

import mmap
from pathlib import Path

import pyarrow as pa


def open_arrow(path: Path | str, scattered: bool = False) -> pa.RecordBatchFileReader:
    """Open an Arrow file; the name may be removed afterwards.

    pyarrow's own mapping asks the system for every batch as a whole, which takes seconds from a slow disk. `scattered`:
    single rows will be read, so that nothing around them need be. Raises OSError for a missing file, pa.ArrowInvalid
    for a damaged one.
    """
    with Path(path).open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise pa.ArrowInvalid(str(error)) from error
    if scattered and hasattr(mmap, "MADV_RANDOM"):
        mapped.madvise(mmap.MADV_RANDOM)
    return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
