"""The metrics equal the database's content, on every database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from catalog_sync.app import App
from catalog_sync.config.settings import Settings, SourceSettings
from catalog_sync.config.values import SecretStr
from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.db.schema import alert_deliveries, model_events, models, sources, sync_runs
from catalog_sync.demo import story
from catalog_sync.queries import metrics
from catalog_sync.queries.metrics import Snapshot, exposition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

NOW = datetime(2026, 7, 24, 18, 12, 21, tzinfo=UTC)
DOWN = {"catalog_sync_build_info", "catalog_sync_database_up"}


def minutes(number: float) -> datetime:
    return NOW + timedelta(minutes=number)


def add_source(connection: Connection, name: str, synced_at: datetime | None = None) -> None:
    values = {"name": name, "base_url": "https://api.anthropic.com", "last_synced_at": synced_at}
    connection.execute(sa.insert(sources).values(**values))


def add_runs(
    connection: Connection, source: str, *runs: tuple[str, datetime, datetime | None]
) -> Sequence[int]:
    """Insert runs of a status, a begin and an end; return their ids."""
    ids = []
    for number, (status, started_at, finished_at) in enumerate(runs, 1):
        times = {"started_at": started_at, "finished_at": finished_at}
        row = {"source": source, "status": status, "number": number, **times}
        result = connection.execute(sa.insert(sync_runs).values(row))
        ids.append(result.inserted_primary_key[0])
    return ids


def add_model(connection: Connection, source: str, id_: str, **fields: Any) -> None:
    values = {"source": source, "id": id_, "display_name": id_, "type": "model", "payload": {}}
    times = dict.fromkeys(("created_at", "first_seen_at", "last_seen_at"), NOW)
    connection.execute(sa.insert(models).values(**values, **times, **fields))


def snapshot_of(engine: sa.Engine, *sources: str) -> Snapshot:
    with db_engine.read_transaction(engine) as connection:
        return metrics.snapshot(connection, settings("sqlite:///unused.db", *sources), NOW)


def test_runs_are_counted_and_the_last_ones_timed(engine: sa.Engine) -> None:
    """Runs count by status; attempt and duration are those of the last run that ended."""
    with engine.begin() as connection:
        add_source(connection, "anthropic", synced_at=minutes(2))
        add_source(connection, "gateway")
        add_runs(
            connection,
            "anthropic",
            ("succeeded", minutes(1), minutes(2)),
            ("succeeded", minutes(3), minutes(4)),
            ("held", minutes(5), minutes(6)),
            ("failed", minutes(7), minutes(7.5)),
            ("skipped", minutes(8), minutes(8)),
            ("skipped", minutes(9), minutes(9)),
        )
        add_runs(
            connection,
            "gateway",
            ("held", minutes(1), minutes(2)),
            ("succeeded", minutes(3), minutes(2)),  # the host's clock was set back
            ("running", minutes(4), None),
        )
    first, second = snapshot_of(engine, "anthropic", "gateway").sources
    assert first.runs == {"succeeded": 2, "held": 1, "failed": 1}
    assert first.health.last_success_at == minutes(2)
    assert first.health.max_age == timedelta(minutes=45)
    assert first.health.last_attempt_at == minutes(7)
    assert first.health.last_duration == timedelta(seconds=30)
    assert first.health.held
    assert (second.health.last_success_at, second.health.max_age) == (None, None)
    assert second.health.last_attempt_at == minutes(3)
    assert second.health.last_duration == timedelta()
    assert not second.health.held


def test_models_are_counted_by_state_and_lifecycle(engine: sa.Engine) -> None:
    """A model counts in one state; removed ones have no lifecycle; unknown ones are `other`."""
    with engine.begin() as connection:
        add_source(connection, "anthropic")
        add_source(connection, "gateway")
        add_model(connection, "anthropic", "a", lifecycle="active")
        add_model(connection, "anthropic", "b", lifecycle="deprecated", missing_since=NOW)
        add_model(connection, "anthropic", "c", lifecycle="retired")
        add_model(connection, "anthropic", "d", lifecycle="retired", removed_at=NOW)
        add_model(connection, "anthropic", "e", removed_at=NOW, missing_since=NOW)
        for number in range(20):
            add_model(connection, "gateway", f"{number}", lifecycle=f"phase {number}")
        for number, lifecycle in enumerate(("Active", "active ", "", "unknown")):
            add_model(connection, "gateway", f"like {number}", lifecycle=lifecycle)
        add_model(connection, "gateway", "unsaid")
    first, second = snapshot_of(engine, "anthropic", "gateway").sources
    assert first.models == {"listed": 2, "missing": 1, "removed": 2}
    assert first.lifecycles == {"active": 1, "deprecated": 1, "retired": 1}
    assert second.models == {"listed": 25}
    assert second.lifecycles == {"other": 24, "unknown": 1}


def test_the_next_retirement_is_one_ahead(engine: sa.Engine) -> None:
    """The next retirement is the earliest future date of a model neither removed nor retired."""
    with engine.begin() as connection:
        add_source(connection, "anthropic")
        add_source(connection, "gateway")
        add_model(connection, "anthropic", "removed", retires_at=minutes(1), removed_at=NOW)
        add_model(connection, "anthropic", "retired", retires_at=minutes(2), lifecycle="retired")
        add_model(connection, "anthropic", "overdue", retires_at=minutes(0), lifecycle="deprecated")
        add_model(connection, "anthropic", "late", retires_at=minutes(9), lifecycle="deprecated")
        add_model(connection, "anthropic", "next", retires_at=minutes(5), lifecycle="strange")
        add_model(connection, "anthropic", "missing", retires_at=minutes(6), missing_since=NOW)
        add_model(connection, "gateway", "unsaid", retires_at=minutes(7))
    first, second = snapshot_of(engine, "anthropic", "gateway").sources
    assert first.next_retirement_at == minutes(5)
    assert second.next_retirement_at == minutes(7)


def test_deliveries_are_counted_and_the_oldest_event_is_shown(engine: sa.Engine) -> None:
    """Deliveries count by status; the oldest pending one counts by its event."""
    with engine.begin() as connection:
        add_source(connection, "anthropic")
        [run] = add_runs(connection, "anthropic", ("succeeded", NOW, NOW))
        statuses = ("delivered", "failed", "pending", "pending", "pending")
        for number, status in enumerate(statuses):
            event = {"run_id": run, "source": "anthropic", "kind": "added", "changes": {}}
            result = connection.execute(
                sa.insert(model_events).values(**event, occurred_at=minutes(number))
            )
            [event_id] = result.inserted_primary_key
            values = {"event_id": event_id, "channel": "team", "status": status, "attempts": 0}
            connection.execute(sa.insert(alert_deliveries).values(**values))
    snapshot = snapshot_of(engine, "anthropic")
    assert snapshot.deliveries == {"delivered": 1, "failed": 1, "pending": 3}
    assert snapshot.oldest_pending_at == minutes(2)


def test_only_configured_sources_are_shown(engine: sa.Engine) -> None:
    """A source that was never synced has no counts; one that is not configured is left out."""
    with engine.begin() as connection:
        add_source(connection, "former", synced_at=NOW)
        add_runs(connection, "former", ("failed", NOW, NOW))
        add_model(connection, "former", "a")
    [source] = snapshot_of(engine, "new").sources
    assert (source.health.name, source.health.last_success_at) == ("new", None)
    assert (source.runs, source.models) == ({}, {})


def test_what_retention_deleted_stays_counted(engine: sa.Engine) -> None:
    """Runs and deliveries that retention deleted stay in the counters, so that none falls."""
    with engine.begin() as connection:
        add_source(connection, "anthropic")
        add_runs(connection, "anthropic", ("succeeded", NOW, NOW), ("failed", NOW, NOW))
        pruned = {"pruned_succeeded": 5, "pruned_held": 2, "pruned_failed": 1}
        connection.execute(sa.update(sources).values(**pruned, pruned_delivered=7))
    snapshot = snapshot_of(engine, "anthropic")
    assert snapshot.sources[0].runs == {"succeeded": 6, "held": 2, "failed": 2}
    assert snapshot.deliveries["delivered"] == 7


# --- the program's answer ----------------------------------------------------------------------


def settings(url: str, *names: str) -> Settings:
    sources = tuple(SourceSettings(name=name) for name in names or ("anthropic",))
    return Settings(database_url=SecretStr(url), sources=sources)


def names_in(text: bytes) -> set[str]:
    families = text_string_to_metric_families(text.decode())
    return {sample.name for family in families for sample in family.samples}


def test_the_demos_story_is_counted(tmp_path: Path) -> None:
    """After the recorded history: 18 runs, ten models listed and four removed, one deprecated."""
    file = tmp_path / "catalog.db"
    assert [report.error for _, report in story.replay(file) if report.error] == []
    with App(settings(f"sqlite:///{file}")) as app:
        lines = exposition(app.snapshot()).decode().splitlines()
    assert set(lines) >= {
        'catalog_sync_runs_total{source="anthropic",status="succeeded"} 18.0',
        'catalog_sync_models{source="anthropic",state="listed"} 10.0',
        'catalog_sync_models{source="anthropic",state="removed"} 4.0',
        'catalog_sync_listed_models{lifecycle="deprecated",source="anthropic"} 1.0',
        "catalog_sync_database_up 1.0",
    }


def test_an_empty_database_is_up(database_url: str) -> None:
    """A new database without rows has its counts at 0; reading writes nothing."""
    with App(settings(database_url, "anthropic", "gateway")) as app:
        migrate.ensure_schema(app.engine)
        text = exposition(app.snapshot())
        assert b'catalog_sync_runs_total{source="gateway",status="failed"} 0.0' in text
        assert b"catalog_sync_database_up 1.0" in text
        with db_engine.read_transaction(app.engine) as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(sources)) == 0


def test_a_database_that_is_not_set_up_is_down(database_url: str, tmp_path: Path) -> None:
    """A database without a schema counts as down, and none is created."""
    with App(settings(database_url)) as app:
        assert names_in(exposition(app.snapshot())) == DOWN
        assert migrate.current_revision(app.engine) is None
    assert not (tmp_path / "catalog.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://catalog:hunter2-c0ffee@127.0.0.1:1/catalog",
        "mysql://catalog:hunter2-c0ffee@127.0.0.1:1/catalog",
        "sqlite:////dev/null/catalog.db",
    ],
)
def test_a_database_out_of_reach_is_shown(url: str) -> None:
    """A database out of reach is a metric, not an error, and contains no secret."""
    with App(settings(url)) as app:
        text = exposition(app.snapshot())
    assert b"catalog_sync_database_up 0.0" in text
    assert b"hunter2" not in text
    assert names_in(text) == DOWN


def test_a_schema_of_another_version_is_shown(engine: sa.Engine, database_url: str) -> None:
    """A schema that is not this program's counts as a database that cannot be used."""
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE catalog_sync_version SET version_num = '9999'"))
    with App(settings(database_url)) as app:
        assert names_in(exposition(app.snapshot())) == DOWN
