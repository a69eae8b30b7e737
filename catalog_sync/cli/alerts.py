"""`alerts`: test channels; list and retry deliveries."""

from __future__ import annotations

from collections.abc import Collection

import click

from catalog_sync.cli import print_error, render
from catalog_sync.cli.options import Context, Group, recorded, row_format
from catalog_sync.errors import ConfigError

_RECENT = 20
"""How many delivered alerts `alerts list` shows."""


@click.group(cls=Group)
def alerts() -> None:
    """Test alert channels; list and retry deliveries."""


@alerts.command(epilog="Example: catalog-sync alerts test team")
@click.argument("channel", required=False, shell_complete=recorded("channels"))
@click.pass_obj
def test(context: Context, channel: str | None) -> int:
    """Send a test message to CHANNEL, or to every channel.

    Fails if a channel does not accept the message.
    """
    from catalog_sync.alerts import message

    with context.app() as app:
        channels = app.channels()
        if not channels:
            raise ConfigError("no alert channel is configured", "add an [[alerts]] table")
        _refuse_unknown(channel, channels)
        failed = False
        for name in [channel] if channel is not None else channels:
            now = app.clock()
            result = channels[name].send(message.sample(name, now), now, app.cancel)
            if result.error is None:
                render.write(f"{name}: accepted by {channels[name].place}")
            else:
                failed = True
                print_error(f"alert channel {name}: {result.error}")
    return int(failed)


@alerts.command("list", epilog="Example: catalog-sync alerts list --json")
@row_format
@click.pass_obj
def list_(context: Context, format_: str | None) -> None:
    """Print pending, failed and the latest delivered alerts."""
    from catalog_sync.db import outbox
    from catalog_sync.queries import export

    with context.app() as app, app.read_transaction() as connection:
        found = outbox.select_deliveries(connection, limit=_RECENT)
    if format_ not in {"json", "csv"} and not found:
        ready = "to test the channels, run: catalog-sync alerts test"
        missing = "the configuration has no [[alerts]]"
        render.note(f"no alert was ever due; {ready if app.settings.alerts else missing}")
    table = (
        {
            "channel": delivery.channel,
            "status": delivery.status,
            "kind": delivery.event.kind.value,
            "model": delivery.event.model_id,
            "attempts": str(delivery.attempts),
            "delivered, or next": render.local_time(
                delivery.delivered_at or delivery.next_attempt_at
            ),
            "last error": delivery.last_error,
        }
        for delivery in found
    )
    rows = map(export.delivery_row, found)
    render.write_rows(format_, rows, export.DELIVERY_COLUMNS, table, text="last error")


@alerts.command(epilog="Example: catalog-sync alerts retry team")
@click.argument("channel", required=False, shell_complete=recorded("channels"))
@click.pass_obj
def retry(context: Context, channel: str | None) -> None:
    """Make failed and pending deliveries due now.

    Affects CHANNEL, or every channel. The next sync sends them.
    """
    with context.app() as app:
        _refuse_unknown(channel, app.names("channels"))
        failed, pending = app.requeue(channel)
    counted = f"{failed} failed" + (f" and {pending} pending" if pending else "")
    render.write(f"{counted} deliver{'y' if (pending or failed) == 1 else 'ies'} due again")


def _refuse_unknown(channel: str | None, known: Collection[str]) -> None:
    if channel is not None and channel not in known:
        names = ", ".join(known) or "none"
        raise ConfigError(f"no alert channel is named {channel!r}", f"known are: {names}")
