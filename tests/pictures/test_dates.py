"""Dates in files, as local time of the picture; instants in the time zone of Rome."""

from datetime import datetime

import pytest

from clip_italian.pictures import dates

pytestmark = pytest.mark.usefixtures("rome")


@pytest.mark.parametrize(
    ("told", "moment"),
    [
        ("2024:06:01 00:30:15", datetime(2024, 6, 1, 0, 30, 15)),
        ("2024:06:01 00:30", datetime(2024, 6, 1, 0, 30)),
        ("2024:06:01", datetime(2024, 6, 1)),
        ("2024/6/1 9:30", datetime(2024, 6, 1, 9, 30)),
        ("2024-06-01T00:30:00.25", datetime(2024, 6, 1, 0, 30, 0, 250_000)),
        ("2024-06", datetime(2024, 6, 1)),
        ("06/2024", datetime(2024, 6, 1)),
        ("6.2024", datetime(2024, 6, 1)),
        ("00/2024", datetime(2024, 1, 1)),
        ("13/2024", None),
        ("06/2024/01", None),
        # Day or month first: unknown.
        ("5/6/2024", None),
        ("1965", datetime(1965, 1, 1)),
        (b"2024:06:01 00:30:00\0", datetime(2024, 6, 1, 0, 30)),
        # Local time at the offset.
        ("2024-06-01T00:30:00+09:00", datetime(2024, 6, 1, 0, 30)),
        ("2024:06:01 00:30:00-0500", datetime(2024, 6, 1, 0, 30)),
        ("2024-01-01T12:00:00+00:00", datetime(2024, 1, 1, 12)),
        # An instant with unknown offset.
        ("2024-05-31T22:30:00Z", datetime(2024, 6, 1, 0, 30)),
        ("2024-05-31 22:30:00 UTC", datetime(2024, 6, 1, 0, 30)),
        ("2024-01-31T22:30:00-00:00", datetime(2024, 1, 31, 23, 30)),
        # Partly unknown or invalid.
        ("2024:06:01   :  :  ", datetime(2024, 6, 1)),
        ("2024:06:01 25:61:00", datetime(2024, 6, 1)),
        ("2024:00:00 00:00:00", datetime(2024, 1, 1)),
        ("2024:06:01 23:59:60", datetime(2024, 6, 1, 23, 59, 59)),
        ("0000:00:00 00:00:00", None),
        ("    :  :     :  :  ", None),
        ("2024:02:31 00:00:00", None),
        ("2024:13:01", None),
        ("0001:01:01 00:00:00", None),
        ("9999:12:31 23:59:59", None),
        ("20240601123456789", None),
        ("", None),
        (None, None),
        (3, None),
        ("²⁰²⁴", None),
    ],
)
def test_dates_of_files(told, moment):
    assert dates.parse(told) == moment


@pytest.mark.parametrize(
    ("told", "moment"),
    [
        ("1717194600", datetime(2024, 6, 1, 0, 30)),
        (1717194600, datetime(2024, 6, 1, 0, 30)),
        (1717194600000, datetime(2024, 6, 1, 0, 30)),
        ("-86400", datetime(1969, 12, 31, 1)),
        ("0", None),
        (1e300, None),
        ("nan", None),
        ("9" * 5000, None),
        (None, None),
        ([], None),
    ],
)
def test_seconds(told, moment):
    assert dates.from_seconds(told) == moment


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2024", datetime(2024, 1, 1), datetime(2024, 12, 31, 23, 59, 59, 999_000)),
        ("2024-02", datetime(2024, 2, 1), datetime(2024, 2, 29, 23, 59, 59, 999_000)),
        ("02/2024", datetime(2024, 2, 1), datetime(2024, 2, 29, 23, 59, 59, 999_000)),
        (" 8/2019 ", datetime(2019, 8, 1), datetime(2019, 8, 31, 23, 59, 59, 999_000)),
        ("08.2019", datetime(2019, 8, 1), datetime(2019, 8, 31, 23, 59, 59, 999_000)),
        ("12-2019", datetime(2019, 12, 1), datetime(2019, 12, 31, 23, 59, 59, 999_000)),
        ("15/8/2019", datetime(2019, 8, 15), datetime(2019, 8, 15, 23, 59, 59, 999_000)),
        ("05.06.2024 18:30", datetime(2024, 6, 5, 18, 30), datetime(2024, 6, 5, 18, 30, 59, 999_000)),
        ("2024-06-01", datetime(2024, 6, 1), datetime(2024, 6, 1, 23, 59, 59, 999_000)),
        ("2024:06:01 00:30", datetime(2024, 6, 1, 0, 30), datetime(2024, 6, 1, 0, 30, 59, 999_000)),
        ("2024-06-01T00:30:05", datetime(2024, 6, 1, 0, 30, 5), datetime(2024, 6, 1, 0, 30, 5, 999_000)),
    ],
)
def test_spans(text, first, last):
    assert dates.span(text) == (first, last)


@pytest.mark.parametrize(
    "text",
    [
        "13/2019", "0/2019", "08/19", "08/2019 x", "8/2019/1", "31/2/2024", "8/15/2019", "1/6-2024", "008/2019",
        "yesterday", "2024-02-30", "2024-06-01 25:00", "2024-06-01 x", "2024-00-01", "24-06-01", "", "2024-06-",
    ],
)  # fmt: skip
def test_invalid_spans(text):
    assert dates.span(text) is None
