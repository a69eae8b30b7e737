"""Statements about sources, their leases and their runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import delete, insert, select, update

from catalog_sync.db.catalog import inserted_id
from catalog_sync.db.schema import UtcDateTime, sources, sync_runs
from catalog_sync.db.state import last_run, source_of, state_of
from catalog_sync.domain.kinds import ENDED, INTERRUPTED, RunStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from catalog_sync.domain.model import SourceRecord, SourceState

_LEASE_HELD = "another process is syncing it"


def database_now(connection: sa.Connection) -> Any:
    """Return the expression for the present time of the database's clock, in UTC.

    Leases compare this clock: the clocks of two hosts may differ by minutes.
    """
    text = {
        "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
        "postgresql": "clock_timestamp()",
    }.get(connection.dialect.name, "UTC_TIMESTAMP(6)")
    return sa.type_coerce(sa.literal_column(text), UtcDateTime)


# --- sources and leases ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a source, by the database's clock."""

    run_id: int | None
    expires_at: datetime | None
    length: timedelta | None
    now: datetime
    """The database's clock."""

    def held(self, usual: timedelta) -> bool:
        """Whether another run must wait.

        A lease that ends later than its own length allows was taken before the clock was set back,
        and does not count.

        Args:
            usual: The length of the caller's own lease, for leases that do not state theirs.
        """
        if self.run_id is None or self.expires_at is None:
            return False
        return self.now < self.expires_at <= self.now + (self.length or usual)


def _look(connection: sa.Connection, name: str, *, lock: bool = False) -> Any:
    """Return a source's row, the database's clock, and whether one of its runs is open."""
    running = select(sync_runs.c.id).where(
        sync_runs.c.source == name, sync_runs.c.status == RunStatus.RUNNING.value
    )
    statement = select(sources, database_now(connection).label("now"))
    statement = statement.where(sources.c.name == name)
    if lock:
        return connection.execute(statement.with_for_update(of=sources)).one()
    statement = statement.add_columns(running.exists().label("running"))
    return connection.execute(statement).one_or_none()


def _lease(row: Any) -> Lease:
    length = None if row.lease_seconds is None else timedelta(seconds=row.lease_seconds)
    return Lease(row.lease_run_id, row.lease_expires_at, length, row.now)


def register_source(connection: sa.Connection, name: str, base_url: str) -> None:
    """Make sure that the source has a row. Of two processes that do so at once, both succeed."""
    values = {"name": name, "base_url": base_url}
    if connection.dialect.name in {"mysql", "mariadb"}:
        connection.execute(insert(sources).prefix_with("IGNORE").values(values))
        return
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as upsert  # noqa: PLC0415  # heavy
    else:
        from sqlalchemy.dialects.sqlite import (  # type: ignore[assignment]  # noqa: PLC0415
            insert as upsert,
        )
    connection.execute(upsert(sources).values(values).on_conflict_do_nothing())


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that holds its source's lease, and the state that the lease protects."""

    run_id: int
    state: SourceState


def begin_run(
    connection: sa.Connection,
    name: str,
    base_url: str,
    now: datetime,
    *,
    lease: timedelta,
    fresh: Any = lambda _source, _last: None,
    last: bool = False,
) -> Begun | str:
    """Record a run and take the source's lease, or return why the source is skipped.

    Nothing is written, and nothing locked, when the source is skipped.

    Args:
        connection: A writing transaction.
        name: The source's name.
        base_url: The source's address, for a source without a row.
        now: The time of the host's clock.
        lease: How long the source is held.
        fresh: Called with the source and, if `last`, its last run; returns why the source need not
            be synced yet, or None.
        last: Whether `fresh` needs the last run that ended.
    """
    row = _look(connection, name)
    if row is None:
        register_source(connection, name, base_url)
        row = _look(connection, name)
    for locked in (False, True):
        if locked:  # another process may have been faster
            row, running = _look(connection, name, lock=True), row.running
        ended = last_run(connection, name, *ENDED) if last else None
        if reason := fresh(source_of(row), ended):
            return str(reason)
        if _lease(row).held(lease):
            return _LEASE_HELD
    number = row.runs + 1
    inserted = connection.execute(
        insert(sync_runs).values(
            source=name, status=RunStatus.RUNNING.value, started_at=now, number=number
        )
    )
    run_id = inserted_id(inserted)
    taken = connection.execute(
        update(sources)
        .where(sources.c.name == name, sources.c.runs == row.runs)
        .values(
            lease_run_id=run_id,
            lease_expires_at=row.now + lease,
            lease_seconds=int(lease.total_seconds()),
            runs=number,
        )
    )
    if not taken.rowcount:
        connection.execute(delete(sync_runs).where(sync_runs.c.id == run_id))
        return _LEASE_HELD
    if running:
        _close_dead_runs(connection, name, run_id, now)
    return Begun(run_id, state_of(connection, row, now))


def _close_dead_runs(connection: sa.Connection, name: str, run_id: int, now: datetime) -> None:
    """Close the runs whose process died with their lease."""
    connection.execute(
        update(sync_runs)
        .where(
            sync_runs.c.source == name,
            sync_runs.c.status == RunStatus.RUNNING.value,
            sync_runs.c.id != run_id,
        )
        .values(
            status=RunStatus.FAILED.value,
            finished_at=now,
            error=INTERRUPTED,
            error_code=INTERRUPTED,
        )
    )


def holds_lease(connection: sa.Connection, name: str, run_id: int) -> bool:
    """Whether a run holds its source's lease, and so whether the commit of `begin_run` landed."""
    found = select(sources.c.name).where(sources.c.name == name, sources.c.lease_run_id == run_id)
    return connection.execute(found).first() is not None


def is_closed(connection: sa.Connection, run_id: int) -> bool:
    """Whether a run has ended."""
    found = select(sync_runs.c.finished_at).where(sync_runs.c.id == run_id)
    return connection.scalar(found) is not None


def is_finished(connection: sa.Connection, run_id: int, at: datetime) -> bool:
    """Whether a run was closed at that time, and so whether the closing commit landed."""
    found = select(sync_runs.c.finished_at).where(sync_runs.c.id == run_id)
    return bool(connection.scalar(found) == at)


def release(
    connection: sa.Connection,
    name: str,
    run_id: int,
    now: datetime | None = None,
    record: SourceRecord | None = None,
) -> bool:
    """Release the lease of a run. Returns False if the run no longer holds it.

    Args:
        connection: A writing transaction.
        name: The source's name.
        run_id: The run.
        now: The latest time that the transaction records.
        record: What the run learned about the source.
    """
    values: dict[str, Any] = dict.fromkeys(("lease_run_id", "lease_expires_at", "lease_seconds"))
    if now is not None:
        values["last_recorded_at"] = now
    if record is not None:
        values |= {
            "base_url": record.base_url,
            "scope": str(record.scope),
            "baseline_at": record.baseline_at,
            "last_synced_at": record.last_synced_at,
            "clock_offset_seconds": record.clock_offset_seconds,
        }
    released = connection.execute(
        update(sources)
        .where(sources.c.name == name, sources.c.lease_run_id == run_id)
        .values(values)
    )
    return bool(released.rowcount)


def finish_run(connection: sa.Connection, run_id: int, columns: Mapping[str, Any]) -> bool:
    """Close a run. Returns False if another process already closed it.

    Args:
        connection: A writing transaction.
        run_id: The run.
        columns: Its result: columns of `sync_runs`.
    """
    closed = connection.execute(
        update(sync_runs)
        .where(sync_runs.c.id == run_id, sync_runs.c.status == RunStatus.RUNNING.value)
        .values(**columns)
    )
    return bool(closed.rowcount)
