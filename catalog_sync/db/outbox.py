"""Statements about the outbox: channels and alert deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import func, or_, select, update

from catalog_sync.config.settings import AlertSettings
from catalog_sync.db.events import event_of
from catalog_sync.db.schema import alert_channels, alert_deliveries, model_events
from catalog_sync.db.statements import chunks, insert_new, update_by_id
from catalog_sync.domain.model import Event

STATUSES = PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
LONGEST_WAIT = timedelta(days=1)
"""The longest wait that a receiver may request."""
_OVERLAP = timedelta(days=2)
"""How far back events are matched again. An event may become visible after a later one, because its
transaction took longer or its host's clock is slow (by a day at most, or its run fails)."""
_ENQUEUE_EVERY = timedelta(hours=1)
"""How often `enqueued_until` is written while there is nothing to enqueue."""
_entry = alert_deliveries.c
_ENTRY = tuple(column for column in _entry if column.name != "event_id")
"""The columns in the order of `Delivery`, after the event."""


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
    for batch in chunks(_missing(connection, rules, known, now, run_id)):
        entry = {"status": PENDING, "attempts": 0, "next_attempt_at": now}
        rows = [{"event_id": event_id, "channel": channel, **entry} for event_id, channel in batch]
        insert_new(connection, alert_deliveries, rows)
    if run_id is None:
        _end_waits_of_a_wrong_clock(connection, known, now)
        matched = update(alert_channels).where(alert_channels.c.name.in_(sorted(known)))
        connection.execute(matched.values(enqueued_until=now))
        ahead = matched.where(alert_channels.c.started_at > now)
        connection.execute(ahead.values(started_at=now))  # written before the clock was set back


def _end_waits_of_a_wrong_clock(
    connection: sa.Connection, channels: Mapping[str, Any], now: datetime
) -> None:
    """Make entries due that were deferred before the host's clock was set back."""
    limit = now + _ENQUEUE_EVERY
    ahead = [n for n, row in channels.items() if row.enqueued_until and row.enqueued_until >= limit]
    deferred = or_(
        _entry.next_attempt_at > now + LONGEST_WAIT + _ENQUEUE_EVERY,
        (_entry.next_attempt_at > now) & _entry.channel.in_(ahead),
    )
    values = {"next_attempt_at": now}
    update_by_id(connection, alert_deliveries, values, _entry.status == PENDING, deferred)


def needs_enqueue(connection: sa.Connection, rules: Sequence[AlertSettings], now: datetime) -> bool:
    """Return whether `register_channels` or `enqueue` would have something to write."""
    known = _channels(connection, rules)
    return (
        len(known) < len({rule.name for rule in rules})
        or any(
            row.started_at > now
            or row.enqueued_until is None
            or abs(now - row.enqueued_until) >= _ENQUEUE_EVERY
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
) -> list[tuple[int | None, str]]:
    """Return the ids of events without an outbox entry, with the channel whose rule matches.

    All events of the run `run_id` count, whatever the clocks say: it began after its channels.
    """
    since = {name: _since(row, now) for name, row in channels.items()}
    kinds = sorted({kind for rule in rules for kind in rule.events})
    if not since or not kinds:
        return []
    columns = [column for column in model_events.c if column.name not in {"changes", "payload"}]
    statement = (
        select(_entry.channel, *columns)
        .outerjoin_from(model_events, alert_deliveries, _entry.event_id == model_events.c.id)
        .where(model_events.c.kind.in_(kinds), model_events.c.baseline == sa.false())
        .order_by(model_events.c.occurred_at, model_events.c.id)
    )
    if run_id is not None:
        statement = statement.where(model_events.c.run_id == run_id)
    else:
        statement = statement.where(model_events.c.occurred_at >= min(since.values()))
    wanted, present = [], set()
    for row in connection.execute(statement).mappings():  # an event has a row per entry
        event = event_of(row)
        present.add((event.id, row["channel"]))
        wanted += [
            (event.id, rule.name)
            for rule in rules
            if rule.name in since
            and (run_id is not None or event.occurred_at >= since[rule.name])
            and rule.matches(event)
        ]
    return [key for key in dict.fromkeys(wanted) if key not in present]


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
    counts = select(_entry.status, func.count()).group_by(_entry.status)
    return dict(connection.execute(counts).all())


def unsent(connection: sa.Connection) -> Unsent:
    """Return what is known of the pending and the failed deliveries."""
    key, at = (_entry.channel, _entry.status), _entry.next_attempt_at
    statement = select(*key, func.count(), func.min(at), func.max(at)).group_by(*key)
    found = Unsent()
    for channel, status, number, first, last in connection.execute(
        statement.where(_entry.status.in_([PENDING, FAILED]))
    ):
        (found.failed if status == FAILED else found.pending)[channel] = number
        if status == PENDING and first is not None:
            found.due[channel] = (first, last)
    return found


def oldest_pending(connection: sa.Connection) -> datetime | None:
    """Return the time of the oldest event with a pending delivery."""
    return connection.scalar(
        select(func.min(model_events.c.occurred_at))
        .join(alert_deliveries, _entry.event_id == model_events.c.id)
        .where(_entry.status == PENDING)
    )


def channels(connection: sa.Connection) -> set[str]:
    """Return the names of the recorded channels, those with only outbox entries included."""
    return set(connection.scalars(select(alert_channels.c.name).union(select(_entry.channel))))


def select_deliveries(connection: sa.Connection, *, limit: int) -> list[Delivery]:
    """Return pending and failed deliveries, and the latest `limit` delivered ones, oldest first."""
    latest = (
        select(_entry.id)
        .where(_entry.status == DELIVERED)
        .order_by(_entry.delivered_at.desc(), _entry.id.desc())
        .limit(limit)
        .subquery()  # MariaDB allows no LIMIT directly in IN
    )
    shown = or_(_entry.status != DELIVERED, _entry.id.in_(select(latest.c.id)))
    return select_entries(connection, shown)


def select_entries(connection: sa.Connection, *conditions: Any) -> list[Delivery]:
    """Return outbox entries with their events, oldest first."""
    statement = (
        select(*model_events.c, *_ENTRY)
        .join(model_events, model_events.c.id == _entry.event_id)
        .where(*conditions)
        .order_by(model_events.c.occurred_at, model_events.c.id, _entry.id)
    )
    names = model_events.c.keys()
    return [
        Delivery(event_of(dict(zip(names, row, strict=False))), *row[len(names) :])
        for row in connection.execute(statement)
    ]


# --- values ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of `alert_deliveries`, with its event."""

    event: Event
    id: int
    channel: str
    status: str
    attempts: int
    """How often it was sent, since `alerts retry` if that was used."""
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    last_error: str | None
    refusals: int
    """How many of the attempts the receiver refused."""
    message_id: str | None
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
