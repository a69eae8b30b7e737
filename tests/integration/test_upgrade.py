"""A filled database of version 0.1 is upgraded and keeps everything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.db.schema import UtcDateTime, metadata
from catalog_sync.errors import SchemaError

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


def _table(name: str) -> Any:
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


@pytest.fixture
def old(database_url: str) -> Iterator[sa.Engine]:
    """A database of version 0.1 with rows in every table."""
    engine = db_engine.create_engine(database_url)
    migrate_to(engine, "0001")
    with engine.begin() as connection:
        for name, rows in rows_of_version_0_1().items():
            connection.execute(sa.insert(_table(name)), rows)
    yield engine
    engine.dispose()


def migrate_to(engine: sa.Engine, revision: str, *, down: bool = False) -> None:
    config = migrate._alembic()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def test_everything_is_kept(old: sa.Engine) -> None:
    """The upgrade keeps every row and value; only a catalog-wide event's objects move."""
    assert migrate.upgrade(old) == ("0001", migrate.HEAD)
    for name, rows in rows_of_version_0_1().items():
        kept = [
            {key: value for key, value in row.items() if key not in NEW_COLUMNS.get(name, set())}
            for row in read(old, name)
        ]
        for row in rows:
            if row.get("kind") == "schema_changed":
                row["payload"] = None
        assert kept == rows, name
    moved = {row["model_id"]: row["payload"] for row in read(old, "model_event_payloads")}
    assert moved == OBJECTS
    with old.connect() as connection:
        found = connection.execute(sa.text("SELECT id FROM current_models ORDER BY id")).scalars()
        assert list(found) == ["claude-a", "claude-b "]
        found = connection.execute(sa.text("SELECT id FROM retiring_models")).scalars()
        assert list(found) == ["claude-b "]


def test_new_columns_are_filled(old: sa.Engine) -> None:
    """Runs are numbered per source, first lists are marked, the latest recorded time is known."""
    migrate.upgrade(old)
    runs = {row["id"]: row for row in read(old, "sync_runs")}
    assert {id_: row["number"] for id_, row in runs.items()} == {
        1: 1,
        3: 2,
        7: 3,
        9: 4,
        10: 5,
        11: 6,
        2: 1,
    }
    assert {id_ for id_, row in runs.items() if row["error_code"] == "interrupted"} == {7}
    sources = {row["name"]: row for row in read(old, "sources")}
    assert {name: row["runs"] for name, row in sources.items()} == {"anthropic": 6, "gateway": 1}
    assert sources["anthropic"]["last_recorded_at"] == later(35)
    assert sources["gateway"]["last_recorded_at"] is None
    baseline = {row["id"]: row["baseline"] for row in read(old, "model_events")}
    assert baseline == {1: True, 2: True, 3: False, 4: False, 6: False}


def test_an_upgraded_schema_is_a_new_one(old: sa.Engine) -> None:
    """After the upgrade nothing tells the schema from that of a new database."""
    migrate.upgrade(old)
    config = migrate._alembic()
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_the_way_back(old: sa.Engine) -> None:
    """The downgrade gives version 0.1 its rows back, and the upgrade can follow again."""
    migrate.upgrade(old)
    migrate_to(old, "0001", down=True)
    for name, rows in rows_of_version_0_1().items():
        table = _table(name)
        order = [column for column in table.c if column.name in {"id", "name"}]
        with old.connect() as connection:
            found = connection.execute(sa.select(table).order_by(*order)).mappings()
            assert [dict(row) for row in found] == rows, name
    assert migrate.upgrade(old) == ("0001", migrate.HEAD)
    assert len(read(old, "model_event_payloads")) == len(OBJECTS)


def test_an_older_schema_is_not_changed_unasked(old: sa.Engine) -> None:
    """A run refuses version 0.1's schema and names the command that upgrades it."""
    with pytest.raises(SchemaError, match="run: catalog-sync db upgrade"):
        migrate.ensure_schema(old)
    assert migrate.current_revision(old) == "0001"


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_comments(engine: sa.Engine) -> None:
    """Every table and column says in the database what it holds."""
    inspector = sa.inspect(engine)
    for table in metadata.sorted_tables:
        assert inspector.get_table_comment(table.name)["text"] == table.comment
        said = {column["name"]: column["comment"] for column in inspector.get_columns(table.name)}
        assert said == {column.name: column.comment for column in table.columns}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_json_can_be_searched(old: sa.Engine) -> None:
    """PostgreSQL searches, compares and groups the objects."""
    migrate.upgrade(old)
    with old.connect() as connection:
        wanted = 'SELECT id FROM models WHERE payload @> \'{"id": "claude-a"}\''
        assert connection.execute(sa.text(wanted)).scalars().all() == ["claude-a"]
        grouped = "SELECT DISTINCT payload FROM models GROUP BY payload"
        assert len(connection.execute(sa.text(grouped)).all()) == len(OBJECTS)


def test_a_reader_without_a_clock(tmp_path: Any) -> None:
    """Without a clock (DuckDB reads so), `retiring_models` counts from the last sync."""
    engine = db_engine.create_engine(f"sqlite:///{tmp_path}/catalog.db")

    def strftime(_format: str, _value: str) -> str:
        return "-4713-11-25 00:00:00.000"

    sa.event.listen(engine, "connect", lambda raw, _: raw.create_function("strftime", 2, strftime))
    migrate.ensure_schema(engine)
    with engine.begin() as connection:
        rows = rows_of_version_0_1()
        connection.execute(sa.insert(_table("sources")), rows["sources"])
        connection.execute(sa.insert(_table("models")), rows["models"])
        dates = {"claude-a": later(20), "claude-b ": later(30) + timedelta(days=85)}
        for id_, date in dates.items():
            connection.execute(
                sa.text("UPDATE models SET retires_at = :at WHERE id = :id").bindparams(
                    sa.bindparam("at", date, UtcDateTime), id=id_
                )
            )
        found = connection.execute(sa.text("SELECT id, days_left FROM retiring_models")).all()
        assert found == [("claude-b ", 85)]
    engine.dispose()
