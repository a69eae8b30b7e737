"""The daemon's jobs: a job per source, late runs, a clock that is set."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from catalog_sync.app import App
from catalog_sync.config.schedule import Schedule
from catalog_sync.config.settings import Settings, SourceSettings
from catalog_sync.config.values import SecretStr
from catalog_sync.db import migrate
from catalog_sync.db.schema import sources, sync_runs
from catalog_sync.service.jobs import Jobs, ScheduleTrigger
from catalog_sync.sync.report import RunReport
from support import KEY, ScriptedServer, model, page

MINUTE = timedelta(minutes=1)


class Api(ScriptedServer):
    """Answers with one model once `after` is set."""

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
    """Count the jobs that ended."""
    return threading.Semaphore(0)


@pytest.fixture
def jobs(
    tmp_path: Path, api: Api, ended: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Jobs]:
    """Yield jobs whose first runs have ended; none is due for an hour."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    sources = [
        SourceSettings(name="often", base_url=api.url, every=60 * MINUTE),
        SourceSettings(name="daily", base_url=api.url, cron="0 3 * * *"),
    ]
    url = SecretStr(f"sqlite:///{tmp_path}/catalog.db")
    with App(Settings(database_url=url, sources=tuple(sources), jitter=timedelta())) as app:
        migrate.ensure_schema(app.engine)
        jobs = Jobs(app, on_end=ended.release)
        jobs.start()
        wait_until(lambda: runs(jobs) == ["succeeded"] * 2 and not jobs.is_busy)
        yield jobs
        jobs.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def next_runs(jobs: Jobs) -> list[datetime]:
    """Return when the two sources are due next."""
    names = ("run:often", "run:daily")
    return [jobs._scheduler.get_job(name).next_run_time for name in names]


def make_due(jobs: Jobs, ago: timedelta = timedelta()) -> None:
    """Let the first source be due, and not be fresh."""
    with jobs.app.engine.begin() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=1)
        connection.execute(sa.update(sources).values(last_synced_at=long_ago))
        connection.execute(sa.update(sync_runs).values(started_at=long_ago))
    jobs._scheduler.modify_job("run:often", next_run_time=datetime.now(UTC) - ago)


def runs(jobs: Jobs) -> list[str]:
    with jobs.app.engine.connect() as connection:
        return list(connection.scalars(sa.select(sync_runs.c.status)))


def test_a_late_run_comes_once(jobs: Jobs) -> None:
    """A run that was due three times during sleep is made once; the next is in the future."""
    make_due(jobs, ago=150 * MINUTE)
    wait_until(lambda: len(runs(jobs)) == 3 and not jobs.is_busy)
    assert next_runs(jobs)[0] > datetime.now(UTC) + 20 * MINUTE
    assert runs(jobs) == ["succeeded"] * 3


def test_no_run_begins_beside_itself(jobs: Jobs, api: Api, ended: threading.Semaphore) -> None:
    """A run that is due while the previous one is in progress is not made."""
    api.asked.clear()
    api.after.clear()
    make_due(jobs)
    assert api.asked.wait(30)
    jobs._scheduler.modify_job("run:often", next_run_time=datetime.now(UTC))
    wait_until(lambda: next_runs(jobs)[0] > datetime.now(UTC))
    assert jobs._running == 1
    api.after.set()
    wait_until(lambda: not jobs.is_busy)
    assert runs(jobs) == ["succeeded"] * 3


def test_a_clock_set_back_again_and_again_delays_nothing(jobs: Jobs) -> None:
    """After each step an interval keeps its rhythm; a crontab line is computed again."""
    often, daily = next_runs(jobs)
    for number in range(1, 4):
        jobs.on_clock_change(-10 * MINUTE)
        assert next_runs(jobs) == [often - number * 10 * MINUTE, daily]


def test_a_slow_source_delays_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one source is silent until its deadline, the other keeps its own interval."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    over = threading.Event()
    with (
        ScriptedServer(lambda _: over.wait(60) and None) as silent,
        ScriptedServer(lambda _: page([model("claude")])) as good,
    ):
        pair = (
            SourceSettings(name="good", base_url=good.url),
            SourceSettings(name="silent", base_url=silent.url, deadline=timedelta(seconds=50)),
        )
        settings = Settings(
            database_url=SecretStr(f"sqlite:///{tmp_path}/catalog.db"),
            sources=pair,
            every=timedelta(milliseconds=100),
        )
        with App(settings) as app:
            migrate.ensure_schema(app.engine)
            jobs = Jobs(app, on_end=lambda: None)
            jobs.start()
            wait_until(lambda: runs_of(app, "good").count("succeeded") >= 5)
            assert runs_of(app, "silent") == ["running"]
            jobs.stop()
            over.set()
            wait_until(lambda: not jobs.is_busy)
            assert runs_of(app, "silent") == ["failed"]


def runs_of(app: App, source: str) -> list[str]:
    with app.engine.connect() as connection:
        found = sa.select(sync_runs.c.status).where(sync_runs.c.source == source)
        return list(connection.scalars(found))


@pytest.mark.parametrize(
    ("since", "skipped"), [(timedelta(0), True), (timedelta(seconds=1), True), (-MINUTE, False)]
)
def test_a_crontab_run_is_skipped_if_synced_since(
    tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch, since: timedelta, skipped: bool
) -> None:
    """A run of a crontab line is skipped only if the source was synced since the scheduled time."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    source = SourceSettings(name="often", base_url=api.url, cron="*/15 * * * *")
    url = SecretStr(f"sqlite:///{tmp_path}/catalog.db")
    clock = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    with App(Settings(database_url=url, sources=(source,)), lambda: clock) as app:
        clock += since
        assert [report.status for report in app.sync()] == ["succeeded"]
        clock += 5 * MINUTE - since
        reports: list[RunReport] = []
        jobs = Jobs(app, on_end=lambda: None)
        monkeypatch.setattr(jobs, "_on_report", reports.append)
        jobs.sync(source)
        assert [report.status == "skipped" for report in reports] == [skipped]


def test_a_new_database_is_a_warning(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    """A database that was deleted while the daemon runs is a warning and a new baseline."""
    for file in Path(jobs.app.database).parent.glob("catalog.db*"):
        file.unlink()
    jobs.sync(jobs.app.settings.sources[0])
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "the database is new" in record.getMessage()


@pytest.mark.parametrize("schedule", [Schedule(MINUTE), Schedule(MINUTE, "* * * * *")])
def test_missed_runs_are_skipped(schedule: Schedule) -> None:
    """After a jump of half a century, the next run is later than the present time."""
    trigger, now = ScheduleTrigger(schedule), datetime.now(UTC)
    late = trigger.get_next_fire_time(datetime(1970, 1, 1, tzinfo=UTC), now)
    assert now < late <= now + MINUTE
    assert trigger.get_next_fire_time(late, late) == late + MINUTE


def test_jitter_is_added_in_utc() -> None:
    """In the repeated hour, a run with jitter is still later than the present time."""
    schedule = Schedule(MINUTE, "*/15 * * * *", "Europe/Berlin")
    trigger, now = ScheduleTrigger(schedule, MINUTE), datetime(2026, 10, 25, 0, 44, 50, tzinfo=UTC)
    for _ in range(100):
        run = trigger.get_next_fire_time(None, now)
        assert run.tzinfo is UTC
        assert timedelta(seconds=10) <= run - now <= MINUTE + timedelta(seconds=10)
