"""Events as text for people: values, changes and dates. Dates are days in UTC."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from catalog_sync.clock import parse_rfc3339, to_utc
from catalog_sync.domain.kinds import Kind, Lifecycle
from catalog_sync.domain.model import ModelInfo
from catalog_sync.text import count, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from catalog_sync.domain.model import Event

WITH_PAYLOAD: Final = frozenset(
    {Kind.ADDED, Kind.REMOVED, Kind.RETURNED, Kind.RETIRING, Kind.RETIRED, Kind.RESCHEDULED}
)
"""The kinds whose text needs the model's object, beside the changes."""
_RETIREMENT_PATHS: Final = ("retires_at", "shutdown_date", "expiration_date", "deprecation")
"""The paths of a retirement date in the APIs' objects."""
_DATE_PATHS: Final = frozenset({*_RETIREMENT_PATHS, "created_at", "deprecated_at", "removed_at"})
_OWN_PATHS: Final = frozenset({"removed_at", "days_left"})
"""Changes that this program computed; texts state them in other words."""


def value_text(value: Any) -> str:
    """Return a JSON value as text: strings without quotes, None as "nothing", others as JSON."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def date_text(value: Any) -> str:
    """Return the day in UTC of a time or a date of an API; any other value as text."""
    day = _day(value)
    return value_text(value) if day is None else day.isoformat()


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


def change_texts(event: Event, skip: Iterable[str] = ()) -> list[str]:
    """Return a text per change, such as "display_name: Opus 5 → Claude Opus 5".

    Args:
        event: Any event. A retirement date reads as a deadline.
        skip: Paths that are left out.
    """
    texts = []
    for path, change in event.changes.items():
        if path in skip:
            continue
        if path in _RETIREMENT_PATHS and event.kind is not Kind.SCHEMA_CHANGED:
            texts.append(_retirement_text(change, event))
        else:
            texts.append(_change_text(path, change, event.kind))
    return texts


def facts(event: Event, skip: Iterable[str] = ()) -> list[str]:
    """Return the facts that an event states in addition to its kind and its model.

    Args:
        event: Any event.
        skip: Paths of changes that are left out.
    """
    if event.kind in {Kind.SYNC_FAILED, Kind.SYNC_HELD}:
        return [value_text(event.changes.get("error", {}).get("new"))]
    if event.kind is Kind.SYNC_RECOVERED:
        return [f"before: {value_text(event.changes.get('error', {}).get('old'))}"]
    skip = {*_OWN_PATHS, *skip}
    info = model_info(event)
    retires_at = info.retires_at if info else None
    texts = []
    if event.kind is Kind.RETURNED and (left := event.changes.get("removed_at", {}).get("old")):
        texts.append(f"gone since {date_text(left)}")
    if event.kind is Kind.RETIRED:
        skip.update(_RETIREMENT_PATHS)
        texts += [f"retirement date {date_text(retires_at)}"] if retires_at else []
    elif event.kind is Kind.RETIRING and retires_at is None:
        texts.append(_days_left_text(event))
    elif (
        retires_at
        and event.kind in {Kind.ADDED, Kind.DEPRECATED, Kind.RETIRING}
        and event.changes.keys().isdisjoint(_RETIREMENT_PATHS)
    ):
        texts.append(_planned_text(retires_at, event))
    return texts + change_texts(event, skip)


def event_text(event: Event) -> str:
    """Return the facts of an event on one line that is never cut."""
    if event.kind in {Kind.ADDED, Kind.REMOVED}:
        text = str((event.payload or {}).get("display_name", ""))
    elif event.kind is Kind.DEPRECATED:
        text = "; ".join(change_texts(event))  # the facts beyond the changes need the object
    else:
        text = "; ".join(facts(event))
    return one_line(text, None)


def _day(value: Any) -> date | None:
    if isinstance(value, datetime):
        return to_utc(value).date()
    if not isinstance(value, str):
        return None
    try:
        return parse_rfc3339(value).date()
    except ValueError:
        pass
    try:
        return datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007  # a date has no zone
    except ValueError:
        return None


def _days_left_text(event: Event) -> str:
    days = event.changes.get("days_left", {}).get("new")
    if not isinstance(days, int):
        return "retires soon"
    return f"retires in {count(days, 'day')}" if days >= 0 else f"{count(-days, 'day')} overdue"


def _retired(event: Event) -> bool:
    """Whether the model is retired after the event."""
    return (event.payload or {}).get("lifecycle") == Lifecycle.RETIRED


def _planned_text(value: Any, event: Event) -> str:
    """Return what an event says about a retirement date; only a planned one is a deadline."""
    if _retired(event):
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


def _change_text(path: str, change: Mapping[str, Any], kind: Kind) -> str:
    sides = [value_text(change[side]) for side in ("old", "new") if side in change]
    if kind is Kind.SCHEMA_CHANGED and sides == ["nothing", "nothing"]:
        return f"{path}: appeared"
    if len(sides) < 2:  # noqa: PLR2004  # a field of all models, whose values differ
        differing = {(): "changed", ("old",): "appeared", ("new",): "vanished"}
        if change and sides != ["nothing"]:
            return f"{path}: {'now' if 'new' in change else 'before'} {sides[0]}"
        return f"{path}: {differing[tuple(change)]}"
    if path in _DATE_PATHS:
        days = [date_text(change[side]) for side in ("old", "new")]
        if change["old"] is None:
            return f"{path}: {days[1]}"
        sides = days if days[0] != days[1] else sides
    return f"{path}: {sides[0]} → {sides[1]}"
