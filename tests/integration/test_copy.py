"""A catalog is copied to another kind of database with all its rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from catalog_sync.db import copy as db_copy
from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.db.schema import metadata
from catalog_sync.errors import DatabaseError
from support import run
from version_0_1 import fill, read


@pytest.fixture
def full(tmp_path: Path) -> Iterator[sa.Engine]:
    """An SQLite database with rows in every table."""
    engine = db_engine.create_engine(f"sqlite:///{tmp_path}/full.db")
    fill(engine)
    migrate.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_everything_is_copied(full: sa.Engine, database_url: str) -> None:
    """`db copy` copies every row of every table, and the next row gets the next id."""
    url = full.url.render_as_string(hide_password=False)
    made = run("db", "copy", database_url, CATALOG_SYNC_DATABASE_URL=url)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.startswith("copied 23 rows from ")
    target = db_engine.create_engine(database_url)
    for table in metadata.sorted_tables:
        assert read(target, table.name) == read(full, table.name), table.name
    with target.begin() as connection:
        row = {"source": "gateway", "status": "running", "started_at": sa.func.now()}
        inserted = connection.execute(sa.insert(metadata.tables["sync_runs"]).values(row))
        assert inserted.inserted_primary_key == (12,)
    with pytest.raises(DatabaseError, match="is not empty; copy into an empty database"):
        db_copy.copy(full, target)
    again = run("db", "copy", database_url, CATALOG_SYNC_DATABASE_URL=url)
    assert (again.returncode, again.stdout) == (4, "")
    target.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_large_numbers_are_copied(full: sa.Engine, database_url: str) -> None:
    """Numbers that `jsonb` spells in another way are the same numbers after a copy."""
    models = metadata.tables["models"]
    with full.begin() as connection:
        connection.execute(sa.update(models).values(payload={"x": [1e23, -1e300, 2**70, 1.0]}))
    target = db_engine.create_engine(database_url)
    assert db_copy.copy(full, target) == 23
    target.dispose()


def test_nothing_to_copy(tmp_path: Path) -> None:
    """An empty source is an error, and no target is set up."""
    source, target = (
        db_engine.create_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("a", "b")
    )
    with pytest.raises(DatabaseError, match="there is nothing to copy"):
        db_copy.copy(source, target)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)
def test_a_target_that_another_process_fills(full: sa.Engine, database_url: str) -> None:
    """Rows that another process writes into the target meanwhile are an error in one line."""
    target, other = db_engine.create_engine(database_url), db_engine.create_engine(database_url)
    sources, written = metadata.tables["sources"], []

    @sa.event.listens_for(target, "before_cursor_execute")
    def write(_connection, _cursor, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO sources") and not written:
            written.append(statement)
            with other.begin() as connection, full.connect() as reader:
                rows = reader.execute(sa.select(sources)).mappings().all()
                connection.execute(sa.insert(sources), [dict(row) for row in rows])

    with pytest.raises(DatabaseError, match="another process writes to it"):
        db_copy.copy(full, target)
    assert read(target, "models") == []
    target.dispose()
    other.dispose()
