"""Shared parts of the commands: global options, option types, completion, groups."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal

import click

from catalog_sync import logs
from catalog_sync.clock import parse_duration, parse_time, utc_now

if TYPE_CHECKING:
    from catalog_sync.app import App

_COMPLETION_SECONDS = 5
"""How long a completion waits for the database."""


@dataclass(slots=True)
class Context:
    """The global options, and the App that they configure."""

    config: Path | None = None
    verbose: bool = False
    log_format: Literal["text", "json"] = "text"

    def app(self) -> App:
        """Load the configuration and return the App, a context manager."""
        from catalog_sync.app import App
        from catalog_sync.config.load import load

        gc.freeze()  # imported modules stay loaded
        gc.set_threshold(10_000)  # a list is thousands of objects, none of them in a cycle
        gc.enable()
        return App(load(self.config))


def _set(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Store a global option. One after a command overrides the one before the command."""
    context = ctx.ensure_object(Context)
    if value:
        setattr(context, str(param.name), value)
    logs.configure(context.log_format, verbose=context.verbose)


def global_options(*, hidden: bool = False) -> list[click.Parameter]:
    """Return the options that are accepted before the command and, hidden, after it."""
    shared: dict[str, Any] = {"expose_value": False, "callback": _set, "hidden": hidden}
    config = click.Option(
        ["--config"],
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The configuration file. Default: CATALOG_SYNC_CONFIG, ./catalog-sync.toml, then "
        "the user's and the system's configuration directory.",
        **shared,
    )
    verbose = "Log every step and request; show tracebacks."
    style = "The format of log lines on standard error.  [default: text]"
    formats = click.Choice(["text", "json"])
    return [
        config,
        click.Option(["-v", "--verbose"], is_flag=True, help=verbose, **shared),
        click.Option(["--log-format"], type=formats, help=style, **shared),
    ]


class Group(click.Group):
    """A group whose commands also accept the global options."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command with the global options added."""
        command = super().get_command(ctx, cmd_name)
        if command is not None and not any(each.name == "log_format" for each in command.params):
            command.params += global_options(hidden=True)
        return command


# --- completion --------------------------------------------------------------------------------


def recorded(
    what: Literal["models", "sources", "channels"],
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a completion from the database. If anything fails, it completes nothing."""

    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
        import catalog_sync.app  # noqa: F401  # heavy; the limit is for the database

        names: list[str] = []

        def read() -> None:
            with suppress(Exception), (ctx.find_object(Context) or Context()).app() as app:
                names.extend(app.names(what))

        logging.disable()
        thread = Thread(target=read, daemon=True)  # a server that hangs must not block the shell
        thread.start()
        thread.join(_COMPLETION_SECONDS)
        # A shell would split, expand or misread other characters.
        words = (name for name in names if re.fullmatch(r"[\w.:/@+-]+", name))
        return [name for name in words if name.startswith(incomplete)]

    return complete


# --- options of several commands -----------------------------------------------------------------

source_option = click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="NAME",
    shell_complete=recorded("sources"),
    help="Only this source; repeatable.",
)


def time_option(name: str, example: str, text: str) -> Callable[[Any], Any]:
    """Add an option that is a time: RFC 3339, a date, or an age such as "7d"."""
    return click.option(
        name, type=lambda value: parse_time(value, utc_now()), metavar=example, help=text
    )


def duration_option(name: str, example: str, text: str) -> Callable[[Any], Any]:
    """Add an option that is a duration."""
    return click.option(name, type=parse_duration, metavar=example, help=text)


def format_option(*formats: str) -> Callable[[Any], Any]:
    """Add `--format` and `--json`. The command gets `format_`, which is None by default."""
    long = click.option(
        "--format",
        "format_",
        type=click.Choice(formats),
        help=f"The output format. [{formats[0]}]",
    )
    short = click.option("--json", "format_", flag_value="json", help="Short for --format json.")
    return lambda command: long(short(command))


row_format = format_option("table", "json", "csv")
"""For commands that print rows. An explicit "table" has one line per row, on a terminal too."""
