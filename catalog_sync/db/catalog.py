"""Statements about models and events."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, func, insert, or_, select, union, update

from catalog_sync.db.schema import EventRow, ModelRow
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, ModelInfo, ModelRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session


_LIFECYCLES = ("active", "deprecated", "retired")
"""Those that the API documents; what else a server sends has no end."""
_BATCH = 1000
"""Events that are in memory at once while a long history is read."""
_INFO_FIELDS = tuple(name for name in ModelInfo.__dataclass_fields__ if name != "id")


def select_models(session: Session, *, source: str | None = None) -> Iterator[ModelRecord]:
    """Yield every model that was ever recorded, of one source or of all."""
    statement = select(ModelRow.__table__)
    if source is not None:
        statement = statement.where(ModelRow.source == source)
    for row in session.execute(statement).mappings():
        yield ModelRecord(
            row["source"],
            # Validated when it was written.
            ModelInfo(id=row["id"], **{name: row[name] for name in _INFO_FIELDS}),
            row["first_seen_at"],
            row["last_seen_at"],
            row["missing_since"],
            row["removed_at"],
        )


def count_models(
    session: Session, now: datetime
) -> list[tuple[str, str, str, int, datetime | None]]:
    """Return for each source, state and lifecycle the number of models, and their next retirement.

    A state is `listed`, `missing` or `removed`. A lifecycle that the API does not document counts
    as `other`, one that it did not say as `unknown`. Null where no retirement is ahead of `now`.
    """
    ahead = and_(
        ModelRow.retires_at > now,
        ModelRow.removed_at.is_(None),
        or_(ModelRow.lifecycle.is_(None), ModelRow.lifecycle != "retired"),
    )
    each = select(
        ModelRow.source,
        case(
            (ModelRow.removed_at.is_not(None), "removed"),
            (ModelRow.missing_since.is_not(None), "missing"),
            else_="listed",
        ).label("state"),
        case(
            (ModelRow.lifecycle.in_(_LIFECYCLES), ModelRow.lifecycle),
            (ModelRow.lifecycle.is_(None), "unknown"),
            else_="other",
        ).label("phase"),
        case((ahead, ModelRow.retires_at)).label("retires_at"),
    ).subquery()
    keys = (each.c.source, each.c.state, each.c.phase)
    statement = select(*keys, func.count(), func.min(each.c.retires_at)).group_by(*keys)
    return [tuple(row) for row in session.execute(statement)]


def write_models(
    session: Session,
    source: str,
    now: datetime,
    *,
    added: Sequence[ModelRecord],
    changed: Sequence[ModelRecord],
    frozen: Sequence[str],
) -> None:
    """Write new and changed rows, and that the others were seen `now`.

    `frozen`: ids that are excluded by now, whose rows keep everything.
    """
    if added:
        session.execute(insert(ModelRow), [_columns(record) for record in added])
    if changed:
        session.execute(update(ModelRow), [_columns(record) for record in changed])
    seen = and_(
        ModelRow.source == source, ModelRow.removed_at.is_(None), ModelRow.missing_since.is_(None)
    )
    if frozen:
        seen = and_(seen, ModelRow.id.not_in(frozen))
    session.execute(
        update(ModelRow).where(seen).values(last_seen_at=now),
        execution_options={"synchronize_session": False},
    )


def _columns(record: ModelRecord) -> dict[str, Any]:
    return {
        "source": record.source,
        "id": record.info.id,
        **{name: getattr(record.info, name) for name in _INFO_FIELDS},
        "first_seen_at": record.first_seen_at,
        "last_seen_at": record.last_seen_at,
        "missing_since": record.missing_since,
        "removed_at": record.removed_at,
    }


def insert_events(
    session: Session, source: str, run_id: int, events: Iterable[Event]
) -> tuple[Event, ...]:
    """Insert a run's events and return them with source and run."""
    told = tuple(replace(event, source=source, run_id=run_id) for event in events)
    if told:
        session.execute(
            insert(EventRow),
            [
                {
                    "run_id": event.run_id,
                    "source": event.source,
                    "model_id": event.model_id,
                    "kind": event.kind.value,
                    "occurred_at": event.occurred_at,
                    "changes": dict(event.changes),
                    "payload": event.payload,
                }
                for event in told
            ],
        )
    return told


def select_events(
    session: Session,
    *,
    sources: Sequence[str] = (),
    kinds: Sequence[Kind] = (),
    model_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    payloads: Collection[Kind] | None = None,
) -> Iterator[Event]:
    """Yield events, oldest first; both ends of the time are included.

    `payloads`: the kinds whose objects are read, which is most of the work; null reads them all.
    A long history comes in batches, so that no statement waits for whoever reads it slowly.
    """
    statement = select(EventRow.__table__).order_by(EventRow.id)
    if payloads is not None:
        wanted = EventRow.kind.in_([kind.value for kind in payloads])
        others = [column for column in EventRow.__table__.c if column.name != "payload"]
        payload = case((wanted, EventRow.payload)).label("payload")
        statement = statement.with_only_columns(*others, payload)
    if sources:
        statement = statement.where(EventRow.source.in_(sources))
    if kinds:
        statement = statement.where(EventRow.kind.in_([kind.value for kind in kinds]))
    if model_id is not None:
        statement = statement.where(EventRow.model_id == model_id)
    if since is not None:
        statement = statement.where(EventRow.occurred_at >= since)
    if until is not None:
        statement = statement.where(EventRow.occurred_at <= until)
    last_id = 0
    while True:
        batch = statement.where(EventRow.id > last_id).limit(_BATCH)
        events = list(_events(session, batch))
        yield from events
        if len(events) < _BATCH:
            return
        last_id = events[-1].id or 0


def select_latest_events(
    session: Session, *, until: datetime, sources: Sequence[str] = ()
) -> Iterator[Event]:
    """Yield what `replay` needs of all events up to a moment, that one included, oldest first.

    Of each model: when it was first seen, when last, and what was told last; and the events of the
    whole catalog.
    """
    past = EventRow.occurred_at <= until
    if sources:
        past = and_(past, EventRow.source.in_(sources))
    on_the_list = case((EventRow.kind != Kind.REMOVED, EventRow.id))
    spans = (
        select(
            func.min(EventRow.id).label("first"),
            func.max(on_the_list).label("seen"),
            func.max(EventRow.id).label("last"),
        )
        .where(past, EventRow.model_id.is_not(None), EventRow.kind != Kind.RETIRING)
        .group_by(EventRow.source, EventRow.model_id)
        .cte("spans")
    )
    shared = select(EventRow.id).where(past, EventRow.kind == Kind.SCHEMA_CHANGED)
    told = union(*(select(column) for column in spans.c), shared).subquery()
    statement = select(EventRow.__table__).join(told, EventRow.id == told.c[0])
    yield from _events(session, statement.order_by(EventRow.id))


def _events(session: Session, statement: Any) -> Iterator[Event]:
    for row in session.execute(statement).mappings():
        yield Event(
            Kind(row["kind"]),
            row["occurred_at"],
            row["model_id"],
            row["changes"],
            row["payload"],
            row["source"],
            row["run_id"],
            row["id"],
        )
