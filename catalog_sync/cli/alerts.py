"""`catalog-sync alerts`: test channels; list and retry deliveries."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from catalog_sync.cli import print_error
from catalog_sync.cli.options import Group, format_option
from catalog_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from catalog_sync.cli import Context
    from catalog_sync.db.outbox import Delivery

__all__ = ["alerts"]

_RECENT = 20
"""How many delivered alerts `alerts list` shows."""


@click.group(cls=Group)
def alerts() -> None:
    """Test alert channels; list and retry deliveries."""


@alerts.command(epilog="Example: catalog-sync alerts test team")
@click.argument("channel", required=False)
@click.pass_obj
def test(context: Context, channel: str | None) -> int:
    """Send a test message to CHANNEL, or to every channel.

    Fails when one does not accept it.
    """
    from catalog_sync.alerts import message  # noqa: PLC0415  # heavy
    from catalog_sync.cli import render  # noqa: PLC0415

    with context.app() as app:
        channels = app.channels()
        if not channels:
            raise ConfigError("no alert channel is configured", "add an [[alerts]] table")
        _refuse_unknown(channel, channels)
        failed = False
        for name in [channel] if channel is not None else channels:
            now = app.clock()
            outcome = channels[name].send(message.sample(name, now), now, app.cancel)
            if outcome.error is None:
                render.write(f"{name}: accepted by {channels[name].place}")
            else:
                failed = True
                print_error(f"alert channel {name}: {outcome.error}")
    return int(failed)


@alerts.command("list", epilog="Example: catalog-sync alerts list --json")
@format_option
@click.pass_obj
def list_(context: Context, format_: str) -> None:
    """Print pending, failed and the latest delivered alerts."""
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.db import outbox  # noqa: PLC0415  # heavy
    from catalog_sync.queries import export  # noqa: PLC0415

    with context.app() as app, app.read_transaction() as connection:
        found = outbox.select_deliveries(connection, limit=_RECENT)
    if format_ in {"json", "csv"}:
        render.write_rows(map(export.delivery_row, found), export.DELIVERY_COLUMNS, format_)
    elif not found:
        print("no alert was ever due", file=sys.stderr)  # noqa: T201
    else:
        _write(found, plain=format_ == "lines")


def _write(found: Sequence[Delivery], *, plain: bool) -> None:
    from catalog_sync.cli import render  # noqa: PLC0415

    rows = [
        [
            delivery.channel,
            delivery.status,
            delivery.event.kind.value,
            delivery.event.model_id or "-",
            str(delivery.attempts),
            render.instant(delivery.delivered_at or delivery.next_attempt_at),
            delivery.last_error or "-",
        ]
        for delivery in found
    ]
    render.write_table(
        ["channel", "status", "kind", "model", "attempts", "delivered, or next", "last error"],
        rows,
        text={"last error"},
        plain=plain,
    )


@alerts.command(epilog="Example: catalog-sync alerts retry team")
@click.argument("channel", required=False)
@click.pass_obj
def retry(context: Context, channel: str | None) -> None:
    """Make failed and pending deliveries due now.

    For CHANNEL or for all channels; the next sync sends them.
    """
    from catalog_sync.cli import render  # noqa: PLC0415  # heavy

    with context.app() as app:
        _refuse_unknown(channel, app.channel_names())
        failed, pending = app.requeue(channel)
    counted = f"{failed} failed" + (f" and {pending} pending" if pending else "")
    render.write(f"{counted} deliver{'y' if (pending or failed) == 1 else 'ies'} due again")


def _refuse_unknown(channel: str | None, known: Collection[str]) -> None:
    if channel is not None and channel not in known:
        names = ", ".join(known) or "none"
        raise ConfigError(f"no alert channel is named {channel!r}", f"known are: {names}")
