"""How the health of the sync reads: ages as people say them, a line per thing to look at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from catalog_sync import text
from catalog_sync.db.outbox import DeliveryCounts
from catalog_sync.db.runs import RunRecord
from catalog_sync.domain.kinds import RunStatus
from catalog_sync.queries import health
from catalog_sync.queries.health import SourceStatus, Status

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def source(**fields) -> SourceStatus:
    said = {"last_success_at": NOW - HOUR, "max_age": 2 * HOUR, "fresh": True, "held": False}
    return SourceStatus("team", **{**said, **fields})


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
    """An age is told in its largest unit."""
    assert text.age_text(length) == wanted


def test_all_is_well() -> None:
    """A fresh source and alerts that wait are nothing to look at."""
    status = Status(NOW, (source(),), DeliveryCounts(pending=3))
    assert (status.ok, health.problems(status)) == (True, [])


def test_each_problem_has_its_line() -> None:
    """Stale, never synced, held and failed alerts are told, each with its reason."""
    failed = RunRecord(RunStatus.FAILED, NOW, NOW, "source team: HTTP 500")
    held = RunRecord(RunStatus.HELD, NOW, NOW, "source team: the list is empty")
    stale = source(fresh=False, max_age=timedelta(minutes=45), last_run=failed)
    never = source(fresh=False, last_success_at=None, max_age=None)
    status = Status(NOW, (stale, never, source(held=True, last_run=held)), DeliveryCounts(failed=2))
    assert not status.ok
    assert health.problems(status) == [
        "source team: last success 1 h ago, at most 45 min expected; last error: HTTP 500",
        "source team was never synced",
        "a pass is held: source team: the list is empty",
        "2 alerts failed; see: catalog-sync alerts list",
    ]


def test_a_success_ahead_of_the_clock() -> None:
    """Before a clock that was set back, a success is not told as one of the past."""
    ahead = source(fresh=False, last_success_at=NOW + 3 * HOUR)
    assert "3 h ahead of the clock" in health.stale_text(ahead, NOW)
