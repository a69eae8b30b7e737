"""Classifies the errors of drivers: repeat, reconnect, or report to the operator."""

from __future__ import annotations

import re
import sqlite3
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import exc

from catalog_sync.db.urls import display_url, secrets, suspect_files, without_secrets
from catalog_sync.errors import DatabaseError, ValueRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

_REPEATABLE = {"40001", "40P01", 1213, 1205, 1020}
"""Serialization failures and deadlocks: the same transaction may succeed when repeated."""
_GOODBYE = {"57P01", "57P02", "57P03", 1047, 1053}
"""The server is stopping or starting, or has left its cluster."""
_READ_ONLY = {"25006", 1290, 1836, sqlite3.SQLITE_READONLY}
"""The server is, or has become, a read-only replica."""
_RIGHTS = {"42501", 1142, 1143, 1044}
_NO_TABLE = {"42P01", "3F000", 1146}
_MISTAKES = {1052, 1054, 1064, 1136}
"""Mistakes in a statement that PyMySQL reports as OperationalErrors."""
_UNKNOWN_ENGINE = "Could not determine version"
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def code_of(error: BaseException) -> Any:
    """Return SQLSTATE (PostgreSQL), error number (MariaDB) or primary result code (SQLite)."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        return (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str) and type(cause).__module__.startswith("psycopg"):
        return state
    return cause.args[0] if cause.args else None


def is_repeatable(error: BaseException) -> bool:
    """Whether the transaction conflicted with others and may succeed when repeated."""
    code = code_of(error)
    busy = isinstance(getattr(error, "orig", error), sqlite3.Error) and code in _BUSY
    return busy or code in _REPEATABLE


def is_disconnect(error: BaseException) -> bool:
    """Whether the connection is unusable and a new one may work."""
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    code = code_of(error)
    sqlite = isinstance(getattr(error, "orig", error), sqlite3.Error)
    return not sqlite and (code in _GOODBYE or code in _READ_ONLY)


def is_missing_table(error: BaseException) -> bool:
    """Whether a statement referred to a missing table."""
    return code_of(error) in _NO_TABLE or "no such table" in str(getattr(error, "orig", ""))


@contextmanager
def database_errors(engine: sa.Engine) -> Iterator[None]:
    """Translate errors that the operator can act on.

    Raises:
        ValueRefusedError: The database refused a value.
        DatabaseError: The database cannot be used. A mistake in a statement is not translated.
    """
    try:
        yield
    except exc.DataError as error:
        reason = without_secrets(error.orig or error, engine.url)
        cause = _cause(error, engine.url)
        raise ValueRefusedError(f"the database refused a value: {reason}") from cause
    except AssertionError as error:
        if not str(error).startswith(_UNKNOWN_ENGINE):  # SQLAlchemy's text
            raise
        raise DatabaseError(
            f"database {display_url(engine.url)}: {error}", "this engine is not supported"
        ) from error
    except (exc.SQLAlchemyError, engine.dialect.loaded_dbapi.Error, OSError) as error:
        # SQLAlchemy does not wrap the driver's error if a connection breaks while it is set up.
        if not _is_operational(engine, error):
            raise
        raise _unusable(engine, error) from _cause(error, engine.url)


def _is_operational(engine: sa.Engine, error: Exception) -> bool:
    code = code_of(error)
    if is_disconnect(error) or is_repeatable(error) or is_missing_table(error):
        return True
    if code in _RIGHTS:
        return True
    driver = engine.dialect.loaded_dbapi
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.OperationalError) and code == sqlite3.SQLITE_ERROR:
        return "no such" not in str(cause) and "syntax" not in str(cause)
    if isinstance(error, (exc.DisconnectionError, exc.TimeoutError, OSError)):
        return True
    if isinstance(cause, (driver.OperationalError, driver.InterfaceError, driver.InternalError)):
        return code not in _MISTAKES
    # SQLite reports a file that is not a database as a plain DatabaseError.
    return isinstance(cause, sqlite3.DatabaseError) and type(cause) is sqlite3.DatabaseError


def _unusable(engine: sa.Engine, error: Exception) -> DatabaseError:
    cause = getattr(error, "orig", None) or error
    reason = without_secrets(cause, engine.url)
    if isinstance(cause, OSError):  # the error of a TLS file does not name the file
        reason = re.sub(r" \(_ssl\.c:\d+\)$", "", reason)
        files = ", ".join(suspect_files(engine.url))
        reason = f"{reason}: {files}" if files and files not in reason else reason
    return DatabaseError(
        f"database {display_url(engine.url)}: {reason}", _advice(engine, error, reason)
    )


def _advice(engine: sa.Engine, error: Exception, reason: str) -> str:
    code = code_of(error)
    cases = (
        (isinstance(error, OSError), "check the files that database_url names"),
        (code in _RIGHTS, "grant the right to the user of database_url"),
        (code == "3F000", "create the schema that search_path names"),
        (is_missing_table(error), "a table is missing; restore the database, or use an empty one"),
    )
    sqlite = (
        ("locked" in reason, "another process holds it; try again"),
        (
            "shared memory" in reason or "locking protocol" in reason,
            "this file system has no shared memory for SQLite; use a local disk",
        ),
        (True, "check that the directory exists and that the file may be written"),
    )
    server = (
        (code in _READ_ONLY, "it is read-only (a replica?); point database_url to the primary"),
        (
            "conflict with recovery" in reason,
            "the replica must follow its primary; try again, or read from the primary",
        ),
        (is_repeatable(error), "other transactions held it for too long; try again"),
        (True, "check database_url and that the database is running"),
    )
    more = sqlite if engine.dialect.name == "sqlite" else server
    return next(str(advice) for applies, advice in (*cases, *more) if applies)


def _cause(error: BaseException, url: sa.URL) -> BaseException | None:
    """Return the error as a cause for tracebacks. None if it contains a secret."""
    if not (hidden := secrets(url)):
        return error  # a traceback reads the source of every frame: 1 MB
    whole = "".join(traceback.format_exception(error))
    return None if any(secret in whole for secret in hidden) else error
