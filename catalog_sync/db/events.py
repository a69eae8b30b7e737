"""Queries about events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

import sqlalchemy as sa
from sqlalchemy import and_, case, func, or_, select

from catalog_sync.clock import to_utc
from catalog_sync.db.schema import model_event_payloads, model_events
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event

_BATCH = 1000
"""Rows that are read at once, so that a long history is never in memory as a whole."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Selects events. Empty values and None match all."""

    sources: Sequence[str] = ()
    kinds: Sequence[Kind] = ()
    models: str | None = None
    """A glob of ids, which events without a model never match; case matters."""
    since: datetime | None = None
    """Inclusive."""
    until: datetime | None = None
    """Exclusive."""
    payloads: Collection[Kind] | None = None
    """Only events of these kinds get their objects, which are most of the work; None reads all."""
    model_id: str | None = None


_ALL = EventFilter()


def select_events(connection: sa.Connection, where: EventFilter = _ALL) -> Iterator[Event]:
    """Yield events, oldest first. Raises ValueError for an unknown kind or a naive time.

    Events are read in batches, so that no statement waits for a slow reader.
    """
    event = model_events.c
    payloads = set(Kind) if where.payloads is None else set(map(Kind, where.payloads))
    payload = case((event.kind.in_([kind.value for kind in payloads]), event.payload))
    statement = select(
        *(column for column in event if column.name != "payload"),
        sa.type_coerce(payload, event.payload.type).label("payload"),
    ).order_by(event.occurred_at, event.id)
    if where.sources:
        statement = statement.where(event.source.in_(where.sources))
    if where.kinds:
        statement = statement.where(event.kind.in_([Kind(kind).value for kind in where.kinds]))
    if where.model_id is not None:
        statement = statement.where(event.model_id == where.model_id)
    if where.since is not None:
        statement = statement.where(event.occurred_at >= to_utc(where.since))
    if where.until is not None:
        statement = statement.where(event.occurred_at < to_utc(where.until))
    batch = statement.limit(_BATCH)
    while True:
        events = list(_events(connection, batch, whole=Kind.SCHEMA_CHANGED in payloads))
        for found in events:
            id_ = found.model_id
            if where.models is None or (id_ is not None and fnmatchcase(id_, where.models)):
                yield found
        if len(events) < _BATCH:
            return
        last = events[-1]
        later = or_(event.occurred_at > last.occurred_at, event.id > last.id)
        batch = statement.where(event.occurred_at >= last.occurred_at, later).limit(_BATCH)


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


def event_of(row: Any) -> Event:
    """Return the event of a row. A payload that was not selected is None."""
    values = {name: row[name] for name in model_events.c.keys() if name in row}  # noqa: SIM118
    return Event(**{**values, "kind": Kind(row["kind"])})


def _events(connection: sa.Connection, statement: Any, *, whole: bool = True) -> Iterator[Event]:
    """Yield the events of a statement. `whole` adds the objects of catalog-wide events."""
    objects = model_event_payloads.c
    for row in connection.execute(statement).mappings().all():
        event = event_of(row)
        if whole and event.kind is Kind.SCHEMA_CHANGED:
            own = objects.event_id == event.id
            found = connection.execute(select(objects.model_id, objects.payload).where(own))
            event = replace(event, payload=dict(found.all()) or None)
        yield event
