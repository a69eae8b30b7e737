"""Copy a whole database into an empty one of another kind, and verify it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import reduce
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from catalog_sync.db import migrate
from catalog_sync.db.engine import read_transaction
from catalog_sync.db.failures import database_errors
from catalog_sync.db.schema import metadata
from catalog_sync.db.urls import display_url
from catalog_sync.errors import DatabaseError

_BATCH = 200


def copy(
    source: sa.Engine,
    target: sa.Engine,
    *,
    on_rows: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Copy every row of `source` into `target`, in one transaction of the target.

    The source is only read. Before the transaction commits, the copied rows are read again and
    compared with the source by their number and by a digest of each table.

    Args:
        source: A database with this program's schema.
        target: A database without rows; its schema is set up if it has none.
        on_rows: Called with the numbers of rows copied so far and in total.

    Returns:
        The number of rows copied.

    Raises:
        DatabaseError: A database cannot be used, the source is empty, the target is not, or the
            comparison failed.
        SchemaError: A schema is not this program's.
    """
    if migrate.current_revision(source) is None:
        raise DatabaseError(f"database {display_url(source.url)}: there is nothing to copy")
    migrate.ensure_schema(source)
    migrate.ensure_schema(target)
    with read_transaction(source) as reader:
        total = sum(_count(reader, table) for table in metadata.sorted_tables)
        done = 0
        with database_errors(target), target.begin() as writer:
            if any(_count(writer, table) for table in metadata.sorted_tables):
                raise DatabaseError(
                    f"database {display_url(target.url)} is not empty",
                    "copy into an empty database",
                )
            for table in metadata.sorted_tables:
                copied = (0, 0)
                for rows in _batches(reader, table):
                    _insert(writer, table, rows)
                    copied = _add(copied, rows)
                    on_rows(done + copied[0], total)
                done += copied[0]
                if reduce(_add, _batches(writer, table), (0, 0)) != copied:
                    raise DatabaseError(
                        f"database {display_url(target.url)}: table {table.name} differs after the "
                        "copy",
                        "nothing was written; please report it",
                    )
                _continue_ids(writer, table)
    return done


def _insert(writer: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    try:
        writer.execute(sa.insert(table), rows)
    except exc.IntegrityError as error:
        text = f"database {display_url(writer.engine.url)}: another process writes to it"
        raise DatabaseError(text, "copy into an empty database") from error


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0


def _batches(connection: sa.Connection, table: sa.Table) -> Iterator[list[dict[str, Any]]]:
    streamed = sa.select(table).execution_options(yield_per=_BATCH)
    for rows in connection.execute(streamed).mappings().partitions(_BATCH):
        yield [dict(row) for row in rows]


def _add(found: tuple[int, int], rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Add rows to the number of rows and to the sum of their digests, whose order is arbitrary."""
    number, digest = found
    for row in rows:
        text = json.dumps({key: _plain(value) for key, value in row.items()}, sort_keys=True)
        digest += int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    return number + len(rows), digest


def _plain(value: Any) -> Any:
    """Normalize a value. `jsonb` may return another notation of the same number."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):
            return float(value) + 0.0  # not -0.0
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _continue_ids(writer: sa.Connection, table: sa.Table) -> None:
    """Make PostgreSQL's sequences continue after the copied ids. Other databases do so anyway."""
    if writer.dialect.name != "postgresql" or table.autoincrement_column is None:
        return
    name = table.autoincrement_column.name
    writer.execute(
        sa.text(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', '{name}'), "  # noqa: S608
            f"(SELECT max({name}) FROM {table.name}))"
        )
    )
