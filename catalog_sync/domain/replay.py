"""Rebuild the catalog of any time from its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from catalog_sync.clock import format_instant
from catalog_sync.domain.diff import _changes, diff
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, JsonObject, ModelInfo, ModelRecord

if TYPE_CHECKING:
    from datetime import datetime


def replay(events: Iterable[Event]) -> dict[tuple[str, str], ModelRecord]:
    """Rebuild the rows, by source and id, from the events up to some moment, oldest first.

    Of a model's own events the first and the last are enough, and reminders say nothing new. What
    no event tells is not there: `last_seen_at` is the last of these events that shows the model on
    the list, `missing_since` is null.
    """
    payloads: dict[tuple[str, str], JsonObject] = {}
    seen: dict[tuple[str, str], tuple[datetime, datetime]] = {}
    removed: dict[tuple[str, str], datetime] = {}
    for event in events:
        if event.kind is Kind.SCHEMA_CHANGED:
            told = {(event.source, id_): value for id_, value in (event.payload or {}).items()}
        elif event.model_id is None or event.payload is None or event.kind is Kind.RETIRING:
            continue
        else:
            told = {(event.source, event.model_id): event.payload}
        payloads |= told
        for key in told:
            first, last = seen.get(key, (event.occurred_at, event.occurred_at))
            if _left_by(event):
                removed[key] = event.occurred_at
            else:
                removed.pop(key, None)
                last = event.occurred_at
            seen[key] = first, last
    return {
        key: ModelRecord(
            key[0], ModelInfo.from_payload(payload), *seen[key], removed_at=removed.get(key)
        )
        for key, payload in payloads.items()
    }


def model_history(model_id: str, history: Iterable[Event]) -> list[Event]:
    """Return a model's history, newest first, with what changed on all models told as its own.

    `history`: newest first, its own events and those of the whole catalog that hold its object.
    An object that appeared or vanished is told as that, without what is in it.
    """
    told: list[Event] = []
    before: JsonObject = {}
    for event in sorted(history, key=lambda event: event.id or 0):
        payload = event.payload or {}
        if event.kind is Kind.SCHEMA_CHANGED:
            payload = payload[model_id]
            own = {**event.changes, **_changes(diff(before, payload))}
            changes = {path: _without_objects(own[path]) for path in event.changes}
            told.append(replace(event, changes=changes, payload=payload))
        else:
            told.append(event)
        before = payload
    return told[::-1]


def _without_objects(change: Mapping[str, Any]) -> dict[str, Any]:
    return {
        side: value
        for side, value in change.items()
        if not (isinstance(value, Mapping) and len(value) > 1)
    }


def _left_by(event: Event) -> bool:
    """Whether a model left the list with an event; an object may have a `removed_at` of its own."""
    removed_at = event.changes.get("removed_at", {}).get("new")
    leaves = event.kind in {Kind.REMOVED, Kind.RETIRED}
    return leaves and removed_at == format_instant(event.occurred_at)
