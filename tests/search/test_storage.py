"""Rows of a segment as they are written and read, beside the table that they come from."""

import datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.search import storage
from clip_italian.search.schema import ROWS
from clip_italian.search.storage import Rows, RowsWriter, names_types

TAKEN = datetime.datetime(2019, 8, 15, 12)


def table(rows):
    """Rows given as (row number, id, path, offset, taken)."""
    columns = dict(zip(("row", "id", "path", "offset", "taken"), zip(*rows, strict=True), strict=True))
    columns["root"] = [0] * len(rows)
    return pa.table(
        [
            pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(len(rows), field.type)
            for field in ROWS
        ],
        schema=ROWS,
    )


def written(folder, whole):
    writer = RowsWriter(folder, names_types(whole))
    for start in range(0, len(whole), 3):
        writer.write(whole.slice(start, 3))
    writer.close()
    return Rows.open(folder, len(whole))


@given(
    st.lists(
        st.tuples(
            st.integers(1, 1 << 33), st.booleans(), st.text(max_size=5), st.none() | st.integers(0, 9), st.booleans()
        ),
        min_size=1,
        max_size=20,
    )
)
@settings(max_examples=50)
def test_rows_are_read_as_they_were(tmp_path_factory, drawn):
    rows, number = [], 0
    for step, other, text, offset, dated in drawn:
        number += step
        rows.append((number, text + "!" if other else text, text, offset, TAKEN if dated else None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "ROW_BATCH", 4)
        opened = written(tmp_path_factory.mktemp("rows"), table(rows))
        for position, row in enumerate(rows):
            found = opened[position]
            assert (found.number, found.id, found.path, found.offset, found.taken) == row
            assert opened.position(row[0]) == position
        assert opened.position(number + 1) is None


def test_columns_that_say_nothing_take_no_space(tmp_path):
    """Ids that are the paths, empty columns, and the upper half of row numbers."""
    plain = [(n, f"{n:032d}", f"{n:032d}", None, None) for n in range(1_000)]
    sizes = {}
    for name, rows in {
        "plain": plain,
        "one other id": [(0, "other", *plain[0][2:]), *plain[1:]],
        "large numbers": [(n + (1 << 32), *rest) for n, *rest in plain],
    }.items():
        (tmp_path / name).mkdir()
        written(tmp_path / name, table(rows))
        sizes[name] = (tmp_path / name / storage.NAMES_FILE).stat().st_size
    assert sizes["plain"] < 1_000 * (32 + 4 + 4 + 2) + 3_000, "path, its place, row number, root"
    assert 4_000 <= sizes["one other id"] - sizes["plain"] < 5_000, "the place of each id, not the paths again"
    assert 4_000 <= sizes["large numbers"] - sizes["plain"] < 5_000
