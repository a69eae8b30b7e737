"""The command line of the installed program, as a separate process.

Options, output and its formats, exit codes, and one-line errors.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
import unicodedata
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import pytest

from catalog_sync import __version__
from catalog_sync.app import App
from catalog_sync.demo import story
from catalog_sync.demo.history import steps
from catalog_sync.demo.sandbox import Sandbox
from support import (
    KEY,
    Answer,
    Request,
    ScriptedServer,
    complaint,
    environment,
    model,
    page,
    program,
    run,
    run_all,
    settings_for,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from subprocess import CompletedProcess

NEWEST = steps()[-1].models
LISTED = [listed["id"] for listed in NEWEST]
"""The last list of the recorded history, newest first."""
LEFT = [
    "claude-opus-4-1-20250805",
    "claude-opus-4-20250514",
    "claude-sonnet-4-20250514",
    "claude-3-haiku-20240307",
]
"""The models that left the list during the recorded history, newest first."""
DEPRECATED = "claude-sonnet-4-5-20250929"

EVENT_LISTS = (
    "added",
    "updated",
    "deprecated",
    "rescheduled",
    "retired",
    "retiring",
    "removed",
    "returned",
    "schema_changed",
)
TIMES = ("created_at", "deprecated_at", "retires_at", "first_seen_at", "last_seen_at")
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SECONDS = r"\(\d+\.\d\d s\)"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Yield a sandbox API; the environment names it as a new user's would, and nothing else."""
    with Sandbox(NEWEST, api_key=KEY) as sandbox:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", sandbox.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        yield sandbox


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("history") / "catalog.db"
    assert [report.error for _, report in story.replay(file) if report.error] == []
    return file


@pytest.fixture
def history(replayed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a catalog with a past, only for reading. The environment names it, and no key."""
    monkeypatch.setenv("CATALOG_SYNC_DATABASE_URL", f"sqlite:///{replayed}")
    return replayed


def synced(url: str, name: str = "anthropic") -> None:
    """Make a run into ./catalog.db inside this process, as a preparation."""
    with App(settings_for("sqlite:///catalog.db", url, name=name, key=KEY)) as app:
        assert [report.error for report in app.sync()] == [None]


def configure(*sources: Mapping[str, Any], file: str = "catalog-sync.toml", top: str = "") -> Path:
    """Write a configuration with these sources."""
    tables = [
        "[[sources]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in each.items())
        for each in sources
    ]
    path = Path(file)
    path.write_text("\n".join([top, *tables]), encoding="utf-8")
    return path


def query(sql: str, file: str | Path = "catalog.db") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql).fetchall()


def columns(table: str, file: Path) -> list[str]:
    return [name for (name,) in query(f"SELECT name FROM pragma_table_info('{table}')", file)]


def rows(*arguments: str) -> list[dict[str, Any]]:
    """Return the JSON of a reading command."""
    result = run(*arguments, "--format", "json")
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def csv_rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


# --- usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [[], ["db"]], ids=["program", "group"])
def test_no_command(start: list[str]) -> None:
    """Without a command the program prints its help and exits with 2."""
    result = run(*start)
    asked_for = run(*start, "--help")
    assert result.returncode == 2
    assert result.stdout + result.stderr == asked_for.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "'nope'"),
        (["--nope"], "'--nope'"),
        (["--log-format", "xml", "models"], "'--log-format'"),
        (["sync", "--nope"], "'--nope'"),
        (["sync", "extra"], "extra"),
        (["sync", "--if-older-than", "yesterday"], "'--if-older-than'"),
        (["sync", "--if-older-than", "10"], "'--if-older-than'"),
        (["models", "--format", "yaml"], "'yaml'"),
        (["models", "--lifecycle", "young"], "'young'"),
        (["models", "--as-of", "yesterday"], "'--as-of'"),
        (["models", "--as-of", "2026-02-30"], "'--as-of'"),
        (["models", "--as-of", "2026-07-24T18:00:00"], "'--as-of'"),
        (["events", "--format", "yaml"], "'yaml'"),
        (["events", "--kind", "exploded"], "'exploded'"),
        (["events", "--since", "7 days"], "'--since'"),
        (["events", "--since", "99999999d"], "'--since'"),
        (["show"], "'MODEL'"),
        (["show", "x", "--format", "yaml"], "'yaml'"),
        (["db", "downgrade"], "'downgrade'"),
        (["demo", "--port", "65536"], "65536"),
    ],
)
def test_usage(arguments: list[str], said: str) -> None:
    """An unknown word is named, with a pointer to the help; exit 2."""
    line = complaint(run(*arguments), 2)
    assert said in line
    assert ".;" not in line  # the library's full stop
    assert line.endswith(" --help")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("modles", "models"), ("synch", "sync"), ("event", "events"), ("sources lst", "list")],
)
def test_a_command_spelt_wrongly(typed: str, meant: str) -> None:
    """A misspelled command is answered with the most similar one."""
    assert f"; did you mean {meant}? See: catalog-sync" in complaint(run(*typed.split()), 2)


def test_help_is_whole() -> None:
    """At 80 columns nothing is cut or wider; each command has an example, the top exit codes."""
    top = run("--help", COLUMNS="80").stdout
    assert "..." not in top.partition("Commands:")[2].partition("\n\n")[0]
    for word in ("ANTHROPIC_API_KEY", "Exit codes", "catalog-sync demo", "3 a run was held"):
        assert word in top
    names = re.findall(
        r"^  (\w+)  ", top.partition("Commands:")[2].partition("\n\n")[0], re.MULTILINE
    )
    groups = {
        "alerts": ["test", "list", "retry"],
        "db": ["upgrade", "current"],
        "sources": ["list", "forget"],
    }
    commands = [
        [name, *sub]
        for name in names
        for sub in ([[each] for each in groups[name]] if name in groups else [[]])
    ]
    assert len(commands) >= 15
    texts = run_all(*(shlex.join([*command, "--help"]) for command in commands), COLUMNS="80")
    assert [
        c
        for c, text in zip(commands, texts, strict=True)
        if "Example: catalog-sync" not in text.stdout
    ] == []
    lines = [line for text in (top, *(each.stdout for each in texts)) for line in text.splitlines()]
    assert [line for line in lines if len(line) > 80] == []


def test_global_options_stand_anywhere(history: Path) -> None:
    """The global options are accepted before and after the command, and after its subcommand."""
    configure({"name": "a"}, file="here.toml")
    orders = (
        "--config here.toml sources list --json",
        "sources --config here.toml list --json",
        "sources list --config here.toml --json",
    )
    for result in run_all(*orders):
        assert [row["name"] for row in json.loads(result.stdout)] == ["a", "anthropic"]
    bad = run("models", "--config", "gone.toml", "--log-format", "json")
    assert json.loads(bad.stderr)["message"].startswith("configuration file gone.toml")


def test_json_is_the_short_form(history: Path) -> None:
    """`--json` is `--format json` for every command that prints rows."""
    short, long = run_all("models --json", "models --format json")
    assert short.stdout == long.stdout != ""
    for result in run_all(
        "events --json", "show claude-opus-5 --json", "sources list --json", "alerts list --json"
    ):
        assert isinstance(json.loads(result.stdout), list)


def test_two_ways_in() -> None:
    """`catalog-sync` and `python -m catalog_sync` are the same program."""
    script = Path(sys.executable).with_name("catalog-sync")
    for arguments in (["--help"], ["sync", "--help"], ["--version"], ["nope"]):
        by_script = subprocess.run(
            [script, *arguments], env=environment(), capture_output=True, text=True, check=False
        )
        by_module = run(*arguments)
        assert by_script.returncode == by_module.returncode
        assert by_script.stdout == by_module.stdout
        assert by_script.stderr == by_module.stderr


def test_version() -> None:
    """`--version` prints the program's name and version."""
    result = run("--version")
    assert (result.returncode, result.stdout) == (0, f"catalog-sync {__version__}\n")


# --- configuration -----------------------------------------------------------------------------


def test_the_next_command_finds_the_catalog(api: Sandbox) -> None:
    """After the first sync with --config, the command to type next names the same file."""
    Path("dir").mkdir()
    Path("dir/c.toml").write_text("", encoding="utf-8")
    first = run("--config", "dir/c.toml", "sync", CATALOG_SYNC_DATABASE_URL="sqlite:///x.db")
    hint = "The catalog is in x.db; try: catalog-sync --config dir/c.toml models"
    assert hint in first.stdout.splitlines()


def test_a_key_is_all_it_needs(api: Sandbox) -> None:
    """ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL alone suffice; the tables are in ./catalog.db.

    The first sync explains the baseline, and names the catalog and the next command; the next sync
    says that nothing changed.
    """
    first, second = run("sync"), run("sync")
    assert [(each.returncode, each.stderr) for each in (first, second)] == [(0, ""), (0, "")]
    baseline = "baseline of 10 models recorded; alerts begin with the next change"
    hint = "The catalog is in catalog.db; try: catalog-sync models"
    assert re.fullmatch(rf"anthropic: succeeded: {baseline} {SECONDS}\n{hint}\n", first.stdout)
    no_change = "10 models, 1 page, no change"
    assert re.fullmatch(rf"anthropic: succeeded: {no_change} {SECONDS}\n", second.stdout)
    assert query("SELECT source, count(*) FROM models GROUP BY 1") == [("anthropic", 10)]
    assert query("SELECT name, base_url FROM sources") == [("anthropic", api.url)]


def test_auth_token() -> None:
    """ANTHROPIC_AUTH_TOKEN is sent as a bearer token, without x-api-key."""
    with ScriptedServer([page([model("a")])]) as server:
        result = run("sync", ANTHROPIC_BASE_URL=server.url, ANTHROPIC_AUTH_TOKEN="token-1")
    assert result.returncode == 0
    headers = server.requests[0].headers
    assert headers["authorization"] == "Bearer token-1"
    assert "x-api-key" not in headers


def test_where_the_configuration_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """--config overrides CATALOG_SYNC_CONFIG, ./catalog-sync.toml and the user's directory."""
    of_user = Path("user", "catalog-sync", "catalog-sync.toml")
    of_user.parent.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(Path("user").absolute()))
    for file in ("option.toml", "variable.toml", "catalog-sync.toml", of_user):
        configure(file=str(file), top="mistake = 1")

    def file_in(result: CompletedProcess[str]) -> str:
        return complaint(result, 2).split(": ")[1]

    by_option, by_variable = run_all(
        "--config option.toml models", "models", CATALOG_SYNC_CONFIG="variable.toml"
    )
    assert file_in(by_option) == "option.toml"
    assert file_in(by_variable) == "variable.toml"
    assert file_in(run("models")) == "catalog-sync.toml"
    Path("catalog-sync.toml").unlink()
    assert file_in(run("models")) == str(of_user.absolute())


def test_environment_overrides_the_file(history: Path) -> None:
    """CATALOG_SYNC_DATABASE_URL overrides the file's `database_url`."""
    configure(top='database_url = "sqlite:///another.db"')
    assert [row["id"] for row in rows("models")] == LISTED


def test_bad_configuration() -> None:
    """A mistake is reported with place and expected value; exit 2, and no file is created."""
    cases = {
        'databse_url = "sqlite:///x.db"': "0.toml: databse_url: unknown key; did you mean",
        '[[sources]]\nname = "a"\npage_size = 0': "1.toml: sources[0].page_size: expected",
        '[[sources]]\nname = "a"\n[[sources]]\nname = "a"': "2.toml: sources: the name 'a' is used",
        'database_url = "catalog.db"': "database_url: not a database URL; expected sqlite:///",
        "": "No API key: set ANTHROPIC_API_KEY (or try `catalog-sync demo`, which needs none)",
    }
    for number, text in enumerate(cases):
        Path(f"{number}.toml").write_text(text, encoding="utf-8")
    *results, gone = run_all(
        *(f"--config {number}.toml models" for number in range(4)),
        "--config 4.toml sync",
        "--config gone.toml models",
    )
    for said, result in zip(cases.values(), results, strict=True):
        assert said in complaint(result, 2)
    assert "gone.toml cannot be read" in complaint(gone, 2)
    assert {path.suffix for path in Path().iterdir()} == {".toml"}


def test_unknown_source(api: Sandbox) -> None:
    """An unknown source is named, with the known ones; exit 2."""
    commands = ("sync --source anthropc", "models --source anthropc", "events --source anthropc")
    for result in run_all(*commands):
        line = complaint(result, 2)
        assert "'anthropc'" in line
        assert "anthropic" in line.replace("anthropc", "")


# --- sync --------------------------------------------------------------------------------------


def only_run(result: CompletedProcess[str]) -> dict[str, Any]:
    """Return the run of `sync --json` over one source, after checking its shape."""
    answer = json.loads(result.stdout)
    assert set(answer) == {"runs", "deliveries"}
    assert answer["deliveries"] == {"delivered": 0, "pending": 0, "failed": 0}
    (only,) = answer["runs"]
    types = {
        "run_id": (int, NoneType),
        "source": (str,),
        "status": (str,),
        "baseline": (bool,),
        "pages": (int, NoneType),
        "models": (int, NoneType),
        **dict.fromkeys(EVENT_LISTS, (list,)),
        "held": (list,),
        "error": (str, NoneType),
        "started_at": (str,),
        "duration_seconds": (float,),
    }
    assert list(only) == list(types)
    assert [key for key, value in only.items() if type(value) not in types[key]] == []
    assert all(isinstance(item, str) for key in EVENT_LISTS for item in only[key])
    assert UTC_TIME.fullmatch(only["started_at"])
    assert 0 <= only["duration_seconds"] < 60
    return only


def events_of(run_: Mapping[str, Any]) -> dict[str, list[str]]:
    return {key: run_[key] for key in EVENT_LISTS if run_[key]}


def test_json_of_the_baseline(api: Sandbox) -> None:
    """`sync --json` prints one object: the first run is the baseline and added what it saw."""
    result = run("sync", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    only = only_run(result)
    facts = [only[key] for key in ("run_id", "source", "status", "baseline", "pages", "models")]
    assert facts == [1, "anthropic", "succeeded", True, 1, len(LISTED)]
    assert events_of(only) == {"added": LISTED}
    assert only["error"] is None


def test_json_of_every_kind_of_change(api: Sandbox) -> None:
    """Each list holds the ids of its kind; `schema_changed` holds the paths of fields."""
    first = [model(name) for name in ("updated", "deprecated", "retired", "removed", "same")]
    api.models = [*first, model("returned")]
    synced(api.url)
    api.models = first
    synced(api.url)
    soon = (datetime.now(UTC) + timedelta(days=5)).strftime("%Y-%m-%dT00:00:00Z")
    changes: dict[str, dict[str, Any]] = {
        "updated": {"display_name": "Another name"},
        "deprecated": {"lifecycle": "deprecated", "retires_at": soon},
        "retired": {"lifecycle": "retired"},
    }
    names = ("added", "returned", "updated", "deprecated", "retired", "same")
    api.models = [model(name, speed="fast", **changes.get(name, {})) for name in names]
    only = only_run(run("sync", "--json"))
    assert only["baseline"] is False
    assert events_of(only) == {
        "added": ["added"],
        "updated": ["updated"],
        "deprecated": ["deprecated"],
        "retired": ["retired"],
        "removed": ["removed"],
        "returned": ["returned"],
        "schema_changed": ["speed"],
    }


def test_json_of_a_skipped_run(api: Sandbox) -> None:
    """A source that is fresher than `--if-older-than` is skipped, which is no failure."""
    synced(api.url)
    result = run("sync", "--json", "--if-older-than", "1h")
    assert (result.returncode, result.stderr) == (0, "")
    only = only_run(result)
    assert (only["status"], only["pages"], only["models"]) == ("skipped", None, None)
    assert events_of(only) == {}


def test_json_of_a_dry_run(api: Sandbox) -> None:
    """`--dry-run` reports the changes without a run number, and creates no file."""
    result = run("sync", "--json", "--dry-run")
    assert (result.returncode, result.stderr) == (0, "")
    only = only_run(result)
    assert (only["run_id"], only["status"], only["baseline"]) == (None, "succeeded", True)
    assert events_of(only) == {"added": LISTED}
    assert list(Path().iterdir()) == []


def test_json_of_a_failed_run(api: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed run has its error in the object and on stderr, and names no model; exit 1."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-wrong")
    result = run("sync", "--json")
    only = only_run(result)
    assert (result.returncode, only["status"], only["run_id"]) == (1, "failed", 1)
    assert (only["pages"], only["models"], events_of(only)) == (None, None, {})
    assert result.stderr == f"catalog-sync: {only['error']}\n"
    assert query("SELECT status, error FROM sync_runs") == [("failed", only["error"])]


def test_json_of_a_held_run(api: Sandbox) -> None:
    """A run with too many removals is held: exit 3, and stderr has the command to release it."""
    synced(api.url)
    api.models = NEWEST[:2]
    result = run("sync", "--json")
    only = only_run(result)
    assert (result.returncode, only["status"], events_of(only)) == (3, "held", {})
    assert result.stderr == f"catalog-sync: {only['error']}\n"
    assert "8 of 10 models left the list at once" in result.stderr
    command = result.stderr.rpartition("run: catalog-sync ")[2].split()
    accepted = run(*command)
    assert accepted.returncode == 0
    assert query("SELECT count(*) FROM models WHERE removed_at IS NOT NULL") == [(8,)]


def test_text_of_a_change(api: Sandbox) -> None:
    """A later sync prints a line per event, and a summary of the run."""
    synced(api.url)
    api.models = [model("claude-new", display_name="Claude New"), *NEWEST[1:]]
    result = run("sync")
    assert (result.returncode, result.stderr) == (0, "")
    added, removed, summary = result.stdout.splitlines()
    assert re.fullmatch(r"added +claude-new +Claude New", added)
    assert re.fullmatch(r"removed +claude-opus-5 +Claude Opus 5", removed)
    assert re.fullmatch(
        rf"anthropic: succeeded: 10 models, 1 page, 1 added, 1 removed {SECONDS}", summary
    )


def test_text_of_a_held_run(api: Sandbox) -> None:
    """A held run has its summary on stdout, and its reason and commands once, on stderr."""
    synced(api.url)
    api.models = NEWEST[:2]
    result = run("sync")
    assert result.returncode == 3
    assert len(result.stderr.splitlines()) == 1
    assert re.fullmatch(rf"anthropic: held: 2 models, 1 page, .+ {SECONDS}\n", result.stdout)


def test_two_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second sync of the same source is skipped with the reason, and is no failure."""
    asked, finish = threading.Event(), threading.Event()

    def answer(_request: Request) -> Any:
        asked.set()
        finish.wait(30)
        return page([model("a")])

    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with ScriptedServer(answer) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        first = subprocess.Popen(program("sync"), env=environment(), stdout=subprocess.DEVNULL)
        with first:
            try:
                assert asked.wait(30)
                second = run("sync")
            finally:
                finish.set()
            assert first.wait(30) == 0
    assert (second.returncode, second.stderr) == (0, "")
    assert second.stdout.startswith("anthropic: skipped")
    assert "another process" in second.stdout
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("number", "exit_code", "said"),
    [
        (signal.SIGINT, 130, "catalog-sync: interrupted\n"),
        (signal.SIGTERM, 143, None),
    ],
)
def test_stop_during_a_walk(
    number: int, exit_code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C and SIGTERM end a walk at once, without a traceback, and the next sync can begin."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    asked, finish = threading.Event(), threading.Event()

    def answer(_request: Request) -> None:
        asked.set()
        finish.wait(30)

    # A shell's background job would inherit that it ignores the first of them.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ScriptedServer(answer) as server:
            process = subprocess.Popen(
                program("sync"),
                env=environment(ANTHROPIC_BASE_URL=server.url),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            with process:
                try:
                    assert asked.wait(30)
                    process.send_signal(number)
                    out, err = process.communicate(timeout=30)
                finally:
                    finish.set()
    finally:
        signal.signal(signal.SIGINT, usual)
    assert (process.returncode, out) == (exit_code, "")
    assert err == (said or err)
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 1
    assert query("SELECT status FROM sync_runs") == [("failed",)]
    assert query("SELECT lease_run_id FROM sources") == [(None,)]


def test_stop_at_the_exit() -> None:
    """A signal that comes when everything is done ends the process without a word."""
    script = (
        "import atexit, os, signal, sys; from catalog_sync.cli import run; "
        "atexit.register(os.kill, os.getpid(), signal.SIGTERM); sys.exit(run(['--version']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (143, b"")
    assert ended.stdout.startswith(b"catalog-sync ")


# --- sources -----------------------------------------------------------------------------------


def test_sources(api: Sandbox) -> None:
    """`sources list` shows recorded and configured sources; `forget` deletes unconfigured ones.

    It refuses a configured source (2), and asks; without a terminal it needs --yes.
    """
    synced(api.url, name="old")
    synced(api.url, name="kept")
    configure({"name": "kept"})
    table, as_json = run_all("sources list", "sources list --json")
    assert [line.split()[:2] for line in table.stdout.splitlines()[1:]] == [
        ["kept", "yes"],
        ["old", "no"],
    ]
    assert [(row["name"], row["configured"]) for row in json.loads(as_json.stdout)] == [
        ("kept", True),
        ("old", False),
    ]
    assert "is configured" in complaint(run("sources", "forget", "kept", "--yes"), 2)
    assert "--yes" in complaint(run("sources", "forget", "old"), 2)
    assert "did you mean old?" in complaint(run("sources", "forget", "odl", "--yes"), 1)
    done = run("sources", "forget", "old", "--yes")
    assert (done.returncode, done.stdout) == (0, "forgot source old: 10 models deleted\n")
    for table_name in ("models", "model_events", "sync_runs"):
        assert query(f"SELECT DISTINCT source FROM {table_name}") == [("kept",)]
    assert query("SELECT name FROM sources") == [("kept",)]


# --- errors and exit codes ---------------------------------------------------------------------


def test_wrong_key(api: Sandbox) -> None:
    """The error of a wrong key has the API's text and the variable of the key; exit 1."""
    line = complaint(run("sync", ANTHROPIC_API_KEY="sk-wrong"), 1)
    assert "source anthropic: page 1: HTTP 401: authentication_error: invalid x-api-key" in line
    assert line.endswith("check ANTHROPIC_API_KEY")
    assert "sk-wrong" not in line


def test_an_api_that_breaks_its_promise() -> None:
    """The error of a bad answer has source, page and reason; exit 1."""
    with ScriptedServer([Answer(b"<html>hello</html>")]) as server:
        result = run("sync", ANTHROPIC_BASE_URL=server.url, ANTHROPIC_API_KEY=KEY)
    line = complaint(result, 1)
    assert line.startswith("catalog-sync: source anthropic: page 1: the body is not JSON")
    recorded = line.removeprefix("catalog-sync: ")
    assert query("SELECT status, error FROM sync_runs") == [("failed", recorded)]
    assert query("SELECT count(*) FROM models") == [(0,)]


def test_a_base_url_that_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a source with a table fails, `sync` says that ANTHROPIC_BASE_URL has no effect on it."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # the real API is not asked
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:2")
    configure({"name": "main", "deadline": "300ms"})
    result = run("sync")
    _failure, hint = result.stderr.splitlines()
    assert hint.startswith("catalog-sync: source main: ANTHROPIC_BASE_URL is not used; ")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://api.anthropic.com/")
    assert "ANTHROPIC_BASE_URL" not in run("sync").stderr


def test_a_dead_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreachable server is named, with advice; exit 1."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    with ScriptedServer([]) as server:
        pass  # its port is free again
    configure({"name": "dead", "base_url": server.url, "deadline": "300ms"})
    line = complaint(run("sync"), 1)
    assert server.url in line
    assert line.endswith("check the network and base_url")


@pytest.mark.parametrize("command", ["sync", "db upgrade"])
def test_unusable_database(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unusable database is named before any request; exit 4."""
    cases = {
        "sqlite:///no-such-directory/catalog.db": "no-such-directory/catalog.db",
        "sqlite:///directory": "directory",
        "sqlite:///notes.txt": "notes.txt",
        "postgresql://127.0.0.1:1/catalog": "127.0.0.1:1/catalog",
        "mysql://root@127.0.0.1:1/catalog": "127.0.0.1:1/catalog",
    }
    Path("directory").mkdir()
    Path("notes.txt").write_text("Dear diary, nothing was synced today.\n" * 100, encoding="utf-8")
    for number, url in enumerate(cases):
        configure(file=f"{number}.toml", top=f'database_url = "{url}"')
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    results = run_all(*(f"--config {number}.toml {command}" for number in range(len(cases))))
    for place, result in zip(cases.values(), results, strict=True):
        line = complaint(result, 4)
        assert place in line
        assert "; " in line


def test_a_newer_schema(api: Sandbox) -> None:
    """A database of a newer program is not changed, and the line says so; exit 4."""
    synced(api.url)
    with closing(sqlite3.connect("catalog.db")) as connection, connection:
        connection.execute("UPDATE catalog_sync_version SET version_num = '9999'")
    for result in run_all("sync", "models"):
        line = complaint(result, 4)
        assert "9999" in line
        assert "newer" in line


def test_failed_goes_before_held(api: Sandbox) -> None:
    """If one source fails and another is held, both are reported, and the exit code is 1."""
    synced(api.url, name="held")
    api.models = NEWEST[:2]
    configure(
        {"name": "held", "base_url": api.url},
        {"name": "failed", "base_url": api.url, "api_key_env": "WRONG_KEY"},
    )
    result = run("sync", WRONG_KEY="sk-wrong")
    assert result.returncode == 1
    held, failed = result.stderr.splitlines()
    assert "source held: " in held
    assert "source failed: " in failed
    assert "held: held: 2 models" in result.stdout


def test_an_unusable_database_goes_before_failed(api: Sandbox) -> None:
    """If one source fails and the database breaks under another, the exit code is 4."""
    file = Path("catalog.db").absolute()

    def answer(_request: Request) -> Any:
        """Break the database once the other source has failed."""
        for _ in range(1000):
            if query("SELECT 1 FROM sync_runs WHERE status = 'failed'", file):
                break
            threading.Event().wait(0.01)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("DROP TABLE model_events")
        return page([model("a")])

    with ScriptedServer(answer) as server:
        configure(
            {"name": "failed", "base_url": api.url, "api_key_env": "WRONG_KEY"},
            {"name": "broken", "base_url": server.url},
        )
        result = run("sync", WRONG_KEY="sk-wrong")
    assert result.returncode == 4
    failed, broken = result.stderr.splitlines()
    assert "source failed: " in failed
    assert "model_events" in broken


def test_traceback(api: Sandbox) -> None:
    """--verbose shows the traceback; the last line is still the error."""
    configure({"name": "refused", "base_url": api.url, "api_key_env": "WRONG_KEY"})
    configure(file="unusable.toml", top='database_url = "sqlite:///gone/catalog.db"')
    refused, unusable = run_all(
        "-v sync", "--config unusable.toml --verbose sync", WRONG_KEY="sk-wrong"
    )
    assert (refused.returncode, unusable.returncode) == (1, 4)
    for result in (refused, unusable):
        assert "Traceback (most recent call last)" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("catalog-sync: ")
    request, *logged = refused.stderr.splitlines()
    assert "GET source=refused path=/v1/models status=401 milliseconds=" in request
    (ended,) = [line for line in logged if "source=refused status=failed" in line]
    assert "None" not in ended


# --- models ------------------------------------------------------------------------------------


def test_models_in_a_pipe(history: Path) -> None:
    """In a pipe, `models` prints a line per model, newest first, aligned, whole and uncoloured."""
    result = run("models", FORCE_COLOR="1")
    assert (result.returncode, result.stderr) == (0, "")
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["id", "name", "lifecycle", "created", "retires", "first", "seen"]
    assert [line.split()[0] for line in lines] == LISTED
    assert len({line.index("Claude ") for line in lines}) == 1
    assert "\x1b" not in result.stdout
    assert re.fullmatch(
        rf"{DEPRECATED}  Claude Sonnet 4\.5  deprecated  2025-09-29  2027-02-19  "
        r"2026-02-01T18:00:00Z",
        lines[LISTED.index(DEPRECATED)],
    )


def test_models_json_and_csv(history: Path) -> None:
    """Both formats have the table's columns and times in UTC; a None in CSV is an empty field."""
    as_json, as_csv = run_all("models --format json", "models --format csv")
    names = columns("models", history)
    objects, records = json.loads(as_json.stdout), csv_rows(as_csv.stdout)
    assert all(list(each) == names for each in [*objects, *records])
    assert as_csv.stdout.splitlines()[0] == ",".join(names)
    assert [each["id"] for each in objects] == LISTED
    for each, record in zip(objects, records, strict=True):
        assert all(UTC_TIME.fullmatch(each[key]) for key in TIMES if each[key] is not None)
        assert json.loads(record.pop("payload")) == each.pop("payload")
        assert record == {key: "" if value is None else str(value) for key, value in each.items()}
    row = objects[LISTED.index(DEPRECATED)]
    assert (row["retires_at"], row["removed_at"]) == ("2027-02-19T00:00:00Z", None)
    assert (row["max_input_tokens"], row["max_tokens"]) == (1_000_000, 64_000)


def as_of(day: str) -> list[str]:
    """Give the list of the recorded history at the end of a day, newest first."""
    past = [step for step in steps() if step.at.date().isoformat() <= day]
    return [listed["id"] for listed in past[-1].models]


def test_models_chosen(history: Path) -> None:
    """Options choose models that are listed, were listed at a time, or were ever listed."""
    cases = {
        "--all": [*LISTED, *LEFT],
        "--lifecycle deprecated": [DEPRECATED],
        "--as-of 2026-02-01": [],  # a date means its beginning
        "--as-of 2026-02-02": as_of("2026-02-01"),
        "--as-of 2026-06-15T19:53:00+02:00": as_of("2026-06-15"),
        "--as-of 2026-04-20T18:00:00Z --all": [*as_of("2026-04-20"), "claude-3-haiku-20240307"],
    }
    results = run_all(*(f"models --format json {options}" for options in cases))
    found = [[row["id"] for row in json.loads(result.stdout)] for result in results]
    assert dict(zip(cases, found, strict=True)) == cases


def test_as_of_where_nothing_is_known(history: Path) -> None:
    """A list of a time before the record, or in the future, has a remark on stderr."""
    before, ahead, past = run_all(
        "models --as-of 2026-01-01", "models --as-of 9999-01-01", "models --as-of 2026-02-02"
    )
    assert (before.returncode, before.stdout) == (0, "")
    (line,) = before.stderr.splitlines()
    assert "nothing was recorded yet at 2026-01-01T00:00:00Z" in line
    assert "begins at 2026-02-01T18:00:00Z" in line
    assert [line.split()[0] for line in ahead.stdout.splitlines()[1:]] == LISTED
    assert "is in the future" in ahead.stderr
    assert past.stderr == ""


def test_ages(api: Sandbox) -> None:
    """Times may be ages: an hour ago is before a sync that was just made."""
    synced(api.url)
    before, since = run_all("models --format json --as-of 1h", "events --format json --since 1h")
    assert json.loads(before.stdout) == []
    assert len(json.loads(since.stdout)) == len(LISTED)


def test_models_of_several_sources(api: Sandbox) -> None:
    """With several recorded sources each line names its source, and --source chooses."""
    synced(api.url, name="ours")
    synced(api.url, name="theirs")
    configure({"name": "ours"}, {"name": "theirs"})
    table, chosen = run_all("models", "models --source ours --format json")
    assert {line.split()[1] for line in table.stdout.splitlines()[1:]} == {"ours", "theirs"}
    assert {row["source"] for row in json.loads(chosen.stdout)} == {"ours"}


# --- events ------------------------------------------------------------------------------------


def test_events_in_a_pipe(history: Path) -> None:
    """In a pipe, `events` prints an event per line, oldest first, with the changes in words."""
    result = run("events")
    assert (result.returncode, result.stderr) == (0, "")
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["when", "kind", "model", "what"]
    assert len(lines) == query("SELECT count(*) FROM model_events", history)[0][0]
    times = [line.split()[0] for line in lines]
    assert times == sorted(times)
    assert all(UTC_TIME.fullmatch(time) for time in times)
    (deprecated,) = [line for line in lines if line.split()[1] == "deprecated"]
    assert "lifecycle: active → deprecated" in deprecated


def test_the_baseline_is_no_news(history: Path) -> None:
    """`events` and `show` mark the models of a source's first list as its baseline."""
    lines = run("events", "--kind", "added").stdout.splitlines()[1:]
    marked = [line.split()[2] for line in lines if "  baseline: Claude " in line]
    query_ = "SELECT model_id FROM model_events WHERE baseline ORDER BY id"
    assert marked == [model_id for (model_id,) in query(query_, history)] != []
    assert len(lines) > len(marked)
    assert run("show", DEPRECATED).stdout.splitlines()[-1].endswith("baseline: Claude Sonnet 4.5")
    assert "baseline" not in run("show", "claude-opus-5").stdout


def test_the_model_to_move_to(history: Path) -> None:
    """`show`, `status` and the events that ask for a move name the successor; others do not."""
    shown, events, status, fine = run_all(
        f"show {DEPRECATED}", "events", "status", "show claude-opus-5"
    )
    assert re.search(
        r"^successor +claude-sonnet-5 \(Claude Sonnet 5\)$", shown.stdout, re.MULTILINE
    )
    assert re.search(r"^successor +-$", fine.stdout, re.MULTILINE)
    named = {line.split()[1] for line in events.stdout.splitlines() if "; successor: " in line}
    assert named == {"deprecated", "retiring", "removed"}
    removed = [line for line in events.stdout.splitlines() if "claude-opus-4-20250514  " in line]
    assert removed[-1].endswith("Claude Opus 4; successor: claude-opus-5")
    header, leaving = status.stdout.splitlines()[-2:]
    assert header.split() == ["model", "lifecycle", "retires", "successor"]
    assert re.fullmatch(rf"{DEPRECATED}  deprecated  2027-02-19 \(.+\)  claude-sonnet-5", leaving)


def test_events_chosen(history: Path) -> None:
    """Options choose among the events by time, kind, model and source."""
    cases = {
        "--since 2026-06-15T17:53:00Z": "occurred_at >= '2026-06-15 17:53'",
        "--kind removed --kind retiring": "kind IN ('removed', 'retiring')",
        "--until 2026-06-15T17:53:00Z": "occurred_at < '2026-06-15 17:53'",
        "--since 2026-04-16 --until 2026-04-17": "date(occurred_at) = '2026-04-16'",
        "--model 'claude-opus-*'": "model_id GLOB 'claude-opus-*'",
        "--model opus-4": "model_id GLOB '*opus-4*'",
        "--model '*'": "model_id IS NOT NULL",  # an event of all models has no model
        "--source anthropic --kind schema_changed": "kind = 'schema_changed'",
    }
    results = run_all(*(f"events --format json {options}" for options in cases))
    for condition, result in zip(cases.values(), results, strict=True):
        ids = query(f"SELECT id FROM model_events WHERE {condition} ORDER BY id", history)
        assert [event["id"] for event in json.loads(result.stdout)] == [id_ for (id_,) in ids]
        assert ids


def test_a_reader_that_has_seen_enough(history: Path) -> None:
    """`| head -1` ends a long output without an error, in every format."""
    for format_ in ("table", "json", "csv"):
        command = shlex.join(program("events", "--format", format_))
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command} | head -1"],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == 1


def test_events_json_and_csv(history: Path) -> None:
    """Both formats have the columns of `model_events` and the same values."""
    as_json, as_csv = run_all("events --format json", "events --format csv")
    objects, records = json.loads(as_json.stdout), csv_rows(as_csv.stdout)
    names = columns("model_events", history)
    assert all(list(each) == names for each in objects)
    assert all(list(each) == names for each in records)
    assert all(UTC_TIME.fullmatch(each["occurred_at"]) for each in objects)
    for each, record in zip(objects, records, strict=True):
        assert str(each["id"]) == record["id"]
        assert (each["model_id"] or "") == record["model_id"]
        assert each["changes"] == json.loads(record["changes"])
        assert each["payload"] == json.loads(record["payload"])


# --- show --------------------------------------------------------------------------------------


def test_show(history: Path) -> None:
    """`show` prints the facts of a model, and below them its history, newest first.

    Beside a date is its distance in days. A change on all models is shown as the model's own. As
    JSON it is an array with the row and the events of each source, as CSV it is the events.
    """
    text, as_json, as_csv = run_all(
        *(f"show {DEPRECATED} --format {f}" for f in ("table", "json", "csv"))
    )
    facts, _, past = text.stdout.partition("\n\n")
    known = dict(line.split(maxsplit=1) for line in facts.splitlines())
    assert known["display_name"] == "Claude Sonnet 4.5"
    assert known["lifecycle"] == "deprecated"
    assert known["first_seen_at"] == f"2026-02-01T18:00:00Z ({days_to('2026-02-01')})"
    assert known["created_at"] == f"2025-09-29 ({days_to('2025-09-29')})"
    assert known["retires_at"] == f"2027-02-19 ({days_to('2027-02-19', past='overdue')})"
    assert known["removed_at"] == "-"
    assert "context_management (clear_thinking_20251015, clear_tool_uses_20250919)" in text.stdout
    assert "max_input_tokens: nothing → 1000000; max_tokens: nothing → 64000" in past
    kinds = ["retiring", "retiring", "deprecated", *["schema_changed"] * 3, "added"]
    assert [line.split()[1] for line in past.splitlines()[1:]] == kinds
    (shown,) = json.loads(as_json.stdout)
    assert list(shown) == ["model", "events"]
    assert list(shown["model"]) == columns("models", history)
    assert [event["kind"] for event in shown["events"]] == kinds
    records = csv_rows(as_csv.stdout)
    assert [record["kind"] for record in records] == kinds
    assert list(records[0]) == columns("model_events", history)


def days_to(day: str, past: str = "ago") -> str:
    """Return the distance of a day from today, as `show` prints it."""
    days = (datetime.fromisoformat(day).date() - datetime.now(UTC).date()).days
    if days == 0:
        return "today"
    number = f"{abs(days)} day{'' if abs(days) == 1 else 's'}"
    return f"in {number}" if days > 0 else f"{number} {past}"


def test_show_a_model_of_several_sources(api: Sandbox) -> None:
    """Each source's row and history is shown, one below the other."""
    synced(api.url, name="ours")
    synced(api.url, name="theirs")
    text, as_json = run_all("show claude-opus-5", "show claude-opus-5 --format json")
    sources = [line.split()[1] for line in text.stdout.splitlines() if line.startswith("source ")]
    assert sources == ["ours", "theirs"]
    assert [shown["model"]["source"] for shown in json.loads(as_json.stdout)] == sources


def test_show_an_unknown_model(history: Path) -> None:
    """An id that was never listed is exit 1, with similar ids, or a command to list all."""
    cases = {
        "claude-opus-55": "did you mean claude-opus-5",
        "CLAUDE-OPUS-5": "did you mean claude-opus-5?",
        "claude-opus-4-1": "did you mean claude-opus-4-1-20250805?",
        "gpt": "catalog-sync models --all",
    }
    results = run_all(*(f"show {asked}" for asked in cases))
    for (asked, advice), result in zip(cases.items(), results, strict=True):
        line = complaint(result, 1)
        assert repr(asked) in line
        assert advice in line


def test_status_names_the_most_urgent_models(api: Sandbox) -> None:
    """`status` names the five models that retire soonest, and the number of others."""
    ends = [f"2099-0{month}-01T00:00:00Z" for month in range(1, 8)]
    api.models = [
        model(f"old-{number}", lifecycle="deprecated", retires_at=at)
        for number, at in enumerate(reversed(ends))
    ]
    synced(api.url)
    _, _, leaving = run("status").stdout.partition("\n\n")
    header, *lines, more = leaving.splitlines()
    assert header.split() == ["model", "lifecycle", "retires", "successor"]
    assert [line.split()[0] for line in lines] == ["old-6", "old-5", "old-4", "old-3", "old-2"]
    assert more == "and 2 more; see: catalog-sync models"
    assert "old-" not in run("status", "--json").stdout


def test_an_invisible_character_is_shown(api: Sandbox) -> None:
    """A suggested id shows its invisible characters escaped."""
    api.models = [model("claude\u200b-opus-9"), model("claude-\u202eopus-8")]
    synced(api.url)
    shown, checked = run_all("show claude-opus-9", "check claude-opus-8")
    assert r"claude\u200b-opus-9" in shown.stderr
    assert r"claude-\u202eopus-8" in checked.stdout


# --- an empty catalog ----------------------------------------------------------------------------


def test_reading_where_nothing_is() -> None:
    """Before the first sync the reading commands print an empty catalog, without a key.

    They create no file. If they print no line, stderr names the command to run first.
    """
    models, events, as_csv, as_text, shown = run_all(
        "models --format json",
        "events --format json",
        "models --format csv",
        "events",
        "show claude-opus-5",
    )
    assert list(Path().iterdir()) == []
    assert (models.returncode, models.stdout, models.stderr) == (0, "[]\n", "")
    assert (events.returncode, events.stdout, events.stderr) == (0, "[]\n", "")
    assert (as_csv.returncode, as_csv.stderr) == (0, "")
    (header,) = as_csv.stdout.splitlines()
    assert header.startswith("source,id,display_name,")
    assert (as_text.returncode, as_text.stdout) == (0, "")
    (hint,) = as_text.stderr.splitlines()
    assert "catalog-sync sync" in hint
    assert "catalog-sync sync" in complaint(shown, 1)


def test_reading_after_a_failed_first_run(api: Sandbox) -> None:
    """After a failed first run, the reading commands say that nothing was recorded."""
    assert run("sync", ANTHROPIC_API_KEY="sk-wrong").returncode == 1
    for command in ("models", "events"):
        result = run(command)
        assert (result.returncode, result.stdout) == (0, "")
        assert "nothing was recorded yet" in result.stderr


def test_nothing_chosen_is_not_nothing_there(history: Path) -> None:
    """If a filter matches nothing, the remark does not ask for a sync."""
    result = run("events", "--since", "9999-01-01")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr
    assert "catalog-sync sync" not in result.stderr


# --- db ----------------------------------------------------------------------------------------


def test_db() -> None:
    """`db upgrade` sets a schema up and can be repeated; `db current` prints the revision."""
    before = run("db", "current")
    assert (before.returncode, before.stderr) == (0, "")
    assert "no schema yet" in before.stdout
    assert list(Path().iterdir()) == []
    assert run("db", "upgrade").returncode == 0
    tables = query("SELECT name FROM sqlite_master ORDER BY 1")
    assert run("db", "upgrade").returncode == 0
    assert query("SELECT name FROM sqlite_master ORDER BY 1") == tables
    assert ("models",) in tables
    after = run("db", "current")
    ((revision,),) = query("SELECT version_num FROM catalog_sync_version")
    assert (after.returncode, after.stdout) == (0, f"{revision}\n")


# --- where the output goes ---------------------------------------------------------------------


def run_into(out: Any, *arguments: str, err: Any = subprocess.PIPE, **variables: str) -> Any:
    return subprocess.run(
        program(*arguments),
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        text=True,
        timeout=60,
        check=False,
    )


def run_without(descriptor: int, *arguments: str, **variables: str) -> CompletedProcess[str]:
    """Run the program with its standard output (1) or error (2) closed."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {descriptor}>&-', "sh", *program(*arguments)],
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "key", "exit_code"),
    [(["events", "--format", "json"], KEY, 0), (["sync", "--json"], "sk-wrong", 1)],
    ids=["events", "failed sync"],
)
def test_a_reader_that_left(arguments: list[str], key: str, exit_code: int, api: Sandbox) -> None:
    """A reader may close the pipe: the exit code stays, and there is no error."""
    synced(api.url)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = run_into(writer, *arguments, ANTHROPIC_API_KEY=key)
    finally:
        os.close(writer)
    assert result.returncode == exit_code
    assert len(result.stderr.splitlines()) == exit_code  # the error of the failed run alone
    assert "Pipe" not in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk(api: Sandbox) -> None:
    """Output that cannot be written is an error about the output, not a bug to report."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = run_into(full, "sync")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("catalog-sync: standard output")
    assert "No space left" in line
    assert "report it" not in line
    assert query("SELECT status FROM sync_runs") == [("succeeded",)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_help_on_a_full_disk() -> None:
    """Help that cannot be written is one ordinary line, too."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = run_into(full, "--help")
    assert result.returncode == 1
    assert (
        result.stderr
        == "catalog-sync: standard output cannot be written: No space left on device\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("arguments", "exit_code"), [(["events"], 0), (["models", "--source", "x"], 2)]
)
def test_errors_on_a_full_disk(arguments: list[str], exit_code: int) -> None:
    """The exit code is right also where standard error cannot be written."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = run_into(subprocess.PIPE, *arguments, err=full)
    assert (result.returncode, result.stdout) == (exit_code, "")


def test_closed_output(api: Sandbox) -> None:
    """With standard output closed the run is still made, without an error."""
    result = run_without(1, "sync")
    assert (result.returncode, result.stderr) == (0, "")
    assert query("SELECT status FROM sync_runs") == [("succeeded",)]


def test_closed_errors(api: Sandbox) -> None:
    """With standard error closed the run is made, and its summary is on standard output."""
    result = run_without(2, "sync")
    assert result.returncode == 0
    assert result.stdout.startswith("anthropic: succeeded")
    assert query("SELECT status FROM sync_runs") == [("succeeded",)]


# --- names from outside ------------------------------------------------------------------------

NAMES = {
    "emoji": "Claude 🚀 Opus",
    "right-to-left": "نموذج \u202egnp.exe",
    "blanks": "a\tb\r\nc",
    "colour": "\x1b[31mred\x1b[0m",
    "title": "\x1b]0;gotcha\x07",
    "c1": "\x9b31m",
    "wide": "模型五",
    "quotes": "\"a\", 'b'",
    "x" * 255: "y" * 500,
}


@pytest.fixture
def odd(api: Sandbox) -> Sandbox:
    api.models = [model(id_, display_name=name) for id_, name in NAMES.items()]
    synced(api.url)
    return api


def test_odd_names_as_text(odd: Sandbox) -> None:
    """A foreign name breaks no line and moves no cursor: control characters are escaped."""
    odd.models = [
        *odd.models,
        *(model(f"new-{id_}"[:255], display_name=NAMES[id_]) for id_ in NAMES),
    ]
    models, events, shown = run_all("models", "events", "show colour")
    synced_ = run("sync")
    for result in (models, events, shown, synced_):
        assert result.returncode == 0
        odd_ones = {c for c in result.stdout if unicodedata.category(c) in {"Cc", "Cf"}}
        assert odd_ones == {"\n"}
    assert [len(r.stdout.splitlines()) for r in (models, events, synced_)] == [10, 10, 9 + 1]
    assert "🚀" in models.stdout
    assert ["x" * 255, "y" * 500] in [line.split()[:2] for line in models.stdout.splitlines()]
    assert r"\x1b[31mred\x1b[0m" in shown.stdout


def test_odd_names_as_data(odd: Sandbox) -> None:
    """JSON and CSV contain every name as the API sent it."""
    assert {row["id"]: row["display_name"] for row in rows("models")} == NAMES
    with Path("models.csv").open("wb") as file:
        run_into(file, "models", "--format", "csv")
    with Path("models.csv").open(encoding="utf-8", newline="") as file:
        assert {row["id"]: row["display_name"] for row in csv.DictReader(file)} == NAMES


ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_ascii(odd: Sandbox) -> None:
    """If only ASCII can be written, other characters are escaped; JSON keeps its meaning."""
    table, as_json = run_all("models", "models --format json", **ASCII)
    assert (table.returncode, table.stderr) == (0, "")
    assert len(table.stdout.splitlines()) == len(NAMES) + 1
    assert table.stdout.isascii()
    assert (as_json.returncode, as_json.stderr) == (0, "")
    assert {row["id"]: row["display_name"] for row in json.loads(as_json.stdout)} == NAMES


# --- logs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "exit_code"), [(KEY, 0), ("sk-wrong", 1)], ids=["good", "bad"])
def test_json_logs(key: str, exit_code: int, api: Sandbox) -> None:
    """With `--log-format json` every line on stderr is an object with time, level and message."""
    result = run("--log-format", "json", "-v", "sync", ANTHROPIC_API_KEY=key)
    assert result.returncode == exit_code
    entries = [json.loads(line) for line in result.stderr.splitlines()]
    assert entries
    assert all({"time", "level", "message"} <= set(entry) for entry in entries)
    assert all(UTC_TIME.fullmatch(entry["time"]) for entry in entries)
    ended = next(entry for entry in entries if entry["message"] == "run ended")
    assert ended["status"] == ("failed" if exit_code else "succeeded")
