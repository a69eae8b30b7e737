"""The documents say what the program does: examples are run, lists are compared, links lead."""

from __future__ import annotations

import ast
import base64
import doctest
import json
import re
import shlex
import socket
import sqlite3
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from catalog_sync import errors
from catalog_sync.alerts.delivery import open_channel
from catalog_sync.config.load import load
from catalog_sync.db.schema import TABLES, VERSION_TABLE, VIEWS
from catalog_sync.demo.history import steps
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.domain.kinds import DEFAULT_ALERT_KINDS, DEFAULT_FAIL_ON, Kind, Verdict
from daemons import Daemon
from docs import CHECKOUT, Page, commands, generated, page, pages
from receivers import Receiver
from support import KEY, environment, model, run

README = Page(CHECKOUT / "README.md")
WITH_SESSIONS = [each for each in pages() if each.blocks("console")]
EXAMPLES = {"config/llm.yaml", "tests/fixtures"}
"""Files of a user's repository."""
DURATION = re.compile(r"\(\d+\.\d\d s\)")
MARK = "-- end of the command: "


def names(documents: list[Page]) -> list[str]:
    return [each.name for each in documents]


# --- what is generated -------------------------------------------------------------------------


@pytest.mark.parametrize("document", pages(), ids=names(pages()))
def test_the_generated_parts_are_up_to_date(document: Page) -> None:
    """Help texts, keys, columns, metrics and codes are the program's: `python tests/docs.py`."""
    assert document.text == generated(document.text)


def test_every_command_is_documented() -> None:
    """The page of commands has each command and subcommand, under a separate heading."""
    for words, _ in commands():
        heading = f"catalog-sync {words}".strip()
        assert f"help {words}".strip() + " -->" in page("reference/commands.md").section(heading)


def test_the_help_is_what_the_program_prints() -> None:
    """The help in the documents is the one of the installed program."""
    for words in ("", "check", "sources list"):
        printed = run(*words.split(), "--help", COLUMNS="80").stdout
        assert f"```text\n{printed}```\n" in page("reference/commands.md").text


# --- lists that are compared -------------------------------------------------------------------


def test_every_kind_of_event_is_described() -> None:
    """The page of events has every kind, and marks those that a channel receives by default."""
    events = page("reference/events.md")
    assert sorted(events.first_column("kind")) == sorted(Kind)
    marked = re.findall(r"^\| `(\w+)` \| yes \|", events.text, re.MULTILINE)
    assert sorted(marked) == sorted(DEFAULT_ALERT_KINDS)


def test_every_verdict_is_described() -> None:
    """The page of `check` has every verdict, and marks those that fail by default."""
    check = page("reference/check.md")
    assert check.first_column("verdict") == list(Verdict)
    marked = re.findall(r"^\| `(\w+)` \| yes \|", check.text, re.MULTILINE)
    assert sorted(marked) == sorted(DEFAULT_FAIL_ON)


def test_every_exit_code_is_described() -> None:
    """The page of exit codes has each code of an error, 0 and the two of an interruption."""
    table = page("reference/exit-codes.md").text.partition("\n## ")[0]
    described = re.findall(r"\d+", " ".join(re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)))
    used = {each.exit_code for each in vars(errors).values() if hasattr(each, "exit_code")}
    assert set(map(int, described)) == used | {0, 130, 143}


def test_every_table_is_described() -> None:
    """The page of tables has a heading per table and view; the page to uninstall drops them all."""
    headings = re.findall(r"^## `(\w+)`$", page("reference/tables.md").text, re.MULTILINE)
    assert sorted(headings) == sorted([*TABLES, *VIEWS])
    dropped = page("how-to/uninstall.md").text.partition("views `")[2]
    order = re.findall(r"`(\w+)`", "`" + dropped.partition("to be dropped")[0])
    assert sorted(order) == sorted([*VIEWS, *TABLES, VERSION_TABLE])


def test_the_tables_can_be_dropped_in_the_stated_order(database_url: str) -> None:
    """No view and no foreign key is in the way of the order that the page to uninstall states."""
    import sqlalchemy as sa

    from catalog_sync.db import engine as db_engine
    from catalog_sync.db import migrate

    dropped = "`" + page("how-to/uninstall.md").text.partition("views `")[2]
    order = re.findall(r"`(\w+)`", dropped.partition("to be dropped")[0])
    engine = db_engine.create_engine(database_url)
    migrate.ensure_schema(engine)
    with engine.begin() as connection:
        for name in order:
            kind = "VIEW" if name in VIEWS else "TABLE"
            connection.execute(sa.text(f"DROP {kind} {name}"))
    assert sa.inspect(engine).get_table_names() == []
    engine.dispose()


def shape(value: object) -> object:
    """The keys of an object, without its values; a list has the shape of its first item."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


def test_the_objects_have_the_shown_keys() -> None:
    """`sync --json`, `status --json` and a webhook have the keys of their examples."""
    (body,) = map(json.loads, page("reference/webhook.md").blocks("json"))
    sync, status = map(json.loads, page("reference/commands.md").blocks("json"))
    with Receiver() as hook, Sandbox([model("a")], api_key=KEY) as api:
        Path("catalog-sync.toml").write_text(
            f'[[alerts]]\nname = "hook"\nwebhook = "{hook.url}"\n', encoding="utf-8"
        )
        ours = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.url}
        assert run("sync", **ours).returncode == 0
        api.models = [model("a"), model("b")]
        printed = json.loads(run("sync", "--json", **ours).stdout)
        assert hook.wait_for(1)
    assert shape(printed) == shape(sync)
    assert shape(json.loads(run("status", "--json").stdout)) == shape(status)
    assert shape(hook.last.json) == shape(body)


def test_the_log_of_the_daemon() -> None:
    """The daemon's first lines have the keys that the page shows, in the same order."""
    (shown,) = page("how-to/daemon.md").blocks("text")
    with Sandbox(steps()[-1].models) as api, Daemon(ANTHROPIC_BASE_URL=api.url) as daemon:
        (ended,) = daemon.runs("succeeded")
    keys = [re.findall(r"(\w+)=", line) for line in shown.splitlines()]
    logged = [[key for key in entry if entry[key] is not None] for entry in (daemon.log[0], ended)]
    assert [entry[3:] for entry in logged] == keys


# --- references --------------------------------------------------------------------------------


def anchors(document: Page) -> set[str]:
    """Return the anchors that a repository's web page gives to the headings."""
    prose = re.sub(r"^```.*?^```$", "", document.text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-") for text in headings}


def links(document: Page) -> Iterator[str]:
    prose = re.sub(r"^```.*?^```$", "", document.text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"\]\(([^)\s]+)\)", prose)


@pytest.mark.parametrize("document", pages(), ids=names(pages()))
def test_links_lead_somewhere(document: Page) -> None:
    """Every relative link names a file of the repository, and a heading that is there."""
    for link in links(document):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.path.parent / path).resolve() if path else document.path
        assert target.exists(), link
        assert target.is_relative_to(CHECKOUT), link
        if anchor:
            assert anchor in anchors(Page(target)), link


@pytest.mark.parametrize("document", pages(), ids=names(pages()))
def test_named_files_and_tests_exist(document: Page) -> None:
    """A file, a test or a module that a document names is in the repository."""
    for module in re.findall(r"-m (catalog_sync[\w.]*)", document.text):
        assert find_spec(module), module
    pattern = r"(?<![\w/.-])((?:tests|config|catalog_sync|migrations)/[\w./*-]*[\w*])(?:::(\w+))?"
    for path, test in re.findall(pattern, document.text):
        if path not in EXAMPLES:
            assert list(CHECKOUT.glob(path)), path
        if test:
            tree = ast.parse((CHECKOUT / path).read_text(encoding="utf-8"))
            assert test in {getattr(node, "name", None) for node in ast.walk(tree)}, test


def test_the_recipes_name_what_the_code_has() -> None:
    """A name in a recipe of CONTRIBUTING is in one of the files that its step names."""
    text = CHECKOUT.joinpath("CONTRIBUTING.md").read_text(encoding="utf-8")
    recipes = re.findall(r"^\d\. .*(?:\n   .*)*", text, re.MULTILINE)
    assert recipes
    for step in recipes:
        words = re.findall(r"`([^`]+)`", step)
        files = [CHECKOUT / word for word in words if re.fullmatch(r"[\w/]+\.py", word)]
        code = "".join(path.read_text(encoding="utf-8") for path in files)
        for name in filter(str.isidentifier, words if files else ()):
            assert name in code, name


def test_every_page_can_be_reached() -> None:
    """The README, or a page that can be reached from it, links to each page."""
    seen, waiting = set(), [README.path]
    while waiting:
        path = waiting.pop()
        if path in seen or path.suffix != ".md":
            continue
        seen.add(path)
        local = [link.partition("#")[0] for link in links(Page(path)) if "://" not in link]
        waiting += [(path.parent / link).resolve() for link in local if link]
    assert {each.path for each in pages()} - seen == set()


def test_every_file_of_config_is_mentioned() -> None:
    """Each file that can be deployed is linked or named by a page."""
    text = "".join(each.text for each in pages())
    for path in CHECKOUT.joinpath("config").rglob("*"):
        name = path.relative_to(CHECKOUT).as_posix()
        if path.is_file() and path.parent.name not in {"systemd", "prometheus"}:
            assert name in text, name


# --- examples ----------------------------------------------------------------------------------


@pytest.mark.parametrize("document", WITH_SESSIONS, ids=names(WITH_SESSIONS))
def test_every_session_prints_what_it_shows(document: Page) -> None:
    """The sessions of a page run in order, in one shell; `...` stands for any text.

    A TOML block is the configuration of what follows. The key, the chat and the API are ours.
    """
    with Receiver() as chat, Sandbox(steps()[-1].models, api_key=KEY) as api:
        ours = {"sk-ant-…": KEY, "slack://A/B/C": f"json://127.0.0.1:{chat.port}"}
        script, wanted = ["shopt -s expand_aliases"], []
        if document.name == "docs/reference/check.md":
            script.append("catalog-sync demo >demo.txt; mv catalog-demo.db catalog.db")
        for language, block in document.code():
            for theirs, our in ours.items():
                block = block.replace(theirs, our)  # noqa: PLW2901
            if language == "toml":
                script.append(f"printf %s {shlex.quote(block)} >catalog-sync.toml")
            for part in block.split("$ ")[1:] if language == "console" else ():
                command, _, shown = part.partition("\n")
                allowed = "|| [ $? = 1 ]" if command.startswith("catalog-sync check") else ""
                script.append(f"{{ {command}\n}} {allowed} || exit 9; echo '{MARK}'")
                wanted.append((command, shown))
        program = Path(sys.executable).parent
        done = subprocess.run(
            ["bash", "-c", "\n".join(script)],
            env=environment(
                PATH=f"{program}:/usr/bin:/bin",
                ANTHROPIC_API_KEY=KEY,
                ANTHROPIC_BASE_URL=api.url,
                CATALOG_SYNC_DATABASE_URL="",
            ),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, (done.stdout, done.stderr)
    printed = done.stdout.split(f"{MARK}\n")
    checker = doctest.OutputChecker()
    for (command, shown), got in zip(wanted, printed, strict=False):
        shown, got = DURATION.sub("(0.00 s)", shown), DURATION.sub("(0.00 s)", got)  # noqa: PLW2901
        assert checker.check_output(shown, got, doctest.ELLIPSIS), (command, got)


def test_the_readme_is_short() -> None:
    """The README ends: at most 150 lines, and one shell block below each of its two headings."""
    assert len(README.text.splitlines()) <= 150
    for heading in ("Quick start", "Tests"):
        assert README.section(heading).count("```sh\n") == 1


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md", "docs/how-to/cron.md"])
def test_cron_is_set_up_in_one_way(name: str) -> None:
    """Each page that sets up cron adds config/crontab, which mails a problem once."""
    (document,) = [each for each in pages() if each.name == name]
    (line,) = [line for line in document.text.splitlines() if line.endswith("| crontab -")]
    assert line == "(crontab -l; cat config/crontab) | crontab -"
    assert "* * * *" not in document.text


def test_the_sql_of_the_readme() -> None:
    """Each query of the README has an answer in the demo's database."""
    assert run("demo").returncode == 0
    (block,) = README.blocks("sql")
    with closing(sqlite3.connect("catalog-demo.db")) as connection:
        for query in (each for each in block.split(";") if each.strip()):
            assert connection.execute(query).fetchall(), query


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what Apprise imports on Python 3.11
@pytest.mark.parametrize("document", pages(), ids=names(pages()))
def test_the_configurations_load(document: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each TOML block is a valid configuration, and each of its channels can be opened."""
    monkeypatch.setenv("HOOK_SECRET", "whsec_" + base64.b64encode(b"a secret").decode())
    for block in document.blocks("toml"):
        Path("page.toml").write_text(block, encoding="utf-8")
        for alert in load(Path("page.toml")).alerts:
            assert open_channel(alert).place


def test_the_webhook_receiver_verifies_what_is_sent() -> None:
    """The receiver of the documents accepts this program's message, and no other signature."""
    (recipe,) = page("reference/webhook.md").blocks("python")
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


def test_the_token_of_a_workload_identity(tmp_path: Path) -> None:
    """The documented command prints the token that the official SDK gets for an identity token."""
    tables = [tomllib.loads(block) for block in page("how-to/credentials.md").blocks("toml")]
    (command,) = [t["sources"][0][key] for t in tables for key in t["sources"][0] if "token" in key]
    asked = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            answer = {"access_token": "short-lived", "token_type": "Bearer", "expires_in": 600}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    identity = tmp_path / "identity-token"
    identity.write_text("eyJ.identity.token")
    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        ours = f"default_credentials(base_url='http://127.0.0.1:{server.server_address[1]}')"
        done = subprocess.run(
            [sys.executable, "-c", command[2].replace("default_credentials()", ours)],
            env=environment(
                ANTHROPIC_FEDERATION_RULE_ID="rule",
                ANTHROPIC_ORGANIZATION_ID="organization",
                ANTHROPIC_IDENTITY_TOKEN_FILE=str(identity),
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        server.shutdown()
        thread.join()
    assert (done.stdout, done.stderr) == ("short-lived\n", "")
    assert asked[0]["assertion"] == "eyJ.identity.token"
