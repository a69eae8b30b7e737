"""The templates, and the escaping of every value that goes into one."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from catalog_sync.clock import format_time
from catalog_sync.site.content import escape_invisible


def source(name: str) -> str:
    """Return the text of a template."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def fill(name: str, **values: Any) -> bytes:
    """Return a filled template. Markup and invisible characters of the values are escaped."""
    return _environment().get_template(name).render(**values).encode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(source),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["utc"] = format_time
    return environment


def _finalize(value: Any) -> Any:
    """Escape invisible characters except line ends. Markup of this program stays."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(map(escape_invisible, value.split("\n")))
