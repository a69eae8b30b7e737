"""`catalog-sync demo`: the whole story on the sandbox API, or the sandbox alone."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catalog_sync.cli import SignalReceived, print_error, render
from catalog_sync.clock import utc_now
from catalog_sync.demo import story
from catalog_sync.demo.history import steps
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.domain import event_text
from catalog_sync.errors import ConfigError, OutputError
from catalog_sync.sync.report import report_text

if TYPE_CHECKING:
    from catalog_sync.cli.options import Context
    from catalog_sync.demo.history import Step
    from catalog_sync.sync.report import RunReport


def demo(_context: Context, serve: bool, **sandbox: Any) -> int:
    """Print the story, or serve the sandbox."""
    return _serve(**sandbox) if serve else _tell()


def _tell() -> int:
    try:
        file = story.new_file(Path())
    except OSError as error:
        raise OutputError(
            f"the demo's database cannot be created in the current directory: {error.strerror}",
            "run it in a directory that may be written",
        ) from error
    render.write(f"A sandbox of the Models API replays its history into {file}.")
    recorded = True
    for step, report in story.replay(file, utc_now().replace(second=0, microsecond=0)):
        if recorded and not step.recorded:
            render.write("\nThe record ends here. What follows is made up, to show lifecycles:")
        recorded = step.recorded
        _write_run(step, report)
        if report.cause is not None:
            print_error(str(report.error), report.cause)
            return report.cause.exit_code
    program = _program()
    render.write("\nThings to try:")
    render.write(f"  export CATALOG_SYNC_DATABASE_URL=sqlite:///{file}")
    for command in (
        "models",
        "events --since 90d",
        f"show {story.MODEL_TO_SHOW}",
        f"check {story.MODEL_TO_SHOW}",
        "status",
        "publish site",
    ):
        render.write(f"  {program} {command}")
    query = "SELECT id, display_name, lifecycle, first_seen_at FROM current_models"
    render.write(f'  {_sql_shell()} {file} "{query}"')
    return 0


def _write_run(step: Step, report: RunReport) -> None:
    render.write(f"\n{step.at:%Y-%m-%d}  {step.headline}")
    if not report.baseline:
        for event in report.events:
            text = event_text.event_text(event)
            words = (event.kind.value, event.model_id, f"({text})" if text else None)
            render.write("            " + " ".join(word for word in words if word))
    render.write(f"            {report_text(report)}")


def _program() -> str:
    """Return how the program was started."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m catalog_sync"
    return "catalog-sync" if shutil.which("catalog-sync") else shlex.quote(str(started))


def _sql_shell() -> str:
    """Return the command of an SQLite shell: sqlite3, or Python's own from 3.12 on."""
    if shutil.which("sqlite3") is None and sys.version_info >= (3, 12):
        return f"{shlex.quote(sys.executable)} -m sqlite3"
    return "sqlite3"


def _serve(port: int, **answers: Any) -> int:
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
        sandbox.serve_forever()
    except SignalReceived:
        sandbox.stop()
    return 0
