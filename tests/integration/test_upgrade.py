"""A filled database of version 0.1 is upgraded and keeps everything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa
from alembic import command

from catalog_sync.clock import utc_now
from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.db.schema import UtcDateTime, metadata
from catalog_sync.errors import SchemaError
from version_0_1 import (
    NEW_COLUMNS,
    OBJECTS,
    fill,
    later,
    migrate_to,
    read,
    rows_of_version_0_1,
    table_of_version_0_1,
)


@pytest.fixture
def old(database_url: str) -> Iterator[sa.Engine]:
    """A database of version 0.1 with rows in every table."""
    engine = db_engine.create_engine(database_url)
    fill(engine)
    yield engine
    engine.dispose()


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
    """After the upgrade the schema equals that of a new database."""
    migrate.upgrade(old)
    config = migrate._alembic()
    with old.begin() as connection:
        config.attributes["connection"] = connection
        command.check(config)


def test_the_way_back(old: sa.Engine) -> None:
    """The downgrade restores the rows of version 0.1, and the upgrade can follow again."""
    migrate.upgrade(old)
    migrate_to(old, "0001", down=True)
    for name, rows in rows_of_version_0_1().items():
        table = table_of_version_0_1(name)
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
    """Every table and column has a comment in the database."""
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
    """Without a clock (as in some readers), `retiring_models` counts from the last sync."""
    engine = db_engine.create_engine(f"sqlite:///{tmp_path}/catalog.db")

    def strftime(_format: str, _value: str) -> str:
        return "-4713-11-25 00:00:00.000"

    sa.event.listen(engine, "connect", lambda raw, _: raw.create_function("strftime", 2, strftime))
    migrate.ensure_schema(engine)
    with engine.begin() as connection:
        rows = rows_of_version_0_1()
        connection.execute(sa.insert(table_of_version_0_1("sources")), rows["sources"])
        connection.execute(sa.insert(table_of_version_0_1("models")), rows["models"])
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


def test_duckdb(tmp_path: Any) -> None:
    """DuckDB reads the file, its view of retiring models included."""
    engine = db_engine.create_engine(f"sqlite:///{tmp_path}/catalog.db")
    migrate.ensure_schema(engine)
    with engine.begin() as connection:
        rows = rows_of_version_0_1()
        connection.execute(sa.insert(table_of_version_0_1("sources")), rows["sources"])
        models = table_of_version_0_1("models")
        connection.execute(sa.insert(models), rows["models"])
        in_85_days = (utc_now() + timedelta(days=85)).replace(hour=23, minute=59)
        connection.execute(
            sa.update(models).where(models.c.id == "claude-a").values(retires_at=in_85_days)
        )
    engine.dispose()
    with duckdb.connect() as reader:
        reader.load_extension(str(sqlite_scanner()))
        reader.execute(f"ATTACH '{tmp_path}/catalog.db' AS catalog (TYPE sqlite)")
        question = (
            "SELECT CAST(days_left AS INTEGER) FROM catalog.retiring_models WHERE id = 'claude-a'"
        )
        assert reader.sql(question).fetchall() == [(85,)]


def sqlite_scanner() -> Path:
    """Return DuckDB's extension for SQLite files, which its Python package carries."""
    package = find_spec("duckdb_extension_sqlite_scanner")
    assert package is not None
    (root,) = package.submodule_search_locations or []
    (found,) = Path(root).rglob("sqlite_scanner.duckdb_extension")
    return found
