"""Shell completion: names from the database, and silence without one."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from catalog_sync.app import App
from catalog_sync.demo.history import steps
from catalog_sync.demo.sandbox import Sandbox
from support import KEY, environment, run, settings_for

PAGE = Path(__file__).parents[2] / "docs/how-to/shell-completion.md"
OPUS = [model["id"] for model in steps()[-1].models if "opus" in model["id"]]
CONFIG = """
database_url = "sqlite:///catalog.db"
[[sources]]
name = "gateway"
[[alerts]]
name = "team"
url = "json://localhost"
"""


def complete(*words: str, **variables: str) -> list[str]:
    """Return what a shell is offered for the last word; the program must not print an error."""
    result = run(
        _CATALOG_SYNC_COMPLETE="bash_complete",
        COMP_WORDS=shlex.join(["catalog-sync", *words]),
        COMP_CWORD=str(len(words)),
        **variables,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return [line.partition(",")[2] for line in result.stdout.splitlines() if line]


@pytest.fixture
def catalog() -> None:
    """Make a catalog of one source, and a configuration that names another and a channel."""
    with (
        Sandbox(steps()[-1].models, api_key=KEY) as sandbox,
        App(settings_for("sqlite:///catalog.db", sandbox.url, key=KEY)) as app,
    ):
        assert [report.error for report in app.sync()] == [None]
    Path("catalog-sync.toml").write_text(CONFIG, encoding="utf-8")


def test_names_of_the_database(catalog: None) -> None:
    """Models, sources and channels are completed where a command takes one."""
    for words in (["show"], ["check"], ["events", "--model"], ["check", "gpt-5"]):
        assert complete(*words, "claude-opus") == sorted(OPUS)
    for words in (["models", "--source"], ["sync", "--source"], ["sources", "forget"]):
        assert complete(*words, "") == ["anthropic", "gateway"]
    for words in (["alerts", "test"], ["alerts", "retry"]):
        assert complete(*words, "t") == ["team"]
    assert complete("--config", "none.toml", "show", "claude-opus") == []
    assert complete("ev") == ["events"]


def test_silence_without_a_database(tmp_path: Path) -> None:
    """Where there is no usable database, no name is completed, no error shown, no file made."""
    assert complete("show", "claude") == []
    assert complete("models", "--source", "") == []
    for url in ("sqlite:///gone/catalog.db", "postgresql://127.0.0.1:1/catalog", "nonsense"):
        assert complete("show", "claude", CATALOG_SYNC_DATABASE_URL=url) == []
    assert list(tmp_path.iterdir()) == []


def test_the_documented_line(catalog: None) -> None:
    """The line that the page tells users of bash to add makes the shell complete a model."""
    (line,) = re.findall(r"\| `(eval .*bash_source.*)` \|", PAGE.read_text(encoding="utf-8"))
    script = f"""
        {line}
        COMP_WORDS=(catalog-sync show claude-opus) COMP_CWORD=2
        _catalog_sync_completion catalog-sync claude-opus show
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment(PATH=path),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == sorted(OPUS)
