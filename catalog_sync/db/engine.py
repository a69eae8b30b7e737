"""Engines and transactions: connections, settings per transaction, repeated transactions.

Nothing is set in a session: behind a pooler the next transaction may run on another connection, and
another client uses this one. Each BEGIN therefore sets what its transaction needs.
"""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc

from catalog_sync.db.failures import database_errors, is_disconnect, is_repeatable
from catalog_sync.db.urls import DRIVERS, check_options, connect_options, parse, where
from catalog_sync.db.urls import without_secrets as _without_secrets
from catalog_sync.errors import ConfigError, DatabaseError, DriverMissingError
from catalog_sync.json_values import from_json, to_json
from catalog_sync.text import install_command

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

T = TypeVar("T")
LOCK_TIMEOUT_SECONDS = 30
"""How long a statement waits for another process's transaction; ours take milliseconds."""
_IDLE_TIMEOUT_SECONDS = 20
"""How long the server waits for the next statement of a writing transaction. Its client may be
gone, and other processes wait for its locks for at most LOCK_TIMEOUT_SECONDS."""
_SILENCE_SECONDS = 11 * LOCK_TIMEOUT_SECONDS
"""How long a server may take to answer: longer than it may wait for the lock of a set-up."""
_sqlite_writer = threading.Lock()
REPEAT_SECONDS = 10
"""How long a transaction is repeated that conflicts with others."""


class StaleReadError(DatabaseError):
    """A transaction that has written read from a replica that does not show it yet."""


def create_engine(url: str) -> sa.Engine:
    """Return an engine for a database URL; nothing is connected yet.

    Raises:
        ConfigError: The URL, or one of its options, cannot be used.
        DriverMissingError: The driver is not installed.
    """
    parsed = parse(url)
    backend = parsed.get_backend_name()
    options: dict[str, Any] = {"hide_parameters": True, "json_serializer": to_json}
    options["json_deserializer"] = from_json
    if backend == "sqlite":
        options["connect_args"] = {"timeout": LOCK_TIMEOUT_SECONDS}
    else:
        parsed, options["connect_args"] = connect_options(parsed, _SILENCE_SECONDS)
        options["pool_pre_ping"] = True
        if backend == "postgresql":
            options["isolation_level"] = "AUTOCOMMIT"  # our own BEGIN, see below
    try:
        engine = sa.create_engine(parsed, **options)
        check_options(engine)
    except ModuleNotFoundError as error:
        package = DRIVERS[backend][2]
        raise DriverMissingError(
            f"database_url: the Python driver {error.name} is not installed",
            install_command(package) if package else None,
        ) from error
    except OSError as error:  # a relative path in a deleted working directory
        raise DatabaseError(f"database {where(parsed)}: {error.strerror}") from error
    except (exc.SQLAlchemyError, TypeError, ValueError) as error:
        raise ConfigError(f"database_url: not usable: {_without_secrets(error, parsed)}") from None
    asked = options.get("connect_args", {}).get("prepare_threshold") is not None
    prepare(engine, prepared=asked)
    return engine


def prepare(engine: sa.Engine, *, prepared: bool = False) -> None:
    """Configure an engine's connections and transactions.

    `prepared`: the URL asks for server-side prepared statements.
    """
    backend = engine.dialect.name

    _translate_connecting(engine)
    if backend == "sqlite":
        _prepare_sqlite(engine)
        return
    begin = _begin_postgresql if backend == "postgresql" else _begin_mysql

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        if options.get("isolation_level") != "AUTOCOMMIT":
            reading = bool(options.get("catalog_sync_reading"))
            snapshot = bool(options.get("catalog_sync_snapshot"))
            statement = begin(connection.dialect, reading=reading, snapshot=snapshot)
            # A prepared statement is a single command. Without them all commands are sent at once.
            for part in statement.split("; ") if prepared else [statement]:
                connection.exec_driver_sql(part)

    @event.listens_for(engine, "handle_error")
    def _reconnect(context: Any) -> None:
        if context.original_exception is not None and is_disconnect(context.original_exception):
            context.is_disconnect = True


def _translate_connecting(engine: sa.Engine) -> None:
    mistakes = (engine.dialect.loaded_dbapi.ProgrammingError, engine.dialect.loaded_dbapi.DataError)

    @event.listens_for(engine, "do_connect")
    def _do_connect(dialect: Any, _record: Any, args: Any, options: Any) -> Any:
        try:
            if engine.dialect.name == "sqlite" and _only_to_read(args[0]):
                # SQLite would write beside the file, only to share it with a writer.
                uri = f"file:{quote(args[0])}?immutable=1"
                return dialect.connect(uri, *args[1:], **{**options, "uri": True})
            return dialect.connect(*args, **options)
        except (*mistakes, AttributeError, TypeError, LookupError, ValueError) as error:
            # Drivers report an unusable option of the URL with various exceptions.
            reason = _without_secrets(error, engine.url)
            raise ConfigError(f"database_url: the driver does not take it: {reason}") from None


def _begin_postgresql(_dialect: Any, *, reading: bool, snapshot: bool) -> str:
    level = "REPEATABLE READ" if snapshot else "READ COMMITTED"
    parts = [
        f"BEGIN ISOLATION LEVEL {level}{' READ ONLY' if reading else ''}",
        f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'",
        "SET LOCAL TimeZone = 'UTC'",
        "SET LOCAL DateStyle = 'ISO'",  # the driver reads no other
    ]
    if not reading:
        wait = f"'{_IDLE_TIMEOUT_SECONDS}s'"
        parts.append(f"SET LOCAL idle_in_transaction_session_timeout = {wait}")
    return "; ".join(parts)


def _begin_mysql(dialect: Any, *, reading: bool, snapshot: bool) -> str:
    """Return a statement with the settings of the transaction; the next statement begins it."""
    level = "REPEATABLE-READ" if snapshot else "READ-COMMITTED"
    parts = [
        f"{'tx_isolation' if dialect.is_mariadb else 'transaction_isolation'} = '{level}'",
        f"innodb_lock_wait_timeout = {LOCK_TIMEOUT_SECONDS}",
        f"lock_wait_timeout = {LOCK_TIMEOUT_SECONDS}",
        # A value that does not fit is refused, never cut.
        "sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
    ]
    if dialect.is_mariadb and not reading:
        parts.append(f"idle_write_transaction_timeout = {_IDLE_TIMEOUT_SECONDS}")
    return "SET SESSION " + ", SESSION ".join(parts)


def _prepare_sqlite(engine: sa.Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # our own BEGIN, see below
        connection.execute("PRAGMA foreign_keys = ON")
        record.info["file"] = _file_of(engine)

    @event.listens_for(engine, "checkout")
    def _checkout(_connection: sqlite3.Connection, record: Any, _proxy: Any) -> None:
        # Writes to a file that was deleted or replaced would be lost.
        if record.info["file"] != _file_of(engine):
            raise exc.DisconnectionError("the file is another one")  # it is opened again

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # Otherwise a reader that becomes a writer may be refused. This one waits at the start.
        reading = connection.get_execution_options().get("catalog_sync_reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _only_to_read(file: str) -> bool:
    """Whether an SQLite file is complete, and in a directory where this user may not write.

    While another process writes there is a log beside it, and with the log SQLite reads correctly.
    """
    path = Path(file)
    with suppress(OSError, ValueError):  # connecting will report it
        writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        return path.is_file() and not writable and not Path(f"{file}-wal").exists()
    return False


def _file_of(engine: sa.Engine) -> tuple[int, int] | None:
    """Return the identity of an SQLite database's file. None without a file."""
    try:
        found = Path(engine.url.database or "").stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


@contextmanager
def read_transaction(engine: sa.Engine, *, snapshot: bool = False) -> Iterator[sa.Connection]:
    """Open a transaction that only reads, and on SQLite never waits for a writer.

    `snapshot`: all queries see one time, whatever other transactions commit. Raises DatabaseError.
    """
    reading = engine.execution_options(catalog_sync_reading=True, catalog_sync_snapshot=snapshot)
    with database_errors(engine), reading.begin() as connection:
        yield connection


def run(
    engine: sa.Engine,
    work: Callable[[sa.Connection], T],
    *,
    landed: Callable[[sa.Connection, T], bool] | None = None,
    checkpoint: bool = True,
) -> T:
    """Run `work` in a writing transaction, which commits as a whole or not at all.

    The transaction is repeated, on a new connection if necessary, while it conflicts with others:
    `work` may be called several times, and only its last call counts.

    Args:
        engine: The database.
        work: Reads and writes with the given connection, and must not touch anything else.
        landed: Called if the answer to the commit was lost: returns whether the work is in the
            database. Without it, a lost answer is an error.
        checkpoint: Whether SQLite's file alone is complete afterwards.

    Raises:
        DatabaseError: The database cannot be used, or others were in the way for ten seconds.
        ValueRefusedError: The database refused a value.
    """
    sqlite = engine.dialect.name == "sqlite"
    until: float | None = time.monotonic() + REPEAT_SECONDS if sqlite else None
    attempt = 0
    # A thread that waits for SQLite's own lock sleeps, also while nobody has it.
    with _sqlite_writer if sqlite else nullcontext(), database_errors(engine):
        while True:
            done: list[T] = []
            try:
                with engine.connect() as connection:
                    with connection.begin():
                        done.append(work(connection))
                    if sqlite and checkpoint:
                        _checkpoint(connection)
                return done[0]
            except (exc.DBAPIError, StaleReadError) as error:
                lost = is_disconnect(error)
                if lost and done:
                    if landed is None:
                        raise
                    with read_transaction(engine) as connection:
                        if landed(connection, done[0]):
                            return done[0]
                until = until or time.monotonic() + REPEAT_SECONDS
                again = is_repeatable(error) or lost or isinstance(error, StaleReadError)
                if not again or time.monotonic() >= until or (lost and attempt > 1):
                    raise
            attempt += 1
            time.sleep(random.uniform(0.2, 1) * min(0.02 * 2**attempt, 1))  # noqa: S311


def _checkpoint(connection: sa.Connection) -> None:
    """Move SQLite's log into the file. Does not wait for readers."""
    with suppress(connection.dialect.loaded_dbapi.Error):
        raw = connection.connection.dbapi_connection
        raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # type: ignore[union-attr]
