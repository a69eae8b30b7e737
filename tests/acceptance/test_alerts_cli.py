"""The alert commands of the program: `sync`, `alerts test`, `list` and `retry`.

The program is a separate process, except where a test needs other dates than today's.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import shlex
import sqlite3
import subprocess
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from catalog_sync.app import App, RunOptions
from catalog_sync.clock import Clock, utc_now
from catalog_sync.config.load import load
from catalog_sync.demo.sandbox import Sandbox
from receivers import PATIENCE_SECONDS, Receiver, Reply, closed_port
from support import KEY, complaint, environment, model, program, run, run_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from subprocess import CompletedProcess

    from catalog_sync.sync.report import RunReport

DAY = timedelta(days=1)
START = datetime(2026, 7, 24, 18, 0, tzinfo=UTC)
SIGNING_SECRET = "whsec_" + base64.b64encode(b"a key that signs for no one").decode()
OPERATIONS = ["sync_failed", "sync_recovered", "sync_held"]
COLUMNS = (
    "id,event_id,channel,status,attempts,next_attempt_at,delivered_at,last_error,source,kind,"
    "model_id"
)


# --- settings and helpers ----------------------------------------------------------------------


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Yield a sandbox API with one model; the environment names it as a new user's would."""
    # Nothing here is encrypted, and loading the usual certificates takes a while.
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(Path.cwd()))
    with Sandbox([model("claude-1")], api_key=KEY) as sandbox:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", sandbox.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        yield sandbox


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def other() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def configure(*alerts: Mapping[str, Any], top: str = "", file: str = "catalog-sync.toml") -> None:
    """Write a configuration with these channels."""
    tables = [
        "[[alerts]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in each.items())
        for each in alerts
    ]
    Path(file).write_text("\n".join([top, *tables]), encoding="utf-8")


def hook(receiver: Receiver, name: str = "team", **more: Any) -> dict[str, Any]:
    return {"name": name, "webhook": f"{receiver.url}/models", **more}


def synced(clock: Clock = utc_now, *, accept: bool = False) -> RunReport:
    """Make a run inside this process and deliver, as `sync` does."""
    with App(load(), clock) as app:
        [report] = app.sync(RunOptions(accept_removals=accept))
        app.deliver()
    return report


def added(api: Sandbox, *ids: str) -> None:
    api.models = [*api.models, *(model(id_) for id_ in ids)]


def query(sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect("catalog.db")) as connection, connection:
        return connection.execute(sql).fetchall()


def events_of(receiver: Receiver) -> list[tuple[str, str | None]]:
    """Return the events that a receiver got: kind and model, in order."""
    return [
        (event["kind"], event["model_id"])
        for received in receiver.received
        for event in received.json["data"]["events"]
    ]


# --- sync delivers -----------------------------------------------------------------------------


def test_sync_tells_what_changed(api: Sandbox, receiver: Receiver) -> None:
    """After its run `sync` sends the due alerts and reports them; a baseline sends none."""
    configure(hook(receiver, models=["claude-*"]))
    first = run("sync")
    assert first.returncode == 0, first.stderr
    assert "baseline of 1 model recorded; alerts begin with the next change" in first.stdout
    assert receiver.received == []

    added(api, "claude-2", "gpt-1")
    second = run("sync", "--json")
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["deliveries"] == {"delivered": 1, "pending": 0, "failed": 0}
    assert events_of(receiver) == [("added", "claude-2")]
    assert receiver.last.path == "/models"
    assert second.stderr == ""


def test_a_failing_channel_does_not_fail_the_run(
    api: Sandbox, receiver: Receiver, other: Receiver
) -> None:
    """Whatever a channel answers, a good run ends with 0; pending and failed alerts are counted.

    `delivered` counts this run alone; `pending` and `failed` count the rows of the table.
    """
    configure(hook(receiver), hook(other, "other"))
    synced()
    receiver.replies = [Reply(500), Reply(410)]
    added(api, "claude-2")
    first = run("sync", "--json")
    assert first.returncode == 0, first.stderr
    assert f"{receiver.url}: HTTP 500 Internal Server Error" in first.stderr  # a warning
    assert json.loads(first.stdout)["deliveries"] == {"delivered": 1, "pending": 1, "failed": 0}

    added(api, "claude-3", "claude-4")
    second = run("sync")
    assert second.returncode == 0, second.stderr
    assert second.stdout.splitlines()[-1].startswith("alerts: 2 delivered, 3 pending, 0 failed")
    assert len(receiver.received) == 1  # it is not contacted again so soon
    assert "alerts: 3 pending (3 of team), 0 failed" in run("status").stdout.splitlines()
    assert events_of(other) == [("added", f"claude-{number}") for number in (2, 3, 4)]


def test_a_failed_run_delivers_what_is_due(api: Sandbox, receiver: Receiver) -> None:
    """If the source cannot be synced, earlier alerts are still sent."""
    configure(hook(receiver))
    synced()
    added(api, "claude-2")
    with App(load()) as app:
        app.sync()
    api.api_key = "another-key"
    result = run("sync", "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout)["deliveries"] == {"delivered": 1, "pending": 0, "failed": 0}
    assert events_of(receiver) == [("added", "claude-2")]


def test_a_dry_run_sends_nothing(api: Sandbox, receiver: Receiver) -> None:
    """`--dry-run` neither sends due alerts nor adds new ones."""
    configure(hook(receiver))
    synced()
    added(api, "claude-2")
    with App(load()) as app:
        app.sync()
    added(api, "claude-3")
    result = run("sync", "--dry-run", "--json")
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["runs"][0]["added"] == ["claude-3"]
    assert printed["deliveries"] == {"delivered": 0, "pending": 1, "failed": 0}
    assert receiver.received == []


@pytest.mark.parametrize("kind", ["webhook", "url"])
def test_a_stop_while_a_receiver_hangs(api: Sandbox, receiver: Receiver, kind: str) -> None:
    """SIGTERM ends `sync` at once while a receiver hangs: exit 143, and the alert stays due."""
    scheme = {"webhook": "http", "url": "json"}[kind]
    configure({"name": "team", kind: f"{scheme}://127.0.0.1:{receiver.port}/models"})
    assert run("sync").returncode == 0
    added(api, "claude-2")
    never = threading.Event()
    receiver.replies = [Reply(after=never)]
    process = subprocess.Popen(
        program("sync"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert receiver.wait_for(1)
    process.terminate()
    process.communicate(timeout=8)
    never.set()
    assert process.returncode == 143
    assert query("SELECT status, attempts FROM alert_deliveries") == [("pending", 0)]


def test_a_stop_of_a_test(receiver: Receiver) -> None:
    """SIGTERM, also when it comes twice as from `timeout`, ends a test with one line."""
    configure(hook(receiver))
    never = threading.Event()
    receiver.replies = [Reply(after=never)]
    with subprocess.Popen(
        program("alerts", "test"), env=environment(), stderr=subprocess.PIPE
    ) as process:
        assert receiver.wait_for(1)
        process.terminate()
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    never.set()
    assert said == b"catalog-sync: interrupted\n"
    assert process.returncode in {143, -15}


# --- a wrong configuration ---------------------------------------------------------------------


WEBHOOK = "http://127.0.0.1:9/hidden-path"


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ([{"name": "a", "url": "pigeon://host/hidden-path"}], ["a", "Apprise"]),
        ([{"name": "a", "webhook": WEBHOOK}] * 2, ["'a'", "twice"]),
        ([{"name": "a", "webhook": WEBHOOK, "secret_env": "BAD"}], ["a", "BAD", "whsec_"]),
    ],
    ids=["no service of Apprise", "a name twice", "a secret that is none"],
)
def test_a_wrong_channel(api: Sandbox, alerts: list[dict[str, Any]], said: list[str]) -> None:
    """A channel that no message can be sent to is exit 2 before the first request.

    The one line names the channel and the problem, and does not show its address.
    """
    configure(*alerts)
    line = complaint(run("sync", BAD="hidden-secret"), 2)
    assert "hidden" not in line
    for word in said:
        assert word in line
    assert not Path("catalog.db").exists()


# --- alerts test -------------------------------------------------------------------------------


def test_test_reaches_every_channel(
    receiver: Receiver, other: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`alerts test` sends a test message to every channel, or to the named one.

    It needs no API key and no database.
    """
    configure(hook(receiver), {"name": "other", "url": other.url.replace("http:", "json:")})
    result = run("alerts", "test")
    assert result.returncode == 0, result.stderr
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["team", "other"]
    assert receiver.last.json["type"] == "catalog.test"
    assert "test" in other.last.json["title"].lower()

    result = run("alerts", "test", "team")
    assert result.returncode == 0, result.stderr
    assert (len(receiver.received), len(other.received)) == (2, 1)
    assert receiver.ids[0] != receiver.ids[1]
    assert not Path("catalog.db").exists()


def test_test_fails_loudly(receiver: Receiver, other: Receiver) -> None:
    """`alerts test` exits 1 if one channel does not accept, and still tries the others."""
    receiver.replies = [Reply(403)]
    configure(
        hook(receiver),
        {"name": "nobody", "webhook": f"http://127.0.0.1:{closed_port()}/models"},
        hook(other, "other"),
    )
    result = run("alerts", "test")
    assert result.returncode == 1
    refused, nobody = result.stderr.splitlines()
    assert "team" in refused
    assert "403" in refused
    assert "nobody" in nobody
    assert len(other.received) == 1
    assert result.stdout.startswith("other: ")


def test_test_without_a_channel(receiver: Receiver) -> None:
    """An unknown channel, or none at all, is exit 2; the line names the known ones."""
    configure(hook(receiver), hook(receiver, "mail"))
    configure(file="none.toml")
    unknown, none = run_all("alerts test teem", "--config none.toml alerts test")
    line = complaint(unknown, 2)
    assert "'teem'" in line
    assert "team, mail" in line
    assert "[[alerts]]" in complaint(none, 2)
    assert receiver.received == []


def test_test_minds_no_database(receiver: Receiver) -> None:
    """`alerts test` works while the database is out of reach."""
    nowhere = f"postgresql://127.0.0.1:{closed_port()}/catalog"
    configure(hook(receiver), top=f'database_url = "{nowhere}"')
    result = run("alerts", "test")
    assert (result.returncode, result.stderr) == (0, "")


# --- alerts list, alerts retry -----------------------------------------------------------------


def test_list_of_an_empty_database() -> None:
    """`alerts list` and `retry` work before any alert was due, and create no file."""
    listing, retry = run_all("alerts list", "alerts retry")
    assert "the configuration has no [[alerts]]" in listing.stderr
    configure({"name": "team", "webhook": "http://127.0.0.1:1/models"})
    assert listing.stderr != run("alerts", "list").stderr
    assert "run: catalog-sync alerts test" in run("alerts", "list").stderr
    Path("catalog-sync.toml").unlink()
    assert (listing.returncode, listing.stdout) == (0, "")
    assert (retry.returncode, retry.stdout) == (0, "0 failed deliveries due again\n")
    assert not Path("catalog.db").exists()


def test_list_and_retry(
    api: Sandbox, receiver: Receiver, other: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`alerts list` shows pending, failed and delivered alerts, with the last error.

    `alerts retry` makes failed alerts due again, of one channel or of all, under the same id.
    Neither needs a key.
    """
    gone = hook(other, "gone", events=["added"])
    configure(
        hook(receiver), gone, {"name": "down", "webhook": f"http://127.0.0.1:{closed_port()}"}
    )
    synced()
    receiver.replies, other.replies = [Reply(), Reply(410)], [Reply(410)]
    for id_ in ("claude-2", "claude-3"):
        added(api, id_)
        synced()
    monkeypatch.delenv("ANTHROPIC_API_KEY")

    as_table, as_json, as_csv = run_all(
        *(f"alerts list --format {f}" for f in ("table", "json", "csv"))
    )
    rows = json.loads(as_json.stdout)
    assert [(row["channel"], row["status"], row["model_id"]) for row in rows] == [
        ("team", "delivered", "claude-2"),
        ("gone", "failed", "claude-2"),
        ("down", "pending", "claude-2"),
        ("team", "failed", "claude-3"),
        ("gone", "failed", "claude-3"),
        ("down", "pending", "claude-3"),
    ]
    assert [",".join(row) for row in rows] == [COLUMNS] * 6
    delivered, failed, pending = rows[:3]
    assert delivered["last_error"] is None
    assert delivered["delivered_at"]
    assert "410" in failed["last_error"]
    assert failed["next_attempt_at"] is None
    assert datetime.fromisoformat(pending["next_attempt_at"]) > utc_now()
    assert "no answer" in pending["last_error"]
    assert as_csv.stdout.splitlines()[0] == COLUMNS
    cells = list(csv.DictReader(io.StringIO(as_csv.stdout)))
    assert [(row["status"], row["last_error"] or None) for row in cells] == [
        (row["status"], row["last_error"]) for row in rows
    ]
    _header, *lines = as_table.stdout.splitlines()
    assert [line.split()[:4] for line in lines] == [
        [row["channel"], row["status"], "added", row["model_id"]] for row in rows
    ]
    assert failed["last_error"] in lines[1]

    receiver.replies = other.replies = [Reply()]
    assert run("alerts", "retry", "gone").stdout == "2 failed deliveries due again\n"
    assert query("SELECT channel, count(*) FROM alert_deliveries WHERE status = 'failed'") == [
        ("team", 1)
    ]
    assert run("alerts", "retry").stdout == "1 failed and 1 pending delivery due again\n"
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    synced()
    assert query("SELECT channel FROM alert_deliveries WHERE status <> 'delivered'") == [
        ("down",),
        ("down",),
    ]
    assert other.ids[2:] == other.ids[:2]
    assert receiver.ids[2:] == receiver.ids[1:2]


# --- reminders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("runs", "reminders"),
    [
        pytest.param(
            [(day, 100) for day in (0, 9, 10, 11, 70, 80, 93, 99, 100, 101)],
            [(10, 90), (70, 30), (93, 7), (99, 1)],
            id="each threshold once",
        ),
        pytest.param([(0, 100), (96, 100), (97, 100)], [(96, 4)], id="several at once"),
        pytest.param([(0, 5), (1, 5), (4, 5)], [(4, 1)], id="crossed at the baseline"),
        pytest.param(
            [(0, None), (1, 6), (2, 6), (5, 6)], [(5, 1)], id="first sight of a close date"
        ),
        pytest.param(
            [(0, 100), (10, 100), (11, 111), (20, 111), (21, 111), (81, 111)],
            [(10, 90), (21, 90), (81, 30)],
            id="postponed",
        ),
        pytest.param([(0, 100), (71, 100), (72, 74), (73, 74)], [(71, 29), (73, 1)], id="sooner"),
        pytest.param([(0, 100), (10, 100), (11, None), (70, None)], [(10, 90)], id="called off"),
    ],
)
def test_reminders(
    api: Sandbox,
    receiver: Receiver,
    runs: Sequence[tuple[int, int | None]],
    reminders: list[tuple[int, int]],
) -> None:
    """A receiver gets one reminder per threshold and retirement date.

    A revised date starts again, and several thresholds crossed at once make one reminder: the
    closest. The event that states a date covers the thresholds that are crossed at that time.
    """
    configure(hook(receiver, events=["retiring"]))
    midnight = START.replace(hour=0)
    seen = []
    for day, retires_on in runs:
        date = f"{midnight + retires_on * DAY:%Y-%m-%dT%H:%M:%SZ}" if retires_on else None
        state = "deprecated" if date else "active"
        api.models = [model("claude-1", lifecycle=state, retires_at=date), model("claude-2")]
        before = len(receiver.received)
        synced(lambda day=day: midnight + day * DAY)
        for received in receiver.received[before:]:
            [event] = received.json["data"]["events"]
            assert (event["kind"], event["model_id"]) == ("retiring", "claude-1")
            seen.append((day, event["changes"]["days_left"]["new"]))
    assert seen == reminders


# --- the job itself ----------------------------------------------------------------------------


class Runs:
    """Runs a quarter of an hour apart, and the kinds of events that a receiver got."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._now = START

    def __call__(self, number: int = 1, *, accept: bool = False) -> list[str]:
        before = len(events_of(self._receiver))
        for _ in range(number):
            self._now += timedelta(minutes=15)
            synced(lambda: self._now, accept=accept)
        return [kind for kind, _model in events_of(self._receiver)[before:]]


def last_error(receiver: Receiver, side: str) -> str:
    [event] = receiver.last.json["data"]["events"]
    return event["changes"]["error"][side]


def test_failures_are_announced_once(
    api: Sandbox, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sync_failed` comes with the third failure in a row, and again for another class of error.

    `sync_recovered` comes once after it, and not after failures without an alert.
    """
    runs = Runs(receiver)
    version = '[[sources]]\nname = "anthropic"\nbase_url = "%s"\nanthropic_version = "1999-01-01"\n'
    good = hook(receiver, events=OPERATIONS)
    configure(good, top="failure_alert_after = 3")
    assert runs(2) == []
    api.api_key = "another-key"
    assert runs(2) == []
    api.api_key = KEY
    assert runs(2) == []
    api.api_key = "another-key"
    assert runs(2) == []
    assert runs() == ["sync_failed"]
    assert "ANTHROPIC_API_KEY" in last_error(receiver, "new")
    assert runs(3) == []
    api.api_key = KEY
    Path("catalog-sync.toml").unlink()
    configure(good, top="failure_alert_after = 3\n" + version % api.url)
    assert runs() == ["sync_failed"]
    assert "400" in last_error(receiver, "new")
    assert runs(3) == []
    configure(good, top="failure_alert_after = 3")
    assert runs() == ["sync_recovered"]
    assert "400" in last_error(receiver, "old")
    assert runs(2) == []


def test_held_runs_are_announced_once(api: Sandbox, receiver: Receiver) -> None:
    """The first held run makes one alert, with a command to look and one to release; its end too.

    Both commands work as the alert states them.
    """
    configure(hook(receiver, events=[*OPERATIONS, "removed"]))
    runs = Runs(receiver)
    everything = [model(f"claude-{number}") for number in range(8)]
    for episode in (1, 2):
        api.models = everything
        assert runs(2) == []
        api.models = everything[:2]
        assert runs() == ["sync_held"]
        _, look, release = last_error(receiver, "new").split("run: ")
        assert runs(2) == []
        if episode == 1:
            api.models = everything
            assert runs(2) == ["sync_recovered"]
    name, *arguments = shlex.split(look.partition(";")[0])
    assert name == "catalog-sync"
    assert run(*arguments).stdout.count("removed") >= 6
    assert query("SELECT count(*) FROM models WHERE removed_at IS NOT NULL") == [(0,)]
    name, *arguments = shlex.split(release)
    assert name == "catalog-sync"
    result = run(*arguments)
    assert result.returncode == 0, result.stderr
    assert [kind for kind, _ in events_of(receiver)[-7:]] == ["removed"] * 6 + ["sync_recovered"]
    assert "run:" not in receiver.last.json["data"]["events"][-1]["changes"]["error"]["old"]


# --- secrets -----------------------------------------------------------------------------------


def assert_silent(secrets: Sequence[str], results: Sequence[CompletedProcess[str]]) -> None:
    """No secret is printed, logged or stored, in upper or lower case."""
    printed = "".join(result.stdout + result.stderr for result in results).lower()
    stored = "".join(path.read_bytes().decode("latin-1") for path in Path().glob("catalog.db*"))
    assert "alert_deliveries" in stored
    for secret in secrets:
        assert secret.lower() not in printed
        assert secret.lower() not in stored.lower()


def test_no_secret_gets_out(api: Sandbox, receiver: Receiver) -> None:
    """Only scheme and host of an address are printed, logged or stored, and no signing secret.

    This holds if a channel refuses and repeats its address, is out of reach or hangs up, and with
    `--verbose`.
    """
    configure()
    synced()
    added(api, "claude-2")
    here, nowhere = f"hiddenuser:hiddenpass@127.0.0.1:{receiver.port}", f"127.0.0.1:{closed_port()}"
    configure(
        {"name": "a", "webhook": f"http://{here}/hiddenpath?hiddenquery=1"},
        {"name": "b", "webhook": f"http://{nowhere}/hiddenpath", "secret_env": "HOOK_SECRET"},
        {"name": "c", "url": f"json://{here}/hiddenpath?+hidden=hidden"},
        {"name": "d", "url": f"jsons://hiddenuser:hiddenpass@{nowhere}/hiddenpath"},
        top=f'heartbeat_url = "http://{nowhere}/hiddenpath"',
    )
    echo = Reply(404, reason="no such hook: /hiddenpath")
    receiver.replies = [None, Reply(302, {"location": "/hiddenpath"}), echo, Reply(500)]
    secret = {"HOOK_SECRET": SIGNING_SECRET}
    results = [
        run("--verbose", "--log-format", "json", "sync", **secret),
        run("--verbose", "alerts", "test", **secret),
        run("--verbose", "alerts", "list"),
    ]
    assert [result.returncode for result in results] == [0, 1, 0]
    assert "heartbeat not accepted" in results[0].stderr
    assert len(results[1].stderr.splitlines()) == 4
    assert results[2].stdout.count("pending") == 4
    assert_silent(["hidden", SIGNING_SECRET, SIGNING_SECRET.removeprefix("whsec_"), KEY], results)


def test_no_token_in_the_place_of_a_host(api: Sandbox) -> None:
    """Services whose address has a token in place of a host do not show it."""
    configure()
    synced()
    added(api, "claude-2")
    token, user = "t0k" * 10, "us3" * 10
    configure(
        {"name": "a", "url": f"pover://{user}@{token}"}, {"name": "b", "url": f"pbul://{token}"}
    )
    configure({"name": "a", "url": f"slack://{token}"}, file="incomplete.toml")
    # These services are called through a missing proxy.
    nowhere = f"http://127.0.0.1:{closed_port()}"
    proxy = {"HTTPS_PROXY": nowhere, "https_proxy": nowhere}
    results = [
        run("--verbose", "sync", **proxy),
        run("--verbose", "alerts", "list"),
        run("--config", "incomplete.toml", "alerts", "test"),
    ]
    assert [result.returncode for result in results] == [0, 0, 2]
    assert_silent([token, user], results)


def test_retry_of_a_channel_that_is_none() -> None:
    """A name that no channel has or had is an error that names the known ones."""
    done = run("alerts", "retry", "nobody")
    assert done.returncode == 2
    assert "nobody" in done.stderr
    assert not list(Path().glob("*.db"))
