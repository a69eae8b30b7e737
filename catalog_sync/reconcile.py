"""The decisions of a pass: what changed, what to say of it, and when to say nothing.

Pure: values in, values out. No input or output, no clock (`now` is an argument), no database.
The rules are those of the README's section "What it promises".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, TypeVar

from catalog_sync.clock import format_instant
from catalog_sync.records import (
    Absence,
    AlertRule,
    Catalog,
    Changes,
    Event,
    JsonObject,
    Kind,
    ModelInfo,
    ModelRecord,
    Scope,
    SourceRecord,
    SourceState,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

__all__ = [
    "Reconciliation",
    "adopted",
    "alerts",
    "another_answered",
    "diff",
    "failure_event",
    "held_event",
    "hold_reason",
    "missing",
    "reconcile",
    "recovery_event",
    "replay",
    "to_ask",
    "told_of",
    "without",
]

T = TypeVar("T")

_HELD_SHARE = 30
"""Percent of the listed models that may leave at once before somebody should look."""
_HELD_MINIMUM = 3
"""Models that may leave at once from any catalogue, however small."""
_SCHEMA_MINIMUM = 2
"""Known models from which "the whole catalogue" means something."""


class _Absent:
    """A value that is not there, which is not the same as null."""

    def __repr__(self) -> str:
        return "absent"


_ABSENT: Final = _Absent()


# --- comparing objects -------------------------------------------------------------------------


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the topmost paths at which two JSON objects differ → the old and the new value.

    Paths are keys joined by dots. A side that has no such key holds a marker that is not null.
    """
    return dict(_differences(old, new, ""))


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for key in {**old, **new}:
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif not _same(before, after):
            yield f"{prefix}{key}", (before, after)


def _same(before: Any, after: Any) -> bool:
    """Whether two JSON values are the same; unlike in Python, true is not 1."""
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_same, before, after))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() == after.keys() and all(_same(before[k], after[k]) for k in before)
    return isinstance(before, bool) is isinstance(after, bool) and bool(before == after)


def _changes(differences: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    return {
        path: {"old": _null(before), "new": _null(after)}
        for path, (before, after) in differences.items()
    }


def _null(value: Any) -> Any:
    return None if value is _ABSENT else value


def _schema_changes(
    differences: Sequence[Mapping[str, tuple[Any, Any]]],
) -> dict[str, dict[str, Any]]:
    """Return the paths that appeared on, or vanished from, every known model at once.

    A side is told where it is the same for all; where the models differ, it is left out.
    """
    if len(differences) < _SCHEMA_MINIMUM:
        return {}
    changes: dict[str, dict[str, Any]] = {}
    for path in differences[0]:
        pairs = [each[path] for each in differences if path in each]
        if len(pairs) < len(differences):
            continue
        olds, news = zip(*pairs, strict=True)
        if all(old is _ABSENT for old in olds) or all(new is _ABSENT for new in news):
            changes[path] = {
                side: _null(values[0])
                for side, values in (("old", olds), ("new", news))
                if all(_same(values[0], value) for value in values)
            }
    return changes


# --- what left the list ------------------------------------------------------------------------


def without(models: Mapping[str, T], exclude: Sequence[str]) -> dict[str, T]:
    """Return what is kept of a mapping by id: ids that match a glob are left out; case matters."""
    return {
        id_: value
        for id_, value in models.items()
        if not any(fnmatchcase(id_, pattern) for pattern in exclude)
    }


def missing(state: SourceState, catalog: Catalog) -> list[ModelRecord]:
    """Return the listed models that a complete walk did not see, by id."""
    return [
        record
        for id_, record in sorted(state.models.items())
        if record.listed and id_ not in catalog.models
    ]


def to_ask(absent: Iterable[ModelRecord]) -> list[str]:
    """Return the ids whose absence is a question; a model already retired left as expected."""
    return [record.info.id for record in absent if not record.retired]


def hold_reason(state: SourceState, catalog: Catalog, now: datetime, *, empty: bool) -> str | None:
    """Say why removals must wait for a person, or null.

    `empty`: the list itself held nothing. Models that are retired, or past their retirement date,
    may leave in any number. While a source is held, what is missing already keeps counting.
    """
    absent = missing(state, catalog)
    if empty and absent:
        listed = sum(record.listed for record in state.models.values())
        return f"the list is empty where {listed} models were listed"
    gone = [record for record in absent if record.missing_since is None or state.held]
    for left_at in sorted({record.missing_since or now for record in gone}):
        # Of those that were there at the time: newcomers make their leaving no smaller a thing.
        there = sum(r.listed and r.first_seen_at < left_at for r in state.models.values())
        left = sum(
            record.first_seen_at < left_at <= (record.missing_since or now)
            and not _expected_to_leave(record, now)
            for record in gone
        )
        if left > _HELD_MINIMUM and left * 100 > there * _HELD_SHARE:
            return f"{left} of {there} models left the list at once"
    return None


def _expected_to_leave(record: ModelRecord, now: datetime) -> bool:
    retires_at = record.info.retires_at
    return record.retired or (retires_at is not None and retires_at <= now)


def another_answered(
    state: SourceState, catalog: Catalog, base_url: str
) -> tuple[str | None, bool]:
    """Say who answered in the place of the one before, and whether the pass must be held for it.

    Another organisation that shows the same list says nothing new and is no reason to hold. A
    server that does not say who it is, is not another.
    """
    source = state.source
    if source.baseline_at is None:
        return None, False
    if source.base_url != base_url:
        return f"{base_url} answered where {source.base_url} did before", True
    before, after = source.scope, catalog.scope
    if _another(before.organization_id, after.organization_id):
        listed = {id_ for id_, record in state.models.items() if record.listed}
        same_list = listed == set(catalog.models)
        return (
            f"organisation {after.organization_id} answered where {before.organization_id} did",
            not same_list,
        )
    if _another(before.workspace_id, after.workspace_id):
        return f"workspace {after.workspace_id} answered where {before.workspace_id} did", True
    return None, False


def _another(before: str | None, after: str | None) -> bool:
    return before is not None and after is not None and before != after


# --- reconciling -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What a pass does to the tables: nothing else is written, and nothing less."""

    added: tuple[ModelRecord, ...] = ()
    changed: tuple[ModelRecord, ...] = ()
    """New states of rows that are known; the others only get a new `last_seen_at`."""
    events: tuple[Event, ...] = ()


def reconcile(
    state: SourceState,
    catalog: Catalog,
    now: datetime,
    *,
    absences: Mapping[str, Absence],
    hold: bool = False,
    accept: bool = False,
    reminders: Sequence[timedelta] = (),
) -> Reconciliation:
    """Compare what is known with a complete walk: the new rows and the events.

    `absences`: the answers to `to_ask`. `hold`: what is missing stays listed. `accept`: a person
    said that removals are right, so that no answer counts as gone. `now` is later than any time
    in `state`.
    """
    known = state.models
    differences = {
        id_: diff(known[id_].info.payload, info.payload)
        for id_, info in catalog.models.items()
        if id_ in known
    }
    compared = [id_ for id_ in differences if known[id_].listed]
    schema = _schema_changes([differences[id_] for id_ in compared])

    added: list[ModelRecord] = []
    changed: list[ModelRecord] = []
    events: list[Event] = []
    if schema:
        objects = {id_: catalog.models[id_].payload for id_ in compared}
        events.append(Event(Kind.SCHEMA_CHANGED, now, changes=schema, payload=objects))

    for id_, info in catalog.models.items():
        record = known.get(id_)
        if record is None:
            record = ModelRecord(state.source.name, info, first_seen_at=now, last_seen_at=now)
            added.append(record)
            events.append(_event(Kind.ADDED, record, now))
            events += _reminder(record, now, None, reminders, state)
            continue
        seen = replace(record, info=info, last_seen_at=now, missing_since=None, removed_at=None)
        if differences[id_] or not record.listed or record.missing_since is not None:
            changed.append(seen)
        events += _told(record, seen, differences[id_], schema, now)
        events += _reminder(seen, now, record, reminders, state)

    for record in missing(state, catalog):
        left, told = _left(record, now, absences, hold=hold, accept=accept, state=state)
        if left != record:
            changed.append(left)
        events += told
        if left.listed:
            events += _reminder(left, now, record, reminders, state)
    return Reconciliation(tuple(added), tuple(changed), tuple(events))


def _event(kind: Kind, record: ModelRecord, now: datetime, changes: Changes | None = None) -> Event:
    return Event(kind, now, record.info.id, changes or {}, record.info.payload)


def _told(
    before: ModelRecord,
    after: ModelRecord,
    differences: Mapping[str, tuple[Any, Any]],
    schema: Mapping[str, Any],
    now: datetime,
) -> Iterator[Event]:
    """Yield the one event of a model that is on the list, if it has anything to say."""
    if before.removed_at is not None:
        removed = {"removed_at": {"old": format_instant(before.removed_at), "new": None}}
        yield _event(Kind.RETURNED, after, now, {**_changes(differences), **removed})
        return
    for kind in (Kind.RETIRED, Kind.DEPRECATED):
        if after.info.lifecycle == kind.value != before.info.lifecycle:
            yield _event(kind, after, now, _changes(differences))
            return
    own = {path: pair for path, pair in differences.items() if path not in schema}
    if own:
        yield _event(Kind.UPDATED, after, now, _changes(own))


def _left(
    record: ModelRecord,
    now: datetime,
    absences: Mapping[str, Absence],
    *,
    hold: bool,
    accept: bool,
    state: SourceState,
) -> tuple[ModelRecord, list[Event]]:
    """Return the new row of a model that is not on the list, and its event if it is confirmed."""
    absence = absences.get(record.info.id, Absence.UNKNOWN)
    # Walks are counted from the last time that the model was known to be there.
    since = now if absence is Absence.ANSWERING else record.missing_since or now
    still_listed = replace(record, missing_since=since)
    if hold:
        return still_listed, []
    gone = replace(record, missing_since=since, removed_at=now)
    changes = {"removed_at": {"old": None, "new": format_instant(now)}}
    if absence is Absence.RETIRED and not record.retired:
        payload = {**record.info.payload, "lifecycle": "retired"}
        retired = replace(gone, info=ModelInfo.from_payload(payload))
        lifecycle = _changes(diff(record.info.payload, payload))
        return retired, [_event(Kind.RETIRED, retired, now, {**lifecycle, **changes})]
    third_walk = state.third_walk_at is not None and since <= state.third_walk_at
    confirmed = absence is Absence.GONE or (absence is Absence.UNKNOWN and (third_walk or accept))
    if record.retired or confirmed:
        return gone, [_event(Kind.REMOVED, gone, now, changes)]
    return still_listed, []


def _reminder(
    record: ModelRecord,
    now: datetime,
    before: ModelRecord | None,
    reminders: Sequence[timedelta],
    state: SourceState,
) -> Iterator[Event]:
    """Yield the reminder of a retirement date, when a threshold was crossed since the last pass.

    A date that is new crosses at once all thresholds that it is closer than; at a source's
    baseline they count as done, and after a removal those that were crossed before it.
    """
    retires_at = record.info.retires_at
    if retires_at is None or record.retired or state.source.baseline_at is None:
        return
    since = None
    if before is not None and before.info.retires_at == retires_at:
        since = before.removed_at or state.source.last_synced_at
    crossed = [
        length
        for length in reminders
        if retires_at - length <= now and (since is None or retires_at - length > since)
    ]
    if crossed:
        old = (retires_at.date() - since.date()).days if since else None
        new = (retires_at.date() - now.date()).days
        yield _event(Kind.RETIRING, record, now, {"days_left": {"old": old, "new": new}})


# --- the job itself ----------------------------------------------------------------------------


def failure_event(
    now: datetime, error: str, error_class: str, *, streak: int, threshold: int, told: Iterable[str]
) -> Event | None:
    """Return the event of a pass that failed, when it is time to say so.

    `streak`: failures in a row, this one included. `told`: the classes of error that were told
    since the last success; what is told stays told, so that alternating errors make no storm.
    """
    if streak < threshold or error_class in set(told):
        return None
    changes = {"error": {"old": None, "new": error}}
    return Event(Kind.SYNC_FAILED, now, changes=changes, payload={"error_class": error_class})


def recovery_event(state: SourceState, now: datetime) -> Event | None:
    """Return the event of a pass that succeeded after a failure that was told."""
    if not state.failure_announced:
        return None
    changes = {"error": {"old": state.last_error, "new": None}}
    return Event(Kind.SYNC_RECOVERED, now, changes=changes)


def held_event(state: SourceState, now: datetime, reason: str) -> Event | None:
    """Return the event of the first pass that was held since the last success."""
    if state.held:
        return None
    return Event(Kind.SYNC_HELD, now, changes={"error": {"old": None, "new": reason}})


def adopted(record: SourceRecord, scope: Scope, base_url: str, now: datetime) -> SourceRecord:
    """Return a source's row after a pass that was applied.

    What a server leaves open of who it is stays as it was, unless somebody else is known to answer.
    """
    before = record.scope
    other = record.base_url != base_url or _another(before.organization_id, scope.organization_id)
    return replace(
        record,
        base_url=base_url,
        scope=scope if other else scope.known_by(before),
        baseline_at=record.baseline_at or now,
        last_synced_at=now,
    )


def alerts(
    events: Iterable[Event], rules: Iterable[AlertRule], source: str, *, baseline: bool
) -> list[tuple[Event, str]]:
    """Return which event is owed to which channel. A baseline's models are no news."""
    rules = list(rules)
    return [
        (event, rule.channel)
        for event in events
        if not (baseline and event.model_id is not None)
        for rule in rules
        if event.kind in rule.kinds
        and (not rule.sources or source in rule.sources)
        and (
            event.model_id is None
            or not rule.models
            or any(fnmatchcase(event.model_id, glob) for glob in rule.models)
        )
    ]


# --- the past ----------------------------------------------------------------------------------


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


def told_of(model_id: str, history: Iterable[Event]) -> list[Event]:
    """Return a model's history, newest first, with what changed on all models told as its own.

    `history`: newest first, its own events and those of the whole catalogue that hold its object.
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
