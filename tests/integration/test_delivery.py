"""From the outbox to the receiver, on each database: at least once, never lost, no storms."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from standardwebhooks import Webhook

from catalog_sync.alerts.channels import SendResult
from catalog_sync.alerts.delivery import deliver_due, next_attempt_at, open_channel
from catalog_sync.alerts.message import message_id
from catalog_sync.app import App
from catalog_sync.cancel import CancelToken
from catalog_sync.clock import utc_now
from catalog_sync.config.settings import AlertSettings, Settings, SourceSettings
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import engine as db_engine
from catalog_sync.db import notifications, outbox
from catalog_sync.db.notifications import Notification
from catalog_sync.db.outbox import Delivery
from catalog_sync.db.schema import sources, sync_runs
from catalog_sync.db.statements import insert_new, inserted_id
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event
from receivers import PATIENCE_SECONDS, Receiver, Reply, write_config
from support import (
    Answer,
    Request,
    ScriptedServer,
    environment,
    model,
    page,
    program,
    settings_for,
)

# Apprise imports it where the mail plugin may sign mails.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EXPIRED = timedelta(minutes=6)
"""Longer than a claim lasts."""
ATTEMPTS = 20
SECRET = "whsec_c2VjcmV0IG9mIG5vYm9keQ=="
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For tests that do not depend on the database: one is enough."""
DOWN = SendResult("down")
REFUSED = SendResult("no", refused=True)


# --- when to try again -------------------------------------------------------------------------


def schedule(outcome: SendResult, chance: float = 0.5, attempts: int = ATTEMPTS) -> list[timedelta]:
    """Return the pauses between the attempts of a message whose attempts all end like this."""
    pauses: list[timedelta] = []
    while True:
        attempt = len(pauses) + 1
        refusals = attempt if outcome.refused else 0
        again = next_attempt_at(outcome, attempt, refusals, NOW, attempts, chance)
        if again is None:
            return pauses
        pauses.append(again - NOW)


def test_about_three_days() -> None:
    """By default a receiver that is down is tried for about three days, with growing pauses."""
    pauses = schedule(
        DOWN, attempts=Settings(sources=(SourceSettings(name="a"),)).delivery_attempts
    )
    assert timedelta(days=2.5) < sum(pauses, timedelta()) < timedelta(days=3.5)
    assert pauses == sorted(pauses)
    assert pauses[:5] == [MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE, 16 * MINUTE]
    assert max(pauses) == timedelta(hours=6)


def test_jitter() -> None:
    """Chance spreads the attempts of messages that failed together, within a tenth."""
    early, late = schedule(DOWN, 0.0), schedule(DOWN, 1.0)
    for soonest, usual, latest in zip(early, schedule(DOWN), late, strict=True):
        assert soonest < usual < latest
        assert 0.9 * usual <= soonest
        assert latest <= 1.1 * usual


@pytest.mark.parametrize(
    ("outcome", "attempts", "tried"),
    [
        (SendResult(), 20, 1),
        (DOWN, 20, 20),
        (DOWN, 1, 1),
        (DOWN, 1000, 1000),
        (REFUSED, 20, 3),
        (REFUSED, 2, 2),
        (SendResult("gone", refused=True, final=True), 20, 1),
        (SendResult("gone", refused=True, final=True, retry_after=MINUTE), 20, 1),
    ],
)
def test_attempts(outcome: SendResult, attempts: int, tried: int) -> None:
    """Accepted and 410 are final, a refusal at the third attempt, other failures at the last."""
    assert len(schedule(outcome, attempts=attempts)) + 1 == tried


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (timedelta(seconds=1), MINUTE),
        (timedelta(minutes=10), timedelta(minutes=10)),
        (timedelta(hours=20), timedelta(hours=20)),
        (timedelta(days=300), timedelta(days=1)),
    ],
)
def test_asked_to_wait(asked: timedelta, pause: timedelta) -> None:
    """The wait that a receiver asks for is kept, within the usual wait and a day."""
    assert next_attempt_at(SendResult("busy", retry_after=asked), 1, 0, NOW, 20, 0.5) == NOW + pause


# --- a world with an outbox --------------------------------------------------------------------


class Clock:
    """A clock that a test sets. Each reading is later than the one before by a `tick`."""

    def __init__(self, now: datetime = NOW, tick: timedelta = timedelta()) -> None:
        self.now = now
        self.tick = tick

    def __call__(self) -> datetime:
        self.now += self.tick
        return self.now


class World:
    """A database with an outbox, and channels with webhook receivers."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.clock = Clock()
        self.urls: dict[str, str] = {}
        with engine.begin() as connection:
            row = {"name": "anthropic", "base_url": "https://api.example"}
            insert_new(connection, sources, [row])

    def record(self, models: int = 1, at: datetime | None = None, kind: Kind = Kind.ADDED) -> int:
        """Record a run with an event for each of several models, as a process without channels."""
        at = at or self.clock.now
        with self.engine.begin() as connection:
            made = sa.insert(sync_runs).values(
                source="anthropic", status="succeeded", started_at=at, number=1
            )
            run_id = inserted_id(connection.execute(made))
            ids = [f"m-{run_id}-{number}" for number in range(models)]
            news = [Event(kind, at, id_, {}, model(id_), "anthropic", run_id) for id_ in ids]
            db_catalog.insert_events(connection, news)
        return run_id

    def enqueue(self, *channels: str, models: int = 1, at: datetime | None = None) -> int:
        """Record a run as a process with these channels, which match all new models."""
        at = at or self.clock.now
        run_id = self.record(models, at)
        with self.engine.begin() as connection:
            outbox.register_channels(connection, channels, min(at, self.clock.now))
            outbox.enqueue(connection, rules_for(channels), at, run_id=run_id)
        return run_id

    def deliver(
        self,
        *,
        later: timedelta = timedelta(),
        only: tuple[str, ...] | None = None,
        attempts: int = ATTEMPTS,
        enqueue: bool = False,
        cancel: CancelToken | None = None,
    ) -> int:
        """Deliver the due entries after some time, over all channels or some of them."""
        self.clock.now += later
        names = self.urls if only is None else only
        channels = {
            name: open_channel(AlertSettings(name=name, webhook=SecretStr(self.urls[name])))
            for name in names
        }
        rules = rules_for(names) if enqueue else ()
        return deliver_due(
            self.engine, channels, self.clock, attempts=attempts, rules=rules, cancel=cancel
        ).delivered

    def rows(self, channel: str | None = None) -> list[Delivery]:
        with db_engine.read_transaction(self.engine) as connection:
            found = outbox.select_deliveries(connection, limit=1000)
        return [each for each in found if channel in {None, each.channel}]

    def row(self, channel: str | None = None) -> Delivery:
        (only,) = self.rows(channel)
        return only

    def statuses(self, channel: str | None = None) -> list[str]:
        return [each.status for each in self.rows(channel)]

    def requeue(self, channel: str | None = None) -> tuple[int, int]:
        with self.engine.begin() as connection:
            return notifications.requeue(connection, self.clock.now, channel=channel)


def rules_for(channels: Iterable[str]) -> list[AlertSettings]:
    url, kinds = SecretStr("json://localhost"), (Kind.ADDED, Kind.REMOVED)
    return [AlertSettings(name=channel, url=url, events=kinds) for channel in channels]


@pytest.fixture
def world(engine: sa.Engine) -> World:
    return World(engine)


@pytest.fixture
def hook(world: World) -> Iterator[Receiver]:
    """The receiver of the channel `hook`."""
    with Receiver() as receiver:
        world.urls["hook"] = f"{receiver.url}/T0KEN"
        yield receiver


def notified_ids(receiver: Receiver) -> list[list[str]]:
    """Return the models of each message."""
    return [[e["model_id"] for e in got.json["data"]["events"]] for got in receiver.received]


# --- when ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [timedelta(hours=12), timedelta(days=1), timedelta(days=400)])
def test_waits_of_a_clock_that_was_set_back(world: World, hook: Receiver, ahead: timedelta) -> None:
    """A wait that a receiver asked for is kept, unless the clock was ahead when it began."""
    hook.replies = [Reply(503, {"retry-after": "86400"}), Reply()]
    world.enqueue("hook")
    assert world.deliver(enqueue=True) == 0
    assert world.deliver(enqueue=True, later=timedelta(hours=23)) == 0
    assert len(hook.received) == 1
    assert world.deliver(enqueue=True, later=-timedelta(hours=23) - ahead) == 1
    assert world.statuses() == ["delivered"]


def test_a_stop_leaves_the_rest_due(world: World, hook: Receiver) -> None:
    """After a stop, unsent entries stay unchanged and are sent the next time."""
    world.enqueue("hook")
    cancel = CancelToken()
    cancel.cancel()
    assert world.deliver(cancel=cancel) == 0
    assert (world.row().attempts, hook.received) == (0, [])
    assert world.deliver() == 1


def test_a_stop_while_a_receiver_hangs(world: World, hook: Receiver) -> None:
    """A stop ends a delivery at once; the attempt does not count, and the message is due again."""
    never = threading.Event()
    hook.replies = [Reply(after=never), Reply()]
    world.enqueue("hook")
    cancel = CancelToken()
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(world.deliver, cancel=cancel)
        assert hook.wait_for(1)
        cancel.cancel()
        assert sending.result(timeout=5) == 0
        never.set()
    assert (world.row().status, world.row().attempts) == ("pending", 0)
    assert world.deliver() == 1
    assert len(set(hook.ids)) == 1


# --- messages ----------------------------------------------------------------------------------


def test_one_message_per_run_and_channel(world: World, hook: Receiver) -> None:
    """A run's events are one message; each run and channel has a separate message."""
    with Receiver() as other:
        world.urls["other"] = other.url
        first, second = world.enqueue("hook", "other", models=3), world.enqueue("hook", models=2)
        assert world.deliver() == 8
        assert notified_ids(hook) == [
            [f"m-{first}-{n}" for n in range(3)],
            [f"m-{second}-{n}" for n in range(2)],
        ]
        assert notified_ids(other) == notified_ids(hook)[:1]
        assert [got.json["data"]["run_id"] for got in hook.received] == [first, second]
        assert len({*hook.ids, *other.ids}) == 3
    assert set(world.statuses()) == {"delivered"}
    assert all(each.delivered_at == NOW and each.attempts == 1 for each in world.rows())
    assert all(each.next_attempt_at is None for each in world.rows())
    assert world.deliver(later=EXPIRED) == 0


@on_sqlite
def test_nothing_before_it_is_due(world: World, hook: Receiver) -> None:
    """Entries that are not due yet are left alone."""
    world.enqueue("hook", at=NOW + MINUTE)
    assert world.deliver() == 0
    assert hook.received == []
    assert world.deliver(later=MINUTE) == 1


def test_same_id_at_each_attempt(world: World, hook: Receiver) -> None:
    """A message that is sent again has the same id and the same body."""
    hook.replies = [Reply(500), Reply(503), Reply()]
    world.enqueue("hook", models=2)
    for later in (timedelta(), 2 * MINUTE, 3 * MINUTE):
        world.deliver(later=later)
    assert len(hook.received) == 3
    assert len({(got.id, got.body) for got in hook.received}) == 1
    assert world.statuses() == ["delivered"] * 2
    assert {(each.attempts, each.last_error) for each in world.rows()} == {(3, None)}


# --- failures ----------------------------------------------------------------------------------


@on_sqlite
def test_retry_after(world: World, hook: Receiver) -> None:
    """A message waits exactly as long as its receiver asked."""
    hook.replies = [Reply(429, {"retry-after": "3600"}), Reply()]
    world.enqueue("hook")
    assert world.deliver() == 0
    assert world.row().next_attempt_at == NOW + timedelta(hours=1)
    assert world.deliver(later=timedelta(minutes=59)) == 0
    assert len(hook.received) == 1
    assert world.deliver(later=MINUTE) == 1


def test_retry_after_holds_for_the_channel(world: World, hook: Receiver) -> None:
    """A receiver that asks to wait gets no message until then."""
    hook.replies = [Reply(429, {"retry-after": "3600"}), Reply()]
    world.enqueue("hook")
    world.enqueue("hook")
    assert world.deliver() == 0
    assert world.deliver(later=timedelta(minutes=59)) == 0
    assert len(hook.received) == 1
    assert world.deliver(later=MINUTE) == 1
    assert world.deliver(later=MINUTE) == 1


@on_sqlite
@pytest.mark.parametrize(
    ("status", "attempts", "tried"), [(410, 20, 1), (404, 20, 3), (301, 20, 3), (500, 4, 4)]
)
def test_failed_for_good(
    world: World, hook: Receiver, status: int, attempts: int, tried: int
) -> None:
    """A message that was refused, or tried often enough, ends as failed, with the reason."""
    hook.replies = [Reply(status)]
    world.enqueue("hook")
    for _ in range(tried):
        assert world.statuses() == ["pending"]
        world.deliver(attempts=attempts, later=timedelta(hours=7))
    assert world.statuses() == ["failed"]
    world.deliver(attempts=attempts, later=timedelta(days=9))
    assert len(hook.received) == tried
    row = world.row()
    assert (row.attempts, row.next_attempt_at, row.delivered_at) == (tried, None, None)
    assert str(status) in str(row.last_error)


def test_transient_failure(world: World, hook: Receiver) -> None:
    """A receiver that is down is contacted once per back-off, however many messages wait."""
    hook.replies = [Reply(503)]
    first = world.enqueue("hook")
    world.deliver()
    later = [world.enqueue("hook") for _ in range(10)]
    for _ in range(5):
        assert world.deliver(later=timedelta(seconds=10)) == 0
    assert notified_ids(hook) == [[f"m-{first}-0"]]
    assert world.deliver(later=MINUTE) == 0
    assert len(hook.received) == 2
    hook.replies = [Reply()]
    assert world.deliver(later=3 * MINUTE) == 1
    assert world.deliver(later=MINUTE) == 10
    assert notified_ids(hook)[2:] == [[f"m-{first}-0"], [f"m-{run}-0" for run in later]]
    assert len(set(hook.ids)) == 2


@on_sqlite
def test_refusals_are_counted_apart(world: World, hook: Receiver) -> None:
    """Three refusals end a message; attempts that failed for another reason do not count."""
    hook.replies = [Reply(503), Reply(503), *(Reply(404) for _ in range(3))]
    world.enqueue("hook")
    for tried in range(1, 6):
        assert world.statuses() == ["pending"]
        world.deliver(later=timedelta(hours=7))
        assert len(hook.received) == tried
    assert world.statuses() == ["failed"]


@on_sqlite
def test_down_for_a_week(world: World, hook: Receiver) -> None:
    """After an outage events arrive in order, several runs in one message, at most one a minute."""
    hook.replies = [Reply(503)]
    runs = []
    for quarter in range(7 * 96):
        runs += [world.enqueue("hook")] if quarter % 8 == 0 else []
        world.deliver(later=timedelta(minutes=15))
    contacts = len(hook.received)
    assert contacts < 60
    hook.replies = [Reply()]
    sent_at = []
    for _ in range(200):
        before = len(hook.received)
        world.deliver(later=timedelta(seconds=30))
        sent_at += [world.clock.now] * (len(hook.received) - before)
        if len(hook.received) == contacts:
            world.clock.now += timedelta(hours=1)
    assert 1 <= len(sent_at) <= 3
    assert all(later - earlier >= MINUTE for earlier, later in itertools.pairwise(sent_at))
    arrived = [id_ for ids in notified_ids(hook)[contacts:] for id_ in ids]
    assert arrived == [f"m-{run}-0" for run in runs[len(runs) - len(arrived) :]]
    assert len(arrived) >= 3 * 12
    assert set(world.statuses()) == {"delivered", "failed"}


@on_sqlite
def test_refusal(world: World, hook: Receiver) -> None:
    """A receiver that refuses one message may accept the next."""
    hook.replies = [Reply(422), Reply()]
    world.enqueue("hook")
    world.enqueue("hook")
    assert world.deliver() == 1
    assert world.statuses() == ["pending", "delivered"]


@on_sqlite
def test_dead_channel(world: World, hook: Receiver) -> None:
    """A hanging channel does not delay another channel."""
    release = threading.Event()
    with Receiver(Reply(after=release)) as dead, ThreadPoolExecutor(1) as thread:
        world.urls = {"dead": dead.url, **world.urls}
        world.enqueue("dead", "hook")
        world.enqueue("dead", "hook")
        delivering = thread.submit(world.deliver)
        try:
            assert dead.wait_for(1)
            assert hook.wait_for(2, seconds=8)
            assert not delivering.done()
        finally:
            release.set()
        assert delivering.result() == 4


@on_sqlite
def test_no_channel_is_delayed_by_many(world: World, hook: Receiver) -> None:
    """Many dead channels do not delay another channel."""
    release = threading.Event()
    with Receiver(Reply(after=release)) as dead, ThreadPoolExecutor(1) as thread:
        names = [f"dead-{number:02}" for number in range(12)]
        world.urls = {**dict.fromkeys(names, dead.url), **world.urls}
        world.enqueue(*names, "hook")
        delivering = thread.submit(world.deliver)
        try:
            assert hook.wait_for(1, seconds=8)
        finally:
            release.set()
        assert delivering.result() == 13


# --- channels that come and go -----------------------------------------------------------------


def test_unknown_channel(world: World, hook: Receiver) -> None:
    """A process fails no entry of an unknown channel while another process may send it."""
    world.enqueue("other", "hook", models=2)
    assert world.deliver() == 2
    assert world.deliver(later=timedelta(days=2)) == 0
    assert world.statuses("other") == ["pending"] * 2
    with Receiver() as other:
        world.urls["other"] = other.url
        assert world.deliver(only=("other",)) == 2


def test_channel_without_a_process(world: World, hook: Receiver) -> None:
    """After the retry period any process fails the entries of a channel, with the reason."""
    world.enqueue("gone", models=2)
    world.deliver(later=timedelta(days=2))
    world.enqueue("gone")
    assert world.deliver(later=timedelta(days=2)) == 0
    assert world.statuses() == ["pending"] * 3
    assert world.deliver(later=timedelta(days=1, minutes=1)) == 0
    assert world.statuses() == ["failed"] * 3
    assert {each.next_attempt_at for each in world.rows()} == {None}
    assert all("configuration" in str(each.last_error) for each in world.rows())


def test_events_of_other_processes(world: World, hook: Receiver) -> None:
    """A channel gets every matching event since its beginning, whichever process recorded it."""
    world.record()
    assert world.deliver(enqueue=True, later=MINUTE) == 0
    runs = [world.record(2, world.clock.now + MINUTE * n) for n in range(3)]
    world.record(1, world.clock.now, Kind.UPDATED)
    assert world.deliver(enqueue=True, later=timedelta(hours=9)) == 6
    assert notified_ids(hook) == [[f"m-{run}-{n}" for run in runs for n in range(2)]]
    assert world.deliver(enqueue=True, later=timedelta(hours=9)) == 0


def test_events_after_a_clock_was_set_back(world: World, hook: Receiver) -> None:
    """A channel that was first configured while the clock was ahead gets the events from now on."""
    world.clock.now += timedelta(days=365)
    world.deliver(enqueue=True)
    world.clock.now = NOW
    world.record()
    world.deliver(enqueue=True, later=MINUTE)
    run = world.record()
    world.deliver(enqueue=True, later=MINUTE)
    assert notified_ids(hook) == [[f"m-{run}-0"]]


def test_two_enqueue_at_once(world: World, hook: Receiver) -> None:
    """Processes that enqueue at the same time make one entry per event and channel."""
    world.deliver(enqueue=True)
    world.record(50)
    with ThreadPoolExecutor(4) as threads:
        delivered = [threads.submit(world.deliver, enqueue=True) for _ in range(4)]
        assert sum(each.result() for each in delivered) == 50
    assert len(hook.received) == 1
    assert world.statuses() == ["delivered"] * 50


@on_sqlite
def test_repeated_after_a_failover(world: World, hook: Receiver) -> None:
    """A lost run that is repeated has a message with the same id; a later change has another id."""
    event = Event(Kind.UPDATED, NOW, "m", {"line": {"old": "a", "new": "b"}}, None, "s", 7)
    lost, again = message_id("c", [event], {}), message_id("c", [replace(event, run_id=8)], {})
    assert lost == again == message_id("c", [replace(event, occurred_at=NOW + MINUTE)], {})
    assert (
        len({lost, message_id("c", [event], {("updated", "m"): 2}), message_id("d", [event], {})})
        == 3
    )


def test_revived(world: World, hook: Receiver) -> None:
    """A failed message can be retried: with all its attempts, under the same id, and it arrives."""
    hook.replies = [Reply(410), Reply(404), Reply(404), Reply()]
    world.enqueue("hook", models=2)
    world.deliver()
    assert world.statuses() == ["failed"] * 2
    assert world.requeue() == (2, 0)
    assert [(each.attempts, each.next_attempt_at) for each in world.rows()] == [(0, NOW)] * 2
    for _ in range(3):
        world.deliver(later=timedelta(hours=1))
    assert world.statuses() == ["delivered"] * 2
    assert len(hook.received) == 4
    assert len(set(hook.ids)) == 1


def test_revive_one_channel(world: World, hook: Receiver) -> None:
    """A retry of one channel makes its failed and pending entries due, not delivered ones."""
    world.enqueue("hook")
    world.deliver()
    hook.replies = [Reply(410)]
    world.enqueue("hook", "gone")
    world.deliver()
    hook.replies = [Reply(503)]
    world.enqueue("hook")
    world.deliver()
    assert world.statuses("hook") == ["delivered", "failed", "pending"]
    assert world.requeue("hook") == (1, 1)
    assert world.statuses("hook") == ["delivered", "pending", "pending"]
    assert [each.attempts for each in world.rows("hook")] == [1, 0, 1]
    assert world.statuses("gone") == ["pending"]
    assert world.requeue("nobody") == (0, 0)


# --- several processes -------------------------------------------------------------------------


def test_claim_holds(world: World, hook: Receiver) -> None:
    """While a process sends a message, no other process sends it."""
    release = threading.Event()
    hook.replies = [Reply(after=release)]
    world.enqueue("hook", models=3)
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(world.deliver)
        try:
            assert hook.wait_for(1)
            assert world.deliver() == 0
        finally:
            release.set()
        assert sending.result() == 3
    assert len(hook.received) == 1


def test_claim_expires(world: World, hook: Receiver) -> None:
    """A stalled process's claim expires: the message is sent again under the same id."""
    release = threading.Event()
    hook.replies = [Reply(500, after=release), Reply()]
    world.enqueue("hook")
    with ThreadPoolExecutor(1) as thread:
        stalled = thread.submit(world.deliver)
        try:
            assert hook.wait_for(1)
            assert world.deliver(later=EXPIRED) == 1
        finally:
            release.set()
        assert stalled.result() == 0
    assert len(set(hook.ids)) == 1
    assert len(hook.received) == 2
    assert (world.row().status, world.row().attempts) == ("delivered", 2)


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_claims_do_not_meet(world: World) -> None:
    """Claiming one message waits for no other claim, so claims cannot deadlock."""
    world.enqueue("hook", "other", models=2000, at=NOW + MINUTE)
    world.enqueue("hook", "other", models=30)
    with world.engine.connect() as connection:  # for the planner: few entries are due
        table = "TABLE " if connection.dialect.name != "postgresql" else ""
        connection.execute(sa.text(f"ANALYZE {table}alert_deliveries"))
        connection.commit()
    with db_engine.read_transaction(world.engine) as connection:
        one, other = (
            notifications.next_notification(connection, name, NOW) for name in ("hook", "other")
        )

    def claim(connection: sa.Connection, notification: Notification | None) -> bool:
        assert notification is not None
        return notifications.claim(connection, notification, "msg", NOW, until=NOW + MINUTE)

    def claim_other() -> bool:
        return db_engine.run(world.engine, lambda connection: claim(connection, other))

    with ThreadPoolExecutor(1) as thread, world.engine.begin() as connection:
        assert claim(connection, one)
        assert thread.submit(claim_other).result(timeout=8)


def test_two_threads(world: World, hook: Receiver) -> None:
    """Two processes that deliver at the same time deliver each message once, in order."""
    runs = [world.enqueue("hook", models=2) for _ in range(6)]
    with ThreadPoolExecutor(2) as threads:
        delivered = [threads.submit(world.deliver) for _ in range(2)]
        assert sum(each.result() for each in delivered) + world.deliver() == 12
    assert [got.json["data"]["run_id"] for got in hook.received] == runs
    assert set(world.statuses()) == {"delivered"}


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_delivered_while_another_chooses(world: World, hook: Receiver) -> None:
    """A message that another process delivers while this one chooses it is sent once."""
    runs = [world.enqueue("hook", models=2) for _ in range(2)]
    url = world.engine.url.render_as_string(hide_password=False)
    other = World(db_engine.create_engine(url))
    other.urls = world.urls
    delivered: list[int] = []

    @sa.event.listens_for(world.engine, "before_cursor_execute")
    def _deliver(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if "last_error" in statement and not delivered:
            delivered.append(0)
            delivered.append(other.deliver())

    assert world.deliver() == 0
    assert delivered == [0, 4]
    assert [got.json["data"]["run_id"] for got in hook.received] == runs
    other.engine.dispose()


def deliver_by_program(database_url: str) -> subprocess.Popen[str]:
    """Start the program for a run that is skipped, so that it only delivers."""
    return subprocess.Popen(
        program("sync", "--if-older-than", "3650d", "--json"),
        env=environment(ANTHROPIC_API_KEY="k", CATALOG_SYNC_DATABASE_URL=database_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pretend_synced(world: World) -> None:
    """Let the source have been synced just now."""
    now = utc_now()
    with world.engine.begin() as connection:
        connection.execute(sa.update(sources).values(baseline_at=now, last_synced_at=now))


def test_two_processes(world: World, hook: Receiver, database_url: str) -> None:
    """Two processes on one database deliver each message once in total."""
    runs = [world.enqueue("hook", models=2) for _ in range(6)]
    pretend_synced(world)
    write_config("http://127.0.0.1:1", f'name = "hook"\nwebhook = "{world.urls["hook"]}"')
    processes = [deliver_by_program(database_url) for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE_SECONDS) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    by_processes = sum(json.loads(out)["deliveries"]["delivered"] for out, _ in said)
    assert by_processes + world.deliver(later=utc_now() - NOW) == 12
    sent = [event["model_id"] for got in hook.received for event in got.json["data"]["events"]]
    assert sent == [f"m-{run}-{n}" for run in runs for n in range(2)]
    assert set(world.statuses()) == {"delivered"}


def test_killed_while_sending(world: World, hook: Receiver, database_url: str) -> None:
    """A killed process's message is sent once its claim expires, under the same id."""
    world.clock.now = utc_now()
    world.enqueue("hook")
    pretend_synced(world)
    write_config("http://127.0.0.1:1", f'name = "hook"\nwebhook = "{world.urls["hook"]}"')
    never = threading.Event()
    hook.replies = [Reply(after=never), Reply()]
    process = deliver_by_program(database_url)
    assert hook.wait_for(1)
    process.kill()
    process.communicate(timeout=PATIENCE_SECONDS)
    never.set()
    assert world.deliver() == 0
    assert world.statuses() == ["pending"]
    assert world.deliver(later=EXPIRED) == 1
    first, second = hook.received
    assert (first.id, first.body) == (second.id, second.body)


# --- with runs ---------------------------------------------------------------------------------


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox([model(f"m-{n}") for n in range(9)]) as running:
        yield running


def alerting(database_url: str, sandbox: Sandbox, receiver: Receiver, **fields: str) -> Settings:
    hook = AlertSettings(name="hook", webhook=SecretStr(receiver.url), **fields)
    return settings_for(database_url, sandbox.url).model_copy(update={"alerts": (hook,)})


def test_the_whole_way(
    database_url: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline sends no alert; the next change arrives, signed, with its recorded values."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    with (
        Receiver() as receiver,
        App(alerting(database_url, sandbox, receiver, secret_env="HOOK_SECRET")) as app,
    ):
        app.sync()
        assert app.deliver().delivered == 0
        sandbox.models = [*sandbox.models, model("claude-opus-5"), model("claude-mini-5")]
        (report,) = app.sync()
        counts = app.deliver()
        assert (counts.delivered, counts.pending, counts.failed) == (2, 0, 0)
        (got,) = receiver.received
        data = Webhook(SECRET).verify(got.body, dict(got.headers))["data"]
        assert (data["source"], data["run_id"]) == ("anthropic", report.run_id)
        assert {each["model_id"] for each in data["events"]} == {"claude-opus-5", "claude-mini-5"}
        assert app.deliver().delivered == 0


@on_sqlite
def test_clock_set_back(database_url: str, sandbox: Sandbox) -> None:
    """Alerts are sent at once even if the host's clock was set back since the last run."""
    clock = Clock(NOW + timedelta(days=400))
    with (
        Receiver() as receiver,
        App(alerting(database_url, sandbox, receiver), clock) as app,
    ):
        app.sync()
        clock.now = NOW
        sandbox.models = [*sandbox.models, model("claude-opus-5")]
        app.sync()
        assert app.deliver().delivered == 1
        assert len(receiver.received) == 1


@on_sqlite
def test_first_run_with_a_clock_ahead(database_url: str) -> None:
    """After a first run that its clock made fail, a channel gets every alert."""
    clock = Clock(NOW + timedelta(days=365), tick=timedelta(milliseconds=1))
    listed = [model("a")]

    def answer(_request: Request) -> Answer:
        return Answer(page(listed), headers={"date": format_datetime(NOW, usegmt=True)})

    with Receiver() as receiver, ScriptedServer(answer) as server:
        hook = AlertSettings(name="hook", webhook=SecretStr(receiver.url))
        settings = settings_for(database_url, server.url).model_copy(update={"alerts": (hook,)})
        with App(settings, clock) as app:
            assert [report.error_code for report in app.sync()] == ["clock"]
            app.deliver()
            clock.now = NOW
            app.sync()
            for id_ in ("b", "c"):
                clock.now += MINUTE
                listed.append(model(id_))
                app.sync()
                assert app.deliver().delivered == 1
        assert notified_ids(receiver) == [["b"], ["c"]]
