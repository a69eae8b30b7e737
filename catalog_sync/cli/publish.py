"""`publish`: write a static site from the database. It needs no key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from catalog_sync.cli import render
from catalog_sync.cli.options import Context, source_option
from catalog_sync.errors import NotFoundError
from catalog_sync.text import count, escape_controls


@click.command(epilog="Example: catalog-sync publish /var/www/models")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@source_option
@click.pass_obj
def publish(context: Context, directory: str, sources: Sequence[str]) -> None:
    """Write a static site: page, JSON, CSV, feed and calendar.

    Other files in DIR stay. A file whose content has not changed is not written again.
    """
    from catalog_sync.db.events import EventFilter, select_events
    from catalog_sync.queries import catalog
    from catalog_sync.site import write
    from catalog_sync.site.content import KINDS, SiteContent

    if not directory:  # from an unset variable; it would mean the current directory
        raise click.UsageError("DIR is empty")
    with context.app() as app, app.read_transaction(sources) as connection:
        recorded = catalog.list_sources(connection, sources=sources)
        if not recorded:
            raise NotFoundError("nothing was recorded yet", "run: catalog-sync sync")
        content = SiteContent(
            tuple(catalog.list_models(connection, sources=sources, removed=True)),
            tuple(recorded),
            app.settings.site_title,
            app.settings.public_url,
            tuple(sources),
        )
        found = select_events(connection, EventFilter(sources, KINDS))
        events, written = write.publish(Path(directory), content, found)
    render.write(
        f"published {count(len(content.models), 'model')} and {count(events, 'event')} "
        f"to {escape_controls(directory)}: {len(written)} files, {sum(written.values())} changed"
    )
