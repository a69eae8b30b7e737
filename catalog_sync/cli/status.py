"""`catalog-sync status`: is the sync alive? For people, and for health checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from catalog_sync.cli import print_error
from catalog_sync.cli.options import DURATION

if TYPE_CHECKING:
    from datetime import timedelta

    from catalog_sync.cli import Context
    from catalog_sync.queries.health import SourceStatus, Status

__all__ = ["status"]


@click.command()
@click.option(
    "--max-age",
    type=DURATION,
    metavar="1h",
    help="How old a source's last success may be. Default: `max_age` of the configuration, or "
    "three intervals.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def status(context: Context, max_age: timedelta | None, as_json: bool) -> int:
    """Print how fresh each source is and how the alerts stand; fail when somebody should look."""
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.queries import health  # noqa: PLC0415  # heavy

    with context.app() as app:
        found = app.status(max_age)
    if as_json:
        render.write_json(found.to_json())
    else:
        _write(found)
    for problem in health.problems(found):
        print_error(problem)
    return int(not found.ok)


def _write(found: Status) -> None:
    from catalog_sync import text  # noqa: PLC0415
    from catalog_sync.cli import render  # noqa: PLC0415

    rows = []
    for source in found.sources:
        last = source.last_success_at
        age = text.since_text(last, found.at) if last else "-"
        rows.append([source.name, _state(source), render.instant(last), age])
    render.write_table(["source", "state", "last success", "age"], rows)
    counts = found.deliveries
    render.write(f"alerts: {counts.pending} pending, {counts.failed} failed")


def _state(source: SourceStatus) -> str:
    if source.last_success_at is None:
        return "never synced"
    if not source.fresh:
        return "stale"
    return "held" if source.held else "fresh"
