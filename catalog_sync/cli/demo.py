"""`demo`: replay the recorded history on the sandbox API, or run only the sandbox."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalog_sync.cli import SignalReceived, render
from catalog_sync.clock import utc_now
from catalog_sync.demo.answers import BY_ID, SHAPES
from catalog_sync.errors import ConfigError

if TYPE_CHECKING:
    from catalog_sync.demo.history import Step
    from catalog_sync.sync.report import RunReport

_PORT, _BY_ID, _SHAPE = click.IntRange(0, 65535), click.Choice(list(BY_ID)), click.Choice(SHAPES)
_INDENT = " " * 12
_QUERY = "SELECT id, display_name, lifecycle, first_seen_at FROM current_models"


@click.command(epilog="Example: catalog-sync demo; catalog-sync demo --serve --port 8080")
@click.option("--serve", is_flag=True, help="Keep the sandbox API running, for development.")
@click.option("--port", type=_PORT, default=0, help="With --serve: the port; 0 means a free one.")
@click.option(
    "--by-id",
    type=_BY_ID,
    metavar="WAY",
    default="api",
    help=f"With --serve: how requests by id are answered: {', '.join(_BY_ID.choices)}.",
)
@click.option(
    "--shape", type=_SHAPE, default="anthropic", help="With --serve: the format of the list."
)
def demo(serve: bool, **sandbox: Any) -> int:
    """Replay half a year of real releases; needs no key and no network."""
    return _serve(**sandbox) if serve else _replay()


def _replay() -> int:
    from catalog_sync.demo import story

    with story.new_file(Path()) as file:
        render.write(f"A sandbox of the Models API replays its history into {file}.")
        recorded = True
        for step, report in story.replay(file, utc_now().replace(second=0, microsecond=0)):
            if recorded and not step.recorded:
                render.write("\nThe record ends here. What follows is made up, to show lifecycles:")
            recorded = step.recorded
            _write_run(step, report)
    render.write("\nThings to try:")
    render.write(f"  export CATALOG_SYNC_DATABASE_URL=sqlite:///{file}")
    model = story.MODEL_TO_SHOW
    tried = ("models", "events --since 90d", f"show {model}", f"check {model}", "status")
    for command in (*tried, "publish site"):
        render.write(f"  {_program()} {command}")
    render.write(f'  {_sql_shell()} {file} "{_QUERY}"')
    render.write("\nThen, for your own list, which needs ANTHROPIC_API_KEY:")
    render.write(f"  unset CATALOG_SYNC_DATABASE_URL\n  {_program()} sync")
    return 0


def _write_run(step: Step, report: RunReport) -> None:
    from catalog_sync.domain.event_text import event_text
    from catalog_sync.sync.report import report_text

    render.write(f"\n{step.at:%Y-%m-%d}  {step.headline}")
    if not report.baseline:
        for event in report.events:
            text = event_text(event)
            words = (event.kind.value, event.model_id, f"({text})" if text else None)
            render.write(_INDENT + " ".join(word for word in words if word))
    render.write(f"{_INDENT}{report_text(report)}")


def _program() -> str:
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m catalog_sync"
    # uvx, and nothing else, puts the directory first on PATH for this process only.
    path = os.environ.get("PATH", "")
    if "UV" in os.environ:
        path = path.removeprefix(f"{started.parent}{os.pathsep}")
    found = shutil.which("catalog-sync", path=path)
    return "catalog-sync" if found else shlex.quote(str(started))


def _sql_shell() -> str:
    """Return the command of an SQLite shell: sqlite3, or Python's own from 3.12 on."""
    if shutil.which("sqlite3") is None and sys.version_info >= (3, 12):
        return f"{shlex.quote(sys.executable)} -m sqlite3"
    return "sqlite3"


def _serve(port: int, **answers: Any) -> int:
    from catalog_sync.demo.history import steps
    from catalog_sync.demo.sandbox import Sandbox

    try:
        sandbox = Sandbox(steps(utc_now())[-1].models, port=port, **answers)
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be listened on: {error.strerror}",
            "choose another one, or 0 for any that is free",
        ) from error
    render.write(f"The sandbox answers the Models API at {sandbox.url}; Ctrl-C ends it.")
    render.write(f"  export ANTHROPIC_BASE_URL={sandbox.url} ANTHROPIC_API_KEY={sandbox.api_key}")
    try:
        sandbox.start()
        sandbox.join()
    except SignalReceived:
        sandbox.close()
    return 0
