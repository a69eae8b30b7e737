"""Shared parts of the commands' declarations: global options, option types, groups."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from catalog_sync import logs
from catalog_sync.clock import parse_duration, parse_time, utc_now

if TYPE_CHECKING:
    from catalog_sync.app import App


@dataclass(slots=True)
class Context:
    """The global options, and the program that they configure."""

    config: Path | None = None
    verbose: bool = False
    log_format: Literal["text", "json"] = "text"

    def app(self) -> App:
        """Load the configuration and return the program, to be used as a context manager."""
        from catalog_sync.app import App  # noqa: PLC0415  # heavy
        from catalog_sync.config import load as config_load  # noqa: PLC0415  # heavy

        gc.freeze()  # imported modules stay loaded
        gc.enable()
        return App(config_load.load(self.config))


def _set(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Store a global option. After a command, it overrides the one before the command."""
    context = ctx.find_object(Context) or Context()
    if value and param.name and ctx.get_parameter_source(param.name) is not _DEFAULT:
        setattr(context, param.name, value)
    logs.configure(context.log_format, verbose=context.verbose)


_DEFAULT = click.core.ParameterSource.DEFAULT


def _global_options(*, hidden: bool) -> list[click.Parameter]:
    shared: dict[str, Any] = {"expose_value": False, "callback": _set, "hidden": hidden}
    return [
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="The configuration file. Default: CATALOG_SYNC_CONFIG, ./catalog-sync.toml, then "
            "the user's and the system's configuration directory.",
            **shared,
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            help="Log every step and request; show tracebacks.",
            **shared,
        ),
        click.Option(
            ["--log-format"],
            type=click.Choice(["text", "json"]),
            default="text",
            show_default=True,
            help="The format of log lines on standard error.",
            **shared,
        ),
    ]


GLOBAL_OPTIONS = _global_options(hidden=False)
"""Accepted before the command and, hidden from its help, after it."""


class Group(click.Group):
    """A group whose commands take the global options too, and which suggests names."""

    def load_command(self, name: str) -> click.Command | None:
        """Return a command of the group, or None."""
        return self.commands.get(name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command with the global options added."""
        command = self.load_command(cmd_name)
        if command is not None and not any(each.name == "log_format" for each in command.params):
            command.params += _global_options(hidden=True)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is refused with the closest name."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            from catalog_sync.text import did_you_mean  # noqa: PLC0415  # only for errors

            close = did_you_mean(name, self.list_commands(ctx))
            raise click.UsageError(f"No such command '{name}'; {close}".rstrip("; "), ctx)
        return super().resolve_command(ctx, args)


def handle(target: str, options: dict[str, Any]) -> Any:
    """Import a handler, "module:function" of this package, and call it with its Context."""
    from importlib import import_module  # noqa: PLC0415  # heavy

    module, _, name = target.partition(":")
    handler = getattr(import_module(f"catalog_sync.cli.{module}"), name)
    return handler(click.get_current_context().find_object(Context), **options)


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Time(click.ParamType[datetime]):
    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_time(value, utc_now())
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Duration()
"""A duration such as "10m"."""
MOMENT = _Time()
"""RFC 3339, a date alone, or an age such as "7d"."""

source_option = click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source; repeatable."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def format_option(command: Any) -> Any:
    """Add `--format` and its short form `--json`; the command gets `format_`.

    "table" is the default and folds to the width of a terminal; "lines" is `--format table` when
    it was asked for, with one row per line.
    """
    option = click.option(
        "--format",
        "format_",
        type=click.Choice(["table", "json", "csv"]),
        default="table",
        callback=_explicit_table,
        help="A table (default), or JSON or CSV with every column.",
    )
    short = click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_remember_json,
        help="Short for --format json.",
    )
    return option(short(command))


def _remember_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.meta["catalog_sync.json"] = value


def _explicit_table(ctx: click.Context, param: click.Parameter, value: str) -> str:
    given = ctx.get_parameter_source(str(param.name)) is not _DEFAULT
    if ctx.meta.get("catalog_sync.json"):
        return "json"
    return "lines" if given and value == "table" else value
