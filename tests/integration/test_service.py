"""One configuration at work: the scheduler, whose clock is set, and what comes due."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from catalog_sync.app import App
from catalog_sync.config.schedule import Schedule
from catalog_sync.config.settings import Settings, SourceSettings
from catalog_sync.db import engine
from catalog_sync.db.schema import sync_runs
from catalog_sync.service.jobs import ScheduleTrigger, _Service
from support import KEY, ScriptedServer, model, page

MINUTE = timedelta(minutes=1)


class Api(ScriptedServer):
    """Answers with one model, `after` an event."""

    def __init__(self) -> None:
        self.asked, self.after = threading.Event(), threading.Event()
        self.after.set()
        super().__init__(self._answer)

    def _answer(self, _request: object) -> object:
        self.asked.set()
        self.after.wait(30)
        return page([model("claude")])


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        yield server


@pytest.fixture
def ended() -> threading.Semaphore:
    """Give what counts the passes that ended."""
    return threading.Semaphore(0)


@pytest.fixture
def service(
    tmp_path: Path, api: Api, ended: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[_Service]:
    """Yield a service at work, of which nothing is due for an hour."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    sources = [
        SourceSettings(name="often", base_url=api.url, every=60 * MINUTE),
        SourceSettings(name="daily", base_url=api.url, cron="0 3 * * *"),
    ]
    url = SecretStr(f"sqlite:///{tmp_path}/catalog.db")
    with App(Settings(database_url=url, sources=tuple(sources), jitter=timedelta())) as app:
        service = _Service(app, done=ended.release)
        service._plan()
        service._scheduler.start()
        yield service
        service.stop()


def coming(service: _Service) -> list[datetime]:
    """Return when the passes of the two schedules come next."""
    return [service._scheduler.get_job(id_).next_run_time for id_ in ("0", "1")]


def runs(service: _Service) -> list[str]:
    with engine.read_transaction(service.app.engine) as connection:
        return list(connection.scalars(sa.select(sync_runs.c.status)))


def test_a_late_pass_runs_late_and_once(service: _Service, ended: threading.Semaphore) -> None:
    """Of a pass that was due three times while the machine slept, one is made; then it waits."""
    service._scheduler.modify_job("0", next_run_time=datetime.now(UTC) - 150 * MINUTE)
    assert ended.acquire(timeout=30)  # the pass
    assert ended.acquire(timeout=30)  # what it owes
    assert runs(service) == ["succeeded"]
    assert coming(service)[0] > datetime.now(UTC) + 20 * MINUTE


def test_no_pass_begins_beside_itself(
    service: _Service, api: Api, ended: threading.Semaphore
) -> None:
    """A pass that is due while the one before it is under way is not made."""
    api.after.clear()
    service._scheduler.modify_job("0", next_run_time=datetime.now(UTC))
    assert api.asked.wait(30)
    service._scheduler.modify_job("0", next_run_time=datetime.now(UTC))
    while coming(service)[0] <= datetime.now(UTC):
        ended.acquire(timeout=0.01)
    assert service._running == 1
    api.after.set()
    assert ended.acquire(timeout=30)
    assert runs(service) == ["succeeded"]


def test_a_clock_set_back_again_and_again_puts_nothing_off(service: _Service) -> None:
    """After each step a pass comes when it would have come; a crontab is read anew."""
    often, daily = coming(service)
    for number in range(1, 4):
        service.keep_time(-10 * MINUTE)
        assert coming(service) == [often - number * 10 * MINUTE, daily]


@pytest.mark.parametrize("schedule", [Schedule(MINUTE), Schedule(MINUTE, "* * * * *")])
def test_what_was_missed_is_not_gone_through(schedule: Schedule) -> None:
    """After a jump of half a century the next run is asked for once, and lies ahead."""
    trigger, now = ScheduleTrigger(schedule), datetime.now(UTC)
    late = trigger.get_next_fire_time(datetime(1970, 1, 1, tzinfo=UTC), now)
    assert now < late <= now + MINUTE
    assert trigger.get_next_fire_time(late, late) == late + MINUTE


def test_jitter_is_added_in_utc() -> None:
    """In the hour that comes twice, a run with jitter still lies after the present time."""
    schedule = Schedule(MINUTE, "*/15 * * * *", "Europe/Berlin")
    trigger, now = ScheduleTrigger(schedule, MINUTE), datetime(2026, 10, 25, 0, 44, 50, tzinfo=UTC)
    for _ in range(100):
        run = trigger.get_next_fire_time(None, now)
        assert run.tzinfo is UTC
        assert timedelta(seconds=10) <= run - now <= MINUTE + timedelta(seconds=10)
