"""`catalog-sync publish`: a static site from the database. It needs no key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalog_sync.text import count, escape_controls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catalog_sync.cli import Context


@click.command(epilog="Example: catalog-sync publish /var/www/models")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source; repeatable."
)
@click.pass_obj
def publish(context: Context, directory: str, sources: Sequence[str]) -> None:
    """Write a static site: page, JSON, CSV, feed and calendar.

    Other files in DIR stay. A file whose content has not changed is not written again.
    """
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.errors import NotFoundError  # noqa: PLC0415
    from catalog_sync.queries import catalog as queries_catalog  # noqa: PLC0415  # heavy
    from catalog_sync.site import write  # noqa: PLC0415
    from catalog_sync.site.content import KINDS, SiteContent  # noqa: PLC0415

    if not directory:  # from an unset variable; it would mean the current directory
        raise click.UsageError("DIR is empty")
    with context.app() as app, app.read_transaction(sources) as connection:
        recorded = queries_catalog.list_sources(connection, sources=sources)
        if not recorded:
            raise NotFoundError("nothing was recorded yet", "run: catalog-sync sync")
        content = SiteContent(
            tuple(queries_catalog.list_models(connection, sources=sources, removed=True)),
            tuple(recorded),
            app.settings.site_title,
            app.settings.public_url,
            tuple(sources),
        )
        where = queries_catalog.EventFilter(sources=sources, kinds=KINDS)
        events = queries_catalog.iter_events(connection, where)
        published = write.publish(Path(directory), content, events)
    render.write(
        f"published {count(published.models, 'model')} and {count(published.events, 'event')} "
        f"to {escape_controls(directory)}: {len(write.FILES)} files, "
        f"{len(published.changed)} changed"
    )
