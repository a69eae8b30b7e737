"""The schema of the database: current revision, first set-up, upgrade."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from sqlalchemy import exc

from catalog_sync.db.engine import LOCK_TIMEOUT_SECONDS, read_transaction
from catalog_sync.db.failures import code_of, database_errors, is_repeatable
from catalog_sync.db.schema import MYSQL, TABLES, VERSION_TABLE, VIEWS
from catalog_sync.db.urls import display_url
from catalog_sync.errors import DatabaseError, SchemaError
from catalog_sync.imports import without

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "0002"
"""The newest revision, repeated here so that most commands need not load Alembic. A test compares
the two."""
_LOCK = f"SELECT GET_LOCK('catalog_sync_setup', {10 * LOCK_TIMEOUT_SECONDS})"
_ALREADY_THERE = {"42P07", "42701", "42710", "23505", 1007, 1050, 1060, 1061, 1062, 1826}
"""Another process created the same table, column, index or row at the same time."""
_SETUP_SECONDS = 60
"""How long a set-up is repeated while other processes do the same."""
_PROGRESS = """
SELECT COUNT(*), SUM(LENGTH(column_comment)), (
    SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE()
) FROM information_schema.columns WHERE table_schema = DATABASE()
"""
_MIGRATIONS = next(  # in the package, installed from a wheel; beside it in a checkout
    path for up in (1, 2) if (path := Path(__file__).parents[up] / "migrations").is_dir()
)
_alembic_lock = threading.Lock()
"""Alembic keeps its context in module globals: one thread at a time."""
_version = sa.table(VERSION_TABLE, sa.column("version_num", sa.String))
REVISION: Final = sa.select(_version.c.version_num)


def current_revision(engine: sa.Engine) -> str | None:
    """Return the revision of the database's schema, or None without a schema.

    Reads only, and creates no file.

    Raises:
        DatabaseError: The database cannot be used.
        SchemaError: Tables have the program's names, but the program did not create them.
    """
    if file_missing(engine):
        return None
    with read_transaction(engine) as connection:
        return revision_of(connection)


def file_missing(engine: sa.Engine) -> bool:
    """Whether an SQLite database has no file yet."""
    database = engine.url.database or ""
    if engine.dialect.name != "sqlite" or database.startswith("file:"):
        return False
    try:
        return not Path(database).exists()
    except ValueError:  # not a valid path; reported when connecting
        return False
    except OSError as error:
        raise DatabaseError(f"database {display_url(engine.url)}: {error.strerror}") from error


def revision_of(connection: sa.Connection) -> str | None:
    """Return the revision of the schema, or None without one. Raises SchemaError."""
    inspector = sa.inspect(connection)
    if inspector.has_table(VERSION_TABLE):
        return connection.scalar(REVISION)
    names = {*inspector.get_table_names(), *inspector.get_view_names()}
    # Again, with a new inspector: a concurrent set-up commits this table with the others.
    if sa.inspect(connection).has_table(VERSION_TABLE):
        return connection.scalar(REVISION)
    if taken := sorted(names & {*TABLES, *VIEWS}):
        raise SchemaError(
            f"database {display_url(connection.engine.url)}: "
            f"it contains {', '.join(taken)}, not created by catalog-sync",
            "use a separate database or schema for catalog-sync",
        )
    return None


def ensure_schema(engine: sa.Engine) -> None:
    """Set up an empty database, and check the schema of any other.

    MariaDB commits each statement, so a set-up may end between two revisions. It is completed if
    no run was recorded.

    Raises:
        DatabaseError: The database cannot be used.
        SchemaError: The schema is older or newer than this program's.
    """
    revision = current_revision(engine)
    if revision is None:
        upgrade(engine)
        return
    if revision != HEAD and engine.dialect.name in MYSQL:
        with read_transaction(engine) as connection:
            filled = connection.execute(sa.text("SELECT 1 FROM sources")).first()
        if not filled:  # the first set-up, by another process that is at work or has died
            revision = _await_setup(engine) or revision
            if revision < HEAD:
                revision = upgrade(engine)[1]
    refuse_other(engine, revision)


def refuse_other(engine: sa.Engine, revision: str) -> None:
    """Raise SchemaError for a revision that is not this program's."""
    if revision == HEAD:
        return
    text = f"database {display_url(engine.url)} has schema {revision}, this program has {HEAD}"
    if revision < HEAD:  # revisions are numbered
        raise SchemaError(text, "run: catalog-sync db upgrade")
    raise SchemaError(text, "it was created by a newer catalog-sync; upgrade the program")


def upgrade(engine: sa.Engine) -> tuple[str | None, str]:
    """Upgrade the schema to HEAD. Several processes may do so at the same time.

    Every statement may be repeated. Locks only prevent duplicate work.

    Returns:
        The revisions before and after.

    Raises:
        DatabaseError: The database cannot be used.
        SchemaError: The schema is newer than this program's, or not created by it.
    """
    config = _alembic()
    from alembic.util import CommandError  # noqa: PLC0415

    before = current_revision(engine)
    if _is_cluster(engine) and not _is_first(engine) and _await_setup(engine) == HEAD:
        return before, HEAD
    until = time.monotonic() + _SETUP_SECONDS
    while True:
        with database_errors(engine):
            try:
                if before is None and engine.dialect.name == "sqlite":
                    _use_wal(engine)
                return _upgrade(engine, config), HEAD
            except (exc.DBAPIError, sqlite3.OperationalError, CommandError) as error:
                # Alembic raises CommandError if another process has changed the revision.
                faster = isinstance(error, CommandError) or code_of(error) in _ALREADY_THERE
                if not (faster or is_repeatable(error)) or time.monotonic() > until:
                    raise
        time.sleep(random.uniform(0.05, 0.5))  # noqa: S311


def _upgrade(engine: sa.Engine, config: Config) -> str | None:
    from alembic import command  # noqa: PLC0415

    with _alembic_lock, engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # another process may be upgrading many rows
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
        elif engine.dialect.name in MYSQL:  # each DDL statement commits
            connection.detach()  # the lock ends with the session
            with suppress(exc.DBAPIError):  # refused by some clusters
                connection.execute(sa.text(_LOCK))
        before = revision_of(connection)
        if before == HEAD:
            return before
        if before is not None and before > HEAD:
            refuse_other(engine, before)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    return before


def _use_wal(engine: sa.Engine) -> None:
    """Set WAL mode, in which readers and a writer do not wait for each other. The file stores it.

    If the file system has no shared memory, the file keeps the default mode.
    """
    with closing(engine.raw_connection()) as raw:
        try:
            raw.cursor().execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.OperationalError as error:
            if is_repeatable(error):  # needs exclusive use of the file
                raise


# --- clusters of MariaDB -----------------------------------------------------------------------
# Locks are per node, but all nodes execute DDL in the same order: the process that creates the
# table of revisions is the first.


def _is_cluster(engine: sa.Engine) -> bool:
    if engine.dialect.name not in MYSQL:
        return False
    with read_transaction(engine) as connection:
        found = connection.execute(sa.text("SHOW VARIABLES LIKE 'wsrep_on'")).all()
    return ("wsrep_on", "ON") in found


def _is_first(engine: sa.Engine) -> bool:
    """Whether this process is the first to set up an empty database."""
    with database_errors(engine), engine.connect() as connection:
        if revision_of(connection) is not None:
            return False
        key = f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)"  # as Alembic makes it
        made = f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, {key})"
        try:
            connection.execute(sa.text(made))
        except exc.DBAPIError as error:
            if code_of(error) not in _ALREADY_THERE:
                raise
            return False
    return True


def _await_setup(engine: sa.Engine) -> str | None:
    """Wait while another process sets up the schema.

    Returns the revision: HEAD, or an earlier one after some seconds without a change. The number of
    seconds is random, so that one process continues and the others wait again.
    """
    quiet = random.uniform(4, 8)  # noqa: S311
    ends_at, before = time.monotonic() + quiet, None
    while (revision := current_revision(engine)) != HEAD and time.monotonic() < ends_at:
        time.sleep(0.1)
        with read_transaction(engine) as connection:
            found = connection.execute(sa.text(_PROGRESS)).one()
        if found != before:
            ends_at, before = time.monotonic() + quiet, found
    return revision


def _alembic() -> Config:
    """Import Alembic, which is heavy and rarely needed, and return its configuration."""
    # Mako highlights its error pages, with pygments, wherever pygments is installed: 40 ms, 5 MB.
    with without("mako.ext.pygmentplugin"):
        from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
