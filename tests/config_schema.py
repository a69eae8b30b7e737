"""JSON Schema of the configuration file, for editors and other tools.

`python tests/config_schema.py` prints `config/catalog-sync.schema.json`.
"""

from __future__ import annotations

import ast
import inspect
import json
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec

from catalog_sync.config import settings

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def schema() -> dict[str, Any]:
    """Return the schema; each key has its docstring as description."""
    tables = msgspec.json.schema(settings.Settings)["$defs"]
    for name, table in tables.items():
        if "properties" not in table:  # the words of a key
            continue
        cls = getattr(settings, name)
        texts = _descriptions(cls)
        defaults = dict(
            zip(cls.__struct_fields__[::-1], cls.__struct_defaults__[::-1], strict=False)
        )
        table["description"] = inspect.cleandoc(cls.__doc__)
        for key, value in table["properties"].items():
            value["description"] = texts[key]
            default = defaults.get(key)
            if isinstance(default, timedelta):
                value["default"] = _written(default)
            elif isinstance(default, tuple) and isinstance([*default, None][0], timedelta):
                value["default"] = [_written(each) for each in default]
            elif value.get("default") in ("", None):  # unset, or decided by other keys
                value.pop("default", None)
    root: dict[str, Any] = tables.pop("Settings")
    root["required"] = []  # without [[sources]] there is one source
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | root | {"title": "catalog-sync configuration", "$defs": tables}


def _written(length: timedelta) -> str:
    """Return a duration as people write it in the file."""
    seconds = int(length.total_seconds())
    unit, size = next(each for each in _UNITS if not seconds % each[1])
    return f"{seconds // size}{unit}"


def _descriptions(cls: type) -> dict[str, str]:
    """Return the docstrings that follow the attributes of a class."""
    (node,) = ast.parse(inspect.getsource(cls)).body
    body = node.body if isinstance(node, ast.ClassDef) else []
    return {
        each.target.id: inspect.cleandoc(after.value.value)
        for each, after in pairwise(body)
        if isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
