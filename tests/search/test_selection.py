"""Rows by name, against plain Python."""

from fnmatch import fnmatchcase
from pathlib import PurePosixPath

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_italian.files.names import normal
from clip_italian.search import selection
from clip_italian.search.selection import PLACES, selected

ROOTS = ["/foto/a", "/b"]
COMBINED = "e\N{COMBINING ACUTE ACCENT}"  # another form of é
names = st.lists(st.sampled_from(["a", "b", "ab", "é", COMBINED, "a1.png"]), min_size=1, max_size=3).map("/".join)
rows = st.tuples(names, names, st.integers(0, 1))
pieces = st.sampled_from([*"ab/*?[]1", "é", COMBINED, ".png", "/foto/a/", "/b"])
wanted = st.lists(pieces, min_size=1, max_size=4).map("".join).filter(lambda text: "//" not in text)


def table(found):
    columns = [*zip(*found, strict=True), range(len(found))] if found else [[]] * 4
    ids, paths, roots, positions = columns
    kinds = (pa.string(), pa.string(), pa.uint16(), pa.int32(), pa.int64())
    values = (ids, paths, roots, [0] * len(found), positions)
    return pa.table([pa.array(one, kind) for one, kind in zip(values, kinds, strict=True)], names=PLACES)


def fits(name, row, literal):
    id_, path, root = row
    texts = [normal(text) for text in (id_, path, f"{ROOTS[root]}/{path}")]
    if not literal:
        return any(fnmatchcase(text, name) for text in texts)
    above = {str(folder) for text in texts[1:] for folder in PurePosixPath(text).parents}
    return name in texts or (name.rstrip("/") or "/") in {*texts, *above}


@settings(max_examples=200, deadline=None)
@given(st.lists(rows, max_size=8), wanted)
def test_rows_by_name_are_those_of_plain_python(found, name):
    expected = next(
        (
            fitting
            for literal in (True, False)
            if (fitting := [n for n, row in enumerate(found) if fits(normal(name), row, literal)])
        ),
        [],
    )
    chosen = selected([table(found)], ROOTS, [name], missing=False)
    assert [position for _, position in chosen.named] == expected


@pytest.mark.parametrize(
    ("what", "compared"),
    [("b/1.png", 1), ("/foto/a/b", 1), ("*/1.png", 1), ("[b]/1.png", 1), ("/foto", 3), ("*", 3), ("é", 3), (".", 3)],
)  # fmt: skip
def test_only_rows_that_may_fit_are_compared(what, compared):
    whole = table([("b/1.png", "b/1.png", 0), ("c/2.png", "c/2.png", 0), ("c/3.png", "c/3.png", 0)])
    assert len(selection._fitting(whole, [selection._Name(what)], ["/foto/a"])) == compared
