"""Statements about models, and the insertion of events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import and_, bindparam, case, func, insert, or_, select, update

from catalog_sync.db.schema import model_event_payloads, model_events, models
from catalog_sync.db.statements import chunks, inserted_id
from catalog_sync.domain.kinds import Kind, Lifecycle
from catalog_sync.domain.model import Event, ModelInfo, ModelRecord
from catalog_sync.json_values import StoredObjects

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
    keys = {"source": source, "id": model_id}
    values = {name: value for name, value in keys.items() if value is not None}
    statement = _select_models(connection.dialect.name, *values)
    read = StoredObjects(keep=source is not None).read
    for rows in connection.execute(statement, values).partitions(_BATCH):
        for name, first, last, missing, removed, *info in rows:
            info[-1] = read(info[-1])
            yield ModelRecord(name, ModelInfo(*info), first, last, missing, removed)


@lru_cache
def _select_models(dialect: str, *keys: str) -> sa.Select[Any]:
    """Select JSON columns as text, which `StoredObjects` decodes faster."""
    # Other databases return JSON as text anyway.
    as_text = sa.cast if dialect == "postgresql" else sa.type_coerce
    columns = [as_text(c, sa.Text) if c.name == "payload" else c for c in _MODEL]
    return select(*columns).where(*(models.c[name] == bindparam(name) for name in keys))


def model_names(connection: sa.Connection) -> dict[str, str]:
    """Return the display name of every recorded model, by id."""
    names = select(models.c.id, models.c.display_name)
    return dict(connection.execute(names).all())


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
    values = {"key_source": source, "now": now}
    if not excluded_ids:
        connection.execute(_SEE, values)
        return
    excluded = set(excluded_ids)
    ids = [
        id_
        for id_ in connection.scalars(select(models.c.id).where(_LISTED), values)
        if id_ not in excluded
    ]
    for batch in chunks(ids):
        connection.execute(_SEE.where(models.c.id.in_(batch)), values)


_NOW: Any = bindparam("now", type_=models.c.last_seen_at.type)
_LISTED = and_(
    models.c.source == bindparam("key_source"),
    models.c.removed_at.is_(None),
    models.c.missing_since.is_(None),
    models.c.last_seen_at < _NOW,
)
_SEE = update(models).values(last_seen_at=_NOW).where(_LISTED)


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
    """Insert the events of a source's first list, of which `event` is one, newest model first.

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
    newest_first = added.order_by(models.c.created_at.desc(), models.c.id)
    connection.execute(insert(model_events).from_select(list(values), newest_first))


def _event_values(event: Event) -> dict[str, Any]:
    values = dict(zip(_NEW_EVENT, _new_event(event), strict=True))
    return {**values, "kind": event.kind.value, "changes": dict(event.changes)}
