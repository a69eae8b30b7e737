"""The schema of the database: current revision, first set-up, upgrade."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.pool import StaticPool

from catalog_sync.db.engine import LOCK_TIMEOUT_SECONDS, prepare, read_transaction
from catalog_sync.db.engine import run as engine_run
from catalog_sync.db.failures import code_of, database_errors, is_missing_table, is_repeatable
from catalog_sync.db.schema import TABLES, VERSION_TABLE, VIEWS
from catalog_sync.db.urls import where
from catalog_sync.errors import DatabaseError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.config import Config

logger = logging.getLogger(__name__)
T = TypeVar("T")
HEAD: Final = "0002"
"""The newest revision, stated here so that a start need not load Alembic. A test compares both."""
_SETUP_LOCK = 0x636174616C6F67  # "catalog": the advisory lock under which a schema is set up
_ALREADY_THERE = {"42P07", "42701", "42710", "23505", 1007, 1050, 1060, 1061, 1062, 1826}
"""Another process made the same table, column, index or row at the same time."""
_NO_FUNCTION = "42883"
_SETUP_SECONDS = 60
"""How long a set-up is repeated while other processes do the same."""
_MIGRATIONS = next(
    path
    for path in (
        Path(__file__).parents[1] / "migrations",  # installed from a wheel
        Path(__file__).parents[2] / "migrations",  # a checkout
    )
    if path.is_dir()
)
_alembic_lock = threading.Lock()
"""Alembic keeps its context in module globals: one thread at a time."""
_version = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))


def current_revision(engine: sa.Engine) -> str | None:
    """Return the revision of the database's schema, or None without a schema.

    Reads only, and creates no file.

    Raises:
        DatabaseError: The database cannot be used.
        SchemaError: There are tables with the program's names that it did not make.
    """
    if _file_missing(engine):
        return None
    try:
        with read_transaction(engine) as connection:
            return connection.scalar(sa.select(_version.c.version_num))
    except DatabaseError as error:
        if error.__cause__ is not None and not is_missing_table(error.__cause__):
            raise
    with read_transaction(engine) as connection:
        return _revision(connection)


def _file_missing(engine: sa.Engine) -> bool:
    database = engine.url.database or ""
    if engine.dialect.name != "sqlite" or database.startswith("file:"):
        return False
    try:
        return not Path(database).exists()
    except ValueError:  # not even a path: connecting will report it
        return False
    except OSError as error:
        raise DatabaseError(f"database {where(engine.url)}: {error.strerror}") from error


def _revision(connection: sa.Connection) -> str | None:
    inspector = sa.inspect(connection)
    names = {*inspector.get_table_names(), *inspector.get_view_names()}
    # Queried last, and again: a concurrent set-up commits this table with the others.
    if sa.inspect(connection).has_table(VERSION_TABLE):
        return connection.scalar(sa.select(_version.c.version_num))
    if taken := sorted(names & {*TABLES, *VIEWS}):
        raise SchemaError(
            f"database {where(connection.engine.url)}: "
            f"{', '.join(taken)} already there and not made by catalog-sync",
            "give catalog-sync a database or a schema of its own",
        )
    return None


def ensure_schema(engine: sa.Engine) -> None:
    """Set up an empty database; leave a current one alone.

    Raises:
        DatabaseError: The database cannot be used.
        SchemaError: The schema is older or newer than this program's.
    """
    revision = current_revision(engine)
    if revision is None:
        upgrade(engine)
    elif revision != HEAD and engine.dialect.name in {"mysql", "mariadb"}:
        _await_setup(engine, revision)
    else:
        _refuse_other(engine, revision)


def _await_setup(engine: sa.Engine, revision: str) -> None:
    """Wait for a first set-up by another process. Each of its revisions commits."""
    with read_transaction(engine) as connection:
        filled = connection.execute(sa.text("SELECT 1 FROM sources")).first() is not None
    until = time.monotonic() + (0 if filled else 5)
    while revision != HEAD and time.monotonic() < until:
        time.sleep(0.1)
        revision = current_revision(engine) or revision
    _refuse_other(engine, revision)


def _refuse_other(engine: sa.Engine, revision: str) -> None:
    if revision == HEAD:
        return
    text = f"database {where(engine.url)} has schema {revision}, this program has {HEAD}"
    if _known(revision):
        raise SchemaError(text, "run: catalog-sync db upgrade")
    raise SchemaError(text, "it was made by a newer catalog-sync; upgrade the program")


def _known(revision: str) -> bool:
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # heavy, and rarely needed
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        return ScriptDirectory.from_config(_alembic()).get_revision(revision) is not None
    except CommandError:
        return False


def upgrade(engine: sa.Engine) -> tuple[str | None, str]:
    """Upgrade the schema to HEAD, safely when several processes do so at once.

    Every statement can be repeated, so no lock is needed on an engine without locks.

    Returns:
        The revisions before and after.

    Raises:
        DatabaseError: The database cannot be used.
        SchemaError: The schema is newer than this program's, or not made by it.
    """
    if current_revision(engine) is None and engine.dialect.name == "sqlite":
        _use_wal(engine)
    until = time.monotonic() + _SETUP_SECONDS
    while True:
        try:
            with database_errors(engine):
                try:
                    return _upgrade(engine), HEAD
                except exc.DBAPIError as error:
                    faster = code_of(error) in _ALREADY_THERE or is_repeatable(error)
                    if not faster or time.monotonic() > until:
                        raise
        except DatabaseError as error:
            if engine.dialect.name != "sqlite" or "locked" not in str(error):
                raise
            if time.monotonic() > until:
                raise
        time.sleep(random.uniform(0.05, 0.5))  # noqa: S311


def _upgrade(engine: sa.Engine) -> str | None:
    from alembic import command  # noqa: PLC0415  # heavy, and rarely needed
    from alembic.util import CommandError  # noqa: PLC0415

    with engine.connect() as connection, _setup_lock(connection):
        before = _revision(connection)
        if before == HEAD:
            return before
        if before is not None and not _known(before):
            _refuse_other(engine, before)
        config = _alembic()
        config.attributes["connection"] = connection
        with _alembic_lock:
            try:
                command.upgrade(config, "head")
            except CommandError:
                connection.rollback()
                if _revision(connection) != HEAD:  # otherwise another process was faster
                    raise
    return before


@contextmanager
def _setup_lock(connection: sa.Connection) -> Iterator[None]:
    """Hold a transaction in which only one process sets up, on engines that have such a lock."""
    backend = connection.dialect.name
    name, locked = f"catalog_sync_{_SETUP_LOCK}", False
    if backend in {"mysql", "mariadb"}:  # each DDL statement commits, so the session has the lock
        asked = sa.text("SELECT GET_LOCK(:name, :wait)")
        values = {"name": name, "wait": 10 * LOCK_TIMEOUT_SECONDS}
        locked = connection.scalar(asked, values) == 1
        if not locked:
            logger.warning("no lock for the set-up was granted; continuing without it")
    try:
        if backend == "postgresql":
            _lock_postgresql(connection)
        yield
        connection.commit()
    finally:
        if locked:
            connection.rollback()
            connection.execute(sa.text("SELECT RELEASE_LOCK(:name)"), {"name": name})
            connection.rollback()


def _lock_postgresql(connection: sa.Connection) -> None:
    connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
    try:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SETUP_LOCK})
    except exc.DBAPIError as error:
        if code_of(error) != _NO_FUNCTION:
            raise
        connection.rollback()  # another engine with PostgreSQL's protocol


def _use_wal(engine: sa.Engine) -> None:
    """Make readers and a writer independent of each other. The file stores this mode.

    Changing the mode needs exclusive use of the file and does not wait by itself. If the file
    system has no shared memory, the file stays in the mode that works everywhere.
    """
    until = time.monotonic() + LOCK_TIMEOUT_SECONDS
    try:
        raw = engine.raw_connection()
    except sqlite3.Error as error:
        raise _no_file(engine, error) from error
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA journal_mode = WAL").fetchall()
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(random.uniform(0.01, 0.1))  # noqa: S311
            else:
                return
    except sqlite3.Error as error:
        raise _no_file(engine, error) from error
    finally:
        raw.close()


def _no_file(engine: sa.Engine, error: sqlite3.Error) -> DatabaseError:
    return DatabaseError(
        f"database {where(engine.url)}: {error}",
        "check that the directory exists and that the file may be written",
    )


def _alembic() -> Config:
    from alembic.config import Config  # noqa: PLC0415  # heavy, and rarely needed

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


@contextmanager
def read_catalog(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction that reads the catalog at one time; an empty one if none is recorded yet.

    It creates no file and no table. A database without a schema reads as an empty catalog.

    Raises:
        DatabaseError: The database cannot be used.
        SchemaError: The schema is older or newer than this program's.
    """
    with ExitStack() as stack:
        revision = None
        if not _file_missing(engine):
            connection = stack.enter_context(read_transaction(engine, snapshot=True))
            try:
                revision = connection.scalar(sa.select(_version.c.version_num))
            except exc.DBAPIError as error:
                if not is_missing_table(error):
                    raise
                stack.close()
                revision = current_revision(engine)
                connection = stack.enter_context(read_transaction(engine, snapshot=True))
        if revision is None:
            connection = stack.enter_context(_empty_catalog())
        else:
            _refuse_other(engine, revision)
        yield connection


@contextmanager
def _empty_catalog() -> Iterator[sa.Connection]:
    blank = sa.create_engine("sqlite://", poolclass=StaticPool)
    prepare(blank)
    try:
        upgrade(blank)
        with read_transaction(blank) as connection:
            yield connection
    finally:
        blank.dispose()


def run(
    engine: sa.Engine,
    work: Callable[[sa.Connection], T],
    *,
    landed: Callable[[sa.Connection, T], bool] | None = None,
) -> T:
    """Run `work` like `engine.run`, and check the schema in its transaction.

    An empty database is set up first.

    Raises:
        DatabaseError: The database cannot be used.
        SchemaError: The schema is older or newer than this program's.
    """

    def checked(connection: sa.Connection) -> T:
        if connection.scalar(sa.select(_version.c.version_num)) != HEAD:
            raise _OtherSchemaError
        return work(connection)

    try:
        return engine_run(engine, checked, landed=landed)
    except _OtherSchemaError:
        pass
    except DatabaseError as error:
        if error.__cause__ is not None and not is_missing_table(error.__cause__):
            raise
    ensure_schema(engine)
    return engine_run(engine, work, landed=landed)


class _OtherSchemaError(Exception):
    """The schema is missing, or not this program's."""
