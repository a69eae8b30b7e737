"""The queries of the page "Who still calls a retiring model", on the demo's history."""

from __future__ import annotations

import csv
import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from catalog_sync.demo import story
from conftest import empty_database
from docs import page

QUERIES = {
    block.partition("\n")[0].removeprefix("-- "): block
    for block in page("how-to/who-calls-a-retiring-model.md").blocks("sql")
}
NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
DEPRECATED, REMOVED, FINE = (
    "claude-sonnet-4-5-20250929",
    "claude-opus-4-1-20250805",
    "claude-opus-5",
)

# The columns that the query reads, as LiteLLM's migrations create them (litellm-proxy-extras 0.4).
OWN_TABLES = """
CREATE TABLE "LiteLLM_SpendLogs" (request_id text PRIMARY KEY, call_type text NOT NULL,
    api_key text NOT NULL DEFAULT '', "startTime" timestamp(3) NOT NULL,
    "endTime" timestamp(3) NOT NULL, model text NOT NULL DEFAULT '', team_id text);
CREATE TABLE "LiteLLM_VerificationToken" (token text PRIMARY KEY, key_alias text, team_id text);
CREATE TABLE "LiteLLM_TeamTable" (team_id text PRIMARY KEY, team_alias text);
"""


def litellm_tables() -> list[str]:
    """The migrations of the LiteLLM that CATALOG_SYNC_TEST_LITELLM names, else our own tables."""
    program = os.environ.get("CATALOG_SYNC_TEST_LITELLM")
    found: list[Path] = []
    if program:
        packages = Path(program).resolve().parents[1].glob("lib/python3*/site-packages")
        for each in packages:
            found += each.glob("litellm_proxy_extras/migrations/*/migration.sql")
    return [path.read_text(encoding="utf-8") for path in sorted(found)] or [OWN_TABLES]


def test_litellm(tmp_path: Path) -> None:
    """Calls of the last month are counted by team and key, under any spelling of the model."""
    with empty_database("postgresql", tmp_path) as url:
        parsed = sa.make_url(url)
        plain = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            for statements in litellm_tables():
                connection.execute(statements)
            connection.execute("CREATE SCHEMA catalog")
        own = parsed.update_query_dict({"options": "-csearch_path=catalog"})
        reports = story.replay(own.render_as_string(hide_password=False))
        assert [report.error for _, report in reports if report.error] == []
        calls = [
            ("hash1234", f"anthropic/{DEPRECATED}", 0),
            ("hash1234", "claude-sonnet-4-5", 1),
            ("elsewhere", REMOVED, 2),
            ("elsewhere", FINE, 0),
            ("elsewhere", DEPRECATED, 31),
        ]
        with psycopg.connect(plain) as connection, connection.cursor() as cursor:
            cursor.execute(
                'INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias) VALUES (%s, %s)',
                ("t1", "search"),
            )
            cursor.execute(
                'INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, team_id) '
                "VALUES (%s, %s, %s)",
                ("hash1234", "search-prod", "t1"),
            )
            for number, (key, model, days) in enumerate(calls):
                at = NOW - timedelta(days=days)
                cursor.execute(
                    'INSERT INTO "LiteLLM_SpendLogs" (request_id, call_type, api_key, "startTime",'
                    ' "endTime", model) VALUES (%s, %s, %s, %s, %s, %s)',
                    (str(number), "anthropic_messages", key, at, at, model),
                )
            cursor.execute("SET TIME ZONE 'Pacific/Auckland'")
            cursor.execute(QUERIES["LiteLLM, PostgreSQL"].encode())
            found = [(row[0], row[1], *row[4:]) for row in cursor.fetchall()]
    assert found == [
        (DEPRECATED, "deprecated", "search", "search-prod", 2, NOW),
        (REMOVED, None, "-", "elsewher", 1, NOW - timedelta(days=2)),
    ]


@pytest.mark.parametrize(
    ("query", "table", "columns", "numbers"),
    [
        (
            "Anthropic's usage export, SQLite",
            "usage",
            ("usage_date_utc", "model_version", "api_key", "workspace", "usage_output_tokens"),
            (800, 500),
        ),
        (
            "Langfuse's export of observations, SQLite",
            "observations",
            ("start_time", "provided_model_name", "environment", "trace_name", "id"),
            (2, 1),
        ),
    ],
)
def test_an_export(
    tmp_path: Path, query: str, table: str, columns: tuple[str, ...], numbers: tuple[int, int]
) -> None:
    """Calls of the last month in a CSV file are counted by caller, beside the catalog."""
    reports = story.replay(tmp_path / "catalog.db")
    assert [report.error for _, report in reports if report.error] == []
    days = [NOW - timedelta(days=days) for days in (0, 1, 2, 0, 31)]
    models = [DEPRECATED, DEPRECATED, REMOVED, FINE, DEPRECATED]
    with (tmp_path / "export.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for at, model, tokens in zip(days, models, (300, 500, 500, 9, 7), strict=True):
            time = f"{at:%Y-%m-%d}" if table == "usage" else f"{at:%Y-%m-%d %H:%M:%S}.000000"
            writer.writerow([time, model, "one", "two", tokens])
    with closing(sqlite3.connect(":memory:")) as connection:
        # What the shell's `.import --csv` does: a table with the header's columns, all text.
        with (tmp_path / "export.csv").open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        connection.execute(f"CREATE TABLE {table} ({', '.join(f'{name} TEXT' for name in header)})")
        marks = ", ".join("?" * len(header))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        connection.execute("ATTACH ? AS catalog", (str(tmp_path / "catalog.db"),))
        found = connection.execute(QUERIES[query]).fetchall()
    assert [(row[0], row[1], row[3], row[6]) for row in found] == [
        (DEPRECATED, "deprecated", None, numbers[0]),
        (REMOVED, None, "2026-08-05", numbers[1]),
    ]
    assert {frozenset(row[4:6]) for row in found} == {frozenset({"one", "two"})}
