"""Statements about the outbox: alert deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, update

from catalog_sync.db.runs import _row_count
from catalog_sync.db.schema import DeliveryRow, EventRow
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy.orm import Session


_LONGEST_WAIT = timedelta(days=1, minutes=2)
"""A receiver may ask for a day at most."""
_PENDING, _DELIVERED, _FAILED = "pending", "delivered", "failed"
_MAX_IDS = 500


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


def due_notifications(session: Session, now: datetime) -> list[Notification]:
    """Return what is due, grouped by run and channel, the oldest first."""
    groups: dict[tuple[int, str], list[Delivery]] = {}
    for delivery in _deliveries(session, and_(DeliveryRow.status == _PENDING, _due(now))):
        key = (delivery.event.run_id or 0, delivery.channel)
        groups.setdefault(key, []).append(delivery)
    return [
        Notification(channel, run_id, tuple(deliveries))
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


def claim(session: Session, batch: Notification, now: datetime, *, until: datetime) -> bool:
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


def _chunks(batch: Notification) -> Iterator[list[int]]:
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


def acknowledge(
    session: Session, batch: Notification, error: str | None, now: datetime, again: datetime | None
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


def defer(session: Session, channel: str, until: datetime) -> None:
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


def requeue(session: Session, now: datetime, *, channel: str | None = None) -> int:
    """Make failed deliveries due again, as if never sent, and return how many."""
    failed = DeliveryRow.status == _FAILED
    return _row_count(
        session,
        update(DeliveryRow)
        .where(failed if channel is None else and_(failed, DeliveryRow.channel == channel))
        .values(status=_PENDING, attempts=0, next_attempt_at=now),
    )


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of `alert_deliveries`, with its event."""

    id: int
    channel: str
    status: str
    attempts: int
    """How often it was sent, since `alerts retry` if that was used."""
    event: Event
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """The deliveries that travel in one message: those of one run to one channel."""

    channel: str
    run_id: int
    deliveries: tuple[Delivery, ...]

    @property
    def events(self) -> tuple[Event, ...]:
        """What the message tells, in the order in which it happened."""
        return tuple(delivery.event for delivery in self.deliveries)

    @property
    def attempts(self) -> int:
        """How often the message was sent."""
        return max(delivery.attempts for delivery in self.deliveries)


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """How alerts stand: `delivered` by this pass, the others as the table holds them."""

    delivered: int = 0
    pending: int = 0
    failed: int = 0
