"""The README's examples: its commands are run and their output is compared."""

from __future__ import annotations

import base64
import doctest
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from catalog_sync.alerts.channels import open_channel
from catalog_sync.config.load import load
from support import environment, run

README = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
DEMO = {"CATALOG_SYNC_DATABASE_URL": "sqlite:///catalog-demo.db"}


def section(heading: str) -> str:
    return README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def without_durations(text: str) -> str:
    return re.sub(r"\(\d+\.\d\d s\)", "(0.00 s)", text)


def test_every_console_session_prints_what_it_shows() -> None:
    """The sessions run unchanged, in order; `...` stands for any text."""
    checker = doctest.OutputChecker()
    for session in blocks("console"):
        for part in session.split("$ catalog-sync ")[1:]:
            command, _, wanted = part.partition("\n")
            done = run(*shlex.split(command), **DEMO)
            assert done.returncode == command.startswith("check"), done.stderr  # a model is gone
            printed = without_durations(done.stdout)
            wanted = without_durations(wanted)
            assert checker.check_output(wanted, printed, doctest.ELLIPSIS), printed


def test_the_sql_runs_on_the_demos_file() -> None:
    """Each query of the README has an answer in the demo's database."""
    assert run("demo").returncode == 0
    connection = sqlite3.connect("catalog-demo.db")
    taste = section("What you get")
    queries = [q for block in blocks("sql", taste) for q in block.split(";") if q.strip()]
    assert len(queries) == 4
    for query in queries:
        assert connection.execute(query).fetchall(), query
    connection.close()


@pytest.mark.parametrize(
    "command",
    [
        "sync",
        "run",
        "models",
        "show",
        "events",
        "check",
        "status",
        "sources",
        "alerts",
        "publish",
        "db",
        "demo",
    ],
)
def test_every_command_is_documented(command: str) -> None:
    """The table of commands names each command, and the help names each of its options."""
    assert f"`catalog-sync {command}" in README
    options = set(re.findall(r"--[a-z-]+", run(command, "--help").stdout)) - {"--help"}
    documented = set(re.findall(r"--[a-z-]+", README))
    assert options <= documented | {"--port"}


def test_the_two_shell_blocks_stand_under_their_headings() -> None:
    """One shell block is under "Quick start", and one under "Tests"."""
    for heading in ("Quick start", "Tests"):
        assert section(heading).count("```sh\n") == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what Apprise imports on Python 3.11
def test_the_configurations_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each TOML block is a valid configuration, and each of its channels can be opened."""
    monkeypatch.setenv("HOOK_SECRET", "whsec_" + base64.b64encode(b"a secret").decode())
    opened = []
    for block in blocks("toml"):
        Path("readme.toml").write_text(block, encoding="utf-8")
        settings = load(Path("readme.toml"))
        opened += [open_channel(alert).place for alert in settings.alerts]
    assert len(opened) == 3


def test_the_webhook_receiver_verifies_what_is_sent() -> None:
    """The README's receiver accepts this program's message, and none with another signature."""
    (recipe,) = blocks("python", section("Alerts"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    secret = "whsec_" + base64.b64encode(b"twenty-four bytes long!!").decode()
    other = "whsec_" + base64.b64encode(b"another secret of theirs").decode()
    Path("catalog-sync.toml").write_text(
        f'[[alerts]]\nname = "hook"\nwebhook = "http://127.0.0.1:{port}"\nsecret_env = "SECRET"\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-c", recipe]
    variables = environment(HOOK_SECRET=secret, PORT=str(port))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=variables, stdout=pipe, stderr=pipe, text=True) as receiver:
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 5).close()
                    break
                except ConnectionRefusedError:
                    assert receiver.poll() is None
            accepted = run("alerts", "test", SECRET=secret)
            assert accepted.returncode == 0, accepted.stderr
            assert receiver.stdout.readline().startswith("msg_test_")
            assert run("alerts", "test", SECRET=other).returncode == 1
        finally:
            receiver.kill()
