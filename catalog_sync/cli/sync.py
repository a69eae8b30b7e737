"""`catalog-sync sync`: one run over the sources, and the alerts that are due."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

from catalog_sync.cli import print_error, render
from catalog_sync.cli.progress import progress
from catalog_sync.domain import event_text
from catalog_sync.errors import DatabaseError, HeldError, OutputError
from catalog_sync.queries import health_text
from catalog_sync.service.signals import run_until_signal
from catalog_sync.sync.context import RunOptions
from catalog_sync.sync.report import log_report, report_text
from catalog_sync.text import escape_controls

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from pathlib import Path

    from catalog_sync.app import App
    from catalog_sync.cli.options import Context
    from catalog_sync.sync.report import RunReport


def sync(
    context: Context,
    names: Sequence[str],
    dry_run: bool,
    accept_removals: bool,
    if_older_than: timedelta | None,
    metrics_file: Path | None,
    as_json: bool,
) -> int:
    """Run the sources once; return the exit code."""
    options = RunOptions(dry_run, accept_removals, if_older_than)
    metrics_file = None if dry_run else metrics_file
    with context.app() as app:
        return run_until_signal(
            app,
            lambda: _sync(app, options, names, metrics_file, as_json=as_json, context=context),
            on_signal=lambda: print_error("interrupted"),
        )


def _sync(
    app: App,
    options: RunOptions,
    names: Sequence[str],
    metrics_file: Path | None,
    *,
    as_json: bool,
    context: Context,
) -> int:
    try:
        with progress(verbose=context.verbose) as on_page:
            on_report = log_report if context.verbose else _ignore
            reports = app.sync(options, names=names, on_page=on_page, on_report=on_report)
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
        runs = [report.to_json() for report in reports]
        render.write_json({"runs": runs, "deliveries": deliveries})
    else:
        _write_text(reports, dry_run=options.dry_run)
        if counts and any(asdict(counts).values()):
            render.write(health_text.deliveries_text(counts))
        if not options.dry_run and any(report.baseline for report in reports):
            config = f" --config {shlex.quote(str(context.config))}" if context.config else ""
            render.write(f"The catalog is in {app.database}; try: catalog-sync{config} models")
    for report in reports:
        if report.cause is not None or report.status == "held":
            print_error(str(report.error), report.cause)
    held = [HeldError.exit_code for report in reports if report.status == "held"]
    codes = {*(error.exit_code for error in errors), *held}
    return next((code for code in (4, 1, 3) if code in codes), 0)


def _ignore(_report: RunReport) -> None:
    """Collect a report to print it later."""


def _write_metrics(app: App, path: Path | None) -> list[OutputError]:
    """Write the metrics, also after a failure. Prints an error, and returns it."""
    if path is None:
        return []
    from catalog_sync.queries import metrics_file  # noqa: PLC0415  # few ask for it

    try:
        metrics_file.write(path, app.snapshot())
    except OSError as error:
        what = f"metrics file {path} cannot be written: {error.strerror}"
        failed = OutputError(what, "check that its directory exists and may be written")
        failed.__cause__ = error
        print_error(str(failed), failed)
        return [failed]
    return []


def _write_text(reports: Sequence[RunReport], *, dry_run: bool) -> None:
    for report in reports:
        if report.status == "failed":
            continue
        if not report.baseline:
            rows = [
                [event.kind.value, event.model_id or "-", event_text.event_text(event)]
                for event in report.events
                if not event.kind.startswith("sync_")  # about the job itself
            ]
            render.write_table(["kind", "model", "what"], rows, text={"what"}, header=False)
        render.write(escape_controls(report_text(report, dry_run=dry_run)))
