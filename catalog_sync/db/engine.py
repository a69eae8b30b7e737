"""Engines and transactions: connections, settings per transaction, repeated transactions.

No state is kept in a session: behind a pooler, the next transaction may use another connection, and
another client this one. Each BEGIN therefore sets what its transaction needs.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event, exc

from catalog_sync.db.failures import database_errors, is_disconnect, is_repeatable, option_errors
from catalog_sync.db.urls import DRIVERS, check_options, connect_options, display_url, parse
from catalog_sync.db.urls import without_secrets as _without_secrets
from catalog_sync.errors import ConfigError, DatabaseError, DriverMissingError
from catalog_sync.json_values import from_json, to_json
from catalog_sync.text import install_command

T = TypeVar("T")
LOCK_TIMEOUT_SECONDS = 30
"""How long a statement waits for the locks of other transactions, which take milliseconds."""
_IDLE_TIMEOUT_SECONDS = 20
"""How long the server waits for the next statement of a writing transaction. If its client has
died, the others, which wait for LOCK_TIMEOUT_SECONDS, still get the locks in time."""
_SILENCE_SECONDS = 11 * LOCK_TIMEOUT_SECONDS
"""How long a server may take to answer. Longer than it waits for the lock of a set-up."""
_CONNECTIONS = 16
"""The largest number of connections to a server, which the threads of all sources share."""
_WRITERS = 12
"""The largest number of writing transactions at a time. Readers (/healthz) use the rest."""
_writers: dict[bool, Any] = {}
"""What a writing transaction waits for, without a limit: of SQLite (True), and of servers."""
_engines: WeakSet[sa.Engine] = WeakSet()
REPEAT_SECONDS = 10
"""How long a conflicting transaction is repeated."""


def _before_fork() -> None:
    """Close SQLite's idle connections: a process that inherits one never locks the file again."""
    for engine in list(_engines):
        if engine.dialect.name == "sqlite" and engine.url.database:
            engine.dispose()


def _begin_process() -> None:
    """Create the locks, and leave inherited connections to the parent, which receives on them."""
    _writers.update({True: threading.Lock(), False: threading.BoundedSemaphore(_WRITERS)})
    for engine in list(_engines):
        engine.dispose(close=False)


_begin_process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_begin_process)


class StaleReadError(DatabaseError):
    """A transaction does not see its own writes: its reads went to a replica."""


def create_engine(url: str) -> sa.Engine:
    """Return an engine for a database URL. It does not connect yet.

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
        # Kept open: a new connection costs more than a run's statements.
        options |= {"pool_size": _CONNECTIONS, "max_overflow": 0, "pool_use_lifo": True}
        if backend == "postgresql":
            options["isolation_level"] = "AUTOCOMMIT"  # our own BEGIN, see below
    try:
        engine = sa.create_engine(parsed, **options)
        check_options(engine)
    except ModuleNotFoundError as error:
        package = DRIVERS[backend][1]
        raise DriverMissingError(
            f"database_url: the Python driver {error.name} is not installed",
            install_command(package) if package else None,
        ) from error
    except OSError as error:  # a relative path in a deleted working directory
        raise DatabaseError(f"database {display_url(parsed)}: {error.strerror}") from error
    except (exc.SQLAlchemyError, TypeError, ValueError) as error:
        raise ConfigError(f"database_url: not usable: {_without_secrets(error, parsed)}") from None
    asked = options.get("connect_args", {}).get("prepare_threshold") is not None
    prepare(engine, prepared=asked)
    return engine


def prepare(engine: sa.Engine, *, prepared: bool = False) -> None:
    """Configure an engine's connections and transactions.

    `prepared`: the URL enables server-side prepared statements.
    """
    _engines.add(engine)
    _translate_connecting(engine)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
        return

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        if options.get("isolation_level") != "AUTOCOMMIT":
            reading = bool(options.get("catalog_sync_reading"))
            commands = _begin_commands(connection.dialect, reading=reading)
            # A prepared statement is a single command. Otherwise all commands are sent together.
            for command in commands if prepared else ["; ".join(commands)]:
                connection.exec_driver_sql(command)

    @event.listens_for(engine, "handle_error")
    def _reconnect(context: Any) -> None:
        if context.original_exception is not None and is_disconnect(context.original_exception):
            context.is_disconnect = True


def _translate_connecting(engine: sa.Engine) -> None:
    @event.listens_for(engine, "do_connect")
    def _do_connect(dialect: Any, _record: Any, args: Any, options: Any) -> Any:
        with option_errors(engine):
            if engine.dialect.name == "sqlite" and _only_to_read(args[0]):
                # Without `immutable`, SQLite creates files beside it to share it with a writer.
                uri = f"file:{quote(args[0])}?immutable=1"
                return dialect.connect(uri, *args[1:], **{**options, "uri": True})
            return dialect.connect(*args, **options)


def _begin_commands(dialect: Any, *, reading: bool) -> list[str]:
    level = "REPEATABLE READ" if reading else "READ COMMITTED"
    if dialect.name == "postgresql":
        commands = [
            f"BEGIN ISOLATION LEVEL {level}{' READ ONLY' if reading else ''}",
            f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'",
            "SET LOCAL TimeZone = 'UTC'",
            "SET LOCAL DateStyle = 'ISO'",  # the driver parses no other
        ]
        if not reading:
            idle = f"idle_in_transaction_session_timeout = '{_IDLE_TIMEOUT_SECONDS}s'"
            commands.append(f"SET LOCAL {idle}")
        return commands
    settings = [
        f"{'tx' if dialect.is_mariadb else 'transaction'}_isolation = '{level.replace(' ', '-')}'",
        f"innodb_lock_wait_timeout = {LOCK_TIMEOUT_SECONDS}",
        f"lock_wait_timeout = {LOCK_TIMEOUT_SECONDS}",
        # A value that does not fit is an error, not truncated.
        "sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
    ]
    if dialect.is_mariadb and not reading:
        settings.append(f"idle_write_transaction_timeout = {_IDLE_TIMEOUT_SECONDS}")
    return [f"SET SESSION {', SESSION '.join(settings)}"]  # the next statement begins it


def _prepare_sqlite(engine: sa.Engine) -> None:
    path = Path(engine.url.database or "")

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # our own BEGIN, see below
        connection.execute("PRAGMA foreign_keys = ON")
        record.info["file"] = _file_at(path)

    @event.listens_for(engine, "checkout")
    def _checkout(_connection: Any, record: Any, _proxy: Any) -> None:
        # Writes to a file that was deleted or replaced would be lost: open the new one.
        if record.info["file"] != _file_at(path):
            raise exc.DisconnectionError("the file was replaced")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # SQLite may refuse a reader that becomes a writer. IMMEDIATE waits at the start instead.
        reading = connection.get_execution_options().get("catalog_sync_reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _only_to_read(file: str) -> bool:
    """Whether an SQLite file is complete and this user may not write to it or its directory.

    While another process writes, a log exists beside the file: SQLite then reads it the usual way.
    """
    path = Path(file)
    with suppress(OSError, ValueError):  # reported when connecting
        writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        return path.is_file() and not writable and not Path(f"{file}-wal").exists()
    return False


def _file_at(path: Path) -> tuple[int, int] | None:
    """Return device and inode of an SQLite file. None if it does not exist."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


@contextmanager
def read_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a read-only transaction, whose queries all see the same state of the database.

    On SQLite it never waits for a writer. Raises DatabaseError.
    """
    reading = engine.execution_options(catalog_sync_reading=True)
    with database_errors(engine), reading.connect() as connection, _begin_transaction(connection):
        yield connection


def _begin_transaction(connection: sa.Connection) -> sa.RootTransaction:
    """Begin a transaction, on a new connection if the server has closed the pool's."""
    try:
        return connection.begin()
    except exc.DBAPIError as error:
        if not is_disconnect(error):
            raise
        return connection.begin()


def run(
    engine: sa.Engine,
    work: Callable[[sa.Connection], T],
    *,
    landed: Callable[[sa.Connection, T], bool] | None = None,
    checkpoint: bool = True,
) -> T:
    """Run `work` in a writing transaction.

    The transaction is repeated, on a new connection if necessary, while it conflicts with others:
    `work` may be called several times, and only its last call counts.

    Args:
        engine: The database.
        work: Reads and writes with the given connection, and has no other effect.
        landed: Called if the answer to the commit was lost. Returns whether the commit succeeded.
            Without it, a lost answer is an error.
        checkpoint: Whether to move SQLite's log into the file.

    Raises:
        DatabaseError: The database cannot be used, or the transaction conflicted for ten seconds.
        ValueRefusedError: The database refused a value.
    """
    sqlite = engine.dialect.name == "sqlite"
    until: float | None = time.monotonic() + REPEAT_SECONDS if sqlite else None
    attempt = 0
    # Faster than SQLite's own lock, for which a thread waits by sleeping.
    with _writers[sqlite], database_errors(engine):
        while True:
            done: list[T] = []
            try:
                with engine.connect() as connection:
                    with _begin_transaction(connection):
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


def checkpoint(engine: sa.Engine) -> None:
    """Move SQLite's log into the file after transactions that did not. Others need nothing."""
    if engine.dialect.name == "sqlite":
        with suppress(exc.SQLAlchemyError), engine.connect() as connection:
            _checkpoint(connection)


def _checkpoint(connection: sa.Connection) -> None:
    """Move SQLite's log into the file, as far as possible without waiting for readers."""
    with suppress(connection.dialect.loaded_dbapi.Error):
        raw = connection.connection.dbapi_connection
        raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # type: ignore[union-attr]
