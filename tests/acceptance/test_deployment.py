"""Cron, systemd and GitHub Actions: the commands of the files are run as those would run them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from catalog_sync.config.schedule import Schedule
from catalog_sync.config.settings import DEFAULT_EVERY
from catalog_sync.db import engine as db_engine
from catalog_sync.db import state as db_state
from catalog_sync.db.schema import sync_runs
from catalog_sync.demo.sandbox import Sandbox
from conftest import need
from docs import page
from support import environment, model

CHECKOUT = Path(__file__).parents[2]
CONFIG = CHECKOUT / "config"
WAYS = ("cron", "systemd", "docker", "kubernetes", "github-actions")
PAGES = [page(f"how-to/{way}.md") for way in WAYS]
PROGRAM = Path(sys.executable).with_name("catalog-sync")
INSTALLED = "/opt/catalog-sync/bin/catalog-sync"
"""The directory in which the units expect the program."""
MODELS = [model("a"), model("b")]


def execute(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with these variables and no others."""
    return subprocess.run(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write_configuration(directory: Path, sandbox: Sandbox, database_url: str) -> None:
    """Write the two files of the page about cron, with another API and database."""
    (toml,) = PAGES[0].blocks("toml")
    written = tomllib.loads(toml)
    (source,) = written["sources"]
    directory.mkdir(parents=True, exist_ok=True)
    directory.joinpath("catalog-sync.toml").write_text(
        f'database_url = "{database_url}"\n[[sources]]\nbase_url = "{sandbox.url}"\n'
        + "".join(f"{key} = {value!r}\n" for key, value in source.items()),
        encoding="utf-8",
    )
    directory.joinpath(source["api_key_file"]).write_text(f"{sandbox.api_key}\n", encoding="utf-8")


def recorded(file: Path) -> tuple[list[str], list[str]]:
    """Return the ids that a database lists, and the statuses of its runs, oldest first."""
    engine = db_engine.create_engine(f"sqlite:///{file}")
    try:
        with engine.connect() as connection:
            ids = connection.exec_driver_sql("SELECT id FROM current_models ORDER BY id")
            runs = connection.exec_driver_sql("SELECT status FROM sync_runs ORDER BY id")
            return [row[0] for row in ids], [row[0] for row in runs]
    finally:
        engine.dispose()


def test_every_file_that_the_pages_name_is_there() -> None:
    """A path into config/ exists, and each file to deploy is mentioned."""
    text = "".join(each.text for each in PAGES)
    named = set(re.findall(r"(config/[\w./-]+[\w*])", text))
    found = {path for name in named for path in CHECKOUT.glob(name)}
    assert [name for name in named if not list(CHECKOUT.glob(name))] == []
    assert {*CONFIG.joinpath("systemd").iterdir()} <= found
    assert {CONFIG / "crontab", CONFIG / "Dockerfile", CONFIG / "compose.yaml"} <= found


# --- cron --------------------------------------------------------------------------------------


def crontab() -> tuple[str, str]:
    text = CONFIG.joinpath("crontab").read_text(encoding="utf-8")
    assert text.endswith("\n")  # cron ignores a last line without a line end
    (line,) = [line for line in text.splitlines() if line and not line.startswith("#")]
    *when, command = line.split(maxsplit=5)
    return " ".join(when), command


def test_the_crontab_has_the_interval_that_status_expects() -> None:
    """Cron runs as often as the daemon does by default, so that `status` judges it rightly."""
    when, command = crontab()
    assert Schedule(DEFAULT_EVERY, when).interval(datetime.now().astimezone()) == DEFAULT_EVERY
    assert "%" not in command  # cron replaces it by a line end


@pytest.fixture
def cron(tmp_path: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    """Give a function that runs the crontab's command as cron would."""
    home = tmp_path / "home"
    installed = home / "catalog-sync" / ".venv" / "bin" / "catalog-sync"
    installed.parent.mkdir(parents=True)
    installed.symlink_to(PROGRAM)
    sleep = tmp_path / "bin" / "sleep"  # the test does not sleep
    sleep.parent.mkdir()
    sleep.write_text('#!/bin/sh\n[ "$1" -ge 0 ] && [ "$1" -lt 60 ]\n', encoding="utf-8")
    sleep.chmod(0o755)
    variables = {"HOME": str(home), "LOGNAME": "user", "PATH": f"{sleep.parent}:/usr/bin:/bin"}
    _, command = crontab()
    return lambda: execute("/bin/sh", "-c", command, **variables)


def test_cron_makes_a_run(
    cron: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """The command is silent when all is well, and writes errors only to standard error."""
    directory = tmp_path / "home" / "catalog-sync"
    with Sandbox(MODELS) as sandbox:
        write_configuration(directory, sandbox, "sqlite:///catalog.db")
        done = cron()
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert recorded(directory / "catalog.db") == (["a", "b"], ["succeeded"])
        sandbox.api_key = "another"
        done = cron()
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"catalog-sync: .*\n", done.stderr)


def test_cron_mails_a_problem_once(
    cron: Callable[[], subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """A problem that lasts is mailed once; one that is new, or comes back, is mailed again."""
    directory = tmp_path / "home" / "catalog-sync"

    def mail(exit_code: int) -> str:
        done = cron()
        assert (done.returncode, done.stdout) == (exit_code, "")
        return done.stderr

    with Sandbox(MODELS) as sandbox:
        write_configuration(directory, sandbox, "sqlite:///catalog.db")
        good, key = sandbox.api_key, directory / "anthropic-api-key"
        assert mail(0) == ""
        sandbox.api_key = "another"
        assert "source anthropic: " in mail(1)
        assert [mail(1), mail(1)] == ["", ""]
        with directory.joinpath("catalog-sync.toml").open("a") as file:
            file.write('[[sources]]\nname = "other"\napi_key_file = "anthropic-api-key"\n')
            file.write('base_url = "http://127.0.0.1:9"\ndeadline = "100ms"\n')
        assert "source other: " in mail(1)
        assert mail(1) == ""
        write_configuration(directory, sandbox, "sqlite:///catalog.db")
        key.write_text(good, encoding="utf-8")
        sandbox.api_key = good
        assert [mail(0), mail(0)] == ["", ""]
        key.unlink()
        assert "cannot be read" in mail(2)
        directory.joinpath(".venv", "bin", "catalog-sync").unlink()
        assert "not found" in mail(127)
        assert mail(127) == ""


# --- systemd -----------------------------------------------------------------------------------


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """Read a unit file: settings of a section in their order; a key may repeat."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in CONFIG.joinpath("systemd", name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            settings = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            settings.append((key, value))
    return sections


def value(name: str, section: str, key: str) -> str:
    (found,) = [each for setting, each in unit(name)[section] if setting == key]
    return found


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """Copy the units, with the program's path on this machine."""
    directory = tmp_path / "units"
    directory.mkdir()
    for file in CONFIG.joinpath("systemd").iterdir():
        text = file.read_text(encoding="utf-8")
        directory.joinpath(file.name).write_text(text.replace(INSTALLED, str(PROGRAM)), "utf-8")
    return sorted(directory.iterdir())


def test_systemd_knows_every_line(units: list[Path]) -> None:
    """`systemd-analyze verify` has no complaint about the units."""
    names = [path.name for path in units]
    assert names == ["catalog-sync-run.service", "catalog-sync.service", "catalog-sync.timer"]
    done = subprocess.run(
        [need("systemd-analyze"), "verify", *units], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["catalog-sync.service", "catalog-sync-run.service"])
def test_the_services_are_shut_in(units: list[Path], name: str) -> None:
    """Systemd's exposure score of each service is at most 1.5 of 10; it was 1.2."""
    (path,) = [path for path in units if path.name == name]
    options = ("--offline=true", "--no-pager", "--threshold=15")
    done = subprocess.run(
        [need("systemd-analyze"), "security", *options, path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_both_services_are_shut_in_alike() -> None:
    """The units of the run and of the daemon are equal, from the credentials on."""
    shared = []
    for name in ("catalog-sync.service", "catalog-sync-run.service"):
        settings = unit(name)["Service"]
        shared.append(settings[settings.index(("DynamicUser", "yes")) - 3 :])
    assert shared[0] == shared[1]
    assert [key for key, _ in shared[0]][:3] == ["LoadCredential"] * 2 + ["EnvironmentFile"]


def test_the_timer_has_the_interval_that_status_expects() -> None:
    """The timer runs as often as the daemon does by default."""
    when = value("catalog-sync.timer", "Timer", "OnCalendar")
    command = [need("systemd-analyze"), "calendar", "--iterations=2", when]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    first, second = (
        datetime.fromisoformat(match)
        for match in re.findall(r"(?:Next elapse|Iter\. #2): \w+ (\S+ \S+)", said)
    )
    assert second - first == DEFAULT_EVERY == timedelta(minutes=15)


def test_the_service_makes_a_run(tmp_path: Path) -> None:
    """With the two files as credentials, and no other variable, the command line is a run."""
    settings = unit("catalog-sync.service")["Service"]
    etc, credentials, state = (tmp_path / name for name in ("etc", "credentials", "state"))
    with Sandbox(MODELS) as sandbox:
        write_configuration(etc, sandbox, f"sqlite:///{state}/catalog.db")
        for directory in (credentials, state):
            directory.mkdir()
        for key, said in settings:
            if key == "LoadCredential":
                name, _, path = said.partition(":")
                shutil.copyfile(path.replace("/etc/catalog-sync", str(etc)), credentials / name)
        shutil.rmtree(etc)
        line = value("catalog-sync.service", "Service", "ExecStart")
        line = line.replace("${CREDENTIALS_DIRECTORY}", str(credentials))
        program, *arguments = line.split()
        assert program == INSTALLED
        done = execute(str(PROGRAM), *arguments, HOME="/", PATH="/usr/bin", LANG="C.UTF-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert recorded(state / "catalog.db") == (["a", "b"], ["succeeded"])


# --- GitHub Actions ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    return yaml.safe_load(CONFIG.joinpath("github", "sync.yml").read_text(encoding="utf-8"))


def test_github_knows_every_key() -> None:
    """The workflows fit GitHub's schema, and name each action by its commit and version."""
    files = list(CONFIG.joinpath("github").glob("*.yml"))
    schema = ("--builtin-schema", "vendor.github-workflows")
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    used = re.findall(r"uses: (.*)", "".join(file.read_text("utf-8") for file in files))
    pinned = re.compile(r"actions/[\w/-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")
    assert [action for action in used if not pinned.fullmatch(action)] == []


def test_the_workflow_can_do_little(workflow: dict[Any, Any]) -> None:
    """The workflow may only write the contents; no foreign text gets into a shell."""
    assert workflow["permissions"] == {}
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "write"}
    assert [step["run"] for step in job["steps"] if "${{" in step.get("run", "")] == []
    assert workflow["concurrency"] == {"group": "catalog-sync", "cancel-in-progress": False}


class Runner:
    """A machine of GitHub's: a fresh clone for each run, and the steps of the workflow's job."""

    def __init__(self, workflow: dict[Any, Any], directory: Path, sandbox: Sandbox) -> None:
        (job,) = workflow["jobs"].values()
        self.steps = {step["name"]: step for step in job["steps"] if "run" in step}
        self.variables = job["env"]
        self.origin, self.clone, self.output = (
            directory / n for n in ("origin", "clone", "output")
        )
        self.sandbox = sandbox
        self.secrets = {"ANTHROPIC_API_KEY": sandbox.api_key, "CATALOG_SYNC_ALERTS": ""}
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.origin))
        self.git("init", "--quiet", "--initial-branch=main", str(directory / "first"))
        first = (
            "-C",
            str(directory / "first"),
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.com",
        )
        self.git(*first, "commit", "--quiet", "--allow-empty", "--message=The program")
        self.git(*first, "push", "--quiet", str(self.origin), "main")

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, capture_output=True, env=environment(), check=True)
        return done.stdout.decode(errors="replace").strip()

    def begin(self) -> None:
        """Check out again, as the first step does."""
        shutil.rmtree(self.clone, ignore_errors=True)
        self.git("clone", "--quiet", "--depth=1", f"file://{self.origin}", str(self.clone))
        self.output.write_text("", encoding="utf-8")

    def step(self, name: str, **expressions: str) -> subprocess.CompletedProcess[str]:
        """Run a step as GitHub does; `expressions` are the values of those without secrets."""
        outputs = dict(line.split("=", 1) for line in self.output.read_text().splitlines())
        known = {f"secrets.{key}": secret for key, secret in self.secrets.items()}
        known |= {f"steps.fetch.outputs.{key}": each for key, each in outputs.items()}
        known |= expressions
        variables = {}
        for key, said in {**self.variables, **self.steps[name].get("env", {})}.items():
            expression = said.strip("${ }")
            variables[key] = said if said == expression else known.get(expression, "")
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", self.steps[name]["run"]],
            env=environment(
                **variables,
                PATH=f"{PROGRAM.parent}:/usr/local/bin:/usr/bin:/bin",
                GITHUB_OUTPUT=str(self.output),
                ANTHROPIC_BASE_URL=self.sandbox.url,
            ),
            cwd=self.clone,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def run(self, **expressions: str) -> list[int]:
        """Make a whole run and return the exit codes of fetching, syncing and keeping."""
        self.begin()
        names = ("Fetch the database", "Sync", "Keep the database")
        return [self.step(name, **expressions).returncode for name in names]

    def kept(self) -> tuple[list[str], list[str]]:
        """Return the content of the database on the branch."""
        file = self.origin.parent / "kept.db"
        blob = ["git", "-C", str(self.origin), "cat-file", "blob", "catalog:catalog.db"]
        with file.open("wb") as written:
            subprocess.run(blob, stdout=written, check=True)
        return recorded(file)


@pytest.fixture
def runner(workflow: dict[Any, Any], tmp_path: Path) -> Any:
    need("git")
    with Sandbox(MODELS) as sandbox:
        yield Runner(workflow, tmp_path, sandbox)


def test_the_workflow_keeps_its_database_on_a_branch(runner: Runner) -> None:
    """Each run continues with the last one's database, also if its run was held or failed."""
    runner.sandbox.models = [model(id_) for id_ in "abcdef"]
    assert runner.run() == [0, 0, 0]
    runner.sandbox.models = MODELS
    assert runner.run() == [0, 3, 0]
    accept = runner.steps["Sync"]["env"]["ACCEPT"].strip("${ }")
    assert accept == "inputs.accept-removals && '--accept-removals' || ''"
    assert runner.run(**{accept: "--accept-removals"}) == [0, 0, 0]
    assert runner.kept()[0] == ["a", "b"]
    runner.secrets["ANTHROPIC_API_KEY"] = "wrong"
    assert runner.run() == [0, 1, 0]
    assert runner.kept() == (["a", "b"], ["succeeded", "held", "succeeded", "failed"])
    origin = ("-C", str(runner.origin))  # which does not grow
    assert runner.git(*origin, "rev-list", "--count", "catalog") == "1"
    assert runner.git(*origin, "ls-tree", "--name-only", "catalog") == "catalog.db"
    assert runner.git(*origin, "rev-list", "--count", "main") == "1"


def test_the_workflow_loses_no_record(runner: Runner) -> None:
    """A failed fetch does not start a new database, and another run's database is not replaced."""
    assert runner.run() == [0, 0, 0]
    kept = runner.git("-C", str(runner.origin), "rev-parse", "catalog")
    assert runner.step("Sync").returncode == 0
    refused = runner.step("Keep the database")  # again, as without a branch
    assert (refused.returncode, "stale info" in refused.stderr) == (1, True)
    assert runner.git("-C", str(runner.origin), "rev-parse", "catalog") == kept
    runner.begin()
    runner.origin.rename(runner.origin.with_name("out of reach"))
    assert runner.step("Fetch the database").returncode not in {0, 2}
    assert runner.output.read_text() == ""


def test_the_workflow_keeps_the_log_of_a_killed_run(runner: Runner) -> None:
    """The write-ahead log beside the file is merged into the kept file."""
    assert runner.run() == [0, 0, 0]
    runner.begin()
    assert runner.step("Fetch the database").returncode == 0
    engine = db_engine.create_engine(f"sqlite:///{runner.clone}/catalog.db")
    with db_engine.read_transaction(engine) as reader:  # while another process reads, the log stays
        db_state.select_sources(reader)
        with engine.begin() as connection:
            now = datetime.now().astimezone()
            run = {"source": "anthropic", "status": "running", "started_at": now, "number": 99}
            connection.execute(sa.insert(sync_runs).values(run))
        log = runner.clone / "catalog.db-wal"
        copies = {file: file.read_bytes() for file in (log, runner.clone / "catalog.db")}
    engine.dispose()
    for file, content in copies.items():
        file.write_bytes(content)
    assert runner.step("Keep the database").returncode == 0
    assert runner.kept() == (["a", "b"], ["succeeded", "running"])
