"""One configuration at work: the scheduler, whose clock is set, and what comes due."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from catalog_sync.app import App
from catalog_sync.daemon import _Onward, _Service
from catalog_sync.schedule import Schedule
from catalog_sync.settings import Settings, SourceSettings

MINUTE = timedelta(minutes=1)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[_Service]:
    """Yield a service at work whose passes fail at once: its source has no key."""
    sources = [
        SourceSettings(name="often", every=60 * MINUTE, api_key_env="NO_KEY"),
        SourceSettings(name="daily", cron="0 3 * * *", api_key_env="NO_KEY"),
    ]
    url = SecretStr(f"sqlite:///{tmp_path}/catalog.db")
    with App(Settings(database_url=url, sources=tuple(sources), jitter=timedelta())) as app:
        service = _Service(app, done=lambda: None)
        service._plan()
        service._scheduler.start()
        yield service
        service.stop()


def coming(service: _Service) -> list[datetime]:
    """Return when the passes of the two schedules come next."""
    return [service._scheduler.get_job(id_).next_run_time for id_ in ("0", "1")]


def test_a_clock_set_back_again_and_again_puts_nothing_off(service: _Service) -> None:
    """After each step a pass comes when it would have come; a crontab is read anew."""
    often, daily = coming(service)
    for number in range(1, 4):
        service.keep_time(-10 * MINUTE)
        assert coming(service) == [often - number * 10 * MINUTE, daily]


@pytest.mark.parametrize("schedule", [Schedule(MINUTE), Schedule(MINUTE, "* * * * *")])
def test_what_was_missed_is_not_gone_through(schedule: Schedule) -> None:
    """After a jump of half a century the next run is asked for once, and lies ahead."""
    trigger, now = _Onward(schedule.trigger()), datetime.now(UTC)
    late = trigger.get_next_fire_time(datetime(1970, 1, 1, tzinfo=UTC), now)
    assert late is not None
    assert now < late <= now + MINUTE
    assert trigger.get_next_fire_time(late, late) == late + MINUTE
