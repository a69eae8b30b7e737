"""A filled database of version 0.1, built from its revision and its rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import command

from catalog_sync.db import migrate
from catalog_sync.db.schema import metadata

BEGIN = datetime(2026, 5, 1, 9, 30, 0, 123456, UTC)
OBJECTS = {
    id_: {"type": "model", "id": id_, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
    for id_, name in {"claude-a": "Claude Ä", "claude-b ": "Claude B", "claude-c": "C 🦊"}.items()
}
TABLES_0001 = ("sources", "sync_runs", "models", "model_events", "alert_deliveries")
NEW_COLUMNS = {
    "sources": {
        *("lease_seconds", "runs", "last_recorded_at", "clock_offset_seconds"),
        *("pruned_succeeded", "pruned_held", "pruned_failed", "pruned_delivered"),
    },
    "sync_runs": {"error_code", "number"},
    "model_events": {"baseline"},
    "alert_deliveries": {"refusals", "message_id"},
}


def later(hours: int) -> datetime:
    return BEGIN + timedelta(hours=hours)


def _run(id_: int, source: str, status: str, hours: int, **fields: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("added", "updated", "removed", "returned"), 0)
    return {
        "id": id_,
        "source": source,
        "status": status,
        "baseline": False,
        "started_at": later(hours),
        "finished_at": later(hours) + timedelta(seconds=2),
        "pages": None,
        "models": None,
        "error": None,
        **counts,
        **fields,
    }


def _event(id_: int, run_id: int, kind: str, hours: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "run_id": run_id,
        "source": "anthropic",
        "model_id": None,
        "kind": kind,
        "occurred_at": later(hours),
        "changes": {},
        "payload": None,
        **fields,
    }


def _model(id_: str, **fields: Any) -> dict[str, Any]:
    return {
        "source": "anthropic",
        "id": id_,
        "display_name": OBJECTS[id_]["display_name"],
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "type": "model",
        "lifecycle": None,
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "max_input_tokens": 2**40,
        "max_tokens": None,
        "payload": OBJECTS[id_],
        "first_seen_at": BEGIN,
        "last_seen_at": later(30),
        "missing_since": None,
        "removed_at": None,
        **fields,
    }


def rows_of_version_0_1() -> dict[str, list[dict[str, Any]]]:
    """Rows as version 0.1 wrote them in two months of runs, failures and skipped runs."""
    base = {"base_url": "https://api.anthropic.com", "scope": "org/ws"}
    lease = dict.fromkeys(("lease_run_id", "lease_expires_at"))
    change = {"capabilities.x": {"old": None, "new": True}}
    return {
        "sources": [
            {"name": "anthropic", **base, **lease, "baseline_at": BEGIN}
            | {"last_synced_at": later(30)},
            {"name": "gateway", **base, **lease, "scope": None, "baseline_at": None}
            | {"last_synced_at": None},
        ],
        "sync_runs": [
            _run(1, "anthropic", "succeeded", 0, baseline=True, models=2, pages=1, added=2),
            _run(2, "gateway", "failed", 0, error="source gateway: no answer"),
            _run(3, "anthropic", "skipped", 1, error="another process is syncing it"),
            _run(7, "anthropic", "failed", 2, error="interrupted"),
            _run(9, "anthropic", "succeeded", 5, models=3, pages=1, added=1),
            _run(10, "anthropic", "held", 20, models=3, pages=1, error="held"),
            _run(11, "anthropic", "running", 40, finished_at=None),
        ],
        "models": [
            _model("claude-a"),
            _model(
                "claude-b ", lifecycle="deprecated", retires_at=datetime(2099, 1, 1, tzinfo=UTC)
            ),
            _model("claude-c", removed_at=later(30), missing_since=later(29)),
        ],
        "model_events": [
            *(
                _event(id_, 1, "added", 0, model_id=model, payload=OBJECTS[model])
                for id_, model in enumerate(["claude-a", "claude-b "], 1)
            ),
            _event(3, 9, "added", 5, model_id="claude-c", payload=OBJECTS["claude-c"]),
            _event(4, 9, "schema_changed", 5, changes=change, payload=OBJECTS),
            _event(6, 10, "sync_held", 35, changes={}, payload={"reason": "held"}),
        ],
        "alert_deliveries": [
            {"id": 1, "event_id": 3, "channel": "team", "status": "delivered", "attempts": 1}
            | {"next_attempt_at": None, "delivered_at": later(5), "last_error": None},
            {"id": 2, "event_id": 6, "channel": "team", "status": "pending", "attempts": 2}
            | {"next_attempt_at": later(21), "delivered_at": None, "last_error": "HTTP 503"},
            {"id": 4, "event_id": 3, "channel": "ops", "status": "failed", "attempts": 20}
            | {"next_attempt_at": None, "delivered_at": None, "last_error": "HTTP 404"},
        ],
    }


def table_of_version_0_1(name: str) -> Any:
    """Return a table as version 0.1 knew it."""
    columns = [
        sa.column(column.name, sa.JSON(none_as_null=True))
        if column.name in {"payload", "changes"}
        else sa.column(column.name, column.type)
        for column in metadata.tables[name].columns
        if column.name not in NEW_COLUMNS.get(name, set())
    ]
    return sa.table(name, *columns)


def read(engine: sa.Engine, name: str) -> list[dict[str, Any]]:
    table = metadata.tables[name]
    order = [column for column in table.primary_key.columns if column.name != "source"]
    with engine.connect() as connection:
        rows = connection.execute(sa.select(table).order_by(*order)).mappings()
        return [dict(row) for row in rows]


def migrate_to(engine: sa.Engine, revision: str, *, down: bool = False) -> None:
    config = migrate._alembic()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def fill(engine: sa.Engine) -> None:
    """Make an empty database one of version 0.1, with rows in every table."""
    migrate_to(engine, "0001")
    with engine.begin() as connection:
        for name, rows in rows_of_version_0_1().items():
            connection.execute(sa.insert(table_of_version_0_1(name)), rows)
