"""The decisions of a run about models: known rows and a list in, rows and events out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from catalog_sync.domain import guard
from catalog_sync.domain.kinds import AbsenceCheck, Kind
from catalog_sync.domain.model import (
    ModelRecord,
)
from catalog_sync.domain.reconcile import ChangeSet
from decisions import (
    BACK,
    DAY,
    DEPRECATED,
    FIRST,
    GONE_NOW,
    LAST,
    NAME,
    NOW,
    REMINDERS,
    REMOVED,
    RENAMED,
    TO_DEPRECATED,
    bare,
    catalog,
    change,
    decide,
    event,
    info,
    record,
    recorded,
    row,
    state,
)
from support import model


@pytest.mark.parametrize(
    ("before", "after", "kind", "changes"),
    [
        pytest.param({}, {}, None, {}, id="the same"),
        pytest.param({}, RENAMED, "updated", NAME, id="a value"),
        pytest.param({}, DEPRECATED, "deprecated", TO_DEPRECATED, id="deprecated"),
        pytest.param(
            {},
            {**DEPRECATED, **RENAMED},
            "deprecated",
            {**TO_DEPRECATED, **NAME},
            id="deprecated before updated, with all changes",
        ),
        pytest.param(
            {"lifecycle": "deprecated"},
            {"lifecycle": "retired", **RENAMED},
            "retired",
            {"lifecycle": change("deprecated", "retired"), **NAME},
            id="retired before updated, with all changes",
        ),
        pytest.param(
            {},
            {"lifecycle": "retired"},
            "retired",
            {"lifecycle": change("active", "retired")},
            id="retired at once",
        ),
        pytest.param(
            {"lifecycle": None},
            {"lifecycle": "deprecated"},
            "deprecated",
            {"lifecycle": change(None, "deprecated")},
            id="deprecated when first said",
        ),
        pytest.param(
            DEPRECATED,
            {**DEPRECATED, **RENAMED},
            "updated",
            NAME,
            id="already deprecated",
        ),
        pytest.param(
            {"lifecycle": "retired"}, {"lifecycle": "retired"}, None, {}, id="already retired"
        ),
        pytest.param(
            {"lifecycle": "deprecated"},
            {"lifecycle": "active"},
            "rescheduled",
            {"lifecycle": change("deprecated", "active")},
            id="active again",
        ),
        pytest.param(
            {"lifecycle": "retired"},
            {"lifecycle": "deprecated", **RENAMED},
            "rescheduled",
            {"lifecycle": change("retired", "deprecated"), **NAME},
            id="deprecated again is a move back",
        ),
        pytest.param(
            {"lifecycle": "retired"},
            {"lifecycle": "active"},
            "rescheduled",
            {"lifecycle": change("retired", "active")},
            id="from retired to active",
        ),
        pytest.param(
            {"lifecycle": "deprecated"},
            {"lifecycle": None},
            "updated",
            {"lifecycle": change("deprecated", None)},
            id="a lifecycle that is no longer stated",
        ),
        pytest.param(
            {},
            {"retires_at": "2027-01-01T00:00:00Z", **RENAMED},
            "rescheduled",
            {"retires_at": change(None, "2027-01-01T00:00:00Z"), **NAME},
            id="a retirement date is set",
        ),
        pytest.param(
            {"retires_at": "2027-01-01T00:00:00Z"},
            {"retires_at": "2027-02-01T00:00:00Z"},
            "rescheduled",
            {"retires_at": change("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z")},
            id="a retirement date is revised",
        ),
        pytest.param(
            {"retires_at": "2027-01-01T00:00:00Z"},
            {"retires_at": None},
            "rescheduled",
            {"retires_at": change("2027-01-01T00:00:00Z", None)},
            id="a retirement date is withdrawn",
        ),
        pytest.param(
            {},
            {"lifecycle": "retired", "retires_at": "2026-06-15T00:00:00Z"},
            "retired",
            {
                "lifecycle": change("active", "retired"),
                "retires_at": change(None, "2026-06-15T00:00:00Z"),
            },
            id="retired with its date is not rescheduled",
        ),
        pytest.param(
            {},
            {"deprecated_at": "2026-06-15T00:00:00Z"},
            "updated",
            {"deprecated_at": change(None, "2026-06-15T00:00:00Z")},
            id="deprecated_at alone",
        ),
        pytest.param(
            {"retires_at": "2027-01-01T00:00:00Z"},
            {"retires_at": "2027-01-01T02:00:00.000+02:00"},
            None,
            {},
            id="another spelling of the date",
        ),
        pytest.param(REMOVED, {}, "returned", BACK, id="returned the same"),
        pytest.param(
            REMOVED,
            {**DEPRECATED, **RENAMED},
            "returned",
            {**BACK, **TO_DEPRECATED, **NAME},
            id="returned before deprecated, with all changes",
        ),
        pytest.param(
            REMOVED,
            {"lifecycle": "retired"},
            "returned",
            {**BACK, "lifecycle": change("active", "retired")},
            id="returned before retired",
        ),
        pytest.param(
            {"missing_since": LAST}, {}, None, {}, id="missed, then seen: nothing was announced"
        ),
    ],
)
def test_one_event_per_model(
    before: dict[str, Any], after: dict[str, Any], kind: str | None, changes: dict[str, Any]
) -> None:
    """A listed model gets one event: returned, retired, deprecated or updated, with all changes."""
    seen = info(**{"display_name": "M", **after})
    result = decide(state(row(**{"display_name": "M", **before})), catalog(seen))
    expected = [] if kind is None else [event(Kind(kind), NOW, "m", changes, seen.payload)]
    assert list(result.events) == expected


def test_added() -> None:
    """An unknown model is added: a row first and last seen now, and an event with its object."""
    seen = info(lifecycle="deprecated")
    result = decide(state(row("known")), catalog(info("known"), seen))
    assert result == ChangeSet(
        added=(ModelRecord("s", seen, first_seen_at=NOW, last_seen_at=NOW),),
        events=(event(Kind.ADDED, NOW, "m", {}, seen.payload),),
    )


def test_baseline() -> None:
    """The first walk of a source is all rows and `added` events, in the order of the list."""
    result = decide(state(baseline_at=None), catalog(info("b"), info("a")), reminders=REMINDERS)
    assert recorded(result) == [("added", "b"), ("added", "a")]
    assert [each.info.id for each in result.added] == ["b", "a"]


def test_ids_compare_exactly() -> None:
    """Ids that differ in case or in trailing spaces are different models."""
    result = decide(state(row("m")), catalog(info("M"), info("m "), info("m")))
    assert recorded(result) == [("added", "M"), ("added", "m ")]


def test_unchanged_rows_are_not_written() -> None:
    """A list in another order, of objects with their keys in another order, changes nothing."""
    payload = model("a", capabilities={"x": {"supported": True}, "y": {"supported": False}})
    turned = dict(reversed(payload.items()))
    turned["capabilities"] = dict(reversed(payload["capabilities"].items()))
    result = decide(state(record(payload), row("b")), catalog(info("b"), turned))
    assert result == ChangeSet()


def test_rows_that_are_seen_again() -> None:
    """A seen model is neither missing nor removed, and keeps its first time."""
    known = state(row("back", **REMOVED), row("missed", missing_since=LAST), row("new name"))
    seen = [info("back"), info("missed"), info("new name", **RENAMED)]
    result = decide(known, catalog(*seen))
    assert result.changed == tuple(ModelRecord("s", each, FIRST, NOW) for each in seen)


# --- a model that is not on the list -----------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "answer", "options", "kind", "missing_since"),
    [
        pytest.param({}, "gone", {}, "removed", NOW, id="404"),
        pytest.param({}, "answering", {}, None, NOW, id="200: the list is wrong"),
        pytest.param({}, "unknown", {}, None, NOW, id="no answer, first walk"),
        pytest.param({}, None, {}, None, NOW, id="not asked"),
        pytest.param(
            {"missing_since": LAST}, "unknown", {}, None, LAST, id="no answer, second walk"
        ),
        pytest.param(
            {"missing_since": LAST - DAY},
            "unknown",
            {},
            "removed",
            LAST - DAY,
            id="no answer, third walk",
        ),
        pytest.param(
            {"missing_since": LAST - 2 * DAY},
            "unknown",
            {},
            "removed",
            LAST - 2 * DAY,
            id="no answer, fourth walk",
        ),
        pytest.param(
            {"missing_since": LAST - 2 * DAY},
            "answering",
            {},
            None,
            NOW,  # it was there again: the walks are counted from there
            id="200 on the fourth walk",
        ),
        pytest.param({"lifecycle": "retired"}, None, {}, "removed", NOW, id="already retired"),
        pytest.param({"lifecycle": "retired"}, "retired", {}, "removed", NOW, id="still retired"),
        pytest.param(
            {"lifecycle": "deprecated", "retires_at": "2026-06-01T00:00:00Z"},
            None,
            {},
            None,
            NOW,
            id="past its date is overdue, not done",
        ),
        pytest.param({}, "gone", {"hold": True}, None, NOW, id="held"),
        pytest.param(
            {"lifecycle": "retired"}, None, {"hold": True}, None, NOW, id="held, retired or not"
        ),
        pytest.param(
            {"missing_since": LAST}, "gone", {"hold": True}, None, LAST, id="held a second time"
        ),
        pytest.param({}, "unknown", {"accept": True}, "removed", NOW, id="accepted, no answer"),
        pytest.param(
            {}, "answering", {"accept": True}, None, NOW, id="accepted, but it is still there"
        ),
    ],
)
def test_missing(
    before: dict[str, Any],
    answer: str | None,
    options: dict[str, bool],
    kind: str | None,
    missing_since: datetime,
) -> None:
    """A model that is not listed is removed when that is confirmed; until then it is missing."""
    known = state(row(**before), second_last_walk_at=LAST - DAY)
    result = decide(
        known, catalog(), absences={"m": AbsenceCheck(answer)} if answer else {}, **options
    )
    removed_at = None if kind is None else NOW
    left = row(**{**before, "missing_since": missing_since, "removed_at": removed_at})
    assert result.changed == (() if left == known.models["m"] else (left,))
    expected = [] if kind is None else [event(Kind(kind), NOW, "m", GONE_NOW, left.info.payload)]
    assert list(result.events) == expected


def test_missing_needs_three_walks_at_least() -> None:
    """While a source has fewer than three complete walks, a missing answer confirms nothing."""
    known = state(row(missing_since=LAST), second_last_walk_at=None)
    assert recorded(decide(known, catalog(), absences={"m": AbsenceCheck.UNKNOWN})) == []


def test_retired_by_id() -> None:
    """A model that left the list because it retired gets one event, `retired`, and leaves."""
    known = state(row(line="opus"))
    result = decide(known, catalog(), absences={"m": AbsenceCheck.RETIRED}, reminders=REMINDERS)
    retired = info(line="opus", lifecycle="retired")
    changes = {"lifecycle": change("active", "retired"), **GONE_NOW}
    assert result.events == (event(Kind.RETIRED, NOW, "m", changes, retired.payload),)
    assert result.changed == (
        ModelRecord("s", retired, FIRST, LAST, missing_since=NOW, removed_at=NOW),
    )


def test_retired_by_id_where_the_list_says_no_lifecycle() -> None:
    """Only the lifecycle is taken from the answer by id, even if the list never stated one."""
    result = decide(state(record(bare())), catalog(), absences={"m": AbsenceCheck.RETIRED})
    assert result.changed[0].info.payload == bare(lifecycle="retired")
    assert result.events[0].changes == {"lifecycle": change(None, "retired"), **GONE_NOW}


def test_removed_models_stay_removed() -> None:
    """A removed model is no longer missing and makes no further event."""
    known = state(row(**REMOVED))
    assert guard.missing(known, catalog()) == []
    assert decide(known, catalog(), accept=True) == ChangeSet()


def test_who_is_asked_for() -> None:
    """Every missing model is confirmed by id, except those that already retired."""
    known = state(
        row("b"),
        row("a", missing_since=LAST - 9 * DAY),
        row("listed"),
        row("overdue", lifecycle="deprecated", retires_at="2026-01-01T00:00:00Z"),
        row("removed", **REMOVED),
        row("retired", lifecycle="retired"),
    )
    absent = guard.missing(known, catalog(info("listed")))
    assert guard.ids_to_confirm(absent) == ["a", "b", "overdue"]
