"""The recorded state of sources and their runs, for the decisions of a run and for queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import func, select

from catalog_sync.db.catalog import select_models
from catalog_sync.db.schema import model_events, sources, sync_runs
from catalog_sync.domain.kinds import ENDED, INTERRUPTED, STOPPED, Kind, RunStatus
from catalog_sync.domain.model import Identity, SourceRecord, SourceState

if TYPE_CHECKING:
    from collections.abc import Sequence

# --- the state that a run decides on -----------------------------------------------------------


def select_state(
    connection: sa.Connection, name: str, base_url: str, began_by: datetime
) -> SourceState:
    """Return the recorded state of a source. An unknown source has an empty state.

    Args:
        connection: A transaction.
        name: The source's name.
        base_url: The source's address, for a source without a row.
        began_by: When the present run began. Applied runs that began later had a wrong clock.
    """
    row = connection.execute(select(sources).where(sources.c.name == name)).one_or_none()
    if row is None:
        return SourceState(SourceRecord(name, base_url), {})
    return state_of(connection, row, began_by)


def state_of(connection: sa.Connection, row: Any, began_by: datetime) -> SourceState:
    """Return the recorded state of the source of a row of `sources`."""
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
        source_of(row),
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

    A succeeded or held run ends the streak. Skipped and stopped runs do not count.
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


def source_of(row: Any) -> SourceRecord:
    """Return the source that a row of `sources` describes."""
    return SourceRecord(
        row.name,
        row.base_url,
        Identity.parse(row.scope),
        row.baseline_at,
        row.last_synced_at,
        row.clock_offset_seconds,
    )


def source_names(connection: sa.Connection) -> set[str]:
    """Return the sources with at least one run."""
    return set(connection.scalars(select(sources.c.name)))


def select_source(connection: sa.Connection, name: str) -> SourceRecord | None:
    """Return the recorded facts of a source. None if it never had a run."""
    row = connection.execute(select(sources).where(sources.c.name == name)).one_or_none()
    return None if row is None else source_of(row)


def select_sources(connection: sa.Connection) -> list[SourceRecord]:
    """Return the recorded facts of each source, by name."""
    rows = connection.execute(select(sources))
    return sorted(map(source_of, rows), key=lambda source: source.name)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The columns of `sync_runs` that the health of a source needs."""

    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    """None while it is running."""
    error: str | None = None
    error_code: str | None = None

    @property
    def duration(self) -> timedelta | None:
        """Its duration by a clock that may have been set back. None while it is running."""
        if self.finished_at is None:
            return None
        return max(self.finished_at - self.started_at, timedelta())

    @property
    def interrupted(self) -> bool:
        """Whether its process was stopped or died."""
        words = {INTERRUPTED, STOPPED}
        return self.status is RunStatus.FAILED and bool({self.error, self.error_code} & words)


_RECORD = tuple(
    sync_runs.c[name] for name in ("status", "started_at", "finished_at", "error", "error_code")
)


def last_run(connection: sa.Connection, source: str, *statuses: RunStatus) -> RunRecord | None:
    """Return a source's last run that ended in one of the statuses, or None.

    A stopped run says nothing about its source and is skipped.
    """
    row = connection.execute(_last_ended(source, *_RECORD, statuses=statuses)).one_or_none()
    return None if row is None else RunRecord(RunStatus(row[0]), *row[1:])


def count_runs(connection: sa.Connection) -> dict[tuple[str, str], int]:
    """Return the number of runs by source and status, including deleted ones.

    Retention deletes rows, but their numbers are kept.
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
