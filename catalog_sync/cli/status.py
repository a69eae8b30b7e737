"""`catalog-sync status`: whether the sync is alive, for people and for health checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from catalog_sync.cli import print_error
from catalog_sync.cli.options import DURATION

if TYPE_CHECKING:
    from datetime import timedelta

    from catalog_sync.cli import Context
    from catalog_sync.queries.health import SourceHealth, Status


@click.command(epilog="Example: catalog-sync status --max-age 1h")
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
    """Show how fresh each source is and how the alerts stand.

    Exit code 1: a source is stale or held, or an alert of a configured channel failed.
    """
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.queries import health_text  # noqa: PLC0415  # heavy

    with context.app() as app:
        found = app.status(max_age)
        config = str(app.settings.file) if app.settings.file else None
        database = app.database
    if as_json:
        render.write_json(found.to_json(database, config))
    else:
        render.write(f"configuration: {config or 'none'}")
        render.write(f"database: {database}")
        _write(found)
    for problem in health_text.problems(found):
        print_error(problem)
    return int(not found.ok)


def _write(found: Status) -> None:
    from catalog_sync import text  # noqa: PLC0415
    from catalog_sync.cli import render  # noqa: PLC0415

    rows = []
    for source in found.sources:
        last = source.last_success_at
        age = text.since_text(last, found.at) if last else "-"
        state, error = _state(source), source.last_error or "-"
        rows.append([source.name, state, render.instant(last), age, error])
    render.write_table(
        ["source", "state", "last success", "age", "last error"], rows, text={"last error"}
    )
    failed = [f"{number} of {channel}" for channel, number in sorted(found.failed.items())]
    total = sum(found.failed.values())
    details = f" ({', '.join(failed)})" if failed else ""
    render.write(f"alerts: {found.pending} pending, {total} failed{details}")


def _state(source: SourceHealth) -> str:
    if not source.configured:
        return "not configured"
    if source.last_success_at is None:
        return "never synced"
    if not source.fresh:
        return "stale"
    return "held" if source.held else "fresh"
