"""Statements about models and events."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import and_, bindparam, case, func, insert, or_, select, update

from catalog_sync.db.schema import model_event_payloads, model_events, models
from catalog_sync.db.statements import chunks, inserted_id
from catalog_sync.domain.kinds import Kind, Lifecycle
from catalog_sync.domain.model import Event, ModelInfo, ModelRecord
from catalog_sync.json_values import StoredObjects

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

_BATCH = 1000
"""Rows that are read at once, so that a long history is never in memory as a whole."""
_WRITE_BATCH = 200
"""Rows written by one statement. With objects of the usual size, it stays far below the packet
size that a server accepts by default."""
_SEEN = ("first_seen_at", "last_seen_at", "missing_since", "removed_at")
_info, _seen = attrgetter(*ModelInfo.__slots__), attrgetter(*_SEEN)
_NAMES = ("source", *_SEEN, *ModelInfo.__slots__)
"""The columns in the order of `ModelRecord` and `ModelInfo`. The last one is the payload."""
_MODEL = tuple(models.c[name] for name in _NAMES)
_EVENT = tuple(column.name for column in model_events.columns)
_NEW_EVENT = tuple(name for name in _EVENT if name != "id")
_new_event = attrgetter(*_NEW_EVENT)


# --- models ------------------------------------------------------------------------------------


def select_models(
    connection: sa.Connection, *, source: str | None = None, model_id: str | None = None
) -> Iterator[ModelRecord]:
    """Yield the recorded models: all, or those of one source or one id."""
    statement = select(*(_text_of(connection, column) for column in _MODEL))
    if source is not None:
        statement = statement.where(models.c.source == source)
    if model_id is not None:
        statement = statement.where(models.c.id == model_id)
    read = StoredObjects().read
    for rows in connection.execute(statement).partitions(_BATCH):
        for name, first, last, missing, removed, *info in rows:
            info[-1] = read(info[-1])
            yield ModelRecord(name, ModelInfo(*info), first, last, missing, removed)


def _text_of(connection: sa.Connection, column: Any) -> Any:
    """Select JSON columns as text, which `StoredObjects` decodes faster."""
    if column.name != "payload":
        return column
    # Other databases return JSON as text anyway.
    as_text = sa.cast if connection.dialect.name == "postgresql" else sa.type_coerce
    return as_text(column, sa.Text)


def model_names(connection: sa.Connection) -> dict[str, str]:
    """Return the display name of every recorded model, by id."""
    rows = connection.execute(select(models.c.id, models.c.display_name))
    return {row.id: row.display_name for row in rows}


def count_models(connection: sa.Connection, now: datetime) -> Iterable[Any]:
    """Return counts of models as (source, lifecycle, whether removed, missing, number, retirement).

    The retirement is the next one after `now` of a model neither removed nor retired, or None.
    """
    removed, missing = models.c.removed_at.is_not(None), models.c.missing_since.is_not(None)
    unretired = or_(models.c.lifecycle.is_(None), models.c.lifecycle != Lifecycle.RETIRED.value)
    ahead = and_(models.c.retires_at > now, ~removed, unretired)
    keys = (models.c.source, models.c.lifecycle, removed, missing)
    next_one = func.min(case((ahead, models.c.retires_at)))
    return connection.execute(select(*keys, func.count(), next_one).group_by(*keys))


def write_models(
    connection: sa.Connection,
    source: str,
    now: datetime,
    *,
    added: Sequence[ModelRecord],
    changed: Sequence[ModelRecord],
    excluded_ids: Sequence[str],
) -> None:
    """Write new and changed rows, and set `last_seen_at` of the other listed models to `now`.

    The transaction must hold the source's lease. Rows of excluded models are not changed.
    """
    for batch in chunks(added, _WRITE_BATCH):
        connection.execute(insert(models), [_values(record) for record in batch])
    if changed:
        key = and_(models.c.source == bindparam("key_source"), models.c.id == bindparam("key_id"))
        statement = update(models).where(key)
        for batch in chunks(changed, _WRITE_BATCH):
            rows = [_values(record) for record in batch]
            for row in rows:
                row |= {"key_source": row.pop("source"), "key_id": row.pop("id")}
            connection.execute(statement, rows)
    seen = and_(
        models.c.source == source,
        models.c.removed_at.is_(None),
        models.c.missing_since.is_(None),
        models.c.last_seen_at < now,
    )
    listed = update(models).values(last_seen_at=now)
    if not excluded_ids:
        connection.execute(listed.where(seen))
        return
    excluded = set(excluded_ids)
    ids = [
        id_ for id_ in connection.scalars(select(models.c.id).where(seen)) if id_ not in excluded
    ]
    for batch in chunks(ids):
        connection.execute(listed.where(models.c.source == source, models.c.id.in_(batch)))


def _values(record: ModelRecord) -> dict[str, Any]:
    values = (record.source, *_seen(record), *_info(record.info))
    return dict(zip(_NAMES, values, strict=True))


# --- events ------------------------------------------------------------------------------------


def insert_events(connection: sa.Connection, events: Sequence[Event]) -> None:
    """Insert a run's events, after its models.

    The objects of a catalog-wide event get rows of their own table, so that no row grows with the
    catalog.
    """
    if first := next(filter(_is_of_first_list, events), None):
        _copy_first_list(connection, first)
    rest = [event for event in events if not _is_of_first_list(event)]
    plain = [event for event in rest if event.kind is not Kind.SCHEMA_CHANGED]
    for batch in chunks(plain, _WRITE_BATCH):
        connection.execute(insert(model_events), [_event_values(event) for event in batch])
    for event in rest:
        if event.kind is not Kind.SCHEMA_CHANGED:
            continue
        values = {**_event_values(event), "payload": None}
        id_ = inserted_id(connection.execute(insert(model_events).values(values)))
        rows = [
            {"event_id": id_, "model_id": model_id, "payload": payload}
            for model_id, payload in (event.payload or {}).items()
        ]
        for batch in chunks(rows, _WRITE_BATCH):
            connection.execute(insert(model_event_payloads), list(batch))


def _is_of_first_list(event: Event) -> bool:
    return event.baseline and event.kind is Kind.ADDED


def _copy_first_list(connection: sa.Connection, event: Event) -> None:
    """Insert the events of a source's first list, of which `event` is one, in the order of ids.

    The database copies the objects from the rows of the models: half of the work of a first run.
    """
    copied = {"model_id": models.c.id, "payload": models.c.payload}
    values = {
        name: sa.literal(value, model_events.c[name].type)
        for name, value in _event_values(event).items()
    } | copied
    added = select(*values.values()).where(
        models.c.source == event.source, models.c.first_seen_at == event.occurred_at
    )
    statement = insert(model_events).from_select(list(values), added.order_by(models.c.id))
    connection.execute(statement)


def _event_values(event: Event) -> dict[str, Any]:
    values = dict(zip(_NEW_EVENT, _new_event(event), strict=True))
    return {**values, "kind": event.kind.value, "changes": dict(event.changes)}


def event_of(row: Any) -> Event:
    """Return the event of a row. A payload that was not selected is None."""
    values = {name: row[name] for name in _EVENT if name in row}
    return Event(**{**values, "kind": Kind(row["kind"])})


def select_events(
    connection: sa.Connection,
    *,
    sources: Sequence[str] = (),
    kinds: Sequence[Kind] = (),
    model_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    payloads: Collection[Kind] | None = None,
) -> Iterator[Event]:
    """Yield events, oldest first; `since` is included, `until` is not.

    Empty values and None match all. Events are read in batches, so that no statement waits for a
    slow reader. Only events of the kinds `payloads` get their objects, which are most of the work.
    """
    statement = select(model_events).order_by(model_events.c.occurred_at, model_events.c.id)
    if payloads is not None:
        wanted = model_events.c.kind.in_([kind.value for kind in payloads])
        others = [column for column in model_events.c if column.name != "payload"]
        payload = sa.type_coerce(
            case((wanted, model_events.c.payload)), model_events.c.payload.type
        ).label("payload")
        statement = statement.with_only_columns(*others, payload)
    if sources:
        statement = statement.where(model_events.c.source.in_(sources))
    if kinds:
        statement = statement.where(model_events.c.kind.in_([kind.value for kind in kinds]))
    if model_id is not None:
        statement = statement.where(model_events.c.model_id == model_id)
    if since is not None:
        statement = statement.where(model_events.c.occurred_at >= since)
    if until is not None:
        statement = statement.where(model_events.c.occurred_at < until)
    whole = payloads is None or Kind.SCHEMA_CHANGED in payloads
    batch = statement.limit(_BATCH)
    while True:
        events = list(_events(connection, batch, whole=whole))
        yield from events
        if len(events) < _BATCH:
            return
        last = events[-1]
        later = or_(model_events.c.occurred_at > last.occurred_at, model_events.c.id > last.id)
        batch = statement.where(model_events.c.occurred_at >= last.occurred_at, later).limit(_BATCH)


def select_latest_events(
    connection: sa.Connection, *, until: datetime, sources: Sequence[str] = ()
) -> Iterator[Event]:
    """Yield the events up to `until` (inclusive) that `replay` needs, oldest first.

    These are the first event of each model, its last one on the list and its last one, and all
    catalog-wide events.
    """
    id_, kind, at = model_events.c.id, model_events.c.kind, model_events.c.occurred_at
    past = at <= until
    if sources:
        past = and_(past, model_events.c.source.in_(sources))

    def rank(*order: Any) -> Any:
        model = (model_events.c.source, model_events.c.model_id)
        return func.row_number().over(partition_by=model, order_by=order)

    latest = (at.desc(), id_.desc())  # ids have no order in time, but distinguish equal times
    removed = case((kind == Kind.REMOVED.value, 1), else_=0)
    ranked = (
        select(
            id_,
            rank(at, id_).label("first"),
            rank(removed, *latest).label("seen"),
            rank(*latest).label("latest"),
        )
        .where(past, model_events.c.model_id.is_not(None), kind != Kind.RETIRING.value)
        .subquery()
    )
    chosen = select(ranked.c.id).where(
        or_(ranked.c.first == 1, ranked.c.seen == 1, ranked.c.latest == 1)
    )
    shared = and_(past, kind == Kind.SCHEMA_CHANGED.value)
    needed = select(model_events).where(or_(id_.in_(chosen), shared))
    yield from _events(connection, needed.order_by(at, id_))


def _events(connection: sa.Connection, statement: Any, *, whole: bool = True) -> Iterator[Event]:
    """Yield the events of a statement. `whole` adds the objects of catalog-wide events."""
    for row in connection.execute(statement).mappings().all():
        event = event_of(row)
        if whole and event.kind is Kind.SCHEMA_CHANGED:
            event = replace(event, payload=_objects(connection, event.id))
        yield event


def _objects(connection: sa.Connection, event_id: int | None) -> dict[str, Any] | None:
    table = model_event_payloads
    rows = connection.execute(
        select(table.c.model_id, table.c.payload).where(table.c.event_id == event_id)
    )
    return {model_id: payload for model_id, payload in rows} or None  # noqa: C416
