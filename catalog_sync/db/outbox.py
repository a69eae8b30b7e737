"""Statements about the outbox: channels and alert deliveries."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import and_, func, or_, select, update

from catalog_sync.db.catalog import event_of
from catalog_sync.db.schema import alert_channels, alert_deliveries, model_events
from catalog_sync.db.statements import chunks, insert_new

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from catalog_sync.config.settings import AlertSettings
    from catalog_sync.domain.model import Event

STATUSES = PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
_OVERLAP = timedelta(days=2)
"""How far back events are matched again. An event may become visible after a later one, because its
transaction took longer or its host's clock is slow (by a day at most, or its run fails)."""
_ENQUEUE_EVERY = timedelta(hours=1)
"""How often `enqueued_until` is written while there is nothing to enqueue."""


# --- enqueue -----------------------------------------------------------------------------------


def register_channels(connection: sa.Connection, names: Iterable[str], now: datetime) -> None:
    """Record new channels. Events before `now` are not sent to them."""
    rows = [{"name": name, "started_at": now} for name in sorted(set(names))]
    insert_new(connection, alert_channels, rows)


def enqueue(
    connection: sa.Connection,
    rules: Sequence[AlertSettings],
    now: datetime,
    *,
    run_id: int | None = None,
) -> None:
    """Add the missing outbox entries, one per event and channel whose rule matches, due now.

    Called in the transaction that records a run's events, so that no alert is lost, and before each
    delivery, for the events of processes that do not know the channel. Channels that
    `register_channels` has not recorded get nothing. `run_id` limits it to the events of that run.
    """
    known = _channels(connection, rules)
    missing = _missing(connection, rules, known, now, run_id)
    for batch in chunks(missing):
        entry = {"status": PENDING, "attempts": 0, "next_attempt_at": now}
        rows = [{"event_id": event.id, "channel": channel, **entry} for event, channel in batch]
        insert_new(connection, alert_deliveries, rows)
    if run_id is None:
        _end_waits_of_a_wrong_clock(connection, known, now)
        matched = update(alert_channels).where(alert_channels.c.name.in_(sorted(known)))
        connection.execute(matched.values(enqueued_until=now))


def _end_waits_of_a_wrong_clock(
    connection: sa.Connection, channels: Mapping[str, Any], now: datetime
) -> None:
    """Make entries due that were deferred before the host's clock was set back."""
    limit = now + _ENQUEUE_EVERY
    ahead = [n for n, row in channels.items() if row.enqueued_until and row.enqueued_until >= limit]
    if ahead:
        entries = alert_deliveries.c
        deferred = [entries.status == PENDING, entries.next_attempt_at > now]
        connection.execute(
            update(alert_deliveries)
            .where(*deferred, entries.channel.in_(ahead))
            .values(next_attempt_at=now)
        )


def needs_enqueue(connection: sa.Connection, rules: Sequence[AlertSettings], now: datetime) -> bool:
    """Return whether `register_channels` or `enqueue` would have something to write."""
    known = _channels(connection, rules)
    return (
        len(known) < len({rule.name for rule in rules})
        or any(
            row.enqueued_until is None or abs(now - row.enqueued_until) >= _ENQUEUE_EVERY
            for row in known.values()
        )
        or bool(_missing(connection, rules, known, now, None))
    )


def _channels(connection: sa.Connection, rules: Sequence[AlertSettings]) -> dict[str, Any]:
    """Return the rows of the rules' channels, by name."""
    names = sorted({rule.name for rule in rules})
    rows = connection.execute(select(alert_channels).where(alert_channels.c.name.in_(names)))
    return {row.name: row for row in rows}


def _missing(
    connection: sa.Connection,
    rules: Sequence[AlertSettings],
    channels: Mapping[str, Any],
    now: datetime,
    run_id: int | None,
) -> list[tuple[Event, str]]:
    """Return the events without an outbox entry, with the channel whose rule matches them."""
    since = {name: _since(row, now) for name, row in channels.items()}
    kinds = sorted({kind for rule in rules for kind in rule.events})
    if not since or not kinds:
        return []
    entries, wanted = alert_deliveries.c, {"changes", "payload"}
    statement = (
        select(entries.channel, *(column for column in model_events.c if column.name not in wanted))
        .outerjoin_from(model_events, alert_deliveries, entries.event_id == model_events.c.id)
        .where(model_events.c.kind.in_(kinds), model_events.c.baseline == sa.false())
        .order_by(model_events.c.occurred_at, model_events.c.id)
    )
    if run_id is not None:
        statement = statement.where(model_events.c.run_id == run_id)
    else:
        statement = statement.where(model_events.c.occurred_at >= min(since.values()))
    missing: dict[tuple[int | None, str], Event] = {}
    present: set[tuple[int | None, str]] = set()
    for row in connection.execute(statement).mappings():
        event = event_of(row)
        present.add((event.id, row["channel"]))
        for rule in rules:
            begins_at = since.get(rule.name)
            if begins_at is not None and event.occurred_at >= begins_at and rule.matches(event):
                missing[event.id, rule.name] = event
    return [(event, key[1]) for key, event in missing.items() if key not in present]


def _since(row: Any, now: datetime) -> datetime:
    """Return the time from which a channel's events are matched.

    A time after `now` was written before the clock was set back.
    """
    matched = row.enqueued_until
    started_at: datetime = min(row.started_at, now)
    return started_at if matched is None else max(started_at, min(matched, now) - _OVERLAP)


# --- queries -----------------------------------------------------------------------------------


def count_deliveries(connection: sa.Connection) -> dict[str, int]:
    """Return the number of deliveries by status. A status without any is missing."""
    statement = select(alert_deliveries.c.status, func.count()).group_by(alert_deliveries.c.status)
    return {status: number for status, number in connection.execute(statement)}  # noqa: C416


def unsent(connection: sa.Connection) -> Unsent:
    """Return what is known of the pending and the failed deliveries."""
    status, at = alert_deliveries.c.status, alert_deliveries.c.next_attempt_at
    rows = connection.execute(
        select(alert_deliveries.c.channel, status, func.count(), func.min(at), func.max(at))
        .where(status.in_([PENDING, FAILED]))
        .group_by(alert_deliveries.c.channel, status)
    )
    found = Unsent()
    for channel, word, number, first, last in rows:
        (found.failed if word == FAILED else found.pending)[channel] = number
        if word == PENDING and first is not None:
            found.due[channel] = (first, last)
    return found


def oldest_pending(connection: sa.Connection) -> datetime | None:
    """Return the time of the oldest event with a pending delivery."""
    return connection.scalar(
        select(func.min(model_events.c.occurred_at))
        .join(alert_deliveries, alert_deliveries.c.event_id == model_events.c.id)
        .where(alert_deliveries.c.status == PENDING)
    )


def channels(connection: sa.Connection) -> set[str]:
    """Return the names of the recorded channels, those with only outbox entries included."""
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
    """Yield outbox entries with their events, oldest first."""
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
    """Make failed and pending entries due now. Failed ones get all their attempts again.

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


@dataclass(slots=True)
class Unsent:
    """The pending and the failed deliveries, by channel."""

    pending: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    due: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    """The first and the last time at which a pending entry of a channel is due."""

    def counts(self, delivered: int = 0) -> DeliveryCounts:
        """Return the numbers, with that of the deliveries that were just accepted."""
        return DeliveryCounts(delivered, sum(self.pending.values()), sum(self.failed.values()))


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """Numbers of deliveries: `delivered` by this run; `pending` and `failed` in the table."""

    delivered: int = 0
    pending: int = 0
    failed: int = 0
