"""The message about recorded events, in every form that channels need."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from catalog_sync.alerts import lines as _lines
from catalog_sync.clock import format_time
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
    """The same for every attempt, so that the receiver can drop duplicates."""
    subject: str
    text: str
    """A line per model, capped."""
    markdown_subject: str
    markdown: str
    severity: str
    """One of Apprise's types: `failure`, `warning`, `info` or `success`."""
    body: JsonObject
    """For webhooks: every event, with the values as received."""


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
        run_id: The run that recorded them, or the last of several.
        public_url: The address of the published catalog, for a link.
        successors: Names of the successors, by the id of the leaving model.
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
    """Compute the id of a new message from its content.

    If a failover loses a run, the next run records the same events, and their message has the same
    id. A later repetition of a change has another id, because `earlier`, the number of earlier
    events per kind and model, differs.
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
    """Return a summary such as "New model: Claude Opus 5 (claude-opus-5)"."""
    return _lines.subject_of(_lines.lines_of(events, {}), events)


def sample(channel: str, now: datetime) -> Message:
    """Return the message of `alerts test`."""
    title, text = "Test of catalog-sync", f"A test: catalog-sync can reach the channel {channel}."
    return Message(
        f"msg_test_{uuid.uuid4().hex}",
        title,
        _lines.chat_text(text),
        title,
        _lines.chat_markdown(text),
        "info",
        {"type": "catalog.test", "timestamp": format_time(now), "data": {"message": text}},
    )


def _body(events: Sequence[Event], source: str, run_id: int | None) -> JsonObject:
    return {
        "type": "catalog.changed",
        "timestamp": format_time(max(event.occurred_at for event in events)),
        "data": {
            "source": source,
            "run_id": run_id,
            "events": [
                {
                    "kind": event.kind.value,
                    "model_id": event.model_id,
                    "display_name": _lines.display_name(event),
                    "changes": event.changes,
                    "occurred_at": format_time(event.occurred_at),
                }
                for event in events
            ],
        },
    }
