"""Option types that several commands share: durations, moments, formats."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click

from catalog_sync.clock import parse_duration, parse_moment, utc_now

__all__ = ["DURATION", "MOMENT", "format_option"]


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


class _Moment(click.ParamType[datetime]):
    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_moment(value, utc_now())
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Duration()
"""A length of time such as "10m"."""
MOMENT = _Moment()
"""RFC 3339, a date alone, or an age such as "7d"."""

format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="A table for people, or JSON or CSV with every column.",
)
