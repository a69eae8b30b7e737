"""`db`: upgrade the schema, print its revision, copy the database."""

from __future__ import annotations

import sys

import click

from catalog_sync.cli import render
from catalog_sync.cli.options import Context, Group


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
