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
_SHARED_TIMES = 1000
VIEWS = ("current_models", "retiring_models")


class UtcDateTime(sa.TypeDecorator[datetime]):
    """An aware datetime, in UTC; databases without time zones store UTC. A naive one raises."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        """Convert a time once that many rows share."""
        process = super().bind_processor(dialect)
        if process is None:
            return None
        shared = lru_cache(maxsize=_SHARED_TIMES)(process)

        def processed(value: datetime | None) -> Any:
            # Equal times of UTC are the same; those of other zones may be two hours with one name.
            return (shared if value is None or value.tzinfo is UTC else process)(value)

        return processed

    def result_processor(self, dialect: sa.Dialect, coltype: Any) -> Any:
        """Convert a time once that many rows share."""
        process = super().result_processor(dialect, coltype)
        return process and lru_cache(maxsize=_SHARED_TIMES)(process)

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        """Keep microseconds on MariaDB, which cuts them by default."""
        if dialect.name in {"mysql", "mariadb"}:
            from sqlalchemy.dialects import mysql  # noqa: PLC0415  # heavy: six drivers' dialects

            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Send UTC; drop the zone where the database has none."""
        if value is None:
            return None
        utc = to_utc(value)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Return UTC, whatever the time zone of the connection."""
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
        return dialect.type_descriptor(sa.JSON(none_as_null=True))


# SQLite numbers only INTEGER keys by itself.
_BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_MODEL_ID = sa.String(255)
_SOURCE = sa.String(64)

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _column(name: str, kind: Any, *constraints: Any, comment: str, **options: Any) -> Any:
    """Return a column that has a value in every row, unless `nullable` says otherwise."""
    return sa.Column(name, kind, *constraints, comment=comment, **{"nullable": False, **options})


def _number(name: str, comment: str) -> Any:
    return _column(name, sa.Integer, comment=comment, default=0, server_default=sa.text("0"))


def _flag(name: str, comment: str, **options: Any) -> Any:
    return _column(name, sa.Boolean, comment=comment, default=False, **options)


def _time(name: str, comment: str, *, nullable: bool = True) -> Any:
    return _column(name, UtcDateTime, comment=comment, nullable=nullable)


def _text(name: str, comment: str, *, nullable: bool = True) -> Any:
    return _column(name, sa.Text, comment=comment, nullable=nullable)


def _source(comment: str = "The source's name.", **options: Any) -> Any:
    return _column("source", _SOURCE, sa.ForeignKey("sources.name"), comment=comment, **options)


sources = sa.Table(
    "sources",
    metadata,
    _column("name", _SOURCE, primary_key=True, comment="The source's name in the configuration."),
    _text("base_url", "Address of the source's API.", nullable=False),
    _text("scope", "Organization and workspace that answered last; - for unknown."),
    _column(
        "lease_run_id",
        sa.BigInteger,
        nullable=True,
        comment="The run that holds the source; NULL while none does.",
    ),
    _time("lease_expires_at", "When another run may take the source over (database's clock)."),
    _time("baseline_at", "The first complete list; NULL before it."),
    _time("last_synced_at", "The last run whose result was applied."),
    _column(
        "lease_seconds", sa.Integer, nullable=True, comment="Length of the lease that is held."
    ),
    _number("runs", "Number of runs begun; numbers the next one."),
    _time("last_recorded_at", "The latest time recorded; later rows are never earlier."),
    _column(
        "clock_offset_seconds",
        sa.Integer,
        nullable=True,
        comment="Host's clock minus the API's clock at the last run; NULL when unknown.",
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
    _column("id", _BIG_ID, primary_key=True, comment="Identifies the run; no order in time."),
    _source(),
    _column(
        "status",
        sa.String(16),
        comment="running, succeeded, held, failed (skipped: version 0.1 only).",
    ),
    _flag("baseline", "Whether this run recorded the source's first list."),
    _time("started_at", "When the run began.", nullable=False),
    _time("finished_at", "When the run ended; NULL while it is running."),
    _column("pages", sa.Integer, nullable=True, comment="Pages of the list; NULL without one."),
    _column("models", sa.Integer, nullable=True, comment="Length of the list that was applied."),
    _column("added", sa.Integer, default=0, comment="Number of added events."),
    _column("updated", sa.Integer, default=0, comment="Number of updated events."),
    _column("removed", sa.Integer, default=0, comment="Number of removed events."),
    _column("returned", sa.Integer, default=0, comment="Number of returned events."),
    _text("error", "Why the run failed or was held."),
    _column("error_code", sa.String(32), nullable=True, comment="The kind of the error."),
    _number("number", "Number of the run within its source: the order of its runs."),
    sa.Index(None, "source", "number"),
    sa.Index(None, "source", "status", "number"),
    comment="Runs of the sync, one row per source and run.",
)

models = sa.Table(
    "models",
    metadata,
    _source(primary_key=True),
    _column("id", _MODEL_ID, primary_key=True, comment="The model's id, compared exactly."),
    _text("display_name", "The model's name, as the API sent it.", nullable=False),
    _time("created_at", "Release time; an epoch value when unknown.", nullable=False),
    _text("type", "The object's type, as the API sent it.", nullable=False),
    _text("lifecycle", "active, deprecated or retired; NULL when the API does not say."),
    _time("deprecated_at", "When the model was deprecated."),
    _time("retires_at", "Planned retirement; a past one is overdue, not done."),
    _text("line", "The model's line, as the API sent it."),
    _column("max_input_tokens", sa.BigInteger, nullable=True, comment="Largest input, in tokens."),
    _column("max_tokens", sa.BigInteger, nullable=True, comment="Largest output, in tokens."),
    _column("payload", Json, comment="The whole object as received."),
    _time("first_seen_at", "When a list first showed the model.", nullable=False),
    _time("last_seen_at", "When a list last showed the model.", nullable=False),
    _time("missing_since", "The first complete list without it; NULL while it is listed."),
    _time("removed_at", "When it was confirmed gone; NULL while it is listed."),
    comment="Every model ever listed, as the API described it last; rows are never deleted.",
)

model_events = sa.Table(
    "model_events",
    metadata,
    _column("id", _BIG_ID, primary_key=True, comment="Identifies the event; no order in time."),
    _column("run_id", sa.BigInteger, sa.ForeignKey("sync_runs.id"), index=True, comment="Its run."),
    _source(),
    _column(
        "model_id", _MODEL_ID, nullable=True, comment="The model; NULL for the catalog or the job."
    ),
    _column("kind", sa.String(32), comment="What happened: added, updated, retired, ..."),
    _time("occurred_at", "When it was recorded; order by occurred_at, id.", nullable=False),
    _column("changes", Json, comment="Path of each changed value, with old and new."),
    _column("payload", Json, nullable=True, comment="The model's object after the event."),
    _flag(
        "baseline",
        "Whether the event belongs to the source's first list.",
        server_default=sa.false(),
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
        sa.BigInteger().with_variant(sa.Integer, "sqlite"),
        sa.ForeignKey("model_events.id"),
        primary_key=True,
        autoincrement=False,
        comment="The schema_changed event.",
    ),
    _column("model_id", _MODEL_ID, primary_key=True, comment="The model."),
    _column("payload", Json, comment="The model's object after the event."),
    comment="The models' objects after an event that concerns the whole catalog.",
)

alert_deliveries = sa.Table(
    "alert_deliveries",
    metadata,
    _column("id", _BIG_ID, primary_key=True, comment="Identifies the delivery."),
    _column("event_id", sa.BigInteger, sa.ForeignKey("model_events.id"), comment="The event."),
    _column("channel", sa.String(64), comment="Name of the channel that the event is sent to."),
    _column("status", sa.String(16), comment="pending, delivered or failed."),
    _column("attempts", sa.Integer, default=0, comment="How often it was sent."),
    _time("next_attempt_at", "When a pending delivery is due."),
    _time("delivered_at", "When the receiver accepted it."),
    _text("last_error", "Why the last attempt failed."),
    _number("refusals", "How many attempts the receiver refused."),
    _column(
        "message_id",
        sa.String(64),
        nullable=True,
        comment="The message that carries it, with others; NULL before the first attempt.",
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
    _column("name", sa.String(64), primary_key=True, comment="The channel's name."),
    _time("started_at", "Events recorded earlier are not sent to the channel.", nullable=False),
    _time("enqueued_until", "Events up to this time were matched with the channel's rules."),
    comment="The alert channels: since when each one is notified.",
)

TABLES = tuple(table.name for table in metadata.sorted_tables)
