"""The templates, and the escaping of every value that goes into one."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

from catalog_sync.clock import format_time, to_utc
from catalog_sync.domain.event_text import date_text
from catalog_sync.text import escape_controls

_JOINERS = "\u200c\u200d"
"""Invisible characters that words and emoji need."""


def source(name: str) -> str:
    """Return the text of a template."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def fill(name: str, **values: Any) -> str:
    """Return a filled template. Markup and invisible characters of the values are escaped."""
    return _environment().get_template(name).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(source),
        autoescape=select_autoescape(["html", "xml"]),
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "day": date_text,
        "minute": lambda at: f"{to_utc(at):%Y-%m-%d %H:%M} UTC",
        "utc": format_time,
        "stamp": lambda at: f"{to_utc(at):%Y%m%dT%H%M%SZ}",
        "ical": _ical,
    }
    return environment


def _finalize(value: Any) -> Any:
    """Escape invisible characters except line ends. Markup of this program stays."""
    return escape_controls(value, f"\n{_JOINERS}") if type(value) is str else value


def _ical(value: str) -> str:
    """Escape a TEXT value of a calendar (RFC 5545, section 3.3.11)."""
    return re.sub(r"([\\;,])", r"\\\1", escape_controls(value, _JOINERS))
