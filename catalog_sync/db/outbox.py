"""Statements about the outbox: channels and alert deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import and_, func, insert, or_, select, update

from catalog_sync.db.catalog import chunks, event_of
from catalog_sync.db.schema import alert_channels, alert_deliveries, model_events
from catalog_sync.domain.alert_rules import alerts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from catalog_sync.domain.alert_rules import AlertRule
    from catalog_sync.domain.model import Event

PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
_OVERLAP = timedelta(days=2)
"""How far back events are matched again. An event may become visible after a later one: its
transaction took longer, or its host's clock is slow (by a day at most, or its run fails)."""
_ENQUEUE_EVERY = timedelta(hours=1)
"""How often `enqueued_until` is written while there is nothing to enqueue."""
_BATCH = 500


# --- enqueue -----------------------------------------------------------------------------------


def register_channels(connection: sa.Connection, names: Iterable[str], now: datetime) -> None:
    """Record since when each channel is notified: from now on for a channel without a record.

    Reads before it writes. Must be called in a writing transaction, at the start of a run or of a
    delivery. Earlier events are not sent to a new channel.
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
    missing = _missing(connection, list(rules), now, run_id)
    for batch in chunks(missing, _BATCH):
        _insert_new(
            connection,
            alert_deliveries,
            [
                {
                    "event_id": event.id,
                    "channel": channel,
                    "status": PENDING,
                    "attempts": 0,
                    "next_attempt_at": now,
                }
                for event, channel in batch
            ],
        )
    if run_id is None:
        names = {rule.channel for rule in rules}
        connection.execute(
            update(alert_channels)
            .where(alert_channels.c.name.in_(sorted(names)))
            .values(enqueued_until=now)
        )
    return len(missing)


def needs_enqueue(connection: sa.Connection, rules: Iterable[AlertRule], now: datetime) -> bool:
    """Return whether `register_channels` or `enqueue` would have something to write."""
    rules = list(rules)
    names = {rule.channel for rule in rules}
    channels = alert_channels.c
    statement = select(channels.name, channels.enqueued_until).where(channels.name.in_(names))
    known = {name: until for name, until in connection.execute(statement)}  # noqa: C416
    current = [until for until in known.values() if until and now - until < _ENQUEUE_EVERY]
    return len(current) < len(names) or bool(_missing(connection, rules, now, None))


def _missing(
    connection: sa.Connection, rules: Sequence[AlertRule], now: datetime, run_id: int | None
) -> list[tuple[Event, str]]:
    """Return the events without an outbox entry, with the channel whose rule matches them."""
    names = sorted({rule.channel for rule in rules})
    rows = connection.execute(select(alert_channels).where(alert_channels.c.name.in_(names)))
    since = {row.name: _since(row, now) for row in rows}
    kinds = sorted({kind.value for rule in rules for kind in rule.kinds})
    if not since or not kinds:
        return []
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
        for event, channel in alerts([each], rules)
        if channel in since and event.occurred_at >= since[channel]
    ]
    known: set[tuple[int | None, str]] = set()
    for batch in chunks(sorted({event.id or 0 for event, _ in wanted}), _BATCH):
        found = select(alert_deliveries.c.event_id, alert_deliveries.c.channel)
        rows = connection.execute(found.where(alert_deliveries.c.event_id.in_(batch)))
        known.update((event_id, channel) for event_id, channel in rows)
    return [(event, channel) for event, channel in wanted if (event.id, channel) not in known]


def _since(row: Any, now: datetime) -> datetime:
    """Return from when on the events of a channel are matched.

    A time ahead of `now` was written before the clock was set back.
    """
    matched = row.enqueued_until
    started_at: datetime = min(row.started_at, now)
    return started_at if matched is None else max(started_at, min(matched, now) - _OVERLAP)


def _insert_new(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, except those that another process inserted at the same time."""
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
    return DeliveryCounts(pending=counts.get(PENDING, 0), failed=counts.get(FAILED, 0))


def oldest_pending(connection: sa.Connection) -> datetime | None:
    """Return when the oldest event occurred that still has a pending delivery."""
    return connection.scalar(
        select(func.min(model_events.c.occurred_at))
        .join(alert_deliveries, alert_deliveries.c.event_id == model_events.c.id)
        .where(alert_deliveries.c.status == PENDING)
    )


def channels(connection: sa.Connection) -> set[str]:
    """Return the channels that were ever notified or have an outbox entry."""
    named = set(connection.scalars(select(alert_channels.c.name)))
    return named | set(connection.scalars(select(alert_deliveries.c.channel).distinct()))


def select_deliveries(connection: sa.Connection, *, limit: int) -> list[Delivery]:
    """Return pending and failed deliveries, and the latest `limit` delivered ones, oldest first."""
    latest = (
        select(alert_deliveries.c.id)
        .where(alert_deliveries.c.status == DELIVERED)
        .order_by(alert_deliveries.c.delivered_at.desc(), alert_deliveries.c.id.desc())
        .limit(limit)
        .subquery()
    )
    shown = or_(
        alert_deliveries.c.status != DELIVERED, alert_deliveries.c.id.in_(select(latest.c.id))
    )
    return list(select_entries(connection, shown))


def select_entries(connection: sa.Connection, condition: Any) -> Iterator[Delivery]:
    """Yield entries with their events, in the order of time."""
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


def requeue(
    connection: sa.Connection, now: datetime, *, channel: str | None = None
) -> tuple[int, int]:
    """Make failed and pending entries due now. Failed ones have all their attempts again.

    Returns:
        The numbers of failed entries and of pending ones that were due later.
    """
    own = sa.true() if channel is None else alert_deliveries.c.channel == channel
    waiting = and_(alert_deliveries.c.status == PENDING, alert_deliveries.c.next_attempt_at > now)
    hastened = update(alert_deliveries).where(own, waiting).values(next_attempt_at=now)
    pending = connection.execute(hastened).rowcount
    failed = connection.execute(
        update(alert_deliveries)
        .where(own, alert_deliveries.c.status == FAILED)
        .values(status=PENDING, attempts=0, refusals=0, next_attempt_at=now)
    ).rowcount
    return failed, pending


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
class DeliveryCounts:
    """How alerts stand: `delivered` by this run, the others as the table holds them."""

    delivered: int = 0
    pending: int = 0
    failed: int = 0
