"""When a source is synced: crontabs mean what crontab(5) says, and three missed runs are stale."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from catalog_sync.config.schedule import Schedule

TUESDAY = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def runs(cron: str, number: int, timezone: str = "UTC") -> list[str]:
    schedule, moment, found = Schedule(MINUTE, cron, timezone), TUESDAY, []
    for _ in range(number):
        moment = schedule.trigger().get_next_fire_time(None, moment + timedelta(microseconds=1))
        found.append(f"{moment.astimezone(UTC):%a %Y-%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("weekdays", "wanted"),
    [
        ("0", ["Sun"]),
        ("7", ["Sun"]),
        ("1-5", ["Mon", "Tue", "Wed", "Thu", "Fri"]),
        ("5-7", ["Fri", "Sat", "Sun"]),
        ("fri-sun", ["Fri", "Sat", "Sun"]),
        ("*/2", ["Sun", "Tue", "Thu", "Sat"]),
        ("1/3", ["Mon", "Thu"]),
        ("Sat,2", ["Sat", "Tue"]),
    ],
)
def test_weekdays_are_a_crontabs(weekdays: str, wanted: list[str]) -> None:
    """Sunday is 0 and 7, as cron has it, and not the sixth day, as APScheduler has it."""
    assert {run[:3] for run in runs(f"0 0 * * {weekdays}", 14)} == set(wanted)


def test_either_day_will_do() -> None:
    """Where the day of the month and of the week are both restricted, cron runs on either."""
    wanted = ["Mon 2026-11-30 06:00", "Tue 2026-12-01 06:00", "Mon 2026-12-07 06:00"]
    assert runs("0 6 1 * 1", 3) == wanted
    assert runs("0 6 1 * *", 2) == ["Tue 2026-12-01 06:00", "Fri 2027-01-01 06:00"]


def test_a_crontab_is_read_in_its_time_zone() -> None:
    """Nine o'clock is nine o'clock of the zone, in winter and in summer."""
    assert runs("0 9 * * *", 1, "Europe/Berlin") == ["Wed 2026-11-25 08:00"]
    assert runs("0 9 1 7 *", 1, "Europe/Berlin") == ["Thu 2027-07-01 07:00"]


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 * * 8", "0 0 * * */0", "0 0 30 2 *"]
)
def test_what_is_no_crontab_is_refused(cron: str) -> None:
    """A line that is none, or that never comes, is an error that says so."""
    with pytest.raises(ValueError, match="crontab"):
        Schedule(MINUTE, cron)


def test_how_old_a_success_may_become() -> None:
    """Until the third run after it: over a weekend without runs it stays fresh."""
    assert Schedule(15 * MINUTE).max_age(TUESDAY) == 45 * MINUTE
    office = Schedule(MINUTE, "*/15 9-17 * * 1-5")
    friday = datetime(2026, 11, 27, 17, 45, tzinfo=UTC)
    assert friday + office.max_age(friday) == datetime(2026, 11, 30, 9, 30, tzinfo=UTC)


def test_jitter_is_at_most_a_tenth_of_the_interval() -> None:
    """What is drawn at random can never come near to the next run."""
    assert Schedule(MINUTE).at_most(30 * MINUTE, TUESDAY) == timedelta(seconds=6)
    assert Schedule(MINUTE, "*/5 * * * *").at_most(10 * MINUTE, TUESDAY) == timedelta(seconds=30)
    assert Schedule(MINUTE, "0 6 * * *").at_most(MINUTE, TUESDAY) == MINUTE


@pytest.mark.parametrize(
    ("cron", "at", "minutes"),
    [
        ("0 8-18 * * *", "17:00:05", 60),
        ("0 8-18 * * *", "18:00:05", 60),
        ("0 8-18 * * *", "08:00:05", 60),
        ("0,5,10 * * * *", "17:05:05", 5),
        ("0,5,10 * * * *", "17:10:05", 5),
        ("30 2 * * *", "12:00:00", 24 * 60),
        ("30 2 * * *", "02:30:00", 24 * 60),
    ],
)
def test_the_interval_of_an_uneven_crontab(cron: str, at: str, minutes: int) -> None:
    """The run at the edge of a pause is as far from the others as they are from each other.

    By the pause that follows, what the run before it saw would count as fresh, and it be skipped.
    """
    now = datetime.fromisoformat(f"2026-11-24T{at}+00:00")
    assert Schedule(MINUTE, cron).interval(now) == minutes * MINUTE


@pytest.mark.parametrize("minute", range(0, 240, 15))
def test_a_clock_change_bends_no_interval(minute: int) -> None:
    """In the nights of summer and winter time a quarter of an hour stays one, and a day a day."""
    often = Schedule(MINUTE, "*/15 * * * *", "Europe/Berlin")
    daily = Schedule(MINUTE, "30 2 * * *", "Europe/Berlin")
    for night in ("2026-03-29", "2026-10-25"):
        now = datetime.fromisoformat(f"{night}T00:00:01+00:00") + minute * MINUTE
        assert often.interval(now) == 15 * MINUTE
        assert 45 * MINUTE - timedelta(seconds=1) <= often.max_age(now) <= 105 * MINUTE
        assert abs(daily.interval(now) - 24 * 60 * MINUTE) <= 60 * MINUTE
