"""Messages of alerts: subjects, a line per model, severity, and the webhook's body."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from markdown_it import MarkdownIt

from catalog_sync.alerts.lines import whole_sentence
from catalog_sync.alerts.message import Message, compose, sample
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event
from support import model

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OPUS = model("claude-opus-5", display_name="Claude Opus 5", created_at="2026-06-14T00:00:00Z")
RETIRING = {**OPUS, "retires_at": "2026-08-14T00:00:00Z"}
ABOUT_MODELS = (
    Kind.ADDED,
    Kind.DEPRECATED,
    Kind.RESCHEDULED,
    Kind.RETIRED,
    Kind.RETIRING,
    Kind.REMOVED,
)
BREAK = "\u200b"
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
"""Names as an API may send them, and the text that a reader sees."""


def event(kind: Kind = Kind.ADDED, payload: dict[str, Any] = OPUS, **changes: Any) -> Event:
    """An event of a model; `changes` are pairs of old and new, `__` stands for a dot."""
    pairs = {
        path.replace("__", "."): {"old": old, "new": new} for path, (old, new) in changes.items()
    }
    return Event(kind, NOW, payload["id"], pairs, payload, "anthropic", 7)


def job_event(kind: Kind, old: str | None = None, new: str | None = None) -> Event:
    return Event(kind, NOW, None, {"error": {"old": old, "new": new}}, None, "anthropic", 7)


def schema_event(**changes: Any) -> Event:
    paths = changes or {
        "capabilities.batch": {"old": None, "new": {"supported": True}},
        "gone": {"new": None},
    }
    return Event(Kind.SCHEMA_CHANGED, NOW, None, paths, None, "anthropic", 7)


def numbered(kind: Kind, *numbers: int) -> list[Event]:
    return [event(kind, model(f"m-{number}")) for number in numbers]


def message(*events: Event, **options: Any) -> Message:
    return compose("msg_1", events, 7, **options)


def line(*events: Event, **options: Any) -> str:
    """The first line of the text, as a reader sees it."""
    return message(*events, **options).text.splitlines()[0].replace(BREAK, "")


def as_read(markdown: str) -> str:
    """The Markdown as a reader sees it, without its marks."""
    html = MarkdownIt("commonmark").render(markdown)
    return unescape(re.sub(r"<[^>]*>", "", html)).replace(BREAK, "")


# --- subjects ----------------------------------------------------------------------------------

EXAMPLE = "Claude Opus 5 (claude-opus-5)"


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        (event(), f"New model: {EXAMPLE}"),
        (event(Kind.UPDATED), f"Updated: {EXAMPLE}"),
        (event(Kind.DEPRECATED), f"Deprecated: {EXAMPLE}"),
        (event(Kind.RESCHEDULED), f"Rescheduled: {EXAMPLE}"),
        (event(Kind.RETIRED), f"Retired: {EXAMPLE}"),
        (event(Kind.REMOVED), f"Removed: {EXAMPLE}"),
        (event(Kind.RETURNED), f"Back: {EXAMPLE}"),
        (event(Kind.RETIRING, RETIRING), f"Retiring: {EXAMPLE}, 2026-08-14 (60 days)"),
        (schema_event(), "All models changed: capabilities.batch, gone"),
        (job_event(Kind.SYNC_FAILED, new="boom"), "Sync fails: source anthropic"),
        (job_event(Kind.SYNC_HELD, new="boom"), "Sync held: source anthropic"),
        (job_event(Kind.SYNC_RECOVERED, old="boom"), "Sync works again: source anthropic"),
    ],
)
def test_subject_of_one(recorded: Event, text: str) -> None:
    """The subject of one event states what happened, the name and the id."""
    assert message(recorded).subject == text


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (numbered(Kind.ADDED, *range(25)), "25 new models"),
        ([*numbered(Kind.ADDED, 1), *numbered(Kind.RETIRED, 2, 3)], "2 retired models, 1 new"),
        ([*numbered(Kind.ADDED, 1), *numbered(Kind.RETIRED, 2)], "1 retired model, 1 new"),
        (
            [numbered(kind, n)[0] for n, kind in enumerate(ABOUT_MODELS)],
            "1 retired model, 1 removed, 1 retiring, 1 deprecated, 1 rescheduled, 1 new",
        ),
        ([schema_event(), *numbered(Kind.UPDATED, 1, 2)], "2 updated models, all models changed"),
        (
            [*numbered(Kind.ADDED, 1), job_event(Kind.SYNC_RECOVERED, old="boom")],
            "1 new model, sync works again",
        ),
        ([schema_event(), job_event(Kind.SYNC_HELD)], "All models changed, sync held"),
    ],
)
def test_subject_of_several(events: list[Event], text: str) -> None:
    """The subject of several events counts models, the most severe kind first."""
    assert message(*events).subject == text
    assert message(*reversed(events)).subject == text


@pytest.mark.parametrize("name", ["", "  ", "\n\x07"])
def test_blank_name(name: str) -> None:
    """A model with a blank name is named by its id."""
    nameless = message(event(payload=model("x-1", display_name=name)))
    assert nameless.subject == "New model: x-1"
    assert nameless.text.startswith("x-1 is new: ")


def test_long_subject() -> None:
    """A subject stays short, however long a name or a list of paths is."""
    assert len(message(event(payload=model("x" * 255, display_name="N" * 5000))).subject) <= 200
    paths = {f"capabilities.c{n}": {"old": None, "new": True} for n in range(100)}
    assert message(schema_event(**paths)).subject.endswith("capabilities.c2, +97 more")


# --- lines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        (event(), "is new (ID): released 2026-06-14."),
        (
            event(payload={**OPUS, "retires_at": "2027-06-15T00:00:00Z"}),
            "is new (ID): released 2026-06-14, retires 2027-06-15 (365 days).",
        ),
        (event(payload={**OPUS, "created_at": "1970-01-01T00:00:00Z"}), "is new (ID)."),
        (event(Kind.REMOVED, removed_at=(None, "2026-06-15T12:00:00Z")), "was removed (ID)."),
        (
            event(
                Kind.RETIRED,
                {**OPUS, "retires_at": "2026-06-14T00:00:00Z"},
                lifecycle=("deprecated", "retired"),
                retires_at=(None, "2026-06-14T00:00:00Z"),
            ),
            "was retired (ID): retirement date 2026-06-14.",
        ),
        (
            event(
                Kind.DEPRECATED,
                RETIRING,
                lifecycle=("active", "deprecated"),
                deprecated_at=(None, "2026-06-15T00:00:00Z"),
                retires_at=(None, "2026-08-14T00:00:00Z"),
                max_tokens=(1, 2),
            ),
            "was deprecated (ID): retires 2026-08-14 (60 days), max_tokens: 1 → 2.",
        ),
        (event(Kind.DEPRECATED, RETIRING), "was deprecated (ID): retires 2026-08-14 (60 days)."),
        (
            event(
                Kind.RESCHEDULED,
                RETIRING,
                retires_at=("2026-07-15T00:00:00Z", RETIRING["retires_at"]),
            ),
            "was rescheduled (ID): retires 2026-08-14 (60 days), before: 2026-07-15.",
        ),
        (
            event(Kind.RESCHEDULED, retires_at=("2026-07-15T00:00:00Z", None)),
            "was rescheduled (ID): no retirement date, before: 2026-07-15.",
        ),
        (
            event(Kind.RESCHEDULED, lifecycle=("deprecated", "active")),
            "was rescheduled (ID): lifecycle: deprecated → active.",
        ),
        (
            event(Kind.RETIRING, {**OPUS, "retires_at": "2026-06-16T23:59:59Z"}, days_left=(7, 1)),
            "retires soon (ID): retires 2026-06-16 (1 day).",
        ),
        (
            event(Kind.RETIRING, {**OPUS, "retires_at": "2026-06-15T00:00:00Z"}, days_left=(1, 0)),
            "retires soon (ID): retires 2026-06-15 (today).",
        ),
        (
            event(Kind.RETIRING, {**OPUS, "retires_at": "2026-06-14T00:00:00Z"}, days_left=(1, -1)),
            "retires soon (ID): retires 2026-06-14 (1 day overdue).",
        ),
        (
            event(Kind.UPDATED, max_tokens=(1000, None), caps__x=(None, {"a": ["é"]})),
            'was updated (ID): max_tokens: 1000 → nothing, caps.x: nothing → {"a": ["é"]}.',
        ),
        (
            event(Kind.UPDATED, deprecated_at=(None, "2026-06-15T00:00:00Z")),
            "was updated (ID): deprecated_at: 2026-06-15.",
        ),
        (
            event(
                Kind.RETURNED,
                removed_at=("2026-06-01T00:00:00Z", None),
                display_name=("Opus 5", "Claude Opus 5"),
            ),
            "is back (ID): gone since 2026-06-01, display_name: Opus 5 → Claude Opus 5.",
        ),
    ],
)
def test_line(recorded: Event, text: str) -> None:
    """A line is a sentence: the model, what happened, what changed, and dates with the days."""
    sentence = f"Claude Opus 5 {text.replace('ID', 'claude-opus-5')}"
    assert message(recorded).text == f"{sentence}\nSource: anthropic"


@pytest.mark.parametrize("kind", [each for each in Kind if not each.startswith("sync_")])
def test_successor(kind: Kind) -> None:
    """The message names the successor where a person has to move to another model."""
    text = line(event(kind), successors={OPUS["id"]: "Claude Opus 6 (claude-opus-6)"})
    ends = kind.value in {"deprecated", "rescheduled", "retiring", "retired", "removed"}
    assert text.endswith(". Successor: Claude Opus 6 (claude-opus-6).") is ends
    assert ("Successor" in text) is ends


@pytest.mark.parametrize("kind", [Kind.ADDED, Kind.DEPRECATED, Kind.RETIRING, Kind.RESCHEDULED])
def test_dates_are_utc(kind: Kind) -> None:
    """A date with an offset is shown as the day in UTC, without a time."""
    date = "2027-02-19T23:30:00-05:00"
    text = line(event(kind, {**OPUS, "retires_at": date}, retires_at=(None, date)))
    assert "retires 2027-02-20 (250 days)" in text
    assert "T23" not in text


def test_schema_line() -> None:
    """A change of the whole catalog states what appeared and what vanished."""
    assert line(schema_event()) == (
        'All models changed: capabilities.batch: nothing → {"supported": true}, gone: vanished'
    )


HELD = (
    "source anthropic: the list is empty where 9 models were listed; if that is right, "
    "run: catalog-sync sync --source anthropic --accept-removals"
)


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        (job_event(Kind.SYNC_FAILED, new="no answer"), "Sync fails: no answer"),
        (job_event(Kind.SYNC_RECOVERED, old="no answer"), "Sync works again: before: no answer"),
        (job_event(Kind.SYNC_HELD, new=HELD), f"Sync held: {HELD}"),
    ],
)
def test_job_line(recorded: Event, text: str) -> None:
    """An event of the job states the error, and of a held source the command that releases it."""
    assert message(recorded).text == f"{text}\nSource: anthropic"


def test_severe_lines_first() -> None:
    """Each model has its line, the most severe first, and the source is named once."""
    text = message(*numbered(Kind.ADDED, 1, 2), *numbered(Kind.REMOVED, 3)).text
    assert [re.findall(r"m-\d|Source", each) for each in text.splitlines()] == [
        ["m-3"],
        ["m-1"],
        ["m-2"],
        ["Source"],
    ]


def test_one_line_per_model() -> None:
    """Several events of one model are one line, with the first old and the last new value."""
    first = event(Kind.UPDATED, max_tokens=(1, 2))
    second = replace(event(Kind.UPDATED, max_tokens=(2, 3)), run_id=8)
    third = event(Kind.DEPRECATED, RETIRING)
    stated = "retires 2026-08-14 (60 days), max_tokens: 1 → 3"
    assert message(first, second, third).text.splitlines() == [
        f"Claude Opus 5 was updated, then was deprecated (claude-opus-5): {stated}.",
        "Source: anthropic",
    ]
    assert message(event(Kind.ADDED), third).subject == f"Deprecated: {EXAMPLE}"


@pytest.mark.parametrize("changes", [100, 4, 3])
def test_three_changes(changes: int) -> None:
    """A line names three changed fields and counts the others; a long value is cut."""
    pairs = {f"field_{n}": (0, "long" * 500) for n in range(changes)}
    text = line(event(Kind.UPDATED, **pairs))
    assert text.count("field_") == 3
    assert ("more" in text) is (changes > 3)
    assert changes != 100 or text.endswith(", +97 more.")
    assert len(text) < 700


def test_whole_sentence() -> None:
    """The text of an event for a feed leaves no path out."""
    paths = {f"p{n}": {"old": None, "new": n} for n in range(100)} | {"lifecycle": {"old": None}}
    text = whole_sentence(schema_event(**paths))
    assert [path for path in paths if f"{path}: " not in text] == []


# --- escaped text ------------------------------------------------------------------------------

PINGS = re.compile(
    r"@(?:everyone|here|channel|all|\*\*|&?\d|U1)|<[!@#]|<at\b|<users/|\]\(|\w://|www\.\w|mailto:"
)
"""Patterns that chats read as a mention or a link."""


@pytest.mark.parametrize(
    "name",
    [
        "@everyone",
        "@here",
        "<@&42>",
        "<@42> <@!42> <#42>",
        "@channel @all",
        "<!channel> <!here|here> <!subteam^S1> <@U1>",
        "@**all** @_**x**",
        "[x](http://evil.example)",
        "<http://evil.example|x>",
        "see HTTPS://evil.example or www.evil.example, mailto:a@evil.example",
        '<at id="all">all</at> <users/all>',
    ],
)
@pytest.mark.parametrize("where", ["name", "id", "path", "value", "error", "successor", "source"])
def test_no_ping_and_no_link(name: str, where: str) -> None:
    """Text from APIs and servers contains no mention and no link, and reads the same."""
    options = {"successors": {OPUS["id"]: name}} if where == "successor" else {}
    hostile = {
        "name": event(payload=model("x-1", display_name=name)),
        "id": event(payload=model(name)),
        "path": event(Kind.UPDATED, **{name: (1, 2)}),
        "value": event(Kind.UPDATED, line=(None, name)),
        "error": job_event(Kind.SYNC_FAILED, new=name),
        "successor": event(Kind.REMOVED),
        "source": replace(event(), source=name),
    }[where]
    sent = message(hostile, **options)
    for text in (sent.subject, sent.text, sent.markdown_subject, sent.markdown):
        assert not PINGS.search(text), text
    assert name in sent.text.replace(BREAK, "")
    assert name in as_read(sent.markdown)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(name: str) -> None:
    """A name reads the same in subject, text and Markdown, and always stays on one line."""
    sent = message(
        event(Kind.UPDATED, model("x-1", display_name=name), display_name=("before", name))
    )
    shown = ODD_NAMES[name]
    read = f"{shown} was updated (x-1): display_name: before → {shown}."
    assert sent.subject.replace(BREAK, "") == f"Updated: {shown} (x-1)"
    assert sent.text.replace(BREAK, "") == f"{read}\nSource: anthropic"
    assert as_read(sent.markdown_subject).strip() == f"Updated: {shown} (x-1)"
    assert as_read(sent.markdown).split("\n") == ["", read, "", "Source: anthropic", ""]


def test_ordinary_names_are_untouched() -> None:
    """Names and ids without mentions or links keep every character, for copying."""
    for name in (
        *("R&D <beta>", "vendor/claude-opus-5:free", "Claude 4.5 (new) [beta]", "a < b > c"),
        *("claude-opus-4@20250514", "anthropic.claude-v2:1", "my_model_3", "#1"),
    ):
        sent = message(event(payload=model("x-1", display_name=name)))
        assert name in sent.text
        assert name == "R&D <beta>" or name in sent.markdown


@pytest.mark.parametrize("where", ["id", "path", "source", "error"])
def test_odd_text_elsewhere(where: str) -> None:
    """Ids, field names, sources and errors cannot break a line or its marks."""
    odd = "a\n**b** <c>\x1b[0m"
    sent = message(
        {
            "id": event(payload=model(odd)),
            "path": event(Kind.UPDATED, **{odd: (1, 2)}),
            "source": Event(Kind.ADDED, NOW, "m", {}, OPUS, odd, 7),
            "error": job_event(Kind.SYNC_FAILED, new=odd),
        }[where]
    )
    assert len(sent.text.splitlines()) == 2
    assert "a **b** <c> [0m" in sent.text
    assert "a **b** <c> [0m" in as_read(sent.markdown)
    assert "\n" not in sent.subject


# --- link, severity, cap -----------------------------------------------------------------------


def test_link() -> None:
    """With `public_url` a message links to the published catalog; otherwise it has no link."""
    sent = message(event(), public_url="https://example.com/models")
    assert sent.text.splitlines()[-1] == "Catalog: https://example.com/models"
    assert sent.markdown.splitlines()[-1] == "Catalog: https://example.com/models"
    assert "http" not in message(event()).text


@pytest.mark.parametrize(
    ("kinds", "severity"),
    [
        ([Kind.REMOVED], "failure"),
        ([Kind.RETIRED], "failure"),
        ([Kind.SYNC_FAILED], "failure"),
        ([Kind.RETIRING], "warning"),
        ([Kind.DEPRECATED], "warning"),
        ([Kind.SYNC_HELD], "warning"),
        ([Kind.ADDED], "info"),
        ([Kind.SYNC_RECOVERED], "success"),
        ([Kind.ADDED, Kind.SYNC_RECOVERED], "info"),
        ([Kind.ADDED, Kind.DEPRECATED, Kind.REMOVED], "failure"),
    ],
)
def test_severity(kinds: list[Kind], severity: str) -> None:
    """A message is as severe as its most severe event."""
    assert message(*(event(kind) for kind in kinds)).severity == severity


@pytest.mark.parametrize(
    ("lifecycle", "severity"),
    [("active", "success"), ("deprecated", "warning"), ("retired", "warning")],
)
def test_severity_of_a_return(lifecycle: str, severity: str) -> None:
    """The return of a model that nobody should use is no good news."""
    returned = event(Kind.RETURNED, {**OPUS, "lifecycle": lifecycle})
    assert message(returned).severity == severity


@pytest.mark.parametrize(("number", "last"), [(20, None), (21, "+1 more"), (500, "+480 more")])
def test_cap(number: int, last: str | None) -> None:
    """A text has a line for twenty models and counts the rest."""
    many = message(*numbered(Kind.ADDED, *range(number)))
    lines = many.text.splitlines()
    assert len([each for each in lines if " is new" in each]) == 20
    assert lines[20:] == [*([last] if last else []), "Source: anthropic"]
    assert ("more" in as_read(many.markdown)) is (last is not None)
    assert many.subject == f"{number} new models"


def test_what_is_capped() -> None:
    """A capped message leaves out the least severe lines."""
    many = message(*numbered(Kind.ADDED, *range(20)), *numbered(Kind.REMOVED, 99))
    assert many.text.splitlines()[0] == "M 99 was removed (m-99)."
    assert "m-19" not in many.text


def test_several_runs() -> None:
    """A message of several runs counts the changes and states their span."""
    events = [replace(event(), run_id=n, occurred_at=NOW + n * DAY / 14) for n in range(43)]
    assert message(*events).subject == "43 changes in 3 days"


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_makes_a_message(kind: Kind) -> None:
    """Every kind of event has its own words, alone and among others."""
    about_a_model = kind is not Kind.SCHEMA_CHANGED and not kind.startswith("sync_")
    changes = {"error": {"old": "a", "new": "b"}}
    one = Event(kind, NOW, "m" if about_a_model else None, changes, model("m"), "anthropic", 7)
    other = Event(Kind.UPDATED, NOW, "n", {}, None, "anthropic", 7)
    assert ("(m)" in message(one).subject) == about_a_model
    assert len(message(one, other).text.splitlines()) == 3


# --- the webhook's body ------------------------------------------------------------------------


def test_body() -> None:
    """The body of a webhook has the type, the time, the source, the run and each event."""
    later = Event(Kind.SYNC_RECOVERED, NOW, None, {}, None, "anthropic", 7)
    date = "2027-02-19T23:30:00-05:00"
    changed = event(
        Kind.UPDATED, display_name=("Opus\n5", "Claude Opus 5"), retires_at=(None, date)
    )
    assert message(changed, later).body == {
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
                    "changes": {
                        "display_name": {"old": "Opus\n5", "new": "Claude Opus 5"},
                        "retires_at": {"old": None, "new": date},
                    },
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
    """A webhook's body holds every event and every change, in the order of recording."""
    pairs = {f"f{n}": (0, 1) for n in range(100)}
    events = [*numbered(Kind.ADDED, *range(99)), event(Kind.UPDATED, model("m-99"), **pairs)]
    sent = message(*events).body["data"]["events"]
    assert [each["model_id"] for each in sent] == [f"m-{n}" for n in range(100)]
    assert sent[-1]["changes"].keys() == pairs.keys()


def test_body_keeps_names() -> None:
    """A webhook's body holds names and ids unchanged."""
    for name in ODD_NAMES:
        (sent,) = message(event(payload=model(name, display_name=name))).body["data"]["events"]
        assert (sent["model_id"], sent["display_name"]) == (name, name)


def test_same_message_again() -> None:
    """A message is the same at every attempt: no part depends on the time of sending."""
    events = [event(), *numbered(Kind.REMOVED, 1)]
    assert message(*events) == message(*events)


def test_sample() -> None:
    """The message of `alerts test` says that it is a test, names the channel, and has a new id."""
    first, second = sample("team", NOW), sample("team", NOW)
    assert "test" in first.subject.lower()
    assert all("test" in text and "team" in text for text in (first.text, first.markdown))
    assert first.body["type"] == "catalog.test"
    assert first.message_id != second.message_id
