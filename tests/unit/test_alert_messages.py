"""What people and programs read of events: subjects, a line per event, the webhook's body."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from markdown_it import MarkdownIt

from catalog_sync.alerts.message import Message, compose, sample, subject
from catalog_sync.domain.kinds import Kind, RunStatus
from catalog_sync.domain.model import Event
from catalog_sync.sync.report import RunReport, report_text
from support import model

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
OPUS = model("claude-opus-5", display_name="Claude Opus 5", created_at="2026-06-14T00:00:00Z")
ODD_NAMES = {
    "R&D <beta>": "R&D <beta>",
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "&lt;b&gt; &amp;": "&lt;b&gt; &amp;",
    "<!channel> <@U1> @here": "<!channel> <@U1> @here",
    "*bold* _it_ __u__ ~~s~~ `code`": "*bold* _it_ __u__ ~~s~~ `code`",
    "[link](http://e.example) ![i](x) #tag": "[link](http://e.example) ![i](x) #tag",
    "a|b \\ \\* $x$": "a|b \\ \\* $x$",
    "# no heading": "# no heading",
    "two\nlines": "two lines",
    "two\r\nlines": "two lines",
    "tab\tand\x0bmore\x85\u2028end": "tab and more end",
    "\x1b[31mred\x1b[0m": "[31mred [0m",
    "bell\x07 \x9b1m": "bell 1m",
    "turned \u202eround": "turned round",
    "Клод 五 🎉": "Клод 五 🎉",
    "{name} %s %(x)s {0}": "{name} %s %(x)s {0}",
}
"""Names as an API may send them, and how they read."""


def event(kind: Kind = Kind.ADDED, payload: dict[str, Any] = OPUS, **changes: Any) -> Event:
    """An event of a model; `changes` are pairs of old and new, `__` stands for a dot."""
    told = {
        path.replace("__", "."): {"old": old, "new": new} for path, (old, new) in changes.items()
    }
    return Event(kind, NOW, payload["id"], told, payload, "anthropic", 7)


def job_event(kind: Kind, old: str | None = None, new: str | None = None) -> Event:
    return Event(kind, NOW, None, {"error": {"old": old, "new": new}}, None, "anthropic", 7)


def schema_event() -> Event:
    changes = {"capabilities.batch": {"old": None, "new": {"supported": True}}, "gone": {"new": 0}}
    objects = {"claude-opus-5": OPUS}
    return Event(Kind.SCHEMA_CHANGED, NOW, None, changes, objects, "anthropic", 7)


def numbered(kind: Kind, *numbers: int) -> list[Event]:
    return [event(kind, model(f"m-{number}")) for number in numbers]


def message(*events: Event) -> Message:
    return compose("msg_1", events, 7)


def line(*events: Event) -> str:
    """The first line of the text."""
    return message(*events).text.splitlines()[0]


def as_read(markdown: str) -> str:
    """The Markdown as a reader sees it, without its marks."""
    return unescape(re.sub(r"<[^>]*>", "", MarkdownIt("commonmark").render(markdown)))


# --- subjects ----------------------------------------------------------------------------------

EXAMPLE = "Claude Opus 5 (claude-opus-5)"


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (event(), f"New model: {EXAMPLE}"),
        (event(Kind.UPDATED), f"Model updated: {EXAMPLE}"),
        (event(Kind.DEPRECATED), f"Model deprecated: {EXAMPLE}"),
        (event(Kind.RETIRED), f"Model retired: {EXAMPLE}"),
        (event(Kind.REMOVED), f"Model removed: {EXAMPLE}"),
        (event(Kind.RETURNED), f"Model is back: {EXAMPLE}"),
        (event(Kind.RETIRING, days_left=(90, 30)), f"Model retiring: {EXAMPLE}, 30 days left"),
        (event(Kind.RETIRING, days_left=(None, 1)), f"Model retiring: {EXAMPLE}, 1 day left"),
        (event(Kind.RETIRING, days_left=(1, 0)), f"Model retiring: {EXAMPLE}, 0 days left"),
        (schema_event(), "All models changed: capabilities.batch, gone"),
        (job_event(Kind.SYNC_FAILED, new="boom"), "Sync fails: source anthropic"),
        (job_event(Kind.SYNC_HELD, new="boom"), "Sync held: source anthropic"),
        (job_event(Kind.SYNC_RECOVERED, old="boom"), "Sync works again: source anthropic"),
    ],
)
def test_subject_of_one(told: Event, text: str) -> None:
    """The subject of one event is the news: what happened, the name and the id."""
    assert message(told).subject == text


def test_subject_without_a_name() -> None:
    """A model without a name goes by its id."""
    told = Event(Kind.ADDED, NOW, "claude-opus-5", {}, None, "anthropic", 7)
    assert message(told).subject == "New model: claude-opus-5"


@pytest.mark.parametrize(
    ("events", "text"),
    [
        ([*numbered(Kind.ADDED, 1), *numbered(Kind.RETIRED, 2, 3)], "2 models retired, 1 new"),
        (numbered(Kind.ADDED, 1, 2), "2 models new"),
        ([*numbered(Kind.ADDED, 1), *numbered(Kind.RETIRED, 2)], "1 model retired, 1 new"),
        (
            [numbered(kind, 1)[0] for kind in Kind if not kind.startswith(("sync", "schema"))],
            (
                "1 model retired, 1 removed, 1 retiring soon, 1 deprecated, 1 rescheduled, 1 new, "
                "1 back, 1 updated"
            ),
        ),
        ([schema_event(), *numbered(Kind.UPDATED, 1, 2)], "2 models updated, all models changed"),
        (
            [*numbered(Kind.ADDED, 1), job_event(Kind.SYNC_RECOVERED, old="boom")],
            "1 model new, sync works again",
        ),
        ([schema_event(), job_event(Kind.SYNC_HELD)], "All models changed, sync held"),
    ],
)
def test_subject_of_several(events: list[Event], text: str) -> None:
    """The subject of several events counts them, the gravest first, in whatever order they came."""
    assert message(*events).subject == text
    assert message(*reversed(events)).subject == text


@pytest.mark.parametrize("name", ODD_NAMES)
def test_subject_with_an_odd_name(name: str) -> None:
    """A name stands in a subject as it is, but that it cannot break the line."""
    told = event(payload=model("x-1", display_name=name))
    assert message(told).subject == f"New model: {ODD_NAMES[name]} (x-1)"


@pytest.mark.parametrize("name", ["", "  ", "\n\x07"])
def test_a_name_that_shows_nothing(name: str) -> None:
    """Where a name is blank the id stands alone."""
    told = message(event(payload=model("x-1", display_name=name)))
    assert (told.subject, told.text.partition(":")[0]) == ("New model: x-1", "x-1")


def test_long_subject() -> None:
    """A subject stays short, however long a name is."""
    assert len(subject([event(payload=model("x" * 255, display_name="N" * 5000))])) <= 200


# --- lines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (event(), "new, released 2026-06-14"),
        (event(Kind.REMOVED, removed_at=(None, "2026-06-15T12:00:00Z")), "removed"),
        (
            event(Kind.RETIRED, lifecycle=("deprecated", "retired")),
            "retired",
        ),
        (
            event(Kind.DEPRECATED, {**OPUS, "retires_at": "2026-08-14T00:00:00Z"}),
            "deprecated, retires 2026-08-14 (60 days left)",
        ),
        (
            event(
                Kind.DEPRECATED,
                {**OPUS, "retires_at": "2026-08-14T00:00:00Z"},
                lifecycle=("active", "deprecated"),
                deprecated_at=(None, "2026-06-15T00:00:00Z"),
                retires_at=(None, "2026-08-14T00:00:00Z"),
                max_tokens=(1, 2),
            ),
            "deprecated, retires 2026-08-14 (60 days left), max_tokens: 1 → 2",
        ),
        (event(Kind.DEPRECATED), "deprecated"),
        (
            event(
                Kind.RETIRING, {**OPUS, "retires_at": "2026-06-16T23:59:59Z"}, days_left=(None, 1)
            ),
            "retiring soon, retires 2026-06-16 (1 day left)",
        ),
        (
            event(Kind.RETIRING, {**OPUS, "retires_at": "2026-06-14T00:00:00Z"}, days_left=(1, -1)),
            "retiring soon, retires 2026-06-14 (1 day overdue)",
        ),
        (
            event(payload={**OPUS, "retires_at": "2027-06-15T00:00:00Z"}),
            "new, released 2026-06-14, retires 2027-06-15 (365 days left)",
        ),
        (
            event(Kind.UPDATED, max_tokens=(1000, None), capabilities__x=(None, {"a": [1, "é"]})),
            'updated, max_tokens: 1000 → nothing, capabilities.x: nothing → {"a": [1, "é"]}',
        ),
        (
            event(
                Kind.RETURNED,
                removed_at=("2026-06-01T00:00:00Z", None),
                display_name=("Opus 5", "Claude Opus 5"),
            ),
            "back, display_name: Opus 5 → Claude Opus 5",
        ),
    ],
)
def test_line(told: Event, text: str) -> None:
    """A line says which model, what happened, what changed to what, and dates with the days."""
    assert message(told).text == f"{EXAMPLE}: {text}\nSource: anthropic"


def test_revised_date() -> None:
    """A retirement date that was moved reads as dates, old and new, with the days left."""
    told = event(
        Kind.UPDATED,
        {**OPUS, "retires_at": "2026-08-14T00:00:00Z"},
        retires_at=("2026-07-15T00:00:00Z", "2026-08-14T00:00:00Z"),
    )
    assert "2026-07-15" in line(told)
    assert "2026-08-14 (60 days left)" in line(told)
    assert "T00:00:00Z" not in line(told)


def test_unknown_release() -> None:
    """An epoch value means that the API does not know when a model was released: none is told."""
    told = event(payload={**OPUS, "created_at": "1970-01-01T00:00:00Z"})
    assert "1970" not in message(told).text + message(told).markdown


def test_schema_line() -> None:
    """A change of the whole catalog says once what appeared and what vanished."""
    assert line(schema_event()) == (
        'All models changed: capabilities.batch: nothing → {"supported": true}, gone: vanished'
    )


HELD = (
    "source anthropic: the list is empty where 9 models were listed; if that is right, "
    "run: catalog-sync sync --source anthropic --accept-removals"
)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (job_event(Kind.SYNC_FAILED, new="no answer"), "Sync fails: no answer"),
        (job_event(Kind.SYNC_RECOVERED, old="no answer"), "Sync works again: before: no answer"),
        (job_event(Kind.SYNC_HELD, new=HELD), f"Sync held: {HELD}"),
    ],
)
def test_job_line(told: Event, text: str) -> None:
    """An event of the job says the error, and of a held source the command that releases it."""
    assert message(told).text == f"{text}\nSource: anthropic"


def test_a_line_per_event() -> None:
    """Each event has its line, the gravest first, and the source is named once."""
    text = message(*numbered(Kind.ADDED, 1, 2), *numbered(Kind.REMOVED, 3)).text
    assert [each.split(":")[0] for each in text.splitlines()] == [
        "M 3 (m-3)",
        "M 1 (m-1)",
        "M 2 (m-2)",
        "Source",
    ]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(name: str) -> None:
    """A name reads as it is in text and in Markdown, and whatever it holds, on one line."""
    told = event(Kind.UPDATED, model("x-1", display_name=name), display_name=("before", name))
    read = f"{ODD_NAMES[name]} (x-1): updated, display_name: before → {ODD_NAMES[name]}"
    assert message(told).text == f"{read}\nSource: anthropic"
    assert as_read(message(told).markdown).split("\n") == ["", read, "", "Source: anthropic", ""]


@pytest.mark.parametrize("where", ["id", "path", "source", "error"])
def test_odd_text_elsewhere(where: str) -> None:
    """Ids, field names, sources and errors cannot break a line or its marks either."""
    odd = "a\n**b** <c>\x1b[0m"
    told = {
        "id": event(payload=model(odd)),
        "path": event(Kind.UPDATED, **{odd: (1, 2)}),
        "source": Event(Kind.ADDED, NOW, "m", {}, OPUS, odd, 7),
        "error": job_event(Kind.SYNC_FAILED, new=odd),
    }[where]
    assert len(message(told).text.splitlines()) == 2
    assert "a **b** <c> [0m" in message(told).text
    assert "a **b** <c> [0m" in as_read(message(told).markdown)
    assert "\n" not in message(told).subject


# --- the cap -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "last"), [(20, None), (21, "+1 more"), (500, "+480 more")])
def test_cap(number: int, last: str | None) -> None:
    """A text tells twenty events one by one and counts the rest."""
    many = message(*numbered(Kind.ADDED, *range(number)))
    lines = many.text.splitlines()
    assert len([each for each in lines if each.startswith("M ")]) == 20
    assert lines[20:] == [*([last] if last else []), "Source: anthropic"]
    assert ("more" in as_read(many.markdown)) is (last is not None)
    assert many.subject == f"{number} models new"


def test_what_is_capped() -> None:
    """What is left out is the least grave."""
    many = message(*numbered(Kind.ADDED, *range(20)), *numbered(Kind.REMOVED, 99))
    assert many.text.splitlines()[0] == "M 99 (m-99): removed"
    assert "m-19" not in many.text


# --- the webhook's body ------------------------------------------------------------------------


def test_body() -> None:
    """The body of a webhook has the type, the time, the source, the run and each event."""
    later = Event(Kind.SYNC_RECOVERED, NOW, None, {}, None, "anthropic", 7)
    told = event(Kind.UPDATED, display_name=("Opus\n5", "Claude Opus 5"))
    assert message(told, later).body == {
        "type": "catalog.changed",
        "timestamp": "2026-06-15T12:00:00Z",
        "data": {
            "source": "anthropic",
            "run_id": 7,
            "events": [
                {
                    "kind": "updated",
                    "model_id": "claude-opus-5",
                    "display_name": "Claude Opus 5",
                    "changes": {"display_name": {"old": "Opus\n5", "new": "Claude Opus 5"}},
                    "occurred_at": "2026-06-15T12:00:00Z",
                },
                {
                    "kind": "sync_recovered",
                    "model_id": None,
                    "display_name": None,
                    "changes": {},
                    "occurred_at": "2026-06-15T12:00:00Z",
                },
            ],
        },
    }


def test_body_is_uncapped() -> None:
    """A webhook's body holds every event, in the order in which they were recorded."""
    events = message(*numbered(Kind.ADDED, *range(99)), *numbered(Kind.REMOVED, 99)).body["data"]
    assert [each["model_id"] for each in events["events"]] == [f"m-{n}" for n in range(100)]


def test_body_keeps_names() -> None:
    """Programs get names and ids to the letter, whatever they hold."""
    for name in ODD_NAMES:
        (told,) = message(event(payload=model(name, display_name=name))).body["data"]["events"]
        assert (told["model_id"], told["display_name"]) == (name, name)


def test_same_message_again() -> None:
    """A message is the same at every attempt: nothing in it depends on when it is sent."""
    events = [event(), *numbered(Kind.REMOVED, 1)]
    assert message(*events) == message(*events)


# --- other texts -------------------------------------------------------------------------------


def test_sample() -> None:
    """The message of `alerts test` says that it is one and for whom, and is never the same."""
    first, second = sample("team", NOW), sample("team", NOW)
    assert "test" in first.subject.lower()
    assert all("test" in text and "team" in text for text in (first.text, first.markdown))
    assert first.body["type"] == "catalog.test"
    assert first.message_id != second.message_id


def test_baseline_line() -> None:
    """A baseline says in one line that it is one, and when alerts begin."""
    report = RunReport(
        "anthropic",
        RunStatus.SUCCEEDED,
        NOW,
        run_id=1,
        baseline=True,
        pages=1,
        models=10,
        events=tuple(numbered(Kind.ADDED, *range(10))),
        duration=timedelta(seconds=1),
    )
    text = report_text(report)
    assert "baseline of 10 models recorded; alerts begin with the next change" in text
    assert "\n" not in text
