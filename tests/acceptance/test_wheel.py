"""A program that is installed from a wheel works without its checkout."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from support import environment

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel. If the build backend is not installed, pip fetches it."""
    directory = tmp_path_factory.mktemp("dist")
    here = ["--no-build-isolation"] if find_spec("hatchling") else []
    pip("wheel", "--no-deps", *here, "--wheel-dir", str(directory), str(CHECKOUT))
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a separate directory, beside its dependencies."""
    directory = tmp_path_factory.mktemp("installed")
    pip(
        "install", "--no-deps", "--no-index", "--no-compile", "--target", str(directory), str(wheel)
    )
    return directory


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def run_installed(installed: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that sees the installed package, but not the checkout."""
    return subprocess.run(
        command,
        env=environment(PYTHONPATH=str(installed)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_is_inside(wheel: Path) -> None:
    """The wheel contains the package, its types, templates, migrations and example; and no test."""
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {
        str(path.relative_to(CHECKOUT))
        for path in (CHECKOUT / "catalog_sync").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    migrations = {
        f"catalog_sync/{path.relative_to(CHECKOUT)}"
        for path in (CHECKOUT / "migrations").rglob("*.py")
    }
    assert package | migrations | {"catalog_sync/examples/catalog-sync.toml"} <= names
    assert [name for name in names if "/test" in name or "/." in name or "pyc" in name] == []
    assert {name.split("/")[0].split("-")[0] for name in names} == {"catalog_sync"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_it_runs(installed: Path) -> None:
    """Installed, `catalog-sync db upgrade` finds its migrations and sets a database up."""
    where = "from catalog_sync.db import migrate; print(migrate.__file__, migrate._MIGRATIONS)"
    package = installed / "catalog_sync"
    found = run_installed(installed, sys.executable, "-c", where)
    assert found.stdout.split() == [str(package / "db" / "migrate.py"), str(package / "migrations")]
    script = installed / "bin" / "catalog-sync"
    assert os.access(script, os.X_OK)
    result = run_installed(installed, str(script), "db", "upgrade")
    assert (result.returncode, result.stderr) == (0, "")
    with closing(sqlite3.connect("catalog.db")) as connection:
        assert connection.execute("SELECT count(*) FROM models").fetchall() == [(0,)]


def test_its_example_is_valid(installed: Path) -> None:
    """Installed, the example configuration can be used unchanged."""
    example = installed / "catalog_sync" / "examples" / "catalog-sync.toml"
    command = (sys.executable, "-m", "catalog_sync", "--config", str(example), "db", "current")
    result = run_installed(installed, *command)
    assert (result.returncode, result.stderr) == (0, "")
