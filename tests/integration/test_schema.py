"""The tables as readers with SQL see them, and the requirements on a database."""

from __future__ import annotations

import shutil
import sqlite3
import sys
import traceback
import uuid
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

import catalog_sync
from catalog_sync.db import checked, migrate
from catalog_sync.db import engine as db_engine
from catalog_sync.db.schema import VERSION_TABLE, metadata
from catalog_sync.domain.kinds import Kind, RunStatus
from catalog_sync.errors import (
    CatalogSyncError,
    ConfigError,
    DatabaseError,
    DriverMissingError,
    SchemaError,
    ValueRefusedError,
)
from catalog_sync.text import install_command
from support import ScriptedServer, model, page, run

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 7, 24, 18, 12, 21, 123456, UTC)

COLUMNS = {  # a question mark: may be NULL
    "sources": "name base_url scope? lease_run_id? lease_expires_at? baseline_at? last_synced_at? "
    "lease_seconds? runs last_recorded_at? clock_offset_seconds? pruned_succeeded pruned_held "
    "pruned_failed pruned_delivered",
    "sync_runs": "id source status baseline started_at finished_at? pages? models? added updated "
    "removed returned error? error_code? number",
    "models": "source id display_name created_at type lifecycle? deprecated_at? retires_at? line? "
    "max_input_tokens? max_tokens? payload first_seen_at last_seen_at missing_since? removed_at?",
    "model_events": "id run_id source model_id? kind occurred_at changes payload? baseline",
    "model_event_payloads": "event_id model_id payload",
    "alert_deliveries": "id event_id channel status attempts next_attempt_at? delivered_at? "
    "last_error? refusals message_id?",
    "alert_channels": "name started_at enqueued_until?",
}
VIEWS = {
    "current_models": "source id display_name created_at type lifecycle deprecated_at retires_at "
    "line max_input_tokens max_tokens payload first_seen_at last_seen_at missing_since",
    "retiring_models": "source id display_name lifecycle deprecated_at retires_at days_left",
}
ROWS: dict[str, dict[str, Any]] = {  # one of each, referring to each other
    "sources": {"name": "anthropic", "base_url": "https://api.anthropic.com"},
    "sync_runs": {
        "id": 1,
        "source": "anthropic",
        "status": "running",
        "baseline": False,
        "started_at": NOW,
        "added": 0,
        "updated": 0,
        "removed": 0,
        "returned": 0,
    },
    "models": {
        "source": "anthropic",
        "id": "claude-opus-5",
        "display_name": "Claude Opus 5",
        "created_at": NOW,
        "type": "model",
        "payload": {"id": "claude-opus-5"},
        "first_seen_at": NOW,
        "last_seen_at": NOW,
    },
    "model_events": {
        "id": 1,
        "run_id": 1,
        "source": "anthropic",
        "model_id": "claude-opus-5",
        "kind": "added",
        "occurred_at": NOW,
        "changes": {},
        "payload": None,
    },
    "model_event_payloads": {"event_id": 1, "model_id": "claude-opus-5", "payload": {}},
    "alert_channels": {"name": "team", "started_at": NOW},
    "alert_deliveries": {
        "id": 1,
        "event_id": 1,
        "channel": "team",
        "status": "pending",
        "attempts": 0,
    },
}
KEYS = {  # values that distinguish the next row from the existing one
    "sources": {"name": "second"},
    "sync_runs": {"id": 2},
    "models": {"id": "second"},
    "model_events": {"id": 2},
    "model_event_payloads": {"model_id": "second"},
    "alert_channels": {"name": "second"},
    "alert_deliveries": {"id": 2, "channel": "second"},
}


def table(name: str) -> sa.Table:
    return metadata.tables[name]


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """Yield an engine on a database that the migrations have set up."""
    engine = db_engine.create_engine(database_url)
    migrate.ensure_schema(engine)
    yield engine
    engine.dispose()


def insert(engine: sa.Engine, into: str, **values: Any) -> None:
    """Insert the one row of a table, with other values."""
    with engine.begin() as connection:
        connection.execute(sa.insert(table(into)), {**ROWS[into], **values})


def insert_second(engine: sa.Engine, into: str, **values: Any) -> None:
    """Insert a row beside the existing one."""
    insert(engine, into, **{**KEYS[into], **values})


def read(engine: sa.Engine, statement: Any) -> Any:
    statement = sa.text(statement) if isinstance(statement, str) else statement
    with engine.connect() as connection:
        return connection.execute(statement).all()


def ask(engine: sa.Engine, question: str = "SELECT 1") -> Any:
    """Query as the program's reading commands do."""
    with checked.read(engine) as connection:
        return connection.execute(sa.text(question)).all()


def execute(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


@contextmanager
def alembic(engine: sa.Engine) -> Iterator[Any]:
    """Yield a configuration for Alembic's own commands, on a separate connection."""
    config = migrate._alembic()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        yield config


def names(engine: sa.Engine) -> set[str]:
    inspector = sa.inspect(engine)
    return {*inspector.get_table_names(), *inspector.get_view_names()}


def shape(engine: sa.Engine) -> dict[str, Any]:
    """The full description of tables and views in the database."""
    inspector = sa.inspect(engine)
    return {
        name: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)],
            *(
                sorted(map(str, read_all(name)))
                for read_all in (
                    inspector.get_foreign_keys,
                    inspector.get_unique_constraints,
                    inspector.get_indexes,
                    inspector.get_check_constraints,
                )
                if name in COLUMNS
            ),
        )
        for name in names(engine)
    }


@pytest.fixture
def filled(engine: sa.Engine) -> sa.Engine:
    """A schema with one row in each table."""
    for name in COLUMNS:
        insert(engine, name)
    return engine


# --- what there is -----------------------------------------------------------------------------


def test_tables_and_views(engine: sa.Engine) -> None:
    """The tables, the views and Alembic's own table have their public names; no others exist."""
    assert names(engine) == {*COLUMNS, *VIEWS, "catalog_sync_version"}


def test_columns(engine: sa.Engine) -> None:
    """A table has the promised columns, nullable where the API may state no value."""
    for name, expected in COLUMNS.items():
        columns = sa.inspect(engine).get_columns(name)
        assert " ".join(column["name"] + "?" * column["nullable"] for column in columns) == expected


def test_columns_of_views(engine: sa.Engine) -> None:
    """A view has the promised columns."""
    for name, expected in VIEWS.items():
        columns = sa.inspect(engine).get_columns(name)
        assert " ".join(column["name"] for column in columns) == expected


def test_names_follow_the_convention(engine: sa.Engine) -> None:
    """Constraints and indexes are named by kind, table and columns, on every database."""
    inspector = sa.inspect(engine)
    given = {
        found["name"]
        for name in COLUMNS
        for found in (
            inspector.get_pk_constraint(name),
            *inspector.get_foreign_keys(name),
            *inspector.get_unique_constraints(name),
            *inspector.get_indexes(name),
            *inspector.get_check_constraints(name),
        )
    }
    maria = engine.dialect.name == "mysql"
    expected = {
        *((None,) if maria else (f"pk_{name}" for name in COLUMNS)),  # there always PRIMARY
        "fk_sync_runs_source_sources",
        "fk_models_source_sources",
        "fk_model_events_run_id_sync_runs",
        "fk_model_events_source_sources",
        "fk_alert_deliveries_event_id_model_events",
        "fk_model_event_payloads_event_id_model_events",
        "uq_alert_deliveries_event_id_channel",
        "ck_sync_runs_status",
        "ck_model_events_kind",
        "ck_alert_deliveries_status",
        "ix_sync_runs_source_number",
        "ix_sync_runs_source_status_number",
        "ix_model_events_source_model_id",
        "ix_model_events_source_kind_occurred_at_id",
        "ix_model_events_occurred_at_id",
        "ix_model_events_run_id",
        "ix_alert_deliveries_status_channel_event_id",
        "ix_alert_deliveries_delivered_at",
        "ix_alert_deliveries_status_next_attempt_at",
    }
    assert given == expected


# --- constraints -------------------------------------------------------------------------------


REFUSED: list[tuple[str, dict[str, Any]]] = [  # a second row, valid except for these values
    ("sources", {"name": "anthropic"}),
    ("sync_runs", {"id": 1}),
    ("sync_runs", {"source": "nobody"}),
    ("sync_runs", {"status": "done"}),
    ("sync_runs", {"status": "Running"}),
    ("sync_runs", {"status": "failed "}),
    ("models", {"id": "claude-opus-5"}),
    ("models", {"source": "nobody"}),
    ("model_events", {"id": 1}),
    ("model_events", {"run_id": 7}),
    ("model_events", {"source": "nobody"}),
    ("model_events", {"kind": "renamed"}),
    ("model_events", {"kind": "Added"}),
    ("model_events", {"kind": "added "}),
    ("alert_deliveries", {"id": 1}),
    ("alert_deliveries", {"event_id": 7}),
    ("alert_deliveries", {"channel": "team"}),
    ("alert_deliveries", {"status": "sent"}),
]
REFUSALS = (sa.exc.IntegrityError, sa.exc.OperationalError)  # the second of MariaDB's CHECKs


def test_refused_rows(filled: sa.Engine, subtests: pytest.Subtests) -> None:
    """A row with a duplicate key, a missing parent or another word is refused."""
    for name, values in REFUSED:
        with subtests.test(name, **values), pytest.raises(REFUSALS):
            insert_second(filled, name, **values)
    for name in COLUMNS:
        insert_second(filled, name)  # only these values were refused


def test_nulls_are_refused(filled: sa.Engine, subtests: pytest.Subtests) -> None:
    """NULL is refused in every required column."""
    for name, columns in COLUMNS.items():
        for column in columns.split():
            if column.endswith("?") or (column == "id" and name != "models"):
                continue  # a NULL id is replaced by the database
            row = {**ROWS[name], **KEYS[name], column: sa.null()}
            with (
                subtests.test(name, column=column),
                pytest.raises(REFUSALS),
                filled.begin() as connection,
            ):
                connection.execute(sa.insert(table(name)).values(**row))


def test_what_is_referred_to_stays(filled: sa.Engine, subtests: pytest.Subtests) -> None:
    """A source, a run or an event that other rows refer to cannot be deleted."""
    for name in ("sources", "sync_runs", "model_events"):
        with subtests.test(name), pytest.raises(REFUSALS):
            execute(filled, f"DELETE FROM {name}")


def test_every_word_is_accepted(filled: sa.Engine) -> None:
    """Every status and every kind that the program knows can be stored."""
    for number, status in enumerate(RunStatus, 10):
        insert(filled, "sync_runs", id=number, status=status.value)
    for number, kind in enumerate(Kind, 10):
        insert(filled, "model_events", id=number, kind=kind.value)
    for number, status in enumerate(("pending", "delivered", "failed"), 10):
        insert(filled, "alert_deliveries", id=number, channel=status, status=status)


def test_rows_are_numbered(engine: sa.Engine) -> None:
    """The database numbers runs, events and deliveries in ascending order."""
    insert(engine, "sources")
    for name in ("sync_runs", "model_events", "alert_deliveries"):
        row = {key: value for key, value in ROWS[name].items() if key != "id"}
        with engine.begin() as connection:
            for number in (1, 2):
                connection.execute(
                    sa.insert(table(name)),
                    row | ({"event_id": number} if "event_id" in row else {}),
                )
        assert [row.id for row in read(engine, f"SELECT id FROM {name}")] == [1, 2]


# --- values ------------------------------------------------------------------------------------


LOOKALIKES = [
    *("claude-opus-5", "Claude-Opus-5", "CLAUDE-OPUS-5"),
    *("claude-opus-5 ", "claude-opus-5  ", " claude-opus-5", "claude-opus-5\t"),
    *("modèle", "mode\u0300le", "modele", "strasse", "straße"),
    *("🦊", "🦊🦊", "🐻", "نموذج", "מודל", "\u202eledom", "모델", "\U0001f600" * 255),
]


TIMES = [
    NOW,
    NOW.replace(microsecond=0),
    NOW.replace(microsecond=999999),
    NOW.astimezone(timezone(timedelta(hours=-11))),
    datetime(1000, 1, 1, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2026, 3, 29, 2, 30, tzinfo=UTC),  # no such hour in most of Europe
    datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
]


def test_ids_compare_exactly(filled: sa.Engine) -> None:
    """Ids that differ in case, spaces, accents or emoji are different models, found by equality."""
    models = table("models")
    for id_ in LOOKALIKES[1:]:
        insert(filled, "models", id=id_)
    for id_ in LOOKALIKES:
        found = read(filled, sa.select(models.c.id).where(models.c.id == id_))
        assert [row.id for row in found] == [id_]


def test_other_names_compare_exactly(filled: sa.Engine) -> None:
    """Sources and channels that differ in case or in trailing spaces are different ones."""
    for number, suffix in enumerate((" ", "  ", "É", "é", "🦊"), 10):
        insert(filled, "sources", name=f"anthropic{suffix}")
        insert(filled, "alert_deliveries", id=number, channel=f"team{suffix}")
    insert(filled, "sources", name="Anthropic")
    insert(filled, "alert_deliveries", id=20, channel="Team")


def test_text_is_kept(filled: sa.Engine) -> None:
    """Text in columns and in JSON is read back unchanged, whatever the database's charset."""
    models = table("models")
    for number, text in enumerate(LOOKALIKES):
        payload = {text: [text, {}]}
        id_ = str(number)
        insert(filled, "models", id=id_, display_name=text, line=text, payload=payload)
        wanted = sa.select(models.c.display_name, models.c.line, models.c.payload)
        assert read(filled, wanted.where(models.c.id == id_)) == [(text, text, payload)]


def test_instants_are_kept(filled: sa.Engine) -> None:
    """A time is read back to the microsecond, aware and in UTC, from any zone."""
    models = table("models")
    for number, time in enumerate(TIMES):
        insert(filled, "models", id=str(number), created_at=time)
        wanted = sa.select(models.c.created_at).where(models.c.id == str(number))
        [[kept]] = read(filled, wanted)
        assert kept == time
        assert kept.tzinfo is UTC


def test_naive_times_are_refused(filled: sa.Engine) -> None:
    """A time without a zone is an error before it reaches the database."""
    with pytest.raises(sa.exc.StatementError, match="has no time zone"):
        insert_second(filled, "models", created_at=datetime(2026, 7, 24, 18))


# --- views -------------------------------------------------------------------------------------


def test_current_models(filled: sa.Engine) -> None:
    """`current_models` shows listed and missing models, and hides removed ones."""
    insert(filled, "models", id="missing", missing_since=NOW)
    insert(filled, "models", id="removed", missing_since=NOW, removed_at=NOW)
    found = read(filled, "SELECT id FROM current_models ORDER BY id")
    assert [row.id for row in found] == ["claude-opus-5", "missing"]


def test_retiring_models(filled: sa.Engine) -> None:
    """`retiring_models` shows retirement dates ahead of listed models, in calendar days of UTC."""
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ahead = {
        "soon": now + timedelta(minutes=5),
        "tomorrow": midnight + timedelta(days=1),
        "tomorrow night": midnight + timedelta(days=2, microseconds=-1),
        "a year": midnight + timedelta(days=365, hours=13),
        "at the end of time": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    }
    for id_, time in ahead.items():
        insert(filled, "models", id=id_, retires_at=time, lifecycle="deprecated")
    insert(filled, "models", id="never said", retires_at=midnight + timedelta(days=9))
    insert(filled, "models", id="retired", retires_at=now + timedelta(days=9), lifecycle="retired")
    insert(filled, "models", id="removed", retires_at=now + timedelta(days=9), removed_at=NOW)
    insert(filled, "models", id="overdue", retires_at=now - timedelta(seconds=1))
    found = {row.id: row.days_left for row in read(filled, "SELECT * FROM retiring_models")}

    def days_left(today: datetime) -> dict[str, int]:
        dates = {**ahead, "never said": midnight + timedelta(days=9)}
        return {id_: (time.date() - today.date()).days for id_, time in dates.items()}

    assert found in (days_left(now), days_left(datetime.now(UTC)))  # midnight may have passed


# --- migrations --------------------------------------------------------------------------------


def test_one_head() -> None:
    """There is one newest revision; the program knows it and its order without loading Alembic."""
    scripts = ScriptDirectory.from_config(migrate._alembic())
    assert scripts.get_heads() == [migrate.HEAD]
    newest_first = [script.revision for script in scripts.walk_revisions()]
    assert newest_first == sorted(newest_first, reverse=True)


def test_models_and_migrations_agree(engine: sa.Engine) -> None:
    """`alembic check` finds no difference between the tables in Python and in the database."""
    with alembic(engine) as config:
        command.check(config)


def test_round_trip(engine: sa.Engine) -> None:
    """A downgrade removes the schema completely, and an upgrade restores it."""
    before = shape(engine)
    with alembic(engine) as config:
        command.downgrade(config, "base")
    assert names(engine) == {VERSION_TABLE}
    assert migrate.current_revision(engine) is None
    assert migrate.upgrade(engine) == (None, migrate.HEAD)
    assert shape(engine) == before


def test_upgrade_can_be_repeated(filled: sa.Engine) -> None:
    """Upgrading a current schema changes nothing and says so."""
    before = shape(filled)
    assert migrate.upgrade(filled) == (migrate.HEAD, migrate.HEAD)
    assert shape(filled) == before
    assert len(read(filled, "SELECT * FROM models")) == 1


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
@pytest.mark.parametrize("kept", range(len(COLUMNS) + 1))
def test_a_set_up_cut_short_is_completed(engine: sa.Engine, kept: int) -> None:
    """If each statement commits, a set-up that stopped after any table is completed later."""
    before = shape(engine)
    views = [f"DROP VIEW {name}" for name in VIEWS]
    tables = [f"DROP TABLE {name}" for name in reversed([*COLUMNS][kept:])]
    execute(engine, f"DELETE FROM {VERSION_TABLE}", *views, *tables)
    migrate.ensure_schema(engine)
    assert shape(engine) == before
    assert migrate.current_revision(engine) == migrate.HEAD


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_set_up_cut_short_between_indexes_is_completed(engine: sa.Engine) -> None:
    """A set-up that stopped among a table's indexes is completed later."""
    before = shape(engine)
    drop = "DROP INDEX ix_model_events_occurred_at_id ON model_events"
    execute(engine, f"DELETE FROM {VERSION_TABLE}", "DROP TABLE alert_deliveries", drop)
    migrate.ensure_schema(engine)
    assert shape(engine) == before


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
@pytest.mark.parametrize("rest", [False, True], ids=["before", "after"])
def test_a_set_up_cut_short_between_revisions_is_completed(engine: sa.Engine, rest: bool) -> None:
    """A set-up that stopped before or after the statements of the last revision is completed."""
    before = shape(engine)
    if rest:
        execute(engine, f"UPDATE {VERSION_TABLE} SET version_num = '0001'")
    else:
        with alembic(engine) as config:
            command.downgrade(config, "0001")
    migrate.ensure_schema(engine)
    assert shape(engine) == before
    assert migrate.current_revision(engine) == migrate.HEAD


def test_questions_create_nothing(database_url: str, tmp_path: Path) -> None:
    """Reading the revision, or an empty database, creates no file and no table."""
    engine = db_engine.create_engine(database_url)
    assert migrate.current_revision(engine) is None
    with checked.read(engine) as connection:
        assert connection.execute(sa.text("SELECT * FROM current_models")).all() == []
    assert list(tmp_path.iterdir()) == []
    assert names(engine) == set()
    engine.dispose()


def test_tables_of_others_stay(database_url: str) -> None:
    """A user's own tables, including another Alembic's, stay beside the program's."""
    engine = db_engine.create_engine(database_url)
    execute(
        engine,
        "CREATE TABLE alembic_version (version_num VARCHAR(32))",
        "INSERT INTO alembic_version VALUES ('theirs')",
    )
    migrate.ensure_schema(engine)
    with alembic(engine) as config:
        command.check(config)
        command.downgrade(config, "base")
    assert read(engine, "SELECT * FROM alembic_version") == [("theirs",)]
    engine.dispose()


@pytest.mark.parametrize(
    "theirs",
    ["CREATE TABLE models (id INTEGER)", "CREATE VIEW current_models AS SELECT 1 AS id"],
    ids=["table", "view"],
)
def test_a_foreign_table_of_our_name_is_left_alone(
    database_url: str, theirs: str, tmp_path: Path
) -> None:
    """A table `models` of another program is refused with advice, and not changed."""
    engine = db_engine.create_engine(database_url)
    execute(engine, theirs)
    before = shape(engine)
    engine.dispose()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for step in (ask, migrate.ensure_schema, migrate.upgrade):
        with pytest.raises(
            SchemaError, match=r"not created by catalog-sync; .* separate"
        ) as refused:
            step(engine)
        assert refused.value.exit_code == 4
        assert theirs.split()[2] in str(refused.value)
    engine.dispose()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert shape(engine) == before
    engine.dispose()


def test_a_newer_schema_is_refused(filled: sa.Engine) -> None:
    """A schema of a later program is refused, naming both revisions, and not changed."""
    execute(filled, f"UPDATE {VERSION_TABLE} SET version_num = '9001'")
    before = shape(filled)
    for step in (ask, migrate.ensure_schema, migrate.upgrade):
        with pytest.raises(SchemaError, match=rf"9001.*{migrate.HEAD}.*upgrade the program"):
            step(filled)
    assert shape(filled) == before
    assert migrate.current_revision(filled) == "9001"


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """A copy of the program with one more revision."""
    directory = tmp_path / "next-release"
    shutil.copytree(Path(catalog_sync.__file__).parent, directory / "catalog_sync")
    shutil.copytree(migrate._MIGRATIONS, directory / "migrations")
    code = directory / "catalog_sync" / "db" / "migrate.py"
    head = f'HEAD: Final = "{migrate.HEAD}"'
    ours = code.read_text("utf-8")
    assert head in ours
    code.write_text(ours.replace(head, 'HEAD: Final = "next"'), "utf-8")
    script = f"""
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{migrate.HEAD}"

def upgrade():
    op.add_column("models", sa.Column("note", sa.Text))
"""
    (directory / "migrations" / "versions" / "next.py").write_text(script, "utf-8")
    return directory


def test_an_older_schema_waits_for_db_upgrade(engine: sa.Engine, next_release: Path) -> None:
    """An older schema is refused with the command that upgrades it and keeps its rows."""
    insert(engine, "sources")
    insert(engine, "models", id="claude-opus-4")
    before = shape(engine)
    url = engine.url.render_as_string(hide_password=False)
    with ScriptedServer([page([model("claude-opus-5")])]) as server:
        environment = {
            "CATALOG_SYNC_DATABASE_URL": url,
            "PYTHONPATH": str(next_release),
            "ANTHROPIC_API_KEY": "sandbox-key",
            "ANTHROPIC_BASE_URL": server.url,
        }
        for arguments in (["sync"], ["models"]):
            refused = run(*arguments, **environment)
            assert refused.returncode == 4, refused.stderr
            assert refused.stdout == ""
            assert refused.stderr.endswith("run: catalog-sync db upgrade\n")
            assert refused.stderr.count("\n") == 1
        assert server.requests == []
        assert shape(engine) == before

        upgraded = run("db", "upgrade", **environment)
        assert upgraded.stdout == f"upgraded from {migrate.HEAD} to next\n"
        assert upgraded.stderr == ""
        assert run("sync", **environment).returncode == 0
    assert read(engine, "SELECT id, note FROM models ORDER BY id") == [
        ("claude-opus-4", None),
        ("claude-opus-5", None),
    ]
    with pytest.raises(SchemaError, match="created by a newer catalog-sync"):
        migrate.ensure_schema(engine)


# --- databases that cannot be used -------------------------------------------------------------


def refusal(url: str, error: type[CatalogSyncError] = DatabaseError) -> str:
    """The one line that says why a database is not usable; even the traceback has no secret."""

    def set_up() -> None:
        engine = db_engine.create_engine(url)
        try:
            migrate.ensure_schema(engine)
        finally:
            engine.dispose()

    with pytest.raises(error) as refused:
        set_up()
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == (2 if error is ConfigError else 4)
    return str(refused.value)


servers_only = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)


@pytest.fixture
def account(database_url: str) -> Iterator[sa.URL]:
    """The URL of a separate user with a password."""
    url = sa.make_url(database_url)
    user = f"catalog_sync_{uuid.uuid4().hex[:8]}"
    create, drop = (
        (f"CREATE ROLE {user} LOGIN PASSWORD 'hunter2'", f"DROP ROLE {user}")
        if url.get_backend_name() == "postgresql"
        else (f"CREATE USER {user} IDENTIFIED BY 'hunter2'", f"DROP USER {user}")
    )
    engine = db_engine.create_engine(database_url)
    execute(engine, create)
    yield url.set(username=user, password="hunter2")
    execute(engine, drop)
    engine.dispose()


@servers_only
def test_the_password_of_a_refused_user_stays_secret(database_url: str, account: sa.URL) -> None:
    """A user who may not log in sees the reason and the place, never the password."""
    engine = db_engine.create_engine(database_url)
    postgresql = engine.dialect.name == "postgresql"  # the test's server may trust all users
    execute(
        engine,
        f"ALTER ROLE {account.username} NOLOGIN"
        if postgresql
        else f"ALTER USER {account.username} IDENTIFIED BY 'another'",
    )
    engine.dispose()
    line = refusal(account.render_as_string(hide_password=False))
    assert "not permitted to log in" in line if postgresql else "Access denied" in line
    assert f"{account.host}:{account.port}/{account.database}: " in line
    assert line.endswith("check database_url and that the database is running")


@servers_only
def test_an_unknown_database(account: sa.URL) -> None:
    """A missing database is an error that names it."""
    url = account.set(database="catalog_sync_nowhere")
    line = refusal(url.render_as_string(hide_password=False))
    assert "/catalog_sync_nowhere: " in line


@servers_only
def test_a_server_that_is_down(account: sa.URL) -> None:
    """Without a server, the error says so and names the address."""
    line = refusal(account.set(port=1).render_as_string(hide_password=False))
    assert "127.0.0.1:1/" in line
    assert "Connection refused" in line


@pytest.mark.parametrize(
    ("module", "url", "package"),
    [
        ("psycopg", "postgresql://anna:hunter2@127.0.0.1/catalog", "psycopg[binary]"),
        ("pymysql", "mysql://anna:hunter2@127.0.0.1/catalog", "PyMySQL"),
        ("pymysql", "mariadb://anna:hunter2@127.0.0.1/catalog", "PyMySQL"),
    ],
)
def test_a_driver_that_is_not_installed(
    module: str, url: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing driver is an error with the command that installs the driver itself."""
    monkeypatch.setitem(sys.modules, module, None)
    line = refusal(url, DriverMissingError)
    command = install_command(package)
    assert sys.executable in command
    assert line.endswith(f"driver {module} is not installed; {command}")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "catalog.db",
        "hunter2",
        "oracle://anna:hunter2@db/catalog",
        "mysql+nonsense://anna:hunter2@db/catalog",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://anna:hunter2@db:port/catalog",
    ],
)
def test_what_is_no_database_url(url: str) -> None:
    """A URL of no supported database is a configuration error that names its key."""
    assert refusal(url, ConfigError).startswith("database_url: ")


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_password_with_an_unescaped_sign(scheme: str) -> None:
    """A password with an unescaped "@" is not shown as a part of the host."""
    line = refusal(f"{scheme}://anna:top@hunter2@127.0.0.1/catalog", ConfigError)
    assert "%40" in line


@pytest.mark.parametrize(
    "url",
    [
        "mysql://root:hunter2@127.0.0.1/test?colour=blue",
        "mysql://root:hunter2@127.0.0.1/test?charset=nonsense",
        "mysql://root:hunter2@127.0.0.1",
        "sqlite:///catalog.db?colour=blue",
        "sqlite:///cata\0log.db",
    ],
)
def test_a_url_that_the_driver_cannot_use(url: str) -> None:
    """A URL that the driver cannot use is a configuration error in one line."""
    assert refusal(url, ConfigError).startswith("database_url: ")


# --- files of SQLite ---------------------------------------------------------------------------


def test_a_missing_folder(tmp_path: Path) -> None:
    """A missing directory is not created; the error names the file and the advice."""
    line = refusal(f"sqlite:///{tmp_path}/no/such/directory/catalog.db")
    assert f"{tmp_path}/no/such/directory/catalog.db" in line
    assert "check that the directory exists" in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    """A directory in place of the file is an error that names it."""
    assert str(tmp_path) in refusal(f"sqlite:///{tmp_path}")


def test_a_file_that_is_no_folder(tmp_path: Path) -> None:
    """A file in place of a directory is an error that names the path."""
    (tmp_path / "file").touch()
    assert f"{tmp_path}/file/catalog.db" in refusal(f"sqlite:///{tmp_path}/file/catalog.db")


def test_a_name_too_long_for_a_file(tmp_path: Path) -> None:
    """A name that the system refuses is an error in one line, for queries too."""
    url = f"sqlite:///{tmp_path}/{'x' * 300}"
    assert "File name too long" in refusal(url)
    with pytest.raises(DatabaseError):
        migrate.current_revision(db_engine.create_engine(url))


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """A file of another kind is refused and not changed."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database\n" * 100)
    error = refusal(f"sqlite:///{file}")
    assert f"{file}: file is not a database; restore a backup, or name another file" in error
    assert file.read_text() == "not a database\n" * 100


def test_an_empty_file_is_an_empty_database(tmp_path: Path) -> None:
    """An empty file is set up like a new one."""
    (tmp_path / "catalog.db").touch()
    engine = db_engine.create_engine(f"sqlite:///{tmp_path}/catalog.db")
    assert migrate.current_revision(engine) is None
    migrate.ensure_schema(engine)
    assert migrate.current_revision(engine) == migrate.HEAD
    engine.dispose()


def test_a_file_that_may_only_be_read(tmp_path: Path) -> None:
    """A read-only file can be read; writing is an error that says so."""
    writable = db_engine.create_engine(f"sqlite:///{tmp_path}/catalog.db")
    migrate.ensure_schema(writable)
    insert(writable, "sources")
    writable.dispose()
    engine = db_engine.create_engine(f"sqlite:///file:{tmp_path}/catalog.db?mode=ro&uri=true")
    migrate.ensure_schema(engine)
    with checked.read(engine) as connection:
        assert connection.scalar(sa.text("SELECT name FROM sources")) == "anthropic"
    with pytest.raises(DatabaseError, match=r"readonly database; check .* may be written"):
        db_engine.run(engine, lambda c: c.execute(sa.text("UPDATE sources SET scope = 'x'")))
    engine.dispose()


def test_an_empty_file_that_may_only_be_read(tmp_path: Path) -> None:
    """A schema cannot be set up in a read-only file, and the error says so."""
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    line = refusal(f"sqlite:///file:{tmp_path}/catalog.db?mode=ro&uri=true")
    assert "readonly database" in line


# --- transactions ------------------------------------------------------------------------------


def test_a_file_that_is_locked(tmp_path: Path) -> None:
    """A file that is locked for too long is an error; queries do not wait for it."""
    engine = db_engine.create_engine(f"sqlite:///{tmp_path}/catalog.db")
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA busy_timeout = 1"))
    migrate.ensure_schema(engine)
    with closing(sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match="locked; another process holds it; try again"):
            db_engine.run(engine, lambda c: c.execute(sa.text("DELETE FROM models")))
        with db_engine.read_transaction(engine) as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM models")) == 0
    engine.dispose()


def test_a_transaction_is_whole_or_nothing(filled: sa.Engine) -> None:
    """An exception in a transaction rolls all of it back."""

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE sources SET scope = 'half'"))
        raise KeyError

    with suppress(KeyError):
        db_engine.run(filled, work)
    assert read(filled, "SELECT scope FROM sources") == [(None,)]


@servers_only
def test_a_value_too_large_is_refused_not_cut(filled: sa.Engine) -> None:
    """A database that cannot store a value refuses it, and the error says so."""
    row = {**ROWS["models"], "id": "x" * 256}
    with pytest.raises(ValueRefusedError, match=r"the database refused a value: .* too long"):
        db_engine.run(filled, lambda c: c.execute(sa.insert(table("models")), row))
