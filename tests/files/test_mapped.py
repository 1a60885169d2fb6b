"""Arrow files mapped into memory, beside pyarrow's own mapping."""

import pyarrow as pa
import pytest

from clip_italian.files.mapped import open_arrow

BATCH = pa.record_batch({"number": pa.array(range(5_000)), "text": pa.array([f"n{n}" for n in range(5_000)])})


def write(path, batches):
    with pa.ipc.new_file(str(path), BATCH.schema) as file:
        for batch in batches:
            file.write_batch(batch)


@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_batches_are_those_of_pyarrow(count, scattered, tmp_path):
    path = tmp_path / "a.arrow"
    write(path, [BATCH] * count)
    opened, expected = open_arrow(path, scattered), pa.ipc.open_file(pa.memory_map(str(path)))
    path.unlink()
    assert opened.schema == BATCH.schema
    assert opened.num_record_batches == expected.num_record_batches == count
    for number in range(count):
        assert opened.get_batch(number).equals(BATCH)


def test_batches_lie_in_the_mapping(tmp_path):
    """They are not copied: all begin within one range as long as the file."""
    path = tmp_path / "a.arrow"
    write(path, [BATCH] * 3)
    before = pa.total_allocated_bytes()
    opened = open_arrow(path)
    places = [opened.get_batch(number).column(0).buffers()[1].address for number in range(3)]
    assert pa.total_allocated_bytes() == before
    assert max(places) - min(places) < path.stat().st_size


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "a.arrow"
    write(path, [BATCH])
    whole = path.read_bytes()
    for content in (b"", b"junk" * 10, whole[:500], whole[:-10]):
        path.write_bytes(content)
        with pytest.raises(pa.ArrowInvalid):
            open_arrow(path)
    with pytest.raises(FileNotFoundError):
        open_arrow(tmp_path / "none.arrow")
