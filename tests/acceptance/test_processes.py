"""The program as processes: many at once, killed at any time, stopped by a signal."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import sqlalchemy as sa

from catalog_sync.__main__ import main
from catalog_sync.app import App
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import engine as db_engine
from catalog_sync.db import events as db_events
from catalog_sync.db import migrate
from catalog_sync.db.schema import alert_deliveries, model_events, sources, sync_runs
from catalog_sync.domain import replay
from catalog_sync.domain.kinds import RunStatus
from receivers import Receiver, Reply
from support import Answer, Request, ScriptedServer, environment, model, page, program, settings_for

KILLS = 10
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
PAGE_SIZE = 40

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def few_certificates(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    """Loading all certificates takes a while, and no test needs them."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path_factory.getbasetemp()))


class Api(ScriptedServer):
    """A Models API whose list a test changes; by id it answers what it lists.

    It answers no request while a test clears `answering`.
    """

    def __init__(self) -> None:
        self.models: list[Any] = []
        self.answering = threading.Event()
        self.answering.set()
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Any:
        self.answering.wait(60)
        if request.path != "/v1/models":
            asked = unquote(request.path.removeprefix("/v1/models/"))
            found = [each for each in self.models if each["id"] == asked]
            return found[0] if found else Answer(status=404)
        cursor = dict(request.query).get("after_id")
        ids = [each["id"] for each in self.models]
        start = ids.index(cursor) + 1 if cursor in ids else 0
        shown = self.models[start : start + PAGE_SIZE]
        return page(shown, has_more=start + PAGE_SIZE < len(ids))


class Silent(ScriptedServer):
    """A server that accepts requests and does not answer until the test is over."""

    def __init__(self) -> None:
        self._over = threading.Event()
        super().__init__(lambda _: self._over.wait(60) and None)

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        super().__exit__(*exc_info)


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait until a condition is true; fail after 30 seconds."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


class Sync:
    """A process `catalog-sync sync` that has started and waits for its configuration."""

    def __init__(self, config: str, pipe: Path) -> None:
        self._config, self._pipe = config, pipe
        os.mkfifo(pipe)  # its reader waits until another process writes
        self.process = subprocess.Popen(
            program("--config", str(pipe), "sync"),
            env=environment(ANTHROPIC_API_KEY="sandbox-key"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def go(self) -> None:
        """Write the process its configuration."""
        with self._pipe.open("w") as pipe:  # waits until it reads
            pipe.write(self._config)

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and standard error."""
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said.strip()

    def kill(self, *, after: float = 0) -> None:
        """Kill it after so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(after)
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Sync]]:
    """Start a process that syncs these sources once it has its configuration."""
    syncs: list[Sync] = []

    def start(*base_urls: str) -> Sync:
        lines = [f"database_url = {database_url!r}"]
        for number, base_url in enumerate(base_urls):
            lines += ["[[sources]]", f"name = 'source-{number}'", f"base_url = {base_url!r}"]
            lines += [f"page_size = {PAGE_SIZE}"]
        syncs.append(Sync("\n".join(lines), tmp_path / f"config-{len(syncs)}.toml"))
        return syncs[-1]

    yield start
    for sync in syncs:
        if sync.process.poll() is None:
            sync.kill()


@pytest.fixture
def api() -> Any:
    with Api() as running:
        yield running


@pytest.fixture
def engine(database_url: str) -> Any:
    """Yield an engine on a database that is still empty."""
    engine = db_engine.create_engine(database_url)
    yield engine
    engine.dispose()


def catalog(size: int, **fields: Any) -> list[Any]:
    return [model(f"claude-{number}", **fields) for number in range(size)]


def sync_here(database_url: str, api: Api) -> None:
    """Run the source in this process; the run must succeed."""
    settings = settings_for(database_url, api.url, name="source-0", page_size=PAGE_SIZE)
    with App(settings) as app:
        [report] = app.sync()
    assert report.status is RunStatus.SUCCEEDED, report.error


def assert_all_end_well(syncs: list[Sync]) -> None:
    """Let processes begin at the same time; all must succeed without output."""
    begins = [threading.Thread(target=sync.go) for sync in syncs]
    for begin in begins:
        begin.start()
    for begin in begins:
        begin.join()
    assert [sync.end() for sync in syncs] == [(0, "")] * len(syncs)


def count(engine: sa.Engine, column: Any) -> Counter[Any]:
    with db_engine.read_transaction(engine) as connection:
        return Counter(connection.scalars(sa.select(column)))


def assert_whole(engine: sa.Engine) -> None:
    """Check that each run is in the tables as a whole or not at all."""
    with db_engine.read_transaction(engine) as connection:
        rows = {(each.source, each.info.id): each for each in db_catalog.select_models(connection)}
        events = list(db_events.select_events(connection))
        runs = list(connection.execute(sa.select(sync_runs)))
        leases = set(connection.scalars(sa.select(sources.c.lease_run_id))) - {None}
    replayed = replay.replay(events)
    assert {key: (row.info.payload, row.removed_at) for key, row in rows.items()} == {
        key: (row.info.payload, row.removed_at) for key, row in replayed.items()
    }
    recorded = Counter((event.run_id, event.kind.value) for event in events)
    for run in runs:
        counts = (run.added, run.updated, run.removed)
        assert counts == tuple(recorded[run.id, kind] for kind in ("added", "updated", "removed"))
        assert (run.finished_at is None) == (run.status == "running")
    assert {run.id for run in runs if run.status == "running"} == leases
    assert len(leases) <= 1


# --- many at once ------------------------------------------------------------------------------


def test_many_begin_on_an_empty_database(
    database_url: str, engine: sa.Engine, start: Any, api: Api
) -> None:
    """Eight processes that begin at once on an empty database make one baseline and no error."""
    api.models = catalog(100)
    assert_all_end_well([start(api.url) for _ in range(8)])
    assert count(engine, sync_runs.c.baseline)[True] == 1
    assert set(count(engine, sync_runs.c.status)) <= {"succeeded", "skipped"}
    assert count(engine, model_events.c.kind) == {"added": 100}
    assert_whole(engine)


def test_many_at_once_on_a_changed_list(
    database_url: str, engine: sa.Engine, start: Any, api: Api
) -> None:
    """Eight processes that see the same change at once record it once."""
    api.models = catalog(10)
    sync_here(database_url, api)
    api.models = [model("new"), *catalog(2, display_name="x"), *catalog(9)[2:]]
    assert_all_end_well([start(api.url) for _ in range(8)])
    assert count(engine, model_events.c.kind) == {"added": 11, "updated": 2, "removed": 1}
    assert set(count(engine, sync_runs.c.status)) <= {"succeeded", "skipped"}
    assert_whole(engine)


# --- killed ------------------------------------------------------------------------------------


def test_killed_during_the_set_up(
    database_url: str, engine: sa.Engine, start: Any, api: Api
) -> None:
    """A process killed while it sets up an empty database does not prevent the next set-up."""
    chance = random.Random(1)
    api.models = catalog(3)
    for sync in [start(api.url) for _ in range(4)]:
        sync.go()
        sync.kill(after=chance.uniform(0, 0.3))
    if migrate.current_revision(engine) is not None:
        expire_leases(engine)
    sync_here(database_url, api)
    assert count(engine, model_events.c.kind) == {"added": 3}
    assert_whole(engine)


def test_killed_at_any_time(database_url: str, engine: sa.Engine, start: Any, api: Api) -> None:
    """A process killed at any time leaves no half of a run, and the next one does the rest.

    Every other process is certainly killed during its run: it still waits for the first page.
    """
    chance = random.Random(2)
    api.models = catalog(100)
    sync_here(database_url, api)
    cut_short = 0
    for number, sync in enumerate([start(api.url) for _ in range(KILLS)]):
        api.models = [model(f"new-{number}"), *catalog(98, display_name=f"Claude {number}")]
        requests = len(api.requests) + chance.randrange(5)  # three pages and a request by id
        if number % 2:
            api.answering.clear()
            requests = len(api.requests) + 1
        sync.go()
        wait_until(lambda: len(api.requests) >= requests)  # noqa: B023  # called at once
        sync.kill(after=chance.uniform(0, 0.08))
        api.answering.set()
        expire_leases(engine)
        assert_whole(engine)
        cut_short += count(engine, sync_runs.c.status)["running"]
        sync_here(database_url, api)
        assert_whole(engine)
        assert count(engine, sync_runs.c.status)["running"] == 0
    assert cut_short >= KILLS // 2
    assert count(engine, sync_runs.c.error)["interrupted"] == cut_short


def expire_leases(engine: sa.Engine) -> None:
    """Let leases expire, after the writes of a killed process have ended."""
    with engine.begin() as connection:
        connection.execute(
            sa.update(sources)
            .where(sources.c.lease_run_id.is_not(None))
            .values(lease_expires_at=LONG_AGO)
        )


# --- stopped by a signal -----------------------------------------------------------------------


SAID = "catalog-sync: interrupted"


class Interrupted(types.ModuleType):
    """A module whose import is ended by SIGINT."""

    def __getattr__(self, name: str) -> Any:
        raise KeyboardInterrupt


def test_interrupted_while_it_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGINT in the program's first milliseconds, too, is one line and exit code 130."""
    monkeypatch.setitem(sys.modules, "catalog_sync.cli", Interrupted("catalog_sync.cli"))
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "catalog-sync: interrupted\n"


SIGNALS = {signal.SIGTERM: (143, SAID), signal.SIGINT: (130, SAID)}


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_stopped(
    database_url: str, engine: sa.Engine, start: Any, api: Api, number: signal.Signals
) -> None:
    """A signal during a walk ends it: the run is closed, the lease released."""
    api.models = catalog(3)
    sync_here(database_url, api)
    with Silent() as silent:
        sync = start(silent.url)
        sync.go()
        wait_until(lambda: silent.requests)
        sync.process.send_signal(number)
        assert sync.end() == SIGNALS[number]
    with db_engine.read_transaction(engine) as connection:
        run = connection.execute(sa.select(sync_runs).order_by(sync_runs.c.id.desc())).first()
        assert run is not None
        assert (run.status, run.error) == ("failed", "stopped")
        assert run.finished_at is not None
        assert connection.scalars(sa.select(sources.c.lease_run_id)).all() == [None]
    assert_whole(engine)
    sync_here(database_url, api)


@sqlite_only
def test_stopped_with_several_sources(
    database_url: str, engine: sa.Engine, start: Any, api: Api
) -> None:
    """With several sources, a signal ends those that still walk and keeps finished ones."""
    api.models = catalog(3)
    with Silent() as silent:
        sync = start(silent.url, api.url, silent.url)
        sync.go()
        wait_until(lambda: len(silent.requests) == 2)
        wait_until(lambda: count(engine, sync_runs.c.status)["succeeded"])
        sync.process.send_signal(signal.SIGTERM)
        assert sync.end() == (143, SAID)
    assert count(engine, sync_runs.c.status) == {"failed": 2, "succeeded": 1}
    assert count(engine, sync_runs.c.error) == {"stopped": 2, None: 1}
    assert count(engine, sources.c.lease_run_id) == {None: 3}
    assert_whole(engine)


@sqlite_only
def test_stopped_while_it_waits_to_retry(database_url: str, engine: sa.Engine, start: Any) -> None:
    """A process that waits because the server asked for it stops at once."""
    busy = Answer(status=503, headers={"retry-after": "50"})
    with ScriptedServer([busy]) as server:
        sync = start(server.url)
        sync.go()
        wait_until(lambda: server.requests)
        sync.process.send_signal(signal.SIGTERM)
        assert sync.end() == (143, SAID)
    assert count(engine, sync_runs.c.error) == {"stopped": 1}


@sqlite_only
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_stopped_while_it_delivers(
    database_url: str, engine: sa.Engine, api: Api, tmp_path: Path, number: signal.Signals
) -> None:
    """A stop during a hanging delivery ends the process in seconds; the alert is sent later."""
    api.models = catalog(3)
    sync_here(database_url, api)
    api.models = [model("new"), *catalog(3)]
    over = threading.Event()
    with Receiver(Reply(after=over)) as hook:
        lines = [f"database_url = {database_url!r}", "[[sources]]", "name = 'source-0'"]
        lines += [f"base_url = {api.url!r}", "[[alerts]]", "name = 'hook'"]
        sync = Sync("\n".join([*lines, f"webhook = {hook.url!r}"]), tmp_path / "config.toml")
        sync.go()
        assert hook.wait_for(1)
        sync.process.send_signal(number)
        begin = time.monotonic()
        assert sync.end() == SIGNALS[number]
        assert time.monotonic() - begin < 10
        over.set()
    with engine.connect() as connection:
        assert connection.execute(sa.select(alert_deliveries.c.status)).all() == [("pending",)]
    assert count(engine, sync_runs.c.status) == {"succeeded": 2}
    assert_whole(engine)


@sqlite_only
def test_stopped_while_it_waits_for_a_lock(
    database_url: str, engine: sa.Engine, start: Any, api: Api
) -> None:
    """A stop while another process holds the database's lock ends the process in seconds."""
    api.models = catalog(3)
    sync_here(database_url, api)
    requests = len(api.requests)
    with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        sync = start(api.url)
        sync.go()
        wait_until(lambda: str(engine.url.database) in open_files(sync.process.pid))
        sync.process.send_signal(signal.SIGTERM)
        assert sync.end() == SIGNALS[signal.SIGTERM]
        other.execute("ROLLBACK")
    assert len(api.requests) == requests
    assert_whole(engine)


def open_files(pid: int) -> str:
    """Return the targets of a process's open files, as one text."""
    found = []
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(file.readlink()))
    return " ".join(found)
