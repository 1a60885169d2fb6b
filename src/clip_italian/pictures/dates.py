"""Parses dates in picture files, sidecars and filters as local time at the place where a picture was taken.

    text                                      parsed as
    2024:06:01 00:30:00, 2024-06-01T00:30     local time; also with "/" or ".", and truncated
    06/2024, 6/2024, 06.2024, 06-2024         a month
    1/6/2024, 01.06.2024 00:30, 1-6-2024      day first, as in the languages here; in filters only, since programs of
                                              other countries write the month first
    2024-06-01T00:30:00+02:00                 00:30, the local time at that offset
    2024-05-31T22:30:00Z, or -00:00           an instant, converted to the time zone of this machine
    seconds since 1970                        an instant, likewise

A numeric offset states the local time where the picture was taken. "Z" and "-00:00" mean that the local offset is
unknown (RFC 9557), so the time zone of this machine is the best guess.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

# Dates outside these years are errors of a clock or a program.
FIRST_YEAR, LAST_YEAR = 1000, 2999
_LONGEST = 64  # characters
_MILLISECONDS_FROM = 100_000_000_000  # as seconds, the year 5138
_DAY = re.compile(r"(\d{4})(?:([-:/.])(\d{1,2})(?:\2(\d{1,2}))?)?(?!\d)")
_MONTH = re.compile(r"(\d{1,2})[-/.](\d{4})(?![-\d:/.])")
_DAY_FIRST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})(?!\d)")
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(Z|UTC|[-+]\d{2}:?\d{2})?", re.IGNORECASE)
_UNKNOWN_OFFSETS = ("Z", "UTC", "-00:00", "-0000")


def span(text: str) -> tuple[datetime, datetime] | None:
    """Return the first and last millisecond of a year, month, day, minute or second; None if `text` is not a date."""
    found = _parts(text.strip())
    if found is None:
        return None
    first, day_end, rest = found
    if not rest:
        return _within(first, day_end)
    time = _TIME.fullmatch(rest)
    return None if time is None else _at(first, time)


def parse(value: Any) -> datetime | None:
    """Parse a date from a file and return its first moment; None if the value is not a plausible date.

    If the time is missing or invalid, the day is used; if the month is ("2024:00:00 00:00:00"), the year.
    """
    if isinstance(value, bytes):
        value = value[:_LONGEST].decode("latin-1")
    if not isinstance(value, str):
        return None
    text = value[:_LONGEST].replace("\0", " ").strip()
    found = _parts(text, lenient=True)
    if found is None:
        return None
    first, day_end, rest = found
    time = _TIME.match(rest)
    exact = _at(first, time) if time is not None and day_end - first == timedelta(1) else None
    whole = exact or _within(first, day_end)
    return whole[0] if whole else None


def from_seconds(value: Any) -> datetime | None:
    """Convert seconds or milliseconds since 1970, as a number or text, to the local time of this machine.

    None if the value is not a number, out of range, or 0, which programs write for an unknown date.
    """
    try:
        seconds = float(value)
        if abs(seconds) >= _MILLISECONDS_FROM:
            seconds /= 1000
        return _sensible(datetime.fromtimestamp(seconds)) if seconds else None
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _parts(text: str, lenient: bool = False) -> tuple[datetime, datetime, str] | None:
    """Return the start and end of the year, month or day, and the rest of the text."""
    if match := _DAY.match(text):
        year, month, day = int(match[1]), match[3], match[4]
    elif match := _MONTH.match(text):
        year, month, day = int(match[2]), match[1], None
    elif (match := _DAY_FIRST.match(text)) and not lenient:
        year, month, day = int(match[4]), match[3], match[1]
    else:
        return None
    rest = text[match.end() :]
    if rest and not lenient and (day is None or not re.match(r"[T\s]\s*\d", rest, re.IGNORECASE)):
        return None
    if lenient and month is not None and int(month) == 0:
        month = day = None
    if lenient and day is not None and int(day) == 0:
        day = None
    try:
        first = datetime(year, int(month or 1), int(day or 1))
        if day is not None:
            end = first + timedelta(1)
        elif month is not None:
            end = (first + timedelta(31)).replace(day=1)
        else:
            end = first.replace(year=year + 1)
    except (ValueError, OverflowError):
        return None
    return first, end, rest.lstrip("Tt \t")


def _at(day: datetime, time: re.Match[str]) -> tuple[datetime, datetime] | None:
    hour, minute, second = int(time[1]), int(time[2]), int(time[3] or 0)
    if hour > 23 or minute > 59 or second > 60:
        return None
    milliseconds = int((time[4] or "0")[:3].ljust(3, "0"))
    first = day + timedelta(hours=hour, minutes=minute, seconds=min(second, 59), milliseconds=milliseconds)
    length = timedelta(milliseconds=1) if time[4] else timedelta(seconds=1) if time[3] else timedelta(minutes=1)
    if (time[5] or "").upper() in _UNKNOWN_OFFSETS:
        try:
            first = first.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
        except (ValueError, OverflowError, OSError):
            return None
    return _within(first, first + length)


def _within(first: datetime, end: datetime) -> tuple[datetime, datetime] | None:
    return (first, end - timedelta(milliseconds=1)) if _sensible(first) else None


def _sensible(moment: datetime) -> datetime | None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return moment if FIRST_YEAR <= moment.year <= LAST_YEAR else None
