"""`db`: the schema of the database, and a copy of it. `sources`: the sources that it holds."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from catalog_sync.cli import render
from catalog_sync.cli.options import Context, Group, recorded, row_format
from catalog_sync.errors import ConfigError, NotFoundError
from catalog_sync.text import count, did_you_mean, escape_controls

if TYPE_CHECKING:
    from catalog_sync.app import App
    from catalog_sync.domain.model import SourceRecord

_COLUMNS = ("name", "configured", "base_url", "baseline_at", "last_synced_at")


@click.group(cls=Group)
def db() -> None:
    """Upgrade or copy the database, or print its schema revision."""


@db.command(epilog="Example: catalog-sync db upgrade")
@click.pass_obj
def upgrade(context: Context) -> None:
    """Upgrade the schema to this program's revision; safe to repeat."""
    from catalog_sync.db import migrate

    with context.app() as app:
        before, after = migrate.upgrade(app.engine)
    if before == after:
        render.write(f"already at {after}")
    else:
        render.write(f"upgraded from {before or 'nothing'} to {after}")


@db.command(epilog="Example: catalog-sync db current")
@click.pass_obj
def current(context: Context) -> None:
    """Print the schema revision of the database and of this program."""
    from catalog_sync.db import migrate

    with context.app() as app:
        revision = migrate.current_revision(app.engine)
    state = "" if revision == migrate.HEAD else f" (this program: {migrate.HEAD})"
    render.write(f"{revision or 'no schema yet'}{state}")


@db.command(epilog="Example: catalog-sync db copy postgresql://catalog@db/catalog")
@click.argument("url")
@click.pass_obj
def copy(context: Context, url: str) -> None:
    """Copy everything into the empty database at URL.

    The configured database is only read. The copy is compared with it before the commit. A
    database at URL that is not empty is refused.
    """
    from catalog_sync.db import copy as db_copy
    from catalog_sync.db import engine
    from catalog_sync.db.urls import display_url

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            click.echo(f"\r{done} of {total} rows{end}", err=True, nl=False)

    target = engine.create_engine(url)
    try:
        with context.app() as app:
            rows = db_copy.copy(app.engine, target, on_rows=show)
            place = display_url(target.url)
            render.write(f"copied {rows} rows from {app.database} to {place}, and compared them")
    finally:
        target.dispose()


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
        found = _sources(app).values()
    table = (
        {
            "source": source.name,
            "configured": "yes" if configured else "no",
            "base_url": source.base_url,
            "since": render.day(source.baseline_at),
            "last synced": render.local_time(source.last_synced_at),
        }
        for source, configured in found
    )
    rows = (export.row(_COLUMNS, source, configured=configured) for source, configured in found)
    render.write_rows(format_, rows, _COLUMNS, table, text="base_url")


def _sources(app: App) -> dict[str, tuple[SourceRecord, bool]]:
    """Return the sources by name, and whether each is configured."""
    from catalog_sync.db import state
    from catalog_sync.domain.model import SourceRecord

    with app.read_transaction() as connection:
        found = {source.name: (source, False) for source in state.select_sources(connection)}
    for source in app.settings.sources:
        record, _ = found.get(source.name, (SourceRecord(source.name, ""), False))
        found[source.name] = replace(record, base_url=source.base_url), True
    return dict(sorted(found.items()))


@sources.command(epilog="Example: catalog-sync sources forget old-gateway --yes")
@click.argument("name", shell_complete=recorded("sources"))
@click.option("--yes", is_flag=True, help="Do not ask; required without a terminal.")
@click.pass_obj
def forget(context: Context, name: str, yes: bool) -> None:
    """Delete a source that is no longer configured, with all its rows."""
    shown = escape_controls(name)
    with context.app() as app:
        found = _sources(app)
        if name not in found:
            advice = did_you_mean(name, found) or "see: catalog-sync sources list"
            raise NotFoundError(f"no source named {name!r} is recorded", advice)
        _, configured = found[name]
        if configured:
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
