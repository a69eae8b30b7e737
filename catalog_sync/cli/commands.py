"""Declarations of commands: options and help. Their handlers are loaded when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from catalog_sync.cli.options import (
    DURATION,
    MOMENT,
    Group,
    format_option,
    handle,
    json_option,
    source_option,
)
from catalog_sync.demo.answers import BY_ID, SHAPES
from catalog_sync.domain.kinds import Kind, Lifecycle


def _prom(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix != ".prom":
        raise click.BadParameter("expected a file that ends in .prom; node_exporter reads no other")
    return path


@click.command(epilog="Example: catalog-sync sync --source anthropic --dry-run")
@click.option(
    "--source", "names", multiple=True, metavar="NAME", help="Only this source; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Print what would happen; write nothing.")
@click.option(
    "--accept-removals",
    is_flag=True,
    help="Apply what a run was held for: removals, another organisation, workspace or base_url.",
)
@click.option(
    "--if-older-than",
    type=DURATION,
    metavar="10m",
    help="Skip a source that was synced more recently.",
)
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path),
    metavar="FILE.prom",
    callback=_prom,
    help="Write metrics for node_exporter's textfile collector; not with --dry-run.",
)
@json_option
def sync(**options: Any) -> Any:
    """Record today's list and what changed, and send due alerts.

    Walks the whole list of each source, brings the table `models` in line with it, and records
    every change as an event. Needs the sources' keys.
    """
    return handle("sync:sync", options)


@click.command(epilog="Example: catalog-sync --config /etc/catalog-sync/catalog-sync.toml run")
def run() -> Any:
    """Run the daemon: sync on a schedule, and send alerts.

    SIGTERM and SIGINT end it; SIGHUP makes it read its configuration again.
    """
    return handle("daemon:run", {})


@click.command(epilog="Example: catalog-sync models --all --as-of 2026-06-01")
@source_option
@click.option(
    "--all", "removed", is_flag=True, help="Removed models too: all that was ever listed."
)
@click.option(
    "--as-of", type=MOMENT, metavar="TIME", help="As it was: a time, a date, or an age (7d)."
)
@click.option(
    "--lifecycle",
    "lifecycles",
    multiple=True,
    type=click.Choice([each.value for each in Lifecycle]),
    help="Only this lifecycle; repeatable.",
)
@format_option
def models(**options: Any) -> Any:
    """Print the models that are listed, newest first."""
    return handle("read:models", options)


@click.command(epilog="Example: catalog-sync show claude-opus-5")
@click.argument("model")
@format_option
def show(**options: Any) -> Any:
    """Print one model: its row, and its history, newest first."""
    return handle("read:show", options)


@click.command(epilog="Example: catalog-sync events --since 7d --kind removed --model opus")
@click.option("--since", type=MOMENT, metavar="7d", help="From this time, date or age on.")
@click.option("--until", type=MOMENT, metavar="TIME", help="Before this time, date or age.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([each.value for each in Kind]),
    help="Only this kind; repeatable.",
)
@click.option(
    "--model",
    metavar="GLOB",
    help="Only models whose id matches, or contains a GLOB without wildcard; case matters.",
)
@source_option
@format_option
def events(**options: Any) -> Any:
    """Print what changed, oldest first."""
    return handle("read:events", options)


@click.group(cls=Group)
def sources() -> None:
    """List the sources in the database, or forget one."""


@sources.command("list", epilog="Example: catalog-sync sources list --json")
@format_option
def list_(**options: Any) -> Any:
    """Print the sources in the database and in the configuration."""
    return handle("sources:list_", options)


@sources.command(epilog="Example: catalog-sync sources forget old-gateway --yes")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
def forget(**options: Any) -> Any:
    """Delete a source that is no longer configured, with all its rows."""
    return handle("sources:forget", options)


@click.command(epilog="Example: catalog-sync demo; catalog-sync demo --serve --port 8080")
@click.option("--serve", is_flag=True, help="Keep the sandbox API running, to develop against.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="With --serve: the loopback port; 0 takes a free one.",
)
@click.option(
    "--by-id",
    type=click.Choice(list(BY_ID)),
    default="api",
    help="With --serve: answer Get a Model as a gateway does.",
)
@click.option(
    "--shape",
    type=click.Choice(SHAPES),
    default="anthropic",
    help="With --serve: the API whose answers it gives.",
)
def demo(**options: Any) -> Any:
    """Replay half a year of real releases; needs no key and no network."""
    return handle("demo:demo", options)
