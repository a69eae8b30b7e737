"""Statements about the outbox: channels and alert deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, and_, func, insert, or_, select, update

from catalog_sync.db.catalog import chunks, event_of
from catalog_sync.db.schema import alert_channels, alert_deliveries, model_events
from catalog_sync.domain.alert_rules import alerts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from catalog_sync.domain.alert_rules import AlertRule
    from catalog_sync.domain.model import Event

_LONGEST_WAIT = timedelta(days=1, minutes=2)
"""A receiver may ask for a day at most."""
_PENDING, _DELIVERED, _FAILED = "pending", "delivered", "failed"
_OVERLAP = timedelta(days=2)
"""How far back events are matched again. An event may become visible after a later one: its
transaction took longer, or its host's clock is behind (by a day at most, or its run fails)."""
_BATCH = 500


# --- enqueue -----------------------------------------------------------------------------------


def register_channels(connection: sa.Connection, names: Iterable[str], now: datetime) -> None:
    """Record since when each channel is notified: from now on for a channel without a record.

    Asks before it writes. To be called in a writing transaction, at the start of a run or of a
    delivery; what was recorded before is not sent to a new channel.
    """
    names = sorted(set(names))
    known = set(
        connection.scalars(select(alert_channels.c.name).where(alert_channels.c.name.in_(names)))
    )
    rows = [{"name": name, "started_at": now} for name in names if name not in known]
    _insert_new(connection, alert_channels, rows)


def enqueue(
    connection: sa.Connection,
    rules: Iterable[AlertRule],
    now: datetime,
    *,
    run_id: int | None = None,
) -> int:
    """Add the missing outbox entries: recorded events that a channel's rule matches, due now.

    Any process may call it, any number of times: an event has one entry per channel. It is called
    in the transaction that records a run's events, so that no alert is lost between the two, and
    before each delivery, for the events of processes that do not know the channel. Channels
    without a record (`register_channels`) get nothing.

    Args:
        connection: A writing transaction.
        rules: The rules of the channels that this process knows.
        now: The present time.
        run_id: Only the events of this run, which the transaction has just recorded.

    Returns:
        The number of entries added.
    """
    rules = list(rules)
    names = sorted({rule.channel for rule in rules})
    rows = connection.execute(select(alert_channels).where(alert_channels.c.name.in_(names)))
    since = {row.name: _since(row, now) for row in rows}
    kinds = sorted({kind.value for rule in rules for kind in rule.kinds})
    if not since or not kinds:
        return 0
    statement = (
        select(*(column for column in model_events.c if column.name not in {"changes", "payload"}))
        .where(model_events.c.kind.in_(kinds), model_events.c.baseline == sa.false())
        .order_by(model_events.c.occurred_at, model_events.c.id)
    )
    if run_id is not None:
        statement = statement.where(model_events.c.run_id == run_id)
    else:
        statement = statement.where(model_events.c.occurred_at >= min(since.values()))
    events = [event_of(row) for row in connection.execute(statement).mappings()]
    wanted = [
        (event, channel)
        for each in events
        for event, channel in alerts([each], rules, each.source, baseline=each.baseline)
        if channel in since and event.occurred_at >= since[channel]
    ]
    added = _add(connection, wanted, now)
    if run_id is None:
        connection.execute(
            update(alert_channels)
            .where(alert_channels.c.name.in_(list(since)))
            .values(enqueued_until=now)
        )
    return added


def _since(row: Any, now: datetime) -> datetime:
    """Return from when on the events of a channel are matched.

    A time ahead of `now` was written before the clock was set back.
    """
    matched = row.enqueued_until
    started_at: datetime = row.started_at
    return started_at if matched is None else max(started_at, min(matched, now) - _OVERLAP)


def _add(connection: sa.Connection, wanted: Sequence[tuple[Event, str]], now: datetime) -> int:
    added = 0
    for batch in chunks(wanted, _BATCH):
        ids = [event.id for event, _ in batch]
        there = connection.execute(
            select(alert_deliveries.c.event_id, alert_deliveries.c.channel).where(
                alert_deliveries.c.event_id.in_(ids)
            )
        )
        known = {(event_id, channel) for event_id, channel in there}
        rows = [
            {
                "event_id": event.id,
                "channel": channel,
                "status": _PENDING,
                "attempts": 0,
                "next_attempt_at": now,
            }
            for event, channel in batch
            if (event.id, channel) not in known
        ]
        _insert_new(connection, alert_deliveries, rows)
        added += len(rows)
    return added


def _insert_new(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, but for those that another process inserted at the same time."""
    if not rows:
        return
    dialect = connection.dialect.name
    if dialect in {"mysql", "mariadb"}:
        connection.execute(insert(table).prefix_with("IGNORE"), rows)
    elif dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415  # heavy

        connection.execute(postgresql.insert(table).on_conflict_do_nothing(), rows)
    else:
        from sqlalchemy.dialects import sqlite  # noqa: PLC0415

        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)


# --- questions ---------------------------------------------------------------------------------


def count_deliveries(connection: sa.Connection) -> dict[str, int]:
    """Return how many deliveries there are, by status; a status without any has no entry."""
    statement = select(alert_deliveries.c.status, func.count()).group_by(alert_deliveries.c.status)
    return {status: number for status, number in connection.execute(statement)}  # noqa: C416


def delivery_counts(connection: sa.Connection) -> DeliveryCounts:
    """Return how many deliveries are pending and how many failed."""
    counts = count_deliveries(connection)
    return DeliveryCounts(pending=counts.get(_PENDING, 0), failed=counts.get(_FAILED, 0))


def oldest_pending(connection: sa.Connection) -> datetime | None:
    """Return when the oldest event occurred that still has a pending delivery."""
    return connection.scalar(
        select(func.min(model_events.c.occurred_at))
        .join(alert_deliveries, alert_deliveries.c.event_id == model_events.c.id)
        .where(alert_deliveries.c.status == _PENDING)
    )


def channels(connection: sa.Connection) -> set[str]:
    """Return the channels that were ever notified, or have an outbox entry."""
    named = set(connection.scalars(select(alert_channels.c.name)))
    return named | set(connection.scalars(select(alert_deliveries.c.channel).distinct()))


def pending_channels(connection: sa.Connection) -> set[str]:
    """Return the channels that have a pending delivery."""
    pending = select(alert_deliveries.c.channel).where(alert_deliveries.c.status == _PENDING)
    return set(connection.scalars(pending.distinct()))


def has_due(connection: sa.Connection, now: datetime) -> bool:
    """Whether any delivery is due: one statement."""
    found = select(alert_deliveries.c.id).where(alert_deliveries.c.status == _PENDING, _due(now))
    return connection.execute(found.limit(1)).first() is not None


def due_notifications(connection: sa.Connection, now: datetime) -> list[Notification]:
    """Return what is due, grouped by run and channel, the oldest first."""
    groups: dict[tuple[int, str], list[Delivery]] = {}
    due = and_(alert_deliveries.c.status == _PENDING, _due(now))
    for delivery in _deliveries(connection, due):
        key = (delivery.event.run_id or 0, delivery.channel)
        groups.setdefault(key, []).append(delivery)
    return [
        Notification(channel, run_id, tuple(deliveries))
        for (run_id, channel), deliveries in groups.items()
    ]


def select_deliveries(connection: sa.Connection, *, limit: int) -> list[Delivery]:
    """Return pending and failed deliveries, and the latest `limit` delivered ones, oldest first."""
    latest = (
        select(alert_deliveries.c.id)
        .where(alert_deliveries.c.status == _DELIVERED)
        .order_by(alert_deliveries.c.delivered_at.desc(), alert_deliveries.c.id.desc())
        .limit(limit)
        .subquery()
    )
    shown = or_(
        alert_deliveries.c.status != _DELIVERED, alert_deliveries.c.id.in_(select(latest.c.id))
    )
    return list(_deliveries(connection, shown))


def _deliveries(connection: sa.Connection, condition: Any) -> Iterator[Delivery]:
    own = [column.label(f"own_{column.name}") for column in alert_deliveries.c]
    statement = (
        select(*own, *model_events.c)
        .join(model_events, model_events.c.id == alert_deliveries.c.event_id)
        .where(condition)
        .order_by(model_events.c.occurred_at, model_events.c.id, alert_deliveries.c.id)
    )
    for row in connection.execute(statement).mappings().all():
        values = {
            column.name: row[f"own_{column.name}"]
            for column in alert_deliveries.c
            if column.name != "event_id"
        }
        yield Delivery(**values, event=event_of(row))


# --- one attempt -------------------------------------------------------------------------------


def claim(
    connection: sa.Connection, notification: Notification, now: datetime, *, until: datetime
) -> bool:
    """Claim a notification for one attempt.

    Returns False if another process holds any part of it; the caller must roll back then.
    """
    claimed = sum(
        connection.execute(
            update(alert_deliveries)
            .where(_attempted(ids, notification.attempts), _due(now))
            .values(attempts=alert_deliveries.c.attempts + 1, next_attempt_at=until)
        ).rowcount
        for ids in _ids(notification)
    )
    return claimed == len(notification.deliveries)


def _due(now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition: the entry is due.

    Times beyond the longest possible wait were written before the clock was set back, and count as
    due.
    """
    at = alert_deliveries.c.next_attempt_at
    return or_(at <= now, at > now + _LONGEST_WAIT)


def _ids(notification: Notification) -> Iterator[Sequence[int]]:
    """Yield the ids of a notification's rows, in order, as many at a time as a database accepts.

    Rows are updated by primary key: an update by status would lock all due rows on MariaDB, and
    deadlock with concurrent claims.
    """
    return chunks(sorted(delivery.id for delivery in notification.deliveries))


def _attempted(ids: Sequence[int], attempts: int) -> ColumnElement[bool]:
    """Return the SQL condition: pending after that many attempts."""
    return and_(
        alert_deliveries.c.id.in_(ids),
        alert_deliveries.c.status == _PENDING,
        alert_deliveries.c.attempts == attempts,
    )


def acknowledge(
    connection: sa.Connection,
    notification: Notification,
    error: str | None,
    now: datetime,
    again: datetime | None,
) -> None:
    """Record the result of an attempt, unless another process has claimed the rows meanwhile."""
    delivered = error is None
    status = _DELIVERED if delivered else _PENDING if again else _FAILED
    for ids in _ids(notification):
        connection.execute(
            update(alert_deliveries)
            .where(_attempted(ids, notification.attempts + 1))
            .values(
                status=status,
                next_attempt_at=again,
                delivered_at=now if delivered else None,
                last_error=error,
            )
        )


def defer(connection: sa.Connection, channel: str, until: datetime) -> None:
    """Make all pending deliveries of a channel wait, as its receiver asked."""
    waiting = and_(
        alert_deliveries.c.channel == channel,
        alert_deliveries.c.status == _PENDING,
        alert_deliveries.c.next_attempt_at < until,
    )
    ids = connection.scalars(
        select(alert_deliveries.c.id).where(waiting).order_by(alert_deliveries.c.id)
    ).all()
    for batch in chunks(ids):
        connection.execute(
            update(alert_deliveries)
            .where(alert_deliveries.c.id.in_(batch), waiting)  # not those delivered meanwhile
            .values(next_attempt_at=until)
        )


def cancel(connection: sa.Connection, names: Iterable[str]) -> None:
    """End the pending deliveries of channels that are no longer configured."""
    connection.execute(
        update(alert_deliveries)
        .where(alert_deliveries.c.status == _PENDING, alert_deliveries.c.channel.in_(sorted(names)))
        .values(
            status=_FAILED,
            next_attempt_at=None,
            last_error="the channel is no longer configured",
        )
    )


def requeue(connection: sa.Connection, now: datetime, *, channel: str | None = None) -> int:
    """Make failed deliveries due again, as if never sent, and return how many."""
    failed = alert_deliveries.c.status == _FAILED
    if channel is not None:
        failed = and_(failed, alert_deliveries.c.channel == channel)
    again = update(alert_deliveries).where(failed)
    return connection.execute(
        again.values(status=_PENDING, attempts=0, next_attempt_at=now)
    ).rowcount


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
    refusals: int = 0
    """How many of the attempts the receiver refused."""
    message_id: str | None = None
    """The message that carried it, with others; None before the first attempt."""


@dataclass(frozen=True, slots=True)
class Notification:
    """The deliveries that travel in one message: those of one run to one channel."""

    channel: str
    run_id: int
    deliveries: tuple[Delivery, ...]

    @property
    def events(self) -> tuple[Event, ...]:
        """The events of the message, in the order of time."""
        return tuple(delivery.event for delivery in self.deliveries)

    @property
    def attempts(self) -> int:
        """How often the message was sent."""
        return max(delivery.attempts for delivery in self.deliveries)


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """How alerts stand: `delivered` by this run, the others as the table holds them."""

    delivered: int = 0
    pending: int = 0
    failed: int = 0
