"""No secret leaves the program: neither in its output, nor its logs, nor its database.

The server of these tests repeats everything that it receives wherever it can.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from catalog_sync.db import engine as db_engine
from daemons import Daemon
from receivers import Received, Receiver, Reply
from support import Answer, Request, ScriptedServer, model, page, run

SECRETS = {
    "key of the environment": "sk-ant-api03-c0ffee-0001",
    "key of a file": "sk-ant-api03-c0ffee-0002",
    "bearer token": "oat-c0ffee-0003",
    "extra header": "wrkspc-c0ffee-0004",
    "database password": "hunter2-c0ffee-0005",
    "database option": "hunter2-c0ffee-0006",
    "proxy password": "hunter2-c0ffee-0007",
    "heartbeat token": "ping-c0ffee-0008",
    "chat token": "chat-c0ffee-0009",
    "webhook token": "hook-c0ffee-0010",
    "signing secret": "c2lnbi1jMGZmZWUtMDAxMQ==",
    "secret of a bad file": "sk-ant-api03-c0ffee-0012",
}
VERBOSE = ("--verbose", "--log-format", "json")


WAYS = {
    "variable": {"api_key_env": "KEY_OF_OURS"},
    "file": {"api_key_file": "key"},
    "token": {"auth_token_env": "TOKEN_OF_OURS"},
}
MOODS = ("refused", "forbidden", "bad", "broken", "redirect", "garbage", "shapeless", "cursor")


class Echo(ScriptedServer):
    """Answers in the mood that begins the path, and repeats every header that it received."""

    def __init__(self) -> None:
        self.models = [model("a"), model("b")]
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Any:
        said = " ".join(request.headers.values())
        key = request.headers.get("x-api-key") or request.headers["authorization"]
        error = {"type": "error", "error": {"type": f"bad {said}", "message": f"no: {said}"}}
        error["request_id"] = said
        at_once = {"x-should-retry": "false", "request-id": said}
        return {
            "fine": page([{**each, "hint": f"{key[:-4]}…"} for each in self.models]),
            "refused": Answer(error, 401, at_once),
            "forbidden": Answer({"detail": said}, 403, at_once),
            "bad": Answer({"error": said}, 400, at_once),
            "broken": Answer(f"<html>{said}</html>".encode(), 500, at_once),
            "redirect": Answer(error, 307, {"location": f"https://example.com/?{said}"}),
            "garbage": Answer(said.encode()),
            "shapeless": {"data": said, "has_more": said},
            "cursor": page([model("a")], has_more=True, last_id=None, hint=said),
        }[request.path.split("/")[1]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Echo]:
    monkeypatch.setenv("KEY_OF_OURS", SECRETS["key of the environment"])
    monkeypatch.setenv("TOKEN_OF_OURS", SECRETS["bearer token"])
    Path("key").write_text(SECRETS["key of a file"] + "\n", encoding="utf-8")
    with Echo() as running:
        yield running


class Printed:
    """All output of the program."""

    def __init__(self) -> None:
        self.text = ""

    def run(self, *arguments: str, exit_code: int, **variables: str) -> str:
        result = run(*arguments, **variables)
        assert result.returncode == exit_code, result.stderr
        self.text += result.stdout + result.stderr
        return result.stdout + result.stderr


def configure(url: str, database_url: str, *top: str, channels: Sequence[str] = ()) -> None:
    """Write a configuration with a source for each kind of credential and each mood."""
    lines = [f"database_url = {json.dumps(database_url)}", *top]
    for mood in ("fine", *MOODS):
        for name, way in WAYS.items():
            values = {"name": f"{mood} by {name}", "base_url": f"{url}/{mood}", **way}
            lines += ["[[sources]]", *(f"{key} = {json.dumps(values[key])}" for key in values)]
            lines += [f"headers.x-workspace = {json.dumps(SECRETS['extra header'])}"]
    lines += [f"[[alerts]]\n{channel}" for channel in channels]
    Path("catalog-sync.toml").write_text("\n".join(lines), encoding="utf-8")


def leaks(text: str) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret in text]


def contents(database_url: str) -> str:
    """Return every row of every table, as text."""
    engine = db_engine.create_engine(database_url)
    with engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
        assert "model_events" in tables
        said = [str(connection.execute(sa.text(f"SELECT * FROM {t}")).all()) for t in tables]
    engine.dispose()
    return "\n".join(said)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_life_of_a_database(database_url: str, server: Echo) -> None:
    """Successes and failures leave no secret in output, logs, rows or files."""
    url = sa.make_url(database_url)
    if url.get_backend_name() == "postgresql":
        # The server trusts every user and ignores the password; the program must not show it.
        url = url.set(password=SECRETS["database password"])
    configure(server.url, url.render_as_string(hide_password=False))
    printed = Printed()
    printed.run("sync", exit_code=1)
    server.models = [model("a", display_name="Other"), model("b")]
    logged = printed.run(*VERBOSE, "sync", "--json", exit_code=1)
    printed.run("models", exit_code=0)
    printed.run("events", "--format", "csv", exit_code=0)

    sent = " ".join(value for request in server.requests for value in request.headers.values())
    asked = ("key of the environment", "key of a file", "bearer token", "extra header")
    assert set(leaks(sent)) == set(asked)
    assert "Traceback" in logged
    assert "[redacted]" in logged
    assert leaks(printed.text) == []

    rows = contents(database_url)
    assert "[redacted]…" in rows
    assert "c0ffee" not in rows
    for source in (f"{mood} by {way}" for mood in MOODS for way in WAYS):
        assert rows.count(f"source {source}: ") >= 2
    assert leaks(rows) == []
    files = {path.name: path.read_bytes().decode("latin-1") for path in Path().glob("*.db*")}
    assert [name for name, text in files.items() if leaks(text)] == []


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_a_life_of_a_daemon(
    database_url: str, server: Echo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon's good and bad runs, alerts, pings and reloads leave no secret anywhere.

    This covers its log with all tracebacks, its rows and files, and its port.
    """
    monkeypatch.setenv("HOOK_SECRET", f"whsec_{SECRETS['signing secret']}")
    url = sa.make_url(database_url)
    if url.get_backend_name() == "postgresql":
        url = url.set(password=SECRETS["database password"])

    def repeat(request: Received) -> Reply:
        words = "".join(c for c in request.text if c.isprintable())
        return Reply(503, {"x-said": request.path}, f"{request.path} {request.headers} {words}")

    events = 'events = ["added", "sync_failed"]'
    signed = f'secret_env = "HOOK_SECRET"\n{events}'
    with Receiver(decide=repeat) as receiver:
        place = f"127.0.0.1:{receiver.port}"
        configure(
            server.url,
            url.render_as_string(hide_password=False),
            'http_listen = "127.0.0.1:0"\nevery = "1s"\nfailure_alert_after = 1',
            f'heartbeat_url = "{receiver.url}/{SECRETS["heartbeat token"]}"',
            channels=[
                f'name = "hook"\nwebhook = "{receiver.url}/{SECRETS["webhook token"]}"\n{signed}',
                f'name = "chat"\nurl = "json://{place}/{SECRETS["chat token"]}"\n{events}',
            ],
        )
        good = Path("catalog-sync.toml").read_text(encoding="utf-8")
        with Daemon("--verbose") as daemon:
            for mood in MOODS:
                daemon.wait_for(source=f"{mood} by token", status="failed")
            daemon.wait_for(2, source="fine by token", status="succeeded")
            for channel in ("hook", "chat"):
                daemon.wait_for(message="alert not delivered", channel=channel)
            shown = daemon.get("/healthz").text
            assert "[redacted]" in "".join(daemon.output)
            for mistake in (*MISTAKES.values(), *TOP_MISTAKES):
                line = mistake.format(SECRETS["secret of a bad file"])
                bad = f'[[sources]]\nname = "a"\n{line}\n' if mistake not in TOP_MISTAKES else line
                Path("catalog-sync.toml").write_text(bad, encoding="utf-8")
                seen = len(daemon.log)
                daemon.send(signal.SIGHUP)
                daemon.wait_for(
                    after=seen, message="not reloaded; the previous configuration stays active"
                )
            Path("catalog-sync.toml").write_text(good, encoding="utf-8")
            daemon.send(signal.SIGHUP)
            daemon.wait_for(message="reloaded")
            shown += "".join(daemon.get(path).text for path in ("/healthz", "/metrics", "/"))
            assert daemon.end() == 0
        sent = " ".join(f"{got.path} {got.headers}" for got in receiver.received)
    assert {"heartbeat token", "chat token", "webhook token"} <= set(leaks(sent))
    assert "heartbeat not accepted" in "".join(daemon.output)
    assert "Traceback" in "".join(daemon.output)
    rows = contents(database_url)
    assert "sync_failed" in rows
    files = {path.name: path.read_bytes().decode("latin-1") for path in Path().glob("*.db*")}
    for text in ("".join(daemon.output), shown, rows, *files.values()):
        assert leaks(text) == []


DATABASES = {
    "no server": ("postgresql://catalog:{password}@127.0.0.1:1/catalog", 4),
    "refused": ("mysql://nobody:{password}@127.0.0.1:3306/test", 4),
    "an option": ("postgresql://127.0.0.1:1/catalog?password={option}", 4),
    "a bad option": ("postgresql://u:{password}@127.0.0.1/catalog?keepalives={option}", 4),
    "one slash": ("postgresql:/catalog:{password}@127.0.0.1/catalog", 2),
    "no port": ("postgresql://catalog:{password}@127.0.0.1:port/catalog", 2),
    "no driver": ("oracle://catalog:{password}@127.0.0.1/catalog", 2),
    "an at sign": ("postgresql://catalog:p@{password}@127.0.0.1:1/catalog", 2),
}


@pytest.mark.parametrize(("url", "exit_code"), DATABASES.values(), ids=DATABASES)
def test_a_database_that_cannot_be_used(url: str, exit_code: int) -> None:
    """For any mistake in a database URL, neither error nor traceback shows its password."""
    url = url.format(password=SECRETS["database password"], option=SECRETS["database option"])
    printed = Printed()
    printed.run(*VERBOSE, "models", exit_code=exit_code, CATALOG_SYNC_DATABASE_URL=url)
    assert leaks(printed.text) == []


MISTAKES = {
    "a key for a key's name": 'api_key = "{}"',
    "a key for a variable's name": 'api_key_env = "{}"',
    "a token for a variable's name": 'auth_token_env = "{}"',
    "a header that is none": 'headers = {{ "x-api-key" = "{}\\n" }}',
    "headers that are no table": 'headers = "{}"',
    "a URL with a password": 'base_url = "https://user:{}@example.com"',
    "a URL with a query": 'base_url = "https://example.com/?key={}"',
    "no TOML": 'api_key = "{}',
}


TOP_MISTAKES = (
    'database_url = "{}"',
    'heartbeat_url = "{}"',
    'http_listen = "{}"',
    'every = "{}"',
    'cron = "{}"',
    'timezone = "{}"',
    '[[alerts]]\nname = "a"\nwebhook = "{}"',
    '[[alerts]]\nname = "a"\nurl = "slack://{}"',
    '[[alerts]]\nname = "a"\nurl = "json://u:{}@[:1"',
    '[[alerts]]\nname = "a"\nwebhook = "https://example.com"\nsecret_env = "{}"',
)
"""The same at the top level, and in a channel."""


@pytest.mark.parametrize("line", MISTAKES.values(), ids=MISTAKES)
def test_a_secret_in_the_wrong_place(line: str) -> None:
    """A misplaced secret is not repeated by the error; exit 2."""
    line = line.format(SECRETS["key of the environment"])
    Path("catalog-sync.toml").write_text(f'[[sources]]\nname = "a"\n{line}\n', encoding="utf-8")
    printed = Printed()
    printed.run(*VERBOSE, "sync", exit_code=2)
    assert leaks(printed.text) == []


def test_a_proxy() -> None:
    """An unreachable or unusable proxy is an error that does not show its password."""
    password = SECRETS["proxy password"]
    Path("catalog-sync.toml").write_text(
        '[[sources]]\nname = "a"\nbase_url = "https://192.0.2.1"\ndeadline = "300ms"\n',
        encoding="utf-8",
    )
    printed = Printed()
    for proxy, exit_code in ((f"http://u:{password}@127.0.0.1:1", 1), (f"x://u:{password}@y", 2)):
        proxies = {"HTTPS_PROXY": proxy, "https_proxy": proxy}
        printed.run(*VERBOSE, "sync", exit_code=exit_code, ANTHROPIC_API_KEY="sk-1234", **proxies)
    assert leaks(printed.text) == []
