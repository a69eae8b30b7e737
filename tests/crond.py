"""Debian's cron, minute by minute: how its main loop (cron.c) runs a crontab line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
_CHANGE = 3 * 60
_NAMES = {
    3: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    4: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


class Line:
    """A parsed crontab line."""

    def __init__(self, text: str) -> None:
        self.fields = [_values(number, field) for number, field in enumerate(text.split())]
        stars = [field.startswith("*") for field in text.split()]
        self.wild = stars[0] or stars[1]
        self.both_days = stars[2] or stars[4]

    def matches(self, local: datetime) -> bool:
        minutes, hours, days, months, weekdays = self.fields
        if local.minute not in minutes or local.hour not in hours or local.month not in months:
            return False
        day, weekday = local.day in days, local.isoweekday() % 7 in weekdays
        return day and weekday if self.both_days else day or weekday


def _values(number: int, field: str) -> set[int]:
    low, high = _RANGES[number]
    found: set[int] = set()
    for term in field.lower().split(","):
        part, _, step = term.partition("/")
        first, _, last = (f"{low}-{high}" if part == "*" else part).partition("-")
        ends = [_value(number, end) for end in (first, last or first)]
        found |= set(range(ends[0], ends[1] + 1, int(step or 1)))
    return {value % 7 for value in found} if number == 4 else found


def _value(number: int, text: str) -> int:
    if text.isdecimal():
        return int(text)
    return _NAMES[number].index(text) + _RANGES[number][0]


def runs(text: str, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the times (UTC) at which cron starts the job, `start` excluded, `end` included."""
    line = Line(text)
    at = start
    virtual = at.astimezone(zone).replace(tzinfo=None)
    while at < end:
        at += MINUTE
        running = at.astimezone(zone).replace(tzinfo=None, fold=0)
        ahead = (running - virtual) // MINUTE
        wild = line.wild and line.matches(running)
        fixed = False
        if ahead == 1 or ahead > _CHANGE or ahead <= -_CHANGE:
            virtual = running
            fixed = not line.wild and line.matches(running)
        elif ahead > 0:
            while virtual < running:
                virtual += MINUTE
                fixed |= not line.wild and line.matches(virtual)
        if wild or fixed:
            yield at


def changes(zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the hours (UTC) before which the zone's clock was changed."""
    at = start
    while at < end:
        after = at + timedelta(hours=1)
        if at.astimezone(zone).utcoffset() != after.astimezone(zone).utcoffset():
            yield after.astimezone(UTC)
        at = after
