"""Statements about the next message of a channel: pick, claim, acknowledge, defer, release, expire.

One process at a time sends the messages of a channel, oldest first. While the first one waits,
because it failed or is being sent, the others wait too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import ColumnElement, and_, func, or_, select, update

from catalog_sync.db.outbox import DELIVERED, FAILED, PENDING, select_entries
from catalog_sync.db.schema import alert_deliveries as entries
from catalog_sync.db.schema import model_events as events
from catalog_sync.db.statements import chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from catalog_sync.db.outbox import Delivery
    from catalog_sync.domain.model import Event

LONGEST_WAIT: Final = timedelta(days=1)
"""The longest wait that a receiver may request."""
_LONGEST_WAIT: Final = LONGEST_WAIT + timedelta(minutes=2)
"""A later due time was written before the host's clock was set back."""
_RETRY_PERIOD: Final = timedelta(days=3)
"""How long an entry waits for a process that knows its channel."""
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
    def message_id(self) -> str | None:
        """The message's id; None before its first attempt."""
        return self.deliveries[0].message_id

    @property
    def catching_up(self) -> bool:
        """Whether the message was delayed: it was sent before, or covers several runs."""
        return self.attempts > 0 or len({event.run_id for event in self.events}) > 1


def may_be_due(times: tuple[datetime, datetime], now: datetime) -> bool:
    """Return whether a channel with these due times may have an entry to send."""
    return times[0] <= now or times[1] > now + _LONGEST_WAIT


def is_expired(times: tuple[datetime, datetime], now: datetime) -> bool:
    """Return whether no process has served a channel with these due times for too long."""
    return times[1] <= now - _RETRY_PERIOD


def next_notification(
    connection: sa.Connection, channel: str, now: datetime
) -> Notification | None:
    """Return a channel's next message, or None if none is due.

    Entries that were sent before stay in the same message. A run's new entries share a message, and
    so do all delayed runs of a source.
    """
    pending = and_(entries.c.status == PENDING, entries.c.channel == channel)
    waiting = and_(entries.c.attempts > 0, entries.c.refusals == 0, ~_due(now))
    if connection.execute(select(entries.c.id).where(pending, waiting).limit(1)).first():
        return None
    joined = entries.join(events, events.c.id == entries.c.event_id)
    order = (events.c.occurred_at, events.c.id)
    first = connection.execute(
        select(entries.c.message_id, events.c.source, events.c.run_id, events.c.occurred_at)
        .select_from(joined)
        .where(pending, _due(now))
        .order_by(*order)
        .limit(1)
    ).first()
    if first is None:
        return None
    if first.message_id is not None:
        chosen: ColumnElement[bool] = entries.c.message_id == first.message_id
    else:
        new = and_(entries.c.message_id.is_(None), events.c.source == first.source)
        runs = [first.run_id]
        if now - first.occurred_at > _BACKLOG_AGE:
            statement = select(events.c.run_id).select_from(joined).where(pending, new)
            held_up = list(connection.scalars(statement.order_by(*order).limit(_MAX_BACKLOG + 1)))
            runs += [run for run in held_up if len(held_up) <= _MAX_BACKLOG or run != held_up[-1]]
        chosen = and_(new, events.c.run_id.in_(sorted(set(runs))))
    return Notification(channel, tuple(select_entries(connection, and_(pending, chosen))))


def earlier_events(
    connection: sa.Connection, notification: Notification
) -> Counter[tuple[str, str | None]]:
    """Return how many events of each kind and model were recorded before those of the message."""
    models = {event.model_id for event in notification.events}
    counts: Counter[tuple[str, str | None]] = Counter()
    conditions: list[ColumnElement[bool]] = [
        events.c.model_id.in_(batch) for batch in chunks(sorted(filter(None, models)))
    ]
    if None in models:
        conditions.append(events.c.model_id.is_(None))
    for condition in conditions:
        statement = select(events.c.kind, events.c.model_id, func.count()).where(
            events.c.source == notification.source,
            condition,
            events.c.occurred_at < notification.events[0].occurred_at,
        )
        for kind, model_id, number in connection.execute(
            statement.group_by(events.c.kind, events.c.model_id)
        ):
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
    claimed = sum(
        connection.execute(
            update(entries)
            .where(
                entries.c.id.in_(ids),
                entries.c.status == PENDING,
                entries.c.attempts <= notification.attempts,
                or_(_due(now), entries.c.attempts == 0),
            )
            .values(
                attempts=notification.attempts + 1, next_attempt_at=until, message_id=message_id
            )
        ).rowcount
        for ids in _ids(notification)
    )
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
    status = DELIVERED if delivered else PENDING if again else FAILED
    for ids in _ids(notification):
        connection.execute(
            update(entries)
            .where(_claimed(ids, notification))
            .values(
                status=status,
                next_attempt_at=again,
                delivered_at=now if delivered else None,
                last_error=error,
                refusals=notification.refusals + refused,
            )
        )


def release(connection: sa.Connection, notification: Notification, now: datetime) -> None:
    """Release the claim of a stopped attempt, which does not count."""
    for ids in _ids(notification):
        connection.execute(
            update(entries)
            .where(_claimed(ids, notification))
            .values(attempts=notification.attempts, next_attempt_at=now)
        )


def defer(connection: sa.Connection, channel: str, until: datetime) -> None:
    """Make all pending entries of a channel wait."""
    waiting = and_(
        entries.c.channel == channel,
        entries.c.status == PENDING,
        entries.c.next_attempt_at < until,
    )
    _update(connection, waiting, next_attempt_at=until)


def expire(connection: sa.Connection, channels: Collection[str]) -> None:
    """Fail the pending entries of channels that no process serves any more."""
    pending = and_(entries.c.status == PENDING, entries.c.channel.in_(sorted(channels)))
    _update(
        connection,
        pending,
        status=FAILED,
        next_attempt_at=None,
        last_error="not sent in time: no process had this channel in its configuration",
    )


def _update(connection: sa.Connection, condition: ColumnElement[bool], **values: Any) -> None:
    """Update the entries that fulfil a condition, by their ids: see `_ids`."""
    ids = connection.scalars(select(entries.c.id).where(condition).order_by(entries.c.id)).all()
    for batch in chunks(ids):
        chosen = and_(entries.c.id.in_(batch), condition)  # not those delivered since
        connection.execute(update(entries).where(chosen).values(**values))


def _due(now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition of due entries; see `_LONGEST_WAIT`."""
    at = entries.c.next_attempt_at
    return or_(at <= now, at > now + _LONGEST_WAIT)


def _claimed(ids: Sequence[int], notification: Notification) -> ColumnElement[bool]:
    """Return the SQL condition of entries that the attempt after `notification` has claimed."""
    return and_(
        entries.c.id.in_(ids),
        entries.c.status == PENDING,
        entries.c.attempts == notification.attempts + 1,
    )


def _ids(notification: Notification) -> Iterator[Sequence[int]]:
    """Yield the ids of a message's rows, sorted, in chunks.

    Rows are updated by primary key: on MariaDB, an update by status would lock all due rows, and
    deadlock with concurrent claims.
    """
    return chunks(sorted(delivery.id for delivery in notification.deliveries))
