"""The clock, and the text formats of times and durations.

A time is an aware datetime in UTC everywhere in this program. A naive datetime is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]

# RFC 3339, section 5.6: date-time with a mandatory zone; "t" and "z" may be lower case.
_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d|w)", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""Seconds."""


def utc_now() -> datetime:
    """Return the present time of the host's clock. Nothing else in the program reads it."""
    return datetime.now(UTC)


def to_utc(at: datetime) -> datetime:
    """Return a time in UTC; a naive datetime raises ValueError."""
    if at.tzinfo is None:
        raise ValueError(f"the time has no time zone: {at.isoformat()}")
    return at.astimezone(UTC)


def parse_rfc3339(text: str) -> datetime:
    """Parse an RFC 3339 time; digits after microseconds are dropped. Raises ValueError."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("expected an RFC 3339 time with a zone, such as 2026-07-24T00:00:00Z")
    try:
        return to_utc(datetime.fromisoformat(text.upper()))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not a time that exists: {error}") from error


def parse_duration(text: str) -> timedelta:
    """Parse a duration such as "15m" or "1.5d". Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise ValueError('expected a duration such as "90s", "15m", "12h" or "7d"')
    try:
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    except OverflowError as error:
        raise ValueError("the duration is too long") from error


def parse_time(text: str, now: datetime) -> datetime:
    """Parse a time as users write it: RFC 3339, a date (UTC) or an age. Raises ValueError."""
    stripped = text.strip()
    try:
        if _DURATION.fullmatch(stripped):
            return now - parse_duration(stripped)
        if _DATE.fullmatch(stripped):
            return datetime.fromisoformat(stripped).replace(tzinfo=UTC)
        return parse_rfc3339(stripped)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            "expected a time such as 2026-07-24T18:00:00Z, a date such as 2026-07-24, "
            "or an age such as 7d"
        ) from error


def format_time(at: datetime) -> str:
    """Return a time as RFC 3339 in UTC, ending in Z, with microseconds if there are any."""
    return to_utc(at).isoformat().replace("+00:00", "Z")
