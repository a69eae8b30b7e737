"""The database cost of a run, and its freedom from waits for the network."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import sqlalchemy as sa

from catalog_sync.app import App, RunOptions
from catalog_sync.db import engine as db_engine
from catalog_sync.db import events as db_events
from catalog_sync.db import runs as db_runs
from catalog_sync.db import state as db_state
from catalog_sync.db.schema import sources, sync_runs
from catalog_sync.domain.kinds import Kind, RunStatus
from catalog_sync.domain.model import SourceState
from catalog_sync.errors import DatabaseError
from catalog_sync.queries import catalog as queries_catalog
from catalog_sync.sync import context
from support import Answer, ScriptedServer, model, page, settings_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from support import Request

NOW = datetime(2026, 7, 24, 18, 12, 21, tzinfo=UTC)


class Api(ScriptedServer):
    """A Models API that shows `models` on one page; by id it knows no others."""

    def __init__(self, *models: Mapping[str, Any]) -> None:
        self.models: Sequence[Mapping[str, Any]] = models
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Any:
        return page(self.models) if request.path == "/v1/models" else Answer(status=404)


def catalog(size: int, **fields: Any) -> list[dict[str, Any]]:
    return [model(f"claude-{number}", **fields) for number in range(size)]


def statements_of(
    app: App, options: RunOptions | None = None, status: RunStatus = RunStatus.SUCCEEDED
) -> int:
    """Count the statements of a sync in which each source must end with this status."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    sa.event.listen(app.engine, "before_cursor_execute", note)
    reports = app.sync(options)
    sa.event.remove(app.engine, "before_cursor_execute", note)
    assert {report.status for report in reports} == {status}, reports
    return count


# --- cost --------------------------------------------------------------------------------------


def test_a_run_without_changes_costs_the_same(database_url: str) -> None:
    """A run without changes sends as many statements for 800 models as for 3."""
    with Api() as api, App(settings_for(database_url, api.url)) as app:
        api.models = catalog(3)
        app.sync()
        small = statements_of(app)
        api.models = catalog(800)
        app.sync()
        assert statements_of(app) == small


def test_sources_that_another_process_has_synced_cost_one_query(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To skip 50 sources that are fresh costs as many statements as to skip 2."""
    monkeypatch.setattr(context, "_LOOK_SECONDS", 60)  # a slow machine needs more than one
    with Api() as api:
        settings = settings_for(database_url, api.url)
        source = settings.sources[0]
        counts = []
        for number in (2, 50):
            names = [f"{number}-{each}" for each in range(number)]
            several = tuple(msgspec.structs.replace(source, name=name) for name in names)
            api.models = catalog(3)
            with App(msgspec.structs.replace(settings, sources=several)) as app:
                app.sync()
                fresh = RunOptions(if_older_than=timedelta(hours=1))
                counts.append(statements_of(app, fresh, RunStatus.SKIPPED))
                assert [report.source for report in app.sync(fresh)] == names
        assert counts[0] == counts[1]


def test_processes_begin_with_different_sources(database_url: str) -> None:
    """A run that skips fresh sources takes them in random order, but reports them in theirs."""
    with Api() as api:
        settings = settings_for(database_url, api.url)
        names = [f"{number}" for number in range(20)]
        several = tuple(msgspec.structs.replace(settings.sources[0], name=name) for name in names)
        api.models = catalog(3)
        ended: list[str] = []
        with App(msgspec.structs.replace(settings, sources=several, parallel=1)) as app:
            options = RunOptions(if_older_than=timedelta(hours=1))
            reports = app.sync(options, on_report=lambda report: ended.append(report.source))
        assert [report.source for report in reports] == names
        assert sorted(ended) == sorted(names)
        assert ended != names  # by chance once in 20! runs


def test_changes_are_written_in_batches(database_url: str) -> None:
    """800 additions and 800 changes cost about as many statements as none; so do 100 removals."""
    with Api() as api, App(settings_for(database_url, api.url)) as app:
        api.models = catalog(3)
        app.sync()
        unchanged = statements_of(app)
        api.models = catalog(800)
        assert statements_of(app) <= unchanged + 10
        api.models = [*catalog(799, display_name="Claude"), catalog(800)[799]]
        assert statements_of(app) <= unchanged + 10
        api.models = catalog(700, display_name="Claude")
        assert statements_of(app, RunOptions(accept_removals=True)) <= unchanged + 10
        with db_engine.read_transaction(app.engine) as connection:
            kinds = connection.execute(
                sa.text("SELECT kind, count(*) AS number FROM model_events GROUP BY 1")
            )
            counts = {row.kind: row.number for row in kinds}
            assert counts == {
                "added": 800,
                "updated": 799,
                "removed": 100,
            }
        ids = [event.id for event in app.events()]  # read in batches, each of them once
        assert len(ids) == 1699
        assert ids == sorted(set(ids))
        assert sum(1 for _ in app.events(kinds=[Kind.UPDATED])) == 799


# --- the network -------------------------------------------------------------------------------


def test_no_transaction_waits_for_the_network(database_url: str) -> None:
    """While a run waits for the API, list or requests by id, it has no open transaction."""
    asked: list[str] = []
    busy: list[str] = []
    shown = catalog(4)

    def answer(request: Request) -> Any:
        asked.append(request.path)
        if not can_be_locked(database_url):
            busy.append(request.path)
        cursor = dict(request.query).get("after_id")
        if request.path != "/v1/models":
            listed = {f"/v1/models/{each['id']}": each for each in shown}
            return listed.get(request.path, Answer(status=404))
        position = 1 + [each["id"] for each in shown].index(cursor) if cursor else 0
        return page(shown[position : position + 2], has_more=position + 2 < len(shown))

    with (
        ScriptedServer(answer) as api,
        App(settings_for(database_url, api.url, page_size=2)) as app,
    ):
        app.sync()
        del shown[1:3]
        [report] = app.sync()
    assert len(report.events) == 2, report.error
    assert busy == []
    assert asked[:3] == ["/v1/models"] * 3
    assert asked[-2:] == ["/v1/models/claude-1", "/v1/models/claude-2"]


def can_be_locked(url: str) -> bool:
    """Whether no transaction has read or written, so that all tables can be locked."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(parsed.database or "", timeout=1)) as connection:
            # A checkpoint that restarts the log waits for writers and for readers.
            [blocked, *_] = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            return not blocked
    engine = db_engine.create_engine(url)
    tables = ("sources", "sync_runs", "models", "model_events")
    wait, lock, free = (
        ("SET lock_timeout = '1s'", f"LOCK TABLE {', '.join(tables)}", "ROLLBACK")
        if engine.dialect.name == "postgresql"
        else (
            "SET lock_wait_timeout = 1",
            f"LOCK TABLES {' WRITE, '.join(tables)} WRITE",
            "UNLOCK TABLES",
        )
    )
    try:
        with engine.connect() as connection:
            for statement in (wait, lock, free):
                connection.execute(sa.text(statement))
    except sa.exc.OperationalError:
        return False
    finally:
        engine.dispose()
    return True


# --- leases ------------------------------------------------------------------------------------


LEASE = timedelta(minutes=2)


def begin(engine: sa.Engine, **options: Any) -> SourceState | str:
    """Begin a run, with a lease of two minutes unless the test says otherwise."""
    arguments = {"lease": LEASE, **options}

    def work(connection: sa.Connection) -> SourceState | str:
        return db_runs.begin_run(
            connection, "anthropic", "https://api.anthropic.com", NOW, **arguments
        )

    return db_engine.run(engine, work)


def begun(engine: sa.Engine, **options: Any) -> int:
    found = begin(engine, **options)
    assert not isinstance(found, str), found
    return found.run_id


def change_lease(engine: sa.Engine, *, by: timedelta) -> None:
    """Move the end of the lease, as if it had been taken at another time."""
    with engine.begin() as connection:
        [expires_at] = connection.scalars(sa.select(sources.c.lease_expires_at))
        connection.execute(sa.update(sources).values(lease_expires_at=expires_at + by))


def test_a_lease_has_one_holder(engine: sa.Engine) -> None:
    """One of eight runs that begin at once on a source without a row gets the lease."""
    ready = Barrier(8)

    def take(_: int) -> bool:
        ready.wait()
        return not isinstance(begin(engine), str)

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(take, range(8))) == [False] * 7 + [True]
    with db_engine.read_transaction(engine) as connection:
        runs = connection.execute(sa.select(sync_runs.c.status, sync_runs.c.number)).all()
    assert runs == [("running", 1)]


def test_a_lease_ends(engine: sa.Engine) -> None:
    """A lease holds until its end by the database's clock; then the next run takes it over."""
    first = begun(engine)
    assert begin(engine) == "another process is syncing it"
    change_lease(engine, by=-LEASE + timedelta(seconds=20))
    assert begin(engine) == "another process is syncing it"
    change_lease(engine, by=-timedelta(seconds=21))
    second = begun(engine)
    with engine.begin() as connection:
        dead = connection.execute(sa.select(sync_runs).where(sync_runs.c.id == first)).one()
        assert (dead.status, dead.error, dead.error_code) == ("failed", *["interrupted"] * 2)
        assert not db_runs.release(connection, "anthropic", first)
        assert db_runs.release(connection, "anthropic", second)
        assert not db_runs.release(connection, "anthropic", second)


def test_a_lease_of_a_node_whose_clock_is_ahead(engine: sa.Engine) -> None:
    """A lease holds on all nodes of a cluster, although their clocks differ by a second."""
    begun(engine)
    change_lease(engine, by=timedelta(seconds=1))
    assert begin(engine) == "another process is syncing it"


@pytest.mark.parametrize("ahead", [timedelta(seconds=5), timedelta(days=1), timedelta(days=365)])
def test_a_lease_further_ahead_than_it_is_long_is_over(engine: sa.Engine, ahead: timedelta) -> None:
    """A lease that was taken under a fast clock does not block runs once the clock is right."""
    begun(engine)
    change_lease(engine, by=ahead)
    begun(engine)


def test_the_clock_of_the_host_decides_no_lease(engine: sa.Engine) -> None:
    """A host whose clock is ten minutes fast takes over no lease that is held."""
    begun(engine)
    held = begin(engine, fresh=lambda _source, _last: None)
    assert held == "another process is syncing it"


def test_a_lease_of_a_long_deadline_is_left_alone(engine: sa.Engine) -> None:
    """A lease is measured by its own length, not by that of the run that waits."""
    begun(engine, lease=timedelta(hours=20))
    assert begin(engine, lease=timedelta(minutes=2)) == "another process is syncing it"


def test_a_skipped_run_writes_nothing(engine: sa.Engine) -> None:
    """A run that finds its source held, or fresh, leaves no row and takes no lock."""
    run_id = begun(engine)
    writes: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        if not statement.startswith(("SELECT", "BEGIN", "SET")) or "FOR UPDATE" in statement:
            writes.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    assert begin(engine) == "another process is syncing it"
    assert begin(engine, fresh=lambda _source, _last: "synced 3 s ago") == "synced 3 s ago"
    sa.event.remove(engine, "before_cursor_execute", note)
    assert writes == []
    with db_engine.read_transaction(engine) as connection:
        assert connection.scalars(sa.select(sync_runs.c.id)).all() == [run_id]


def test_no_statement_waits_for_long(engine: sa.Engine) -> None:
    """A statement waits half a minute for another process's lock on a row or a table."""
    limits = {
        "sqlite": {"PRAGMA busy_timeout": 30_000},
        "postgresql": {"SHOW lock_timeout": "30s"},
        "mysql": {"SELECT @@innodb_lock_wait_timeout": 30, "SELECT @@lock_wait_timeout": 30},
    }[engine.dialect.name]
    with db_engine.read_transaction(engine) as connection:
        assert {ask: connection.scalar(sa.text(ask)) for ask in limits} == limits


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_connection_may_break_as_it_is_set_up(engine: sa.Engine, database_url: str) -> None:
    """A connection that the server ends after its check is an ordinary error, and is replaced."""
    other = db_engine.create_engine(database_url)
    asked, kill = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
        "mysql": ("SELECT connection_id()", "KILL {}"),
    }[engine.dialect.name.replace("mariadb", "mysql")]

    def end(connection: Any, *_: object) -> None:
        cursor = connection.cursor()
        cursor.execute(asked)
        (number,) = cursor.fetchone()
        connection.rollback()
        with other.connect() as killer:
            killer.exec_driver_sql(kill.format(number))

    sa.event.listen(engine, "checkout", end)
    with (
        pytest.raises(DatabaseError),
        db_engine.read_transaction(engine) as connection,
    ):
        db_state.select_sources(connection)
    sa.event.remove(engine, "checkout", end)
    with db_engine.read_transaction(engine) as connection:
        assert db_state.select_sources(connection) == []
    other.dispose()


def test_the_statements_never_commit(engine: sa.Engine) -> None:
    """A rolled-back transaction leaves none of its writes."""

    def work(connection: sa.Connection) -> None:
        found = db_runs.begin_run(connection, "anthropic", "https://a.example", NOW, lease=LEASE)
        assert not isinstance(found, str)
        db_runs.finish_run(connection, found.run_id, {"status": "failed", "finished_at": NOW})
        raise KeyError

    with pytest.raises(KeyError):
        db_engine.run(engine, work)
    with db_engine.read_transaction(engine) as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM sources")) == 0
        assert connection.scalar(sa.text("SELECT count(*) FROM sync_runs")) == 0


def test_the_answers_of_one_transaction_are_of_one_time(database_url: str) -> None:
    """A query sees nothing that another run commits during the query."""
    with Api(*catalog(2)) as api, App(settings_for(database_url, api.url)) as app:
        assert app.sync()[0].status is RunStatus.SUCCEEDED
        with app.read_transaction() as connection:
            assert len(queries_catalog.list_models(connection)) == 2
            api.models = catalog(5)
            with App(settings_for(database_url, api.url)) as other:
                assert other.sync()[0].status is RunStatus.SUCCEEDED
            assert len(list(db_events.select_events(connection))) == 2
        with app.read_transaction() as connection:
            assert len(list(db_events.select_events(connection))) == 5


def test_no_object_relational_mapper(tmp_path: Path) -> None:
    """A process that makes a run and a query loads no ORM."""
    script = """
import sys
from catalog_sync.app import App
from support import ScriptedServer, model, page, settings_for

with ScriptedServer([page([model("a")])]) as api, App(settings_for(URL, api.url)) as app:
    assert app.sync()[0].error is None
    assert len(app.models()) == 1 and len(list(app.events())) == 1
    app.deliver()
    print(*[name for name in sys.modules if name.startswith("sqlalchemy.orm")])
""".replace("URL", repr(f"sqlite:///{tmp_path}/catalog.db"))
    path = os.pathsep.join((str(Path(__file__).parents[1]), *sys.path))
    made = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (made.stdout, made.stderr) == ("\n", "")


def test_tables_load_no_dialect() -> None:
    """The tables alone load no database's dialect: a command loads the one that it needs."""
    script = (
        "import sys, catalog_sync.db.schema\n"
        "print([name for name in sys.modules if name.startswith('sqlalchemy.dialects.')])"
    )
    made = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert made.stdout == "[]\n"
