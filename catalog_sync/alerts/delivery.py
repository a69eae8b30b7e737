"""Deliver: what the passes left in the outbox goes out, at least once, and is never lost.

1. Deliveries to channels that are no longer configured end as failed.
2. Those that are due are grouped: one message per run and channel. A thread per channel, so that a
   dead one delays no other.
3. Claim: a conditional update moves the next attempt beyond this one; who counts all rows has them.
4. Send, outside of any transaction.
5. Settle: delivered, or due again later, or failed for good.

A process that dies between 3 and 5 leaves its claim to expire: the message is sent again, under
the same id.
"""

from __future__ import annotations

import hashlib
import logging
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from catalog_sync.alerts import message as alerts_message
from catalog_sync.cancel import CancelToken
from catalog_sync.db import engine as db_engine
from catalog_sync.db import outbox
from catalog_sync.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa

    from catalog_sync.alerts.channels import Channel, SendResult
    from catalog_sync.clock import Clock
    from catalog_sync.db.outbox import Notification


logger = logging.getLogger(__name__)
_CLAIM = timedelta(minutes=5)
"""How long a message may take to be sent before another process may send it too."""
_FIRST_DELAY = timedelta(minutes=1)
_LAST_DELAY = timedelta(hours=6)
_LONGEST_WAIT = timedelta(days=1)
"""What a receiver may ask for at most."""
_REFUSALS = 3
"""How often a receiver may refuse a message before it counts as refused."""
_MAX_CHANNELS = 16


def deliver_due(
    engine: sa.Engine,
    channels: Mapping[str, Channel],
    clock: Clock,
    *,
    attempts: int,
    stopped: Callable[[], bool] = lambda: False,
    turns: Mapping[str, threading.Lock] = MappingProxyType({}),
) -> int:
    """Send what is due and return how many deliveries were accepted.

    `attempts`: how often a message is sent before it counts as failed. `stopped`: asked before
    each message; what is not sent then stays due. `turns`: by channel, held while it is sent to;
    one that is held is left out. Raises DatabaseError.
    """
    with db_engine.read_transaction(engine) as connection:
        orphaned = outbox.pending_channels(connection) - channels.keys()
        batches = outbox.due_notifications(connection, clock())
    if orphaned:
        db_engine.run(engine, lambda connection: outbox.cancel(connection, orphaned))
    by_channel: dict[str, list[Notification]] = {}
    for batch in batches:
        if batch.channel in channels:
            by_channel.setdefault(batch.channel, []).append(batch)
    if not by_channel:
        return 0

    def work(name: str) -> int:
        turn = turns.get(name, threading.Lock())
        if not turn.acquire(blocking=False):
            return 0
        try:
            return _deliver_all(engine, channels[name], by_channel[name], clock, attempts, stopped)
        finally:
            turn.release()

    with ThreadPoolExecutor(min(len(by_channel), _MAX_CHANNELS)) as threads:
        return sum(threads.map(work, by_channel))


def _deliver_all(
    engine: sa.Engine,
    channel: Channel,
    batches: Sequence[Notification],
    clock: Clock,
    attempts: int,
    stopped: Callable[[], bool],
) -> int:
    """Send one channel's messages, the oldest first; one that cannot be reached is left alone."""
    delivered = 0
    for batch in batches:
        if stopped():
            break
        now = clock()
        if not _claim(engine, batch, now):
            continue  # another process has it
        message = alerts_message.compose(message_id(batch), batch.events, batch.run_id)
        outcome = channel.send(message, clock(), CancelToken())
        now = clock()
        again = next_attempt_at(outcome, batch.attempts + 1, now, attempts, random.random())  # noqa: S311
        _acknowledge(engine, batch, outcome, now, again)
        if outcome.error is None:
            delivered += len(batch.deliveries)
            continue
        logger.warning(
            "alert not delivered" if again else "alert failed for good",
            extra=fields(channel=batch.channel, run_id=batch.run_id, reason=outcome.error),
        )
        if not outcome.refused:
            break
    return delivered


class _NotClaimedError(Exception):
    """Another process holds a part of the message: nothing of it is claimed."""


def _claim(engine: sa.Engine, batch: Notification, now: datetime) -> bool:
    def work(connection: sa.Connection) -> None:
        if not outbox.claim(connection, batch, now, until=now + _CLAIM):
            raise _NotClaimedError

    try:
        db_engine.run(engine, work)
    except _NotClaimedError:
        return False
    return True


def _acknowledge(
    engine: sa.Engine,
    batch: Notification,
    outcome: SendResult,
    now: datetime,
    again: datetime | None,
) -> None:
    def work(connection: sa.Connection) -> None:
        outbox.acknowledge(connection, batch, outcome.error, now, again)
        if again is not None and outcome.retry_after is not None:
            outbox.defer(connection, batch.channel, again)

    db_engine.run(engine, work)


def message_id(batch: Notification) -> str:
    """Return the message's id: the same at each attempt, another one for every other message."""
    first = batch.events[0]
    facts = (batch.channel, batch.run_id, first.source, first.occurred_at.isoformat())
    return "msg_" + hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def next_attempt_at(
    outcome: SendResult, attempt: int, now: datetime, attempts: int, chance: float
) -> datetime | None:
    """Return when a message is to be sent again; null when it was accepted or failed for good.

    `attempt`: the number of this attempt, from 1 on. `chance`: 0 to 1, spreads those who failed
    together.
    """
    if outcome.error is None or outcome.final or attempt >= attempts:
        return None
    if outcome.refused and attempt >= _REFUSALS:
        return None
    doubled: timedelta = _FIRST_DELAY * 2 ** min(attempt - 1, 20)
    delay = min(doubled, _LAST_DELAY) * (0.9 + 0.2 * chance)
    if outcome.retry_after is not None:
        delay = min(max(delay, outcome.retry_after), _LONGEST_WAIT)
    return now + delay
