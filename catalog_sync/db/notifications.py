"""Statements about messages: pick, claim, acknowledge, release, defer, expire, requeue.

One process at a time sends the messages of a channel, oldest first. While the first one waits,
because it failed or is being sent, the others wait too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy import and_, func, or_, select

from catalog_sync.db.outbox import DELIVERED, FAILED, PENDING, Delivery, select_entries
from catalog_sync.db.schema import alert_deliveries as entries
from catalog_sync.db.schema import model_events as events
from catalog_sync.db.statements import chunks, update_by_id
from catalog_sync.domain.model import Event

_BACKLOG_AGE: Final = timedelta(minutes=1)
"""Unsent events that are older were delayed. Their runs share a message."""
_MAX_BACKLOG: Final = 1000
"""The largest number of entries in a message of several runs. A run is never split."""


@dataclass(frozen=True, slots=True)
class Notification:
    """The outbox entries of one message: of one run, or of several delayed runs."""

    channel: str
    deliveries: tuple[Delivery, ...]
    """Oldest first, all of one source."""

    @property
    def ids(self) -> list[int]:
        """The ids of the entries."""
        return [delivery.id for delivery in self.deliveries]

    @property
    def events(self) -> tuple[Event, ...]:
        """The events of the message."""
        return tuple(delivery.event for delivery in self.deliveries)

    @property
    def source(self) -> str:
        """The source of the events."""
        return self.deliveries[0].event.source

    @property
    def run_id(self) -> int | None:
        """The run that recorded the events, or the last of several runs."""
        return self.deliveries[-1].event.run_id

    @property
    def attempts(self) -> int:
        """How often the message was sent."""
        return max(delivery.attempts for delivery in self.deliveries)

    @property
    def refusals(self) -> int:
        """How many of the attempts the receiver refused."""
        return max(delivery.refusals for delivery in self.deliveries)

    @property
    def catching_up(self) -> bool:
        """Whether the message was delayed: it was sent before, or covers several runs."""
        return self.attempts > 0 or len({event.run_id for event in self.events}) > 1


def next_notification(
    connection: sa.Connection, channel: str, now: datetime
) -> Notification | None:
    """Return a channel's next message, or None if none is due.

    Entries that were sent before stay in the same message. A run's new entries share a message, and
    so do all delayed runs of a source.
    """
    pending = and_(entries.c.status == PENDING, entries.c.channel == channel)
    due = entries.c.next_attempt_at <= now
    waiting = and_(entries.c.attempts > 0, entries.c.refusals == 0, ~due)
    if connection.execute(select(entries.c.id).where(pending, waiting).limit(1)).first():
        return None
    joined = entries.join(events, events.c.id == entries.c.event_id)
    order = (events.c.occurred_at, events.c.id)
    first = connection.execute(
        select(entries.c.message_id, events.c.source, events.c.run_id, events.c.occurred_at)
        .select_from(joined)
        .where(pending, due)
        .order_by(*order)
        .limit(1)
    ).first()
    if first is None:
        return None
    if first.message_id is not None:
        chosen: sa.ColumnElement[bool] = entries.c.message_id == first.message_id
    else:
        new = and_(entries.c.message_id.is_(None), events.c.source == first.source)
        runs = [first.run_id]
        if now - first.occurred_at > _BACKLOG_AGE:
            statement = select(events.c.run_id).select_from(joined).where(pending, new)
            held_up = list(connection.scalars(statement.order_by(*order).limit(_MAX_BACKLOG + 1)))
            runs += [run for run in held_up if len(held_up) <= _MAX_BACKLOG or run != held_up[-1]]
        chosen = and_(new, events.c.run_id.in_(sorted(set(runs))))
    return Notification(channel, tuple(select_entries(connection, pending, chosen)))


def earlier_events(
    connection: sa.Connection, notification: Notification
) -> Counter[tuple[str, str | None]]:
    """Return how many events of each kind and model were recorded before those of the message."""
    key = (events.c.kind, events.c.model_id)
    before = (
        select(*key, func.count())
        .group_by(*key)
        .where(
            events.c.source == notification.source,
            events.c.occurred_at < notification.events[0].occurred_at,
        )
    )
    ids = sorted({event.model_id for event in notification.events if event.model_id is not None})
    counts: Counter[tuple[str, str | None]] = Counter()
    for own in (events.c.model_id.is_(None), *map(events.c.model_id.in_, chunks(ids))):
        for kind, model_id, number in connection.execute(before.where(own)):
            counts[kind, model_id] = number
    return counts


def claim(
    connection: sa.Connection,
    notification: Notification,
    message_id: str,
    now: datetime,
    *,
    until: datetime,
) -> bool:
    """Claim a notification for one attempt.

    Returns False if another process holds any part of it. The caller must then roll back.
    """
    values = {
        "attempts": notification.attempts + 1,
        "next_attempt_at": until,
        "message_id": message_id,
    }
    unclaimed = and_(
        entries.c.status == PENDING,
        entries.c.attempts <= notification.attempts,
        or_(entries.c.next_attempt_at <= now, entries.c.attempts == 0),
    )
    claimed = update_by_id(connection, entries, values, unclaimed, ids=notification.ids)
    return claimed == len(notification.deliveries)


def acknowledge(
    connection: sa.Connection,
    notification: Notification,
    now: datetime,
    *,
    error: str | None,
    refused: bool,
    again: datetime | None,
) -> None:
    """Record the result of an attempt, unless another process has claimed the message since.

    `notification` is the one before the attempt. `error` is None if the receiver accepted it,
    `again` is None if there is no further attempt.
    """
    delivered = error is None
    values = {
        "status": DELIVERED if delivered else PENDING if again else FAILED,
        "next_attempt_at": again,
        "delivered_at": now if delivered else None,
        "last_error": error,
        "refusals": notification.refusals + refused,
    }
    update_by_id(connection, entries, values, _claimed(notification), ids=notification.ids)


def release(connection: sa.Connection, notification: Notification, now: datetime) -> None:
    """Release the claim of a stopped attempt, which does not count."""
    values = {"attempts": notification.attempts, "next_attempt_at": now}
    update_by_id(connection, entries, values, _claimed(notification), ids=notification.ids)


def _claimed(notification: Notification) -> sa.ColumnElement[bool]:
    """Return the SQL condition of entries that the attempt after `notification` has claimed."""
    attempt = notification.attempts + 1
    return and_(entries.c.status == PENDING, entries.c.attempts == attempt)


def defer(connection: sa.Connection, channel: str, until: datetime) -> None:
    """Make all pending entries of a channel wait."""
    own = and_(entries.c.channel == channel, entries.c.status == PENDING)
    earlier = entries.c.next_attempt_at < until
    update_by_id(connection, entries, {"next_attempt_at": until}, own, earlier)


def expire(connection: sa.Connection, channels: Collection[str]) -> None:
    """Fail the pending entries of channels that no process serves any more."""
    error = "not sent in time: no process had this channel in its configuration"
    values = {"status": FAILED, "next_attempt_at": None, "last_error": error}
    pending = and_(entries.c.status == PENDING, entries.c.channel.in_(sorted(channels)))
    update_by_id(connection, entries, values, pending)


def requeue(
    connection: sa.Connection, now: datetime, *, channel: str | None = None
) -> tuple[int, int]:
    """Make failed and pending entries due now. Failed ones get all their attempts again.

    Returns:
        The numbers of failed entries and of pending ones that were due later.
    """
    own = sa.true() if channel is None else entries.c.channel == channel
    later = and_(own, entries.c.status == PENDING, entries.c.next_attempt_at > now)
    pending = update_by_id(connection, entries, {"next_attempt_at": now}, later)
    values = {"status": PENDING, "attempts": 0, "refusals": 0, "next_attempt_at": now}
    failed = update_by_id(connection, entries, values, own, entries.c.status == FAILED)
    return failed, pending
