"""How programs of ours ask a server: under which name, and when again."""

from datetime import datetime
from email.utils import parsedate_to_datetime

from clip_italian import __version__

USER_AGENT = f"clip-italian/{__version__} (collects captioned pictures for research; asks a host politely)"


def seconds_asked(value: str | None, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks to wait, in either of its forms (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None
