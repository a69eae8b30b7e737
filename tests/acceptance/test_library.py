"""The program as a library: `from catalog_sync import ...`, as its page shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import catalog_sync
from catalog_sync import (
    AlertSettings,
    App,
    ConfigError,
    DatabaseError,
    DeliveryCounts,
    Kind,
    RunStatus,
    SecretStr,
    SourceError,
    load,
)
from catalog_sync.demo import story
from catalog_sync.demo.history import steps
from catalog_sync.demo.sandbox import Sandbox
from docs import page
from support import KEY, environment, settings_for

USER = """
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from catalog_sync import (
    AlertSettings, App, CatalogSyncError, DeliveryCounts, Event, Kind, ModelInfo, ModelRecord,
    RunOptions, RunReport, RunStatus, SecretStr, Settings, SourceSettings, load,
)


def use(settings: Settings) -> None:
    with App(settings) as app:
        reports: list[RunReport] = app.sync(RunOptions(dry_run=True), names=["anthropic"])
        failed = [r.cause for r in reports if r.status is RunStatus.FAILED]
        causes: list[CatalogSyncError | None] = failed
        then = datetime(2026, 6, 1, tzinfo=UTC)
        models: list[ModelRecord] = app.models(sources=["a"], as_of=then, removed=True)
        infos: list[ModelInfo] = [model.info for model in models]
        events: Iterator[Event] = app.events(kinds=[Kind.ADDED], models="claude-*", since=then)
        counts: DeliveryCounts = app.deliver()
        reveal_type(infos[0].retires_at)
        print(causes, events, counts.pending)


alert = AlertSettings(name="team", url=SecretStr("json://localhost"))
use(Settings(sources=(SourceSettings(name="a"),), alerts=(alert,)))
use(load(Path("catalog-sync.toml")))
load(7)
"""


def example() -> str:
    return page("reference/library.md").blocks("python")[0]


def test_the_example() -> None:
    """The example's lines make a run, print their results, and nothing else."""
    with Sandbox(steps()[-1].models, api_key=KEY) as sandbox:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", example()],
            env=environment(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=sandbox.url),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (0, "")
    first, past, *events = done.stdout.splitlines()
    assert first == f"anthropic succeeded {len(steps()[-1].models)} None"
    assert past == "[]"
    assert [line.split()[3] for line in events] == [model["id"] for model in steps()[-1].models]


def test_types_reach_the_user() -> None:
    """A strictly typed program sees the types of the public API, and its mistakes are reported."""
    Path("user.py").write_text(USER, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "user.py"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    lines = done.stdout.splitlines()
    assert 'note: Revealed type is "datetime.datetime | None"' in lines[0].replace(
        "Union[datetime.datetime, None]", "datetime.datetime | None"
    )
    assert 'error: Argument 1 to "load" has incompatible type "int"' in lines[1]
    assert lines[2:] == ["Found 1 error in 1 file (checked 1 source file)"]


def test_every_name_is_there_and_documented() -> None:
    """All names of `__all__` can be imported, have a docstring, and are documented."""
    for name in catalog_sync.__all__:
        value = getattr(catalog_sync, name)
        assert name == "__version__" or (value.__doc__ or "").strip(), name
    assert set(catalog_sync.__all__) <= set(dir(catalog_sync))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        catalog_sync.Nothing  # noqa: B018
    namespace: dict[str, object] = {}
    exec("from catalog_sync import *", namespace)
    assert set(catalog_sync.__all__) <= set(namespace)


def test_a_guest_in_its_process() -> None:
    """The library does not change logging, signals and threads, and prints nothing."""
    code = """
import logging, signal, sys, threading
signals = [signal.getsignal(number) for number in signal.valid_signals()]
from catalog_sync import App, load
with App(load()) as app:
    assert app.sync()[0].status == "succeeded"
    assert app.deliver().pending == 0
    assert list(app.events())
assert [signal.getsignal(number) for number in signal.valid_signals()] == signals
assert threading.enumerate() == [threading.main_thread()]
assert logging.getLogger().handlers == []
named = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
assert [each.name for each in named if each.name.startswith("catalog") and each.handlers] == []
assert logging.getLogger("catalog_sync").level == logging.NOTSET
"""
    with Sandbox(steps()[0].models, api_key=KEY) as sandbox:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment(ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=sandbox.url),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_errors(tmp_path: Path) -> None:
    """An error of all sources is raised, an error of one is in its report, and no key is shown."""
    with Sandbox(steps()[0].models, api_key=KEY) as sandbox:
        settings = settings_for(f"sqlite:///{tmp_path}/c.db", sandbox.url, key="sk-wrong-9d1f")
        with App(settings) as app:
            [report] = app.sync()
            assert report.status is RunStatus.FAILED
            assert isinstance(report.cause, SourceError)
            assert "sk-wrong-9d1f" not in repr([report, app, app.settings, app.engine])
            with pytest.raises(ConfigError, match="no source is named"):
                app.models(sources=["other"])
            with pytest.raises(ConfigError, match="no source is named"):
                app.sync(names=["other"])
    nowhere = settings_for("sqlite:///gone/catalog.db", "http://127.0.0.1:9")
    with App(nowhere) as app, pytest.raises(DatabaseError):
        app.sync()
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load(Path("none.toml"))


def test_events_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    """The first event arrives before the last is read; an unfinished iterator holds nothing."""
    assert [r.error for _, r in story.replay(tmp_path / "catalog.db") if r.error] == []
    with App(settings_for(f"sqlite:///{tmp_path}/catalog.db", "http://127.0.0.1:9")) as app:
        events = app.events(models="claude-opus-4-*", since=datetime(2026, 2, 5, 18, tzinfo=UTC))
        first = next(events)
        assert first.model_id == "claude-opus-4-6"
        assert app.engine.pool.checkedout() == 1
        events.close()
        assert app.engine.pool.checkedout() == 0
        after = first.occurred_at + timedelta(microseconds=1)
        kinds = {event.kind for event in app.events(since=after)}
        assert kinds >= {Kind.ADDED, Kind.REMOVED, Kind.SCHEMA_CHANGED}


def test_kinds_as_text(tmp_path: Path) -> None:
    """A kind may be given as text, and an unknown kind is refused."""
    story.replay(tmp_path / "catalog.db")
    with App(settings_for(f"sqlite:///{tmp_path}/catalog.db", "http://127.0.0.1:9")) as app:
        found = list(app.events(kinds=["removed"]))  # type: ignore[list-item]
        assert found == list(app.events(kinds=[Kind.REMOVED]))
        with pytest.raises(ValueError, match="'gone' is not a valid Kind"):
            list(app.events(kinds=["gone"]))  # type: ignore[list-item]


def test_nothing_is_due_before_the_first_run(database_url: str, tmp_path: Path) -> None:
    """An empty database has no deliveries, also with a channel, and none is created."""
    settings = settings_for(database_url, "http://127.0.0.1:9")
    alert = AlertSettings(name="hook", webhook=SecretStr("http://127.0.0.1:9"))
    for alerts in [(), (alert,)]:
        with App(settings.model_copy(update={"alerts": alerts})) as app:
            assert app.deliver() == DeliveryCounts(0, 0, 0)
    assert list(tmp_path.iterdir()) == []


def test_threads_share_an_app_on_an_empty_database(database_url: str) -> None:
    """Threads that read, run and deliver at the same time set the database up, and all succeed."""
    with Sandbox(steps()[0].models, api_key=KEY) as sandbox:
        settings = settings_for(database_url, sandbox.url, key=KEY)
        with App(settings) as app, ThreadPoolExecutor(30) as threads:
            asked = [app.models, app.status, app.deliver, app.sync, lambda: list(app.events())] * 6
            for answer in [threads.submit(ask) for ask in asked]:
                answer.result(timeout=60)
            assert len(app.models()) == len(steps()[0].models)


def in_a_process(code: str, database_url: str) -> subprocess.CompletedProcess[str]:
    """Run a program that uses the library on five sources, s0 to s4, of the same API."""
    with Sandbox(steps()[0].models, api_key=KEY) as sandbox:
        sources = [{"name": f"s{number}", "base_url": sandbox.url} for number in range(5)]
        return subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
            env=environment(
                ANTHROPIC_API_KEY=KEY,
                CATALOG_SYNC_SOURCES=json.dumps(sources),
                CATALOG_SYNC_DATABASE_URL=database_url,
            ),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


def test_forked_processes(database_url: str) -> None:
    """Forked processes open their own connections, also if the parent has used its App."""
    code = """
import os, sys
from catalog_sync import App, load

def use(app, name):
    for _ in range(20):
        assert [model.info.id for model in app.models()] == expected
        [report] = app.sync(names=[name])
        assert report.status == "succeeded", report.error

with App(load()) as app:
    assert {report.status for report in app.sync()} == {"succeeded"}
    expected = [model.info.id for model in app.models()]
    children = []
    for number in range(4):
        if not (child := os.fork()):
            try:
                use(app, f"s{number}")
            except BaseException as error:
                sys.stderr.write(f"{error!r}")
                os._exit(1)
            os._exit(0)
        children.append(child)
    use(app, "s4")
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
"""
    done = in_a_process(code, database_url)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_forked_process_outlives_the_connections_of_its_parent(database_url: str) -> None:
    """A forked process sees what others write after its parent has closed the database."""
    code = """
import os
from catalog_sync import App, load

def sources(app):
    return {model.source for model in app.models()}

asked, answer = os.pipe(), os.pipe()
app = App(load())
app.sync(names=["s0"])
if not (child := os.fork()):
    assert sources(app) == {"s0"}
    os.write(answer[1], b".")
    os.read(asked[0], 1)
    os._exit(0 if sources(app) == {"s0", "s1"} else 1)
os.read(answer[0], 1)
app.close()
with App(load()) as other:
    other.sync(names=["s1"])
    os.write(asked[1], b".")
    assert os.waitpid(child, 0)[1] == 0
"""
    done = in_a_process(code, database_url)
    assert (done.returncode, done.stderr) == (0, "")
