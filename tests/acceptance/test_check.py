"""`catalog-sync check`, as the users of models run it in their own CI: without a key."""

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
from catalog_sync.clock import format_instant
from catalog_sync.demo import story
from catalog_sync.demo.sandbox import Sandbox
from support import KEY, environment, model, program, run, settings_for

if TYPE_CHECKING:
    from subprocess import CompletedProcess

CHECKOUT = Path(__file__).parents[2]
NOW = datetime.now(UTC)


def ahead(days: int) -> str:
    return format_instant((NOW + timedelta(days=days)).replace(hour=0, minute=0, second=0))


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


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two sources: of one a model has left the list, the other lists two models alone."""
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


@pytest.fixture
def catalog(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names a fresh catalog, and no key."""
    monkeypatch.setenv("CATALOG_SYNC_DATABASE_URL", database)


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
    """The lines that a check prints, after checking that it says nothing else."""
    assert (result.returncode, result.stderr) == (exit_code, "")
    return result.stdout.splitlines()


def complaint(result: CompletedProcess[str], exit_code: int) -> str:
    assert (result.returncode, result.stdout) == (exit_code, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("catalog-sync: ")
    return line


# --- models ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("catalog")
def test_each_verdict() -> None:
    """Each problem has the id, the verdict, the date that it turns on, and the successor."""
    names = [each["id"] for each in (DEPRECATED, RETIRING, OVERDUE, RETIRED, GONE, FINE[0])]
    told = lines(run("check", *names, "claude-opus-4-1", "--source", "anthropic"))
    date = r"\d{4}-\d\d-\d\d"
    opus, sonnet = "; successor: claude-opus-5", "; successor: claude-sonnet-5"
    left = rf"retires {date} \(\d+ days left\)"
    unknown = "the catalog never held it; closest is"
    wanted = [
        rf"claude-opus-4-1-20250805: deprecated: since 2026-06-05, {left}{opus}",
        rf"claude-sonnet-4-5-20250929: retiring: {left}{sonnet}",
        rf"claude-haiku-4-5-20251001: overdue: deprecated, was to retire {date} \(\d days .*\)",
        rf"claude-sonnet-4-20250514: retired: retirement date {date}{sonnet}",
        rf"claude-opus-4-20250514: removed: gone from the list since {date}{opus}",
        rf"claude-opus-4-1: unknown: {unknown} claude-opus-4-1-20250805 \(deprecated\){opus}",
        "7 models checked: 6 problems",
    ]
    assert len(told) == len(wanted)
    for line, pattern in zip(told, wanted, strict=True):
        assert re.fullmatch(pattern, line), line


@pytest.mark.usefixtures("catalog")
def test_what_is_no_problem() -> None:
    """A fine model, one whose retirement is further away, one that is ignored: exit code 0."""
    fine = run("check", "claude-opus-5", RETIRING["id"], "--within", "30d")
    assert lines(fine, 0) == ["2 models checked: no problem"]
    assert lines(run("check", RETIRING["id"], "--within", "50d"))[-1].endswith("1 problem")
    ignored = run("check", "claude-opus-5", GONE["id"], "x", "--ignore", "*-opus-4*", "--ignore=x")
    assert lines(ignored, 0) == ["1 model checked, 2 ignored: no problem"]


@pytest.mark.usefixtures("catalog")
def test_several_sources() -> None:
    """A model is judged in each source; the gravest counts, and the others may be left out."""
    (told, _) = lines(run("check", GONE["id"]))
    assert "removed: source anthropic: gone from the list" in told
    assert told.endswith("; fine in other; successor: claude-opus-5")
    (told, _) = lines(run("check", GONE["id"], "claude-fable-5", "--source", "other"))
    assert told.startswith("claude-fable-5: unknown")
    assert "'nope'" in complaint(run("check", "x", "--source", "nope"), 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to check"),
        ([""], "an empty MODEL or PATH"),
        (["x", "--within", "soon"], "'--within'"),
        (["--scan", "missing"], "--scan missing: no such file or directory"),
        (["x", "--scan", "--"], "--scan: no file or directory is named"),
        (["--scan", ".", "missing/"], "--scan missing/: no such file or directory"),
    ],
)
@pytest.mark.usefixtures("catalog")
def test_usage(arguments: list[str], said: str) -> None:
    """What cannot be checked is named on one line, with exit code 2."""
    assert said in complaint(run("check", *arguments), 2)


def test_an_empty_database() -> None:
    """Before the first sync nothing can be said: exit code 1, and no file is made."""
    said = complaint(run("check", "claude-opus-5", "--scan", ".", "--format", "json"), 1)
    assert said == "catalog-sync: nothing was recorded yet; run: catalog-sync sync"
    assert list(Path().iterdir()) == []


def test_an_old_catalogue(database: str) -> None:
    """One that is older than `max_age` is used all the same, after a warning for each source."""
    result = run(
        "check",
        "claude-opus-5",
        CATALOG_SYNC_DATABASE_URL=database,
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
    """Pinned ids and what looks like one, with file, line and column; the rest is silent."""
    write("src/app.py", f'# claude-code\nMODEL = "{GONE["id"]}"  # not claude-opus-5\n')
    write("src/deep/é.yaml", f"é: anthropic/claude-opus-9, {RETIRING['id']}\n")
    write("config/x.toml", f'm = "{GONE["id"]}-x"\nn = "claude-opus-5"\n')
    write("config/.gitignore", "*.log")
    write("config/x.log", GONE["id"])
    write("config/x.bin", b"\0" + GONE["id"].encode())
    told = lines(run("check", "--scan", "src/", "config/"))
    assert [line.partition(" (")[0].partition(";")[0] for line in told] == [
        f"src/app.py:2:10: {GONE['id']}: removed: source anthropic: gone from the list since "
        + told[0].split("since ")[1][:10],
        "src/deep/é.yaml:1:14: claude-opus-9: unknown: the catalog never held it",
        f"src/deep/é.yaml:1:29: {RETIRING['id']}: retiring: retires {ahead(45)[:10]}",
        "4 models checked, 5 files scanned, 1 of them binary: 3 problems",
    ]
    again = run("check", "--scan", "src", "--scan=./config", "--within", "1d")
    assert lines(again)[-1].endswith(": 2 problems")
    assert lines(run("check", "--scan", "config"), 0) == [
        "1 model checked, 3 files scanned, 1 of them binary: no problem"
    ]


@pytest.mark.usefixtures("catalog")
def test_models_and_paths_together() -> None:
    """With --scan a word that names a file is one, and a model too if it was ever listed.

    Behind `--` a name is never an option.
    """
    write("a.py", GONE["id"])
    write("claude-fable-5", "claude-opus-9")
    write(OVERDUE["id"], "nothing")
    write("--ignore=*", "no option")
    names = ["--ignore=*", "a.py", "claude-fable-5", OVERDUE["id"]]
    told = lines(run("check", "claude-opus-5", "--scan", "--", *names))
    assert [line.split(": ")[0] for line in told] == [
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
    assert typed.stdout.startswith("b.py: unknown: the catalog never held it")
    assert run("check", "a.py").stderr == (
        "catalog-sync: a.py is a file or directory; look for ids in it with --scan a.py\n"
    )


@pytest.mark.usefixtures("catalog")
def test_what_cannot_be_read() -> None:
    """It is named on standard error, and the check fails though it found nothing."""
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
"""Names that would forge a line or a command where they are printed as they are."""


def hostile_tree() -> None:
    for name in HOSTILE:
        write(f"in/{name}", f'é😀 "{GONE["id"]}"')


@pytest.mark.usefixtures("catalog")
def test_github() -> None:
    """Each problem is one command of the runner, with the file exactly, and nothing else is one."""
    hostile_tree()
    os.chdir("in")
    told = lines(run("check", "claude-opus-9", "--scan", ".", "--format", "github"))
    assert (
        told.pop() == f"2 models checked, {len(HOSTILE)} files scanned: {len(HOSTILE) + 1} problems"
    )
    files = set()
    for number, line in enumerate(told):
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
def test_a_table_forges_nothing() -> None:
    """Whatever files are called, a problem is one printable line and no command of a runner."""
    hostile_tree()
    os.chdir("in")
    told = lines(run("check", "--scan", "."))
    assert len(told) == len(HOSTILE) + 1
    for line in told:
        assert line.isprintable()
        assert not line.lstrip().startswith("::")
        assert "##[" not in line


@pytest.mark.usefixtures("catalog")
def test_sarif() -> None:
    """It is SARIF 2.1.0: its URIs lead to the files, its columns count UTF-16 units."""
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
    places = [each.locations[0].physicalLocation for each in found]
    within = [place for place in places if place.artifactLocation.uriBaseId == "%SRCROOT%"]
    (above,) = [place for place in places if place.artifactLocation.uriBaseId is None]
    names = {unquote(place.artifactLocation.uri, errors="surrogateescape") for place in within}
    assert names == set(HOSTILE)
    assert {(p.region.startLine, p.region.startColumn) for p in within} == {(1, 6)}
    assert {p.region.endColumn for p in within} == {6 + len(GONE["id"])}
    assert above.artifactLocation.uri == Path("../above/x y.py").resolve().as_uri()


@pytest.mark.usefixtures("catalog")
def test_json() -> None:
    """A bare array with all facts of each problem; an empty one where there is none."""
    write("src/x.py", f"é {GONE['id']}")
    result = run("check", DEPRECATED["id"], "--scan", "src", "--format", "json")
    assert (result.returncode, result.stderr) == (1, "")
    named, found = json.loads(result.stdout)
    assert named == {
        "model_id": DEPRECATED["id"],
        "verdict": "deprecated",
        "message": named["message"],
        "successor": "claude-opus-5",
        "closest": None,
        "path": None,
        "line": None,
        "column": None,
        "lifecycle": "deprecated",
        "deprecated_at": "2026-06-05T00:00:00Z",
        "retires_at": named["retires_at"],
        "removed_at": None,
        "sources": {"anthropic": "deprecated"},
    }
    assert [found[key] for key in ("path", "line", "column")] == ["src/x.py", 1, 3]
    assert found["sources"] == {"anthropic": "removed", "other": "fine"}
    assert found["removed_at"] is not None
    assert run("check", "claude-opus-5", "--format", "json").stdout == "[]\n"


@pytest.mark.usefixtures("catalog")
def test_a_reader_that_has_seen_enough() -> None:
    """Thousands of problems into `head -1` are one line, and no complaint."""
    write("x.txt", f"{GONE['id']}\n" * 20_000)
    command = f"{shlex.join(program('check', '--scan', 'x.txt'))} | head -1"
    result = subprocess.run(
        command, shell=True, env=environment(), capture_output=True, text=True, check=False
    )
    assert result.stderr == ""
    assert result.stdout.startswith("x.txt:1:1: ")
    assert result.stdout.count("\n") == 1


# --- what others run ---------------------------------------------------------------------------


def test_the_readme(demo: str) -> None:
    """What the README shows of `check --scan` is what it prints of the demo's catalog."""
    readme = CHECKOUT.joinpath("README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Check\n")[2].partition("\n## ")[0]
    (shown,) = re.findall(r"^```text\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    write("src/app.py", 'MODEL = "claude-opus-4-20250514"\nFAST = "claude-haiku-4-5-20251001"\n')
    write("config/llm.yaml", "models:\n- name: main\n  model: anthropic/claude-opus-4-1\n")
    result = run("check", "--scan", "src/", "config/", CATALOG_SYNC_DATABASE_URL=demo)
    assert (result.returncode, result.stdout) == (1, shown)


@pytest.mark.usefixtures("catalog")
def test_pre_commit() -> None:
    """pre-commit takes our definition, and runs it on the files of a change, with our arguments."""
    (hook,) = load_manifest(CHECKOUT / ".pre-commit-hooks.yaml")
    # The same hook, with this environment's program in place of one that pre-commit installs.
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
    told = [line for line in refused.stdout.splitlines() if ": removed: " in line]
    assert [line.split(": removed")[0] for line in told] == [f"a change/x.py:1:31: {GONE['id']}"]
    assert "2 models checked, 3 files scanned: 1 problem" in refused.stdout


def test_the_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workflow is one by GitHub's schema, and its commands do in a shell what they promise."""
    file = CHECKOUT / "config" / "github" / "check.yml"
    schema = ["check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)]
    subprocess.run([sys.executable, "-m", *schema], check=True, capture_output=True)
    job = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]["check"]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands.pop(0) == "pip install catalog-sync"
    write("src/app.py", f'MODEL = "{GONE["id"]}"')
    with Sandbox(LISTED, api_key=KEY) as sandbox:
        for name in job["env"]:
            monkeypatch.setenv(name, KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", sandbox.url)
        sync, check = (run(*shlex.split(command)[1:]) for command in commands)
    assert (sync.returncode, sync.stderr) == (0, "")
    with closing(sqlite3.connect(job["steps"][3]["with"]["path"])) as connection:
        assert connection.execute("SELECT count(*) FROM models").fetchone() == (6,)
    assert (check.returncode, check.stderr) == (1, "")
    assert check.stdout.startswith(f"::error title=Model unknown%3A {GONE['id']},file=src/app.py,")
    readme = CHECKOUT.joinpath("README.md").read_text(encoding="utf-8")
    assert all(f"- run: {command}\n" in readme for command in commands)
