"""`catalog-sync run`: the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalog_sync import logs
from catalog_sync.cli import SignalReceived
from catalog_sync.service.process import Daemon

if TYPE_CHECKING:
    from catalog_sync.cli.options import Context


def run(context: Context) -> int:
    """Run the daemon until it is stopped; return the exit code."""
    logs.show_progress()
    try:
        return Daemon(context.app).run()
    except SignalReceived:  # before anything ran
        return 0
