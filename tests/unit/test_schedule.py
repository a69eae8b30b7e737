"""When a source is synced: a crontab line has the meaning of Debian's cron, in every zone."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

import crond
from catalog_sync.config.schedule import Schedule

TUESDAY = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def runs(cron: str, number: int, timezone: str = "UTC", after: datetime = TUESDAY) -> list[str]:
    schedule, run, found = Schedule(MINUTE, cron, timezone), after, []
    for _ in range(number):
        run = schedule.next_after(run)
        found.append(f"{run:%a %Y-%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("weekdays", "wanted"),
    [
        ("0", ["Sun"]),
        ("7", ["Sun"]),
        ("1-5", ["Mon", "Tue", "Wed", "Thu", "Fri"]),
        ("5-7", ["Fri", "Sat", "Sun"]),
        ("fri-7", ["Fri", "Sat", "Sun"]),
        ("sun-mon", ["Sun", "Mon"]),
        ("*/2", ["Sun", "Tue", "Thu", "Sat"]),
        ("1-7/3", ["Mon", "Thu", "Sun"]),
        ("4-4/2", ["Thu"]),
        ("Sat,2", ["Sat", "Tue"]),
    ],
)
def test_weekdays_are_numbered_as_in_crontab(weekdays: str, wanted: list[str]) -> None:
    """Sunday is 0 and 7."""
    assert {run[:3] for run in runs(f"0 0 * * {weekdays}", 14)} == set(wanted)


def test_day_of_month_or_day_of_week() -> None:
    """A line that restricts both days runs when either of them matches."""
    wanted = ["Mon 2026-11-30 06:00", "Tue 2026-12-01 06:00", "Mon 2026-12-07 06:00"]
    assert runs("0 6 1 * 1", 3) == wanted
    assert runs("0 6 1 * *", 2) == ["Tue 2026-12-01 06:00", "Fri 2027-01-01 06:00"]


def test_a_crontab_is_read_in_its_time_zone() -> None:
    """09:00 is 09:00 in the configured zone, in winter and in summer."""
    assert runs("0 9 * * *", 1, "Europe/Berlin") == ["Wed 2026-11-25 08:00"]
    assert runs("0 9 1 7 *", 1, "Europe/Berlin") == ["Thu 2027-07-01 07:00"]


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "* * * * * *",
        "61 * * * *",
        "0 0 * * 8",
        "0 0 * * */0",
        "0 0 30 2 *",
        "0 0 L * *",
        "0 0 * * 1#2",
        "*-5 * * * *",
        "5-3 * * * *",
        "mon * * * *",
        "@daily",
    ],
)
def test_a_bad_line_is_refused(cron: str) -> None:
    """A line that Debian's cron refuses, or that matches no time, is refused."""
    with pytest.raises(ValueError, match="crontab"):
        Schedule(MINUTE, cron)


@pytest.mark.parametrize(
    ("cron", "advice"),
    [
        ("1/3 * * * *", "write 1-59/3"),
        ("0 0 * * 1/3", "write 1-7/3"),
        ("0 0 * * fri-sun", "write fri-7"),
        ("0 0 * * 5-0", "write 5-7"),
    ],
)
def test_a_refused_spelling_names_the_right_one(cron: str, advice: str) -> None:
    """A syntax of other cron programs is refused with the correct one."""
    with pytest.raises(ValueError, match=advice):
        Schedule(MINUTE, cron)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "wanted"),
    [
        (
            "*/15 * * * *",
            "Europe/Berlin",
            "2026-10-25T00:44:50Z",
            ["Sun 2026-10-25 00:45", "Sun 2026-10-25 01:00", "Sun 2026-10-25 01:15"],
        ),
        (
            "0 0 * * *",
            "Europe/Berlin",
            "2027-03-27T12:00:00Z",
            ["Sat 2027-03-27 23:00", "Sun 2027-03-28 22:00", "Mon 2027-03-29 22:00"],
        ),
        ("0 0 * * 1", "Europe/Berlin", "2027-03-27T12:00:00Z", ["Sun 2027-03-28 22:00"]),
        (
            "30 0 * * *",
            "Africa/Cairo",
            "2027-04-29T00:00:00Z",
            ["Thu 2027-04-29 22:00", "Fri 2027-04-30 21:30"],
        ),
    ],
)
def test_no_run_is_left_out_at_a_clock_change(
    cron: str, zone: str, after: str, wanted: list[str]
) -> None:
    """A clock change skips no run: a time that does not exist runs at the end of the gap."""
    assert runs(cron, len(wanted), zone, datetime.fromisoformat(after)) == wanted


LINES = (
    "*/15 * * * *",
    "0 0 * * *",
    "0 0 1 * *",
    "30 0 * * 1-5",
    "30 2 * * *",
    "15,45 0-3 * * *",
    "*/20 0 * * *",
    "*/10 1-2 * * 0,5,6",
    "0 */2 * * *",
    "0,30 2,3 28-31 3,10 0",
)


@pytest.mark.parametrize(
    "name",
    [
        "Europe/Berlin",
        "America/New_York",
        "Europe/London",
        "Africa/Cairo",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Africa/Casablanca",
        "UTC",
    ],
)
def test_runs_are_those_of_debians_cron(name: str) -> None:
    """For ten years of clock changes the runs, forwards and backwards, equal those of cron."""
    zone, chance = ZoneInfo(name), random.Random(name)
    decade = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
    changes = list(crond.changes(zone, *decade)) or [TUESDAY]
    for change in chance.sample(changes, min(3, len(changes))):
        start, end = change - timedelta(hours=5), change + timedelta(hours=26)
        for line in LINES:
            schedule, wanted = (
                Schedule(MINUTE, line, name),
                list(crond.runs(line, zone, start, end)),
            )
            found, run = [], start
            while (run := schedule.next_after(run)) <= end:
                found.append(run)
            assert found == wanted, (line, change)
            for _ in range(5):
                now = start + timedelta(seconds=chance.randrange(31 * 3600))
                if past := [run for run in wanted if run <= now]:
                    assert schedule.last_before(now) == past[-1], (line, now)


def test_how_old_a_success_may_become() -> None:
    """A success stays fresh until the third run after it, also over a weekend without runs."""
    assert Schedule(15 * MINUTE).max_age(TUESDAY) == 45 * MINUTE
    office = Schedule(MINUTE, "*/15 9-17 * * 1-5")
    friday = datetime(2026, 11, 27, 17, 45, tzinfo=UTC)
    assert friday + office.max_age(friday) == datetime(2026, 11, 30, 9, 30, tzinfo=UTC)


def test_jitter_is_at_most_a_tenth_of_the_interval() -> None:
    """A jitter larger than a tenth of the interval is cut to a tenth."""
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
    """The interval is the shorter one of the gaps before and after the last run."""
    now = datetime.fromisoformat(f"2026-11-24T{at}+00:00")
    assert Schedule(MINUTE, cron).interval(now) == minutes * MINUTE


@pytest.mark.parametrize("minute", range(0, 240, 15))
def test_a_clock_change_keeps_the_interval(minute: int) -> None:
    """A clock change keeps 15 minutes at 15 minutes, and a day at a day within an hour."""
    often = Schedule(MINUTE, "*/15 * * * *", "Europe/Berlin")
    daily = Schedule(MINUTE, "30 2 * * *", "Europe/Berlin")
    for night in ("2026-03-29", "2026-10-25"):
        now = datetime.fromisoformat(f"{night}T00:00:01+00:00") + minute * MINUTE
        assert often.interval(now) == 15 * MINUTE
        assert 45 * MINUTE - timedelta(seconds=1) <= often.max_age(now) <= 105 * MINUTE
        assert abs(daily.interval(now) - 24 * 60 * MINUTE) <= 60 * MINUTE
