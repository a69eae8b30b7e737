"""`sync`: one run over the sources, and due alerts. `run`: the same as a daemon."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalog_sync import logs
from catalog_sync.cli import SignalReceived, print_error, render
from catalog_sync.cli.options import Context, duration_option, source_option
from catalog_sync.errors import DatabaseError, HeldError, OutputError
from catalog_sync.text import escape_controls

if TYPE_CHECKING:
    from catalog_sync.app import App
    from catalog_sync.sync.context import RunOptions
    from catalog_sync.sync.report import RunReport


def _prom(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix != ".prom":
        raise click.BadParameter("expected a file that ends in .prom; node_exporter reads no other")
    return path


@click.command(epilog="Example: catalog-sync --config /etc/catalog-sync/catalog-sync.toml run")
@click.pass_obj
def run(context: Context) -> int:
    """Run the daemon: sync on a schedule, and send alerts.

    SIGTERM and SIGINT stop the daemon; on SIGHUP it reads its configuration again.
    """
    from catalog_sync.service.process import Daemon

    logs.show_progress()
    try:
        return Daemon(context.app).run()
    except SignalReceived:  # before anything ran
        return 0


@click.command(epilog="Example: catalog-sync sync --source anthropic --dry-run")
@source_option
@click.option("--dry-run", is_flag=True, help="Print what would happen; write nothing.")
@click.option(
    "--accept-removals",
    is_flag=True,
    help="Apply what was held: removals, or another organisation, workspace or base_url.",
)
@duration_option("--if-older-than", "10m", "Skip sources synced more recently than this.")
@click.option(
    "--metrics-file",
    type=click.Path(path_type=Path),
    metavar="FILE.prom",
    callback=_prom,
    help="Write metrics for node_exporter's textfile collector; not with --dry-run.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_obj
def sync(
    context: Context,
    sources: Sequence[str],
    dry_run: bool,
    accept_removals: bool,
    if_older_than: timedelta | None,
    metrics_file: Path | None,
    as_json: bool,
) -> int:
    """Record today's list and what changed, and send due alerts.

    Reads the whole list of each source, updates the table `models`, and records every change as
    an event. Needs the sources' keys.
    """
    from catalog_sync.service.signals import run_until_signal
    from catalog_sync.sync.context import RunOptions

    options = RunOptions(dry_run, accept_removals, if_older_than)
    metrics_file = None if dry_run else metrics_file
    with context.app() as app:
        return run_until_signal(
            app,
            lambda: _sync(app, context, options, sources, metrics_file, as_json=as_json),
            on_signal=lambda: print_error("interrupted"),
        )


def _sync(
    app: App,
    context: Context,
    options: RunOptions,
    sources: Sequence[str],
    metrics_file: Path | None,
    *,
    as_json: bool,
) -> int:
    """Run the sources once, deliver alerts, and print the results. Returns the exit code."""
    from catalog_sync.cli.progress import progress
    from catalog_sync.config.load import ignoring_base_url
    from catalog_sync.sync.report import log_report

    try:
        with progress(verbose=context.verbose) as on_page:
            on_report = log_report if context.verbose else lambda _report: None
            reports = app.sync(options, names=sources, on_page=on_page, on_report=on_report)
    except DatabaseError:
        _write_metrics(app, metrics_file)
        raise
    app.cancel.check()
    errors = [report.cause for report in reports if report.cause is not None]
    counts = None
    # Without a usable database the outbox cannot be read. Its entries are not lost.
    if not any(isinstance(error, DatabaseError) for error in errors):
        try:
            counts = app.delivery_counts() if options.dry_run else app.deliver()
        except DatabaseError as error:
            errors.append(error)
            print_error(str(error), error)
    app.cancel.check()
    errors += _write_metrics(app, metrics_file)  # before printing, which may fail
    if as_json:
        deliveries = asdict(counts) if counts else None
        render.write_json(
            {"runs": [report.to_json() for report in reports], "deliveries": deliveries}
        )
    else:
        _write_text(reports, dry_run=options.dry_run)
        if counts and any(asdict(counts).values()):
            numbers = ", ".join(f"{number} {status}" for status, number in asdict(counts).items())
            advice = "; see: catalog-sync alerts list" if counts.failed else ""
            render.write(f"alerts: {numbers}{advice}")
        if not options.dry_run and any(report.baseline for report in reports):
            config = f" --config {shlex.quote(str(context.config))}" if context.config else ""
            render.write(f"The catalog is in {app.database}; try: catalog-sync{config} models")
    for report in reports:
        if report.cause is not None or report.status == "held":
            print_error(str(report.error), report.cause)
    failed = {report.source for report in reports if report.status == "failed"}
    for name in failed.intersection(ignoring_base_url(app.settings)):
        print_error(f"source {name}: ANTHROPIC_BASE_URL is not used; set base_url in [[sources]]")
    held = [HeldError.exit_code for report in reports if report.status == "held"]
    codes = {*(error.exit_code for error in errors), *held}
    return next((code for code in (4, 1, 3) if code in codes), 0)


def _write_metrics(app: App, path: Path | None) -> list[OutputError]:
    """Write the metrics, also after a failure. Errors are printed and returned."""
    if path is None:
        return []
    from catalog_sync.queries import metrics

    try:
        metrics.write_file(path, app.snapshot())
    except OSError as error:
        what = f"metrics file {path} cannot be written: {error.strerror}"
        failed = OutputError(what, "check that its directory exists and may be written")
        print_error(str(failed), error)
        return [failed]
    return []


def _write_text(reports: Sequence[RunReport], *, dry_run: bool) -> None:
    from catalog_sync.domain.event_text import event_text
    from catalog_sync.sync.report import report_text

    for report in reports:
        if report.status == "failed":
            continue
        if not report.baseline:
            table = [
                {
                    "kind": event.kind.value,
                    "model": event.model_id,
                    "what": event_text(event),
                }
                for event in report.events
                if not event.kind.startswith("sync_")  # about the job itself
            ]
            render.write_table(table, text="what", header=False)
        render.write(escape_controls(report_text(report, dry_run=dry_run)))
