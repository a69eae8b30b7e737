"""Forty days of the daemon in simulated time: two replicas, an API and a receiver that fail.

A loop takes the place of the scheduler, which only decides when.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from catalog_sync.app import App
from catalog_sync.config.settings import AlertSettings
from catalog_sync.config.values import SecretStr
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import engine
from catalog_sync.db import events as db_events
from catalog_sync.db.schema import sync_runs
from catalog_sync.domain import replay
from catalog_sync.domain.kinds import ENDED
from catalog_sync.service.jobs import Jobs
from receivers import Received, Receiver, Reply
from support import Answer, ScriptedServer, model, page, settings_for

DAYS = 40
HOUR = timedelta(hours=1)
EVERY = 6 * HOUR
START = datetime(2026, 7, 24, 18, 0, tzinfo=UTC)


class World:
    """The events of forty days, and the messages that the receiver accepted."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = START
        self.models = [model(f"claude-{number}") for number in range(8)]
        self.happened: Counter[tuple[str, str]] = Counter()
        self.notified: Counter[tuple[str, str]] = Counter()
        self.bad_day = self.deaf_day = False
        self._numbers = itertools.count()

    def clock(self) -> datetime:
        return self.now

    def answer(self, request: Any) -> Any:
        """Return the API's answer: on a bad day, a different error each time."""
        if self.bad_day:
            refused = Answer(status=500, headers={"x-should-retry": "false"})
            lies = [refused, Answer(b"<html>"), page(self.models[:3], has_more=True, last_id=None)]
            return self.random.choice(lies)
        return page(self.models) if request.path == "/v1/models" else Answer(status=404)

    def receive(self, message: Received) -> Reply:
        if self.deaf_day:
            return Reply(503)
        for event in message.json["data"]["events"]:
            self.notified[event["kind"], event["model_id"]] += 1
        return Reply()

    def new_day(self) -> None:
        """Decide whether the day is bad, and what changes; the last days are good."""
        last = self.now > START + timedelta(days=DAYS - 3)
        self.bad_day = not last and self.random.random() < 0.2
        self.deaf_day = not last and self.random.random() < 0.3
        if self.random.random() < 0.3:
            id_ = f"claude-new-{next(self._numbers)}"
            self.models.insert(0, model(id_))
            self.happened["added", id_] += 1
        elif self.random.random() < 0.2:
            gone = self.models.pop(self.random.randrange(len(self.models)))
            self.happened["removed", gone["id"]] += 1


@pytest.fixture
def world() -> World:
    return World(seed=1)


def hours(world: World) -> Iterator[int]:
    """Yield every third hour, a little late."""
    for hour in range(0, 24 * DAYS, 3):
        world.now = START + hour * HOUR + timedelta(seconds=world.random.uniform(0, 60))
        if hour % 24 == 0 and hour:
            world.new_day()
        yield hour


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_forty_days(world: World, database_url: str) -> None:
    """Every change is notified once, the table is the list, and replicas run as often as one."""
    with ScriptedServer(world.answer) as server, Receiver(decide=world.receive) as receiver:
        settings = settings_for(database_url, server.url).model_copy(
            update={
                "alerts": (AlertSettings(name="hook", webhook=SecretStr(receiver.url)),),
                "every": EVERY,
                "delivery_attempts": 1000,
            }
        )
        with App(settings, world.clock) as one, App(settings, world.clock) as other:
            replicas = [Jobs(app, on_end=lambda: None) for app in (one, other)]
            (source,) = settings.sources
            for hour in hours(world):
                for replica in world.random.sample(replicas, 2):
                    if hour % 6 == 0:
                        replica.sync(source)
                    replica.deliver()
            status = one.status()
            with engine.read_transaction(one.engine) as connection:
                listed = {r.info.id for r in db_catalog.select_models(connection) if r.listed}
                rebuilt = replay.replay(db_events.select_events(connection))
                ended = sa.select(sync_runs.c.status, sync_runs.c.started_at).where(
                    sync_runs.c.status.in_(ENDED)
                )
                made = connection.execute(ended.order_by(sync_runs.c.id)).all()
        assert (status.ok, status.pending) == (True, {})
        assert listed == {each["id"] for each in world.models}
        assert {id_ for (_, id_), record in rebuilt.items() if record.listed} == listed
        assert world.notified == world.happened
        assert len(made) == 4 * DAYS
        assert {status for status, _ in made} == {"succeeded", "failed"}
        starts = [started_at for _, started_at in made]
        assert min(b - a for a, b in itertools.pairwise(starts)) > EVERY / 2
