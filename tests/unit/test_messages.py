"""Texts about events and runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog_sync import text as text_
from catalog_sync.domain import event_text
from catalog_sync.domain.kinds import Kind, RunStatus
from catalog_sync.domain.model import Event
from catalog_sync.queries import export
from catalog_sync.sync import report as sync_report
from catalog_sync.sync.report import RunReport
from support import model

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


def event(kind: Kind, changes: dict[str, Any] | None = None, **fields: Any) -> Event:
    return Event(kind, NOW, "m", changes or {}, model("m", **fields))


def change(old: Any, new: Any) -> dict[str, Any]:
    return {"old": old, "new": new}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        ("Claude Opus 5", "Claude Opus 5"),
        ("R&D <beta> 🎼", "R&D <beta> 🎼"),
        (True, "true"),
        (0, "0"),
        ({"supported": True}, '{"supported": true}'),
        (["é"], '["é"]'),
    ],
)
def test_value(value: Any, text: str) -> None:
    """Text has no quotes and is unchanged, None is "nothing", all else is JSON."""
    assert event_text.value_text(value) == text


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        pytest.param(event(Kind.ADDED, display_name="Claude M"), "Claude M", id="added"),
        pytest.param(
            event(Kind.REMOVED, {"removed_at": change(None, "2026-06-15T12:00:00Z")}),
            "M",
            id="removed",
        ),
        pytest.param(
            event(Kind.UPDATED, {"display_name": change("Opus 5", "Claude Opus 5")}),
            "display_name: Opus 5 → Claude Opus 5",
            id="updated",
        ),
        pytest.param(
            event(
                Kind.DEPRECATED, {"lifecycle": change("active", "deprecated"), "b": change(1, 2)}
            ),
            "lifecycle: active → deprecated; b: 1 → 2",
            id="deprecated",
        ),
        pytest.param(
            event(
                Kind.RESCHEDULED,
                {"retires_at": change("2026-07-15T00:00:00Z", "2027-02-19T23:30:00-05:00")},
            ),
            "retires 2027-02-20 (250 days), before: 2026-07-15",
            id="rescheduled",
        ),
        pytest.param(
            event(
                Kind.RETIRED,
                {"retires_at": change(None, "2026-06-14T00:00:00Z"), "lifecycle": change("a", "b")},
                retires_at="2026-06-14T00:00:00Z",
            ),
            "retirement date 2026-06-14; lifecycle: a → b",
            id="retired",
        ),
        pytest.param(
            event(Kind.RETURNED, {"removed_at": change("2026-06-14T12:00:00Z", None)}),
            "gone since 2026-06-14",
            id="returned",
        ),
        pytest.param(
            event(Kind.RETIRING, {"days_left": change(31, 30)}, retires_at="2026-07-15T12:00:00Z"),
            "retires 2026-07-15 (30 days)",
            id="retiring",
        ),
        pytest.param(
            event(
                Kind.SCHEMA_CHANGED, {"a": change(None, 1), "b": {"old": None}, "c": {"new": None}}
            ),
            "a: nothing → 1; b: appeared; c: vanished",
            id="schema_changed",
        ),
        pytest.param(
            Event(Kind.SYNC_FAILED, NOW, changes={"error": change(None, "source s: HTTP 500")}),
            "source s: HTTP 500",
            id="sync_failed",
        ),
    ],
)
def test_event(recorded: Event, text: str) -> None:
    """An event's text states its name, a date as a day in UTC, or the changes."""
    assert event_text.event_text(recorded) == text


@pytest.mark.parametrize("kind", sorted(set(Kind) - event_text.WITH_PAYLOAD))
def test_text_without_the_object(kind: Kind) -> None:
    """The text of an event needs the model's object only for the kinds in WITH_PAYLOAD."""
    recorded = event(kind, {"removed_at": change(None, "2026-06-15T12:00:00Z"), "a": {"old": None}})
    assert event_text.event_text(recorded) == event_text.event_text(replace(recorded, payload=None))


def reminder(day: int) -> str:
    changes = {"days_left": change(None, day - 15)}
    date = f"2026-06-{day}T00:00:00Z"
    return event_text.event_text(event(Kind.RETIRING, changes, retires_at=date))


def test_days_left() -> None:
    """A reminder counts calendar days, and a past date is overdue."""
    assert [reminder(day) for day in (14, 15, 16)] == [
        "retires 2026-06-14 (1 day overdue)",
        "retires 2026-06-15 (today)",
        "retires 2026-06-16 (1 day)",
    ]


@pytest.mark.parametrize("kind", [Kind.RETURNED, Kind.RESCHEDULED])
def test_date_of_a_retired_model(kind: Kind) -> None:
    """A retired model is not overdue: its date is stated without a distance."""
    past = "2026-06-14T00:00:00Z"
    changes = {"retires_at": change("2026-06-10T00:00:00Z", past)}
    recorded = event(kind, changes, lifecycle="retired", retires_at=past)
    assert event_text.event_text(recorded) == "retirement date 2026-06-14, before: 2026-06-10"


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2026-06-15T00:00:00+00:00", "today"),
        ("2026-06-15T23:59:59+00:00", "today"),
        ("2026-06-16T00:00:00+00:00", "in 1 day"),
        ("2026-06-15T22:00:00-04:00", "in 1 day"),
        ("2026-06-14T23:59:59.999999+00:00", "1 day ago"),
        ("2026-09-13T12:00:00+00:00", "in 90 days"),
        ("1970-01-01T00:00:00+00:00", "20619 days ago"),
    ],
)
def test_distance(time: str, text: str) -> None:
    """The distance of a time is counted in calendar days of UTC, whatever its zone."""
    assert text_.distance_text(datetime.fromisoformat(time), NOW) == text


def test_overdue() -> None:
    """The word for past days can be chosen."""
    yesterday = NOW - timedelta(days=1)
    assert text_.distance_text(yesterday, NOW, past="overdue") == "1 day overdue"


def leaf(**below: Any) -> dict[str, Any]:
    return {"supported": True, **below}


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        (
            {"batch": leaf(), "effort": leaf(high=leaf(), max={"supported": False})},
            "batch, effort (high)",
        ),
        (
            {"thinking": leaf(types={"adaptive": leaf(), "enabled": leaf()})},
            "thinking (adaptive, enabled)",
        ),
        (
            {"thinking": {"supported": False, "types": {"disabled": leaf()}}},
            "thinking.types.disabled",
        ),
        ({"batch": {"supported": False}}, "-"),
        ({}, "-"),
        (None, "-"),
        ("all", "-"),
        ({"odd": 1, "batch": leaf()}, "batch"),
    ],
)
def test_capabilities_to_read(stated: Any, text: str) -> None:
    """A model's capabilities are a short list with parts in brackets, without unsupported ones."""
    assert export.capabilities_text({"capabilities": stated}) == text


@pytest.mark.parametrize(
    "recorded",
    [
        event(Kind.ADDED, display_name="A\nB"),
        event(Kind.REMOVED, display_name="A\u2028B"),
        event(Kind.UPDATED, {"display_name": change("A", "A\r\nB")}),
    ],
)
def test_event_is_one_line(recorded: Event) -> None:
    """The text of an event is one line, whatever the API sends."""
    assert len(event_text.event_text(recorded).splitlines()) == 1


def report(**fields: Any) -> RunReport:
    facts = {"pages": 1, "models": 10, "duration": timedelta(seconds=0.21), **fields}
    return RunReport("anthropic", facts.pop("status", RunStatus.SUCCEEDED), NOW, **facts)


CHANGES = (
    Event(Kind.SCHEMA_CHANGED, NOW, changes={"a": change(None, 1), "b": change(None, 2)}),
    Event(Kind.ADDED, NOW, "x"),
    Event(Kind.ADDED, NOW, "y"),
    Event(Kind.RETIRING, NOW, "x"),
    Event(Kind.SYNC_RECOVERED, NOW),
)


@pytest.mark.parametrize(
    ("made", "dry_run", "text"),
    [
        pytest.param(
            report(), False, "succeeded: 10 models, 1 page, no change (0.21 s)", id="quiet"
        ),
        pytest.param(
            report(pages=2, models=1),
            False,
            "succeeded: 1 model, 2 pages, no change (0.21 s)",
            id="one and two",
        ),
        pytest.param(
            report(events=CHANGES),
            False,
            "succeeded: 10 models, 1 page, 2 added, 1 retiring, 2 fields changed (0.21 s)",
            id="changes",
        ),
        pytest.param(
            report(events=CHANGES[1:2]),
            True,
            "succeeded (dry run, nothing written): 10 models, 1 page, 1 added (0.21 s)",
            id="dry run",
        ),
        pytest.param(
            report(baseline=True, events=CHANGES[1:3]),
            False,
            "succeeded: baseline of 10 models recorded; alerts begin with the next change (0.21 s)",
            id="baseline",
        ),
        pytest.param(
            report(baseline=True),
            True,
            "succeeded (dry run, nothing written): baseline of 10 models would be recorded; "
            "alerts begin with the next change (0.21 s)",
            id="baseline, dry run",
        ),
        pytest.param(
            report(status=RunStatus.HELD, error="…", events=CHANGES[1:2]),
            False,
            "held: 10 models, 1 page, 1 added (0.21 s)",
            id="held",
        ),
        pytest.param(
            report(status=RunStatus.HELD, error="…", models=None),
            False,
            "held: nothing applied (0.21 s)",
            id="held as a whole",
        ),
        pytest.param(
            report(status=RunStatus.SKIPPED, error="synced 90 s ago", models=None, pages=None),
            False,
            "skipped, synced 90 s ago",
            id="skipped",
        ),
    ],
)
def test_report(made: RunReport, dry_run: bool, text: str) -> None:
    """A run is one line: how it ended, what it saw, what changed, how long it took."""
    assert sync_report.report_text(made, dry_run=dry_run) == f"anthropic: {text}"


@pytest.mark.parametrize(
    ("stated", "paths"),
    [
        (None, []),
        ([], []),
        ({}, []),
        ({"batch": {"supported": True}}, ["batch"]),
        ({"batch": {"supported": False}}, []),
        ({"batch": {"supported": 1}}, []),
        (
            {
                "effort": {
                    "supported": True,
                    "high": {"supported": True},
                    "max": {"supported": False},
                },
                "thinking": {"types": {"adaptive": {"supported": True}}},
            },
            ["effort", "effort.high", "thinking.types.adaptive"],
        ),
    ],
)
def test_capabilities(stated: Any, paths: list[str]) -> None:
    """A model's supported capabilities are a list of paths; unstated ones are missing."""
    assert export.capabilities(model("m", capabilities=stated)) == paths
    assert export.capabilities(model("m")) == []
