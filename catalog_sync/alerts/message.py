"""The message about recorded events, in every form that channels need."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from catalog_sync.alerts import lines as _lines
from catalog_sync.clock import format_instant
from catalog_sync.domain.event_text import OWN_PATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from catalog_sync.domain.model import Event, JsonObject

_MAX_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class Message:
    """A notification in every form that a channel needs."""

    message_id: str
    """The same at every attempt, so that a receiver can drop repeats."""
    subject: str
    text: str
    """A line per model, capped."""
    markdown_subject: str
    markdown: str
    severity: str
    """One of Apprise's types: `failure`, `warning`, `info` or `success`."""
    body: JsonObject
    """For webhooks: every event, with values as they were received."""


def compose(
    message_id: str,
    events: Sequence[Event],
    run_id: int | None,
    *,
    public_url: str | None = None,
    successors: Mapping[str, str] | None = None,
) -> Message:
    """Return the message about events of one source.

    Args:
        message_id: See `Message.message_id`.
        events: The events, oldest first: of one run, or of several after an outage.
        run_id: The run that recorded them, the last one of several.
        public_url: Where the published catalog can be read, for a link.
        successors: Names of the models to move to, by the id of the model that leaves.
    """
    source = events[0].source
    lines = _lines.lines_of(events, successors or {})
    subject = _lines.subject_of(lines, events)
    more = [f"+{len(lines) - _MAX_LINES} more"] if len(lines) > _MAX_LINES else []
    link = [f"Catalog: {public_url}"] if public_url else []

    def footer(mark: Callable[[str], str]) -> list[str]:
        return [f"Source: {mark(source)}", *link]

    text = [_lines.sentence(line, _lines.chat_text) for line in lines[:_MAX_LINES]]
    markdown = [
        _lines.sentence(line, _lines.chat_markdown, "**{}**") for line in lines[:_MAX_LINES]
    ]
    return Message(
        message_id,
        _lines.chat_text(subject),
        "\n".join([*text, *more, *footer(_lines.chat_text)]),
        _lines.chat_markdown(subject),
        "\n".join(
            [*(f"- {line}" for line in [*markdown, *more]), "", *footer(_lines.chat_markdown)]
        ),
        _lines.severity_of(events),
        _body(events, source, run_id),
    )


def message_id(
    channel: str, events: Sequence[Event], earlier: Mapping[tuple[str, str | None], int]
) -> str:
    """Return the id of a new message, computed from its content.

    A run that a failover lost is repeated and makes the same events; their message has the same
    id. A change that occurs again later has another one.

    Args:
        channel: Name of the channel.
        events: The events of the message, oldest first.
        earlier: How many events of a kind and a model were recorded before.
    """
    numbers = Counter(earlier)
    stated: list[object] = [channel, events[0].source]
    for event in events:
        key = (event.kind.value, event.model_id)
        numbers[key] += 1
        values = {
            path: change.get("new")
            for path, change in event.changes.items()
            if path not in OWN_PATHS
        }
        stated.append([*key, numbers[key], values])
    return "msg_" + hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:32]


def subject(events: Sequence[Event]) -> str:
    """Return what happened in a few words: "New model: Claude Opus 5 (claude-opus-5)"."""
    return _lines.subject_of(_lines.lines_of(events, {}), events)


def sample(channel: str, now: datetime) -> Message:
    """Return the message of `alerts test`, which says that it is a test."""
    title, text = "Test of catalog-sync", f"A test: catalog-sync can reach the channel {channel}."
    return Message(
        f"msg_test_{uuid.uuid4().hex}",
        title,
        _lines.chat_text(text),
        title,
        _lines.chat_markdown(text),
        "info",
        {"type": "catalog.test", "timestamp": format_instant(now), "data": {"message": text}},
    )


def _body(events: Sequence[Event], source: str, run_id: int | None) -> JsonObject:
    return {
        "type": "catalog.changed",
        "timestamp": format_instant(max(event.occurred_at for event in events)),
        "data": {
            "source": source,
            "run_id": run_id,
            "events": [
                {
                    "kind": event.kind.value,
                    "model_id": event.model_id,
                    "display_name": _lines.display_name(event),
                    "changes": event.changes,
                    "occurred_at": format_instant(event.occurred_at),
                }
                for event in events
            ],
        },
    }
