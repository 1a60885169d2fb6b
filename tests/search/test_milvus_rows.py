"""Rows and filters in Milvus' form, which need no Milvus."""

from datetime import date, datetime

import pytest

from clip_italian.errors import UserError
from clip_italian.search.filters import Filter
from clip_italian.search.milvus import entity_of, expression, row_number, row_of, table_of
from clip_italian.search.schema import ROWS

ROW = dict.fromkeys(ROWS.names) | {
    "id": "a", "root": 1, "path": "sub/a.jpg", "look": bytes(range(14)), "taken": datetime(1970, 1, 2, 0, 0, 1),
    "keywords": ["mare", "caffè"], "latitude": 45.5, "longitude": -9.25,
}  # fmt: skip


def test_a_row_comes_back_as_it_was():
    data = entity_of(ROW, {"mar", "caff"})
    assert data["taken"] == 86_401_000  # milliseconds
    assert (data["words"], data["keywords_folded"]) == (" caff mar ", "\nmare\n\ncaffè\n")
    row = row_of(data)
    assert (row.id, row.root, row.path, row.look) == ("a", 1, "sub/a.jpg", ROW["look"])
    assert (row.taken, row.latitude, row.longitude) == (ROW["taken"], 45.5, -9.25)
    columns = ["id", "path", "look", "sha256", "taken", "keywords", "latitude", "camera"]
    assert table_of([data], columns).to_pylist() == [{column: ROW[column] for column in columns}]


def test_too_long_a_text_is_refused():
    with pytest.raises(UserError, match="a: its caption has more than 65,535 bytes"):
        entity_of(ROW | {"caption": "è" * 40_000}, ())


def test_numbers_are_made_of_ids():
    numbers = {row_number(str(id_)) for id_ in range(1_000)}
    assert len(numbers) == 1_000
    assert all(0 <= number < 2**63 for number in numbers)
    assert row_number("a") == row_number("a")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (Filter(source='w"it'), 'source == "w\\"it"'),
        (Filter(since=date(1970, 1, 2)), "taken >= 86400000"),
        (Filter(until=date(1970, 1, 1)), "taken < 86400000"),
        (Filter(until=datetime(1970, 1, 1, 0, 0, 1)), "taken < 1001"),
        (Filter(folder="sub"), '((root == 0 and path >= "sub/" and path < "sub0"))'),
        (Filter(source="più"), '(source == "più" or source == "piu\u0300")'),
        (
            Filter(folder="piu\u0300"),
            '((root == 0 and path >= "più/" and path < "più0") or'
            ' (root == 0 and path >= "piu\u0300/" and path < "piu\u03000"))',
        ),
        (Filter(folder="/photos"), "(root == 0)"),
        (Filter(folder="/elsewhere"), None),
        (Filter(keywords=("MARE",)), 'keywords_folded like "%\\nmare\\n%"'),
        (Filter(camera="D5_%"), 'camera_folded like "%d5\ue002\ue001%"'),
    ],
)
def test_filters_in_milvus_language(where, said):
    assert expression(where, ["/photos"]) == said
