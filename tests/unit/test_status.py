"""The health of the sync as text: a line for each problem."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from catalog_sync import text
from catalog_sync.queries.health import SourceHealth, Status, problems, stale_text

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
FRESH = SourceHealth("team", last_success_at=NOW - HOUR, max_age=2 * HOUR, fresh=True)


@pytest.mark.parametrize(
    ("length", "wanted"),
    [
        (timedelta(), "0 s"),
        (timedelta(seconds=59.4), "59 s"),
        (timedelta(minutes=45), "45 min"),
        (timedelta(hours=47), "47 h"),
        (timedelta(hours=49), "2 days"),
        (timedelta(days=400), "400 days"),
    ],
)
def test_ages(length: timedelta, wanted: str) -> None:
    """An age is shown in its largest unit."""
    assert text.age_text(length) == wanted


def test_all_is_well() -> None:
    """A fresh source and pending alerts make no line."""
    status = Status(NOW, (FRESH,), pending={"team": 3})
    assert (status.ok, problems(status)) == (True, [])


def test_each_problem_has_its_line() -> None:
    """A stale, a never synced and a held source, and failed alerts, have a line each."""
    stale = replace(
        FRESH, fresh=False, max_age=timedelta(minutes=45), last_error="HTTP 500", error_code="x"
    )
    held = replace(FRESH, held=True, held_reason="the list is empty")
    status = Status(NOW, (stale, SourceHealth("new"), held), 0, {"hook": 2}, ("hook",))
    assert not status.ok
    assert problems(status) == [
        "source team: last success 1 h ago, at most 45 min expected; last error: HTTP 500",
        "source new was never synced; run: catalog-sync sync",
        "a run is held: source team: the list is empty",
        "channel hook: 2 alerts failed; see: catalog-sync alerts list",
    ]


def test_a_held_run_names_five_models_and_the_number() -> None:
    """A text names the first five held models in the order of their ids, and their number."""
    ids = tuple(f"claude-{number}" for number in range(8))
    held = replace(FRESH, held=True, held_reason="8 of 9 models left the list", held_models=ids)
    (line,) = problems(Status(NOW, (held,)))
    assert "8 models missing: claude-0, claude-1, claude-2, claude-3, claude-4 and 3 more" in line


def test_a_clock_that_is_wrong_is_shown() -> None:
    """A clock that differs by more than five minutes has a line, and changes no exit code."""
    near, far = (replace(FRESH, clock_offset_seconds=seconds) for seconds in (-300, -3600))
    assert problems(Status(NOW, (near,))) == []
    status = Status(NOW, (far,))
    assert problems(status) == ["source team: this host's clock is 1 h behind the API's"]
    assert status.ok


def test_what_is_not_configured_changes_no_exit_code() -> None:
    """An unconfigured source, and failed alerts of an unknown channel, change no exit code."""
    other = SourceHealth("old", configured=False, held=True)
    status = Status(NOW, (FRESH, other), {"hook": 2}, {"elsewhere": 3}, ("hook",))
    assert (status.ok, status.fresh, problems(status)) == (True, True, [])
    shown = status.to_json("catalog.db", None)
    assert [source["configured"] for source in shown["sources"]] == [True, False]
    assert shown["deliveries"] == {"pending": 2, "failed": 3}


def test_a_success_ahead_of_the_clock() -> None:
    """A success later than the present time is shown as ahead of the clock."""
    ahead = replace(FRESH, fresh=False, last_success_at=NOW + 3 * HOUR)
    assert "3 h ahead of the clock" in stale_text(ahead, NOW)


def test_health_tells_codes_only() -> None:
    """/healthz names sources and codes, but no host, user or text of the API."""
    stale = replace(
        FRESH, fresh=False, last_error="https://10.0.0.1: no such key", error_code="unauthorized"
    )
    assert Status(NOW, (stale, replace(FRESH, name="b"))).healthz() == {
        "ok": False,
        "reason": "source team: stale",
        "sources": [
            {
                "name": "team",
                "ok": False,
                "reason": "stale",
                "held": False,
                "last_error": "unauthorized",
            },
            {"name": "b", "ok": True, "reason": None, "held": False, "last_error": None},
        ],
    }
