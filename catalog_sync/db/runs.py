"""Statements about sources, their leases and their runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import delete, func, insert, select, update

from catalog_sync.db.catalog import inserted_id, select_models
from catalog_sync.db.schema import UtcDateTime, model_events, sources, sync_runs
from catalog_sync.domain.kinds import ENDED, INTERRUPTED, STOPPED, Kind, RunStatus
from catalog_sync.domain.model import Identity, SourceRecord, SourceState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    """Who holds a source, by the database's clock."""

    run_id: int | None
    expires_at: datetime | None
    length: timedelta | None
    now: datetime
    """The database's clock."""

    def held(self, usual: timedelta) -> bool:
        """Whether another run must wait.

        A lease that ends later than it can by its own length was taken before the clock was set
        back: it is over.

        Args:
            usual: The length of the caller's own lease, for leases that do not state theirs.
        """
        if self.run_id is None or self.expires_at is None:
            return False
        return self.now < self.expires_at <= self.now + (self.length or usual)


def _look(connection: sa.Connection, name: str, *, lock: bool = False) -> Any:
    """Return a source's row with the database's clock and whether one of its runs is open."""
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
    """Make sure that the source has a row; of two processes that do so at once, both succeed."""
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
    """A run that has its source's lease, and the state that its lease keeps true."""

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
        if reason := fresh(_source(row), ended):
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
    return Begun(run_id, _state(connection, row, now))


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
    """Whether a run has its source's lease: tells whether the commit of `begin_run` landed."""
    found = select(sources.c.name).where(sources.c.name == name, sources.c.lease_run_id == run_id)
    return connection.execute(found).first() is not None


def is_closed(connection: sa.Connection, run_id: int) -> bool:
    """Whether a run has ended."""
    found = select(sync_runs.c.finished_at).where(sync_runs.c.id == run_id)
    return connection.scalar(found) is not None


def is_finished(connection: sa.Connection, run_id: int, at: datetime) -> bool:
    """Whether a run was closed at that time: tells whether the commit that closed it landed."""
    found = select(sync_runs.c.finished_at).where(sync_runs.c.id == run_id)
    return bool(connection.scalar(found) == at)


def release(
    connection: sa.Connection,
    name: str,
    run_id: int,
    now: datetime | None = None,
    record: SourceRecord | None = None,
) -> bool:
    """Release the lease of a run; False if the run does not have it any more.

    Args:
        connection: A writing transaction.
        name: The source's name.
        run_id: The run.
        now: The latest time that the transaction records.
        record: What the run learned of the source.
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
    """Close a run; False if another process closed it already.

    Args:
        connection: A writing transaction.
        run_id: The run.
        columns: How it ended: its columns of `sync_runs`.
    """
    closed = connection.execute(
        update(sync_runs)
        .where(sync_runs.c.id == run_id, sync_runs.c.status == RunStatus.RUNNING.value)
        .values(**columns)
    )
    return bool(closed.rowcount)


# --- the state that a run decides on -----------------------------------------------------------


def select_state(
    connection: sa.Connection, name: str, base_url: str, began_by: datetime
) -> SourceState:
    """Return what is recorded about a source; of an unknown one, nothing.

    Args:
        connection: A transaction.
        name: The source's name.
        base_url: The source's address, for a source without a row.
        began_by: When the present run began. Applied runs that began later had a wrong clock.
    """
    row = _look(connection, name)
    if row is None:
        return SourceState(SourceRecord(name, base_url), {})
    return _state(connection, row, began_by)


def _state(connection: sa.Connection, row: Any, began_by: datetime) -> SourceState:
    name = row.name
    kinds = (Kind.SYNC_FAILED, Kind.SYNC_RECOVERED)
    walked = (
        select(sync_runs.c.finished_at)
        .where(
            sync_runs.c.source == name,
            sync_runs.c.status.in_([RunStatus.SUCCEEDED.value, RunStatus.HELD.value]),
            sync_runs.c.models.is_not(None),
        )
        .order_by(sync_runs.c.number.desc())
        .limit(1)
        .offset(1)
    )
    good = select(func.max(sync_runs.c.started_at)).where(
        sync_runs.c.source == name,
        sync_runs.c.status.in_([RunStatus.SUCCEEDED.value, RunStatus.HELD.value]),
        sync_runs.c.models.is_not(None),
        sync_runs.c.started_at <= began_by,
    )
    found = connection.execute(
        select(
            _last_number(name, RunStatus.SUCCEEDED).label("succeeded"),
            _last_number(name, RunStatus.HELD).label("held"),
            _last_ended(name, sync_runs.c.error).scalar_subquery().label("error"),
            walked.scalar_subquery().label("walked_at"),
            good.scalar_subquery().label("good_at"),
            *(_last_event_at(name, kind).label(kind.value) for kind in kinds),
        )
    ).one()
    failed_at, recovered_at = (getattr(found, kind.value) for kind in kinds)
    return SourceState(
        _source(row),
        {record.info.id: record for record in select_models(connection, source=name)},
        held=(found.held or 0) > (found.succeeded or 0),
        failure_announced=failed_at is not None
        and (recovered_at is None or failed_at > recovered_at),
        last_error=found.error,
        second_last_walk_at=found.walked_at,
        latest_recorded_at=row.last_recorded_at,
        last_good_run_at=found.good_at,
    )


def _last_number(name: str, status: RunStatus) -> Any:
    """Return the number of a source's last run of a status, found at the end of an index."""
    last = select(func.max(sync_runs.c.number))
    return last.where(
        sync_runs.c.source == name, sync_runs.c.status == status.value
    ).scalar_subquery()


def _last_event_at(name: str, kind: Kind) -> Any:
    last = select(func.max(model_events.c.occurred_at))
    return last.where(
        model_events.c.source == name, model_events.c.kind == kind.value
    ).scalar_subquery()


def _last_ended(name: str, *columns: Any, statuses: Sequence[RunStatus] = ENDED) -> Any:
    """Select from a source's last run that ended in one of the statuses and was not stopped."""
    return (
        select(*columns)
        .where(
            sync_runs.c.source == name,
            sync_runs.c.status.in_([status.value for status in statuses]),
            sa.or_(sync_runs.c.error_code.is_(None), sync_runs.c.error_code != STOPPED),
        )
        .order_by(sync_runs.c.number.desc(), sync_runs.c.id.desc())
        .limit(1)
    )


def latest_recorded_at(connection: sa.Connection, name: str) -> datetime | None:
    """Return the latest time recorded for a source; None before the first."""
    return connection.scalar(select(sources.c.last_recorded_at).where(sources.c.name == name))


def failures(connection: sa.Connection, name: str) -> tuple[int, list[str]]:
    """Return how many runs failed in a row, and the error codes announced since the last success.

    A run that succeeded or was held ends the row; skipped and stopped runs do not count.
    """
    succeeded, held = connection.execute(
        select(_last_number(name, RunStatus.SUCCEEDED), _last_number(name, RunStatus.HELD))
    ).one()
    streak = connection.scalar(
        select(func.count())
        .select_from(sync_runs)
        .where(
            sync_runs.c.source == name,
            sync_runs.c.status == RunStatus.FAILED.value,
            sa.or_(sync_runs.c.error_code.is_(None), sync_runs.c.error_code != STOPPED),
            sync_runs.c.number > max(succeeded or 0, held or 0),
        )
    )
    last_success = select(func.max(sync_runs.c.finished_at)).where(
        sync_runs.c.source == name,
        sync_runs.c.status == RunStatus.SUCCEEDED.value,
        sync_runs.c.number == (succeeded or 0),
    )
    since = connection.scalar(last_success)
    announced = select(model_events.c.payload).where(
        model_events.c.source == name, model_events.c.kind == Kind.SYNC_FAILED.value
    )
    if since is not None:
        announced = announced.where(model_events.c.occurred_at > since)
    said = (payload or {} for payload in connection.scalars(announced))
    return streak or 0, [str(each.get("error_code")) for each in said]


# --- questions ---------------------------------------------------------------------------------


def _source(row: Any) -> SourceRecord:
    return SourceRecord(
        row.name,
        row.base_url,
        Identity.parse(row.scope),
        row.baseline_at,
        row.last_synced_at,
        row.clock_offset_seconds,
    )


def source_names(connection: sa.Connection) -> set[str]:
    """Return the sources that a run was ever begun for."""
    return set(connection.scalars(select(sources.c.name)))


def select_source(connection: sa.Connection, name: str) -> SourceRecord | None:
    """Return what is known of a source; None if no run was ever begun for it."""
    row = connection.execute(select(sources).where(sources.c.name == name)).one_or_none()
    return None if row is None else _source(row)


def select_sources(connection: sa.Connection) -> list[SourceRecord]:
    """Return what is known of each source, by name."""
    rows = connection.execute(select(sources))
    return sorted(map(_source, rows), key=lambda source: source.name)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A row of `sync_runs`, as far as the health of its source needs it."""

    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    """None while it is running."""
    error: str | None = None
    error_code: str | None = None

    @property
    def duration(self) -> timedelta | None:
        """How long it took, by a clock that may have been set back; None while it is running."""
        if self.finished_at is None:
            return None
        return max(self.finished_at - self.started_at, timedelta())

    @property
    def interrupted(self) -> bool:
        """Whether its process was stopped, or died."""
        words = {INTERRUPTED, STOPPED}
        return self.status is RunStatus.FAILED and bool({self.error, self.error_code} & words)


_RECORD = tuple(
    sync_runs.c[name] for name in ("status", "started_at", "finished_at", "error", "error_code")
)


def last_run(connection: sa.Connection, source: str, *statuses: RunStatus) -> RunRecord | None:
    """Return a source's last run that ended in one of the statuses; None if none did.

    A stopped run says nothing about its source, and is passed over.
    """
    row = connection.execute(_last_ended(source, *_RECORD, statuses=statuses)).one_or_none()
    return None if row is None else RunRecord(RunStatus(row[0]), *row[1:])


def count_runs(connection: sa.Connection) -> dict[tuple[str, str], int]:
    """Return how many runs there were, by source and status, those of the past included.

    Retention deletes rows; what it deleted stays counted.
    """
    statement = select(sync_runs.c.source, sync_runs.c.status, func.count())
    rows = connection.execute(statement.group_by(sync_runs.c.source, sync_runs.c.status))
    counts = {(source, status): number for source, status, number in rows}
    for row in connection.execute(select(sources)):
        for status in ENDED:
            if pruned := getattr(row, f"pruned_{status.value}"):
                key = (row.name, status.value)
                counts[key] = counts.get(key, 0) + pruned
    return counts
