"""`App.status`: how fresh the sources are and how the alerts stand, on each database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from catalog_sync.app import App
from catalog_sync.domain.kinds import RunStatus
from support import Answer, ScriptedServer, model, page, settings_for

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MODELS = [model(f"claude-{number}") for number in range(6)]


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def test_the_life_of_a_source(database_url: str) -> None:
    """Never synced, fresh, failing but fresh, stale, held, released: each as it is."""
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
        assert source.last_run is not None
        assert source.last_run.status is RunStatus.FAILED
        answers.pop(0)
        assert walk() == "held"
        assert facts() == (False, True, True, clock.now)
        answers.pop(0)
        clock.now += timedelta(seconds=1)
        assert walk() == "succeeded"
        assert facts() == (True, True, False, clock.now)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_success_in_the_far_future_says_nothing(database_url: str) -> None:
    """After a clock that was set back by a year, a source is not fresh until it is synced again."""
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
        (told,) = re.findall(gauge, app.metrics().decode())
        assert float(told) == clock.now.timestamp()
        clock.now += timedelta(hours=1)
        assert not app.status().fresh
