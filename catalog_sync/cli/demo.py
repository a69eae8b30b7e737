"""`catalog-sync demo`: the whole story on the sandbox API; no key, no network."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalog_sync.cli import SignalReceived, print_error

if TYPE_CHECKING:
    from catalog_sync.cli import Context
    from catalog_sync.demo.history import Moment
    from catalog_sync.sync.report import RunReport

__all__ = ["demo"]


@click.command()
@click.option("--serve", is_flag=True, help="Keep the sandbox API running, to develop against.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="With --serve: the loopback port; 0 takes a free one.",
)
@click.pass_obj
def demo(context: Context, serve: bool, port: int) -> int:  # noqa: ARG001
    """Replay half a year of real releases and retirements into a new SQLite file."""
    return _serve(port) if serve else _tell()


def _tell() -> int:
    from catalog_sync.cli import render  # noqa: PLC0415  # heavy
    from catalog_sync.demo import story  # noqa: PLC0415

    file = story.new_file(Path())
    render.write(f"A sandbox of the Models API replays its history into {file}.")
    recorded = True
    for moment, report in story.replay(file):
        if recorded and not moment.recorded:
            render.write("\nThe record ends here. What follows is made up, to show lifecycles:")
        recorded = moment.recorded
        _write_pass(moment, report)
        if report.cause is not None:
            print_error(str(report.error), report.cause)
            return report.cause.exit_code
    render.write("\nThree things to try:")
    config = f"CATALOG_SYNC_DATABASE_URL=sqlite:///{file}"
    program = _program()
    query = "SELECT id, display_name, lifecycle, first_seen_at FROM current_models"
    for command in (
        f'{_sql_shell()} {file} "{query}"',
        f"{config} {program} events --since 2026-06-01",
        f"{config} {program} show {story.MODEL_TO_SHOW}",
    ):
        render.write(f"  {command}")
    return 0


def _write_pass(moment: Moment, report: RunReport) -> None:
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.domain import event_text  # noqa: PLC0415
    from catalog_sync.sync import report as sync_report  # noqa: PLC0415

    render.write(f"\n{moment.at:%Y-%m-%d}  {moment.headline}")
    if not report.baseline:
        for event in report.events:
            text = event_text.event_text(event)
            words = (event.kind.value, event.model_id, f"({text})" if text else None)
            render.write("            " + " ".join(word for word in words if word))
    render.write(f"            {sync_report.report_text(report)}")


def _program() -> str:
    """Return how the person who reads this starts the program: as it was started now."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{sys.executable} -m catalog_sync"
    return "catalog-sync" if shutil.which("catalog-sync") else str(started)


def _sql_shell() -> str:
    """Return an SQLite shell that is there: its own, or Python's from 3.12 on."""
    if shutil.which("sqlite3") is None and sys.version_info >= (3, 12):
        return f"{sys.executable} -m sqlite3"
    return "sqlite3"


def _serve(port: int) -> int:
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.demo.history import moments  # noqa: PLC0415
    from catalog_sync.demo.sandbox import Sandbox  # noqa: PLC0415
    from catalog_sync.errors import ConfigError  # noqa: PLC0415

    try:
        sandbox = Sandbox(moments()[-1].models, port=port)
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be listened on: {error.strerror}",
            "choose another one, or 0 for any that is free",
        ) from error
    render.write(f"The sandbox answers the Models API at {sandbox.url}; Ctrl-C ends it.")
    render.write(f"  export ANTHROPIC_BASE_URL={sandbox.url} ANTHROPIC_API_KEY={sandbox.api_key}")
    try:
        sandbox.serve_forever()
    except SignalReceived:
        sandbox.stop()
    return 0
