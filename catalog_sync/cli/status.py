"""`status`: the health of the sync, for people and for health checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from catalog_sync.cli import print_error, render
from catalog_sync.cli.options import Context, duration_option
from catalog_sync.text import since_text

if TYPE_CHECKING:
    from catalog_sync.domain.model import ModelRecord
    from catalog_sync.queries.health import Status

_SHOWN_MODELS = 5


@click.command(epilog="Example: catalog-sync status --max-age 1h")
@duration_option(
    "--max-age",
    "1h",
    "The allowed age of a source's last success. Default: `max_age` of the configuration, or "
    "three intervals.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def status(context: Context, max_age: timedelta | None, as_json: bool) -> int:
    """Show the freshness of each source and the state of the alerts.

    Names the listed models that are deprecated or retire soon, and their successors.

    Exit code 1: a source is stale or held, or an alert of a configured channel failed.
    """
    from catalog_sync.queries import health

    with context.app() as app:
        found = app.status(max_age)
        config = str(app.settings.file) if app.settings.file else None
        database = app.database
        records = [] if as_json else app.models(removed=True)
    if as_json:
        render.write_json(found.to_json(database, config))
    else:
        render.write(f"configuration: {config or 'none'}")
        render.write(f"database: {database}")
        _write(found)
        _write_leaving(records, found.at, app.settings.check.within)
    for problem in health.problems(found):
        print_error(problem)
    return int(not found.ok)


def _write(found: Status) -> None:
    table = []
    for source in found.sources:
        state = source.problem or ("held" if source.held else "fresh")
        at = source.last_success_at
        row = {
            "source": source.name,
            "state": state.replace("_", " ") if source.configured else "not configured",
            "last success": render.local_time(at),
            "age": since_text(at, found.at) if at else None,
            "last error": source.last_error,
        }
        table.append(row)
    render.write_table(table, text="last error")
    numbers = (_numbers("pending", found.pending), _numbers("failed", found.failed))
    render.write(f"alerts: {', '.join(numbers)}")


def _numbers(status: str, by_channel: Mapping[str, int]) -> str:
    """Return the number of deliveries with a status, and that of each channel."""
    each = ", ".join(f"{number} of {channel}" for channel, number in sorted(by_channel.items()))
    return f"{sum(by_channel.values())} {status}{f' ({each})' if each else ''}"


def _write_leaving(records: Sequence[ModelRecord], now: datetime, within: timedelta) -> None:
    """Print the listed models that users must migrate from, the most urgent first."""
    from catalog_sync.domain.event_text import deadline_text
    from catalog_sync.domain.successor import dependable, successors

    newer = successors(records, now)
    several = len({one.source for one in records}) > 1
    leaving = [one for one in records if one.listed and not dependable(one, now, within)]
    found = [one for one in leaving if not one.retired]
    found.sort(key=lambda one: (one.info.retires_at is None, one.info.retires_at or now))
    table = []
    for one in found[:_SHOWN_MODELS]:
        successor, retires_at = newer.get((one.source, one.info.id)), one.info.retires_at
        row = {
            "model": one.info.id,
            **({"source": one.source} if several else {}),
            "lifecycle": one.info.lifecycle,
            "retires": deadline_text(retires_at, now) if retires_at else None,
            "successor": successor.info.id if successor else None,
        }
        table.append(row)
    if table:
        render.write("")
    render.write_table(table, text="retires", spare=["lifecycle"])
    if len(found) > _SHOWN_MODELS:
        render.write(f"and {len(found) - _SHOWN_MODELS} more; see: catalog-sync models")
