"""Deliver alerts: every outbox entry is sent at least once, in order, and none is lost.

1. Enqueue: add the missing entries for events that other processes recorded.

2. Expire: fail the entries of channels that no process has served for days.

3. Send: one thread per channel, so that a dead receiver delays no other channel. The thread claims
the channel's next message by a conditional update, sends it without an open transaction, and
acknowledges it as delivered, due again later, or failed.

If a process dies during an attempt, its claim expires and the message is sent again with the same
id.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from queue import SimpleQueue
from typing import Final

import sqlalchemy as sa

from catalog_sync.alerts import message
from catalog_sync.alerts.channels import Channel, SendResult, Webhook
from catalog_sync.alerts.lines import full_name
from catalog_sync.alerts.message import Message
from catalog_sync.cancel import CancelToken
from catalog_sync.clock import Clock
from catalog_sync.config.settings import AlertSettings
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import engine as db_engine
from catalog_sync.db import notifications, outbox
from catalog_sync.db.notifications import Notification
from catalog_sync.domain.kinds import ENDING
from catalog_sync.domain.successor import successors
from catalog_sync.errors import StoppedError
from catalog_sync.logs import fields

logger = logging.getLogger(__name__)
_CLAIM: Final = timedelta(minutes=5)
"""The time after which another process may claim the message of an unfinished attempt."""
_RETRY_PERIOD: Final = timedelta(days=3)
"""How long an entry waits for a process that knows its channel."""
_PACE: Final = timedelta(minutes=1)
"""The pause between messages of a channel that catches up after an outage."""
_STOP_SECONDS: Final = 3.0
"""How long a stop waits for the channels to release their claims."""
_FIRST_DELAY: Final = timedelta(minutes=1)
_LAST_DELAY: Final = timedelta(hours=6)
_REFUSALS: Final = 3
"""The number of refusals after which a message fails permanently."""


def open_channel(alert: AlertSettings) -> Channel:
    """Return a channel. Raises ConfigError if its URL or signing secret cannot be used."""
    if alert.webhook is not None:
        return Webhook(alert.webhook.get_secret_value(), alert.secret())
    if alert.url is None:
        raise ValueError("the channel has no address")
    from catalog_sync.alerts.chat import Chat  # noqa: PLC0415  # heavy: Apprise

    return Chat(alert.name, alert.url.get_secret_value())


def deliver_due(
    engine: sa.Engine,
    channels: Mapping[str, Channel],
    clock: Clock,
    *,
    attempts: int,
    rules: Sequence[AlertSettings] = (),
    cancel: CancelToken | None = None,
    public_url: str | None = None,
) -> outbox.DeliveryCounts:
    """Send the due messages to the channels of this process.

    A message fails after this number of `attempts`. If `cancel` is cancelled, unsent entries stay
    due. Returns the numbers of accepted entries, and of pending and failed ones afterwards.
    """
    unsent, due = _prepare(engine, channels, rules, clock())
    if not due:
        return unsent.counts()
    sender = _Sender(engine, clock, attempts, cancel or CancelToken(), public_url)
    sender.serve_all({name: channels[name] for name in due})
    if sender.errors:
        raise sender.errors[0]
    with db_engine.read_transaction(engine) as connection:
        return outbox.unsent(connection).counts(sum(sender.delivered))


def _prepare(
    engine: sa.Engine,
    channels: Mapping[str, Channel],
    rules: Sequence[AlertSettings],
    now: datetime,
) -> tuple[outbox.Unsent, list[str]]:
    """Enqueue and expire; return the unsent, and the channels that may have something to send."""
    with db_engine.read_transaction(engine) as connection:
        missing = bool(rules) and outbox.needs_enqueue(connection, rules, now)
        unsent = outbox.unsent(connection)
    unserved = [
        name
        for name, (_, last) in unsent.due.items()
        if name not in channels and last <= now - _RETRY_PERIOD
    ]

    def work(connection: sa.Connection) -> None:
        if missing:
            outbox.register_channels(connection, [rule.name for rule in rules], now)
            outbox.enqueue(connection, rules, now)
        if unserved:
            notifications.expire(connection, unserved)

    if missing or unserved:
        db_engine.run(engine, work)
        with db_engine.read_transaction(engine) as connection:
            unsent = outbox.unsent(connection)
    due = [n for n, (first, _) in unsent.due.items() if first <= now and n in channels]
    return unsent, due


def next_attempt_at(
    result: SendResult, attempt: int, refusals: int, now: datetime, attempts: int, chance: float
) -> datetime | None:
    """Return when a message is sent again; None if it was accepted or has failed permanently.

    `attempt` counts from 1 up to `attempts`, and `refusals` includes this one. `chance`, 0 to 1,
    spreads the attempts of messages that failed together.
    """
    if result.error is None or result.final or attempt >= attempts:
        return None
    if result.refused and refusals >= _REFUSALS:
        return None
    return now + _delay(result, attempt, chance)


def _delay(result: SendResult, attempt: int, chance: float) -> timedelta:
    """Return the pause after an attempt: exponential, and at least what the receiver asks for."""
    doubled: timedelta = _FIRST_DELAY * 2 ** min(attempt - 1, 20)
    pause = min(doubled, _LAST_DELAY) * (0.9 + 0.2 * chance)
    if result.retry_after is not None:
        pause = min(max(pause, result.retry_after), outbox.LONGEST_WAIT)
    return pause


class _NotClaimedError(Exception):
    """Another process holds a part of the message."""


@dataclass
class _Sender:
    """The shared state of the threads of a delivery."""

    engine: sa.Engine
    clock: Clock
    attempts: int
    cancel: CancelToken
    public_url: str | None
    delivered: list[int] = field(default_factory=list)
    """The number of entries of each accepted message."""
    errors: list[BaseException] = field(default_factory=list)
    ended: SimpleQueue[str | None] = field(default_factory=SimpleQueue)

    def serve_all(self, channels: Mapping[str, Channel]) -> None:
        """Serve each channel in a thread, and wait for the threads; after a stop, only briefly."""
        threads = [
            threading.Thread(target=self._serve, args=item, name=f"alerts-{item[0]}", daemon=True)
            for item in channels.items()
        ]
        try:
            with self.cancel.on_cancel(lambda: self.ended.put(None)):
                for thread in threads:
                    thread.start()
                for _ in threads:
                    if self.ended.get() is None:
                        break
        except BaseException:  # raised by a signal
            self.cancel.cancel()
            raise
        finally:
            ends_at = time.monotonic() + _STOP_SECONDS
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, ends_at - time.monotonic()))

    def _serve(self, name: str, channel: Channel) -> None:
        """Send a channel's messages until none is due or the receiver does not accept one."""
        try:
            while not self.cancel.cancelled and self._send_next(name, channel):
                pass
        except BaseException as error:  # noqa: BLE001  # raised again in the waiting thread
            self.errors.append(error)
        finally:
            self.ended.put(name)

    def _send_next(self, name: str, channel: Channel) -> bool:
        """Send a channel's next message. Returns whether to continue."""
        now = self.clock()
        # In one transaction, because another process may acknowledge the message between queries.
        with db_engine.read_transaction(self.engine) as connection:
            notification = notifications.next_notification(connection, name, now)
            if notification is None:
                return False
            composed = self._compose(connection, notification)
        if not self._claim(notification, composed.message_id, now):
            return False
        try:
            result = channel.send(composed, self.clock(), self.cancel)
        except StoppedError:
            now = self.clock()
            db_engine.run(self.engine, lambda c: notifications.release(c, notification, now))
            return False
        again = self._record(notification, result)
        if result.error is None:
            self.delivered.append(len(notification.deliveries))
            return not notification.catching_up
        logger.warning(
            "alert not delivered" if again else "alert failed permanently",
            extra=fields(channel=name, run_id=notification.run_id, reason=result.error),
        )
        return result.refused

    def _compose(self, connection: sa.Connection, notification: Notification) -> Message:
        events, id_ = notification.events, notification.deliveries[0].message_id
        if id_ is None:
            earlier = notifications.earlier_events(connection, notification)
            id_ = message.message_id(notification.channel, events, earlier)
        names = {}
        if any(event.kind in ENDING for event in events):
            records = list(db_catalog.select_models(connection, source=notification.source))
            for (_, model_id), newer in successors(records, events[-1].occurred_at).items():
                names[model_id] = full_name(newer.info.display_name, newer.info.id)
        return message.compose(
            id_, events, notification.run_id, public_url=self.public_url, successors=names
        )

    def _claim(self, notification: Notification, id_: str, now: datetime) -> bool:
        def work(connection: sa.Connection) -> None:
            if not notifications.claim(connection, notification, id_, now, until=now + _CLAIM):
                raise _NotClaimedError

        try:
            db_engine.run(self.engine, work)
        except _NotClaimedError:
            return False
        return True

    def _record(self, notification: Notification, result: SendResult) -> datetime | None:
        """Record the result of an attempt. Returns when the message is sent again."""
        now, attempt = self.clock(), notification.attempts + 1
        chance = random.random()  # noqa: S311  # spreads attempts
        refusals = notification.refusals + result.refused
        again = next_attempt_at(result, attempt, refusals, now, self.attempts, chance)
        resting = None
        if result.error is None:
            resting = now + _PACE if notification.catching_up else None
        elif result.retry_after is not None or (again is None and not result.refused):
            resting = again or now + _delay(result, attempt, chance)

        def work(connection: sa.Connection) -> None:
            error, refused = result.error, result.refused
            notifications.acknowledge(
                connection, notification, now, error=error, refused=refused, again=again
            )
            if resting is not None:
                notifications.defer(connection, notification.channel, resting)

        db_engine.run(self.engine, work)
        return again
