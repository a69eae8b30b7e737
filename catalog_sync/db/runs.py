"""Statements about sources, their leases and their runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from catalog_sync.db.catalog import select_models
from catalog_sync.db.schema import EventRow, RunRow, SourceRow
from catalog_sync.domain.kinds import ENDED, INTERRUPTED, Kind, RunStatus
from catalog_sync.domain.model import Event, Identity, SourceRecord, SourceState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.orm import Session


_LONGEST_LEASE = timedelta(days=1, minutes=2)
"""A deadline is at most a day, and a lease a minute more."""


def register_source(session: Session, name: str, base_url: str) -> None:
    """Make sure that the source has a row. To be called in a transaction of its own."""
    if session.get(SourceRow, name) is not None:
        return
    try:
        with session.begin_nested():
            session.execute(insert(SourceRow).values(name=name, base_url=base_url))
    except IntegrityError:
        pass  # another process was faster


def lock_source(session: Session, name: str) -> None:
    """Lock the source's row first, so that transactions of one source queue up in one order."""
    session.scalars(select(SourceRow).where(SourceRow.name == name).with_for_update()).one()


def start_run(session: Session, source: str, now: datetime) -> int:
    """Insert a `running` run and return its id."""
    row = RunRow(source=source, status=RunStatus.RUNNING, started_at=now)
    session.add(row)
    session.flush()
    return int(row.id)


def acquire(session: Session, source: str, run_id: int, now: datetime, *, lease: timedelta) -> bool:
    """Take the source's lease, if nobody holds it, and close the runs of those who died with it."""
    taken = _row_count(
        session,
        update(SourceRow)
        .where(
            SourceRow.name == source,
            or_(
                SourceRow.lease_run_id.is_(None),
                SourceRow.lease_expires_at <= now,
                # Longer than any lease: it was taken before the host's clock was set back.
                SourceRow.lease_expires_at > now + _LONGEST_LEASE,
            ),
        )
        .values(lease_run_id=run_id, lease_expires_at=now + lease),
    )
    if taken:
        session.execute(
            update(RunRow)
            .where(
                RunRow.source == source,
                RunRow.status == RunStatus.RUNNING,
                RunRow.id != run_id,
            )
            .values(status=RunStatus.FAILED, finished_at=now, error=INTERRUPTED)
        )
    return bool(taken)


def latest_recorded_at(session: Session, source: str) -> datetime | None:
    """Return the latest time that a source's past holds: its last sync, or its last event."""
    synced_at = session.scalar(select(SourceRow.last_synced_at).where(SourceRow.name == source))
    told_at = session.scalar(
        select(EventRow.occurred_at)
        .where(EventRow.source == source)
        .order_by(EventRow.id.desc())
        .limit(1)
    )
    return max((moment for moment in (synced_at, told_at) if moment), default=None)


def release(session: Session, source: str, run_id: int) -> bool:
    """Give the lease back; false when it is not ours any more."""
    return bool(
        _row_count(
            session,
            update(SourceRow)
            .where(SourceRow.name == source, SourceRow.lease_run_id == run_id)
            .values(lease_run_id=None, lease_expires_at=None),
        )
    )


def write_source(session: Session, record: SourceRecord) -> None:
    """Write what a pass learned of the source; the lease is not touched."""
    session.execute(
        update(SourceRow)
        .where(SourceRow.name == record.name)
        .values(
            base_url=record.base_url,
            scope=str(record.scope),
            baseline_at=record.baseline_at,
            last_synced_at=record.last_synced_at,
        )
    )


def _row_count(session: Session, statement: Any) -> int:
    result: Any = session.execute(statement, execution_options={"synchronize_session": False})
    return int(result.rowcount)


def _source(row: SourceRow) -> SourceRecord:
    return SourceRecord(
        row.name, row.base_url, Identity.parse(row.scope), row.baseline_at, row.last_synced_at
    )


def finish_run(
    session: Session,
    run_id: int,
    status: RunStatus,
    now: datetime,
    *,
    error: str | None = None,
    baseline: bool = False,
    pages: int | None = None,
    models: int | None = None,
    events: Iterable[Event] = (),
) -> bool:
    """Close a run; false when another process closed it already."""
    kinds = [event.kind for event in events]
    return bool(
        _row_count(
            session,
            update(RunRow)
            .where(RunRow.id == run_id, RunRow.status == RunStatus.RUNNING)
            .values(
                status=status,
                finished_at=now,
                error=error,
                baseline=baseline,
                pages=pages,
                models=models,
                added=kinds.count(Kind.ADDED),
                updated=kinds.count(Kind.UPDATED),
                removed=kinds.count(Kind.REMOVED),
                returned=kinds.count(Kind.RETURNED),
            ),
        )
    )


def last_run(session: Session, source: str, *statuses: RunStatus) -> RunRecord | None:
    """Return a source's last run that ended in one of the statuses; null when none did."""
    row = session.scalars(
        select(RunRow)
        .where(RunRow.source == source, RunRow.status.in_(statuses))
        .order_by(RunRow.id.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    return RunRecord(RunStatus(row.status), row.started_at, row.finished_at, row.error)


def failures(session: Session, source: str) -> tuple[int, list[str]]:
    """Return how many passes failed in a row, and the classes of error that were told meanwhile.

    Skipped passes do not count; one that succeeded or was held ends the row.
    """
    last_good = _last_run(source, RunStatus.SUCCEEDED, RunStatus.HELD)
    streak = session.scalar(
        select(func.count())
        .select_from(RunRow)
        .where(
            RunRow.source == source,
            RunRow.status == RunStatus.FAILED,
            RunRow.id > func.coalesce(last_good, 0),
        )
    )
    told = session.scalars(
        select(EventRow.payload).where(
            EventRow.source == source,
            EventRow.kind == Kind.SYNC_FAILED,
            EventRow.run_id > func.coalesce(_last_run(source, RunStatus.SUCCEEDED), 0),
        )
    )
    return streak or 0, [str((payload or {}).get("error_class")) for payload in told]


def count_runs(session: Session) -> dict[tuple[str, str], int]:
    """Return how many runs there are, by source and status."""
    statement = select(RunRow.source, RunRow.status, func.count())
    rows = session.execute(statement.group_by(RunRow.source, RunRow.status))
    return {(source, status): number for source, status, number in rows}


def _last_run(source: str, *statuses: RunStatus) -> Any:
    return (
        select(func.max(RunRow.id))
        .where(RunRow.source == source, RunRow.status.in_(statuses))
        .scalar_subquery()
    )


def select_state(session: Session, name: str, base_url: str) -> SourceState:
    """Return all that is known of a source; of one never seen, nothing."""
    row = session.get(SourceRow, name)
    if row is None:
        return SourceState(SourceRecord(name, base_url), {})
    succeeded = func.coalesce(_last_run(name, RunStatus.SUCCEEDED), 0)
    held = session.scalar(
        select(func.count())
        .select_from(RunRow)
        .where(RunRow.source == name, RunRow.status == RunStatus.HELD, RunRow.id > succeeded)
    )
    last_told = session.scalar(
        select(EventRow.kind)
        .where(EventRow.source == name, EventRow.kind.in_((Kind.SYNC_FAILED, Kind.SYNC_RECOVERED)))
        .order_by(EventRow.id.desc())
        .limit(1)
    )
    last_error = session.scalar(
        select(RunRow.error)
        .where(
            RunRow.source == name,
            RunRow.status.in_(ENDED),
        )
        .order_by(RunRow.id.desc())
        .limit(1)
    )
    walks = session.scalars(
        select(RunRow.finished_at)
        .where(
            RunRow.source == name,
            RunRow.status.in_((RunStatus.SUCCEEDED, RunStatus.HELD)),
            RunRow.models.is_not(None),
        )
        .order_by(RunRow.id.desc())
        .limit(2)
    ).all()
    return SourceState(
        _source(row),
        {record.info.id: record for record in select_models(session, source=name)},
        held=bool(held),
        failure_announced=last_told == Kind.SYNC_FAILED,
        last_error=last_error,
        second_last_walk_at=walks[1] if len(walks) > 1 else None,
        latest_recorded_at=latest_recorded_at(session, name),
    )


def source_names(session: Session) -> set[str]:
    """Return the sources that a run was ever begun for."""
    return set(session.scalars(select(SourceRow.name)))


def select_source(session: Session, name: str) -> SourceRecord | None:
    """Return what is known of a source; None when no run was ever begun for it."""
    row = session.get(SourceRow, name)
    return None if row is None else _source(row)


def select_sources(session: Session) -> list[SourceRecord]:
    """Return what is known of each source, by name."""
    return sorted(map(_source, session.scalars(select(SourceRow))), key=lambda source: source.name)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A row of `sync_runs`, as far as the health of its source needs it."""

    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    """Null while it is running."""
    error: str | None = None

    @property
    def duration(self) -> timedelta | None:
        """How long it took, by a clock that may have been set back; null while it is running."""
        if self.finished_at is None:
            return None
        return max(self.finished_at - self.started_at, timedelta())

    @property
    def interrupted(self) -> bool:
        """Whether its process was told to stop, or died."""
        return self.status is RunStatus.FAILED and self.error == INTERRUPTED
