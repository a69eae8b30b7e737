"""Databases as users have them: odd defaults, poolers, conflicts, broken connections."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from catalog_sync.app import App
from catalog_sync.config.settings import AlertSettings, Settings, SourceSettings
from catalog_sync.config.values import SecretStr
from catalog_sync.db import checked, migrate, retention, runs
from catalog_sync.db import engine as db_engine
from catalog_sync.db import state as db_state
from catalog_sync.db.outbox import DeliveryCounts
from catalog_sync.db.schema import alert_deliveries, model_events, sources, sync_runs
from catalog_sync.db.urls import display_url, secrets
from catalog_sync.domain.kinds import RunStatus
from catalog_sync.errors import ConfigError, DatabaseError
from catalog_sync.queries import health
from support import ScriptedServer, model, page, settings_for

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
servers = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def api() -> Iterator[ScriptedServer]:
    with ScriptedServer([page([model("a"), model("b"), model("c")])]) as server:
        yield server


def synced(url: str, api: ScriptedServer) -> None:
    """Make two runs and a query."""
    with App(settings_for(url, api.url)) as app:
        for _ in range(2):
            [report] = app.sync()
            assert report.status is RunStatus.SUCCEEDED, report.error
        assert len(app.models()) == 3
        assert len(list(app.events())) == 3


# --- sessions ----------------------------------------------------------------------------------


@postgresql
@pytest.mark.parametrize("style", ["German, DMY", "SQL, MDY", "Postgres"])
def test_any_date_style(database_url: str, api: ScriptedServer, style: str) -> None:
    """A database whose sessions write dates in another style is read correctly."""
    name = sa.make_url(database_url).database
    engine = db_engine.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {name} SET datestyle = '{style}'"))
        connection.execute(sa.text(f"ALTER DATABASE {name} SET timezone = 'Asia/Kathmandu'"))
    engine.dispose()
    synced(database_url, api)


# --- URLs --------------------------------------------------------------------------------------


@postgresql
@pytest.mark.parametrize(
    "options", ["prepare_threshold=0", "prepare_threshold=5", "sslmode=prefer"]
)
def test_options_of_postgresql(database_url: str, api: ScriptedServer, options: str) -> None:
    """An option of the driver is converted to the driver's type."""
    synced(f"{database_url}?{options}", api)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("postgresql+psycopg2://u@h/d", "write postgresql://"),
        ("postgresql+asyncpg://u@h/d", "write postgresql://"),
        ("mysql+mysqldb://u@h/d", "write mysql://"),
        ("mysql://u@h/d?local_infile=1", "the option local_infile is not supported"),
        ("mysql://u@h/d?init_command=x", "the option init_command is not supported"),
        ("mysql://u@h/d?read_timeout=soon", "read_timeout: expected a number"),
        ("mysql://u@h/d?ssl_verify_cert=maybe", "expected true or false"),
        ("mysql://u@h/d?charset=latin1", "write charset=utf8mb4"),
        ("mysql://u@h/d?charset=bogus", "write charset=utf8mb4"),
        ("postgresql://u@h/d?client_encoding=latin1", "write client_encoding=utf8"),
        ("postgresql://u@h/d?prepare_threshold=x", "expected a number"),
        ("postgresql://u@h/d?row_factory=x", "row_factory is not an option"),
        ("postgresql://u@h/d?colour=blue", "colour is not an option"),
        ("sqlite:///a?b.db", "write %3F for a [?] in its path"),
        ("sqlite:///a?.db", "write %3F for a [?] in its path"),
        ("sqlite:///file::memory:?uri=true", "an SQLite database needs a file"),
        ("sqlite:///file:a?mode=memory&cache=shared&uri=true", "an SQLite database needs a file"),
    ],
)
def test_what_is_refused(url: str, advice: str) -> None:
    """An unusable driver or option is a configuration error with the reason."""
    with pytest.raises(ConfigError, match=advice) as refused:
        db_engine.create_engine(url)
    assert refused.value.exit_code == 2


def test_several_hosts() -> None:
    """Several hosts as libpq writes them are all tried, and all named."""
    url = "postgresql://u:secret@h1:5432,h2:5433/d?target_session_attrs=read-write"
    engine = db_engine.create_engine(url)
    assert display_url(engine.url) == "postgresql://h1:5432,h2:5433/d"
    _, options = engine.dialect.create_connect_args(engine.url)
    assert (options["host"], options["port"]) == ("h1,h2", "5432,5433")


@pytest.mark.parametrize("option", ["ssl_ca", "ssl_cert"])
def test_a_missing_tls_file(option: str) -> None:
    """A missing TLS file is an error in one line that names it."""
    engine = db_engine.create_engine(f"mysql://root@127.0.0.1/test?{option}=/missing.pem")
    with pytest.raises(DatabaseError, match=r"/missing\.pem") as refused:
        migrate.current_revision(engine)
    assert refused.value.exit_code == 4


@pytest.mark.parametrize("option", ["ssl_ca", "ssl_cert"])
@pytest.mark.parametrize("file", ["no-certificate.pem", "."])
def test_a_wrong_tls_file(option: str, file: str, tmp_path: Path) -> None:
    """A TLS file that holds no certificate, or is a directory, is an error that names it."""
    wrong = tmp_path / file
    if not wrong.is_dir():
        wrong.write_text("not a certificate")
    engine = db_engine.create_engine(f"mysql://root@127.0.0.1/test?{option}={wrong}")
    with pytest.raises(DatabaseError, match=str(wrong)) as refused:
        migrate.current_revision(engine)
    assert refused.value.exit_code == 4


@postgresql
def test_an_option_that_the_driver_cannot_read(database_url: str) -> None:
    """A value that PostgreSQL's driver cannot read is an error of the configuration."""
    engine = db_engine.create_engine(f"{database_url}?connect_timeout=soon")
    with pytest.raises(ConfigError, match="connect_timeout: 'soon'"):
        migrate.current_revision(engine)


@pytest.mark.parametrize(
    ("options", "reason"),
    [("mode=rwx", "no such access mode"), ("cache=no", "no such cache"), ("vfs=no", "no such vfs")],
)
def test_an_option_that_sqlite_refuses(options: str, reason: str) -> None:
    """A value that SQLite refuses is an error of the configuration."""
    engine = db_engine.create_engine(f"sqlite:///file:catalog.db?{options}&uri=true")
    with pytest.raises(ConfigError, match=reason):
        migrate.current_revision(engine)


@servers
def test_a_password_of_any_characters(database_url: str) -> None:
    """A password is sent in UTF-8, as the database's own clients send it."""
    admin = db_engine.create_engine(database_url)
    name, password = f"u_{uuid.uuid4().hex[:12]}", "p@:/?#% é🔑"
    user = f"{name}@'%'" if admin.dialect.name == "mysql" else name
    change = "IDENTIFIED BY" if admin.dialect.name == "mysql" else "PASSWORD"
    with admin.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(sa.text(f"CREATE USER {user} {change} '{password}'"))
        if admin.dialect.name == "mysql":
            connection.execute(sa.text(f"GRANT ALL ON {admin.url.database}.* TO {user}"))
    try:
        url = admin.url.set(username=name, password=password)
        engine = db_engine.create_engine(url.render_as_string(hide_password=False))
        assert migrate.current_revision(engine) is None
        engine.dispose()
    finally:
        with admin.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(sa.text(f"DROP USER {user}"))
        admin.dispose()


@postgresql
def test_options_are_shown(database_url: str) -> None:
    """What is wrong with an option is shown; only options that may hold a secret are struck out."""
    engine = db_engine.create_engine(f"{database_url}?sslmode=bogus&sslpassword=hunter22")
    with pytest.raises(DatabaseError, match='invalid sslmode value: "bogus"'):
        migrate.current_revision(engine)
    assert secrets(engine.url) == ["hunter22"]


@postgresql
def test_a_missing_schema(database_url: str) -> None:
    """An empty database whose search_path names no schema says what to create."""
    engine = db_engine.create_engine(f"{database_url}?options=-csearch_path%3Dmissing")
    with pytest.raises(DatabaseError, match="create the schema that search_path names"):
        migrate.upgrade(engine)


# --- repeated transactions ---------------------------------------------------------------------


def failing(engine: sa.Engine, state: str, times: int) -> Any:
    """Return work that fails with an SQLSTATE, or MariaDB's signal for it, a number of times."""
    left = [times]

    def work(connection: sa.Connection) -> int:
        connection.execute(sa.insert(sources).values(name="s", base_url="https://a.example"))
        if left[0]:
            left[0] -= 1
            connection.exec_driver_sql(state)
        return connection.scalar(sa.select(sa.func.count()).select_from(sources)) or 0

    return work


STATES = {
    "postgresql": "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$",
    "mysql": "BEGIN NOT ATOMIC SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213; END",
}


@servers
def test_a_transaction_that_others_prevent_is_repeated(engine: sa.Engine) -> None:
    """A serialization failure or deadlock is repeated as a whole, and nothing is written twice."""
    assert db_engine.run(engine, failing(engine, STATES[engine.dialect.name], 3)) == 1


@postgresql
def test_a_transaction_that_fails_at_its_commit_is_repeated(engine: sa.Engine) -> None:
    """A failure at the commit is repeated, too."""
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SEQUENCE attempts")
        connection.exec_driver_sql(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF nextval('attempts') < 3 THEN RAISE SQLSTATE '40001'; END IF; RETURN NULL; END $$"
        )
        connection.exec_driver_sql(
            "CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON sources "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()"
        )
    assert db_engine.run(engine, failing(engine, "", 0)) == 1


@servers
def test_a_connection_that_breaks_is_replaced(engine: sa.Engine) -> None:
    """A transaction whose connection the server ends is repeated on another one."""
    kill = {
        "postgresql": "SELECT pg_terminate_backend(pg_backend_pid())",
        "mysql": "KILL CONNECTION_ID()",
    }[engine.dialect.name]
    assert db_engine.run(engine, failing(engine, kill, 1)) == 1


@servers
def test_many_writers_leave_connections_to_readers(engine: sa.Engine) -> None:
    """A reader gets a connection beside many writers, and each writer gets its turn."""
    begun, finish = threading.Semaphore(0), threading.Event()
    engine.pool._timeout = 0.1  # type: ignore[attr-defined]  # else the defect takes 30 s to show

    def work(_connection: sa.Connection) -> int:
        begun.release()
        assert finish.wait(60)
        return 1

    with ThreadPoolExecutor(40) as threads:
        writers = [threads.submit(db_engine.run, engine, work) for _ in range(40)]
        try:
            for _ in range(db_engine._WRITERS):
                assert begun.acquire(timeout=60)
            with db_engine.read_transaction(engine) as connection:
                assert connection.scalar(sa.select(sa.literal(2))) == 2
        finally:
            finish.set()
        assert sum(writer.result() for writer in writers) == 40


@servers
def test_an_empty_catalog_holds_no_connection(database_url: str) -> None:
    """Readers of an empty database leave the connections to the thread that sets it up."""
    engine = db_engine.create_engine(database_url)
    with checked.read(engine) as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(sources)) == 0
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    engine.dispose()


@servers
def test_connections_that_the_server_closed_are_replaced(engine: sa.Engine) -> None:
    """Reading and writing go on after the server has closed the idle connections of the pool."""
    own, kill = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%d)"),
        "mysql": ("SELECT CONNECTION_ID()", "KILL %d"),
    }[engine.dialect.name]

    insert = sa.insert(sources).values(name="a", base_url="http://a")
    with engine.connect() as killer:

        def close_idle() -> None:
            with engine.connect() as idle:
                number = idle.exec_driver_sql(own).scalar()
            killer.exec_driver_sql(kill % number)

        close_idle()
        db_engine.run(engine, lambda connection: connection.execute(insert))
        close_idle()
        with db_engine.read_transaction(engine) as connection:
            assert connection.scalars(sa.select(sources.c.name)).all() == ["a"]


@sqlite
def test_the_file_alone_is_complete_after_several_sources(
    database_url: str, api: ScriptedServer, tmp_path: Path
) -> None:
    """After a sync of several sources, SQLite's log contains nothing that the file lacks."""
    one = settings_for(database_url, api.url)
    pair = tuple(msgspec.structs.replace(one.sources[0], name=name) for name in "ab")
    with App(msgspec.structs.replace(one, sources=pair)) as app:
        app.sync()
        copy = shutil.copy(sa.make_url(database_url).database or "", tmp_path / "copy.db")
        with closing(sqlite3.connect(f"file:{copy}?immutable=1", uri=True)) as connection:
            assert connection.execute("SELECT count(*) FROM current_models").fetchone() == (6,)


def test_a_mistake_is_no_outage(engine: sa.Engine) -> None:
    """A mistake in a statement is raised unchanged, not as a database that is down."""
    with pytest.raises(sa.exc.DBAPIError):
        db_engine.run(engine, lambda connection: connection.exec_driver_sql("SELEC 1"))


@postgresql
def test_a_commit_whose_answer_was_lost_is_recognised(engine: sa.Engine) -> None:
    """A run whose begin was committed without an answer goes on; it is not begun twice."""
    lost = [True]

    def lose(connection: sa.Connection) -> None:
        if lost.pop() if lost else False:
            raw = connection.connection.dbapi_connection
            raw.commit()
            raw.pgconn.finish()

    sa.event.listen(engine, "commit", lose)

    def begin(connection: sa.Connection) -> int:
        found = runs.begin_run(
            connection, "s", "https://a.example", NOW, lease=timedelta(minutes=2)
        )
        assert not isinstance(found, str), found
        return found.run_id

    run_id = db_engine.run(
        engine, begin, landed=lambda found, run_id: runs.holds_lease(found, "s", run_id)
    )
    with db_engine.read_transaction(engine) as connection:
        assert connection.scalars(sa.select(sync_runs.c.id)).all() == [run_id]


# --- replicas and other engines ----------------------------------------------------------------


@servers
def test_a_stale_read_is_repeated(engine: sa.Engine) -> None:
    """A run whose reads do not show its own lease, as on a late replica, waits until they do."""
    row = {"name": "s", "base_url": "https://a.example", "runs": 1}
    with engine.begin() as connection:
        connection.execute(sa.insert(sources).values(row))
    tries = []

    def read(connection: sa.Connection) -> datetime | None:
        tries.append(connection)
        found = connection.execute(sa.select(sources)).one()
        db_state.state_of(connection, found, NOW, run_id=7)
        return NOW

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(db_engine.run, engine, read)
        while len(tries) < 2:
            time.sleep(0.01)
        with engine.begin() as connection:
            connection.execute(sa.update(sources).values(lease_run_id=7))
        assert reading.result() == NOW


@postgresql
def test_a_recovery_conflict_names_the_replica(engine: sa.Engine) -> None:
    """A query that a replica cancels to follow its primary says so in one line."""
    conflict = (
        "DO $$ BEGIN RAISE EXCEPTION 'canceling statement due to conflict with recovery' "
        "USING ERRCODE = '40001'; END $$"
    )
    with (
        pytest.raises(DatabaseError, match="the replica must follow its primary; try again"),
        db_engine.read_transaction(engine) as connection,
    ):
        connection.exec_driver_sql(conflict)


@postgresql
def test_an_unknown_engine_is_named(database_url: str) -> None:
    """An engine whose version cannot be read is an ordinary error that quotes it."""
    engine = db_engine.create_engine(database_url)

    def version(_connection: object) -> None:
        raise AssertionError("Could not determine version from string 'Other 1.0'")

    engine.dialect._get_server_version_info = version
    with pytest.raises(DatabaseError, match=r"'Other 1\.0'; this engine is not supported"):
        migrate.ensure_schema(engine)
    engine.dispose()


def test_where_no_log_can_be_used(api: ScriptedServer, tmp_path: Path) -> None:
    """Where SQLite's write-ahead log cannot work, another journal is used."""
    url = f"sqlite:///file:{tmp_path}/catalog.db?vfs=unix-dotfile&uri=true"
    synced(url, api)


# --- cost --------------------------------------------------------------------------------------


@pytest.mark.parametrize("alerts", [False, True], ids=["no channel", "a channel"])
def test_an_unchanged_run_is_cheap(database_url: str, api: ScriptedServer, alerts: bool) -> None:
    """A run without changes, and its delivery, are at most 12 statements in 3 transactions.

    The settings of a BEGIN are not counted: they are sent with the BEGIN.
    """
    settings = settings_for(database_url, api.url)
    if alerts:
        hook = AlertSettings(name="hook", webhook=SecretStr("http://127.0.0.1:9/"))
        settings = msgspec.structs.replace(settings, alerts=(hook,))
    with App(settings) as app:
        app.sync()
        app.deliver()
        seen: list[list[str]] = []
        sa.event.listen(app.engine, "begin", lambda _: seen.append([]), insert=True)

        def note(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
            if not statement.startswith(("BEGIN", "SET SESSION")):
                seen[-1].append(statement)

        sa.event.listen(app.engine, "before_cursor_execute", note)
        [report] = app.sync()
        counts = app.deliver()
    assert (report.error, counts) == (None, DeliveryCounts())
    assert len(seen) == 3, seen
    assert sum(map(len, seen)) <= 12, seen


@sqlite
def test_the_file_alone_is_complete(database_url: str, api: ScriptedServer, tmp_path: Path) -> None:
    """After each run a copy of the file alone is complete, while the program goes on."""
    with App(settings_for(database_url, api.url)) as app:
        app.sync()
        shutil.copy(tmp_path / "catalog.db", tmp_path / "copy.db")
        with closing(sqlite3.connect(tmp_path / "copy.db")) as copied:
            [number] = copied.execute("SELECT count(*) FROM models").fetchone()
            [status] = copied.execute("SELECT status FROM sync_runs").fetchone()
        assert (number, status) == (3, "succeeded")


def test_the_state_costs_the_same_with_a_long_history(engine: sa.Engine) -> None:
    """The state is read from the ends of indexes: no plan scans the events or sorts the runs."""
    statements: list[tuple[str, Any]] = []
    row = {"name": "s", "base_url": "https://a.example"}
    db_engine.run(engine, lambda connection: connection.execute(sa.insert(sources).values(row)))

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if "model_events" in statement:
            statements.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    with db_engine.read_transaction(engine) as connection:
        db_state.select_state(connection, "s", "https://a", NOW)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert statements
    with db_engine.read_transaction(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        prefix = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(prefix + statement, parameters).all()
            text = "\n".join(map(str, plan))
            assert "Seq Scan on model_events" not in text
            assert "SCAN model_events" not in text


@sqlite
def test_the_state_costs_the_same_with_many_runs(engine: sa.Engine) -> None:
    """The state and the health of a source with 5,000 runs cost what they cost with 300."""
    settings = Settings(sources=(SourceSettings(name="s"),))

    def steps(number: int) -> int:
        rows = [
            {"source": "s", "started_at": NOW, "finished_at": NOW, "models": 3, "number": n}
            | {"status": "failed" if n > 100 or n % 2 else "succeeded"}
            for n in range(1, number)
        ]
        with engine.begin() as connection:
            connection.execute(sa.delete(sync_runs))
            connection.execute(sa.insert(sync_runs), rows)
        taken: list[None] = []
        with db_engine.read_transaction(engine) as connection:
            raw = connection.connection.dbapi_connection
            raw.set_progress_handler(lambda: taken.append(None), 10)
            db_state.select_state(connection, "s", "https://a.example", NOW)
            db_state.failures(connection, "s", 3)
            health.status(connection, settings, NOW)
            raw.set_progress_handler(None, 0)
        return len(taken)

    with engine.begin() as connection:
        connection.execute(sa.insert(sources).values(name="s", base_url="https://a.example"))
    few = steps(300)
    assert steps(5000) < few * 1.2


# --- retention ---------------------------------------------------------------------------------


def test_retention(engine: sa.Engine) -> None:
    """Old runs without events and delivered alerts are deleted and stay counted; all else stays."""
    old, new = NOW - timedelta(days=500), NOW - timedelta(days=1)

    def fill(connection: sa.Connection) -> None:
        row = {"name": "s", "base_url": "https://a.example", "runs": 302}
        connection.execute(sa.insert(sources).values(row))
        rows = [
            {
                "id": number,
                "source": "s",
                "status": "failed" if number % 3 else "succeeded",
                "started_at": old if number < 250 else new,
                "finished_at": old if number < 250 else new,
                "number": number,
            }
            for number in range(1, 303)
        ]
        connection.execute(sa.insert(sync_runs), rows)
        event = {"source": "s", "kind": "added", "model_id": "m", "changes": {}}
        events = [
            {**event, "id": number, "run_id": number, "occurred_at": old} for number in (1, 2, 3)
        ]
        connection.execute(sa.insert(model_events), events)
        for number, (status, at) in enumerate(
            (("delivered", old), ("delivered", new), ("pending", None)), 1
        ):
            row = {"event_id": number, "channel": "c", "status": status, "delivered_at": at}
            connection.execute(sa.insert(alert_deliveries).values(attempts=0, **row))

    db_engine.run(engine, fill)
    assert retention.prune(engine, NOW, timedelta(days=400)) == 199 + 1
    assert retention.prune(engine, NOW, timedelta(days=400)) == 0
    with db_engine.read_transaction(engine) as connection:
        pruned = sa.select(sources.c.pruned_succeeded, sources.c.pruned_failed)
        assert connection.execute(pruned).all() == [(66, 133)]
        left = connection.scalars(sa.select(sync_runs.c.id).order_by(sync_runs.c.id)).all()
        assert left == [1, 2, 3, *range(203, 303)]
        assert connection.scalars(sa.select(sources.c.pruned_delivered)).all() == [1]
        statuses = connection.scalars(sa.select(alert_deliveries.c.status)).all()
        assert sorted(statuses) == ["delivered", "pending"]


def test_old_rows_are_deleted_by_runs(database_url: str, api: ScriptedServer) -> None:
    """Of a program that is simply run again and again, the number of recorded runs is bounded."""
    clock = [NOW]
    settings = msgspec.structs.replace(
        settings_for(database_url, api.url), retention=timedelta(days=20)
    )
    with App(settings, lambda: clock[0]) as app:
        for _ in range(160):
            clock[0] += timedelta(days=1)
            assert app.sync()[0].error is None
        with db_engine.read_transaction(app.engine) as connection:
            number = connection.scalar(sa.select(sa.func.count()).select_from(sync_runs))
            pruned = connection.scalar(sa.select(sources.c.pruned_succeeded))
    assert number <= 101 + 20
    assert number + pruned == 160
