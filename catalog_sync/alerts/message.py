"""What people read about events and passes: pure text, the same wherever it is shown."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from catalog_sync.clock import format_instant, parse_rfc3339
from catalog_sync.domain.event_text import change_texts, value_text
from catalog_sync.domain.kinds import Kind
from catalog_sync.text import _count, _days, escaped, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from catalog_sync.domain.model import Event, JsonObject


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel is sent: the events of one run, in the forms that services take."""

    message_id: str
    """The same at every attempt, so that a receiver can drop repeats."""
    subject: str
    text: str
    """A line per event, capped."""
    markdown: str
    body: JsonObject
    """For webhooks; holds every event."""


_MAX_LINES = 20
"""Events that a text tells one by one; the rest is "+N more"."""
_UNKNOWN_RELEASE = "1970-01-01"
"""The day of `created_at` where the API does not know it."""
_DATES = frozenset({"created_at", "deprecated_at", "retires_at"})
# How a kind reads alone, and how when counted; the order is that of a subject: the gravest first.
_WORDS = {
    Kind.RETIRED: ("Model retired", "retired"),
    Kind.REMOVED: ("Model removed", "removed"),
    Kind.RETIRING: ("Model retiring", "retiring soon"),
    Kind.DEPRECATED: ("Model deprecated", "deprecated"),
    Kind.RESCHEDULED: ("Model rescheduled", "rescheduled"),
    Kind.ADDED: ("New model", "new"),
    Kind.RETURNED: ("Model is back", "back"),
    Kind.UPDATED: ("Model updated", "updated"),
    Kind.SCHEMA_CHANGED: ("All models changed", ""),
    Kind.SYNC_FAILED: ("Sync fails", ""),
    Kind.SYNC_HELD: ("Sync held", ""),
    Kind.SYNC_RECOVERED: ("Sync works again", ""),
}


def compose(message_id: str, events: Sequence[Event], run_id: int | None) -> Message:
    """Return the message that tells of one run's events, all of one source."""
    source = events[0].source
    ordered = sorted(events, key=lambda event: list(_WORDS).index(event.kind))
    lines = [_line(event) for event in ordered[:_MAX_LINES]]
    marked = [_line(event, markdown=True) for event in ordered[:_MAX_LINES]]
    if (more := len(ordered) - _MAX_LINES) > 0:
        lines.append(f"+{more} more")
        marked.append(f"+{more} more")
    body = {
        "type": "catalog.changed",
        "timestamp": format_instant(max(event.occurred_at for event in events)),
        "data": {
            "source": source,
            "run_id": run_id,
            "events": [
                {
                    "kind": event.kind.value,
                    "model_id": event.model_id,
                    "display_name": _display_name(event),
                    "changes": event.changes,
                    "occurred_at": format_instant(event.occurred_at),
                }
                for event in events
            ],
        },
    }
    return Message(
        message_id,
        subject(ordered),
        "\n".join([*lines, f"Source: {one_line(source)}"]),
        "\n".join([*(f"- {line}" for line in marked), "", f"Source: {escaped(source)}"]),
        body,
    )


def subject(events: Sequence[Event]) -> str:
    """Return the news in a few words: "New model: Claude Opus 5 (claude-opus-5)"."""
    if len(events) == 1:
        return one_line(_headline(events[0]), 200)
    counts = Counter(event.kind for event in events)
    parts: list[str] = []
    noun = True
    for kind, (alone, counted) in _WORDS.items():
        if not counts[kind]:
            continue
        if not counted:
            parts.append(alone if not parts else alone[0].lower() + alone[1:])
            continue
        number = counts[kind]
        parts.append(f"{_count(number, 'model')} {counted}" if noun else f"{number} {counted}")
        noun = False
    return ", ".join(parts)


def sample(channel: str, now: datetime) -> Message:
    """Return the message of `alerts test`: it says that it is one."""
    text = f"This is a test of the channel {channel}: catalog-sync can reach it."
    body = {"type": "catalog.test", "timestamp": format_instant(now), "data": {"message": text}}
    return Message(f"msg_test_{uuid.uuid4().hex}", "Test of catalog-sync", text, text, body)


def _headline(event: Event) -> str:
    alone = _WORDS[event.kind][0]
    if event.model_id is not None:
        text = f"{alone}: {_named(event)}"
        days = event.changes.get("days_left", {}).get("new")
        return f"{text}, {_days(days)}" if isinstance(days, int) else text
    if event.kind is Kind.SCHEMA_CHANGED:
        return f"{alone}: {', '.join(event.changes)}"
    return f"{alone}: source {event.source}"


def _line(event: Event, *, markdown: bool = False) -> str:
    """Return all that a message says of one event, on one line."""
    marked = escaped if markdown else one_line
    alone, counted = _WORDS[event.kind]
    label = marked(_named(event)) if event.model_id is not None else alone
    words = [counted] if counted else []
    facts = ", ".join([*words, *(marked(fact) for fact in _facts(event))])
    return f"**{label}**: {facts}" if markdown else f"{label}: {facts}"


def _facts(event: Event) -> Iterator[str]:
    payload = event.payload or {}
    if event.kind is Kind.SYNC_RECOVERED:
        yield f"before: {value_text(event.changes.get('error', {}).get('old'))}"
        return
    if event.kind in {Kind.SYNC_FAILED, Kind.SYNC_HELD}:
        yield value_text(event.changes.get("error", {}).get("new"))
        return
    released = _date(payload.get("created_at"))
    if event.kind is Kind.ADDED and released != _UNKNOWN_RELEASE:
        yield f"released {released}"
    if event.kind in {Kind.DEPRECATED, Kind.RETIRING, Kind.ADDED} and payload.get("retires_at"):
        yield f"retires {_date_left(payload['retires_at'], event.occurred_at)}"
    told = {"days_left", "removed_at", "lifecycle", "deprecated_at"}
    if event.kind is Kind.UPDATED:
        told = set()
    if event.kind is Kind.DEPRECATED:
        told = told | {"retires_at"}
    changes = {
        path: _dated(path, change, event.occurred_at)
        for path, change in event.changes.items()
        if path not in told
    }
    yield from change_texts(replace(event, changes=changes))


def _dated(path: str, change: Mapping[str, Any], now: datetime) -> Mapping[str, Any]:
    """Return a change of a date as days: the time of day says nothing, unless it alone changed."""
    days = {side: value and _date(value) for side, value in change.items()}
    if path not in _DATES or len(set(days.values())) < len(days):
        return change
    if path == "retires_at" and days.get("new"):
        days["new"] = _date_left(change["new"], now)
    return days


def _named(event: Event) -> str:
    name = _display_name(event)
    return f"{name} ({event.model_id})" if name and one_line(name) else str(event.model_id)


def _display_name(event: Event) -> str | None:
    if event.model_id is None:
        return None
    name = (event.payload or {}).get("display_name")
    return name if isinstance(name, str) else None


def _date(text: Any) -> str:
    """Return the day of an RFC 3339 time of the API."""
    return str(text)[:10]


def _date_left(text: Any, now: datetime) -> str:
    try:
        days = (parse_rfc3339(str(text)).date() - now.date()).days
    except ValueError:
        return _date(text)
    return f"{_date(text)} ({_days(days)})"
