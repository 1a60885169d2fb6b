from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from clip_italian.http import retry_after_seconds

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        ("12", 12.0),
        ("-3", None),
        ("soon", None),
        ("", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("Tue, 24 Nov 2026 00:00:05", None),
    ],
)
def test_both_forms_of_retry_after(header, seconds):
    assert retry_after_seconds(header, NOW) == seconds
