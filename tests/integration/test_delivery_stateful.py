"""Alerts against chance: failing receivers, dying processes, and restarts, in any order.

A small world has an API, three receivers and a clock that only moves forward. Processes start and
end in it. At the end everything is repaired, and the messages that the receivers got are compared
with the recorded events.
"""

from __future__ import annotations

import itertools
import json
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from pydantic import SecretStr

from catalog_sync.alerts.channels import Channel, SendResult
from catalog_sync.alerts.delivery import deliver_due
from catalog_sync.alerts.message import Message
from catalog_sync.app import App, RunOptions
from catalog_sync.cancel import CancelToken
from catalog_sync.clock import format_time
from catalog_sync.config.settings import AlertSettings, Settings
from catalog_sync.db import engine as db_engine
from catalog_sync.db import events as db_events
from catalog_sync.db import migrate
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event
from catalog_sync.sync.report import RunReport
from receivers import Decision, Received, Receiver, Reply
from support import model, settings_for

START = datetime(2026, 7, 24, 18, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

KINDS = tuple(Kind)
NEWS = ("added", "deprecated", "rescheduled", "retiring", "retired", "removed", "returned")
RULES: dict[str, dict[str, Any]] = {
    "all": {"events": KINDS},
    "news": {"models": ("claude-*", "[!c]*-1")},
    "operations": {"events": ("sync_failed", "sync_recovered", "sync_held", "schema_changed")},
}
"""The channels. The second has the default kinds, and globs."""
IDS = tuple(f"{line}-{number}" for line in ("claude", "other") for number in range(4))

REPLIES: dict[str, Decision] = {
    "accept": Reply(204),
    "accept, and ask to wait": Reply(202, {"retry-after": "60"}),
    "broken": Reply(500),
    "busy": Reply(429, {"retry-after": "7200"}),
    "moved": Reply(302, {"location": "/elsewhere"}),
    "refuse": Reply(403),
    "gone": Reply(410),
    "hang up": None,
}
TROUBLES = {
    "unauthorized": {"key": "wrong-key"},
    "refused": {"anthropic_version": "1999-01-01"},
}
"""The causes of failing runs: the settings of the source."""
ACCEPTING = ("accept", "accept, and ask to wait")
MOODS = (*REPLIES, "down")


# --- the world ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Incoming:
    """A message as it arrived."""

    message_id: str
    body: Mapping[str, Any]
    accepted: bool

    @property
    def events(self) -> list[Mapping[str, Any]]:
        return self.body["data"]["events"]


class Listener(Receiver):
    """The receiver of a webhook, in some mood. When it is down, it does not listen."""

    def __init__(self) -> None:
        super().__init__(decide=self._react)
        self._closed = (
            socket.socket()
        )  # bound, so that no other process takes it, but not listening
        self._closed.bind(("127.0.0.1", 0))
        self.reset()

    def reset(self) -> None:
        self.mood = "accept"
        self.incoming: list[Incoming] = []

    def _react(self, received: Received) -> Decision:
        self.incoming.append(Incoming(received.id, received.json, self.mood in ACCEPTING))
        return REPLIES[self.mood]

    @property
    def webhook(self) -> str:
        port = self._closed.getsockname()[1] if self.mood == "down" else self.port
        return f"http://127.0.0.1:{port}/hooks/team"

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._closed.close()


class Clock:
    """Moves forward a little at each reading, and by leaps."""

    def __init__(self) -> None:
        self._now = START
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        return self.leap(timedelta(milliseconds=1))

    def leap(self, length: timedelta) -> datetime:
        with self._lock:
            self._now += length
            return self._now


class Died(BaseException):
    """The process is dead: none of its threads does anything after this."""


@dataclass(frozen=True)
class Death:
    """When a process dies: the n-th time that it reaches a place."""

    place: str
    """`begin`, `commit`: before a transaction, or before it is committed. `send`, `sent`: around a
    message."""
    countdown: int


@dataclass
class Process:
    """The program from its start to its end, or to its death."""

    app: App
    death: Death | None = None
    dead: bool = False
    accepted: list[tuple[str, Incoming]] = field(default_factory=list)
    """The messages that the receivers accepted from it, with the channel."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._passed: Counter[str] = Counter()
        sa.event.listen(self.app.engine, "begin", lambda *_: self.reach("begin"))
        sa.event.listen(self.app.engine, "commit", lambda *_: self.reach("commit"))

    def reach(self, place: str) -> None:
        with self._lock:
            self._passed[place] += 1
            if self.death and Death(place, self._passed[place]) == self.death:
                self.dead = True
            if self.dead:
                raise Died


@dataclass(frozen=True)
class MortalChannel:
    """A channel of a process that may die before or after it sends."""

    channel: Channel
    process: Process
    name: str
    listener: Listener

    @property
    def place(self) -> str:
        return self.channel.place

    def send(self, message: Message, now: datetime, cancel: CancelToken) -> SendResult:
        self.process.reach("send")
        before = len(self.listener.incoming)
        outcome = self.channel.send(message, now, cancel)
        accepted = [each for each in self.listener.incoming[before:] if each.accepted]
        assert (outcome.error is None) is bool(accepted)
        self.process.accepted += [(self.name, each) for each in accepted]
        self.process.reach("sent")
        return outcome


@dataclass
class World:
    """The state that outlives every process."""

    database_url: str
    api: Sandbox
    listeners: Mapping[str, Listener]
    clock: Clock = field(default_factory=Clock)
    catalog: dict[str, dict[str, Any]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """A field that the API shows on every model."""
    trouble: str | None = None
    deaths: int = 0
    repeats: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often a channel may get a message again, after a process that died."""

    def settings(self) -> Settings:
        says = TROUBLES[self.trouble] if self.trouble else {}
        alerts = [
            AlertSettings(name=name, webhook=SecretStr(self.listeners[name].webhook), **rule)
            for name, rule in RULES.items()
        ]
        plain = settings_for(self.database_url, self.api.url, **says)
        return plain.model_copy(update={"alerts": tuple(alerts)})

    # --- what may happen to the API ------------------------------------------------------------

    def release(self, ids: Iterable[str], **says: Any) -> None:
        """Show models: new ones, or known ones as new."""
        self.catalog.update({id_: model(id_, **says) for id_ in ids})
        self.publish()

    def deprecate(self, ids: Iterable[str], days: int) -> None:
        date = f"{self.clock() + days * DAY:%Y-%m-%dT00:00:00Z}"
        self.release(ids, lifecycle="deprecated", deprecated_at=date, retires_at=date)

    def retire(self, ids: Iterable[str]) -> None:
        """Take models off the list that still answer by id."""
        for id_ in self.catalog.keys() & ids:
            self.catalog[id_]["lifecycle"] = "retired"
        self.publish()

    def remove(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            self.catalog.pop(id_, None)
        self.publish()

    def rename(self, ids: Iterable[str], name: str) -> None:
        for id_ in self.catalog.keys() & ids:
            self.catalog[id_]["display_name"] = name
        self.publish()

    def reshape(self, extra: dict[str, Any]) -> None:
        self.extra = extra
        self.publish()

    def publish(self) -> None:
        self.api.models = [{**each, **self.extra} for each in self.catalog.values()]

    # --- what processes do ---------------------------------------------------------------------

    @contextmanager
    def process(self, death: Death | None = None) -> Iterator[Process]:
        """Start a process. Its death ends the block, and then it holds nothing any more."""
        with App(self.settings(), self.clock) as app:
            process = Process(app, death)
            try:
                yield process
            except Died:
                self.deaths += 1
                self.expire_leases()
                heard = {(name, each.message_id) for name, each in process.accepted}
                self.repeats.update(heard)

    def expire_leases(self) -> None:
        """Move the database's clock past every lease; leaps of the test's clock do not."""
        engine = db_engine.create_engine(self.database_url)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE sources SET lease_expires_at = '2000-01-01'"))
        engine.dispose()

    def sync(self, *, accept: bool = False, death: Death | None = None) -> list[RunReport]:
        """Run `sync` as a process: a run, then the delivery."""
        reports: list[RunReport] = []
        with self.process(death) as process:
            reports += process.app.sync(RunOptions(accept_removals=accept))
            self.deliver(process)
        return reports

    def deliver(self, process: Process) -> None:
        channels = {
            name: MortalChannel(channel, process, name, self.listeners[name])
            for name, channel in process.app.channels().items()
        }
        counts = deliver_due(process.app.engine, channels, self.clock, attempts=1000)
        assert counts.delivered == sum(len(each.events) for _, each in process.accepted)

    def retry(self) -> None:
        with self.process() as process:
            process.app.requeue()

    # --- the end -------------------------------------------------------------------------------

    def mend(self) -> None:
        """Bring everything up, make a good run, and deliver the rest."""
        self.trouble = None
        self.release(["claude-0"])
        for listener in self.listeners.values():
            listener.mood = "accept"
        self.retry()
        self.clock.leap(2 * DAY)  # beyond every lease, claim, back-off and requested wait
        [report] = self.sync(accept=True)
        assert report.error is None
        for _ in range(100):  # a message a minute, after an outage
            self.clock.leap(MINUTE)
            with self.process() as process:
                self.deliver(process)
                if not process.app.delivery_counts().pending:
                    break
        with App(self.settings()) as app:
            counts = app.delivery_counts()
        assert (counts.pending, counts.failed) == (0, 0)

    def check(self) -> None:
        """Compare the messages that the receivers got with the recorded events."""
        engine = db_engine.create_engine(self.database_url)
        with db_engine.read_transaction(engine) as connection:
            events = list(db_events.select_events(connection))
            baseline = set(connection.scalars(sa.text("SELECT id FROM sync_runs WHERE baseline")))
            entries = connection.execute(sa.text("SELECT channel, event_id FROM alert_deliveries"))
            pairs = sorted((channel, id_) for channel, id_ in entries)
            listed = set(connection.scalars(sa.text("SELECT id FROM current_models")))
        engine.dispose()
        silent = {e.id for e in events if e.run_id in baseline and e.model_id is not None}
        expected = {
            name: [e for e in events if e.id not in silent and matches(name, e)] for name in RULES
        }
        assert pairs == sorted((name, e.id) for name in RULES for e in expected[name])
        for name, listener in self.listeners.items():
            check_messages(listener.incoming, expected[name])
            heard = Counter(each.message_id for each in listener.incoming if each.accepted)
            for message_id, times in heard.items():
                assert times <= 1 + self.repeats[name, message_id]
        known = {e.model_id for e in events if e.id in silent and e.kind == "added"}
        assert folded(self.listeners["all"].incoming, known) == listed == self.shown()

    def shown(self) -> set[str]:
        return {id_ for id_, each in self.catalog.items() if each["lifecycle"] != "retired"}


def matches(channel: str, event: Event) -> bool:
    """Whether a channel must get an event: the rule of the README, implemented a second time."""
    kinds = RULES[channel].get("events", NEWS)
    globs = RULES[channel].get("models", ["*"])
    fits = event.model_id is None or any(fnmatchcase(event.model_id, glob) for glob in globs)
    return event.kind.value in kinds and fits


def facts(event: Event) -> dict[str, Any]:
    return {
        "source": event.source,
        "kind": event.kind.value,
        "model_id": event.model_id,
        "changes": json.loads(json.dumps(event.changes)),
        "occurred_at": format_time(event.occurred_at),
    }


def check_messages(messages: Sequence[Incoming], expected: Sequence[Event]) -> None:
    """Every event was accepted, no other was sent, and an event has one message and one id."""
    due = [facts(event) for event in expected]
    accepted: list[dict[str, Any]] = []
    bodies: dict[str, Mapping[str, Any]] = {}
    for each in messages:
        data = each.body["data"]
        found = [
            {"source": data["source"]}
            | {key: value for key, value in event.items() if key != "display_name"}
            for event in data["events"]
        ]
        assert [one for one in found if one not in due] == []
        assert bodies.setdefault(each.message_id, each.body) == each.body
        if each.accepted:
            accepted += found
    assert [one for one in due if one not in accepted] == []
    carried = [str(event) for body in bodies.values() for event in body["data"]["events"]]
    assert len(carried) == len(set(carried))


def folded(messages: Sequence[Incoming], known: set[str | None]) -> set[str | None]:
    """Return the catalog that a reader of all changes since `known` would have."""
    news = [event for each in messages if each.accepted for event in each.events]
    for event in sorted(news, key=lambda event: datetime.fromisoformat(event["occurred_at"])):
        if event["kind"] in {"added", "returned"}:
            known = known | {event["model_id"]}
        elif event["changes"].get("removed_at", {}).get("new"):
            known = known - {event["model_id"]}
    return known


@pytest.fixture
def api() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Listener]]:
    # Nothing here is encrypted, and loading the usual certificates takes longer than all the rest.
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with ExitStack() as stack:
        yield {name: stack.enter_context(Listener()) for name in RULES}


# --- in a fixed order --------------------------------------------------------------------------


def test_every_place_to_die_at(
    database_url: str, api: Sandbox, listeners: dict[str, Listener]
) -> None:
    """A process that dies before or in any transaction, or around a message, loses no alert.

    Messages that it had sent are sent again under the same id; all others are sent once.
    """
    world = World(database_url, api, listeners)
    world.release(["claude-0", "other-0"])
    world.sync()
    assert [listener.incoming for listener in listeners.values()] == [[], [], []]  # a baseline

    names = (f"{line}-{number}" for number in itertools.count(1) for line in ("claude", "other"))
    for place in ("begin", "commit", "send", "sent"):
        for countdown in itertools.count(1):
            world.release([next(names)])
            world.clock.leap(6 * MINUTE)  # beyond the lease and the claim of the dead process
            deaths = world.deaths
            world.sync(death=Death(place, countdown))
            if world.deaths == deaths:
                break  # the process did not reach the place that often
        assert countdown > 2
    world.mend()
    world.check()
    heard = Counter(each.message_id for each in listeners["all"].incoming)
    assert max(heard.values()) > 1


# --- by chance ---------------------------------------------------------------------------------


SOME_IDS = st.sets(st.sampled_from(IDS), min_size=1, max_size=6).map(sorted)
CHANGES = st.one_of(
    st.tuples(st.just(World.release), SOME_IDS),
    st.tuples(st.just(World.deprecate), SOME_IDS, st.integers(-3, 100)),
    st.tuples(st.just(World.retire), SOME_IDS),
    st.tuples(st.just(World.remove), SOME_IDS),
    st.tuples(st.just(World.rename), SOME_IDS, st.sampled_from(("One", "Two"))),
    st.tuples(st.just(World.reshape), st.sampled_from(({}, {"region": "eu"}, {"max_tokens": 9}))),
    st.tuples(st.just(World.remove), st.just(IDS[1:])),  # so many that the run is held
    st.tuples(st.just(World.retry)),
)
DEATHS = st.one_of(
    st.none(),
    st.builds(Death, st.sampled_from(("begin", "commit")), st.integers(1, 12)),
    st.builds(Death, st.sampled_from(("send", "sent")), st.integers(1, 4)),
)
LEAPS = st.sampled_from((MINUTE, 6 * MINUTE, HOUR, 9 * HOUR, 8 * DAY))


class Life(RuleBasedStateMachine):
    """A world in which any of these steps may happen next."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    @initialize(ids=SOME_IDS)
    def begin(self, ids: list[str]) -> None:
        self.world.release(ids)
        self.world.sync()

    @rule(
        change=CHANGES,
        trouble=st.sampled_from((None, None, None, *TROUBLES)),
        runs=st.integers(1, 3),
        leap=LEAPS,
        death=DEATHS,
        accept=st.booleans(),
        moods=st.tuples(*(st.sampled_from(MOODS) | st.just("accept") for _ in RULES)),
    )
    def live(
        self,
        change: tuple[Any, ...],
        trouble: str | None,
        runs: int,
        leap: timedelta,
        death: Death | None,
        accept: bool,
        moods: tuple[str, ...],
    ) -> None:
        for listener, mood in zip(self.world.listeners.values(), moods, strict=True):
            listener.mood = mood
        act, *arguments = change
        act(self.world, *arguments)
        self.world.trouble = trouble
        for _ in range(runs):
            self.world.clock.leap(leap)
            self.world.sync(accept=accept, death=death)

    def teardown(self) -> None:
        if self.world.catalog:
            self.world.mend()
            self.world.check()


def test_no_alert_is_lost_or_invented(
    tmp_path: Path, api: Sandbox, listeners: dict[str, Listener]
) -> None:
    """Each channel accepts every event that it must get, under one id, and no other event.

    It gets a message twice only if a process died after sending it.
    """
    empty = tmp_path / "empty.db"
    engine = db_engine.create_engine(f"sqlite:///{empty}")
    migrate.ensure_schema(engine)
    engine.dispose()
    numbers = itertools.count()

    def life() -> Life:
        for listener in listeners.values():
            listener.reset()
        file = shutil.copy(empty, tmp_path / f"catalog-{next(numbers)}.db")
        return Life(World(f"sqlite:///{file}", api, listeners))

    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=20,
            stateful_step_count=8,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # shrinking a failure takes minutes
        ),
    )
