"""The command line: options, output and exit codes. Only this package catches errors.

Each group of commands has a module. A command's function imports what it needs, so that `--help`
and usage errors load nothing heavy.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from catalog_sync import logs
from catalog_sync._version import __version__
from catalog_sync.cancel import FirstSignal
from catalog_sync.cli.options import Context, Group, global_options
from catalog_sync.cli.render import write_all
from catalog_sync.errors import CatalogSyncError, OutputError
from catalog_sync.text import escape_controls, one_line

_COMMANDS = {
    "sync": "sync",
    "run": "sync",
    "models": "catalog",
    "show": "catalog",
    "events": "catalog",
    "check": "check",
    "status": "status",
    "sources": "db",
    "alerts": "alerts",
    "publish": "catalog",
    "db": "db",
    "demo": "demo",
}
"""The module of each command, in the order of the help."""

_EPILOG = """\b
Start:
  catalog-sync demo                 try it without a key
  export ANTHROPIC_API_KEY=sk-ant-…
  catalog-sync sync                 record today's list in ./catalog.db
  catalog-sync models

\b
Environment:
  ANTHROPIC_API_KEY         the key of the default source
  ANTHROPIC_BASE_URL        its address; ANTHROPIC_AUTH_TOKEN: a bearer token
  CATALOG_SYNC_CONFIG       the configuration file
  CATALOG_SYNC_DATABASE_URL the database; likewise for each top-level key

\b
Exit codes:
  0 fine    1 a source failed, or check or status found a problem
  2 usage or configuration    3 a run was held    4 database
  130, 143 interrupted. If several apply: the first of 4, 1, 3.

The global options are also accepted after the command."""


class _LazyGroup(Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if module := _COMMANDS.get(cmd_name):
            loaded = import_module(f"{__name__}.{module}")
            self.commands[cmd_name] = getattr(loaded, cmd_name)
        return super().get_command(ctx, cmd_name)


@click.group(
    cls=_LazyGroup,
    commands={name: click.Command(name) for name in _COMMANDS},  # for suggestions
    params=global_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="catalog-sync", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep a SQL table of the models that an Anthropic API key can reach."""


class SignalReceived(BaseException):
    """A signal stops the process. A BaseException, so that `except Exception` does not catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    0 fine, 1 a source or a check failed, 2 configuration or usage, 3 held, 4 database.
    """
    gc.disable()  # start-up allocates much and frees little; `Context.app` enables it again
    _prepare_streams()
    _stop_on_signals()
    words = None if arguments is None else list(arguments)
    try:
        try:
            result: Any = cli.main(words, "catalog-sync", standalone_mode=False, obj=Context())
            exit_code = result if isinstance(result, int) else 0
        except BaseException as error:  # noqa: BLE001  # the only place that catches
            exit_code = _report(error)
        return _flush() or exit_code
    except SignalReceived as error:  # during `_report` or `_flush`
        return error.exit_code
    finally:
        _handle_signals(lambda number, _frame: os._exit(128 + number))  # everything is done
        gc.enable()


def _report(error: BaseException) -> int:
    """Print the error that ended the command, on one line. Returns the exit code."""
    exit_code = getattr(error, "exit_code", 1)
    match error:
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
        case click.ClickException():
            names = getattr(error, "possibilities", None)
            what = (error.message if names else error.format_message()).rstrip(".")
            see = f"; did you mean {', '.join(names)}? See:" if names else "; see:"
            context = getattr(error, "ctx", None)
            print_error(f"{what}{see} {context.command_path if context else 'catalog-sync'} --help")
        case click.Abort() | KeyboardInterrupt() | SignalReceived():
            print_error("interrupted")
            exit_code = getattr(error, "exit_code", 130)
        case CatalogSyncError():
            print_error(str(error), error)
        case BrokenPipeError():
            exit_code = 0  # the reader has closed the pipe
        case OSError():
            what = error.filename or "standard output cannot be written"
            print_error(f"{what}: {error.strerror or error}", error)
        case Exception():  # a bug; --verbose shows the traceback
            what = f"unexpected {type(error).__name__}: {error}"
            print_error(f"{what}; --verbose shows where; please report it", error)
        case _:
            raise error
    return int(exit_code)


def _flush() -> int:
    """Flush the output, so that the interpreter does not report an error at exit."""
    try:
        write_all([])
    except OutputError as error:
        return _report(error)
    return 0


def _prepare_streams() -> None:
    """Make standard output and error accept any character in any encoding."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _stop_on_signals() -> None:
    """Turn a signal into an exception, so that a run is closed before the process ends.

    A second signal ends the process at once, unless it is the same one again.
    """
    stopping = FirstSignal()

    def stop(number: int, _frame: object) -> None:
        if stopping.is_first(number):
            raise SignalReceived(number)

    _handle_signals(stop)


def _handle_signals(handler: Callable[[int, Any], None]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def print_error(text: str, cause: BaseException | None = None) -> None:
    """Print one line on standard error; with --verbose, the traceback too."""
    logs.error(one_line(escape_controls(text, "\n\t\r")), cause)
