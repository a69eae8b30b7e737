"""The command line: options, what is printed, exit codes. It holds no logic of the pass.

Only this package catches errors, and it pays for a library when a command needs it: `--help`
loads none of the heavy ones.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from catalog_sync._version import __version__
from catalog_sync.errors import CatalogSyncError
from catalog_sync.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catalog_sync.app import App

__all__ = ["Context", "SignalReceived", "cli", "print_error", "run"]

_INTERRUPTED = 130
_TERMINATED = 143

_COMMANDS = {
    "sync": "catalog_sync.cli.sync:sync",
    "run": "catalog_sync.cli.daemon:run",
    "models": "catalog_sync.cli.read:models",
    "show": "catalog_sync.cli.read:show",
    "events": "catalog_sync.cli.read:events",
    "check": "catalog_sync.cli.check:check",
    "status": "catalog_sync.cli.status:status",
    "alerts": "catalog_sync.cli.alerts:alerts",
    "publish": "catalog_sync.cli.publish:publish",
    "db": "catalog_sync.cli.db:db",
    "demo": "catalog_sync.cli.demo:demo",
}


@dataclass(frozen=True, slots=True)
class Context:
    """The global options, and the way from them to the program."""

    config: Path | None
    verbose: bool

    def app(self) -> App:
        """Load the configuration and return the wired program; to be used as a context manager."""
        from catalog_sync.app import App  # noqa: PLC0415  # heavy
        from catalog_sync.config import load as config_load  # noqa: PLC0415  # heavy

        return App(config_load.load(self.config))


class _LazyGroup(click.Group):
    """Loads a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        from importlib import import_module  # noqa: PLC0415

        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The configuration file. Default: CATALOG_SYNC_CONFIG, ./catalog-sync.toml, then the "
    "user's and the system's configuration directory.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log every step; show tracebacks.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How log lines on standard error look.",
)
@click.version_option(__version__, prog_name="catalog-sync", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    ctx: click.Context, config: Path | None, verbose: bool, log_format: Literal["text", "json"]
) -> None:
    """Keep a SQL table of the models that an Anthropic API key can reach."""
    from catalog_sync import logs  # noqa: PLC0415

    logs.configure(log_format, verbose=verbose)
    ctx.obj = Context(config, verbose)


class SignalReceived(BaseException):
    """A signal told the process to stop: no error, and no business of any `except Exception`."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    0 fine, 1 a source or a check failed, 2 configuration or usage, 3 held, 4 database.
    """
    _prepare_streams()
    for number, exit_code in ((signal.SIGINT, _INTERRUPTED), (signal.SIGTERM, _TERMINATED)):
        _stop_on(number, exit_code)
    words = None if arguments is None else list(arguments)
    try:
        result: Any = cli.main(args=words, prog_name="catalog-sync", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        where = context.command_path if context else "catalog-sync"
        print_error(f"{error.format_message().rstrip('.')}; see: {where} --help")
        return error.exit_code
    except (click.Abort, SignalReceived) as error:
        print_error("interrupted")
        return error.exit_code if isinstance(error, SignalReceived) else _INTERRUPTED
    except CatalogSyncError as error:
        print_error(str(error), error)
        return error.exit_code
    except Exception as error:  # noqa: BLE001  # a bug; its traceback is for those who ask
        what = f"unexpected {type(error).__name__}: {error}"
        print_error(f"{what}; --verbose shows where; please report it", error)
        return 1
    return result if isinstance(result, int) else 0


def _prepare_streams() -> None:
    """Make standard output and error something to write to, whatever the terminal can show."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _stop_on(number: signal.Signals, exit_code: int) -> None:
    """Turn a signal into an exception, so that a pass is closed before the process ends."""

    def stop(_number: int, _frame: object) -> None:
        raise SignalReceived(exit_code)

    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, stop)


def print_error(text: str, cause: BaseException | None = None) -> None:
    """Say on standard error, on one line, what went wrong; with --verbose, also where."""
    from catalog_sync import logs  # noqa: PLC0415

    logs.error(one_line(text), cause)
