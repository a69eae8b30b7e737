"""`catalog-sync sources`: list the sources, or delete one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from catalog_sync.cli import render
from catalog_sync.clock import format_instant
from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.db import state as db_state
from catalog_sync.db.retention import forget as forget_source
from catalog_sync.errors import ConfigError, NotFoundError
from catalog_sync.text import count, did_you_mean, escape_controls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from catalog_sync.app import App
    from catalog_sync.cli.options import Context

_COLUMNS = ("name", "configured", "base_url", "baseline_at", "last_synced_at")


def list_(context: Context, format_: str) -> None:
    """Print the sources in the database and in the configuration, by name."""
    with context.app() as app:
        found = _rows(app)
    if format_ in {"json", "csv"}:
        rows = (
            {
                **row,
                "baseline_at": row["baseline_at"] and format_instant(row["baseline_at"]),
                "last_synced_at": row["last_synced_at"] and format_instant(row["last_synced_at"]),
            }
            for row in found
        )
        render.write_rows(rows, _COLUMNS, format_)
        return
    table = [
        [
            row["name"],
            "yes" if row["configured"] else "no",
            row["base_url"],
            render.day(row["baseline_at"]),
            render.instant(row["last_synced_at"]),
        ]
        for row in found
    ]
    columns = ["source", "configured", "base_url", "since", "last synced"]
    render.write_table(columns, table, text={"base_url"}, plain=format_ == "lines")


def _rows(app: App) -> list[Mapping[str, Any]]:
    with app.read_transaction() as connection:
        recorded = {source.name: source for source in db_state.select_sources(connection)}
    configured = {source.name: source for source in app.settings.sources}
    return [
        {
            "name": name,
            "configured": name in configured,
            "base_url": (configured.get(name) or recorded[name]).base_url,
            "baseline_at": recorded[name].baseline_at if name in recorded else None,
            "last_synced_at": recorded[name].last_synced_at if name in recorded else None,
        }
        for name in sorted({*recorded, *configured})
    ]


def forget(context: Context, name: str, yes: bool) -> int:
    """Delete a source with all its rows, after a confirmation."""
    with context.app() as app:
        rows = {row["name"]: row for row in _rows(app)}
        if name not in rows:
            advice = did_you_mean(name, rows) or "see: catalog-sync sources list"
            raise NotFoundError(f"no source named {name!r} is recorded", advice)
        if rows[name]["configured"]:
            raise ConfigError(
                f"source {name} is configured, and would be recorded again",
                "remove it from the configuration first",
            )
        if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfigError("sources forget asks on a terminal", "elsewhere it needs --yes")
        question = f"Delete source {escape_controls(name)} with its models, events and runs?"
        if not yes and not click.confirm(question, err=True):
            render.note("nothing was deleted")
            return 0
        migrate.ensure_schema(app.engine)
        models = db_engine.run(app.engine, lambda connection: forget_source(connection, name))
    render.write(f"forgot source {escape_controls(name)}: {count(models, 'model')} deleted")
    return 0
