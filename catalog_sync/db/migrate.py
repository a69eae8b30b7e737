"""The schema of the database: current revision, first set-up, upgrade."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from catalog_sync.db.engine import (
    _LOCK_TIMEOUT_SECONDS,
    _prepare_connections,
    _translated,
    _where,
    reading,
)
from catalog_sync.db.schema import TABLES, VERSION_TABLE, VIEWS
from catalog_sync.errors import DatabaseError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.config import Config


HEAD: Final = "0002"
"""The newest revision, here so that a start need not load Alembic; a test compares the two."""
_SETUP_LOCK = 0x636174616C6F67  # "catalog": the advisory lock under which a schema is set up
_MIGRATIONS = next(
    path
    for path in (
        Path(__file__).parents[1] / "migrations",  # installed from a wheel
        Path(__file__).parents[2] / "migrations",  # a checkout
    )
    if path.is_dir()
)


def current_revision(engine: sa.Engine) -> str | None:
    """Return the revision of the database's schema; null when there is none yet.

    Reads only, and creates no file. Raises DatabaseError when the database cannot be used,
    SchemaError when tables of our names are somebody else's.
    """
    if _file_missing(engine):
        return None
    with reading(engine) as session:
        return _revision(session.connection())


def _file_missing(engine: sa.Engine) -> bool:
    database = engine.url.database or ""
    if engine.dialect.name != "sqlite" or database.startswith("file:"):
        return False
    try:
        return not Path(database).exists()
    except ValueError:  # no path at all, as connecting will say
        return False
    except OSError as error:
        raise DatabaseError(f"database {_where(engine.url)}: {error.strerror}") from error


def _revision(connection: sa.Connection) -> str | None:
    inspector = sa.inspect(connection)
    names = {*inspector.get_table_names(), *inspector.get_view_names()}
    # Asked last, and anew: whoever sets the schema up meanwhile commits this table with the others.
    if sa.inspect(connection).has_table(VERSION_TABLE):
        version = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))
        return connection.scalar(sa.select(version.c.version_num))
    if taken := sorted(names & {*TABLES, *VIEWS}):
        raise SchemaError(
            f"database {_where(connection.engine.url)}: "
            f"{', '.join(taken)} already there and not made by catalog-sync",
            "give catalog-sync a database or a schema of its own",
        )
    return None


def ensure_schema(engine: sa.Engine) -> None:
    """Set up an empty database; leave a current one alone.

    Raises SchemaError for a schema that is older or newer than this program's.
    """
    revision = current_revision(engine)
    if revision is None:
        upgrade(engine)
    else:
        _refuse_other(engine, revision)


def _refuse_other(engine: sa.Engine, revision: str) -> None:
    if revision == HEAD:
        return
    where = f"database {_where(engine.url)} has schema {revision}, this program has {HEAD}"
    if _known(revision):
        raise SchemaError(where, "run: catalog-sync db upgrade")
    raise SchemaError(where, "it was made by a newer catalog-sync; upgrade the program")


def _known(revision: str) -> bool:
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # heavy, and rarely needed
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        return ScriptDirectory.from_config(_alembic()).get_revision(revision) is not None
    except CommandError:
        return False


def upgrade(engine: sa.Engine) -> tuple[str | None, str]:
    """Bring the schema to HEAD, safely when several processes do so at once.

    Returns the revisions before and after. Raises as `ensure_schema`, but not for an older schema.
    """
    from alembic import command  # noqa: PLC0415  # heavy, and rarely needed

    if current_revision(engine) is None and engine.dialect.name == "sqlite":
        _use_wal(engine)
    with _translated(engine), engine.connect() as connection, _setup_lock(connection):
        before = _revision(connection)
        if before != HEAD:
            if before is not None and not _known(before):
                _refuse_other(engine, before)
            config = _alembic()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    return before, HEAD


@contextmanager
def _setup_lock(connection: sa.Connection) -> Iterator[None]:
    """Hold a transaction that no other process sets the schema up in; commit at the end."""
    backend = connection.dialect.name
    maria = backend in {"mysql", "mariadb"}
    if maria:  # each statement of DDL commits there, so the lock is the session's
        name, wait = f"catalog_sync_{_SETUP_LOCK}", 10 * _LOCK_TIMEOUT_SECONDS
        connection.execute(sa.text("SELECT GET_LOCK(:name, :wait)"), {"name": name, "wait": wait})
    try:
        if backend == "postgresql":
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SETUP_LOCK})
        elif backend == "sqlite":
            connection.begin()
        yield
        connection.commit()
    finally:
        if maria:
            connection.rollback()
            connection.execute(sa.text("SELECT RELEASE_LOCK(:name)"), {"name": name})
            connection.rollback()


def _use_wal(engine: sa.Engine) -> None:
    """Let readers read while somebody writes. The file remembers it.

    Changing the mode needs the file for itself and does not wait by itself.
    """
    locked = retry_if_exception(
        lambda error: isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
    )
    try:
        raw = engine.raw_connection()
    except sqlite3.Error as error:
        raise _no_file(engine, error) from error
    try:
        for attempt in Retrying(
            retry=locked,
            stop=stop_after_delay(_LOCK_TIMEOUT_SECONDS),
            wait=wait_random(0.01, 0.1),
            reraise=True,
        ):
            with attempt:
                raw.cursor().execute("PRAGMA journal_mode = WAL").fetchall()
    except sqlite3.Error as error:
        raise _no_file(engine, error) from error
    finally:
        raw.close()


def _no_file(engine: sa.Engine, error: sqlite3.Error) -> DatabaseError:
    return DatabaseError(
        f"database {_where(engine.url)}: {error}",
        "check that the directory exists and that the file may be written",
    )


def _alembic() -> Config:
    from alembic.config import Config  # noqa: PLC0415  # heavy, and rarely needed

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


@contextmanager
def readable(engine: sa.Engine) -> Iterator[sa.Engine]:
    """Yield the engine to read from: `engine`, or an empty catalog where nothing is yet.

    A question creates no file and no table; a database without a schema answers as an empty one.
    Raises as `ensure_schema`.
    """
    revision = current_revision(engine)
    if revision is not None:
        _refuse_other(engine, revision)
        yield engine
        return
    blank = sa.create_engine("sqlite://", poolclass=StaticPool)
    _prepare_connections(blank)
    try:
        upgrade(blank)
        yield blank
    finally:
        blank.dispose()
