"""`sources`: list the sources, or delete one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from catalog_sync.cli import render
from catalog_sync.cli.options import Context, Group, recorded, row_format
from catalog_sync.errors import ConfigError, NotFoundError
from catalog_sync.text import count, did_you_mean, escape_controls

if TYPE_CHECKING:
    from catalog_sync.app import App

_COLUMNS = ("name", "configured", "base_url", "baseline_at", "last_synced_at")


@click.group(cls=Group)
def sources() -> None:
    """List the sources in the database, or forget one."""


@sources.command("list", epilog="Example: catalog-sync sources list --json")
@row_format
@click.pass_obj
def list_(context: Context, format_: str | None) -> None:
    """Print the sources in the database and in the configuration."""
    from catalog_sync.queries import export

    with context.app() as app:
        found = _rows(app)
    table = (
        {
            "source": row["name"],
            "configured": "yes" if row["configured"] else "no",
            "base_url": row["base_url"],
            "since": render.day(row["baseline_at"]),
            "last synced": render.local_time(row["last_synced_at"]),
        }
        for row in found
    )
    rows = (export.row(_COLUMNS, None, **row) for row in found)
    render.write_rows(format_, rows, _COLUMNS, table, text="base_url")


def _rows(app: App) -> list[Mapping[str, Any]]:
    from catalog_sync.db import state

    with app.read_transaction() as connection:
        recorded = {source.name: source for source in state.select_sources(connection)}
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


@sources.command(epilog="Example: catalog-sync sources forget old-gateway --yes")
@click.argument("name", shell_complete=recorded("sources"))
@click.option("--yes", is_flag=True, help="Do not ask; required without a terminal.")
@click.pass_obj
def forget(context: Context, name: str, yes: bool) -> None:
    """Delete a source that is no longer configured, with all its rows."""
    shown = escape_controls(name)
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
        question = f"Delete source {shown} with its models, events and runs?"
        if not yes and not click.confirm(question, err=True):
            render.note("nothing was deleted")
            return
        models = app.forget(name)
    render.write(f"forgot source {shown}: {count(models, 'model')} deleted")
