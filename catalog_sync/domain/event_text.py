"""Events as text for people: values, changes and dates in UTC."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime
from typing import Any, Final

from catalog_sync.clock import parse_rfc3339, to_utc
from catalog_sync.domain.kinds import ENDING, Kind, Lifecycle
from catalog_sync.domain.model import RETIREMENT_KEYS, Event, ModelInfo
from catalog_sync.text import count, one_line

WITH_PAYLOAD: Final = frozenset({Kind.ADDED, Kind.RETURNED, *ENDING})
"""The kinds whose text needs the model's object in addition to the changes."""
_DATE_PATHS: Final = frozenset({*RETIREMENT_KEYS, "created_at", "deprecated_at", "removed_at"})
_DATE_LENGTH: Final = len("2026-01-01")
OWN_PATHS: Final = frozenset({"removed_at", "days_left"})
"""Changes that depend on when the program ran. Texts state them in other words."""


def value_text(value: Any) -> str:
    """Return a JSON value as text: strings without quotes, None as "nothing", others as JSON."""
    if value is None:
        return "nothing"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def deadline_text(value: Any, now: datetime) -> str:
    """Return a date and its distance from `now`, such as "2027-02-19 (85 days)"."""
    day = _day(value)
    if day is None:
        return value_text(value)
    days = (day - to_utc(now).date()).days
    distance = f"{count(-days, 'day')} overdue" if days < 0 else count(days, "day")
    return f"{day.isoformat()} ({distance if days else 'today'})"


def model_info(event: Event) -> ModelInfo | None:
    """Return the model after the event, or None if the event has no decodable object."""
    if event.model_id is None or event.payload is None:
        return None
    try:
        return ModelInfo.from_payload(event.payload)
    except ValueError:
        return None


def facts(event: Event, skip: Iterable[str] = ()) -> list[str]:
    """Return an event's details, beside its kind and model, without the changes of `skip` paths."""
    error = event.changes.get("error", {})
    if event.kind in {Kind.SYNC_FAILED, Kind.SYNC_HELD}:
        return [value_text(error.get("new"))]
    if event.kind is Kind.SYNC_RECOVERED:
        return [f"before: {value_text(error.get('old'))}"]
    skip = {*OWN_PATHS, *skip}
    info = model_info(event)
    retires_at = info.retires_at if info else None
    texts = []
    if info and event.kind is Kind.ADDED and info.released_at:
        texts.append(f"released {info.created_at:%Y-%m-%d}")
    if event.kind is Kind.RETURNED and (left := event.changes.get("removed_at", {}).get("old")):
        texts.append(f"gone since {date_text(left)}")
    if event.kind is Kind.RETIRED:
        skip.update(RETIREMENT_KEYS)
        texts += [f"retirement date {date_text(retires_at)}"] if retires_at else []
    elif (
        retires_at
        and event.kind in {Kind.ADDED, Kind.DEPRECATED, Kind.RETIRING}
        and event.changes.keys().isdisjoint(RETIREMENT_KEYS)
    ):
        texts.append(_planned_text(retires_at, event))
    return texts + [
        _change_text(path, change, event)
        for path, change in event.changes.items()
        if path not in skip
    ]


def event_text(event: Event) -> str:
    """Return the details of an event on one line that is never cut."""
    if event.kind in {Kind.ADDED, Kind.REMOVED}:
        return one_line(str((event.payload or {}).get("display_name", "")), None)
    return one_line("; ".join(facts(event)), None)


def _day(value: Any) -> date | None:
    if isinstance(value, datetime):
        return to_utc(value).date()
    if isinstance(value, str):
        with suppress(ValueError):
            return parse_rfc3339(
                f"{value}T00:00:00Z" if len(value) == _DATE_LENGTH else value
            ).date()
    return None


def date_text(value: Any) -> str:
    """Return the date (UTC) of an API's time or date; any other value as text."""
    day = _day(value)
    return value_text(value) if day is None else day.isoformat()


def _planned_text(value: Any, event: Event) -> str:
    """Return a retirement date as text; only a planned one is a deadline."""
    if (event.payload or {}).get("lifecycle") == Lifecycle.RETIRED:
        return f"retirement date {date_text(value)}"
    return f"retires {deadline_text(value, event.occurred_at)}"


def _retirement_text(change: Mapping[str, Any], event: Event) -> str:
    old, new = change.get("old"), change.get("new")
    text = "no retirement date" if new is None else _planned_text(new, event)
    if old is None:
        return text
    if _day(old) == _day(new):  # only the time of day differs
        return f"{text}, {value_text(old)} → {value_text(new)}"
    return f"{text}, before: {date_text(old)}"


def _change_text(path: str, change: Mapping[str, Any], event: Event) -> str:
    """Return a change as text, such as "display_name: Opus 5 → Claude Opus 5"."""
    old, new = change.get("old"), change.get("new")
    if "old" not in change or "new" not in change or old is new is None:
        return f"{path}: {_partial_text(change)}"
    if path in RETIREMENT_KEYS and event.kind is not Kind.SCHEMA_CHANGED:
        return _retirement_text(change, event)
    if path in _DATE_PATHS and old is None:
        return f"{path}: {date_text(new)}"
    if path in _DATE_PATHS and _day(old) != _day(new):
        return f"{path}: {date_text(old)} → {date_text(new)}"
    return f"{path}: {value_text(old)} → {value_text(new)}"


def _partial_text(change: Mapping[str, Any]) -> str:
    """Return a catalog-wide change as text. It has no `old` or no `new` where the models differ."""
    if not change:
        return "changed"
    if all(value is None for value in change.values()):
        return "appeared" if "old" in change else "vanished"
    [(side, value)] = change.items()
    return f"{'now' if side == 'new' else 'before'} {value_text(value)}"
