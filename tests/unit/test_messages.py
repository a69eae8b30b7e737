"""What people read about events and passes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog_sync import text as text_
from catalog_sync.alerts import message as alerts_message
from catalog_sync.alerts.message import Message
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
    """Text stands bare and intact, null is "nothing", all else is JSON."""
    assert event_text.value_text(value) == text


@pytest.mark.parametrize(
    ("told", "text"),
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
            event(Kind.RETURNED, {"removed_at": change("2026-06-14T12:00:00Z", None)}),
            "removed_at: 2026-06-14T12:00:00Z → nothing",
            id="returned",
        ),
        pytest.param(
            event(Kind.RETIRING, {"days_left": change(31, 30)}, retires_at="2026-07-15T12:00:00Z"),
            "retires at 2026-07-15T12:00:00Z, 30 days left",
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
            "error: nothing → source s: HTTP 500",
            id="sync_failed",
        ),
    ],
)
def test_event(told: Event, text: str) -> None:
    """An event says what it is about: a name, a date, or what changed."""
    assert event_text.event_text(told) == text


@pytest.mark.parametrize("kind", sorted(set(Kind) - event_text.WITH_PAYLOAD))
def test_told_without_the_object(kind: Kind) -> None:
    """What an event says needs its object only where that is promised: the rest is not read."""
    told = event(kind, {"removed_at": change(None, "2026-06-15T12:00:00Z"), "a": {"old": None}})
    assert event_text.event_text(told) == event_text.event_text(replace(told, payload=None))


def reminder(days: int) -> str:
    changes = {"days_left": change(None, days)}
    return event_text.event_text(event(Kind.RETIRING, changes, retires_at="2026-06-15T00:00:00Z"))


def test_days_left() -> None:
    """A reminder counts days as people do: one day is a day, and a date that passed is overdue."""
    assert reminder(1).endswith(" 1 day left")
    assert reminder(0).endswith(" 0 days left")
    assert "overdue" in reminder(-3)
    assert "-3" not in reminder(-3)


@pytest.mark.parametrize(
    ("moment", "text"),
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
def test_distance(moment: str, text: str) -> None:
    """How far a time is away is told in calendar days of UTC, whatever zone it is written in."""
    assert text_.distance_text(datetime.fromisoformat(moment), NOW) == text


def test_overdue() -> None:
    """A day that is over may be called otherwise than past."""
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
    """What a model can do is a short list, its parts in brackets; what it cannot do is left out."""
    assert export.capabilities_text({"capabilities": stated}) == text


@pytest.mark.parametrize(
    "told",
    [
        event(Kind.ADDED, display_name="A\nB"),
        event(Kind.REMOVED, display_name="A\u2028B"),
        event(Kind.UPDATED, {"display_name": change("A", "A\r\nB")}),
    ],
)
def test_event_is_one_line(told: Event) -> None:
    """Whatever the API sends, what an event says is one line."""
    assert len(event_text.event_text(told).splitlines()) == 1


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
    """A pass is one line: how it ended, what it saw, what changed, how long it took."""
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
    """What a model supports is a list of paths; what it does not say is not there."""
    assert export.capabilities(model("m", capabilities=stated)) == paths
    assert export.capabilities(model("m")) == []


# --- alerts ------------------------------------------------------------------------------------


def compose(*events: Event) -> Message:
    told = [replace(each, source="anthropic") for each in events]
    return alerts_message.compose("msg_1", told, 7)


def test_message_of_one_event() -> None:
    """A message names what happened, the model with its name and id, and the source."""
    added = event(Kind.ADDED, display_name="Claude M", retires_at="2026-07-15T00:00:00Z")
    message = compose(added)
    assert message.subject == "New model: Claude M (m)"
    assert message.text.splitlines() == [
        "Claude M (m): new, released 2026-01-01, retires 2026-07-15 (30 days left)",
        "Source: anthropic",
    ]
    assert message.body == {
        "type": "catalog.changed",
        "timestamp": "2026-06-15T12:00:00Z",
        "data": {
            "source": "anthropic",
            "run_id": 7,
            "events": [
                {
                    "kind": "added",
                    "model_id": "m",
                    "display_name": "Claude M",
                    "changes": {},
                    "occurred_at": "2026-06-15T12:00:00Z",
                }
            ],
        },
    }


def test_message_of_several_events() -> None:
    """The gravest news come first, in the subject and in the text."""
    kinds = [Kind.ADDED, Kind.ADDED, Kind.DEPRECATED, Kind.REMOVED, Kind.SYNC_RECOVERED]
    message = compose(
        *(Event(kind, NOW, f"m{n}", {}, model(f"m{n}")) for n, kind in enumerate(kinds[:4])),
        Event(kinds[4], NOW),
    )
    assert message.subject == "1 model removed, 1 deprecated, 2 new, sync works again"
    ids = [line.partition("(")[2].partition(")")[0] for line in message.text.splitlines()[:4]]
    assert ids == ["m3", "m2", "m0", "m1"]


def test_message_is_capped() -> None:
    """A text tells a number of events one by one and counts the rest; a webhook gets them all."""
    message = compose(*(Event(Kind.ADDED, NOW, f"m{n}", {}, model(f"m{n}")) for n in range(30)))
    assert message.subject == "30 models new"
    lines = message.text.splitlines()
    assert lines[-2:] == ["+10 more", "Source: anthropic"]
    assert len(lines) == 22
    assert len(message.body["data"]["events"]) == 30


def test_names_stay_intact() -> None:
    """A model is a line, and its name stays as it is, whatever it is made of."""
    message = compose(event(Kind.ADDED, display_name="R&D <beta>\n*new*"))
    assert message.subject == "New model: R&D <beta> *new* (m)"
    assert message.text.startswith("R&D <beta> *new* (m): new")
    assert r"**R\&D \<beta\> \*new\* (m)**: new" in message.markdown
    assert len(message.text.splitlines()) == 2
    (told,) = message.body["data"]["events"]
    assert told["display_name"] == "R&D <beta>\n*new*"


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_makes_a_message(kind: Kind) -> None:
    """Every kind of event has words of its own, alone and among others."""
    about_a_model = kind not in {Kind.SCHEMA_CHANGED, *(k for k in Kind if k.startswith("sync_"))}
    changes = (
        {"days_left": change(None, 7)} if kind is Kind.RETIRING else {"error": change("a", "b")}
    )
    one = Event(kind, NOW, "m" if about_a_model else None, changes, model("m"))
    other = Event(Kind.UPDATED, NOW, "n", {"line": change(None, "opus")}, model("n"))
    assert compose(one).subject.count("\n") == 0
    assert ("(m)" in compose(one).subject) == about_a_model
    assert len(compose(one, other).text.splitlines()) == 3
