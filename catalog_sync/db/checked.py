"""Transactions that check the schema of the database before they use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.db.failures import is_missing_table
from catalog_sync.errors import DatabaseError, SchemaError

T = TypeVar("T")


@contextmanager
def read(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction that reads one snapshot of the catalog.

    Creates no file and no table. A database without a schema reads as an empty catalog.

    Raises:
        DatabaseError: The database cannot be used.
        SchemaError: The schema is older or newer than this program's.
    """
    with ExitStack() as stack:
        revision = None
        if not migrate.file_missing(engine):
            connection = stack.enter_context(db_engine.read_transaction(engine))
            revision = migrate.revision_of(connection)
        if revision is None:
            stack.close()  # another thread may need the connection to set up the database
            connection = stack.enter_context(_empty_catalog())
        else:
            migrate.refuse_other(engine, revision)
        yield connection


@contextmanager
def _empty_catalog() -> Iterator[sa.Connection]:
    blank = sa.create_engine("sqlite://", poolclass=StaticPool)
    db_engine.prepare(blank)
    try:
        migrate.upgrade(blank)
        with db_engine.read_transaction(blank) as connection:
            yield connection
    finally:
        blank.dispose()


def run(
    engine: sa.Engine,
    work: Callable[[sa.Connection], T],
    *,
    landed: Callable[[sa.Connection, T], bool] | None = None,
) -> T:
    """Run `work` as `engine.run` does, and check the schema in the same transaction.

    An empty database is set up first. There is no checkpoint: more transactions of the run follow.

    Raises:
        DatabaseError: The database cannot be used.
        SchemaError: The schema is older or newer than this program's.
    """

    def checked(connection: sa.Connection) -> T:
        if connection.scalar(migrate.REVISION) != migrate.HEAD:
            raise SchemaError("the schema is missing or has another revision")
        return work(connection)

    try:
        return db_engine.run(engine, checked, landed=landed, checkpoint=False)
    except DatabaseError as error:
        if error.__cause__ is not None and not is_missing_table(error.__cause__):
            raise
    migrate.ensure_schema(engine)
    return db_engine.run(engine, work, landed=landed, checkpoint=False)
