"""Delete a source with all its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from catalog_sync.db import schema

if TYPE_CHECKING:
    import sqlalchemy as sa


def forget(connection: sa.Connection, name: str) -> int:
    """Delete a source, its models, events, deliveries and runs; return how many models it had."""
    models, events = schema.models, schema.model_events
    counted = select(func.count()).select_from(models).where(models.c.source == name)
    number = connection.execute(counted).scalar_one()
    own_events = select(events.c.id).where(events.c.source == name)
    for table in (schema.alert_deliveries, schema.model_event_payloads):
        connection.execute(delete(table).where(table.c.event_id.in_(own_events)))
    for table in (events, models, schema.sync_runs):
        connection.execute(delete(table).where(table.c.source == name))
    connection.execute(delete(schema.sources).where(schema.sources.c.name == name))
    return int(number)
