"""What an event says, as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from catalog_sync.domain.kinds import Kind
from catalog_sync.text import _days, one_line

if TYPE_CHECKING:
    from catalog_sync.domain.model import Event

WITH_PAYLOAD = frozenset({Kind.ADDED, Kind.REMOVED, Kind.RETIRING})
"""The kinds of which `event_text` tells something that is not among the changes."""


def value_text(value: Any) -> str:
    """Return a JSON value as people write it: text bare, null as "nothing", objects as JSON."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def change_texts(event: Event) -> list[str]:
    """Return a line per change, such as "display_name: Opus 5 → Claude Opus 5"."""
    texts = []
    for path, change in event.changes.items():
        sides = [value_text(change[side]) for side in ("old", "new") if side in change]
        if event.kind is Kind.SCHEMA_CHANGED and sides == ["nothing", "nothing"]:
            texts.append(f"{path}: appeared")
        elif len(sides) == 2:  # noqa: PLR2004  # old and new
            texts.append(f"{path}: {sides[0]} → {sides[1]}")
        else:  # a field of the whole catalog, on which the models differ
            texts.append(f"{path}: {'appeared' if 'old' in change else 'vanished'}")
    return texts


def event_text(event: Event) -> str:
    """Return what an event says beyond its kind and id, on one line that is never cut."""
    payload = event.payload or {}
    if event.kind in {Kind.ADDED, Kind.REMOVED}:
        text = str(payload.get("display_name", ""))
    elif event.kind is Kind.RETIRING:
        left = _days(event.changes.get("days_left", {}).get("new", 0))
        text = f"retires at {payload.get('retires_at')}, {left}"
    else:
        text = "; ".join(change_texts(event))
    return one_line(text, None)
