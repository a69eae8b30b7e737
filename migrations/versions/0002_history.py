"""History that grows: indexes, run numbers, JSON that can be searched, one row per object.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-26

A filled database of version 0.1 keeps every row. Skipped runs stay as rows until the
retention period ends; new ones are no longer recorded.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql, postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KINDS = (
    "'added', 'updated', 'deprecated', 'rescheduled', 'retired', 'retiring', 'removed', "
    "'returned', 'schema_changed', 'sync_failed', 'sync_recovered', 'sync_held'"
)
KINDS_0001 = KINDS.replace("'rescheduled', ", "")
MODEL_COLUMNS = (
    "source, id, display_name, created_at, type, lifecycle, deprecated_at, retires_at, line, "
    "max_input_tokens, max_tokens, payload, first_seen_at, last_seen_at, missing_since"
)
# DuckDB's SQLite has no clock: its "now" is thousands of years ago. The time of the last sync
# replaces it.
SQLITE_NOW = (
    "(SELECT CASE WHEN strftime('%Y-%m-%d %H:%M:%f', 'now') > '2000' "
    "THEN strftime('%Y-%m-%d %H:%M:%f', 'now') "
    "ELSE (SELECT max(last_synced_at) FROM sources) END AS now)"
)
RETIRING = {  # days are calendar days in UTC
    "sqlite": (
        "CAST(julianday(substr(retires_at, 1, 10)) - julianday(substr(now, 1, 10)) AS INTEGER)",
        f"models CROSS JOIN {SQLITE_NOW} AS clock",
        "now",
    ),
    "postgresql": (
        "(retires_at AT TIME ZONE 'UTC')::date - (now() AT TIME ZONE 'UTC')::date",
        "models",
        "now()",
    ),
    "mysql": ("DATEDIFF(retires_at, UTC_TIMESTAMP())", "models", "UTC_TIMESTAMP(6)"),
}

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
ZERO = {"nullable": False, "server_default": sa.text("0")}

# Every table after this revision: table → comment, columns. A column's comment is its
# last item.
TABLES: dict[str, tuple[str, list[tuple[str, Any, dict[str, Any], str]]]] = {
    "sources": (
        "The sources: whose catalog, who is syncing it, how fresh it is.",
        [
            ("name", sa.String(64), {"nullable": False}, "The source's name in the configuration."),
            ("base_url", sa.Text, {"nullable": False}, "Address of the source's API."),
            ("scope", sa.Text, {}, "Organization and workspace that answered last; - for unknown."),
            (
                "lease_run_id",
                sa.BigInteger,
                {},
                "The run that holds the source; NULL while none does.",
            ),
            (
                "lease_expires_at",
                TIME,
                {},
                "When another run may take the source over (database's clock).",
            ),
            ("baseline_at", TIME, {}, "The first complete list; NULL before it."),
            ("last_synced_at", TIME, {}, "The last run whose result was applied."),
            ("lease_seconds", sa.Integer, {}, "Length of the lease that is held."),
            ("runs", sa.Integer, ZERO, "Number of runs begun; numbers the next one."),
            (
                "last_recorded_at",
                TIME,
                {},
                "The latest time recorded; later rows are never earlier.",
            ),
            (
                "clock_offset_seconds",
                sa.Integer,
                {},
                "Host's clock minus the API's clock at the last run; NULL when unknown.",
            ),
            ("pruned_succeeded", sa.Integer, ZERO, "Succeeded runs that retention deleted."),
            ("pruned_held", sa.Integer, ZERO, "Held runs that retention deleted."),
            ("pruned_failed", sa.Integer, ZERO, "Failed runs that retention deleted."),
            ("pruned_delivered", sa.Integer, ZERO, "Delivered alerts that retention deleted."),
        ],
    ),
    "sync_runs": (
        "Runs of the sync, one row per source and run.",
        [
            ("id", BIG_ID, {"nullable": False}, "Identifies the run; no order in time."),
            ("source", sa.String(64), {"nullable": False}, "The source's name."),
            (
                "status",
                sa.String(16),
                {"nullable": False},
                "running, succeeded, held, failed (skipped: version 0.1 only).",
            ),
            (
                "baseline",
                sa.Boolean,
                {"nullable": False},
                "Whether this run recorded the source's first list.",
            ),
            ("started_at", TIME, {"nullable": False}, "When the run began."),
            ("finished_at", TIME, {}, "When the run ended; NULL while it is running."),
            ("pages", sa.Integer, {}, "Pages of the list; NULL without one."),
            ("models", sa.Integer, {}, "Length of the list that was applied."),
            ("added", sa.Integer, {"nullable": False}, "Number of added events."),
            ("updated", sa.Integer, {"nullable": False}, "Number of updated events."),
            ("removed", sa.Integer, {"nullable": False}, "Number of removed events."),
            ("returned", sa.Integer, {"nullable": False}, "Number of returned events."),
            ("error", sa.Text, {}, "Why the run failed or was held."),
            ("error_code", sa.String(32), {}, "The kind of the error."),
            (
                "number",
                sa.Integer,
                ZERO,
                "Number of the run within its source: the order of its runs.",
            ),
        ],
    ),
    "models": (
        "Every model ever listed, as the API described it last; rows are never deleted.",
        [
            ("source", sa.String(64), {"nullable": False}, "The source's name."),
            ("id", sa.String(255), {"nullable": False}, "The model's id, compared exactly."),
            (
                "display_name",
                sa.Text,
                {"nullable": False},
                "The model's name, as the API sent it.",
            ),
            (
                "created_at",
                TIME,
                {"nullable": False},
                "Release time; an epoch value when unknown.",
            ),
            ("type", sa.Text, {"nullable": False}, "The object's type, as the API sent it."),
            (
                "lifecycle",
                sa.Text,
                {},
                "active, deprecated or retired; NULL when the API does not say.",
            ),
            ("deprecated_at", TIME, {}, "When the model was deprecated."),
            ("retires_at", TIME, {}, "Planned retirement; a past one is overdue, not done."),
            ("line", sa.Text, {}, "The model's line, as the API sent it."),
            ("max_input_tokens", sa.BigInteger, {}, "Largest input, in tokens."),
            ("max_tokens", sa.BigInteger, {}, "Largest output, in tokens."),
            ("payload", JSON, {"nullable": False}, "The whole object as received."),
            ("first_seen_at", TIME, {"nullable": False}, "When a list first showed the model."),
            ("last_seen_at", TIME, {"nullable": False}, "When a list last showed the model."),
            (
                "missing_since",
                TIME,
                {},
                "The first complete list without it; NULL while it is listed.",
            ),
            ("removed_at", TIME, {}, "When it was confirmed gone; NULL while it is listed."),
        ],
    ),
    "model_events": (
        "What changed: enough to rebuild the catalog of any time.",
        [
            ("id", BIG_ID, {"nullable": False}, "Identifies the event; no order in time."),
            ("run_id", sa.BigInteger, {"nullable": False}, "Its run."),
            ("source", sa.String(64), {"nullable": False}, "The source's name."),
            ("model_id", sa.String(255), {}, "The model; NULL for the catalog or the job."),
            (
                "kind",
                sa.String(32),
                {"nullable": False},
                "What happened: added, updated, retired, ...",
            ),
            (
                "occurred_at",
                TIME,
                {"nullable": False},
                "When it was recorded; order by occurred_at, id.",
            ),
            ("changes", JSON, {"nullable": False}, "Path of each changed value, with old and new."),
            ("payload", JSON, {}, "The model's object after the event."),
            (
                "baseline",
                sa.Boolean,
                {"nullable": False, "server_default": sa.false()},
                "Whether the event belongs to the source's first list.",
            ),
        ],
    ),
    "model_event_payloads": (
        "The models' objects after an event that concerns the whole catalog.",
        [
            ("event_id", BIG_ID, {"nullable": False}, "The schema_changed event."),
            ("model_id", sa.String(255), {"nullable": False}, "The model."),
            ("payload", JSON, {"nullable": False}, "The model's object after the event."),
        ],
    ),
    "alert_deliveries": (
        "The outbox: alerts to send, one row per event and channel.",
        [
            ("id", BIG_ID, {"nullable": False}, "Identifies the delivery."),
            ("event_id", sa.BigInteger, {"nullable": False}, "The event."),
            (
                "channel",
                sa.String(64),
                {"nullable": False},
                "Name of the channel that the event is sent to.",
            ),
            ("status", sa.String(16), {"nullable": False}, "pending, delivered or failed."),
            ("attempts", sa.Integer, {"nullable": False}, "How often it was sent."),
            ("next_attempt_at", TIME, {}, "When a pending delivery is due."),
            ("delivered_at", TIME, {}, "When the receiver accepted it."),
            ("last_error", sa.Text, {}, "Why the last attempt failed."),
            ("refusals", sa.Integer, ZERO, "How many attempts the receiver refused."),
            (
                "message_id",
                sa.String(64),
                {},
                "The message that carries it, with others; NULL before the first attempt.",
            ),
        ],
    ),
    "alert_channels": (
        "The alert channels: since when each one is notified.",
        [
            ("name", sa.String(64), {"nullable": False}, "The channel's name."),
            (
                "started_at",
                TIME,
                {"nullable": False},
                "Events recorded earlier are not sent to the channel.",
            ),
            (
                "enqueued_until",
                TIME,
                {},
                "Events up to this time were matched with the channel's rules.",
            ),
        ],
    ),
}
ADDED = {
    "sources": (
        *("lease_seconds", "runs", "last_recorded_at", "clock_offset_seconds"),
        *("pruned_succeeded", "pruned_held", "pruned_failed", "pruned_delivered"),
    ),
    "sync_runs": ("error_code", "number"),
    "model_events": ("baseline",),
    "alert_deliveries": ("refusals", "message_id"),
}
INDEXES = {
    "sync_runs": (("source", "number"), ("source", "status", "number")),
    "model_events": (
        ("run_id",),
        ("source", "model_id"),
        ("source", "kind", "occurred_at", "id"),
        ("occurred_at", "id"),
    ),
    "alert_deliveries": (
        ("status", "next_attempt_at"),
        ("status", "channel", "event_id"),
        ("delivered_at",),
    ),
}
INDEXES_0001 = {
    "sync_runs": (("source", "id"),),
    "model_events": (("run_id",), ("source", "model_id"), ("occurred_at",)),
    "alert_deliveries": (("status", "next_attempt_at"),),
}
CONSTRAINTS: dict[str, Any] = {
    "model_events": lambda: (
        sa.PrimaryKeyConstraint("id", name="pk_model_events"),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sync_runs.id"], name="fk_model_events_run_id_sync_runs"
        ),
        sa.ForeignKeyConstraint(
            ["source"], ["sources.name"], name="fk_model_events_source_sources"
        ),
    ),
    "model_event_payloads": lambda: (
        sa.PrimaryKeyConstraint("event_id", "model_id", name="pk_model_event_payloads"),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["model_events.id"],
            name="fk_model_event_payloads_event_id_model_events",
        ),
    ),
    "alert_deliveries": lambda: (
        sa.PrimaryKeyConstraint("id", name="pk_alert_deliveries"),
        sa.UniqueConstraint("event_id", "channel", name="uq_alert_deliveries_event_id_channel"),
        sa.ForeignKeyConstraint(
            ["event_id"], ["model_events.id"], name="fk_alert_deliveries_event_id_model_events"
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'failed')",
            name=op.f("ck_alert_deliveries_status"),
        ),
    ),
    "alert_channels": lambda: (sa.PrimaryKeyConstraint("name", name="pk_alert_channels"),),
}
_BATCH = 500


def upgrade() -> None:
    """Upgrade a database of version 0.1. An interrupted upgrade can be continued."""
    bind, family = op.get_bind(), _family()
    for view in ("retiring_models", "current_models"):
        op.execute(f"DROP VIEW IF EXISTS {view}")
    for table, names in ADDED.items():
        if not (family == "sqlite" and table == "model_events"):  # created again below
            _add_columns(table, names)
    _create("alert_channels")
    if family == "sqlite":
        _rebuild(KINDS, [name for name, *_ in TABLES["model_events"][1]])
    else:
        _check_kinds(KINDS)
    if family == "postgresql":
        for table, column in (
            *(("models", "payload"), ("model_events", "changes"), ("model_events", "payload")),
        ):
            op.execute(f"ALTER TABLE {table} ALTER {column} TYPE jsonb USING {column}::jsonb")
        # Leaves room for the next `last_seen_at` on the row's page, so no index entry is added.
        op.execute("ALTER TABLE models SET (fillfactor = 45)")
    _create("model_event_payloads")
    _number_runs(bind)
    _fill(bind)
    _move_payloads(bind)
    _indexes(INDEXES, INDEXES_0001)
    _comment(comments=True)
    _views(family)


def downgrade() -> None:
    """Downgrade to version 0.1. Data that only this revision can store is dropped."""
    bind, family = op.get_bind(), _family()
    for view in ("retiring_models", "current_models"):
        op.execute(f"DROP VIEW IF EXISTS {view}")
    op.execute("UPDATE model_events SET kind = 'updated' WHERE kind = 'rescheduled'")
    _restore_payloads(bind)
    op.drop_table("model_event_payloads")
    op.drop_table("alert_channels")
    if family == "sqlite":
        _indexes({}, {"sync_runs": INDEXES["sync_runs"]})
        names = [name for name, *_ in TABLES["model_events"][1] if name != "baseline"]
        _rebuild(KINDS_0001, names)
    else:
        _check_kinds(KINDS_0001)
        _indexes(INDEXES_0001, INDEXES)
    for table, names in ADDED.items():
        for name in names:
            if not (family == "sqlite" and table == "model_events"):
                op.drop_column(table, name)
    if family == "sqlite":
        _indexes(INDEXES_0001, {})
    if family == "postgresql":
        for table, column in (
            *(("models", "payload"), ("model_events", "changes"), ("model_events", "payload")),
        ):
            op.execute(f"ALTER TABLE {table} ALTER {column} TYPE json USING {column}::json")
        op.execute("ALTER TABLE models RESET (fillfactor)")
    _comment(comments=False)
    _views(family)


def _family() -> str:
    name = op.get_bind().dialect.name
    return "mysql" if name in {"mysql", "mariadb"} else name


def _column(table: str, name: str, *, comment: bool = True) -> sa.Column[Any]:
    """Return a new column as TABLES describes it."""
    for known, kind, options, text in TABLES[table][1]:
        if known == name:
            # An id that the database assigns is the only key of its table.
            numbered = name == "id" and table != "models"
            return sa.Column(
                name,
                kind,
                comment=text if comment else None,
                autoincrement=True if numbered else "auto",
                **options,
            )
    raise KeyError(name)


def _create(table: str, name: str | None = None, *, columns: list[str] | None = None) -> None:
    """Create a table as TABLES describes it, under another name if one is given."""
    dialect = op.get_bind().dialect
    options: dict[str, Any] = {"if_not_exists": True, "comment": TABLES[table][0]}
    if _family() == "mysql":
        maria = bool(getattr(dialect, "is_mariadb", False))
        options[f"{dialect.name}_charset"] = "utf8mb4"
        options[f"{dialect.name}_collate"] = "utf8mb4_nopad_bin" if maria else "utf8mb4_0900_bin"
        options[f"{dialect.name}_engine"] = "InnoDB"
    names = columns or [known for known, *_ in TABLES[table][1]]
    op.create_table(
        name or table,
        *(_column(table, column) for column in names),
        *CONSTRAINTS[table](),
        **options,
    )


def _add_columns(table: str, names: tuple[str, ...]) -> None:
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)}
    for name in names:
        if name not in there:
            op.add_column(table, _column(table, name, comment=False))


def _check_kinds(kinds: str) -> None:
    """Replace the CHECK of the kinds, where a table can be altered."""
    inspector = sa.inspect(op.get_bind())
    names = {check["name"] for check in inspector.get_check_constraints("model_events")}
    if "ck_model_events_kind" in names:
        op.execute("ALTER TABLE model_events DROP CONSTRAINT ck_model_events_kind")
    op.execute(
        f"ALTER TABLE model_events ADD CONSTRAINT ck_model_events_kind CHECK (kind IN ({kinds}))"
    )


def _rebuild(kinds: str, columns: list[str]) -> None:
    """Create `model_events` again with another CHECK, because SQLite cannot alter one.

    The deliveries refer to the events, so they are moved away and back.
    """
    op.execute("CREATE TABLE catalog_sync_deliveries AS SELECT * FROM alert_deliveries")
    op.drop_table("alert_deliveries")
    op.create_table(
        "catalog_sync_events",
        *(_column("model_events", name) for name in columns),
        *CONSTRAINTS["model_events"](),
        sa.CheckConstraint(f"kind IN ({kinds})", name=op.f("ck_model_events_kind")),
    )
    kept = ", ".join(name for name in columns if name != "baseline")
    op.execute(f"INSERT INTO catalog_sync_events ({kept}) SELECT {kept} FROM model_events")  # noqa: S608
    op.drop_table("model_events")
    op.rename_table("catalog_sync_events", "model_events")
    _create("alert_deliveries")
    op.execute("INSERT INTO alert_deliveries SELECT * FROM catalog_sync_deliveries")
    op.drop_table("catalog_sync_deliveries")


def _number_runs(bind: sa.Connection) -> None:
    """Number the runs of each source in the order of their ids, in batches."""
    runs = sa.table("sync_runs", sa.column("id"), sa.column("source"), sa.column("number"))
    sources = sa.table("sources", sa.column("name"), sa.column("runs"))
    update = sa.update(runs).where(runs.c.id == sa.bindparam("key"))
    update = update.values(number=sa.bindparam("given"))
    for name in bind.scalars(sa.select(sources.c.name)).all():
        ids = bind.scalars(sa.select(runs.c.id).where(runs.c.source == name).order_by(runs.c.id))
        numbered = [{"key": id_, "given": number} for number, id_ in enumerate(ids.all(), 1)]
        for start in range(0, len(numbered), _BATCH):
            bind.execute(update, numbered[start : start + _BATCH])
        bind.execute(sa.update(sources).where(sources.c.name == name).values(runs=len(numbered)))


def _fill(bind: sa.Connection) -> None:
    """Fill the new columns from the rows of version 0.1."""
    runs = sa.table("sync_runs", *map(sa.column, ("id", "baseline", "status", "error")))
    added = sa.table("model_events", *map(sa.column, ("kind", "run_id", "baseline")))
    first = sa.select(runs.c.id).where(runs.c.baseline == sa.true())
    bind.execute(
        sa.update(added)
        .where(added.c.kind == "added", added.c.run_id.in_(first))
        .values(baseline=sa.true())
    )
    bind.execute(
        sa.text(
            "UPDATE sync_runs SET error_code = 'interrupted' "
            "WHERE status = 'failed' AND error = 'interrupted'"
        )
    )
    sources = sa.table(
        "sources",
        sa.column("name"),
        sa.column("last_synced_at", TIME),
        sa.column("last_recorded_at", TIME),
    )
    events = sa.table("model_events", sa.column("source"), sa.column("occurred_at", TIME))
    latest = dict(
        bind.execute(
            sa.select(events.c.source, sa.func.max(events.c.occurred_at)).group_by(events.c.source)
        ).all()
    )
    for name, synced_at in bind.execute(sa.select(sources.c.name, sources.c.last_synced_at)).all():
        known = [time for time in (synced_at, latest.get(name)) if time is not None]
        bind.execute(
            sa.update(sources)
            .where(sources.c.name == name)
            .values(last_recorded_at=max(known, default=None))
        )


def _events() -> Any:
    return sa.table("model_events", sa.column("id"), sa.column("kind"), sa.column("payload", JSON))


def _payloads() -> Any:
    return sa.table(
        "model_event_payloads",
        sa.column("event_id"),
        sa.column("model_id"),
        sa.column("payload", JSON),
    )


def _move_payloads(bind: sa.Connection) -> None:
    """Move each object of a catalog-wide event into a separate row."""
    events, payloads = _events(), _payloads()
    whole = sa.and_(events.c.kind == "schema_changed", events.c.payload.is_not(None))
    for id_ in bind.scalars(sa.select(events.c.id).where(whole)).all():
        found = bind.scalar(sa.select(events.c.payload).where(events.c.id == id_))
        found = json.loads(found) if isinstance(found, str) else found
        rows = [
            {"event_id": id_, "model_id": model_id, "payload": payload}
            for model_id, payload in (found or {}).items()
        ]
        bind.execute(sa.delete(payloads).where(payloads.c.event_id == id_))
        for start in range(0, len(rows), _BATCH):
            bind.execute(sa.insert(payloads), rows[start : start + _BATCH])
        bind.execute(sa.update(events).where(events.c.id == id_).values(payload=sa.null()))


def _restore_payloads(bind: sa.Connection) -> None:
    """Move the objects of each catalog-wide event back into the row of the event."""
    events, payloads = _events(), _payloads()
    rows = bind.execute(sa.select(payloads).order_by(payloads.c.event_id)).all()
    for id_, group in groupby(rows, key=lambda row: row.event_id):
        whole = {row.model_id: row.payload for row in group}
        bind.execute(sa.update(events).where(events.c.id == id_).values(payload=whole))


def _indexes(wanted: dict[str, Any], unwanted: dict[str, Any]) -> None:
    """Create the wanted indexes first: MariaDB needs one for each foreign key at any time."""
    inspector = sa.inspect(op.get_bind())

    def named(tables: dict[str, Any]) -> dict[str, tuple[str, tuple[str, ...]]]:
        return {
            f"ix_{table}_{'_'.join(columns)}": (table, columns)
            for table, indexes in tables.items()
            for columns in indexes
        }

    keep, drop = named(wanted), named(unwanted)
    there = {
        index["name"] for table in {*wanted, *unwanted} for index in inspector.get_indexes(table)
    }
    for name, (table, columns) in keep.items():
        if name not in there:
            op.create_index(name, table, list(columns))
    for name, (table, _) in drop.items():
        if name in there and name not in keep:
            op.drop_index(name, table_name=table)


def _comment(*, comments: bool) -> None:
    """Set the comments of all tables and columns, or remove them; SQLite has none."""
    bind, family = op.get_bind(), _family()
    if family == "sqlite":
        return
    for table, (about, columns) in TABLES.items():
        added = ADDED.get(table, ())
        if not comments and table in {"model_event_payloads", "alert_channels"}:
            continue  # dropped
        names = [name for name, *_ in columns if comments or name not in added]
        text = about if comments else ""
        if family == "postgresql":
            op.execute(f"COMMENT ON TABLE {table} IS {_quoted(text)}")
            for name in names:
                said = str(_column(table, name).comment) if comments else ""
                op.execute(f"COMMENT ON COLUMN {table}.{name} IS {_quoted(said)}")
            continue
        fresh = sa.Table(
            table,
            sa.MetaData(),
            *(_column(table, name, comment=comments) for name in names),
            sa.PrimaryKeyConstraint(*_keys(table)),
        )
        parts = [
            f"MODIFY {sa.schema.CreateColumn(column).compile(dialect=bind.dialect)}"
            for column in fresh.columns
        ]
        op.execute(f"ALTER TABLE {table} {', '.join(parts)}, COMMENT = {_quoted(text)}")


def _keys(table: str) -> list[str]:
    keys = {"models": ["source", "id"], "model_event_payloads": ["event_id", "model_id"]}
    return keys.get(table, [TABLES[table][1][0][0]])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _views(family: str) -> None:
    create = "CREATE VIEW IF NOT EXISTS" if family == "sqlite" else "CREATE OR REPLACE VIEW"
    days_left, tables, now = RETIRING[family]
    op.execute(
        f"{create} current_models AS SELECT {MODEL_COLUMNS} FROM models WHERE removed_at IS NULL"  # noqa: S608
    )
    op.execute(
        f"{create} retiring_models AS "  # noqa: S608
        "SELECT source, id, display_name, lifecycle, deprecated_at, retires_at, "
        f"{days_left} AS days_left FROM {tables} "
        "WHERE removed_at IS NULL AND (lifecycle IS NULL OR lifecycle <> 'retired') "
        f"AND retires_at > {now}"
    )
