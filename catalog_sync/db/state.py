"""The recorded state of sources and their runs, for decisions and queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select

from catalog_sync.db.catalog import select_models
from catalog_sync.db.engine import StaleReadError
from catalog_sync.db.schema import model_events, sources, sync_runs
from catalog_sync.db.statements import constant
from catalog_sync.db.urls import display_url
from catalog_sync.domain.kinds import ENDED, STOPPED, Kind, RunStatus
from catalog_sync.domain.model import Identity, SourceRecord, SourceState

_WALKED = (RunStatus.SUCCEEDED, RunStatus.HELD)
_GOOD_RUNS = 100
"""Among this many applied runs, the latest start counts: clocks may have been set back."""
_COUNTS = sa.or_(sync_runs.c.error_code.is_(None), sync_runs.c.error_code != constant(STOPPED))
"""Stopped runs do not count. They have the status failed."""


def select_state(
    connection: sa.Connection, name: str, base_url: str, began_at: datetime
) -> tuple[SourceState, datetime | None]:
    """Return the state of a source, empty for an unknown one, and the start of its last run.

    `began_at` is the start of the present run.
    """
    tried = last_ended(sync_runs.c.started_at).scalar_subquery().label("tried_at")
    found = select(sources, tried).where(sources.c.name == bindparam("source"))
    if (row := connection.execute(found, {"source": name}).one_or_none()) is None:
        return SourceState(SourceRecord(name, base_url), {}), None
    return state_of(connection, row, began_at, row.lease_run_id), row.tried_at


def state_of(
    connection: sa.Connection, row: Any, began_at: datetime, run_id: int | None
) -> SourceState:
    """Return the state of the source of a row.

    `began_at` is the start of the present run; earlier runs that began later had a wrong clock.
    `run_id` holds the lease. Raises StaleReadError if the data that is read does not show that.
    """
    name = row.name
    found = connection.execute(_STATE, {"source": name, "began_at": began_at}).one()
    if found.lease_run_id != run_id:
        raise StaleReadError(
            f"database {display_url(connection.engine.url)}: reads do not show the last write",
            "point database_url to the primary, without a proxy that sends reads to replicas",
        )
    return SourceState(
        source_of(row),
        {record.info.id: record for record in select_models(connection, source=name)},
        held=found.walk == RunStatus.HELD.value,
        failure_announced=found.failed_at is not None
        and (found.recovered_at is None or found.failed_at > found.recovered_at),
        last_error=found.error,
        second_last_walk_at=found.second_last_walk_at,
        latest_recorded_at=row.last_recorded_at,
        last_good_run_at=found.good_at,
    )


def last_ended(column: Any) -> sa.Select[Any]:
    """Select a value of the last run of a `source` that ended, without the skips of 0.1."""
    ended = [sync_runs.c.status != constant(each) for each in RunStatus if each not in ENDED]
    runs = select(column).where(sync_runs.c.source == bindparam("source"), *ended, _COUNTS)
    return runs.order_by(sync_runs.c.number.desc()).limit(constant(1))


def last_of(column: Any, *statuses: RunStatus) -> sa.Select[Any]:
    """Select a value of the last run of a `source` that ended in one of the statuses."""
    runs = _last_runs(column, statuses)
    return select(runs.c[column.name]).order_by(runs.c.number.desc()).limit(constant(1))


def _last_runs(
    column: Any, statuses: Sequence[RunStatus], *conditions: Any, limit: int = 1
) -> sa.Subquery:
    """Select a value of the last runs of a `source`, `limit` per status.

    Each status has its own subquery: with several, a database reads all runs of the source.
    """
    by_status = [
        select(sync_runs.c.number, column)
        .where(
            sync_runs.c.source == bindparam("source"),
            sync_runs.c.status == constant(status),
            *([_COUNTS] if status is RunStatus.FAILED else []),
            *conditions,
        )
        .order_by(sync_runs.c.number.desc())
        .limit(constant(limit))
        .subquery()
        for status in statuses
    ]
    return sa.union_all(*map(select, by_status)).subquery()


def _state() -> sa.Select[Any]:
    walked = sync_runs.c.models.is_not(None)
    walks = _last_runs(sync_runs.c.finished_at, (RunStatus.SUCCEEDED,), walked, limit=2)
    began_before = sync_runs.c.started_at <= bindparam("began_at")
    good = _last_runs(sync_runs.c.started_at, _WALKED, walked, began_before, limit=_GOOD_RUNS)
    second = select(walks.c.finished_at).order_by(walks.c.number.desc())
    second = second.limit(constant(1)).offset(constant(1))
    columns = {
        "walk": last_of(sync_runs.c.status, *_WALKED),
        "error": last_ended(sync_runs.c.error),
        "second_last_walk_at": second,
        "good_at": select(func.max(good.c.started_at)),
        "failed_at": _last_event_at(Kind.SYNC_FAILED),
        "recovered_at": _last_event_at(Kind.SYNC_RECOVERED),
        "lease_run_id": select(sources.c.lease_run_id).where(sources.c.name == bindparam("source")),
    }
    return select(*(query.scalar_subquery().label(name) for name, query in columns.items()))


def _last_event_at(kind: Kind) -> sa.Select[Any]:
    last = select(func.max(model_events.c.occurred_at))
    return last.where(
        model_events.c.source == bindparam("source"), model_events.c.kind == constant(kind)
    )


_STATE = _state()
"""Each subquery reads only one end of an index."""


def last_runs(connection: sa.Connection) -> dict[str, list[Any]]:
    """Return the last run of each status by source, without stopped and unfinished runs."""
    found = defaultdict(list)
    for row in connection.execute(_LAST_RUNS):
        found[row.source].append(row)
    return found


def _last_runs_of_all() -> sa.CompoundSelect[Any]:
    run = sync_runs.alias()
    shown = [run.c[name] for name in ("source", "status", "number", "started_at", "finished_at")]
    shown += [run.c[name] for name in ("models", "error", "error_code")]
    last = (
        select(sync_runs.c.id)
        .where(sync_runs.c.source == sources.c.name, _COUNTS)
        .order_by(sync_runs.c.number.desc())
        .limit(1)
        .correlate(sources)
    )
    return sa.union_all(
        *(
            select(*shown).join_from(
                sources,
                run,
                run.c.id == last.where(sync_runs.c.status == status.value).scalar_subquery(),
            )
            for status in ENDED
        )
    )


_LAST_RUNS = _last_runs_of_all()
"""One row per source and status, read at the end of an index, however long the history is."""


def source_of(row: Any) -> SourceRecord:
    """Decode a row of `sources`."""
    return SourceRecord(
        row.name,
        row.base_url,
        Identity.parse(row.scope),
        row.baseline_at,
        row.last_synced_at,
        row.clock_offset_seconds,
    )


def failures(connection: sa.Connection, name: str, most: int) -> tuple[int, list[str]]:
    """Return how many runs failed in a row, and the error codes announced since the last success.

    A succeeded or held run ends the streak. Skipped and stopped runs do not count. The count ends
    at `most`.
    """
    last_walk = func.coalesce(last_of(sync_runs.c.number, *_WALKED).scalar_subquery(), 0)
    after_it = sync_runs.c.number > last_walk
    streak = _last_runs(sync_runs.c.id, [RunStatus.FAILED], after_it, limit=most)
    number = connection.scalar(select(func.count()).select_from(streak), {"source": name})
    since = last_of(sync_runs.c.finished_at, RunStatus.SUCCEEDED)
    announced = select(model_events.c.payload).where(
        model_events.c.source == name, model_events.c.kind == Kind.SYNC_FAILED.value
    )
    if (last_success := connection.scalar(since, {"source": name})) is not None:
        announced = announced.where(model_events.c.occurred_at > last_success)
    codes = [str((each or {}).get("error_code")) for each in connection.scalars(announced)]
    return number or 0, codes


def latest_recorded_at(connection: sa.Connection, name: str) -> datetime | None:
    """Return the latest time recorded for a source; None before the first."""
    return connection.scalar(select(sources.c.last_recorded_at).where(sources.c.name == name))


def select_sources(connection: sa.Connection) -> list[SourceRecord]:
    """Return the recorded sources, sorted by name."""
    rows = connection.execute(select(sources))
    return sorted(map(source_of, rows), key=lambda source: source.name)
