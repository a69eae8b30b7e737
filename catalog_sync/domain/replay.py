"""Rebuild the catalog of any time from its events, and the history of one model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from catalog_sync.clock import format_time
from catalog_sync.domain.diff import at, path_of, same, value_or_none
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, JsonObject, ModelInfo, ModelRecord


def replay(events: Iterable[Event]) -> dict[tuple[str, str], ModelRecord]:
    """Rebuild the rows, by source and id, from the events up to some time, oldest first.

    Of a model's own events, three are enough: the first, the last one on the list and the last.
    The result lacks what no event states: `last_seen_at` is the time of the last event on the list,
    `missing_since` is None, and changes without an event (an ignored path, another spelling of a
    time) are missing from the object.
    """
    payloads: dict[tuple[str, str], JsonObject] = {}
    seen: dict[tuple[str, str], tuple[datetime, datetime]] = {}
    removed: dict[tuple[str, str], datetime] = {}
    for event in events:
        objects = _objects_after(event)
        payloads |= objects
        for key in objects:
            first, last = seen.get(key, (event.occurred_at, event.occurred_at))
            if _left_list(event):
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


def _objects_after(event: Event) -> dict[tuple[str, str], JsonObject]:
    """Return the objects that an event states, by source and id."""
    payload = event.payload or {}
    if event.kind is Kind.SCHEMA_CHANGED:
        return {(event.source, id_): value for id_, value in payload.items()}
    if event.model_id is None or event.payload is None or event.kind is Kind.RETIRING:
        return {}
    return {(event.source, event.model_id): payload}


def model_history(model_id: str, history: Iterable[Event]) -> list[Event]:
    """Return a model's history, newest first.

    `history` are its own events and the `schema_changed` events that contain its object. Their
    changes are converted to the model's own old and new values. An object that appeared or vanished
    is shown without its content.
    """
    converted: list[Event] = []
    before: JsonObject = {}
    for event in sorted(history, key=lambda event: (event.occurred_at, event.id or 0)):
        payload = event.payload or {}
        if event.kind is Kind.SCHEMA_CHANGED:
            payload = payload[model_id]
            changes = _own_changes(event, before, payload)
            converted.append(replace(event, changes=changes, payload=payload))
        else:
            converted.append(event)
        before = payload
    return converted[::-1]


def _own_changes(event: Event, before: JsonObject, after: JsonObject) -> dict[str, dict[str, Any]]:
    changes = {}
    for path, change in event.changes.items():
        old, new = at(before, path_of(path)), at(after, path_of(path))
        sides = {"old": value_or_none(old), "new": value_or_none(new)}
        if same(old, new):  # not changed here, or a path of a version that did not escape dots
            sides = dict(change)
        changes[path] = {
            side: value
            for side, value in sides.items()
            if not (isinstance(value, Mapping) and len(value) > 1)
        }
    return changes


def _left_list(event: Event) -> bool:
    """Whether a model left the list with an event. An API may have a field `removed_at` too."""
    removed_at = event.changes.get("removed_at", {}).get("new")
    leaves = event.kind in {Kind.REMOVED, Kind.RETIRED}
    return leaves and removed_at == format_time(event.occurred_at)
