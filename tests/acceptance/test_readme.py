"""What the README shows is what the program does: its commands are run and its output compared."""

from __future__ import annotations

import doctest
import re
import shlex
import sqlite3
from pathlib import Path

import pytest

from support import run

README = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
DEMO = {"CATALOG_SYNC_DATABASE_URL": "sqlite:///catalog-demo.db"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def without_durations(text: str) -> str:
    return re.sub(r"\(\d+\.\d\d s\)", "(0.00 s)", text)


def test_every_console_session_prints_what_it_shows() -> None:
    """The sessions run as they stand, in order; `...` stands for anything."""
    checker = doctest.OutputChecker()
    for session in blocks("console"):
        for part in session.split("$ catalog-sync ")[1:]:
            command, _, wanted = part.partition("\n")
            done = run(*shlex.split(command), **DEMO)
            assert done.returncode == 0, done.stderr
            printed = without_durations(done.stdout)
            wanted = without_durations(wanted)
            assert checker.check_output(wanted, printed, doctest.ELLIPSIS), printed


def test_the_sql_runs_on_the_demos_file() -> None:
    """Each query of the README has an answer in the demo's database."""
    assert run("demo").returncode == 0
    connection = sqlite3.connect("catalog-demo.db")
    queries = [query for block in blocks("sql") for query in block.split(";") if query.strip()]
    assert len(queries) == 4
    for query in queries:
        assert connection.execute(query).fetchall(), query
    connection.close()


@pytest.mark.parametrize("command", ["sync", "models", "show", "events", "db", "demo"])
def test_every_command_is_documented(command: str) -> None:
    """The table of commands names each, and each of its options is named by its help."""
    assert f"`catalog-sync {command}" in README
    options = set(re.findall(r"--[a-z-]+", run(command, "--help").stdout)) - {"--help"}
    documented = set(re.findall(r"--[a-z-]+", README))
    assert options <= documented | {"--port"}


def test_the_two_shell_blocks_stand_under_their_headings() -> None:
    """One shell block that does it all stands under "Quick start", and one under "Tests"."""
    for heading in ("Quick start", "Tests"):
        section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        assert section.count("```sh\n") == 1
