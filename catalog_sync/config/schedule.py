"""When a source is synced: every so often, or by the crontab. Pure; the triggers are APScheduler's.

APScheduler reads a crontab's days in its own way: its week begins with Monday as 0, and a day of
the month beside a day of the week must be both. Here they mean what crontab(5) says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger


_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""By their number in a crontab, where Sunday is 0 and 7."""
_DAYS = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d+))?", re.ASCII)
_FIELDS = 5
_MISSED = 3
"""Passes in a row that did not succeed, from which on a source is not fresh any more."""
_JITTER_SHARE = 10
_EPOCH = datetime.fromtimestamp(0, UTC)
_INSTANT = timedelta(microseconds=1)
_LOOK_BACK = timedelta(days=100 * 365)
"""Longer than any crontab's line pauses: a 29 February on a Sunday may be forty years away."""
_APART = timedelta(seconds=30)
"""Less than there is between two runs of a crontab."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A time table: a crontab's line in a time zone where there is one, else an interval."""

    every: timedelta
    cron: str | None = None
    timezone: str = "UTC"
    """An IANA name; an interval knows no time zone."""

    def __post_init__(self) -> None:
        """Raise ValueError for a crontab's line that is none, or that never comes."""
        if self.cron is not None and self.trigger().get_next_fire_time(None, _EPOCH) is None:
            raise ValueError("a crontab's line that never comes")

    def trigger(self, jitter: timedelta = timedelta()) -> BaseTrigger:
        """Return APScheduler's trigger; each run comes up to `jitter` later, drawn at random."""
        from apscheduler.triggers.interval import IntervalTrigger  # noqa: PLC0415  # heavy

        seconds = jitter.total_seconds()
        if self.cron is not None:
            return _cron_trigger(self.cron, ZoneInfo(self.timezone), seconds)
        every = self.every.total_seconds()
        return IntervalTrigger(seconds=every, timezone=UTC, jitter=seconds)

    def interval(self, now: datetime) -> timedelta:
        """Return the time between two runs: of a crontab, the lesser of before and after its last.

        So that the last run of a day is not taken for one that serves the whole night, nor the
        first for one that the evening before has served.
        """
        if self.cron is None:
            return self.every
        last = self._last_run(now)
        return min(last - self._last_run(last - _INSTANT), self._run_after(last) - last)

    def at_most(self, jitter: timedelta, now: datetime) -> timedelta:
        """Return a jitter that leaves the intervals recognisable: at most a tenth of one."""
        return min(jitter, self.interval(now) / _JITTER_SHARE)

    def max_age(self, synced_at: datetime) -> timedelta:
        """Return how old a success may become: until the third run after it was due."""
        if self.cron is None:
            return _MISSED * self.every
        return self._runs_after(synced_at, _MISSED)[-1] - synced_at

    def _runs_after(self, moment: datetime, number: int) -> list[datetime]:
        runs = [moment]
        for _ in range(number):
            runs.append(self._run_after(runs[-1]))
        return runs[1:]

    def _run_after(self, moment: datetime) -> datetime:
        """Return the next run, in UTC; what an hour that comes twice repeats is none of its own."""
        trigger = self.trigger()
        run: datetime = trigger.get_next_fire_time(None, moment + _INSTANT)
        while run.fold:
            run = trigger.get_next_fire_time(None, run.astimezone(UTC) + _INSTANT)
        return run.astimezone(UTC)

    def _last_run(self, now: datetime) -> datetime:
        """Return the last run up to `now`, in UTC: a crontab is read forwards only."""
        before, after = now - _LOOK_BACK, now
        while after - before > _APART:
            middle = before + (after - before) / 2
            if self._run_after(middle) <= now:
                before = middle
            else:
                after = middle
        return self._run_after(before)


def _cron_trigger(line: str, zone: ZoneInfo, jitter: float) -> BaseTrigger:
    from apscheduler.triggers.combining import OrTrigger  # noqa: PLC0415  # heavy
    from apscheduler.triggers.cron import CronTrigger  # noqa: PLC0415

    fields = line.split()
    if len(fields) != _FIELDS:
        raise ValueError(
            "expected the five fields of a crontab: minute, hour, day, month, weekday, such as "
            '"*/15 * * * *"'
        )
    minute, hour, day, month, weekday = fields
    common: dict[str, Any] = {"minute": minute, "hour": hour, "month": month, "timezone": zone}
    try:
        days = {"day": day, "day_of_week": _weekdays(weekday)}
        if day.startswith("*") or weekday.startswith("*"):
            return CronTrigger(**common, **days, jitter=jitter)
        # Where both are restricted, a crontab runs on either.
        either = [CronTrigger(**common, **{name: value}) for name, value in days.items()]
        return OrTrigger(either, jitter=jitter)
    except (ValueError, TypeError) as error:
        raise ValueError(f"not a crontab's line: {error}") from None


def _weekdays(field: str) -> str:
    """Return a crontab's days of the week as the names that APScheduler takes."""
    if field == "*":
        return field
    days: list[str] = []
    for part in field.lower().split(","):
        match = _DAYS.fullmatch(part)
        if match is None:
            raise ValueError(f"{part!r} is no day of the week")
        every, first, last, step = match.groups()
        begin = 0 if every else _weekday(first)
        end = 6 if every else _weekday(last) if last else 6 if step else begin
        if end < begin:
            end = end or 7  # "fri-sun"
        if end < begin:
            raise ValueError(f"{part!r} ends before it begins")
        if step == "0":
            raise ValueError(f"{part!r} has no step")
        days += _WEEKDAYS[begin : end + 1 : int(step or 1)]
    return ",".join(dict.fromkeys(days))


def _weekday(text: str) -> int:
    if text in _WEEKDAYS:
        return _WEEKDAYS.index(text)
    if text.isdecimal() and int(text) < len(_WEEKDAYS):
        return int(text)
    raise ValueError(f"{text!r} is no day of the week; expected 0 to 7, or sun to sat")
