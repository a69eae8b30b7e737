"""The public API, and the cost of importing it."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import catalog_sync

MODULES = ["catalog_sync"] + [
    each.name for each in pkgutil.walk_packages(catalog_sync.__path__, "catalog_sync.")
]
HEAVY = ["sqlalchemy", "alembic", "httpx", "pydantic", "msgspec", "rich", "jinja2"]
DATABASE_OR_NETWORK = ["sqlalchemy", "alembic", "httpx", "apscheduler", "click", "rich"]


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after it ran some code."""
    script = f"{code}\nimport sys\nprint('\\n'.join(['', *sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == ""
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_owns(name: str) -> None:
    """Every module has a docstring."""
    assert (importlib.import_module(name).__doc__ or "").strip()


@pytest.mark.parametrize(
    "module",
    [
        "alerts.message",
        "check.report",
        "clock",
        "config.load",
        "config.settings",
        "domain.reconcile",
        "domain.replay",
        "errors",
        "logs",
        "queries.export",
        "site",
        "text",
    ],
)
def test_pure_modules_load_no_database_and_no_network(module: str) -> None:
    """Values, decisions and ground load no database, network or terminal library."""
    loaded = loaded_by(f"import catalog_sync.{module}")
    assert f"catalog_sync.{module}" in loaded
    assert loaded.isdisjoint(DATABASE_OR_NETWORK)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["sync", "--help"],
        ["models", "--help"],
        ["db", "upgrade", "--help"],
        ["publish", "--help"],
        ["no-such-command"],
        ["sync", "--no-such-option"],
    ],
    ids=" ".join,
)
def test_help_is_light(arguments: list[str]) -> None:
    """Help, the version and a typing error are answered without any heavy library."""
    code = (
        "import contextlib, io\n"
        "from catalog_sync.cli import run\n"
        "said = io.StringIO()\n"
        "with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):\n"
        f"    run({arguments!r})\n"
        "assert said.getvalue()"
    )
    loaded = loaded_by(code)
    assert "catalog_sync.cli" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_importing_the_door_costs_nothing() -> None:
    """Importing the package or its `__main__` loads no other module of the program."""
    loaded = loaded_by("import catalog_sync.__main__; dir(catalog_sync); catalog_sync.__version__")
    ours = {name for name in loaded if name.startswith("catalog_sync")}
    assert ours == {"catalog_sync", "catalog_sync.__main__", "catalog_sync._version"}
    assert loaded.isdisjoint(["click", *HEAVY])


def test_values_are_imported_without_a_database() -> None:
    """A program that handles errors and values alone pays for no database and no network."""
    loaded = loaded_by("from catalog_sync import ConfigError, Event, Kind, Settings, load")
    assert loaded.isdisjoint(DATABASE_OR_NETWORK)


def test_what_is_typed_is_what_is_there() -> None:
    """A type checker sees exactly the names of `__all__`, each from its module."""
    (block,) = [
        node for node in ast.parse(inspect.getsource(catalog_sync)).body if isinstance(node, ast.If)
    ]
    typed = {
        alias.name: each.module
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    assert {*typed, "__version__"} == set(catalog_sync.__all__)
    assert len(catalog_sync.__all__) == len(set(catalog_sync.__all__))
    for name, home in typed.items():
        assert getattr(catalog_sync, name) is getattr(importlib.import_module(home), name)


def test_a_name_of_0_1_still_works() -> None:
    """A program that was written for version 0.1 still finds `PassOptions`."""
    from catalog_sync import PassOptions, RunOptions

    assert PassOptions is RunOptions
