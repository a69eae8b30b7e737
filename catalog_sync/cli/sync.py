"""`catalog-sync sync`: one pass over the sources."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalog_sync.cli import print_error
from catalog_sync.cli.options import DURATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from catalog_sync.app import App
    from catalog_sync.cli import Context
    from catalog_sync.errors import OutputError
    from catalog_sync.sync.report import RunReport

__all__ = ["sync"]

_HELD = 3


def _prom(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix != ".prom":
        raise click.BadParameter("expected a file that ends in .prom; node_exporter reads no other")
    return path


@click.command()
@click.option(
    "--source", "names", multiple=True, metavar="NAME", help="Only this source; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Print what would happen; write nothing at all.")
@click.option(
    "--accept-removals",
    is_flag=True,
    help="Apply what a pass was held for: removals, another organisation, workspace or base_url.",
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
    help="Write the metrics into a file, for node_exporter's textfile collector; not by --dry-run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def sync(
    context: Context,
    names: Sequence[str],
    dry_run: bool,
    accept_removals: bool,
    if_older_than: timedelta | None,
    metrics_file: Path | None,
    as_json: bool,
) -> int:
    """Bring the table `models` in line with what the API lists, and record what changed."""
    from catalog_sync.app import RunOptions  # noqa: PLC0415
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.errors import DatabaseError  # noqa: PLC0415
    from catalog_sync.queries import health  # noqa: PLC0415  # heavy
    from catalog_sync.sync.report import log_report  # noqa: PLC0415

    options = RunOptions(dry_run, accept_removals, if_older_than)
    metrics_file = None if dry_run else metrics_file
    with context.app() as app:
        try:
            with _progress() as on_page:
                on_report = log_report if context.verbose else _say_nothing
                reports = app.sync(options, names=names, on_page=on_page, on_report=on_report)
        except DatabaseError:
            _write_metrics(app, metrics_file)
            raise
        causes = [report.cause for report in reports if report.cause is not None]
        counts = None
        # A database that is gone has no outbox to read, and what it owes is not lost.
        if not any(isinstance(cause, DatabaseError) for cause in causes):
            try:
                counts = app.delivery_counts() if dry_run else app.deliver()
            except DatabaseError as error:
                causes.append(error)
                print_error(str(error), error)
        causes += _write_metrics(app, metrics_file)  # before printing, which may fail
        if as_json:
            deliveries = asdict(counts) if counts else None
            runs = [report.to_json() for report in reports]
            render.write_json({"runs": runs, "deliveries": deliveries})
        else:
            _write_text(reports, dry_run=dry_run)
            if counts and any(asdict(counts).values()):
                render.write(health.deliveries_text(counts))
    for report in reports:
        if report.cause is not None or report.status == "held":
            print_error(str(report.error), report.cause)
    held = any(report.status == "held" for report in reports)
    codes = {cause.exit_code for cause in causes} | ({_HELD} if held else set())
    return next((code for code in (4, 1, _HELD) if code in codes), 0)  # the gravest


def _say_nothing(_report: RunReport) -> None:
    """What a person is told stands below; the line for logs would say it twice."""


def _write_metrics(app: App, path: Path | None) -> list[OutputError]:
    """Write how all stands, also when the pass failed; an error is told here, and returned."""
    from catalog_sync.errors import OutputError  # noqa: PLC0415
    from catalog_sync.files import atomic_write  # noqa: PLC0415

    if path is None:
        return []
    try:
        atomic_write(path, app.metrics())
    except OSError as error:
        what = f"metrics file {path} cannot be written: {error.strerror}"
        failed = OutputError(what, "check that its directory exists and may be written")
        failed.__cause__ = error
        print_error(str(failed), failed)
        return [failed]
    return []


def _write_text(reports: Sequence[RunReport], *, dry_run: bool) -> None:
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.domain import event_text  # noqa: PLC0415
    from catalog_sync.sync import report as sync_report  # noqa: PLC0415

    for report in reports:
        if report.status == "failed":
            continue
        if not report.baseline:
            rows = [
                [event.kind.value, event.model_id or "-", event_text.event_text(event)]
                for event in report.events
                if not event.kind.startswith("sync_")  # those are for who is not here
            ]
            render.write_table(["kind", "model", "what"], rows, text={"what"}, header=False)
        render.write(sync_report.report_text(report, dry_run=dry_run))


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Show how far walks of several pages are, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _source, _pages, _models: None
        return
    from rich.console import Console  # noqa: PLC0415  # heavy

    with Console(stderr=True).status("walking the list …") as status:

        def show(source: str, pages: int, models: int) -> None:
            if pages > 1:
                status.update(f"{source}: {models} models on {pages} pages so far …")

        yield show
