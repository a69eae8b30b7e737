"""Helpers for the statements of all tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from catalog_sync.db.schema import UtcDateTime

MAX_IDS = 500
"""The number of values in one IN list that every database accepts."""


def chunks(values: Sequence[Any], size: int = MAX_IDS) -> Iterator[Sequence[Any]]:
    """Yield the values in order, `size` at a time."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def constant(value: str | int) -> sa.ColumnElement[Any]:
    """Return a constant of this program as SQL: a parameter costs time in each execution."""
    return sa.literal_column(str(value) if isinstance(value, int) else f"'{value}'")


def inserted_id(result: sa.CursorResult[Any]) -> int:
    """Return the id of the inserted row."""
    key = result.inserted_primary_key
    if key is None:
        raise TypeError("no row was inserted")
    return int(key[0])


def insert_new(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert the rows that do not exist, even if another process inserts them concurrently."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415  # heavy

        statement: sa.Insert = postgresql.insert(table).on_conflict_do_nothing()
    else:
        ignore = "OR IGNORE" if connection.dialect.name == "sqlite" else "IGNORE"
        statement = sa.insert(table).prefix_with(ignore)
    connection.execute(statement, rows)


def update_by_id(
    connection: sa.Connection,
    table: sa.Table,
    values: dict[str, Any],
    *conditions: sa.ColumnElement[bool],
    ids: Iterable[int] | None = None,
) -> int:
    """Update the rows with these ids that fulfil the conditions. Returns their number.

    By primary key, because on MariaDB an update by another column locks all rows with its value,
    and deadlocks with concurrent updates. Without `ids`, they are selected by the conditions first.
    """
    if ids is None:
        ids = connection.scalars(sa.select(table.c.id).where(*conditions))
    statement = sa.update(table).where(*conditions).values(values)
    return sum(
        connection.execute(statement.where(table.c.id.in_(batch))).rowcount
        for batch in chunks(sorted(ids))
    )


def database_now(dialect: str) -> Any:
    """Return the SQL expression for the database's clock, in UTC.

    Leases use this clock, because the clocks of two hosts may differ by minutes.
    """
    text = {
        "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
        "postgresql": "clock_timestamp()",
    }.get(dialect, "UTC_TIMESTAMP(6)")
    return sa.type_coerce(sa.literal_column(text), UtcDateTime)
