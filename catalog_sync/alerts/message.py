"""The message about recorded events, in every form that channels need."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from catalog_sync.alerts import lines as _lines
from catalog_sync.clock import format_time
from catalog_sync.domain.event_text import OWN_PATHS
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

    The events, oldest first, are those of one run, or of several after an outage; `run_id` is the
    last one. `public_url` adds a link. `successors` are names by the id of the leaving model.
    """
    source = events[0].source
    lines = _lines.lines_of(events, successors or {})
    subject = _lines.subject_of(lines, events)

    def content(mark: Callable[[str], str], name: str, item: str, gap: str) -> str:
        texts = [item + _lines.sentence(line, mark, name) for line in lines[:_MAX_LINES]]
        if len(lines) > _MAX_LINES:
            texts.append(f"{item}+{len(lines) - _MAX_LINES} more")
        link = f"\nCatalog: {public_url}" if public_url else ""
        return "\n".join(texts) + f"{gap}\nSource: {mark(source)}{link}"

    return Message(
        message_id,
        _lines.chat_text(subject),
        content(_lines.chat_text, "{}", item="", gap=""),
        _lines.chat_markdown(subject),
        content(_lines.chat_markdown, "**{}**", item="- ", gap="\n"),
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
