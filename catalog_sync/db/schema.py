"""The tables, as the program reads and writes them. Only the migrations create them.

Times are stored in UTC with microseconds and are aware in Python on every database. The allowed
values of statuses and kinds are CHECK constraints in the migrations.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from catalog_sync.clock import to_utc

VERSION_TABLE = "catalog_sync_version"
"""Alembic's table. The name keeps it apart from a user's own `alembic_version`."""
MYSQL = ("mysql", "mariadb")
"""The names of SQLAlchemy's dialects for MariaDB and MySQL."""
_SHARED_TIMES = 1000
VIEWS = ("current_models", "retiring_models")


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware datetime in UTC, also in databases without time zones. A naive one raises."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        """Convert equal times once: many rows share them."""
        process = super().bind_processor(dialect)
        if process is None:
            return None
        shared = lru_cache(maxsize=_SHARED_TIMES)(process)

        def processed(value: datetime | None) -> Any:
            # Only in UTC are equal times the same; elsewhere an hour may occur twice.
            return (shared if value is None or value.tzinfo is UTC else process)(value)

        return processed

    def result_processor(self, dialect: sa.Dialect, coltype: Any) -> Any:
        """Convert equal times once: many rows share them."""
        process = super().result_processor(dialect, coltype)
        return process and lru_cache(maxsize=_SHARED_TIMES)(process)

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """Keep microseconds on MariaDB, which drops them by default."""
        if dialect.name in MYSQL:
            from sqlalchemy.dialects import mysql  # noqa: PLC0415  # heavy: six drivers' dialects

            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return super().load_dialect_impl(dialect)

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Send UTC, without the zone if the database has none."""
        if value is None:
            return None
        utc = to_utc(value)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return UTC in any time zone of the connection."""
        if value is None:
            return None
        return value.astimezone(UTC) if dialect.name == "postgresql" else value.replace(tzinfo=UTC)


class Json(sa.TypeDecorator[Any]):
    """A JSON value: `jsonb` on PostgreSQL. None is NULL."""

    impl = sa.JSON(none_as_null=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """Use the type that PostgreSQL can compare, group and search."""
        if dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql  # noqa: PLC0415  # heavy

            return dialect.type_descriptor(postgresql.JSONB(none_as_null=True))
        return super().load_dialect_impl(dialect)


# SQLite generates only INTEGER keys.
_BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MODEL_ID = sa.String(255)
_SOURCE = sa.String(64)
_TIME = UtcDateTime()

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _column(name: str, kind: Any, comment: str, *constraints: Any, **options: Any) -> Any:
    """Return a column that has a value in every row, unless `nullable` says otherwise."""
    return sa.Column(name, kind, *constraints, comment=comment, **{"nullable": False, **options})


def _optional(name: str, kind: Any, comment: str) -> Any:
    return _column(name, kind, comment, nullable=True)


def _number(name: str, comment: str) -> Any:
    return _column(name, sa.Integer, comment, default=0)


def _source(**options: Any) -> Any:
    return _column(
        "source", _SOURCE, "The source's name.", sa.ForeignKey("sources.name"), **options
    )


sources = sa.Table(
    "sources",
    metadata,
    _column("name", _SOURCE, "The source's name in the configuration.", primary_key=True),
    _column("base_url", sa.Text, "Address of the source's API."),
    _optional("scope", sa.Text, "Organization and workspace that answered last; - for unknown."),
    _optional(
        "lease_run_id", sa.BigInteger, "The run that holds the source; NULL while none does."
    ),
    _optional(
        "lease_expires_at",
        _TIME,
        "When another run may take the source over (database's clock).",
    ),
    _optional("baseline_at", _TIME, "The first complete list; NULL before it."),
    _optional("last_synced_at", _TIME, "The last run whose result was applied."),
    _optional("lease_seconds", sa.Integer, "Length of the lease that is held."),
    _number("runs", "Number of runs begun; numbers the next one."),
    _optional("last_recorded_at", _TIME, "The latest time recorded; later rows are never earlier."),
    _optional(
        "clock_offset_seconds",
        sa.Integer,
        "Host's clock minus the API's clock at the last run; NULL when unknown.",
    ),
    _number("pruned_succeeded", "Succeeded runs that retention deleted."),
    _number("pruned_held", "Held runs that retention deleted."),
    _number("pruned_failed", "Failed runs that retention deleted."),
    _number("pruned_delivered", "Delivered alerts that retention deleted."),
    comment="The sources: whose catalog, who is syncing it, how fresh it is.",
)

sync_runs = sa.Table(
    "sync_runs",
    metadata,
    _column("id", _BIG_ID, "Identifies the run; no order in time.", primary_key=True),
    _source(),
    _column(
        "status", sa.String(16), "running, succeeded, held, failed (skipped: version 0.1 only)."
    ),
    _column(
        "baseline", sa.Boolean, "Whether this run recorded the source's first list.", default=False
    ),
    _column("started_at", _TIME, "When the run began."),
    _optional("finished_at", _TIME, "When the run ended; NULL while it is running."),
    _optional("pages", sa.Integer, "Pages of the list; NULL without one."),
    _optional("models", sa.Integer, "Length of the list that was applied."),
    _number("added", "Number of added events."),
    _number("updated", "Number of updated events."),
    _number("removed", "Number of removed events."),
    _number("returned", "Number of returned events."),
    _optional("error", sa.Text, "Why the run failed or was held."),
    _optional("error_code", sa.String(32), "The kind of the error."),
    _number("number", "Number of the run within its source: the order of its runs."),
    sa.Index(None, "source", "number"),
    sa.Index(None, "source", "status", "number"),
    comment="Runs of the sync, one row per source and run.",
)

models = sa.Table(
    "models",
    metadata,
    _source(primary_key=True),
    _column("id", _MODEL_ID, "The model's id, compared exactly.", primary_key=True),
    _column("display_name", sa.Text, "The model's name, as the API sent it."),
    _column("created_at", _TIME, "Release time; an epoch value when unknown."),
    _column("type", sa.Text, "The object's type, as the API sent it."),
    _optional(
        "lifecycle", sa.Text, "active, deprecated or retired; NULL when the API does not say."
    ),
    _optional("deprecated_at", _TIME, "When the model was deprecated."),
    _optional("retires_at", _TIME, "Planned retirement; a past one is overdue, not done."),
    _optional("line", sa.Text, "The model's line, as the API sent it."),
    _optional("max_input_tokens", sa.BigInteger, "Largest input, in tokens."),
    _optional("max_tokens", sa.BigInteger, "Largest output, in tokens."),
    _column("payload", Json, "The whole object as received."),
    _column("first_seen_at", _TIME, "When a list first showed the model."),
    _column("last_seen_at", _TIME, "When a list last showed the model."),
    _optional(
        "missing_since", _TIME, "The first complete list without it; NULL while it is listed."
    ),
    _optional("removed_at", _TIME, "When it was confirmed gone; NULL while it is listed."),
    comment="Every model ever listed, as the API described it last; rows are never deleted.",
)

model_events = sa.Table(
    "model_events",
    metadata,
    _column("id", _BIG_ID, "Identifies the event; no order in time.", primary_key=True),
    _column("run_id", sa.BigInteger, "Its run.", sa.ForeignKey("sync_runs.id"), index=True),
    _source(),
    _optional("model_id", _MODEL_ID, "The model; NULL for the catalog or the job."),
    _column("kind", sa.String(32), "What happened: added, updated, retired, ..."),
    _column("occurred_at", _TIME, "When it was recorded; order by occurred_at, id."),
    _column("changes", Json, "Path of each changed value, with old and new."),
    _optional("payload", Json, "The model's object after the event."),
    _column(
        "baseline",
        sa.Boolean,
        "Whether the event belongs to the source's first list.",
        default=False,
    ),
    sa.Index(None, "source", "model_id"),
    sa.Index(None, "source", "kind", "occurred_at", "id"),
    sa.Index(None, "occurred_at", "id"),
    comment="What changed: enough to rebuild the catalog of any time.",
)

model_event_payloads = sa.Table(
    "model_event_payloads",
    metadata,
    _column(
        "event_id",
        _BIG_ID,
        "The schema_changed event.",
        sa.ForeignKey("model_events.id"),
        primary_key=True,
        autoincrement=False,
    ),
    _column("model_id", _MODEL_ID, "The model.", primary_key=True),
    _column("payload", Json, "The model's object after the event."),
    comment="The models' objects after an event that concerns the whole catalog.",
)

alert_deliveries = sa.Table(
    "alert_deliveries",
    metadata,
    _column("id", _BIG_ID, "Identifies the delivery.", primary_key=True),
    _column("event_id", sa.BigInteger, "The event.", sa.ForeignKey("model_events.id")),
    _column("channel", sa.String(64), "Name of the channel that the event is sent to."),
    _column("status", sa.String(16), "pending, delivered or failed."),
    _number("attempts", "How often it was sent."),
    _optional("next_attempt_at", _TIME, "When a pending delivery is due."),
    _optional("delivered_at", _TIME, "When the receiver accepted it."),
    _optional("last_error", sa.Text, "Why the last attempt failed."),
    _number("refusals", "How many attempts the receiver refused."),
    _optional(
        "message_id",
        sa.String(64),
        "The message that carries it, with others; NULL before the first attempt.",
    ),
    sa.UniqueConstraint("event_id", "channel"),
    sa.Index(None, "status", "next_attempt_at"),
    sa.Index(None, "status", "channel", "event_id"),
    sa.Index(None, "delivered_at"),
    comment="The outbox: alerts to send, one row per event and channel.",
)

alert_channels = sa.Table(
    "alert_channels",
    metadata,
    _column("name", sa.String(64), "The channel's name.", primary_key=True),
    _column("started_at", _TIME, "Events recorded earlier are not sent to the channel."),
    _optional(
        "enqueued_until",
        _TIME,
        "Events up to this time were matched with the channel's rules.",
    ),
    comment="The alert channels: since when each one is notified.",
)

TABLES = tuple(table.name for table in metadata.sorted_tables)
