"""`catalog-sync check` as users run it in their CI: without a key."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
import yaml
from pre_commit.clientlib import load_manifest
from pydantic_sarif.model import StaticAnalysisResultsFormatSarifVersion210JsonSchema as Sarif

from catalog_sync.app import App
from catalog_sync.clock import format_time
from catalog_sync.demo import story
from catalog_sync.demo.sandbox import Sandbox
from docs import page
from support import KEY, complaint, environment, model, program, run, settings_for

if TYPE_CHECKING:
    from subprocess import CompletedProcess

CHECKOUT = Path(__file__).parents[2]
NOW = datetime.now(UTC)


def ahead(days: int) -> str:
    return format_time((NOW + timedelta(days=days)).replace(hour=0, minute=0, second=0))


def claude(name: str, created: str, **fields: Any) -> dict[str, Any]:
    line = re.search("opus|sonnet|haiku|fable", name)
    return model(f"claude-{name}", created_at=f"{created}T00:00:00Z", line=line[0], **fields)


GONE = claude("opus-4-20250514", "2025-05-22")
OVERDUE = claude("haiku-4-5-20251001", "2025-10-15", lifecycle="deprecated", retires_at=ahead(-3))
RETIRED = claude("sonnet-4-20250514", "2025-05-22", lifecycle="retired", retires_at=ahead(-30))
RETIRING = claude("sonnet-4-5-20250929", "2025-09-29", retires_at=ahead(45))
DEPRECATED = claude(
    "opus-4-1-20250805",
    "2025-08-05",
    lifecycle="deprecated",
    deprecated_at="2026-06-05T00:00:00Z",
    retires_at=ahead(200),
)
FINE = [
    claude("opus-5", "2026-07-24"),
    claude("sonnet-5", "2026-06-29"),
    claude("fable-5", "2026-06-07"),
]
LISTED = [*FINE, DEPRECATED, RETIRING, OVERDUE, RETIRED]


GONE_SINCE_JUNE = "claude-opus-4-20250514"
"""A model of the demo's story."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two sources: a model was removed from the first; the second lists two models."""
    url = f"sqlite:///{tmp_path_factory.mktemp('database') / 'catalog.db'}"
    lifecycle = ["active", "deprecated", "retired"]
    with Sandbox([*LISTED, GONE], api_key=KEY) as sandbox:
        settings = settings_for(url, sandbox.url, key=KEY, lifecycle=lifecycle)
        with App(settings) as app:
            assert app.sync()[0].error is None
            sandbox.models = LISTED
            assert [event.kind for event in app.sync()[0].events] == ["removed"]
    with Sandbox([FINE[0], GONE], api_key=KEY) as sandbox:
        other = App(settings_for(url, sandbox.url, name="other", key=KEY))
        assert other.sync()[0].error is None
        other.engine.dispose()
    return url


CONFIG = """
[[sources]]
name = "anthropic"
[[sources]]
name = "other"
"""


@pytest.fixture
def catalog(
    database: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The environment names a fresh catalog and a configuration with both sources, and no key."""
    file = tmp_path_factory.mktemp("config") / "catalog-sync.toml"
    file.write_text(CONFIG, encoding="utf-8")
    monkeypatch.setenv("CATALOG_SYNC_DATABASE_URL", database)
    monkeypatch.setenv("CATALOG_SYNC_CONFIG", str(file))
    return file


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("demo") / "catalog.db"
    assert [report.error for _, report in story.replay(file) if report.error] == []
    return f"sqlite:///{file}"


def write(name: str, text: str | bytes) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def lines(result: CompletedProcess[str], exit_code: int = 1) -> list[str]:
    """The lines that a check prints, after checking that there are no others."""
    assert (result.returncode, result.stderr) == (exit_code, "")
    return result.stdout.splitlines()


# --- models ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("catalog")
def test_each_verdict() -> None:
    """Each finding has the id, the verdict, the deciding date and the successor."""
    names = [each["id"] for each in (DEPRECATED, RETIRING, OVERDUE, RETIRED, GONE, FINE[0])]
    printed = lines(
        run("check", *names, "claude-sonnet-4", "claude-opus-4-6", "--source=anthropic")
    )
    date = r"\d{4}-\d\d-\d\d"
    opus, sonnet = "; successor: claude-opus-5", "; successor: claude-sonnet-5"
    left = rf"retires {date} \(\d+ days left\)"
    wanted = [
        rf"claude-opus-4-1-20250805: deprecated: since 2026-06-05, {left}{opus} \[warning\]",
        rf"claude-sonnet-4-5-20250929: retiring: {left}{sonnet}",
        rf"claude-haiku-4-5-20251001: overdue: deprecated, was to retire {date} \(\d days .*\)",
        rf"claude-sonnet-4-20250514: retired: retirement date {date}{sonnet}",
        rf"claude-opus-4-20250514: removed: gone from the list since {date}{opus}",
        rf"claude-sonnet-4: retired: alias of claude-sonnet-4-20250514; .*{sonnet}",
        "claude-opus-4-6: unknown: not in the catalog",
        "8 models checked: 6 problems, 1 warning",
    ]
    assert len(printed) == len(wanted)
    for line, pattern in zip(printed, wanted, strict=True):
        assert re.fullmatch(pattern, line), line


@pytest.mark.usefixtures("catalog")
def test_what_is_no_problem() -> None:
    """A fine model, one that retires later, an ignored one, an alias of a fine one: exit code 0."""
    fine = run("check", "claude-opus-5", RETIRING["id"], "--within", "30d")
    assert lines(fine, 0) == ["2 models checked: no problem"]
    assert lines(run("check", RETIRING["id"], "--within", "50d"))[-1].endswith("1 problem")
    ignored = run("check", "claude-opus-5", GONE["id"], "x", "--ignore", "*-opus-4*", "--ignore=x")
    assert lines(ignored, 0) == ["1 model checked, 2 ignored: no problem"]
    alias = run("check", "claude-sonnet-4-5", "--within=1d", "--source=anthropic", "--json")
    assert alias.returncode == 0
    (entry,) = json.loads(alias.stdout)
    assert (entry["verdict"], entry["severity"], entry["alias_of"]) == (
        "fine",
        "ok",
        RETIRING["id"],
    )
    text = run("check", "claude-sonnet-4-5", "--within=1d", "--source=anthropic")
    assert lines(text, 0)[0] == f"claude-sonnet-4-5: fine: alias of {RETIRING['id']}"
    none = run("check", "claude-sonnet-4-5", "--within=1d", "--no-aliases", "--source=anthropic")
    assert lines(none)[0].startswith(
        f"claude-sonnet-4-5: unknown: not in the catalog; closest is {RETIRING['id']}"
    )


@pytest.mark.parametrize(
    ("arguments", "exit_code", "result"),
    [
        ([], 0, "no problem, 1 warning"),
        (["--strict"], 1, "1 problem"),
        (["--fail-on", "removed,deprecated"], 1, "1 problem"),
        (["--fail-on=removed", "--fail-on=deprecated"], 1, "1 problem"),
        (["--fail-on", "removed", "--strict"], 1, "1 problem"),
        (["--fail-on", "removed"], 0, "no problem, 1 warning"),
    ],
)
@pytest.mark.usefixtures("catalog")
def test_what_fails(arguments: list[str], exit_code: int, result: str) -> None:
    """`--fail-on` chooses the verdicts that fail the check; `--strict` chooses all."""
    printed = lines(run("check", DEPRECATED["id"], *arguments), exit_code)
    assert printed[-1] == f"1 model checked: {result}"


def test_the_configuration(catalog: Path) -> None:
    """`[check]` has the defaults. An option replaces `fail_on`, and adds to the globs."""
    write("in/x.py", f"{DEPRECATED['id']} {GONE['id']} claude-opus-5")
    write("in/CHANGELOG.md", RETIRED["id"])
    write("in/y.py", OVERDUE["id"])
    table = """
[check]
within = "300d"
fail_on = ["retiring"]
ignore = ["claude-opus-4-2*"]
exclude = ["CHANGELOG.md"]
"""
    catalog.write_text(CONFIG + table, encoding="utf-8")
    printed = lines(run("check", "--scan", "in"))
    assert [line.split(": ")[1:3] for line in printed[:-1]] == [
        [DEPRECATED["id"], "retiring"],
        [OVERDUE["id"], "overdue"],
    ]
    assert printed[-1] == "3 models checked, 1 ignored, 2 files scanned: 1 problem, 1 warning"
    arguments = ["--within=1d", "--fail-on=overdue", "--exclude=y.py", "--ignore=claude-opus-5"]
    printed = lines(run("check", "--scan", "in", *arguments), 0)
    assert printed[-1] == "1 model checked, 2 ignored, 1 file scanned: no problem, 1 warning"


def test_a_source_that_is_not_configured(catalog: Path) -> None:
    """An unconfigured source in the database is reported; the exit code stays."""
    catalog.write_text('[[sources]]\nname = "anthropic"\n', encoding="utf-8")
    result = run("check", "claude-opus-5")
    assert result.returncode == 0
    assert "source other is in the database but not in the configuration" in result.stderr


def test_a_missing_model(tmp_path: Path) -> None:
    """A model that is missing, but not confirmed as removed, is reported on standard error."""
    url = f"sqlite:///{tmp_path / 'missing.db'}"
    with Sandbox([*FINE, GONE], api_key=KEY) as sandbox:
        with App(settings_for(url, sandbox.url, name="anthropic", key=KEY)) as app:
            app.sync()
        with closing(sqlite3.connect(tmp_path / "missing.db")) as connection, connection:
            connection.execute(
                "UPDATE models SET missing_since = '2026-06-14 00:00:00.000000' WHERE id = ?",
                (GONE["id"],),
            )
    result = run("check", GONE["id"], CATALOG_SYNC_DATABASE_URL=url)
    assert result.returncode == 0
    assert (
        f"{GONE['id']} is missing from the list of source anthropic since 2026-06-14"
        in result.stderr
    )


@pytest.mark.usefixtures("catalog")
def test_several_sources() -> None:
    """A model is judged in each source, and the most severe verdict counts."""
    (printed, _) = lines(run("check", GONE["id"]))
    assert "removed: source anthropic: gone from the list" in printed
    assert printed.endswith("; fine in other; successor: claude-opus-5")
    (printed, _) = lines(run("check", GONE["id"], "claude-fable-5", "--source", "other"))
    assert printed.startswith("claude-fable-5: unknown")
    assert "'nope'" in complaint(run("check", "x", "--source", "nope"), 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to check"),
        ([""], "an empty MODEL or PATH"),
        (["x", "--within", "soon"], "'--within'"),
        (["--scan", "missing"], "--scan missing: no such file or directory"),
        (["x", "--fail-on", "fine"], "'fine' is not one of"),
        (["x", "--fail-on", "removed,nope"], "'nope' is not one of"),
        (["--scan", ".", "--exclude", "!"], "--exclude"),
        (["x", "--scan", "--"], "--scan: no file or directory is named"),
        (["--scan", ".", "missing/"], "--scan missing/: no such file or directory"),
    ],
)
@pytest.mark.usefixtures("catalog")
def test_usage(arguments: list[str], said: str) -> None:
    """Wrong usage is one line and exit code 2."""
    assert said in complaint(run("check", *arguments), 2)


def test_a_missing_path_without_a_catalog() -> None:
    """A missing path is wrong usage also while nothing is recorded."""
    assert "missing: no such file" in complaint(run("check", "--scan", "missing"), 2)


def test_an_empty_database() -> None:
    """An empty database is exit code 1, and no file is created."""
    said = complaint(run("check", "claude-opus-5", "--scan", ".", "--format", "json"), 1)
    assert said == "catalog-sync: nothing was recorded yet; run: catalog-sync sync"
    assert list(Path().iterdir()) == []


@pytest.mark.usefixtures("catalog")
def test_an_old_catalog() -> None:
    """A catalog older than `max_age` is used, with a warning per source."""
    result = run(
        "check",
        "claude-opus-5",
        CATALOG_SYNC_MAX_AGE="1ms",
    )
    assert (result.returncode, result.stdout) == (0, "1 model checked: no problem\n")
    first, second = result.stderr.splitlines()
    assert re.fullmatch(
        r"catalog-sync: source anthropic: last success .* ago, at most .* expected; "
        r"run: catalog-sync sync",
        first,
    )
    assert "source other" in second


# --- files -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("catalog")
def test_scan() -> None:
    """Ids, and words in the form of one, are reported with file, line and column."""
    write("src/app.py", f'# claude-code\nMODEL = "{GONE["id"]}"  # not claude-opus-5\n')
    write("src/deep/é.yaml", f"é: anthropic/claude-opus-9, {RETIRING['id']}\n")
    write("config/x.toml", f'm = "{GONE["id"]}-x"\nn = "claude-opus-5"\n')
    write("config/.gitignore", "*.log")
    write("config/x.log", GONE["id"])
    subprocess.run(["git", "init", "-q"], check=True)
    write("config/x.bin", b"\0" + GONE["id"].encode())
    printed = lines(run("check", "--scan", "src/", "config/"))
    assert [line.partition(" (")[0].partition(";")[0] for line in printed] == [
        f"src/app.py:2:10: {GONE['id']}: removed: source anthropic: gone from the list since "
        + printed[0].split("since ")[1][:10],
        "src/deep/é.yaml:1:14: claude-opus-9: unknown: not in the catalog",
        f"src/deep/é.yaml:1:29: {RETIRING['id']}: retiring: retires {ahead(45)[:10]}",
        "4 models checked, 5 files scanned: 3 problems",
    ]
    again = run("check", "--scan", "src", "--scan=./config", "--within", "1d")
    assert lines(again)[-1].endswith(": 2 problems")
    assert lines(run("check", "--scan", "config"), 0) == [
        "1 model checked, 3 files scanned: no problem"
    ]


@pytest.mark.usefixtures("catalog")
def test_models_and_paths_together() -> None:
    """With --scan a word that names a file is a path, and also a model if it was ever listed.

    After `--` no name is an option.
    """
    write("a.py", GONE["id"])
    write("claude-fable-5", "claude-opus-9")
    write(OVERDUE["id"], "nothing")
    write("--ignore=*", "no option")
    names = ["--ignore=*", "a.py", "claude-fable-5", OVERDUE["id"]]
    printed = lines(run("check", "claude-opus-5", "--scan", "--", *names))
    assert [line.split(": ")[0] for line in printed] == [
        OVERDUE["id"],
        "a.py:1:1",
        "claude-fable-5:1:1",
        "5 models checked, 4 files scanned",
    ]
    typed = run("check", "--scan", "a.py", "b.py")
    assert typed.returncode == 1
    assert typed.stderr == (
        "catalog-sync: b.py is no file or directory here; it is checked as a model\n"
    )
    assert typed.stdout.startswith("b.py: unknown: not in the catalog")
    assert run("check", "a.py").stderr == (
        "catalog-sync: a.py is a file or directory; search it with --scan a.py\n"
    )


@pytest.mark.usefixtures("catalog")
def test_what_cannot_be_read() -> None:
    """An unreadable file is reported on standard error, and the check fails."""
    write("in/x.py", "claude-opus-5")
    here = os.open("in", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    result = run("check", "--scan", "in", "--format", "sarif")
    subprocess.run(["rm", "-r", "in/" + "d" * 250], check=True)
    assert result.returncode == 1
    assert result.stderr.startswith("catalog-sync: cannot read (File name too long): in/d")
    log = Sarif.model_validate_json(result.stdout)
    assert log.runs[0].results == []
    (invocation,) = log.runs[0].invocations
    assert invocation.executionSuccessful is False
    assert len(invocation.toolExecutionNotifications) == 1


# --- formats -----------------------------------------------------------------------------------

HOSTILE = [
    "a\n::error file=x::forged.py",
    "::error file=x,line=1::forged",
    "b,line=9::c:%0A%.py",
    "##[error]forged",
    "\x1b[2Jcleared",
    os.fsdecode(b"bad\xff.py"),
    " ::stop-commands::x",
]
"""Names that could forge a line or a command if they were printed unchanged."""


def hostile_tree() -> None:
    for name in HOSTILE:
        write(f"in/{name}", f'é😀 "{GONE["id"]}"')


@pytest.mark.usefixtures("catalog")
def test_github() -> None:
    """Each finding is one command of the runner with the exact file; no other line is a command."""
    hostile_tree()
    os.chdir("in")
    printed = lines(run("check", "claude-opus-9", "--scan", ".", "--format", "github"))
    assert (
        printed.pop()
        == f"2 models checked, {len(HOSTILE)} files scanned: {len(HOSTILE) + 1} problems"
    )
    files = set()
    for number, line in enumerate(printed):
        command = re.fullmatch(r"::error ([^:]*)::(.*)", line)
        assert command, line
        assert line.isprintable()
        properties = dict(each.split("=", 1) for each in command[1].split(","))
        if number:
            where = [properties[key] for key in ("line", "col", "endColumn")]
            assert where == ["1", "5", str(5 + len(GONE["id"]))]
            assert properties["title"] == f"Model removed%3A {GONE['id']}"
            files.add(unquote(properties["file"]))
        else:
            assert properties == {"title": "Model unknown%3A claude-opus-9"}
    exact = {name for name in HOSTILE if name.isprintable() or "\n" in name}
    assert exact <= files


@pytest.mark.usefixtures("catalog")
def test_github_warnings_and_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning is a `::warning`, and the job summary is a Markdown table of all findings."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(Path("summary.md").absolute()))
    write("summary.md", "before\n")
    write("in/a|`b.py", f"{GONE['id']} {DEPRECATED['id']}")
    printed = lines(run("check", "--scan", "in", "--format", "github"))
    assert [line.split(" ")[0] for line in printed[:2]] == ["::error", "::warning"]
    before, heading, _, _, _, error, warning, *_ = Path("summary.md").read_text().splitlines()
    assert before == "before"
    assert heading == f"### Models: {printed[-1]}"
    assert error.startswith("| error | claude-opus-4-20250514 | removed | source anthropic: gone")
    assert error.endswith(r" | in/a\|\`b.py:1 |")
    assert warning.startswith("| warning | claude-opus-4-1-20250805 | deprecated |")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(Path("missing/summary.md").absolute()))
    failed = run("check", "claude-opus-5", "--format", "github")
    assert failed.returncode == 0
    assert "GITHUB_STEP_SUMMARY cannot be written" in failed.stderr


@pytest.mark.usefixtures("catalog")
def test_a_table_forges_nothing() -> None:
    """For any file name, a finding is one printable line and no command of a runner."""
    hostile_tree()
    os.chdir("in")
    printed = lines(run("check", "--scan", "."))
    assert len(printed) == len(HOSTILE) + 1
    for line in printed:
        assert line.isprintable()
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


@pytest.mark.usefixtures("catalog")
def test_sarif() -> None:
    """The output is SARIF 2.1.0: URIs lead to the files, columns count UTF-16 units."""
    hostile_tree()
    write("above/x y.py", GONE["id"])
    os.chdir("in")
    result = run("check", "claude-opus-9", "--scan", ".", "../above", "--format", "sarif")
    assert (result.returncode, result.stderr) == (1, "")
    (log,) = Sarif.model_validate_json(result.stdout).runs
    assert log.columnKind.value == "utf16CodeUnits"
    rules = [rule.id for rule in log.tool.driver.rules]
    assert {f"model-{verdict}" for verdict in ("unknown", "deprecated", "removed")} <= set(rules)
    assert {rules[each.ruleIndex] == each.ruleId for each in log.results} == {True}
    named, *found = log.results
    assert (named.ruleId, named.locations) == ("model-unknown", [])
    assert {each.level.value for each in log.results} == {"error"}
    places = [each.locations[0].physicalLocation for each in found]
    within = [place for place in places if place.artifactLocation.uriBaseId == "%SRCROOT%"]
    (above,) = [place for place in places if place.artifactLocation.uriBaseId is None]
    names = {unquote(place.artifactLocation.uri, errors="surrogateescape") for place in within}
    assert names == set(HOSTILE)
    assert {(p.region.startLine, p.region.startColumn) for p in within} == {(1, 6)}
    assert {p.region.endColumn for p in within} == {6 + len(GONE["id"])}
    assert above.artifactLocation.uri == Path("../above/x y.py").resolve().as_uri()


@pytest.mark.usefixtures("catalog")
def test_sarif_levels() -> None:
    """The level of a result is its severity, and the rules state the default."""
    result = run("check", DEPRECATED["id"], "--format", "sarif")
    assert (result.returncode, result.stderr) == (0, "")
    (log,) = Sarif.model_validate_json(result.stdout).runs
    assert [each.level.value for each in log.results] == ["warning"]
    levels = {r.id: r.defaultConfiguration.level.value for r in log.tool.driver.rules}
    assert (levels["model-deprecated"], levels["model-removed"]) == ("warning", "error")


@pytest.mark.usefixtures("catalog")
def test_json() -> None:
    """The output is an array with an object for every checked model, fine ones included."""
    write("src/x.py", f"é {GONE['id']}\n{GONE['id']}, claude-opus-5, claude-opus-4")
    result = run("check", DEPRECATED["id"], "--scan", "src", "--format", "json")
    assert (result.returncode, result.stderr) == (1, "")
    named, gone, fine, alias = json.loads(result.stdout)
    assert named == {
        "model_id": DEPRECATED["id"],
        "verdict": "deprecated",
        "severity": "warning",
        "message": named["message"],
        "alias_of": None,
        "successor": "claude-opus-5",
        "closest": None,
        "path": None,
        "line": None,
        "column": None,
        "locations": [],
        "lifecycle": "deprecated",
        "deprecated_at": "2026-06-05T00:00:00Z",
        "retires_at": named["retires_at"],
        "missing_since": None,
        "removed_at": None,
        "sources": {"anthropic": "deprecated"},
    }
    assert [gone[key] for key in ("path", "line", "column")] == ["src/x.py", 1, 3]
    assert gone["locations"] == [
        {"path": "src/x.py", "line": 1, "column": 3},
        {"path": "src/x.py", "line": 2, "column": 1},
    ]
    assert gone["sources"] == {"anthropic": "removed", "other": "fine"}
    assert gone["removed_at"] is not None
    assert (fine["model_id"], fine["verdict"], fine["severity"]) == ("claude-opus-5", "fine", "ok")
    assert (alias["alias_of"], alias["verdict"]) == (GONE["id"], "removed")
    assert run("check", "claude-opus-5", "--json").stdout.count("model_id") == 1


@pytest.mark.usefixtures("catalog")
def test_a_reader_that_has_seen_enough() -> None:
    """Thousands of findings into `head -1` are one line and no error."""
    write("x.txt", f"{GONE['id']}\n" * 20_000)
    command = f"{shlex.join(program('check', '--scan', 'x.txt'))} | head -1"
    result = subprocess.run(
        command, shell=True, env=environment(), capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    assert result.stdout.startswith("x.txt:1:1: ")
    assert result.stdout.count("\n") == 1


def test_a_configuration_in_the_checkout(demo: str, tmp_path: Path) -> None:
    """The checkout's `catalog-sync.toml` runs no command, and is not read if another is named."""
    write("a.py", f'MODEL = "{GONE_SINCE_JUNE}"\n')
    write(
        "catalog-sync.toml",
        f"""
        database_url = "{demo}"
        [[sources]]
        name = "anthropic"
        api_key_command = ["touch", "{tmp_path}/ran"]
        [check]
        ignore = ["*"]
        """,
    )
    hidden = run("check", "--scan", ".")
    assert (hidden.returncode, "0 models checked" in hidden.stdout) == (0, True), hidden
    assert not (tmp_path / "ran").exists()
    ours = tmp_path / "elsewhere.toml"
    ours.write_text(f'database_url = "{demo}"\n[[sources]]\nname = "anthropic"\n')
    found = run("check", "--scan", ".", CATALOG_SYNC_CONFIG=str(ours))
    assert (found.returncode, GONE_SINCE_JUNE in found.stdout) == (1, True), found


# --- tools that run it ---------------------------------------------------------------------------


def test_the_page_of_check(demo: str) -> None:
    """The documents show what `check --scan` prints for the demo's catalog."""
    (shown,) = page("reference/check.md").blocks("text")
    write("src/app.py", 'MODEL = "claude-opus-4-20250514"\nFAST = "claude-haiku-4-5-20251001"\n')
    write("config/llm.yaml", "models:\n- name: main\n  model: anthropic/claude-opus-4-1\n")
    result = run("check", "--scan", "src/", "config/", CATALOG_SYNC_DATABASE_URL=demo)
    assert (result.returncode, result.stdout) == (1, shown)


@pytest.mark.usefixtures("catalog")
def test_pre_commit() -> None:
    """pre-commit accepts the hook and runs it on the files of a change, with its arguments."""
    (hook,) = load_manifest(CHECKOUT / ".pre-commit-hooks.yaml")
    # The same hook, with this environment's program in place of an installed one.
    entry = hook["entry"].replace("catalog-sync", shlex.join(program()))
    given = {key: hook[key] for key in ("id", "name", "types", "require_serial")}
    local = {**given, "language": "system", "entry": entry, "args": ["--within=30d", *hook["args"]]}
    config = {"repos": [{"repo": "local", "hooks": [local]}]}
    write(".pre-commit-config.yaml", yaml.safe_dump(config))
    write("a change/x.py", f'"{RETIRING["id"]}" "{GONE["id"]}"')
    write("data.bin", b"\0" + GONE["id"].encode())
    write("--ignore=*", "a name, and no option")
    write("not staged.py", GONE["id"])
    for command in ("git init -q", "git add -- .pre-commit-config.yaml *.bin */x.py --ig*"):
        subprocess.run(command, shell=True, check=True)
    refused = subprocess.run(
        [sys.executable, "-m", "pre_commit", "run"],
        env=environment(PRE_COMMIT_HOME=str(Path("cache").resolve())),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1, refused.stdout
    printed = [line for line in refused.stdout.splitlines() if ": removed: " in line]
    assert [line.split(": removed")[0] for line in printed] == [f"a change/x.py:1:31: {GONE['id']}"]
    assert "2 models checked, 3 files scanned: 1 problem" in refused.stdout


def test_the_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workflow fits GitHub's schema, and its commands work in a shell."""
    file = CHECKOUT / "config" / "github" / "check.yml"
    schema = ["check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)]
    subprocess.run([sys.executable, "-m", *schema], check=True, capture_output=True)
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    job = workflow["jobs"]["check"]
    assert workflow["permissions"] == {}
    for step in job["steps"]:
        assert "uses" not in step or re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"])
        assert ("ANTHROPIC_API_KEY" in step.get("env", {})) == (step.get("name") == "Sync")
    steps = {step["name"]: step["run"] for step in job["steps"] if "run" in step}
    assert steps.pop("Install") == 'pip install --quiet "$PACKAGE"'
    runner, checkout, shims = (Path(name).absolute() for name in ("runner", "checkout", "shims"))
    write("runner/env", "")
    write("checkout/src/app.py", f'MODEL = "{GONE["id"]}"')
    write("checkout/catalog-sync.toml", 'database_url = "sqlite:///elsewhere.db"')  # not used
    write("shims/catalog-sync", f'#!/bin/sh\nexec {shlex.join(program())} "$@"\n')
    (shims / "catalog-sync").chmod(0o755)
    monkeypatch.setenv("PATH", str(shims), prepend=os.pathsep)
    monkeypatch.setenv("RUNNER_TEMP", str(runner))
    monkeypatch.setenv("GITHUB_ENV", str(runner / "env"))
    with Sandbox(LISTED, api_key=KEY) as sandbox:
        done = {}
        for name, command in steps.items():
            monkeypatch.setenv("ANTHROPIC_API_KEY", KEY if name == "Sync" else "")
            done[name] = subprocess.run(
                ["bash", "-e", "-c", command],
                cwd=checkout,
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            if name == "Configure":
                with (runner / "catalog-sync.toml").open("a", encoding="utf-8") as config:
                    config.write(f'base_url = "{sandbox.url}"\n')
            for line in (runner / "env").read_text(encoding="utf-8").splitlines():
                monkeypatch.setenv(*line.split("=", 1))
    sync, check = done["Sync"], done["Check"]
    assert (sync.returncode, sync.stderr) == (0, "")
    with closing(sqlite3.connect(runner / "catalog.db")) as connection:
        assert connection.execute("SELECT count(*) FROM models").fetchone() == (len(LISTED),)
    assert (check.returncode, check.stderr) == (1, "")
    assert check.stdout.startswith(f"::error title=Model unknown%3A {GONE['id']},file=src/app.py,")
    (shown, _) = page("how-to/github-actions.md").blocks("yaml")
    assert shown == f"- run: {steps['Check']}\n"
