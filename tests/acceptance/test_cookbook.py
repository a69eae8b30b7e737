"""The SQL recipes, and the lines for Datasette and pandas, on the demo's history.

Each recipe is run unchanged, by the database's own driver, in a session whose zone is not UTC. Its
expected answer is stated here, from the history of `demo/history.py`.
"""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import psycopg
import pymysql
import pytest
import sqlalchemy as sa

from catalog_sync.db import engine
from catalog_sync.db.schema import models, sources
from catalog_sync.demo import story
from conftest import empty_database
from cookbook import recipes
from docs import page
from support import environment

BASELINE = [
    "claude-3-haiku-20240307",
    "claude-haiku-4-5-20251001",
    "claude-opus-4-1-20250805",
    "claude-opus-4-20250514",
    "claude-opus-4-5-20251101",
    "claude-sonnet-4-20250514",
    "claude-sonnet-4-5-20250929",
]
HOURS = {  # created at midnight, listed at 18:00 of that day, of the next, or of the one after
    "claude-fable-5": 66,
    "claude-opus-4-6": 42,
    "claude-opus-4-7": 66,
    "claude-opus-4-8": 18,
    "claude-opus-5": 18,
    "claude-sonnet-4-6": 18,
    "claude-sonnet-5": 42,
}
EFFORTLESS = ["claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929"]
CAPABILITIES = [
    "batch",
    "citations",
    "code_execution",
    "context_management",
    "effort",
    "image_input",
    "pdf_input",
    "server_tools",
    "structured_outputs",
    "thinking",
]
DEPRECATED = "claude-sonnet-4-5-20250929"
LISTED = [*HOURS, "claude-haiku-4-5-20251001", "claude-opus-4-5-20251101", DEPRECATED]
SQLITE_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def replayed(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[str]:
    """Give a database of each kind into which the demo's history was replayed."""
    with empty_database(request.param, tmp_path_factory.mktemp("story")) as url:
        assert [report.error for _, report in story.replay(url) if report.error] == []
        yield url


def kind_of(url: str) -> str:
    return sa.make_url(url).drivername.replace("mysql", "mariadb")


def asker(url: str, hours: int) -> Callable[[str], list[tuple[Any, ...]]]:
    """Query as a user does: by the plain driver, in a connection that is hours ahead of UTC."""
    parsed = sa.make_url(url)
    host, port, user, name = parsed.host, parsed.port, parsed.username, parsed.database

    def ask(query: str) -> list[tuple[Any, ...]]:
        if parsed.drivername == "sqlite":
            connection: Any = sqlite3.connect(str(name))
        elif parsed.drivername == "postgresql":
            connection = psycopg.connect(host=host, port=port, user=user, dbname=name)
        else:
            connection = pymysql.connect(host=host, port=port, user=user, database=name)
        with closing(connection), closing(connection.cursor()) as cursor:
            if parsed.drivername == "postgresql":
                cursor.execute(f"SET TIME ZONE INTERVAL '{hours}' HOUR")
            elif parsed.drivername != "sqlite":
                cursor.execute(f"SET time_zone = '{hours:+03}:00'")
            cursor.execute(query)
            return [tuple(map(plain, row)) for row in cursor.fetchall()]

    return ask


def plain(value: Any) -> Any:
    """The same value for every driver: times as aware datetimes, objects decoded."""
    if isinstance(value, str) and SQLITE_TIME.fullmatch(value):
        value = datetime.fromisoformat(value)
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    return value


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Calendar:
    """Moves the whole history in time, so that a day of it is today, and at the end back again."""

    def __init__(self, url: str) -> None:
        self.engine = engine.create_engine(url)
        self.moved = timedelta()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._move(timedelta())
        self.engine.dispose()

    def today_is(self, day: str) -> None:
        now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self._move(now - at(day))

    def _move(self, by: timedelta) -> None:
        step, self.moved = by - self.moved, by
        with self.engine.begin() as connection:
            for table, names in {
                models: ("first_seen_at", "retires_at"),
                sources: ("baseline_at",),
            }.items():
                keys = table.primary_key.columns
                for row in connection.execute(sa.select(table)).mappings().all():
                    moved = {name: row[name] + step for name in names if row[name]}
                    key = sa.and_(*(column == row[column.name] for column in keys))
                    if moved:
                        connection.execute(sa.update(table).where(key).values(moved))


@pytest.mark.parametrize("hours", [-11, 13])
def test_each_recipe(replayed: str, hours: int) -> None:
    """Each recipe's answer follows from the history, whatever zone the connection has."""
    sql = {question: queries[kind_of(replayed)] for question, queries in recipes().items()}
    ask = asker(replayed, hours)
    times = at("2026-02-01 18:00"), at("2026-03-18 18:00"), at("2026-05-31 18:00")
    lifecycle, deprecated = at("2026-10-21 18:00"), at("2026-11-10 18:00")

    found = ask(sql.pop("What changed about one model"))
    assert [row[:3] for row in found] == [
        ("anthropic", at("2027-01-20 18:00"), "retiring"),
        ("anthropic", at("2026-11-21 18:00"), "retiring"),
        ("anthropic", deprecated, "deprecated"),
        ("anthropic", lifecycle, "schema_changed"),
        ("anthropic", times[2], "schema_changed"),
        ("anthropic", times[1], "schema_changed"),
        ("anthropic", times[0], "added"),
    ]
    assert found[0][3] == {"days_left": {"old": 90, "new": 30}}
    assert found[2][3]["lifecycle"] == {"old": "active", "new": "deprecated"}
    assert list(found[4][3]) == ["capabilities.effort.xhigh"]

    assert ask(sql.pop("What was listed when 1 June 2026 began")) == sorted(
        ("anthropic", id_)
        for id_ in (
            *BASELINE[1:],
            "claude-opus-4-6",
            "claude-opus-4-7",
            "claude-opus-4-8",
            "claude-sonnet-4-6",
        )
    )
    assert ask(sql.pop("Which of my models are gone")) == [
        ("anthropic", "claude-opus-4-20250514", at("2026-06-15 17:52"))
    ]
    assert ask(sql.pop("What is each model capable of")) == [
        ("anthropic", id_, name)
        for id_ in sorted(LISTED)
        for name in CAPABILITIES
        if not (name == "effort" and id_ in EFFORTLESS)
    ]
    assert ask(sql.pop("How many hours after its release was a model first seen")) == [
        ("anthropic", id_, hours) for id_, hours in sorted(HOURS.items())
    ]

    new, retiring = sql.pop("What is new this week"), sql.pop("What retires within 90 days")
    with Calendar(replayed) as calendar:
        calendar.today_is("2026-07-25")
        seen = at("2026-07-24 18:00") + calendar.moved
        assert ask(new) == [("anthropic", "claude-opus-5", "Claude Opus 5", seen)]
        calendar.today_is("2026-08-02")
        assert ask(new) == []
        calendar.today_is("2026-02-02")  # later sightings are still in the future then
        assert {row[1] for row in ask(new)} == set(HOURS)
        for day, days_left in (("2026-11-20", None), ("2026-11-21", 90), ("2026-12-01", 80)):
            calendar.today_is(day)
            retires = at("2027-02-19") + calendar.moved
            rows = [("anthropic", DEPRECATED, retires, days_left)] if days_left else []
            assert ask(retiring) == rows
        calendar.today_is("2027-02-20")
        assert ask(retiring) == []
    assert sql == {}


def test_each_database_has_each_recipe() -> None:
    """Every recipe exists for SQLite, PostgreSQL and MariaDB."""
    assert len(recipes()) == 7
    for question, queries in recipes().items():
        assert set(queries) == {"sqlite", "postgresql", "mariadb"}, question


def test_a_model_is_touched_by_what_it_lived_through(replayed: str) -> None:
    """A change of the whole catalog counts for the models that were listed then."""
    query = recipes()["What changed about one model"][kind_of(replayed)]
    ask = asker(replayed, 0)
    kinds = {
        id_: [row[2] for row in ask(query.replace(DEPRECATED, id_))]
        for id_ in ("claude-opus-5", "claude-3-haiku-20240307", "claude-opus")
    }
    assert kinds == {
        "claude-opus-5": ["schema_changed", "added"],
        "claude-3-haiku-20240307": ["removed", "schema_changed", "added"],
        "claude-opus": [],
    }


# --- other tools -------------------------------------------------------------------------------


def test_pandas(replayed: str) -> None:
    """The page's two lines give a frame on each database, with its times as times."""
    (code,) = page("how-to/datasette-and-pandas.md").blocks("python")
    url = replayed.replace("postgresql:", "postgresql+psycopg:").replace("mysql:", "mysql+pymysql:")
    code = code.replace("sqlite:///catalog.db", url)
    code += "print(models.dtypes.to_json(default_handler=str)); print(models['id'].to_json())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    types, ids = map(json.loads, done.stdout.splitlines()[-2:])
    assert set(ids.values()) == set(LISTED)
    for column in ("created_at", "deprecated_at", "retires_at", "first_seen_at", "last_seen_at"):
        assert "datetime64" in json.dumps(types[column]), (column, types[column])


def test_datasette(tmp_path: Path) -> None:
    """Datasette serves the file unchanged: tables and views, and facets of a JSON column."""
    assert [r.error for _, r in story.replay(tmp_path / "catalog.db") if r.error] == []
    answer = datasette("catalog.db", "--get", "/catalog/current_models.json?_shape=array&_size=max")
    assert {row["id"] for row in answer} == set(LISTED)
    answer = datasette("-i", "catalog.db", "--get", "/catalog.json")
    names = {table["name"] for table in answer["tables"]}
    assert {"models", "model_events", "sync_runs", "sources", "alert_deliveries"} <= names
    assert {"current_models", "retiring_models"} <= {view["name"] for view in answer["views"]}


def datasette(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "datasette", *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
