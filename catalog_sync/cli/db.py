"""`catalog-sync db`: the schema of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from catalog_sync.cli.options import Group

if TYPE_CHECKING:
    from catalog_sync.cli import Context

__all__ = ["db"]


@click.group(cls=Group)
def db() -> None:
    """Upgrade the database's schema, or print its revision."""


@db.command(epilog="Example: catalog-sync db upgrade")
@click.pass_obj
def upgrade(context: Context) -> None:
    """Bring the schema to this program's revision; safe to repeat."""
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.db import migrate  # noqa: PLC0415  # heavy

    with context.app() as app:
        before, after = migrate.upgrade(app.engine)
    if before == after:
        render.write(f"already at {after}")
    else:
        render.write(f"upgraded from {before or 'nothing'} to {after}")


@db.command(epilog="Example: catalog-sync db current")
@click.pass_obj
def current(context: Context) -> None:
    """Print the revision of the database, and this program's."""
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.db import migrate  # noqa: PLC0415  # heavy

    with context.app() as app:
        revision = migrate.current_revision(app.engine)
    state = "" if revision == migrate.HEAD else f" (this program: {migrate.HEAD})"
    render.write(f"{revision or 'no schema yet'}{state}")
