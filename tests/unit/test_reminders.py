"""When a run makes a reminder of a retirement date."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from catalog_sync.domain.kinds import AbsenceCheck, Kind
from catalog_sync.domain.model import (
    Catalog,
    SourceState,
)
from catalog_sync.domain.reconcile import Absences, ChangeSet, reconcile
from catalog_sync.domain.reminders import Reminders
from decisions import (
    DAY,
    LAST,
    NOW,
    REMINDERS,
    REMOVED,
    RENAMED,
    catalog,
    change,
    decide,
    event,
    info,
    recorded,
    row,
    state,
)


def reminded(
    known: SourceState, seen: Catalog, now: datetime = NOW, **options: Any
) -> list[dict[str, Any]]:
    """The changes of the reminders of a run."""
    result = decide(known, seen, now, reminders=options.pop("reminders", REMINDERS), **options)
    return [dict(event.changes) for event in result.events if event.kind is Kind.RETIRING]


def days_left(old: int | None, new: int) -> list[dict[str, Any]]:
    return [{"days_left": change(old, new)}]


RETIRES = {"lifecycle": "deprecated", "retires_at": "2026-07-15T12:00:00Z"}
"""Thirty days from now, to the second."""
AGO = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        pytest.param(NOW - 2 * DAY, NOW - AGO, [], id="not yet"),
        pytest.param(NOW - AGO, NOW, days_left(30, 30), id="at the second"),
        pytest.param(NOW, NOW + AGO, [], id="once"),
        pytest.param(NOW, NOW + 22 * DAY, [], id="until the next"),
        pytest.param(NOW, NOW + 23 * DAY, days_left(30, 7), id="the next"),
        pytest.param(NOW - DAY, NOW + 24 * DAY, days_left(31, 6), id="two at once are one"),
        pytest.param(NOW - 61 * DAY, NOW + 50 * DAY, days_left(91, -20), id="all at once are one"),
        pytest.param(NOW + 29 * DAY, NOW + 99 * DAY, [], id="overdue is no threshold"),
    ],
)
def test_reminder(last: datetime, now: datetime, expected: list[dict[str, Any]]) -> None:
    """A run makes a reminder if a threshold lies between the last run and now."""
    known = state(row(**RETIRES))
    known = replace(known, source=replace(known.source, last_synced_at=last))
    assert reminded(known, catalog(info(**RETIRES)), now) == expected


def test_reminder_event() -> None:
    """A reminder contains the model's object, and does not change its row."""
    known = state(row(**RETIRES))
    seen = info(**RETIRES)
    result = decide(known, catalog(seen), reminders=REMINDERS)
    changes = {"days_left": change(30, 30)}
    assert result == ChangeSet(events=(event(Kind.RETIRING, NOW, "m", changes, seen.payload),))


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        pytest.param(None, RETIRES, ["added"], id="added"),
        pytest.param({}, RETIRES, ["deprecated"], id="deprecated"),
        pytest.param({"lifecycle": "deprecated"}, RETIRES, ["rescheduled"], id="a date is set"),
        pytest.param(
            {**RETIRES, "retires_at": "2026-07-10T00:00:00Z"},
            RETIRES,
            ["rescheduled"],
            id="the date is revised",
        ),
        pytest.param(
            {**RETIRES, "retires_at": "2027-01-01T00:00:00Z"},
            RETIRES,
            ["rescheduled"],
            id="the date is nearer",
        ),
        pytest.param(
            RETIRES,
            {**RETIRES, "retires_at": "2027-01-01T00:00:00Z"},
            ["rescheduled"],
            id="the date is far again",
        ),
        pytest.param(REMOVED, RETIRES, ["returned"], id="returned with a date"),
        pytest.param(
            RETIRES, {**RETIRES, **RENAMED}, ["updated", "retiring"], id="an event without the date"
        ),
        pytest.param(
            RETIRES, {**RETIRES, "lifecycle": "retired"}, ["retired"], id="retired: no reminder"
        ),
        pytest.param(
            RETIRES, {**RETIRES, "retires_at": None}, ["rescheduled"], id="no date any more"
        ),
    ],
)
def test_reminder_beside_another_event(
    before: dict[str, Any] | None, after: dict[str, Any], kinds: list[str]
) -> None:
    """A reminder is left out where the run's other event states the date."""
    known = state() if before is None else state(row(**before))
    result = decide(known, catalog(info(**after)), reminders=REMINDERS)
    assert recorded(result) == [(kind, "m") for kind in kinds]


def test_same_instant_is_no_new_date() -> None:
    """Another spelling of the same date makes no new reminder."""
    other = {**RETIRES, "retires_at": "2026-07-15T14:00:00+02:00"}
    assert reminded(state(row(**RETIRES)), catalog(info(**other)), NOW + DAY) == days_left(30, 29)
    known = state(row(**RETIRES))
    known = replace(known, source=replace(known.source, last_synced_at=NOW))
    assert reminded(known, catalog(info(**other)), NOW + DAY) == []


def test_baseline_counts_as_reminded() -> None:
    """The baseline makes no reminder; the next threshold does."""
    first = state(baseline_at=None)
    assert reminded(first, catalog(info(**RETIRES))) == []
    then = state(row(**RETIRES), baseline_at=NOW)
    then = replace(then, source=replace(then.source, last_synced_at=NOW))
    assert reminded(then, catalog(info(**RETIRES)), NOW + DAY) == []
    assert reminded(then, catalog(info(**RETIRES)), NOW + 23 * DAY) == days_left(30, 7)


def test_reminders_follow_the_clock_of_the_runs() -> None:
    """Thresholds count from the beginning of the last run before this one, by its own clock."""
    known = state(row(**RETIRES))
    known = replace(known, source=replace(known.source, last_synced_at=NOW + 365 * DAY))
    ahead = NOW + 366 * DAY
    for since, now, expected in ((LAST, NOW, days_left(30, 30)), (NOW, NOW + DAY, [])):
        reminders = Reminders(REMINDERS, since, now)
        result = reconcile(known, catalog(info(**RETIRES)), ahead, Absences(), reminders)
        assert [dict(event.changes) for event in result.events] == expected


@pytest.mark.parametrize(
    ("answer", "hold", "expected"),
    [
        ("answering", False, days_left(30, 30)),
        ("unknown", False, days_left(30, 30)),
        ("gone", True, days_left(30, 30)),
        ("gone", False, []),
        ("retired", False, []),
    ],
)
def test_reminder_of_a_missing_model(
    answer: str, hold: bool, expected: list[dict[str, Any]]
) -> None:
    """A missing model that still counts as listed makes reminders; a removed one does not."""
    absences = {"m": AbsenceCheck(answer)}
    assert reminded(state(row(**RETIRES)), catalog(), absences=absences, hold=hold) == expected


def test_no_thresholds() -> None:
    """Without thresholds there are no reminders."""
    assert reminded(state(row()), catalog(info(**RETIRES)), reminders=()) == []
