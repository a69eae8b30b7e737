"""Classifies the errors of drivers: repeat, reconnect, or report to the operator."""

from __future__ import annotations

import re
import sqlite3
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from catalog_sync.db.urls import display_url, secrets, suspect_files, without_secrets
from catalog_sync.errors import ConfigError, DatabaseError, ValueRefusedError

_LOCKED = {"SQLITE_BUSY", "SQLITE_LOCKED"}
_CONFLICTS = {"40001", "40P01", 1213, 1205, 1020, *_LOCKED}
"""Serialization failures and deadlocks: the same transaction may succeed when repeated."""
_GOODBYE = {"57P01", "57P02", "57P03", 1047, 1053}
"""The server is stopping or starting, or has left its cluster."""
_READ_ONLY = {"25006", 1290, 1836}
"""The server is, or has become, a read-only replica."""
_RIGHTS = {"42501", 1142, 1143, 1044}
_NO_TABLE = {"42P01", "3F000", 1146, "no such table"}
_OPERATIONAL = _CONFLICTS | _GOODBYE | _READ_ONLY | _RIGHTS | _NO_TABLE
_OPERATIONAL |= {"SQLITE_NOTADB", "SQLITE_CORRUPT"}
_MISTAKES = {1052, 1054, 1064, 1136, "SQLITE_ERROR"}
"""Mistakes in a statement that the drivers report as OperationalErrors."""
_UNKNOWN_ENGINE = "Could not determine version"
_ADVICE: tuple[tuple[set[Any], str], ...] = (
    (_RIGHTS, "grant the right to the user of database_url"),
    ({"3F000"}, "create the schema that search_path names"),
    (_NO_TABLE, "a table is missing; restore the database, or use an empty one"),
    (_READ_ONLY, "it is read-only (a replica?); point database_url to the primary"),
    (_LOCKED, "another process holds it; try again"),
    (_CONFLICTS, "other transactions held it for too long; try again"),
    ({"SQLITE_NOTADB", "SQLITE_CORRUPT"}, "restore a backup, or name another file"),
    (
        {"SQLITE_IOERR", "SQLITE_PROTOCOL"},
        "check the disk; SQLite needs a local file system with shared memory",
    ),
)


def code_of(error: BaseException) -> Any:
    """Return SQLSTATE (PostgreSQL), error number (MariaDB) or primary result code (SQLite)."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        if "no such table" in str(cause):  # has no separate result code
            return "no such table"
        return "_".join((getattr(cause, "sqlite_errorname", None) or "").split("_")[:2])
    number = cause.args[0] if cause.args else None
    return number if isinstance(number, int) else getattr(cause, "sqlstate", None)


def is_repeatable(error: BaseException) -> bool:
    """Whether the transaction conflicted with others and may succeed when repeated."""
    return code_of(error) in _CONFLICTS


def is_disconnect(error: BaseException) -> bool:
    """Whether the connection is unusable and a new one may work."""
    return bool(getattr(error, "connection_invalidated", False)) or (
        code_of(error) in _GOODBYE | _READ_ONLY
    )


def is_missing_table(error: BaseException) -> bool:
    """Whether a statement referred to a missing table."""
    return code_of(error) in _NO_TABLE


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


@contextmanager
def option_errors(engine: sa.Engine) -> Iterator[None]:
    """Translate a driver's refusal of an option of the URL. Raises ConfigError.

    Each driver has its own errors for that.
    """
    driver = engine.dialect.loaded_dbapi
    refusals = (driver.ProgrammingError, driver.DataError, driver.OperationalError)
    try:
        yield
    except (*refusals, AttributeError, TypeError, LookupError, ValueError) as error:
        if isinstance(error, driver.OperationalError) and code_of(error) != "SQLITE_ERROR":
            raise
        reason = without_secrets(error, engine.url)
        raise ConfigError(f"database_url: the driver rejects an option: {reason}") from None


def _is_operational(engine: sa.Engine, error: Exception) -> bool:
    driver, code = engine.dialect.loaded_dbapi, code_of(error)
    cause = getattr(error, "orig", None) or error
    reported = (driver.OperationalError, driver.InterfaceError, driver.InternalError)
    return (
        code in _OPERATIONAL
        or isinstance(error, (exc.DisconnectionError, exc.TimeoutError, OSError))
        or (isinstance(cause, reported) and code not in _MISTAKES)
    )


def _unusable(engine: sa.Engine, error: Exception) -> DatabaseError:
    cause = getattr(error, "orig", None) or error
    reason = without_secrets(cause, engine.url)
    if isinstance(cause, OSError):  # the error of a TLS file does not name the file
        reason = re.sub(r" \(_ssl\.c:\d+\)$", "", reason)
        files = ", ".join(suspect_files(engine.url))
        reason = f"{reason}: {files}" if files and files not in reason else reason
    text = f"database {display_url(engine.url)}: {reason}"
    return DatabaseError(text, _advice(engine, error, reason))


def _advice(engine: sa.Engine, error: Exception, reason: str) -> str:
    if isinstance(error, OSError):
        return "check the files that database_url names"
    if "conflict with recovery" in reason:
        return "the replica must follow its primary; try again, or read from the primary"
    code = code_of(error)
    usual = (
        "check that the directory exists and that the file may be written"
        if engine.dialect.name == "sqlite"
        else "check database_url and that the database is running"
    )
    return next((advice for codes, advice in _ADVICE if code in codes), usual)


def _cause(error: BaseException, url: sa.URL) -> BaseException | None:
    """Return the error as a cause for tracebacks. None if it contains a secret."""
    if not (hidden := secrets(url)):
        return error  # a traceback reads the source of every frame: 1 MB
    whole = "".join(traceback.format_exception(error))
    return None if any(secret in whole for secret in hidden) else error
