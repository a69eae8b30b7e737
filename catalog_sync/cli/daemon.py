"""`catalog-sync run`: the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from catalog_sync.cli import SignalReceived

if TYPE_CHECKING:
    from catalog_sync.cli import Context

__all__ = ["run"]


@click.command()
@click.pass_obj
def run(context: Context) -> int:
    """Sync on a schedule and deliver alerts in between, until told to stop.

    SIGTERM and SIGINT end it, SIGHUP lets it read its configuration anew.
    """
    from catalog_sync import logs  # noqa: PLC0415
    from catalog_sync.service.process import Daemon  # noqa: PLC0415  # heavy

    logs.show_progress()
    try:
        return Daemon(context.app).run()
    except SignalReceived:  # before there was anything to stop
        return 0
