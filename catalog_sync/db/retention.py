"""Deletes old runs and delivered alerts, or a whole source.

The source's row counts the deleted rows, so that no counter metric decreases.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import and_, delete, func, or_, select, update

from catalog_sync.db.engine import run
from catalog_sync.db.outbox import DELIVERED
from catalog_sync.db.schema import (
    alert_channels,
    alert_deliveries,
    model_event_payloads,
    model_events,
    models,
    sources,
    sync_runs,
)
from catalog_sync.domain.kinds import RunStatus

_BATCH = 500
_KEPT_RUNS = 100
"""The latest runs of a source that are kept at any age, because decisions read them."""
_MATCHED_AGAIN = timedelta(days=3)
"""Deliveries of younger events are kept: `outbox.enqueue` would add them again."""


def prune(engine: sa.Engine, now: datetime, retention: timedelta) -> int:
    """Delete ended runs without events, and delivered alerts, that are older than `retention`.

    Uses small transactions, so that no other process waits for long. Returns the number of deleted
    rows.
    """
    before = now - retention
    runs = select(sync_runs.c.id, sync_runs.c.source, sync_runs.c.status)
    sent = select(alert_deliveries.c.id, model_events.c.source, alert_deliveries.c.status)
    sent = sent.join(model_events, model_events.c.id == alert_deliveries.c.event_id)
    return _delete(engine, sync_runs, runs.where(_old_runs(before))) + _delete(
        engine, alert_deliveries, sent.where(_old_deliveries(before, now))
    )


def _delete(engine: sa.Engine, table: sa.Table, rows: sa.Select[Any]) -> int:
    """Delete the rows whose id, source and status `rows` selects. Returns their number."""

    def work(connection: sa.Connection) -> int:
        found = connection.execute(rows.limit(_BATCH)).all()
        numbers = Counter((row.source, row.status) for row in found)
        for (name, status), number in sorted(numbers.items()):
            if (column := sources.c.get(f"pruned_{status}")) is not None:
                counted = update(sources).where(sources.c.name == name)
                connection.execute(counted.values({column: column + number}))
        connection.execute(delete(table).where(table.c.id.in_([row.id for row in found])))
        return len(found)

    deleted = 0
    while number := run(engine, work):
        deleted += number
    return deleted


def _old_runs(before: datetime) -> Any:
    """Return the SQL condition: an ended run without events, and not among the last ones."""
    runs = select(sources.c.runs).where(sources.c.name == sync_runs.c.source).scalar_subquery()
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
        sync_runs.c.number <= runs - _KEPT_RUNS,
        sync_runs.c.number < last_of_status,
        ~select(model_events.c.id).where(model_events.c.run_id == sync_runs.c.id).exists(),
    )


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
        alert_deliveries.c.status == DELIVERED,
        alert_deliveries.c.delivered_at < before,
        ~recent.exists(),
    )


def forget(connection: sa.Connection, name: str) -> int:
    """Delete a source with all its rows. Returns how many models it had."""
    counted = select(func.count()).select_from(models).where(models.c.source == name)
    number = connection.execute(counted).scalar_one()
    own_events = select(model_events.c.id).where(model_events.c.source == name)
    for table in (alert_deliveries, model_event_payloads):
        connection.execute(delete(table).where(table.c.event_id.in_(own_events)))
    for table in (model_events, models, sync_runs):
        connection.execute(delete(table).where(table.c.source == name))
    connection.execute(delete(sources).where(sources.c.name == name))
    return int(number)
