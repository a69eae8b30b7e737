"""Poolers, failovers and distributed engines: their transactions and ids, on PostgreSQL."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from catalog_sync.app import App
from catalog_sync.clock import utc_now
from catalog_sync.config.settings import AlertSettings, SecretStr
from catalog_sync.db import engine as db_engine
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.domain.kinds import Kind
from catalog_sync.errors import DatabaseError
from conftest import empty_database
from poolers import CommitProxy
from receivers import Receiver
from support import environment, model, program, settings_for

WANTED = (Kind.ADDED, Kind.UPDATED)
TABLES = ("sources", "sync_runs", "models", "model_events", "alert_deliveries")
DUE = (
    "UPDATE alert_deliveries SET next_attempt_at = now() - interval '1 hour' "
    "WHERE status = 'pending'"
)
FAIL_ONCE = """
CREATE SEQUENCE storm_transactions MINVALUE 0 START 0;
CREATE TABLE storm (at_transaction bigint NOT NULL);
CREATE FUNCTION storm() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('storm.counted', true) = txid_current()::text THEN RETURN NULL; END IF;
    PERFORM set_config('storm.counted', txid_current()::text, true);
    -- A sequence keeps its value when the transaction is rolled back: it fails once.
    IF nextval('storm_transactions') IN (SELECT at_transaction FROM storm) THEN
        RAISE EXCEPTION 'forced' USING ERRCODE = '40001';
    END IF;
    RETURN NULL;
END $$;
"""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an empty database on PostgreSQL."""
    with empty_database("postgresql", tmp_path) as url:
        yield url


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(models(0)) as sandbox:
        yield sandbox


def models(number: int) -> list[dict]:
    """A list in which every number changes one model and adds one."""
    return [
        model("claude-one", display_name=f"One {number}"),
        *(model(f"claude-new-{each}") for each in range(number)),
    ]


def execute(url: str, *statements: str) -> list[sa.Row]:
    """Execute statements, each in its own transaction. Return the rows of the last one."""
    engine = db_engine.create_engine(url)
    rows: list[sa.Row] = []
    for statement in statements:
        with engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            rows = list(result) if result.returns_rows else []
    engine.dispose()
    return rows


def settings(url: str, sandbox: Sandbox, receiver: Receiver | None = None):
    """Settings with one source, and with a webhook for every event where there is a receiver."""
    made = settings_for(url, sandbox.url)
    if receiver is None:
        return made
    alert = AlertSettings(name="hook", webhook=SecretStr(receiver.url), events=WANTED)
    return msgspec.structs.replace(made, alerts=(alert,))


def consistent(url: str, number: int) -> None:
    """Assert that the run of this number is recorded once and left no lease."""
    events = (
        "SELECT model_id, kind, count(*) FROM model_events WHERE kind <> 'updated' GROUP BY 1, 2"
    )
    expected = {("claude-one", "added", 1)} | {
        (f"claude-new-{n}", "added", 1) for n in range(number)
    }
    assert {tuple(row) for row in execute(url, events)} == expected
    updates = (
        "SELECT count(*), count(DISTINCT changes::text) FROM model_events WHERE kind = 'updated'"
    )
    assert [tuple(row) for row in execute(url, updates)] == [(number, number)]
    assert execute(url, "SELECT 1 FROM sources WHERE lease_run_id IS NOT NULL") == []
    assert execute(url, "SELECT 1 FROM sync_runs WHERE status <> 'succeeded'") == []


@pytest.mark.parametrize(
    "change", ["CACHE 100", "MAXVALUE 1000000 INCREMENT BY -1 RESTART 1000000"]
)
def test_ids_that_do_not_grow_with_time(url: str, sandbox: Sandbox, change: str) -> None:
    """Queries are right if ids do not grow with time: sequences with caches, several nodes."""
    ended = {}
    with ExitStack() as stack:
        apps = [stack.enter_context(App(settings(url, sandbox))) for _ in range(2)]
        apps[0].sync()
        for (sequence,) in execute(url, "SELECT sequencename FROM pg_sequences"):
            execute(url, f"ALTER SEQUENCE {sequence} {change}")
        for number in range(1, 7):
            sandbox.models = models(number)
            (report,) = apps[number % 2].sync()
            assert (report.status, report.error) == ("succeeded", None)
            ended[number] = utc_now()
            for app in apps:
                assert {record.info.id for record in app.models()} == {
                    m["id"] for m in models(number)
                }
                assert f"One {number}" in {record.info.display_name for record in app.models()}
                assert app.status().ok
        events = apps[0].events(models="claude-one", kinds=[Kind.UPDATED])
        names = [event.changes["display_name"]["new"] for event in events]
        assert names == [f"One {number}" for number in range(1, 7)]
        for number in range(1, 7):
            shown = apps[0].models(as_of=ended[number])
            assert {record.info.id for record in shown} == {m["id"] for m in models(number)}
    consistent(url, 6)


def test_a_run_whose_commit_was_not_answered(url: str, sandbox: Sandbox) -> None:
    """A run that loses the answer to any of its commits succeeds and is recorded once."""
    with CommitProxy(url) as proxy:
        number = 0
        while True:
            sandbox.models = models(number)
            proxy.lose(number)
            with App(settings(proxy.url, sandbox)) as app:
                (report,) = app.sync()
            assert (report.status, report.error) == ("succeeded", None), number
            consistent(url, number)
            if number and not proxy.lost:
                break  # the run has fewer commits
            number += 1
    assert number > 2


def test_a_delivery_whose_commit_was_not_answered(url: str, sandbox: Sandbox) -> None:
    """A delivery that loses the answer to a commit loses no alert, and a repeat keeps its id."""
    with CommitProxy(url) as proxy, Receiver() as receiver:
        number = 0
        while True:
            sandbox.models = models(number)
            with App(settings(url, sandbox, receiver)) as app:
                app.sync()
            before = len(receiver.received)
            proxy.lose(number)
            with App(settings(proxy.url, sandbox, receiver)) as app:
                with suppress(DatabaseError):  # it may fail with exit 4: the rest is sent later
                    app.deliver()
                lost = proxy.lost
                # A claim whose answer was lost is due again later. The test makes it due at once.
                execute(
                    url,
                    DUE,
                )
                app.deliver()
            assert execute(url, "SELECT 1 FROM alert_deliveries WHERE status <> 'delivered'") == []
            sent = receiver.received[before:]
            assert len({each.id for each in sent}) == (1 if number else 0)
            sent_ids = {e["model_id"] for each in sent for e in each.json["data"]["events"]}
            assert sent_ids == ({"claude-one", f"claude-new-{number - 1}"} if number else set())
            if number and not lost:
                break
            number += 1
    assert number > 2


def test_a_serialization_failure_at_each_commit(url: str, sandbox: Sandbox) -> None:
    """A run repeats any of its transactions that fails with 40001 at the commit."""
    with App(settings(url, sandbox)) as app:
        app.sync()
    execute(url, FAIL_ONCE, "INSERT INTO storm VALUES (-1)")
    for table in TABLES:
        execute(
            url,
            f"CREATE CONSTRAINT TRIGGER storm AFTER INSERT OR UPDATE ON {table} "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION storm()",
        )
    number = 0
    while True:
        number += 1
        sandbox.models = models(number)
        execute(
            url,
            f"UPDATE storm SET at_transaction = {number - 1}",
            "ALTER SEQUENCE storm_transactions RESTART",
        )
        with App(settings(url, sandbox)) as app:
            (report,) = app.sync()
        assert (report.status, report.error) == ("succeeded", None), number
        consistent(url, number)
        if execute(url, "SELECT last_value FROM storm_transactions")[0][0] < number - 1:
            break  # the run has fewer transactions
    assert number > 2


def test_serializable_by_default(url: str, sandbox: Sandbox) -> None:
    """Processes that sync at once succeed or skip where every transaction is serializable."""
    name = sa.make_url(url).database
    execute(url, f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    for number in range(3):
        sandbox.models = models(number)
        with ExitStack() as stack, ThreadPoolExecutor(4) as threads:
            apps = [stack.enter_context(App(settings(url, sandbox))) for _ in range(4)]
            reports = [report for (report,) in threads.map(App.sync, apps)]
        assert {report.status for report in reports} <= {"succeeded", "skipped"}, reports
        assert any(report.status == "succeeded" for report in reports)
        consistent(url, number)


def test_a_first_set_up_without_advisory_locks(url: str, sandbox: Sandbox) -> None:
    """Processes that start at once on an empty database need no lock that an engine may lack."""
    lock = "pg_catalog.pg_advisory_xact_lock(bigint)"
    execute(url, f"ALTER FUNCTION {lock} RENAME TO hidden_lock")
    variables = environment(
        CATALOG_SYNC_DATABASE_URL=url,
        ANTHROPIC_API_KEY="sandbox-key",
        ANTHROPIC_BASE_URL=sandbox.url,
    )
    started = [
        subprocess.Popen(program("sync"), env=variables, stderr=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    ended = [(process.communicate()[1], process.returncode) for process in started]
    assert ended == [("", 0)] * 6
    consistent(url, 0)
