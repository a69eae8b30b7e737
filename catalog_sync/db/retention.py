"""Delete old runs and delivered alerts. Their numbers stay in the source's row."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import and_, delete, func, or_, select, update

from catalog_sync.db.engine import read_transaction, run
from catalog_sync.db.schema import (
    alert_channels,
    alert_deliveries,
    model_events,
    sources,
    sync_runs,
)
from catalog_sync.domain.kinds import ENDED, RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable

_BATCH = 500
_KEPT_RUNS = 100
"""The number of last runs of a source that are kept at any age: decisions read them."""
_MATCHED_AGAIN = timedelta(days=3)
"""How long deliveries are kept whose events may still be matched with the channels' rules.
Without an entry, the event would be sent again."""


def prune(engine: sa.Engine, now: datetime, retention: timedelta) -> int:
    """Delete ended runs without events, and delivered alerts, that are older than `retention`.

    Works in small transactions, so that no other process waits for long.

    Args:
        engine: The database.
        now: The present time.
        retention: How long rows are kept.

    Returns:
        The number of rows deleted.
    """
    before = now - retention
    with read_transaction(engine) as connection:
        old = (
            select(sync_runs.c.id).where(_old_runs(before)).exists(),
            select(alert_deliveries.c.id).where(_old_deliveries(before, now)).exists(),
        )
        runs, deliveries = connection.execute(select(*old)).one()
    deleted = 0
    if runs:
        deleted += _in_batches(engine, lambda connection: _prune_runs(connection, before))
    if deliveries:
        deleted += _in_batches(engine, lambda connection: _prune_sent(connection, before, now))
    return deleted


def _in_batches(engine: sa.Engine, work: Callable[[sa.Connection], int]) -> int:
    deleted = 0
    while True:
        number = run(engine, work)
        deleted += number
        if number < _BATCH:
            return deleted


def _old_runs(before: datetime) -> Any:
    """Return the SQL condition: an ended run without events, and not among the last ones."""
    runs_of_source = (
        select(sources.c.runs).where(sources.c.name == sync_runs.c.source).scalar_subquery()
    )
    later = sync_runs.alias()
    last_of_status = (
        select(func.max(later.c.number))
        .where(later.c.source == sync_runs.c.source, later.c.status == sync_runs.c.status)
        .correlate(sync_runs)
        .scalar_subquery()
    )
    return and_(
        sync_runs.c.finished_at < before,
        sync_runs.c.status != RunStatus.RUNNING.value,
        sync_runs.c.number <= runs_of_source - _KEPT_RUNS,
        sync_runs.c.number < last_of_status,
        ~select(model_events.c.id).where(model_events.c.run_id == sync_runs.c.id).exists(),
    )


def _prune_runs(connection: sa.Connection, before: datetime) -> int:
    found = connection.execute(
        select(sync_runs.c.id, sync_runs.c.source, sync_runs.c.status)
        .where(_old_runs(before))
        .limit(_BATCH)
    ).all()
    counted = {status.value for status in ENDED}
    numbers = Counter((row.source, row.status) for row in found if row.status in counted)
    for (name, status), number in sorted(numbers.items()):
        column = sources.c[f"pruned_{status}"]
        connection.execute(
            update(sources).where(sources.c.name == name).values({column: column + number})
        )
    if found:
        ids = [row.id for row in found]
        connection.execute(delete(sync_runs).where(sync_runs.c.id.in_(ids)))
    return len(found)


def _old_deliveries(before: datetime, now: datetime) -> Any:
    matched = func.coalesce(alert_channels.c.enqueued_until, alert_channels.c.started_at)
    recent = (
        select(alert_channels.c.name)
        .join(model_events, model_events.c.id == alert_deliveries.c.event_id)
        .where(
            alert_channels.c.name == alert_deliveries.c.channel,
            model_events.c.occurred_at >= alert_channels.c.started_at,
            or_(model_events.c.occurred_at > now - _MATCHED_AGAIN, matched < before),
        )
        .correlate(alert_deliveries)
    )
    return and_(
        alert_deliveries.c.status == "delivered",
        alert_deliveries.c.delivered_at < before,
        ~recent.exists(),
    )


def _prune_sent(connection: sa.Connection, before: datetime, now: datetime) -> int:
    found = connection.execute(
        select(alert_deliveries.c.id, model_events.c.source)
        .join(model_events, model_events.c.id == alert_deliveries.c.event_id)
        .where(_old_deliveries(before, now))
        .limit(_BATCH)
    ).all()
    for name, number in sorted(Counter(row.source for row in found).items()):
        column = sources.c.pruned_delivered
        connection.execute(
            update(sources).where(sources.c.name == name).values({column: column + number})
        )
    if found:
        ids = [row.id for row in found]
        connection.execute(delete(alert_deliveries).where(alert_deliveries.c.id.in_(ids)))
    return len(found)
