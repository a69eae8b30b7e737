"""The decisions of a run about models: the rows to write, and the events to record.

The rules are those of docs/reference/events.md and docs/explanation/removals.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from catalog_sync.clock import format_time
from catalog_sync.domain.diff import IgnoredPaths, changes, diff, drop_ignored, equal, path_text
from catalog_sync.domain.guard import missing
from catalog_sync.domain.kinds import AbsenceCheck, Kind, Lifecycle
from catalog_sync.domain.model import (
    SHAPE_KEYS,
    Catalog,
    Changes,
    Event,
    ModelInfo,
    ModelRecord,
    SourceState,
)
from catalog_sync.domain.reminders import COVERING, Reminders
from catalog_sync.domain.schema_changes import Comparison, SchemaPaths, covers, schema_paths

_NO_REMINDERS = Reminders()
_STAGES = tuple(Lifecycle)
_NO_CHANGES: Changes = {}


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """The models and events that a run writes, except the `last_seen_at` of models that it saw."""

    added: tuple[ModelRecord, ...] = ()
    changed: tuple[ModelRecord, ...] = ()
    """New states of known rows."""
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Absences:
    """What a run knows about the missing models."""

    checks: Mapping[str, AbsenceCheck] = field(default_factory=dict)
    """The answers to `ids_to_confirm`; a model without one is UNKNOWN."""
    hold: bool = False
    """Whether removals wait for a person."""
    accept: bool = False
    """Whether a person accepted the removals. Then a removal needs no confirming answer."""


def reconcile(
    state: SourceState,
    catalog: Catalog,
    now: datetime,
    absences: Absences,
    reminders: Reminders = _NO_REMINDERS,
    ignored: IgnoredPaths | None = None,
) -> ChangeSet:
    """Compare the recorded state with a complete walk.

    Neither contains excluded ids. `now`, the time of everything that the run writes, is later than
    any time in `state`. `ignored` paths are not compared.
    """
    known = state.models
    baseline = state.source.baseline_at is None
    compared = _compare(state, catalog, ignored)
    listed = {id_: each for id_, each in compared.items() if known[id_].listed}
    schema = schema_paths(list(listed.values()), _unchanged(state, catalog, compared))

    added: list[ModelRecord] = []
    changed: list[ModelRecord] = []
    events = [_schema_event(schema, listed, state, catalog, now)] if schema else []

    def append(kind: Kind, record: ModelRecord, values: Changes, *, baseline: bool) -> None:
        info, source, run_id = record.info, record.source, state.run_id
        events.append(
            Event(kind, now, info.id, values, info.payload, source, run_id, None, baseline)
        )

    def record_event(kind: Kind | None, record: ModelRecord, values: Changes) -> None:
        if kind is not None:
            append(kind, record, values, baseline=baseline)
        reminder = None if kind in COVERING else reminders.changes(record)
        if reminder and record.listed:
            append(Kind.RETIRING, record, reminder, baseline=False)

    for id_, info in catalog.models.items():
        record = known.get(id_)
        if record is None:
            record = ModelRecord(state.source.name, info, first_seen_at=now, last_seen_at=now)
            added.append(record)
            record_event(Kind.ADDED, record, _NO_CHANGES)
            continue
        seen = record
        if id_ in compared or not record.listed or record.missing_since is not None:
            seen = replace(record, info=info, last_seen_at=now, missing_since=None, removed_at=None)
            changed.append(seen)
        kind, values = _listed_model_event(record, info, compared.get(id_), schema)
        record_event(kind, seen, values)

    for record in missing(state, catalog):
        left, kind, values = _missing_model_update(record, now, absences, state)
        if left != record:
            changed.append(left)
        record_event(kind, left, values)
    return ChangeSet(tuple(added), tuple(changed), tuple(events))


def _schema_event(
    schema: SchemaPaths,
    listed: Mapping[str, Comparison],
    state: SourceState,
    catalog: Catalog,
    now: datetime,
) -> Event:
    """Return the catalog-wide event, with the objects of the models that it concerns."""
    objects = {
        id_: catalog.models[id_].payload
        for id_, each in listed.items()
        if any(covers(schema, path) for path in each.differences)
    }
    texts = {path_text(path): sides for path, sides in schema.items()}
    source, run_id = state.source.name, state.run_id
    return Event(Kind.SCHEMA_CHANGED, now, None, texts, objects, source, run_id)


def _compare(
    state: SourceState, catalog: Catalog, ignored: IgnoredPaths | None
) -> dict[str, Comparison]:
    """Return the known models whose objects changed, with their differences.

    Most objects are equal. They are left out first, because a comparison is faster than a diff.
    """
    compared = {}
    for id_, info in catalog.models.items():
        record = state.models.get(id_)
        if record is None or record.info is info or equal(record.info.payload, info.payload):
            continue
        old, new = record.info.payload, info.payload
        if ignored is not None:
            old, new = drop_ignored(old, new, ignored)
        compared[id_] = Comparison(old, new, diff(old, new))
    return compared


def _unchanged(
    state: SourceState, catalog: Catalog, compared: Mapping[str, Comparison]
) -> list[Mapping[str, object]]:
    return [
        record.info.payload
        for id_, record in state.models.items()
        if record.listed and id_ in catalog.models and id_ not in compared
    ]


def _listed_model_event(
    record: ModelRecord,
    info: ModelInfo,
    comparison: Comparison | None,
    schema: SchemaPaths,
) -> tuple[Kind | None, Changes]:
    """Return the only event of a listed model: returned, the kind of `_move`, or updated."""
    differences = comparison.differences if comparison else {}
    if record.removed_at is not None:
        removed = {"removed_at": {"old": format_time(record.removed_at), "new": None}}
        return Kind.RETURNED, {**changes(differences), **removed}
    if comparison is None or not differences:
        return None, {}
    kind = _move(_info(comparison.old, record.info), _info(comparison.new, info))
    if kind is not None:
        return kind, changes(differences)
    own = {path: values for path, values in differences.items() if not covers(schema, path)}
    return (Kind.UPDATED if own else None), changes(own)


def _info(compared: Mapping[str, object], info: ModelInfo) -> ModelInfo:
    """Decode a model from its compared paths only: a change of an ignored date is not a move.

    The fields that show the object's shape stay: otherwise another API's rules would apply.
    """
    if compared is info.payload:
        return info
    shape = {key: info.payload[key] for key in SHAPE_KEYS if key in info.payload}
    return ModelInfo.from_payload({**shape, **compared, "id": info.id})


def _move(before: ModelInfo, after: ModelInfo) -> Kind | None:
    """Return the kind of a change of the lifecycle or of the retirement date, or None.

    A lifecycle that moves back (retired to deprecated, either to active) is `rescheduled`.
    """
    old, new = before.lifecycle, after.lifecycle
    back = old in _STAGES and new in _STAGES and _STAGES.index(new) < _STAGES.index(old)
    if new != old and not back and new in {Kind.RETIRED, Kind.DEPRECATED}:
        return Kind(new)
    return Kind.RESCHEDULED if back or before.retires_at != after.retires_at else None


def _missing_model_update(
    record: ModelRecord, now: datetime, absences: Absences, state: SourceState
) -> tuple[ModelRecord, Kind | None, Changes]:
    """Return the row of a model that is not listed, and its event if its removal is confirmed."""
    check = absences.checks.get(record.info.id, AbsenceCheck.UNKNOWN)
    # Walks are counted from the last confirmed presence of the model.
    since = now if check is AbsenceCheck.ANSWERING else record.missing_since or now
    still_listed = replace(record, missing_since=since)
    if absences.hold:
        return still_listed, None, {}
    gone = replace(record, missing_since=since, removed_at=now)
    removed = {"removed_at": {"old": None, "new": format_time(now)}}
    if check is AbsenceCheck.RETIRED and not record.retired:
        payload = {**record.info.payload, "lifecycle": Lifecycle.RETIRED.value}
        moved = changes(diff(record.info.payload, payload))
        return (
            replace(gone, info=ModelInfo.from_payload(payload)),
            Kind.RETIRED,
            {**moved, **removed},
        )
    third_walk = state.second_last_walk_at is not None and since <= state.second_last_walk_at
    confirmed = check is AbsenceCheck.GONE or (
        check is AbsenceCheck.UNKNOWN and (third_walk or absences.accept)
    )
    if record.retired or confirmed:
        return gone, Kind.REMOVED, removed
    return still_listed, None, {}
