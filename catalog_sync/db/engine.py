"""Engines and transactions: connections, session settings, translated errors."""

from __future__ import annotations

import os
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.orm import Session

from catalog_sync.errors import ConfigError, DatabaseError, DriverMissingError, ValueRefusedError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator


_DRIVERS = {
    "sqlite": ("sqlite", None),
    "postgresql": ("postgresql+psycopg", "postgres"),
    "postgres": ("postgresql+psycopg", "postgres"),
    "mysql": ("mysql+pymysql", "mysql"),
    "mariadb": ("mariadb+pymysql", "mysql"),
}
_LOCK_TIMEOUT_SECONDS = 30
"""How long a statement waits for another process's transaction; ours take milliseconds."""
_CONNECT_TIMEOUT_SECONDS = 10
_SILENCE_SECONDS = 11 * _LOCK_TIMEOUT_SECONDS
"""How long a server may say nothing: longer than it may wait for the lock of a set-up."""
_KEEPALIVE = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3}
"""For libpq, which has no such limit: a host that is gone is noticed within a minute and a half."""


def create_engine(url: str) -> sa.Engine:
    """Return an engine for a database URL; nothing is connected yet.

    The driver is added where the URL names none. Raises ConfigError for what is no usable URL and
    DriverMissingError for a driver that is not installed.
    """
    parsed = _parse(url)
    backend = parsed.get_backend_name()
    options: dict[str, Any] = {"hide_parameters": True, "json_serializer": _to_json}
    if backend == "sqlite":
        options["connect_args"] = {"timeout": _LOCK_TIMEOUT_SECONDS}
    else:
        options |= {"pool_pre_ping": True, "isolation_level": "READ COMMITTED"}
        options["connect_args"] = {"connect_timeout": _CONNECT_TIMEOUT_SECONDS}
        if backend in {"postgresql", "postgres"}:  # what the database cannot keep, it shall say
            options["connect_args"] |= {"client_encoding": "utf8", **_KEEPALIVE}
        else:
            options["connect_args"] |= {
                "read_timeout": _SILENCE_SECONDS,
                "write_timeout": _SILENCE_SECONDS,
            }
        for said in parsed.query:  # the user's word is the last
            options["connect_args"].pop(said, None)
    try:
        engine = sa.create_engine(parsed, **options)
    except ModuleNotFoundError as error:
        extra = _DRIVERS.get(backend, (None, None))[1]
        raise DriverMissingError(
            f"database_url: the Python driver {error.name} is not installed",
            f"pip install 'catalog-sync[{extra}]'" if extra else None,
        ) from error
    except (exc.SQLAlchemyError, TypeError, ValueError) as error:
        raise ConfigError(f"database_url: not usable: {_without_password(error, parsed)}") from None
    _prepare_connections(engine)
    return engine


def _parse(url: str) -> sa.URL:
    expected = (
        "expected sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://… "
        "(CATALOG_SYNC_DATABASE_URL or the key database_url)"
    )
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
        _ = parsed.port
    except (exc.SQLAlchemyError, ValueError):
        raise ConfigError("database_url: not a database URL", expected) from None
    if "@" in (parsed.host or ""):
        raise ConfigError("database_url: more than one @; write one in a password as %40", expected)
    if backend not in _DRIVERS:
        raise ConfigError(f"database_url: {backend} is not supported", expected)
    if "+" not in parsed.drivername:
        parsed = parsed.set(drivername=_DRIVERS[backend][0])
    if backend == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigError("database_url: an SQLite database needs a file", expected)
    if backend == "sqlite" and parsed.query and "uri" not in parsed.query:
        raise ConfigError("database_url: an SQLite database takes options in a URI alone", expected)
    if backend in {"mysql", "mariadb"} and not parsed.database:
        raise ConfigError("database_url: no database is named", expected)
    if parsed.get_backend_name() in {"mysql", "mariadb"} and "charset" not in parsed.query:
        parsed = parsed.update_query_dict({"charset": "utf8mb4"})
    return parsed


def _to_json(value: Any) -> str:
    import json  # noqa: PLC0415  # only writers need it

    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _prepare_connections(engine: sa.Engine) -> None:
    backend = engine.dialect.name

    @event.listens_for(engine, "do_connect")
    def _do_connect(dialect: Any, _record: Any, args: Any, options: Any) -> Any:
        try:
            if backend == "sqlite" and _only_to_read(args[0]):
                # SQLite would want to write beside it, if only to share it with a writer.
                uri = f"file:{quote(args[0])}?immutable=1"
                return dialect.connect(uri, *args[1:], **{**options, "uri": True})
            return dialect.connect(*args, **options)
        except (AttributeError, TypeError, ValueError) as error:
            # A driver that stumbles over the URL's options says so in a hundred ways.
            reason = _without_password(error, engine.url)
            raise ConfigError(f"database_url: the driver does not take it: {reason}") from None

    if backend == "sqlite":
        _prepare_sqlite(engine)
        return
    statements = (
        ["SET TIME ZONE 'UTC'", f"SET lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'"]
        if backend == "postgresql"
        else [
            "SET time_zone = '+00:00'",
            f"SET innodb_lock_wait_timeout = {_LOCK_TIMEOUT_SECONDS}",
            f"SET lock_wait_timeout = {_LOCK_TIMEOUT_SECONDS}",
            # A value that does not fit is refused, never cut.
            "SET sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
        ]
    )

    @event.listens_for(engine, "connect")
    def _set_session(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        connection.commit()


def _prepare_sqlite(engine: sa.Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours to say, see below
        connection.execute("PRAGMA foreign_keys = ON")
        record.info["file"] = _file_of(engine)

    @event.listens_for(engine, "checkout")
    def _checkout(_connection: sqlite3.Connection, record: Any, _proxy: Any) -> None:
        # What is written to a file that was deleted, or replaced by another, is lost.
        if record.info["file"] != _file_of(engine):
            raise exc.DisconnectionError("the file is another one")  # it is opened anew

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A writer that begins as a reader could be refused half-way; one that says so waits.
        reading = connection.get_execution_options().get("catalog_sync_reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _only_to_read(file: str) -> bool:
    """Whether an SQLite file is complete, and in a place where this user may change nothing.

    While somebody writes there is a log beside it, and with that SQLite knows what to do.
    """
    path = Path(file)
    with suppress(OSError, ValueError):  # as connecting will say
        writable = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
        return path.is_file() and not writable and not Path(f"{file}-wal").exists()
    return False


def _file_of(engine: sa.Engine) -> tuple[int, int] | None:
    """Return which file an SQLite database is; null where there is none."""
    try:
        found = Path(engine.url.database or "").stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[Session]:
    """Open a writing transaction; it commits at the end of the block, or not at all.

    Raises DatabaseError when the database cannot be used, ValueRefusedError for a refused value.
    """
    with _translated(engine), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def reading(engine: sa.Engine, *, snapshot: bool = False) -> Iterator[Session]:
    """Open a transaction that only reads, and on SQLite never waits for a writer.

    `snapshot`: all that it reads is of one moment, whatever is committed meanwhile.
    """
    quiet = engine.execution_options(catalog_sync_reading=True)
    if snapshot and engine.dialect.name != "sqlite":  # where a transaction always is one
        quiet = quiet.execution_options(isolation_level="REPEATABLE READ")
    with _translated(engine), Session(quiet) as session, session.begin():
        yield session


@contextmanager
def _translated(engine: sa.Engine) -> Iterator[None]:
    try:
        yield
    except exc.DataError as error:
        reason = _without_password(error.orig or error, engine.url)
        cause = _cause(error, engine.url)
        raise ValueRefusedError(f"the database refused a value: {reason}") from cause
    except (exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        # The driver's own: SQLAlchemy passes it on where a connection breaks as it is set up.
        raise _unusable(engine, error) from _cause(error, engine.url)


def _unusable(engine: sa.Engine, error: Exception) -> DatabaseError:
    cause = getattr(error, "orig", None) or error
    reason = _without_password(cause, engine.url)
    advice = "check database_url and that the database is up"
    if engine.dialect.name == "sqlite":
        advice = "check that the directory exists and that the file may be written"
        if "locked" in reason:
            advice = "another process holds it; try again"
    return DatabaseError(f"database {_where(engine.url)}: {reason}", advice)


def _where(url: sa.URL) -> str:
    """Return what an error may say of a database URL: no user's secret can be in it."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    port = f":{url.port}" if url.port else ""
    return f"{url.get_backend_name()}://{url.host or 'localhost'}{port}/{url.database or ''}"


def _without_password(error: BaseException, url: sa.URL) -> str:
    text = str(error.args[-1] if error.args else error)  # PyMySQL: (code, message)
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return text


def _secrets(url: sa.URL) -> list[str]:
    """Return what of a URL may be secret; what is shorter than four is a word of its own."""
    options = [text for text in _texts(url.query.values()) if text != "utf8mb4"]
    return [str(text) for text in (url.password, *options) if text and len(text) > 3]  # noqa: PLR2004


def _cause(error: BaseException, url: sa.URL) -> BaseException | None:
    """Return what a traceback may show as the cause: null when it quotes a secret."""
    whole = "".join(traceback.format_exception(error))
    return None if any(secret in whole for secret in _secrets(url)) else error


def _texts(values: Any) -> Iterator[str]:
    for value in values:
        yield from (value,) if isinstance(value, str) else value
