"""`App.status`: the health of the sources and of the alerts, on each database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from catalog_sync.app import App
from catalog_sync.db import migrate
from catalog_sync.db.schema import models, sources, sync_runs
from catalog_sync.domain.kinds import RunStatus
from catalog_sync.queries.metrics import exposition
from support import Answer, ScriptedServer, model, page, settings_for

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MODELS = [model(f"claude-{number}") for number in range(6)]


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def test_the_life_of_a_source(database_url: str) -> None:
    """A source is never synced, fresh, failing but fresh, stale, held and released, in turn."""
    clock = Clock()
    answers = [page(MODELS), Answer(status=400), page(MODELS[:1]), page(MODELS)]

    def walk() -> RunStatus:
        (report,) = app.sync()
        return report.status

    def facts() -> tuple[object, ...]:
        status = app.status()
        (source,) = status.sources
        return status.ok, source.fresh, source.held, source.last_success_at

    with (
        ScriptedServer(lambda _: answers[0]) as server,
        App(settings_for(database_url, server.url), clock) as app,
    ):
        assert facts() == (False, False, False, None)
        assert walk() == "succeeded"
        assert facts() == (True, True, False, NOON)
        clock.now += timedelta(minutes=45)
        answers.pop(0)
        assert walk() == "failed"
        assert facts() == (True, True, False, NOON)
        clock.now += timedelta(seconds=1)
        assert facts() == (False, False, False, NOON)
        (source,) = app.status(timedelta(hours=1)).sources
        assert source.fresh
        assert source.last_error is not None
        assert source.error_code is None or source.error_code == "refused"
        answers.pop(0)
        assert walk() == "held"
        assert facts() == (False, True, True, clock.now)
        answers.pop(0)
        clock.now += timedelta(seconds=1)
        assert walk() == "succeeded"
        assert facts() == (True, True, False, clock.now)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_success_in_the_far_future_does_not_count(database_url: str) -> None:
    """After a clock was set back by a year, a source is stale until it is synced again."""
    clock = Clock()
    with (
        ScriptedServer([page(MODELS)]) as server,
        App(settings_for(database_url, server.url), clock) as app,
    ):
        app.sync()
        clock.now -= timedelta(minutes=30)
        assert app.status().fresh
        clock.now -= timedelta(days=365)
        assert not app.status().fresh
        app.sync()
        (source,) = app.status().sources
        assert (source.fresh, source.last_success_at) == (True, clock.now)
        gauge = r'catalog_sync_last_success_timestamp_seconds{source="anthropic"} (\S+)'
        (shown,) = re.findall(gauge, exposition(app.snapshot()).decode())
        assert float(shown) == clock.now.timestamp()
        clock.now += timedelta(hours=1)
        assert not app.status().fresh


def add_source(app: App, name: str, *runs: tuple[str, str | None], **fields: object) -> None:
    """Insert a source and its runs: status and error code, a minute apart."""
    with app.engine.begin() as connection:
        values = {"name": name, "base_url": "https://api.example.com", **fields}
        connection.execute(sa.insert(sources).values(**values))
        for number, (status, code) in enumerate(runs, 1):
            at = NOON + number * timedelta(minutes=1)
            connection.execute(
                sa.insert(sync_runs).values(
                    source=name,
                    status=status,
                    error=f"source {name}: error of run {number}" if code else None,
                    error_code=code,
                    started_at=at,
                    finished_at=at + timedelta(seconds=1),
                    number=number,
                    models=9,
                )
            )


def add_missing(app: App, source: str, *ids: str) -> None:
    with app.engine.begin() as connection:
        for model_id in ids:
            connection.execute(
                sa.insert(models).values(
                    source=source,
                    id=model_id,
                    display_name=model_id,
                    type="model",
                    payload={},
                    missing_since=NOON,
                    **dict.fromkeys(("created_at", "first_seen_at", "last_seen_at"), NOON),
                )
            )


def test_a_stopped_run_does_not_hide_the_last_error(database_url: str) -> None:
    """The last error is that of the last run that was not stopped; a died run counts."""
    with App(settings_for(database_url, "http://127.0.0.1:9"), Clock()) as app:
        migrate.ensure_schema(app.engine)
        add_source(app, "anthropic", ("failed", "unauthorized"), ("failed", "stopped"))
        add_source(app, "died", ("failed", "unauthorized"), ("failed", "interrupted"))
        add_source(app, "mended", ("failed", "unauthorized"), ("succeeded", None))
        found = {source.name: source for source in app.status().sources}
    assert found["anthropic"].last_error == "error of run 1"
    assert found["anthropic"].error_code == "unauthorized"
    assert found["died"].error_code == "interrupted"
    assert (found["mended"].last_error, found["mended"].error_code) == (None, None)


def test_a_held_source_names_its_models(database_url: str) -> None:
    """A held run shows its reason and every id that waits; another identity shows no ids.

    A run that is held for an empty list shows them too.
    """
    with App(settings_for(database_url, "http://127.0.0.1:9"), Clock()) as app:
        migrate.ensure_schema(app.engine)
        add_source(app, "anthropic", ("succeeded", None), ("held", "held"), ("failed", "x"))
        add_source(app, "released", ("held", "held"), ("succeeded", None))
        add_missing(app, "anthropic", "claude-2", "claude-1")
        add_missing(app, "released", "claude-3")
        held, released = app.status().sources
        assert (held.held, held.held_reason) == (True, "error of run 2")
        assert held.held_models == ("claude-1", "claude-2")
        assert (released.held, released.held_reason, released.held_models) == (False, None, ())
        for number, ids in ((0, ("claude-1", "claude-2")), (None, ())):  # empty list; no list
            with app.engine.begin() as connection:
                connection.execute(sa.update(sync_runs).values(models=number))
            held, _ = app.status().sources
            assert (held.held, held.held_models) == (True, ids)


def test_other_sources_are_shown_after_the_configured_ones(database_url: str) -> None:
    """A source that is in the database but not configured is shown, and changes nothing."""
    with App(settings_for(database_url, "http://127.0.0.1:9"), Clock()) as app:
        migrate.ensure_schema(app.engine)
        now = {"last_synced_at": NOON, "clock_offset_seconds": 400}
        add_source(app, "anthropic", ("succeeded", None), **now)
        add_source(app, "a former one", ("held", "held"))
        status = app.status()
    assert [(s.name, s.configured) for s in status.sources] == [
        ("anthropic", True),
        ("a former one", False),
    ]
    assert status.ok
    assert status.sources[0].clock_offset_seconds == 400


def test_the_number_of_statements_is_constant(database_url: str) -> None:
    """The status and the metrics of twenty sources take as many statements as those of one."""
    counts = []
    with App(settings_for(database_url, "http://127.0.0.1:9"), Clock()) as app:
        migrate.ensure_schema(app.engine)
        statements: list[str] = []
        sa.event.listen(
            app.engine, "before_cursor_execute", lambda *event: statements.append(event[2])
        )
        for first, last in ((0, 1), (1, 20)):
            for number in range(first, last):
                add_source(app, f"source {number}", ("succeeded", None), ("held", "held"))
            statements.clear()
            app.status()
            exposition(app.snapshot())
            counts.append(len(statements))
    assert counts[0] == counts[1]
