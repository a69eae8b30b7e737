"""`catalog-sync publish`: a static site from the table. It needs no key."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catalog_sync.cli import Context

__all__ = ["publish"]


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source; repeatable."
)
@click.pass_obj
def publish(context: Context, directory: str, sources: Sequence[str]) -> None:
    """Write a static site into DIR: a page, JSON, CSV, an Atom feed and a calendar.

    Files that are not the site's own stay. What has not changed is not written again.
    """
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.errors import NotFoundError  # noqa: PLC0415
    from catalog_sync.queries import catalog as queries_catalog  # noqa: PLC0415  # heavy
    from catalog_sync.site import content, write  # noqa: PLC0415

    if not directory:  # as from an unset variable; it would name the current directory
        raise click.UsageError("DIR is empty")
    with context.app() as app:
        with app.reading(sources) as connection:
            if not queries_catalog.list_sources(connection, sources=sources):
                raise NotFoundError("nothing was recorded yet", "run: catalog-sync sync")
        with write.Directory(Path(directory)) as place:
            with app.reading(sources) as connection:
                contents = content.SiteContent(
                    tuple(queries_catalog.list_models(connection, sources=sources, removed=True)),
                    tuple(
                        queries_catalog.iter_events(
                            connection, sources=sources, kinds=content.KINDS
                        )
                    ),
                    tuple(queries_catalog.list_sources(connection, sources=sources)),
                    app.settings.public_url,
                    tuple(sources),
                )
            files = write.render(contents)
            changed = place.write(files)
    models, events = len(contents.models), len(contents.events)
    render.write(
        f"published {models} model{'' if models == 1 else 's'} and "
        f"{events} event{'' if events == 1 else 's'} to {render.visible(directory)}: "
        f"{len(files)} files, {len(changed)} changed"
    )
