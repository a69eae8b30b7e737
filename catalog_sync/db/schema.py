"""The tables, as the program reads and writes them. They are created by the migrations alone.

Times are stored in UTC with microseconds and are aware in Python on every database. Which words a
status or a kind may be, the migrations state as CHECK constraints.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from catalog_sync.clock import to_utc

VERSION_TABLE = "catalog_sync_version"
"""Alembic's table, under a name that lets ours live beside a user's own."""
VIEWS = ("current_models", "retiring_models")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, in UTC; databases without time zones store UTC. A naive one raises."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """MariaDB and MySQL cut fractions of seconds unless told otherwise."""
        if dialect.name in {"mysql", "mariadb"}:
            from sqlalchemy.dialects import mysql  # noqa: PLC0415  # heavy: six drivers' dialects

            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Send UTC; drop the zone where the database has none."""
        if value is None:
            return None
        moment = to_utc(value)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return UTC, whatever zone the connection speaks."""
        if value is None:
            return None
        return value.astimezone(UTC) if dialect.name == "postgresql" else value.replace(tzinfo=UTC)


# SQLite only numbers INTEGER keys by itself.
BigId = Annotated[
    int, mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
]
ModelId = String(255)
SourceName = String(64)
Json = JSON(none_as_null=True)


class Base(DeclarativeBase):
    """Constraints are named from the first day, so that later revisions can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: Json}  # noqa: RUF012


class SourceRow(Base):
    """A source: whose catalog it is, who walks it now, and how fresh it is."""

    __tablename__ = "sources"

    name: Mapped[str] = mapped_column(SourceName, primary_key=True)
    base_url: Mapped[str] = mapped_column(Text)
    scope: Mapped[str | None] = mapped_column(Text)
    """Organisation and workspace that answered last, "-" for unknown; null before an answer."""
    lease_run_id: Mapped[int | None] = mapped_column(BigInteger)
    lease_expires_at: Mapped[datetime | None]
    baseline_at: Mapped[datetime | None]
    last_synced_at: Mapped[datetime | None]


class RunRow(Base):
    """One pass over one source."""

    __tablename__ = "sync_runs"
    __table_args__ = (Index(None, "source", "id"),)

    id: Mapped[BigId]
    source: Mapped[str] = mapped_column(SourceName, ForeignKey("sources.name"))
    status: Mapped[str] = mapped_column(String(16))
    baseline: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    pages: Mapped[int | None]
    models: Mapped[int | None]
    """Length of the list that was applied; null when none was."""
    added: Mapped[int] = mapped_column(default=0)
    updated: Mapped[int] = mapped_column(default=0)
    removed: Mapped[int] = mapped_column(default=0)
    returned: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(Text)


class ModelRow(Base):
    """A model as a source's API described it last. Never deleted."""

    __tablename__ = "models"

    source: Mapped[str] = mapped_column(SourceName, ForeignKey("sources.name"), primary_key=True)
    id: Mapped[str] = mapped_column(ModelId, primary_key=True)
    display_name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    type: Mapped[str] = mapped_column(Text)
    lifecycle: Mapped[str | None] = mapped_column(Text)
    deprecated_at: Mapped[datetime | None]
    retires_at: Mapped[datetime | None]
    line: Mapped[str | None] = mapped_column(Text)
    max_input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    max_tokens: Mapped[int | None] = mapped_column(BigInteger)
    payload: Mapped[dict[str, Any]]
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    missing_since: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]


class EventRow(Base):
    """One thing that changed; the rows of all time rebuild the catalog of any moment."""

    __tablename__ = "model_events"
    __table_args__ = (
        Index(None, "source", "model_id"),
        Index(None, "occurred_at"),
    )

    id: Mapped[BigId]
    run_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("sync_runs.id"), index=True)
    source: Mapped[str] = mapped_column(SourceName, ForeignKey("sources.name"))
    model_id: Mapped[str | None] = mapped_column(ModelId)
    kind: Mapped[str] = mapped_column(String(32))
    occurred_at: Mapped[datetime]
    changes: Mapped[dict[str, Any]]
    payload: Mapped[dict[str, Any] | None]


class DeliveryRow(Base):
    """One alert that one channel is owed."""

    __tablename__ = "alert_deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "channel"),
        Index(None, "status", "next_attempt_at"),
    )

    id: Mapped[BigId]
    event_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("model_events.id"))
    channel: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)


TABLES = tuple(table.name for table in Base.metadata.sorted_tables)
