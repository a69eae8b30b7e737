"""Schedules: when a source is synced, by an interval or by a crontab line. No I/O, no clock.

Crontab lines mean what they mean in Debian's cron. `cronsim` parses a line and steps through local
time; this module converts local time to UTC and handles clock changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_FIELDS = {"minute": 59, "hour": 23, "day": 31, "month": 12, "weekday": 7}
"""The fields of a crontab line, each with its largest value."""
_TERM = re.compile(r"(\*|\d+|[a-z]{3})(?:-(\d+|[a-z]{3}))?(?:/\d+)?", re.ASCII | re.IGNORECASE)
_MISSED_RUNS = 3
"""A source becomes stale with its third missed run in a row."""
_JITTER_SHARE = 10
_EPOCH = datetime.fromtimestamp(0, UTC)
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_CLOCK_CHANGE = timedelta(hours=3)
"""cron compensates for changes of the local clock up to this size. A larger one is a new time."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """An interval, or a crontab line of five fields and its IANA time zone.

    Raises ValueError for an invalid line, or for one that matches no time.
    """

    every: timedelta
    cron: str | None = None
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        """Check the crontab line."""
        if self.cron is not None:
            _check_line(self.cron)
            self.next_after(_EPOCH)

    def next_after(self, now: datetime) -> datetime:
        """Return the first run after `now`, in UTC."""
        if self.cron is None:
            return now.astimezone(UTC) + self.every
        return self._nearest_run(now, forward=True)

    def last_before(self, now: datetime) -> datetime:
        """Return the last run up to `now` (inclusive), in UTC."""
        if self.cron is None:
            return now.astimezone(UTC) - self.every
        return self._nearest_run(now, forward=False)

    def interval(self, now: datetime) -> timedelta:
        """Return the time between two runs.

        For a crontab line: the shorter of the gaps before and after its last run. Otherwise the
        last run of a day, at 18:00, would count as fresh until the morning.
        """
        if self.cron is None:
            return self.every
        last = self.last_before(now)
        before = self.last_before(last - timedelta(microseconds=1))
        return min(last - before, self.next_after(last) - last)

    def at_most(self, jitter: timedelta, now: datetime) -> timedelta:
        """Limit a jitter to a tenth of an interval, so that the runs stay regular."""
        return min(jitter, self.interval(now) / _JITTER_SHARE)

    def max_age(self, synced_at: datetime) -> timedelta:
        """Return the allowed age of a success: the time until the third run after it."""
        if self.cron is None:
            return _MISSED_RUNS * self.every
        run = synced_at
        for _ in range(_MISSED_RUNS):
            run = self.next_after(run)
        return run - synced_at

    # --- crontab lines -------------------------------------------------------------------------

    def _nearest_run(self, now: datetime, *, forward: bool) -> datetime:
        """Return the first run after `now`, or the last one up to `now`, in UTC.

        The order of local times is the order of runs, except within the size of a clock change.
        """
        zone, now = ZoneInfo(self.timezone), now.astimezone(UTC)
        nearest: Callable[[set[datetime]], datetime] = min if forward else max
        change = _clock_change(now, zone)
        start = _local(now, zone) + (-change if forward else change)
        found: set[datetime] = set()
        for time in _local_times(self.cron or "", start, forward=forward):
            if found and abs(time - _local(nearest(found), zone)) > change:
                break
            found.update(run for run in self.run_times(time, zone) if (run > now) is forward)
            if found and not change:
                break
        if not found:
            raise ValueError("the crontab line never matches")
        return nearest(found)

    def run_times(self, time: datetime, zone: ZoneInfo) -> set[datetime]:
        """Return when a line that matches a local time runs, as in Debian's cron.

        A line with `*` as its minute or hour follows the clock: it runs in both hours if an hour
        repeats, and not at skipped times. Other lines run once for each local time: in the first
        of two equal hours, and at the end of a gap.
        """
        first, second = (
            time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (False, True)
        )
        minute, hour, *_ = (self.cron or "").split()
        follows_clock = minute.startswith("*") or hour.startswith("*")
        follows_clock = follows_clock or abs(second - first) > _CLOCK_CHANGE
        if _local(first, zone) == time:
            return {first, second} if follows_clock else {first}
        if follows_clock:
            return set()
        while _local(time.replace(tzinfo=zone).astimezone(UTC), zone) != time:
            time += _MINUTE
        return {time.replace(tzinfo=zone).astimezone(UTC)}


def _local(time: datetime, zone: ZoneInfo) -> datetime:
    return time.astimezone(zone).replace(tzinfo=None, fold=0)


def _clock_change(now: datetime, zone: ZoneInfo) -> timedelta:
    """Return the size of a change of the local clock around a time, or zero."""
    before, after = (_local(now + step, zone) for step in (-_CLOCK_CHANGE, _CLOCK_CHANGE))
    return abs(after - before - 2 * _CLOCK_CHANGE)


def _local_times(line: str, start: datetime, *, forward: bool) -> Iterator[datetime]:
    """Yield the local times that match a line: after `start`, or up to it and backwards."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415  # only crontab lines need it

    start = start.replace(microsecond=0)
    line = re.sub(r"\b(\w+)-\1/\d+", r"\1", line)  # cronsim reads "4-4/1" as "4-23/1"
    try:
        yield from CronSim(line, start if forward else start + _SECOND, reverse=not forward)
    except CronSimError as error:
        raise ValueError(
            f"not a crontab line, or one that never matches: {str(error).lower()}"
        ) from None


def _check_line(line: str) -> None:
    """Raise ValueError for a line that Debian's cron would refuse."""
    values = line.split()
    if len(values) != len(_FIELDS):
        raise ValueError(
            "expected a crontab line of five fields (minute, hour, day, month, weekday) such as "
            '"*/15 * * * *"'
        )
    for (name, largest), value in zip(_FIELDS.items(), values, strict=True):
        for term in value.split(","):
            match = _TERM.fullmatch(term)
            if match is None or (match[1] == "*" and match[2]):
                raise ValueError(f"not a crontab line: {term!r} is not a {name}")
            first, last = match.groups()
            if "/" in term and first != "*" and last is None:
                first, step = term.split("/")
                raise ValueError(
                    f"not a crontab line: {term!r}: a step needs a range; "
                    f"write {first}-{largest}/{step}"
                )
            if name == "weekday" and (last or "").lower() in {"sun", "0"} and first not in "0sun":
                raise ValueError(
                    f"not a crontab line: {term!r}: Sunday as the end of a range is 7; "
                    f"write {term.replace(f'-{last}', '-7')}"
                )
