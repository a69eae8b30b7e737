"""What a pass costs the database, and that it never makes the database wait for the network."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from catalog_sync.app import App, RunOptions
from catalog_sync.db import engine as db_engine
from catalog_sync.db import runs as db_runs
from catalog_sync.domain.kinds import Kind, RunStatus
from catalog_sync.errors import DatabaseError
from catalog_sync.queries import catalog as queries_catalog
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


def statements_of(app: App, options: RunOptions | None = None) -> int:
    """Make a pass that must succeed, and count the statements that it sends."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    sa.event.listen(app.engine, "before_cursor_execute", note)
    [report] = app.sync(options)
    sa.event.remove(app.engine, "before_cursor_execute", note)
    assert report.status is RunStatus.SUCCEEDED, report.error
    return count


# --- cost --------------------------------------------------------------------------------------


def test_a_pass_without_changes_costs_the_same(database_url: str) -> None:
    """A pass without changes sends as many statements for 800 models as for 3."""
    with Api() as api, App(settings_for(database_url, api.url)) as app:
        api.models = catalog(3)
        app.sync()
        small = statements_of(app)
        api.models = catalog(800)
        app.sync()
        assert statements_of(app) == small


def test_changes_are_written_in_batches(database_url: str) -> None:
    """800 additions and 800 changes cost about as many statements as none; so do 100 removals."""
    with Api() as api, App(settings_for(database_url, api.url)) as app:
        api.models = catalog(3)
        app.sync()
        unchanged = statements_of(app)
        api.models = catalog(800)
        assert statements_of(app) <= unchanged + 10
        api.models = catalog(800, display_name="Claude")
        assert statements_of(app) <= unchanged + 10
        api.models = catalog(700, display_name="Claude")
        assert statements_of(app, RunOptions(accept_removals=True)) <= unchanged + 10
        with db_engine.reading(app.engine) as session:
            kinds = session.execute(
                sa.text("SELECT kind, count(*) AS number FROM model_events GROUP BY 1")
            )
            counts = {row.kind: row.number for row in kinds}
            assert counts == {
                "added": 800,
                "updated": 800,
                "removed": 100,
            }
        ids = [event.id for event in app.events()]  # read in batches, each of them once
        assert len(ids) == 1700
        assert ids == sorted(set(ids))
        assert sum(1 for _ in app.events(kinds=[Kind.UPDATED])) == 800


# --- the network -------------------------------------------------------------------------------


def test_no_transaction_waits_for_the_network(database_url: str) -> None:
    """While a pass waits for the API, list or questions by id, no transaction of its is open."""
    asked: list[str] = []
    busy: list[str] = []
    shown = catalog(4)

    def answer(request: Request) -> Any:
        asked.append(request.path)
        if not can_be_locked(database_url):
            busy.append(request.path)
        cursor = dict(request.query).get("after_id")
        if request.path != "/v1/models":
            return Answer(status=404)
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
    expected = ["/v1/models"] * 3 + ["/v1/models/claude-1", "/v1/models/claude-2"]
    assert asked == expected


def can_be_locked(url: str) -> bool:
    """Whether nobody is within a transaction that has read or written, so that all can be ours."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(parsed.database or "", timeout=1)) as connection:
            # A checkpoint that starts the log anew waits for writers and for readers.
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


def test_a_lease_has_one_holder(engine: sa.Engine) -> None:
    """Of many that want a source's lease at the same moment, one gets it."""
    with db_engine.transaction(engine) as session:
        db_runs.register_source(session, "anthropic", "https://api.anthropic.com")
    ready = Barrier(8)

    def take(_: int) -> bool:
        ready.wait()
        with db_engine.transaction(engine) as session:
            db_runs.lock_source(session, "anthropic")
            run_id = db_runs.start_run(session, "anthropic", NOW)
            lease = timedelta(minutes=1)
            return db_runs.acquire(session, "anthropic", run_id, NOW, lease=lease)

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(take, range(8))) == [False] * 7 + [True]


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_source_is_registered_once(engine: sa.Engine) -> None:
    """Two that register a new source at the same moment, unseen by the other, both go on."""
    both_looked = Barrier(2, timeout=30)

    def wait_before_writing(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO sources"):
            both_looked.wait()

    sa.event.listen(engine, "before_cursor_execute", wait_before_writing)

    def register(_: int) -> str:
        with db_engine.transaction(engine) as session:
            db_runs.register_source(session, "anthropic", "https://api.anthropic.com")
        with db_engine.transaction(engine) as session:
            db_runs.lock_source(session, "anthropic")
            return db_runs.select_source(session, "anthropic").name

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(register, range(2))) == ["anthropic"] * 2


def test_a_lease_ends(engine: sa.Engine) -> None:
    """A lease is refused until the instant at which it ends, and given from then on."""
    lease = timedelta(minutes=2)
    with db_engine.transaction(engine) as session:
        db_runs.register_source(session, "anthropic", "https://api.anthropic.com")
        runs = [db_runs.start_run(session, "anthropic", NOW) for _ in range(3)]
        at = [NOW, NOW + lease - timedelta(microseconds=1), NOW + lease]
        taken = [
            db_runs.acquire(session, "anthropic", run, now, lease=lease)
            for run, now in zip(runs, at, strict=True)
        ]
        assert taken == [True, False, True]
        assert not db_runs.release(session, "anthropic", runs[0])
        assert db_runs.release(session, "anthropic", runs[2])
        assert not db_runs.release(session, "anthropic", runs[2])


def test_no_statement_waits_for_long(engine: sa.Engine) -> None:
    """Whatever another process holds, a row or a table, a statement waits half a minute for it."""
    limits = {
        "sqlite": {"PRAGMA busy_timeout": 30_000},
        "postgresql": {"SHOW lock_timeout": "30s"},
        "mysql": {"SELECT @@innodb_lock_wait_timeout": 30, "SELECT @@lock_wait_timeout": 30},
    }[engine.dialect.name]
    with db_engine.reading(engine) as session:
        assert {ask: session.scalar(sa.text(ask)) for ask in limits} == limits


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_connection_may_break_as_it_is_set_up(engine: sa.Engine, database_url: str) -> None:
    """One that the server ends once it was found alive is an error like any other, and replaced."""
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
    with pytest.raises(DatabaseError), db_engine.reading(engine, snapshot=True) as session:
        db_runs.source_names(session)
    sa.event.remove(engine, "checkout", end)
    with db_engine.reading(engine, snapshot=True) as session:
        assert db_runs.source_names(session) == set()
    other.dispose()


def test_the_store_never_commits(engine: sa.Engine) -> None:
    """What the store writes is gone when its transaction is."""

    def write_and_fail() -> None:
        with db_engine.transaction(engine) as session:
            db_runs.register_source(session, "anthropic", "https://api.anthropic.com")
            run_id = db_runs.start_run(session, "anthropic", NOW)
            db_runs.acquire(session, "anthropic", run_id, NOW, lease=timedelta(minutes=1))
            db_runs.finish_run(session, run_id, RunStatus.FAILED, NOW, error="no matter")
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    with db_engine.reading(engine) as session:
        assert session.scalar(sa.text("SELECT count(*) FROM sources")) == 0
        assert session.scalar(sa.text("SELECT count(*) FROM sync_runs")) == 0


def test_the_answers_of_one_reading_are_of_one_moment(database_url: str) -> None:
    """What another pass commits while questions are asked is in none of their answers."""
    with Api(*catalog(2)) as api, App(settings_for(database_url, api.url)) as app:
        assert app.sync()[0].status is RunStatus.SUCCEEDED
        with app.reading() as session:
            assert len(queries_catalog.list_models(session)) == 2
            api.models = catalog(5)
            with App(settings_for(database_url, api.url)) as other:
                assert other.sync()[0].status is RunStatus.SUCCEEDED
            assert len(list(queries_catalog.iter_events(session))) == 2
        with app.reading() as session:
            assert len(list(queries_catalog.iter_events(session))) == 5
