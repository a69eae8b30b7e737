"""The decisions of a pass: what changed, what to say of it, and when to say nothing.

Pure: values in, values out. No input or output, no clock (`now` is an argument), no database.
The rules are those of the README's section "What it promises".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from catalog_sync.clock import format_instant
from catalog_sync.domain.diff import _changes, _schema_changes, diff
from catalog_sync.domain.guard import missing
from catalog_sync.domain.kinds import AbsenceCheck, Kind
from catalog_sync.domain.model import Catalog, Changes, Event, ModelInfo, ModelRecord, SourceState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class ChangeSet:
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
    absences: Mapping[str, AbsenceCheck],
    hold: bool = False,
    accept: bool = False,
    reminders: Sequence[timedelta] = (),
) -> ChangeSet:
    """Compare what is known with a complete walk: the new rows and the events.

    `absences`: the answers to `ids_to_confirm`. `hold`: what is missing stays listed. `accept`: a
    person said that removals are right, so that no answer counts as gone. `now` is later than any
    time in `state`.
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
    return ChangeSet(tuple(added), tuple(changed), tuple(events))


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
    absences: Mapping[str, AbsenceCheck],
    *,
    hold: bool,
    accept: bool,
    state: SourceState,
) -> tuple[ModelRecord, list[Event]]:
    """Return the new row of a model that is not on the list, and its event if it is confirmed."""
    absence = absences.get(record.info.id, AbsenceCheck.UNKNOWN)
    # Walks are counted from the last time that the model was known to be there.
    since = now if absence is AbsenceCheck.ANSWERING else record.missing_since or now
    still_listed = replace(record, missing_since=since)
    if hold:
        return still_listed, []
    gone = replace(record, missing_since=since, removed_at=now)
    changes = {"removed_at": {"old": None, "new": format_instant(now)}}
    if absence is AbsenceCheck.RETIRED and not record.retired:
        payload = {**record.info.payload, "lifecycle": "retired"}
        retired = replace(gone, info=ModelInfo.from_payload(payload))
        lifecycle = _changes(diff(record.info.payload, payload))
        return retired, [_event(Kind.RETIRED, retired, now, {**lifecycle, **changes})]
    third_walk = state.second_last_walk_at is not None and since <= state.second_last_walk_at
    confirmed = absence is AbsenceCheck.GONE or (
        absence is AbsenceCheck.UNKNOWN and (third_walk or accept)
    )
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
