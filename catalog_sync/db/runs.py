"""Statements about sources, their leases and their runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, delete, func, insert, select, update

from catalog_sync.db.outbox import register_channels
from catalog_sync.db.schema import alert_channels, sources, sync_runs
from catalog_sync.db.state import last_ended, source_of, state_of
from catalog_sync.db.statements import constant, database_now, insert_new, inserted_id
from catalog_sync.domain.kinds import INTERRUPTED, RunStatus
from catalog_sync.domain.model import SourceRecord, SourceState

_LEASE_HELD = "another process is syncing it"
_CLOCKS_DIFFER = timedelta(seconds=2)
"""By how much two readings of the database's clock may be in the wrong order: the clocks of a
cluster's nodes differ, and MariaDB reads the clock before it reads the rows."""


# --- begin -------------------------------------------------------------------------------------


def begin_run(
    connection: sa.Connection,
    name: str,
    base_url: str,
    now: datetime,
    *,
    lease: timedelta,
    fresh: Any = lambda _source, _tried_at: None,
    channels: Collection[str] = (),
) -> SourceState | str:
    """Record a run, take the source's lease and return the state that the lease protects.

    Returns text, the reason, if the source is skipped.

    A skipped source is neither written nor locked. The state is read after the lease was taken, in
    the same transaction: no other run can change it, and proxies that send reads to replicas send
    no read of a transaction that has written.

    Args:
        connection: A writing transaction.
        name: The source.
        base_url: The source's address, for a new row.
        now: The host's clock.
        lease: The length of the lease.
        fresh: Called with the source and the time at which its last run began. Returns why the
            source need not be synced yet, or None.
        channels: The configured alert channels; new ones are recorded.
    """
    for lock in (False, True):  # again, with a lock, if another process may have been faster
        row = _look(connection, name, channels, lock=lock)
        if row is None:
            insert_new(connection, sources, [{"name": name, "base_url": base_url}])
            row = _look(connection, name, channels)
        if row is None:
            break  # another process has inserted it, but not committed
        if reason := fresh(source_of(row), row.tried_at):
            return str(reason)
        if _is_held(row, lease):
            break
        if run_id := _take(connection, row, now, lease):
            if row.running:
                _close_dead_runs(connection, name, run_id, now)
            if row.channels < len(channels):
                register_channels(connection, channels, now)
            return replace(state_of(connection, row, now, run_id), run_id=run_id)
    return _LEASE_HELD


def _look(
    connection: sa.Connection, name: str, channels: Collection[str], *, lock: bool = False
) -> Any:
    """Return a source's row and the facts that decide whether a run begins; None without a row."""
    statement = _look_statement(connection.dialect.name, lock)
    values = {"source": name, "channels": sorted(channels)}
    return connection.execute(statement, values).one_or_none()


@lru_cache
def _look_statement(dialect: str, lock: bool) -> sa.Select[Any]:
    source: Any = bindparam("source")
    running = select(sync_runs.c.id).where(
        sync_runs.c.source == source, sync_runs.c.status == constant(RunStatus.RUNNING)
    )
    names = alert_channels.c.name.in_(bindparam("channels", expanding=True))
    statement = select(
        sources,
        database_now(dialect).label("now"),
        running.exists().label("running"),
        last_ended(sync_runs.c.started_at).scalar_subquery().label("tried_at"),
        select(func.count()).where(names).scalar_subquery().label("channels"),
    ).where(sources.c.name == source)
    return statement.with_for_update(of=sources) if lock else statement


_INSERT = insert(sync_runs)
_TAKE = update(sources).where(
    sources.c.name == bindparam("source"),
    sources.c.runs == bindparam("before"),
    sources.c.lease_run_id.is_not_distinct_from(bindparam("holder")),
)


def _is_held(row: Any, usual: timedelta) -> bool:
    """Whether another run holds the lease.

    A lease that ends later than its length allows was taken before the clock was set back, and does
    not count. `usual` is the length of a lease that has none recorded.
    """
    if row.lease_run_id is None or row.lease_expires_at is None:
        return False
    length = usual if row.lease_seconds is None else timedelta(seconds=row.lease_seconds)
    return bool(row.now < row.lease_expires_at <= row.now + length + _CLOCKS_DIFFER)


def _take(connection: sa.Connection, row: Any, now: datetime, lease: timedelta) -> int | None:
    """Record a run and give it the lease, unless the source's row has changed since `row`."""
    number = row.runs + 1
    run = {"source": row.name, "status": RunStatus.RUNNING.value, "started_at": now}
    run_id = inserted_id(connection.execute(_INSERT, {**run, "number": number}))
    values = {
        "source": row.name,
        "before": row.runs,
        "holder": row.lease_run_id,
        "lease_run_id": run_id,
        "lease_expires_at": row.now + lease,
        "lease_seconds": int(lease.total_seconds()),
        "runs": number,
    }
    taken = connection.execute(_TAKE, values)
    if taken.rowcount:
        return run_id
    connection.execute(delete(sync_runs).where(sync_runs.c.id == run_id))
    return None


def _close_dead_runs(connection: sa.Connection, name: str, run_id: int, now: datetime) -> None:
    """Close the runs whose process died."""
    dead = {"status": RunStatus.FAILED.value, "finished_at": now}
    connection.execute(
        update(sync_runs)
        .where(
            sync_runs.c.source == name,
            sync_runs.c.status == RunStatus.RUNNING.value,
            sync_runs.c.id != run_id,
        )
        .values(**dead, error=INTERRUPTED, error_code=INTERRUPTED)
    )


_RELEASE = update(sources).where(
    sources.c.name == bindparam("source"), sources.c.lease_run_id == bindparam("holder")
)
_FINISH = update(sync_runs).where(
    sync_runs.c.id == bindparam("run_id"), sync_runs.c.status == constant(RunStatus.RUNNING)
)


def holds_lease(connection: sa.Connection, name: str, run_id: int) -> bool:
    """Whether a run holds its source's lease, which shows that `begin_run` was committed."""
    found = select(sources.c.name).where(sources.c.name == name, sources.c.lease_run_id == run_id)
    return connection.execute(found).first() is not None


# --- end ---------------------------------------------------------------------------------------


def release(
    connection: sa.Connection,
    name: str,
    run_id: int,
    now: datetime | None = None,
    record: SourceRecord | None = None,
) -> bool:
    """Release the lease of a run. Returns False if the run no longer holds it.

    `now` is the latest time that the transaction records. `record` replaces the source's row.
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
    released = connection.execute(_RELEASE, {**values, "source": name, "holder": run_id})
    return bool(released.rowcount)


def finish_run(connection: sa.Connection, run_id: int, columns: Mapping[str, Any]) -> bool:
    """Close a run with these columns of `sync_runs`. Returns False if it is already closed."""
    return bool(connection.execute(_FINISH, {**columns, "run_id": run_id}).rowcount)


def finished_at(connection: sa.Connection, run_id: int) -> datetime | None:
    """Return when a run was closed, which shows whether that was committed."""
    return connection.scalar(select(sync_runs.c.finished_at).where(sync_runs.c.id == run_id))
