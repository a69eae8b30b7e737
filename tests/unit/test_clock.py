"""Time: which texts are times or durations, and how both are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from catalog_sync import clock

NOON = datetime(2026, 7, 24, 12, tzinfo=UTC)
TOKYO = timezone(timedelta(hours=9))


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-07-24T12:00:00Z", NOON),
        ("2026-07-24t12:00:00z", NOON),
        ("2026-07-24 12:00:00Z", NOON),
        ("2026-07-24T12:00:00+00:00", NOON),
        ("2026-07-24T21:00:00+09:00", NOON),
        ("2026-07-24T07:30:00-04:30", NOON),
        ("2026-07-24T12:00:00.5Z", NOON + timedelta(milliseconds=500)),
        ("2026-07-24T12:00:00.000001Z", NOON + timedelta(microseconds=1)),
        ("2026-07-24T12:00:00.0000019Z", NOON + timedelta(microseconds=1)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_rfc3339(text: str, time: datetime) -> None:
    """An RFC 3339 time is read in UTC, cut to microseconds."""
    parsed = clock.parse_rfc3339(text)
    assert parsed == time
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-07-24",
        "2026-07-24T12:00:00",
        "2026-07-24T12:00Z",
        "2026-07-24T12:00:00.Z",
        "20260724T120000Z",
        "2026-07-24T12:00:00 Z",
        " 2026-07-24T12:00:00Z",
        "2026-07-24T12:00:00Z\n",
        "2026-07-24T12:00:00+0900",
        "2026-02-30T12:00:00Z",
        "2026-07-24T12:61:00Z",
        "2026-07-24T12:00:00+25:00",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "٢٠٢٦-07-24T12:00:00Z",
    ],
)
def test_not_rfc3339(text: str) -> None:
    """Any other text is refused: no zone, no such date, outside the calendar."""
    with pytest.raises(ValueError):
        clock.parse_rfc3339(text)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("12h", timedelta(hours=12)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("250ms", timedelta(milliseconds=250)),
        ("1.5h", timedelta(minutes=90)),
        (" 7d ", timedelta(days=7)),
        ("0s", timedelta()),
    ],
)
def test_duration(text: str, length: timedelta) -> None:
    """A duration is a number and a unit, from milliseconds to weeks."""
    assert clock.parse_duration(text) == length


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "d",
        "7 d",
        "-7d",
        "+7d",
        "7D",
        "7days",
        "1h30m",
        "1e3s",
        ".5h",
        "\u0667d",
        "9999999999s",
    ],
)
def test_no_duration(text: str) -> None:
    """Any other text is refused, with an example of a duration."""
    with pytest.raises(ValueError, match='expected a duration such as "90s"'):
        clock.parse_duration(text)


def test_too_long_a_duration() -> None:
    """A duration beyond the calendar is refused without a crash."""
    with pytest.raises(ValueError, match="the duration is too long"):
        clock.parse_duration("999999999w")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-07-24T12:00:00Z", NOON),
        ("2026-07-24T21:00:00+09:00", NOON),
        ("2026-07-24", datetime(2026, 7, 24, tzinfo=UTC)),
        ("7d", NOON - timedelta(days=7)),
        ("90m", NOON - timedelta(minutes=90)),
        (" 7d\n", NOON - timedelta(days=7)),
    ],
)
def test_time(text: str, time: datetime) -> None:
    """A person states a time as RFC 3339, as a date (its beginning), or as an age."""
    assert clock.parse_time(text, NOON) == time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "7",
        "-7d",
        "2026-07",
        "2026-02-30",
        "2026-07-24T12:00:00",
        "999999999w",
        "99999w",
    ],
)
def test_no_time(text: str) -> None:
    """Any other text is refused with an example of each, ages beyond the calendar included."""
    with pytest.raises(
        ValueError, match=r"a time such as .*, a date such as .*, or an age such as"
    ):
        clock.parse_time(text, datetime(1800, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (NOON, "2026-07-24T12:00:00Z"),
        (NOON.astimezone(TOKYO), "2026-07-24T12:00:00Z"),
        (NOON.replace(microsecond=1), "2026-07-24T12:00:00.000001Z"),
        (datetime(1000, 1, 1, tzinfo=UTC), "1000-01-01T00:00:00Z"),
    ],
)
def test_format_instant(time: datetime, text: str) -> None:
    """A time is written in UTC, ending in Z, with microseconds where there are any."""
    assert clock.format_time(time) == text
    assert clock.parse_rfc3339(text) == time


def test_naive_times_are_errors() -> None:
    """A time without a zone is refused."""
    naive = datetime(2026, 7, 24, 12)
    for function in (clock.to_utc, clock.format_time):
        with pytest.raises(ValueError, match="the time has no time zone: 2026-07-24T12:00:00"):
            function(naive)


def test_utc() -> None:
    """A time in another zone is the same time in UTC, and so is the clock's."""
    time = clock.to_utc(NOON.astimezone(TOKYO))
    assert (time, time.tzinfo) == (NOON, UTC)
    before = datetime.now(UTC)
    assert before <= clock.utc_now() <= datetime.now(UTC)
    assert clock.utc_now().tzinfo is UTC
