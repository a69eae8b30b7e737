"""The catalog: models, their events, the runs that recorded them, and the alerts to send.

Revision ID: 0001
Revises:
Create Date: 2026-11-23
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# Days are calendar days in UTC, as a person counts them: tomorrow is one day left.
DAYS_LEFT = {
    "sqlite": (
        # With a time of day, SQLite would round the last millisecond into the next day.
        "CAST(julianday(substr(retires_at, 1, 10)) - julianday(date('now')) AS INTEGER)"
    ),
    "postgresql": "(retires_at AT TIME ZONE 'UTC')::date - (now() AT TIME ZONE 'UTC')::date",
    "mysql": "DATEDIFF(retires_at, UTC_TIMESTAMP())",
}
NOW = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
    "postgresql": "now()",
    "mysql": "UTC_TIMESTAMP(6)",
}


def upgrade() -> None:
    """Create the tables and the views."""
    dialect = op.get_bind().dialect
    family = "mysql" if dialect.name in {"mysql", "mariadb"} else dialect.name
    instant = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    big_id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    json = sa.JSON(none_as_null=True)

    def create_table(name: str, *items: Any) -> None:
        # MariaDB and MySQL commit each statement: an interrupted set-up is continued.
        options: dict[str, Any] = {"if_not_exists": True}
        if family == "mysql":
            # Ids compare exactly, trailing blanks included, which utf8mb4_bin does not do.
            maria = bool(getattr(dialect, "is_mariadb", False))
            options[f"{dialect.name}_charset"] = "utf8mb4"
            options[f"{dialect.name}_collate"] = (
                "utf8mb4_nopad_bin" if maria else "utf8mb4_0900_bin"
            )
            options[f"{dialect.name}_engine"] = "InnoDB"
        op.create_table(name, *items, **options)

    def create_index(name: str, table: str, *columns: str) -> None:
        if name not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
            op.create_index(name, table, columns)

    create_table(
        "sources",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("base_url", sa.Text, nullable=False),
        sa.Column("scope", sa.Text),
        sa.Column("lease_run_id", sa.BigInteger),
        sa.Column("lease_expires_at", instant),
        sa.Column("baseline_at", instant),
        sa.Column("last_synced_at", instant),
        sa.PrimaryKeyConstraint("name", name="pk_sources"),
    )
    create_table(
        "sync_runs",
        sa.Column("id", big_id, nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("baseline", sa.Boolean, nullable=False),
        sa.Column("started_at", instant, nullable=False),
        sa.Column("finished_at", instant),
        sa.Column("pages", sa.Integer),
        sa.Column("models", sa.Integer),
        sa.Column("added", sa.Integer, nullable=False),
        sa.Column("updated", sa.Integer, nullable=False),
        sa.Column("removed", sa.Integer, nullable=False),
        sa.Column("returned", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_sync_runs"),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name="fk_sync_runs_source_sources"),
        sa.CheckConstraint(
            "status IN ('running', 'succeeded', 'held', 'failed', 'skipped')",
            name=op.f("ck_sync_runs_status"),
        ),
    )
    create_table(
        "models",
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("created_at", instant, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("lifecycle", sa.Text),
        sa.Column("deprecated_at", instant),
        sa.Column("retires_at", instant),
        sa.Column("line", sa.Text),
        sa.Column("max_input_tokens", sa.BigInteger),
        sa.Column("max_tokens", sa.BigInteger),
        sa.Column("payload", json, nullable=False),
        sa.Column("first_seen_at", instant, nullable=False),
        sa.Column("last_seen_at", instant, nullable=False),
        sa.Column("missing_since", instant),
        sa.Column("removed_at", instant),
        sa.PrimaryKeyConstraint("source", "id", name="pk_models"),
        sa.ForeignKeyConstraint(["source"], ["sources.name"], name="fk_models_source_sources"),
    )
    create_table(
        "model_events",
        sa.Column("id", big_id, nullable=False),
        sa.Column("run_id", sa.BigInteger, nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("model_id", sa.String(255)),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("occurred_at", instant, nullable=False),
        sa.Column("changes", json, nullable=False),
        sa.Column("payload", json),
        sa.PrimaryKeyConstraint("id", name="pk_model_events"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sync_runs.id"], name="fk_model_events_run_id_sync_runs"
        ),
        sa.ForeignKeyConstraint(
            ["source"], ["sources.name"], name="fk_model_events_source_sources"
        ),
        sa.CheckConstraint(
            "kind IN ('added', 'updated', 'deprecated', 'retired', 'retiring', 'removed', "
            "'returned', 'schema_changed', 'sync_failed', 'sync_recovered', 'sync_held')",
            name=op.f("ck_model_events_kind"),
        ),
    )
    create_table(
        "alert_deliveries",
        sa.Column("id", big_id, nullable=False),
        sa.Column("event_id", sa.BigInteger, nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", instant),
        sa.Column("delivered_at", instant),
        sa.Column("last_error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_alert_deliveries"),
        sa.UniqueConstraint("event_id", "channel", name="uq_alert_deliveries_event_id_channel"),
        sa.ForeignKeyConstraint(
            ["event_id"], ["model_events.id"], name="fk_alert_deliveries_event_id_model_events"
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'failed')",
            name=op.f("ck_alert_deliveries_status"),
        ),
    )

    create_index("ix_sync_runs_source_id", "sync_runs", "source", "id")
    create_index("ix_model_events_source_model_id", "model_events", "source", "model_id")
    create_index("ix_model_events_occurred_at", "model_events", "occurred_at")
    create_index("ix_model_events_run_id", "model_events", "run_id")
    create_index(
        "ix_alert_deliveries_status_next_attempt_at",
        "alert_deliveries",
        "status",
        "next_attempt_at",
    )

    create_view = "CREATE VIEW IF NOT EXISTS" if family == "sqlite" else "CREATE OR REPLACE VIEW"
    columns = (
        "source, id, display_name, created_at, type, lifecycle, deprecated_at, retires_at, line, "
        "max_input_tokens, max_tokens, payload, first_seen_at, last_seen_at, missing_since"
    )
    op.execute(
        f"{create_view} current_models AS SELECT {columns} FROM models WHERE removed_at IS NULL"  # noqa: S608
    )
    op.execute(
        f"{create_view} retiring_models AS "  # noqa: S608
        "SELECT source, id, display_name, lifecycle, deprecated_at, retires_at, "
        f"{DAYS_LEFT[family]} AS days_left FROM models "
        "WHERE removed_at IS NULL AND (lifecycle IS NULL OR lifecycle <> 'retired') "
        f"AND retires_at > {NOW[family]}"
    )


def downgrade() -> None:
    """Drop all tables and views, with every record."""
    for view in ("retiring_models", "current_models"):
        op.execute(f"DROP VIEW IF EXISTS {view}")
    for table in ("alert_deliveries", "model_events", "models", "sync_runs", "sources"):
        op.drop_table(table)
