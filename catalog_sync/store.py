"""Every SQL statement of the program. It never commits: the passes open the transactions.

Reads and writes are set-based: their number does not depend on the number of models, but for the
batches in which changes are written.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, case, func, insert, or_, select, union, update
from sqlalchemy.exc import IntegrityError

from catalog_sync.records import (
    ENDED,
    INTERRUPTED,
    Batch,
    Delivery,
    DeliveryCounts,
    Event,
    Kind,
    ModelInfo,
    ModelRecord,
    RunRecord,
    RunStatus,
    Scope,
    SourceRecord,
    SourceState,
)
from catalog_sync.schema import DeliveryRow, EventRow, ModelRow, RunRow, SourceRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

__all__ = [
    "abandon",
    "acquire",
    "channels",
    "claim",
    "count_deliveries",
    "count_models",
    "count_runs",
    "delivery_counts",
    "due_batches",
    "failures",
    "finish_run",
    "insert_deliveries",
    "insert_events",
    "last_instant",
    "last_run",
    "lock_source",
    "oldest_pending",
    "pending_channels",
    "postpone",
    "register_source",
    "release",
    "revive",
    "select_deliveries",
    "select_events",
    "select_last_told",
    "select_models",
    "select_source",
    "select_sources",
    "select_state",
    "settle",
    "source_names",
    "start_run",
    "write_models",
    "write_source",
]

_LONGEST_LEASE = timedelta(days=1, minutes=2)
"""A deadline is at most a day, and a lease a minute more."""
_LONGEST_WAIT = timedelta(days=1, minutes=2)
"""A receiver may ask for a day at most."""
_PENDING, _DELIVERED, _FAILED = "pending", "delivered", "failed"
_LIFECYCLES = ("active", "deprecated", "retired")
"""Those that the API documents; what else a server sends has no end."""
_MAX_IDS = 500
_BATCH = 1000
"""Events that are in memory at once while a long history is read."""
_INFO_FIELDS = tuple(name for name in ModelInfo.model_fields if name != "id")


# --- sources and their leases ------------------------------------------------------------------


def register_source(session: Session, name: str, base_url: str) -> None:
    """Make sure that the source has a row. To be called in a transaction of its own."""
    if session.get(SourceRow, name) is not None:
        return
    try:
        with session.begin_nested():
            session.execute(insert(SourceRow).values(name=name, base_url=base_url))
    except IntegrityError:
        pass  # another process was faster


def lock_source(session: Session, name: str) -> None:
    """Lock the source's row first, so that transactions of one source queue up in one order."""
    session.scalars(select(SourceRow).where(SourceRow.name == name).with_for_update()).one()


def start_run(session: Session, source: str, now: datetime) -> int:
    """Insert a `running` run and return its id."""
    row = RunRow(source=source, status=RunStatus.RUNNING, started_at=now)
    session.add(row)
    session.flush()
    return row.id


def acquire(session: Session, source: str, run_id: int, now: datetime, *, lease: timedelta) -> bool:
    """Take the source's lease, if nobody holds it, and close the runs of those who died with it."""
    taken = _row_count(
        session,
        update(SourceRow)
        .where(
            SourceRow.name == source,
            or_(
                SourceRow.lease_run_id.is_(None),
                SourceRow.lease_expires_at <= now,
                # Longer than any lease: it was taken before the host's clock was set back.
                SourceRow.lease_expires_at > now + _LONGEST_LEASE,
            ),
        )
        .values(lease_run_id=run_id, lease_expires_at=now + lease),
    )
    if taken:
        session.execute(
            update(RunRow)
            .where(
                RunRow.source == source,
                RunRow.status == RunStatus.RUNNING,
                RunRow.id != run_id,
            )
            .values(status=RunStatus.FAILED, finished_at=now, error=INTERRUPTED)
        )
    return bool(taken)


def last_instant(session: Session, source: str) -> datetime | None:
    """Return the latest time that a source's past holds: its last sync, or its last event."""
    synced_at = session.scalar(select(SourceRow.last_synced_at).where(SourceRow.name == source))
    told_at = session.scalar(
        select(EventRow.occurred_at)
        .where(EventRow.source == source)
        .order_by(EventRow.id.desc())
        .limit(1)
    )
    return max((moment for moment in (synced_at, told_at) if moment), default=None)


def release(session: Session, source: str, run_id: int) -> bool:
    """Give the lease back; false when it is not ours any more."""
    return bool(
        _row_count(
            session,
            update(SourceRow)
            .where(SourceRow.name == source, SourceRow.lease_run_id == run_id)
            .values(lease_run_id=None, lease_expires_at=None),
        )
    )


def write_source(session: Session, record: SourceRecord) -> None:
    """Write what a pass learned of the source; the lease is not touched."""
    session.execute(
        update(SourceRow)
        .where(SourceRow.name == record.name)
        .values(
            base_url=record.base_url,
            scope=str(record.scope),
            baseline_at=record.baseline_at,
            last_synced_at=record.last_synced_at,
        )
    )


def _row_count(session: Session, statement: Any) -> int:
    result: Any = session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)


def _source(row: SourceRow) -> SourceRecord:
    return SourceRecord(
        row.name, row.base_url, Scope.parse(row.scope), row.baseline_at, row.last_synced_at
    )


# --- runs --------------------------------------------------------------------------------------


def finish_run(
    session: Session,
    run_id: int,
    status: RunStatus,
    now: datetime,
    *,
    error: str | None = None,
    baseline: bool = False,
    pages: int | None = None,
    models: int | None = None,
    events: Iterable[Event] = (),
) -> bool:
    """Close a run; false when another process closed it already."""
    kinds = [event.kind for event in events]
    return bool(
        _row_count(
            session,
            update(RunRow)
            .where(RunRow.id == run_id, RunRow.status == RunStatus.RUNNING)
            .values(
                status=status,
                finished_at=now,
                error=error,
                baseline=baseline,
                pages=pages,
                models=models,
                added=kinds.count(Kind.ADDED),
                updated=kinds.count(Kind.UPDATED),
                removed=kinds.count(Kind.REMOVED),
                returned=kinds.count(Kind.RETURNED),
            ),
        )
    )


def last_run(session: Session, source: str, *statuses: RunStatus) -> RunRecord | None:
    """Return a source's last run that ended in one of the statuses; null when none did."""
    row = session.scalars(
        select(RunRow)
        .where(RunRow.source == source, RunRow.status.in_(statuses))
        .order_by(RunRow.id.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    return RunRecord(RunStatus(row.status), row.started_at, row.finished_at, row.error)


def failures(session: Session, source: str) -> tuple[int, list[str]]:
    """Return how many passes failed in a row, and the classes of error that were told meanwhile.

    Skipped passes do not count; one that succeeded or was held ends the row.
    """
    last_good = _last_run(source, RunStatus.SUCCEEDED, RunStatus.HELD)
    streak = session.scalar(
        select(func.count())
        .select_from(RunRow)
        .where(
            RunRow.source == source,
            RunRow.status == RunStatus.FAILED,
            RunRow.id > func.coalesce(last_good, 0),
        )
    )
    told = session.scalars(
        select(EventRow.payload).where(
            EventRow.source == source,
            EventRow.kind == Kind.SYNC_FAILED,
            EventRow.run_id > func.coalesce(_last_run(source, RunStatus.SUCCEEDED), 0),
        )
    )
    return streak or 0, [str((payload or {}).get("error_class")) for payload in told]


def count_runs(session: Session) -> dict[tuple[str, str], int]:
    """Return how many runs there are, by source and status."""
    statement = select(RunRow.source, RunRow.status, func.count())
    rows = session.execute(statement.group_by(RunRow.source, RunRow.status))
    return {(source, status): number for source, status, number in rows}


def _last_run(source: str, *statuses: RunStatus) -> Any:
    return (
        select(func.max(RunRow.id))
        .where(RunRow.source == source, RunRow.status.in_(statuses))
        .scalar_subquery()
    )


# --- what a pass needs to know -----------------------------------------------------------------


def select_state(session: Session, name: str, base_url: str) -> SourceState:
    """Return all that is known of a source; of one never seen, nothing."""
    row = session.get(SourceRow, name)
    if row is None:
        return SourceState(SourceRecord(name, base_url), {})
    succeeded = func.coalesce(_last_run(name, RunStatus.SUCCEEDED), 0)
    held = session.scalar(
        select(func.count())
        .select_from(RunRow)
        .where(RunRow.source == name, RunRow.status == RunStatus.HELD, RunRow.id > succeeded)
    )
    last_told = session.scalar(
        select(EventRow.kind)
        .where(EventRow.source == name, EventRow.kind.in_((Kind.SYNC_FAILED, Kind.SYNC_RECOVERED)))
        .order_by(EventRow.id.desc())
        .limit(1)
    )
    last_error = session.scalar(
        select(RunRow.error)
        .where(
            RunRow.source == name,
            RunRow.status.in_(ENDED),
        )
        .order_by(RunRow.id.desc())
        .limit(1)
    )
    walks = session.scalars(
        select(RunRow.finished_at)
        .where(
            RunRow.source == name,
            RunRow.status.in_((RunStatus.SUCCEEDED, RunStatus.HELD)),
            RunRow.models.is_not(None),
        )
        .order_by(RunRow.id.desc())
        .limit(2)
    ).all()
    return SourceState(
        _source(row),
        {record.info.id: record for record in select_models(session, source=name)},
        held=bool(held),
        failure_announced=last_told == Kind.SYNC_FAILED,
        last_error=last_error,
        third_walk_at=walks[1] if len(walks) > 1 else None,
        last_instant=last_instant(session, name),
    )


# --- models ------------------------------------------------------------------------------------


def source_names(session: Session) -> set[str]:
    """Return the sources that a pass was ever begun for."""
    return set(session.scalars(select(SourceRow.name)))


def select_source(session: Session, name: str) -> SourceRecord | None:
    """Return what is known of a source; null when no pass was ever begun for it."""
    row = session.get(SourceRow, name)
    return None if row is None else _source(row)


def select_sources(session: Session) -> list[SourceRecord]:
    """Return what is known of each source, by name."""
    return sorted(map(_source, session.scalars(select(SourceRow))), key=lambda source: source.name)


def select_models(session: Session, *, source: str | None = None) -> Iterator[ModelRecord]:
    """Yield every model that was ever recorded, of one source or of all."""
    statement = select(ModelRow.__table__)
    if source is not None:
        statement = statement.where(ModelRow.source == source)
    for row in session.execute(statement).mappings():
        yield ModelRecord(
            row["source"],
            # Validated when it was written.
            ModelInfo.model_construct(id=row["id"], **{name: row[name] for name in _INFO_FIELDS}),
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


# --- events ------------------------------------------------------------------------------------


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


def select_last_told(
    session: Session, *, until: datetime, sources: Sequence[str] = ()
) -> Iterator[Event]:
    """Yield what `replay` needs of all events up to a moment, that one included, oldest first.

    Of each model: when it was first seen, when last, and what was told last; and the events of the
    whole catalogue.
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


# --- deliveries --------------------------------------------------------------------------------


def insert_deliveries(
    session: Session, run_id: int, owed: Iterable[tuple[Event, str]], now: datetime
) -> None:
    """Insert the outbox of a run: what is owed to whom, due at once."""
    owed = list(owed)
    if not owed:
        return
    # An event is known by its kind and model within its run.
    rows = session.execute(
        select(EventRow.id, EventRow.kind, EventRow.model_id).where(EventRow.run_id == run_id)
    )
    ids = {(kind, model_id): id_ for id_, kind, model_id in rows}
    session.execute(
        insert(DeliveryRow),
        [
            {
                "event_id": ids[event.kind.value, event.model_id],
                "channel": channel,
                "status": _PENDING,
                "attempts": 0,
                "next_attempt_at": now,
            }
            for event, channel in owed
        ],
    )


def count_deliveries(session: Session) -> dict[str, int]:
    """Return how many deliveries there are, by status; what is not named has none."""
    statement = select(DeliveryRow.status, func.count()).group_by(DeliveryRow.status)
    return {status: number for status, number in session.execute(statement)}  # noqa: C416


def oldest_pending(session: Session) -> datetime | None:
    """Return when the oldest event happened that a channel still waits for."""
    return session.scalar(
        select(func.min(EventRow.occurred_at))
        .join(DeliveryRow, DeliveryRow.event_id == EventRow.id)
        .where(DeliveryRow.status == _PENDING)
    )


def delivery_counts(session: Session) -> DeliveryCounts:
    """Return how many deliveries wait and how many failed."""
    counts = count_deliveries(session)
    return DeliveryCounts(pending=counts.get(_PENDING, 0), failed=counts.get(_FAILED, 0))


def channels(session: Session) -> set[str]:
    """Return the channels that were ever owed something."""
    return set(session.scalars(select(DeliveryRow.channel).distinct()))


def pending_channels(session: Session) -> set[str]:
    """Return the channels that are owed something."""
    pending = select(DeliveryRow.channel).where(DeliveryRow.status == _PENDING).distinct()
    return set(session.scalars(pending))


def abandon(session: Session, channels: Iterable[str]) -> None:
    """End what is owed to channels that are no longer configured."""
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.status == _PENDING, DeliveryRow.channel.in_(sorted(channels)))
        .values(
            status=_FAILED,
            next_attempt_at=None,
            last_error="the channel is no longer configured",
        ),
        execution_options={"synchronize_session": False},
    )


def due_batches(session: Session, now: datetime) -> list[Batch]:
    """Return what is due, grouped by run and channel, the oldest first."""
    groups: dict[tuple[int, str], list[Delivery]] = {}
    for delivery in _deliveries(session, and_(DeliveryRow.status == _PENDING, _due(now))):
        key = (delivery.event.run_id or 0, delivery.channel)
        groups.setdefault(key, []).append(delivery)
    return [
        Batch(channel, run_id, tuple(deliveries))
        for (run_id, channel), deliveries in groups.items()
    ]


def select_deliveries(session: Session, *, limit: int) -> list[Delivery]:
    """Return what waits or failed, and the latest `limit` of those delivered, oldest first."""
    latest = (
        select(DeliveryRow.id)
        .where(DeliveryRow.status == _DELIVERED)
        .order_by(DeliveryRow.id.desc())
        .limit(limit)
        .subquery()
    )
    shown = or_(DeliveryRow.status != _DELIVERED, DeliveryRow.id.in_(select(latest.c.id)))
    return list(_deliveries(session, shown))


def _deliveries(session: Session, condition: Any) -> Iterator[Delivery]:
    statement = (
        select(DeliveryRow, EventRow)
        .join(EventRow, EventRow.id == DeliveryRow.event_id)
        .where(condition)
        .order_by(EventRow.id, DeliveryRow.id)
    )
    for row, event in session.execute(statement):
        yield Delivery(
            row.id,
            row.channel,
            row.status,
            row.attempts,
            Event(
                Kind(event.kind),
                event.occurred_at,
                event.model_id,
                event.changes,
                event.payload,
                event.source,
                event.run_id,
                event.id,
            ),
            row.next_attempt_at,
            row.delivered_at,
            row.last_error,
        )


def claim(session: Session, batch: Batch, now: datetime, *, until: datetime) -> bool:
    """Take a batch for one attempt; false, and nothing taken, when any of it is somebody else's."""
    claimed = sum(
        _row_count(
            session,
            update(DeliveryRow)
            .where(_attempted(ids, batch.attempts), _due(now))
            .values(attempts=DeliveryRow.attempts + 1, next_attempt_at=until),
        )
        for ids in _chunks(batch)
    )
    if claimed < len(batch.deliveries):
        session.rollback()
        return False
    return True


def _due(now: datetime) -> ColumnElement[bool]:
    """Return the condition of rows whose time has come.

    Further ahead than any wait: it was decided before the host's clock was set back.
    """
    at = DeliveryRow.next_attempt_at
    return or_(at <= now, at > now + _LONGEST_WAIT)


def _chunks(batch: Batch) -> Iterator[list[int]]:
    """Yield the ids of a batch's rows, in order, as many at a time as every database takes.

    By their key, so that whoever updates another batch at the same time is not met on the way:
    MariaDB would find them by their status, lock all that are due, and see a deadlock.
    """
    ids = sorted(delivery.id for delivery in batch.deliveries)
    for start in range(0, len(ids), _MAX_IDS):
        yield ids[start : start + _MAX_IDS]


def _attempted(ids: Sequence[int], attempts: int) -> ColumnElement[bool]:
    """Return the condition of rows that wait after so many attempts."""
    return and_(
        DeliveryRow.id.in_(ids), DeliveryRow.status == _PENDING, DeliveryRow.attempts == attempts
    )


def settle(
    session: Session, batch: Batch, error: str | None, now: datetime, again: datetime | None
) -> None:
    """Write what became of an attempt, unless another process took the batch over meanwhile."""
    delivered = error is None
    status = _DELIVERED if delivered else _PENDING if again else _FAILED
    for ids in _chunks(batch):
        session.execute(
            update(DeliveryRow)
            .where(_attempted(ids, batch.attempts + 1))
            .values(
                status=status,
                next_attempt_at=again,
                delivered_at=now if delivered else None,
                last_error=error,
            ),
            execution_options={"synchronize_session": False},
        )


def postpone(session: Session, channel: str, until: datetime) -> None:
    """Let all that a channel is owed wait: its receiver asked for it."""
    waiting = and_(
        DeliveryRow.channel == channel,
        DeliveryRow.status == _PENDING,
        DeliveryRow.next_attempt_at < until,
    )
    ids = session.scalars(select(DeliveryRow.id).where(waiting).order_by(DeliveryRow.id)).all()
    if ids:
        rows = [{"id": id_, "next_attempt_at": until} for id_ in ids]
        session.execute(update(DeliveryRow), rows)


def revive(session: Session, now: datetime, *, channel: str | None = None) -> int:
    """Make failed deliveries due again, as if never sent, and return how many."""
    failed = DeliveryRow.status == _FAILED
    return _row_count(
        session,
        update(DeliveryRow)
        .where(failed if channel is None else and_(failed, DeliveryRow.channel == channel))
        .values(status=_PENDING, attempts=0, next_attempt_at=now),
    )
