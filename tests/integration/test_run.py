"""A run from end to end: with a real server and a real database."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from catalog_sync.app import App, RunOptions
from catalog_sync.config.settings import AlertSettings, Settings
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import engine
from catalog_sync.db import events as db_events
from catalog_sync.db.schema import metadata
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.domain import replay
from catalog_sync.domain.kinds import Kind, RunStatus
from catalog_sync.errors import (
    BadAnswerError,
    ConfigError,
    DatabaseError,
    LeaseLostError,
    UnauthorizedError,
    UnreachableError,
    ValueRefusedError,
)
from support import KEY, Answer, ScriptedServer, model, page, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from catalog_sync.domain.model import Event
    from catalog_sync.sync.report import RunReport
    from support import Request

START = datetime(2026, 7, 24, 18, 12, 21, 500_000, UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
TABLES = ("sources", "sync_runs", "models", "model_events", "alert_deliveries")

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
mariadb_only = pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
postgresql_only = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


class Api(ScriptedServer):
    """A Models API whose list, answers by id and headers a test changes between runs."""

    def __init__(self) -> None:
        self.models: list[Mapping[str, Any]] = []
        self.by_id: dict[str, Any] = {}
        """The answers about models by id. Other ids are unknown."""
        self.questions: list[str] = []
        """The requested ids, without the controls, as they appear in the path."""
        self.headers: dict[str, str] = {}
        self.instead: Any = None
        """The answer in place of the list, if any; may also be a function of the request."""
        super().__init__(self._answer)

    def _answer(self, request: Request) -> Any:
        if request.path != "/v1/models":
            asked = request.path.rpartition("/")[2]
            listed = {quote(model["id"], safe=""): model for model in self.models}
            if asked not in listed and "control" not in asked:
                self.questions.append(asked)
            return self.by_id.get(asked, listed.get(asked, Answer(status=404)))
        instead = self.instead(request) if callable(self.instead) else self.instead
        return Answer(page(self.models), headers=self.headers) if instead is None else instead


class Bench:
    """A source, its server, a clock and a database, and queries for tests."""

    def __init__(self, database_url: str, api: Api, **source: Any) -> None:
        self.api = api
        self.clock = Clock()
        self.url = database_url
        self.app = App(settings_for(database_url, api.url, key=KEY, **source), self.clock)

    def configure(self, base_url: str | None = None, **source: Any) -> None:
        """Continue as a process with another configuration."""
        self.app.engine.dispose()
        settings = settings_for(self.url, base_url or self.api.url, key=KEY, **source)
        self.app = App(settings, self.clock)

    def change_settings(self, **values: Any) -> None:
        """Continue as a process whose settings differ in these values."""
        self.app.engine.dispose()
        self.app = App(self.app.settings.model_copy(update=values), self.clock)

    def sync(self, *, after: timedelta = MINUTE, **options: Any) -> RunReport:
        """Make one run over the one source, some time after the previous one."""
        self.clock.now += after
        [report] = self.app.sync(RunOptions(**options))
        return report

    def rows(self, name: str) -> list[dict[str, Any]]:
        table = metadata.tables[name]
        with self.app.engine.connect() as connection:
            found = connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            return [dict(row) for row in found.mappings()]

    def dump(self, *but: str) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table, except some tables and the count of a source's runs."""
        rows = {name: self.rows(name) for name in TABLES if name not in but}
        for source in rows.get("sources", []):
            del source["runs"], source["last_recorded_at"]
        return rows

    @property
    def models(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.rows("models")}

    @property
    def source(self) -> dict[str, Any]:
        [row] = self.rows("sources")
        return row

    @property
    def run(self) -> dict[str, Any]:
        """The last run's row."""
        return self.rows("sync_runs")[-1]

    @property
    def kinds(self) -> Counter[str]:
        return Counter(row["kind"] for row in self.rows("model_events"))

    def execute(self, statement: str, **values: Any) -> None:
        with self.app.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def update_source(self, **values: Any) -> None:
        with self.app.engine.begin() as connection:
            connection.execute(sa.update(metadata.tables["sources"]).values(**values))


@pytest.fixture(autouse=True)
def few_certificates(tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any) -> None:
    """Loading the usual certificates takes half of a run, and no test here needs them."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as running:
        yield running


@pytest.fixture
def bench(database_url: str, api: Api) -> Iterator[Bench]:
    bench = Bench(database_url, api)
    yield bench
    bench.app.engine.dispose()


@pytest.fixture
def known(bench: Bench) -> Bench:
    """A bench after its baseline of ten models, claude-0 to claude-9."""
    bench.api.models = catalog(10)
    assert bench.sync().baseline
    return bench


def catalog(size: int, **fields: Any) -> list[Mapping[str, Any]]:
    return [model(f"claude-{number}", **fields) for number in range(size)]


def events_of(report: RunReport) -> list[tuple[str, str | None]]:
    return [(event.kind.value, event.model_id) for event in report.events]


def refused(status: int = 401, **headers: str) -> Answer:
    error = {"type": "authentication_error", "message": f"invalid x-api-key {KEY}"}
    return Answer({"type": "error", "error": error, "request_id": "req_1"}, status, headers)


# --- the baseline ------------------------------------------------------------------------------


def test_the_baseline(bench: Bench) -> None:
    """The first walk records the models as sent, with an `added` event each, without alerts."""
    alert = AlertSettings(name="team", webhook=SecretStr("http://127.0.0.1:1/"))
    bench.change_settings(alerts=(alert,))
    sent = model("claude-opus-5", retires_at="2026-08-01T02:03:04.567891+02:00", new={"x": [1]})
    bench.api.models = [sent, model("claude-opus-4")]
    report = bench.sync()
    assert report.status is RunStatus.SUCCEEDED
    assert (report.baseline, report.pages, report.models) == (True, 1, 2)
    assert events_of(report) == [("added", "claude-opus-5"), ("added", "claude-opus-4")]
    assert bench.models["claude-opus-5"] == {
        "source": "anthropic",
        "id": "claude-opus-5",
        "display_name": "Claude Opus 5",
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "type": "model",
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": datetime(2026, 8, 1, 0, 3, 4, 567891, UTC),
        "line": None,
        "max_input_tokens": None,
        "max_tokens": None,
        "payload": sent,
        "first_seen_at": bench.clock.now,
        "last_seen_at": bench.clock.now,
        "missing_since": None,
        "removed_at": None,
    }
    [_, event] = bench.rows("model_events")  # in the order of ids
    assert event == {
        "id": event["id"],
        "run_id": report.run_id,
        "source": "anthropic",
        "model_id": "claude-opus-5",
        "kind": "added",
        "occurred_at": bench.clock.now,
        "changes": {},
        "payload": sent,
        "baseline": True,
    }
    assert bench.source["baseline_at"] == bench.source["last_synced_at"] == bench.clock.now
    assert bench.run["baseline"] is True
    assert bench.rows("alert_deliveries") == []
    bench.api.models.append(model("claude-opus-3"))
    bench.sync()
    assert len(bench.rows("alert_deliveries")) == 1


@sqlite_only
def test_an_empty_first_list_is_no_baseline(bench: Bench) -> None:
    """A first list without models is a failure, and the next one may be the baseline."""
    report = bench.sync()
    assert report.status is RunStatus.FAILED
    assert isinstance(report.cause, BadAnswerError)
    assert bench.source["baseline_at"] is None
    assert bench.rows("models") == bench.rows("model_events") == []
    bench.api.models = catalog(1)
    assert bench.sync().baseline


def test_a_run_without_changes(known: Bench) -> None:
    """A run over the same list makes no event and changes only the times of the last run."""
    before = known.dump("sources", "sync_runs", "models")
    models = known.models
    report = known.sync()
    assert (report.status, report.baseline, report.events) == (RunStatus.SUCCEEDED, False, ())
    assert known.dump("sources", "sync_runs", "models") == before
    now = {"last_seen_at": known.clock.now}
    assert known.models == {id_: {**row, **now} for id_, row in models.items()}
    assert known.source["last_synced_at"] == known.clock.now


def test_a_run_is_recorded(known: Bench) -> None:
    """A run's row has its times, its status and the numbers of events, like its report."""
    known.api.models = [*catalog(7, display_name="x"), *catalog(10)[7:9], model("new")]
    started = known.clock.now + MINUTE
    report = known.sync()
    assert known.run == {
        "id": report.run_id,
        "source": "anthropic",
        "status": "succeeded",
        "baseline": False,
        "started_at": started,
        "finished_at": known.clock.now,
        "pages": 1,
        "models": 10,
        "added": 1,
        "updated": 7,
        "removed": 1,
        "returned": 0,
        "error": None,
        "error_code": None,
        "number": 2,
    }
    assert (report.started_at, report.pages, report.models) == (started, 1, 10)
    assert Counter(kind for kind, _ in events_of(report)) == {
        "added": 1,
        "updated": 7,
        "removed": 1,
    }
    assert report.duration > timedelta()
    assert {row["run_id"] for row in known.rows("model_events")[10:]} == {report.run_id}


@sqlite_only
def test_pages_are_walked_and_counted(database_url: str) -> None:
    """A list of several pages is walked to its end, with a callback after each page."""
    seen: list[tuple[str, int, int]] = []
    with (
        Sandbox(catalog(7)) as sandbox,
        App(settings_for(database_url, sandbox.url, page_size=3)) as app,
    ):
        [report] = app.sync(on_page=lambda *page: seen.append(page))
    assert (report.pages, report.models) == (3, 7)
    assert seen == [("anthropic", 1, 3), ("anthropic", 2, 6), ("anthropic", 3, 7)]


# --- the life of a model -----------------------------------------------------------------------


def test_the_life_of_a_model(known: Bench) -> None:
    """A model is added, updated, deprecated, removed and returns, with one event each."""
    others = catalog(10)
    known.api.models = [model("new"), *others]
    assert events_of(known.sync()) == [("added", "new")]
    first_seen = known.clock.now

    known.api.models = [model("new", display_name="Newer"), *others]
    [updated] = known.sync().events
    assert (updated.kind, updated.model_id) == (Kind.UPDATED, "new")
    assert updated.changes == {"display_name": {"old": "New", "new": "Newer"}}
    assert known.models["new"]["display_name"] == "Newer"

    last = model("new", display_name="Newer", lifecycle="deprecated", line="opus")
    known.api.models = [last, *others]
    [deprecated] = known.sync().events
    assert deprecated.kind is Kind.DEPRECATED
    assert deprecated.changes == {
        "lifecycle": {"old": "active", "new": "deprecated"},
        "line": {"old": None, "new": "opus"},
    }
    last_seen = known.clock.now

    known.api.models = others
    [removed] = known.sync().events
    gone_at = known.clock.now
    assert (removed.kind, removed.payload) == (Kind.REMOVED, last)
    assert removed.changes == {"removed_at": {"old": None, "new": "2026-07-24T18:17:21.500000Z"}}
    row = known.models["new"]
    assert (row["payload"], row["lifecycle"]) == (last, "deprecated")
    assert (row["first_seen_at"], row["last_seen_at"]) == (first_seen, last_seen)
    assert row["missing_since"] == row["removed_at"] == gone_at
    assert known.sync().events == ()

    known.api.models = [last, *others]
    [returned] = known.sync().events
    assert returned.kind is Kind.RETURNED
    assert known.run["returned"] == 1
    row = known.models["new"]
    assert (row["first_seen_at"], row["last_seen_at"]) == (first_seen, known.clock.now)
    assert row["missing_since"] is row["removed_at"] is None
    assert known.api.questions == ["new"]


@sqlite_only
def test_a_model_that_still_answers_is_only_missing(known: Bench) -> None:
    """A model that is not listed but answers by id is marked missing and makes no event."""
    known.api.models = catalog(9)
    known.api.by_id["claude-9"] = model("claude-9")
    last_seen = known.clock.now
    for passed in range(1, 6):
        assert known.sync().events == ()
        row = known.models["claude-9"]
        assert (row["missing_since"], row["removed_at"]) == (known.clock.now, None)
        assert row["last_seen_at"] == last_seen
        assert known.api.questions == ["claude-9"] * passed
    known.api.models = catalog(10)
    assert known.sync().events == ()
    row = known.models["claude-9"]
    assert (row["missing_since"], row["last_seen_at"]) == (None, known.clock.now)


@sqlite_only
def test_walks_count_from_the_last_answer(known: Bench) -> None:
    """Only walks after a model's last answer count towards the three that miss it."""
    known.api.models = catalog(9)
    known.api.by_id["claude-9"] = model("claude-9")
    for _ in range(3):
        assert known.sync().events == ()
    known.api.by_id["claude-9"] = refused(403)
    assert known.sync().events == ()
    assert events_of(known.sync()) == [("removed", "claude-9")]


def test_a_model_that_answers_as_retired(known: Bench) -> None:
    """A model that left the list and answers as retired makes `retired`, and no `removed`."""
    known.api.models = catalog(9)
    known.api.by_id["claude-9"] = model("claude-9", lifecycle="retired")
    [event] = known.sync().events
    assert (event.kind, event.model_id) == (Kind.RETIRED, "claude-9")
    assert set(event.changes) == {"lifecycle", "removed_at"}
    row = known.models["claude-9"]
    assert (row["lifecycle"], row["removed_at"]) == ("retired", known.clock.now)
    assert row["payload"] == model("claude-9", lifecycle="retired")
    assert known.sync().events == ()


@sqlite_only
def test_a_retired_model_leaves_without_a_question(known: Bench) -> None:
    """A model that the list called retired is removed when it leaves, without confirmation."""
    known.api.models = [*catalog(9), model("claude-9", lifecycle="retired")]
    assert events_of(known.sync()) == [("retired", "claude-9")]
    known.api.models = catalog(9)
    assert events_of(known.sync()) == [("removed", "claude-9")]
    assert known.api.questions == []


@sqlite_only
def test_no_answer_is_no_news(known: Bench) -> None:
    """A model that cannot be confirmed is removed by the third complete walk that misses it."""
    known.api.models = catalog(9)
    known.api.by_id["claude-9"] = refused(403)
    assert known.sync().events == ()
    known.api.instead = refused()
    assert known.sync().status is RunStatus.FAILED  # not a complete walk
    known.api.instead = None
    assert known.sync().events == ()
    assert events_of(known.sync()) == [("removed", "claude-9")]


@sqlite_only
def test_a_held_list_is_no_evidence(known: Bench) -> None:
    """The walks of held runs are not among the three that miss a model."""
    known.api.by_id = {f"claude-{n}": refused(403) for n in range(7, 10)}
    for listed, kinds in [
        ([], ["sync_held"]),
        ([], []),
        (catalog(7), ["sync_recovered"]),
        (catalog(7), []),
        (catalog(7), ["removed"] * 3),
    ]:
        known.api.models = listed
        assert [kind for kind, _ in events_of(known.sync())] == kinds


def test_objects_that_a_program_changes(known: Bench) -> None:
    """A program that changes the objects that it has read changes nothing in the next run."""
    known.sync()
    for record in known.app.models():
        record.info.payload.clear()  # type: ignore[attr-defined]
    known.api.models = [model("claude-0", display_name="x"), *catalog(10)[1:]]
    [event] = known.sync().events
    assert list(event.changes) == ["display_name"]


def test_ids_that_look_alike(bench: Bench) -> None:
    """Ids that differ in case, spaces or accents are different models in all events."""
    ids = ["claude", "Claude", "claude ", "clàude", "cla\u0300ude", "🦊", "نموذج", "a/b?c#d%20"]
    bench.api.models = [model(id_) for id_ in ids]
    assert events_of(bench.sync()) == [("added", id_) for id_ in ids]
    assert bench.sync().events == ()
    for id_ in ids[1:4]:
        bench.api.models = [model(other) for other in ids if other != id_]
        assert events_of(bench.sync()) == [("removed", id_)]
        bench.api.models = [model(other) for other in ids]
        assert events_of(bench.sync()) == [("returned", id_)]
    assert list(bench.models) == sorted(bench.models, key=list(bench.models).index)
    assert set(bench.models) == set(ids)


def test_events_rebuild_the_table(known: Bench) -> None:
    """After each run, replaying all events gives the present rows."""
    capable = catalog(10, capabilities={"batch": {"supported": True}})
    known.api.by_id["claude-8"] = model("claude-8", lifecycle="retired")
    story = [
        catalog(9),
        catalog(10),
        [*catalog(9), model("claude-9", retires_at="2026-09-10T00:00:00Z")],
        [*catalog(9), model("claude-9", retires_at="2026-09-10T00:00:00Z")],
        [model("claude-0", line="opus"), *catalog(10)[1:]],
        capable,
        [*capable[:8], model("claude-10")],
        capable[:2],
        capable,
        [{**each, "display_name": "☃"} for each in capable],
        [],
        capable,
    ]
    for number, models in enumerate(story):
        known.api.models = models
        report = known.sync(after=5 * DAY, accept_removals=number % 2 == 0)
        assert report.status in {RunStatus.SUCCEEDED, RunStatus.HELD}, report.error
        assert_replayed(known)
    kinds = {*known.kinds}
    assert {"added", "updated", "rescheduled", "removed", "retired", "returned"} < kinds
    assert {"retiring", "schema_changed"} < kinds


def assert_replayed(bench: Bench) -> None:
    with engine.read_transaction(bench.app.engine) as connection:
        rows = {(each.source, each.info.id): each for each in db_catalog.select_models(connection)}
        replayed = replay.replay(db_events.select_events(connection))
    assert replayed.keys() == rows.keys()
    for key, row in rows.items():
        assert replayed[key].info.payload == row.info.payload
        assert replayed[key].first_seen_at == row.first_seen_at
        assert replayed[key].removed_at == row.removed_at


# --- the guard ---------------------------------------------------------------------------------


def test_a_mass_removal_is_held(known: Bench) -> None:
    """When too many models leave at once, removals wait, and the rest is applied with one event."""
    known.api.models = [model("new"), model("claude-0", display_name="x"), *catalog(6)[1:]]
    report = known.sync()
    assert report.status is RunStatus.HELD
    assert events_of(report) == [("added", "new"), ("updated", "claude-0"), ("sync_held", None)]
    assert (report.models, report.cause) == (7, None)
    assert report.error is not None
    assert "4 of 10 models left the list at once" in report.error
    assert "catalog-sync sync --source anthropic --accept-removals" in report.error
    gone = ["claude-6", "claude-7", "claude-8", "claude-9"]
    assert f"missing: {', '.join(gone)};" in report.error
    assert "catalog-sync sync --source anthropic --dry-run --accept-removals" in report.error
    assert report.to_json()["held"] == gone
    assert report.events[-1].changes["error"]["new"] == report.error
    assert (known.run["status"], known.run["error"]) == ("held", report.error)
    assert known.run["error_code"] == "removals_held"
    held_at = known.clock.now
    for id_ in gone:
        row = known.models[id_]
        assert (row["missing_since"], row["removed_at"]) == (held_at, None)
        assert row["last_seen_at"] < held_at
    assert known.models["claude-1"]["last_seen_at"] == held_at
    assert known.source["last_synced_at"] == held_at
    assert known.api.questions == []


def test_a_held_run_stays_held(known: Bench) -> None:
    """The source stays held, with one event, until a person accepts; that ends it, with one too."""
    known.api.models = catalog(6)
    assert events_of(known.sync()) == [("sync_held", None)]
    known.api.instead = refused()
    assert known.sync().status is RunStatus.FAILED
    known.api.instead = None
    for _ in range(3):
        report = known.sync()
        assert (report.status, report.events) == (RunStatus.HELD, ())
    report = known.sync(accept_removals=True)
    assert report.status is RunStatus.SUCCEEDED
    gone = ["claude-6", "claude-7", "claude-8", "claude-9"]
    assert events_of(report) == [*(("removed", id_) for id_ in gone), ("sync_recovered", None)]
    assert known.run["removed"] == 4
    report = known.sync()
    assert (report.status, report.events) == (RunStatus.SUCCEEDED, ())


@sqlite_only
def test_accepted_removals_wait_for_no_answers(known: Bench) -> None:
    """Accepted removals do not wait for answers; only a model that still answers stays."""
    known.api.models = []
    known.api.by_id = {f"claude-{number}": refused(403) for number in range(9)}
    known.api.by_id["claude-9"] = model("claude-9")
    assert known.sync().status is RunStatus.HELD
    report = known.sync(accept_removals=True)
    assert events_of(report)[:-1] == [("removed", f"claude-{number}") for number in range(9)]
    assert known.models["claude-9"]["missing_since"] is not None


@sqlite_only
def test_a_list_that_comes_back_ends_the_hold(known: Bench) -> None:
    """When the missing models are back, the hold ends; each hold makes one event at either end."""
    for _ in range(2):
        known.api.models = []
        report = known.sync()
        assert (report.status, report.models) == (RunStatus.HELD, 0)
        assert events_of(report) == [("sync_held", None)]
        known.api.models = catalog(10)
        report = known.sync()
        assert report.status is RunStatus.SUCCEEDED
        assert events_of(report) == [("sync_recovered", None)]
        assert known.sync().events == ()
        assert all(row["missing_since"] is None for row in known.models.values())


@sqlite_only
def test_few_may_leave_at_once(known: Bench) -> None:
    """Three may leave any catalog at once; retired and overdue models do not count."""
    overdue = {"retires_at": "2026-07-01T00:00:00Z"}
    listed = [*catalog(5), *catalog(8, **overdue)[5:], *catalog(10, lifecycle="retired")[8:]]
    known.api.models = listed
    known.sync()
    known.api.models = listed[:2]
    report = known.sync()
    assert report.status is RunStatus.SUCCEEDED
    assert Counter(kind for kind, _ in events_of(report)) == {"removed": 8}


# --- who answers -------------------------------------------------------------------------------


ORGANIZATION = "anthropic-organization-id"
WORKSPACE = "anthropic-workspace-id"


@contextmanager
def another_server(models: list[Mapping[str, Any]]) -> Iterator[Api]:
    with Api() as api:
        api.models = models
        yield api


def assert_held_until_accepted(bench: Bench) -> None:
    before = bench.dump("sync_runs", "model_events")
    events = len(bench.rows("model_events"))
    report = bench.sync()
    assert (report.status, report.models, report.cause) == (RunStatus.HELD, None, None)
    assert events_of(report) == [("sync_held", None)]
    assert report.held == ()
    assert bench.run["error_code"] == "identity_changed"
    assert report.error is not None
    assert "--dry-run --accept-removals" in report.error
    assert report.error.endswith("run: catalog-sync sync --source anthropic --accept-removals")
    again = bench.sync()
    assert (again.status, again.events) == (RunStatus.HELD, ())
    assert bench.dump("sync_runs", "model_events") == before
    assert len(bench.rows("model_events")) == events + 1
    accepted = bench.sync(accept_removals=True)
    assert accepted.status is RunStatus.SUCCEEDED
    assert events_of(accepted) == [("added", "other"), ("sync_recovered", None)]
    assert bench.sync().events == ()


@sqlite_only
def test_another_base_url_holds_the_whole_run(known: Bench) -> None:
    """Another `base_url` holds the whole run until a person accepts it."""
    with another_server([*catalog(10), model("other")]) as other:
        known.configure(other.url)
        assert_held_until_accepted(known)
        assert known.source["base_url"] == other.url


@sqlite_only
@pytest.mark.parametrize("header", [ORGANIZATION, WORKSPACE])
def test_another_scope_holds_the_whole_run(bench: Bench, header: str) -> None:
    """Another organisation or workspace holds the whole run until a person accepts it."""
    bench.api.models = catalog(10)
    bench.api.headers = {ORGANIZATION: "org_1", WORKSPACE: "wrk_1"}
    bench.sync()
    bench.api.headers[header] = "two"
    bench.api.models = [*catalog(10), model("other")]
    assert_held_until_accepted(bench)
    assert "two" in bench.source["scope"]


@sqlite_only
def test_another_organisation_with_the_same_list(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Another organisation that shows the same list is accepted, and the log says so."""
    bench.api.models = catalog(3)
    bench.api.headers = {ORGANIZATION: "org_1"}
    bench.sync()
    bench.api.headers = {ORGANIZATION: "org_2"}
    with caplog.at_level(logging.WARNING, "catalog_sync"):
        report = bench.sync()
    assert (report.status, report.events) == (RunStatus.SUCCEEDED, ())
    assert "org_2 answered where org_1 did" in caplog.text
    assert bench.source["scope"] == "org_2/-"


@sqlite_only
def test_a_server_that_does_not_say_who_it_is(bench: Bench) -> None:
    """A server that starts or stops stating its identity is no other; the identity stays known."""
    bench.api.models = catalog(3)
    for headers in ({}, {ORGANIZATION: "org_1"}, {}, {WORKSPACE: "wrk_1"}):
        bench.api.headers = headers
        assert bench.sync().status is RunStatus.SUCCEEDED
        bench.api.models = [*bench.api.models, model(f"new-{len(bench.api.models)}")]
    assert bench.source["scope"] == "org_1/wrk_1"


# --- failures ----------------------------------------------------------------------------------


def second_page(request: Request) -> Any:
    """A first page, and a refusal in place of the second."""
    return refused() if dict(request.query).get("after_id") else page(catalog(5), has_more=True)


FAILURES = {
    "refused": (refused(), UnauthorizedError),
    "no JSON": (Answer(b"<html>"), BadAnswerError),
    "an error as a list": (Answer({"data": None}), BadAnswerError),
    "the second page": (second_page, UnauthorizedError),
    "no cursor": (page([], has_more=True), BadAnswerError),
    "a bad model": (page([*catalog(3), {"id": "x"}]), BadAnswerError),
    "NUL": (page([model("a", x={"y\0": 1})]), BadAnswerError),
    "a date too early": (page([model("a", retires_at="0001-01-01T00:00:00Z")]), BadAnswerError),
    "an id of 256 characters": (page([model("x" * 256)]), BadAnswerError),
}


def test_a_failed_walk_changes_nothing(known: Bench, subtests: pytest.Subtests) -> None:
    """A walk that fails anywhere leaves a `failed` run with the reason, and nothing else."""
    before = known.dump("sync_runs")
    for name, (answer, error) in FAILURES.items():
        known.change_settings(failure_alert_after=100)
        known.api.instead = answer
        report = known.sync()
        with subtests.test(name):
            assert report.status is RunStatus.FAILED
            assert isinstance(report.cause, error)
            assert report.cause.exit_code == 1
            assert (report.pages, report.models, report.events) == (None, None, ())
            assert (known.run["status"], known.run["error"]) == ("failed", report.error)
            assert known.run["finished_at"] == known.clock.now
            assert (known.run["pages"], known.run["models"]) == (None, None)
            assert str(report.error).startswith("source anthropic: page ")
            assert KEY not in str(report.error)
            assert known.dump("sync_runs") == before
    known.api.instead = None
    assert known.sync().events == ()


def test_failures_make_an_event_at_the_threshold(known: Bench) -> None:
    """The third failure in a row makes an event, once per error code; the recovery makes one."""
    known.api.instead = refused()
    for expected in ([], [], [("sync_failed", None)], [], []):
        assert events_of(known.sync()) == expected
    known.api.instead = Answer(b"<html>")
    for expected in ([("sync_failed", None)], []):
        assert events_of(known.sync()) == expected
    known.api.instead = refused()
    report = known.sync()
    assert events_of(report) == []
    last_error = report.error
    known.api.instead = None
    [recovered] = known.sync().events
    assert recovered.kind is Kind.SYNC_RECOVERED
    assert recovered.changes == {"error": {"old": last_error, "new": None}}
    assert events_of(known.sync()) == []
    known.api.instead = refused()
    assert [events_of(known.sync()) for _ in range(3)] == [[], [], [("sync_failed", None)]]


@sqlite_only
def test_a_few_failures_make_no_event(known: Bench) -> None:
    """Fewer failures than the threshold make no event, and no event of recovery."""
    for _ in range(3):
        known.api.instead = refused()
        assert [events_of(known.sync()) for _ in range(2)] == [[], []]
        known.api.instead = None
        assert events_of(known.sync()) == []


def test_a_skipped_run_does_not_count(known: Bench) -> None:
    """Skipped runs neither count as failures nor end a streak; a held run ends it."""
    known.api.instead = refused()
    known.sync()
    known.sync()
    assert known.sync(if_older_than=DAY).status is RunStatus.SKIPPED
    assert events_of(known.sync()) == [("sync_failed", None)]
    known.api.instead = page([])
    assert events_of(known.sync()) == [("sync_held", None)]
    known.api.instead = Answer(b"<html>")
    assert [events_of(known.sync()) for _ in range(3)] == [[], [], [("sync_failed", None)]]


@sqlite_only
def test_a_skipped_run_of_version_0_1(known: Bench) -> None:
    """A skipped run, which version 0.1 recorded, is neither an attempt nor the last error."""
    known.api.instead = refused()
    assert [events_of(known.sync()) for _ in range(3)][-1] == [("sync_failed", None)]
    failed, known.api.instead = known.run, None
    skipped = {"source": failed["source"], "status": "skipped", "started_at": known.clock.now + DAY}
    with known.app.engine.begin() as connection:
        number = failed["number"] + 1
        connection.execute(sa.insert(metadata.tables["sync_runs"]), {**skipped, "number": number})
    known.update_source(runs=number)
    report = known.sync(after=DAY + MINUTE, if_older_than=2 * MINUTE, after_attempts=True)
    assert report.status is RunStatus.SUCCEEDED
    [recovered] = report.events
    assert recovered.changes["error"]["old"] == failed["error"]


def close_last_run(bench: Bench, error: str) -> None:
    """Change the last run to one that was stopped, or whose process died."""
    bench.execute(
        "UPDATE sync_runs SET error = :error, error_code = :code WHERE id = :id",
        error=error,
        code=error,
        id=bench.run["id"],
    )


@pytest.mark.parametrize(("end", "counts"), [("stopped", False), ("interrupted", True)])
def test_what_counts_as_a_failure(known: Bench, end: str, counts: bool) -> None:
    """Stopped runs do not count towards the alert; runs whose process died do."""
    known.api.instead = refused()
    for _ in range(2):
        assert events_of(known.sync()) == []
        close_last_run(known, end)
    assert events_of(known.sync()) == ([("sync_failed", None)] if counts else [])
    assert known.run["error_code"] == "unauthorized"


@sqlite_only
def test_a_stop_between_failures(known: Bench) -> None:
    """A stopped run neither ends a streak of failures nor hides the last real error."""
    known.api.instead = refused()
    errors = [known.sync().error for _ in range(3)]
    known.sync()
    close_last_run(known, "stopped")
    known.api.instead = None
    [recovered] = known.sync().events
    assert recovered.changes == {"error": {"old": errors[-1], "new": None}}


def assert_refused_by_the_database(bench: Bench, bad: Mapping[str, Any]) -> None:
    """Make a run with many good changes and a bad one: it fails, and nothing of it stays."""
    before = bench.dump("sync_runs")
    bench.api.models = [model("good"), bad, *catalog(9, display_name="changed")]
    report = bench.sync()
    assert report.status is RunStatus.FAILED
    assert isinstance(report.cause, ValueRefusedError), report.error
    assert report.cause.exit_code == 1
    assert (bench.run["status"], bench.run["error"]) == ("failed", report.error)
    assert bench.dump("sync_runs") == before
    bench.api.models = catalog(10)
    assert bench.sync().status is RunStatus.SUCCEEDED


@mariadb_only
@pytest.mark.parametrize(
    "field",
    [{"display_name": "x" * 70_000}, {"type": "☃" * 30_000}],
    ids=["text too long", "bytes too long"],
)
def test_a_value_that_mariadb_refuses(known: Bench, field: Mapping[str, Any]) -> None:
    """A value that is too large for the database fails the walk; nothing else of it stays."""
    assert_refused_by_the_database(known, model("bad", **field))


@pytest.fixture
def latin_url(database_url: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with a Latin-1 encoding."""
    name = f"catalog_sync_test_{uuid.uuid4().hex[:12]}"
    server = engine.create_engine(database_url).execution_options(isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        options = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        connection.execute(sa.text(f"CREATE DATABASE {name} {options}"))
        yield server.url.set(database=name).render_as_string(hide_password=False)
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@postgresql_only
def test_a_text_that_a_latin_database_refuses(api: Api, latin_url: str) -> None:
    """A database whose encoding lacks a character fails the walk, and nothing stays."""
    bench = Bench(latin_url, api)
    try:
        api.models = catalog(10)
        bench.sync()
        assert_refused_by_the_database(bench, model("🦊"))
    finally:
        bench.app.engine.dispose()


def test_the_deepest_object(bench: Bench) -> None:
    """Every database stores an accepted object and its changes, however deep it is nested."""
    bench.api.models = catalog(3)
    bench.sync()
    accepted = 0
    for depth in range(25, 200):
        bench.api.models = [model("deep", x=nested(depth)), *catalog(3)]
        report = bench.sync()
        if isinstance(report.cause, BadAnswerError):
            break
        assert report.error is None
        accepted = depth
    assert 25 <= accepted < 199
    bench.api.models = catalog(3, x=nested(accepted))
    assert ("schema_changed", None) in events_of(bench.sync())
    bench.api.models = [
        *catalog(2, x=nested(accepted)),
        model("claude-2", x=[nested(accepted - 1)]),
    ]
    assert events_of(bench.sync()) == [("updated", "claude-2")]


def test_numbers_as_databases_spell_them(bench: Bench) -> None:
    """A number that a database spells in another way (1e23 with all its digits) has not changed."""
    numbers = [1e23, -1e300, 1e-7, -0.0, 1.0, 2**70]
    bench.api.models = [model("a", x={"y": numbers}), *catalog(3)]
    bench.sync()
    assert events_of(bench.sync()) == []


def nested(depth: int) -> Any:
    """An object in an object, and so on."""
    return {"a": nested(depth - 1)} if depth else 1


def test_a_database_that_fails_meanwhile(known: Bench) -> None:
    """A run that the database fails is rolled back; its run is closed and its lease released."""
    before = known.dump("sync_runs")
    known.api.models = [model("new"), *catalog(10)]

    def take_the_table_away(_: Request) -> None:
        known.execute("ALTER TABLE models RENAME TO hidden")

    known.api.instead = take_the_table_away
    report = known.sync()
    known.execute("ALTER TABLE hidden RENAME TO models")
    known.api.instead = None
    assert report.status is RunStatus.FAILED
    assert isinstance(report.cause, DatabaseError)
    assert report.cause.exit_code == 4
    assert known.dump("sync_runs") == before
    assert known.run["status"] == "failed"
    assert events_of(known.sync()) == [("added", "new")]


@sqlite_only
def test_a_locked_database(known: Bench) -> None:
    """A locked database is no failure of the source, and is not changed."""
    before = known.dump()
    known.configure()
    impatient = "PRAGMA busy_timeout = 1"
    sa.event.listen(known.app.engine, "connect", lambda raw, _: raw.execute(impatient))
    holder = engine.create_engine(known.url)
    with holder.begin():
        report = known.sync()
    holder.dispose()
    assert isinstance(report.cause, DatabaseError)
    assert report.cause.exit_code == 4
    assert "catalog.db: database is locked; another process holds it" in str(report.error)
    assert known.dump() == before
    assert known.sync().status is RunStatus.SUCCEEDED


# --- exclusions --------------------------------------------------------------------------------


@sqlite_only
def test_excluded_ids_are_never_recorded(bench: Bench) -> None:
    """Ids that match an exclusion leave no trace; case matters."""
    bench.configure(exclude=["*canary*", "test-?"])
    bench.api.models = [model(id_) for id_ in ("a-canary-1", "test-1", "Test-1", "test-12")]
    report = bench.sync()
    assert report.models == 2
    assert events_of(report) == [("added", "Test-1"), ("added", "test-12")]
    assert set(bench.models) == {"Test-1", "test-12"}


def test_a_newly_excluded_id_is_frozen(known: Bench) -> None:
    """An id that is excluded later keeps its row unchanged, without an event, while excluded."""
    before = known.models["claude-9"]
    known.configure(exclude=["*-9"])
    for models in (catalog(10, display_name="x"), catalog(9, display_name="x")):
        known.api.models = models
        report = known.sync()
        assert "claude-9" not in [id_ for _, id_ in events_of(report)]
        assert report.models == 9
        assert known.models["claude-9"] == before
    assert known.api.questions == []
    known.configure()
    assert events_of(known.sync()) == [("removed", "claude-9")]


# --- the clock ---------------------------------------------------------------------------------


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=366)])
def test_a_clock_set_back(known: Bench, back: timedelta) -> None:
    """When the host's clock goes back, no time in the tables does."""
    known.api.models = [*catalog(9), model("claude-9", display_name="x")]
    known.sync()
    last = {id_: row["last_seen_at"] for id_, row in known.models.items()}
    known.clock.now -= back
    for models in (catalog(10), catalog(9), [], catalog(10), [*catalog(10), model("new")]):
        known.api.models = models
        known.sync()
        now = {id_: row["last_seen_at"] for id_, row in known.models.items()}
        assert all(now[id_] >= time for id_, time in last.items())
        last = now
    assert_ordered(known)
    changed = {"added": 11, "updated": 2, "removed": 1, "returned": 1}
    assert known.kinds == {**changed, "sync_held": 1, "sync_recovered": 1}


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=366)])
def test_failures_under_a_clock_set_back(known: Bench, back: timedelta) -> None:
    """The times of events about the job do not go back either."""
    known.clock.now -= back
    known.api.instead = refused()
    for _ in range(3):
        known.sync()
    known.api.instead = page([])
    known.sync()
    known.clock.now -= back
    known.api.instead = None
    known.sync()
    assert known.kinds == {"added": 10, "sync_failed": 1, "sync_held": 1, "sync_recovered": 1}
    assert_ordered(known)


def at_server(bench: Bench, ahead: timedelta) -> None:
    """Let the host's clock be ahead of the server's at the next run."""
    server_at = bench.clock.now + MINUTE - ahead
    bench.api.headers["date"] = format_datetime(server_at.replace(microsecond=0), usegmt=True)


@sqlite_only
@pytest.mark.parametrize(
    ("ahead", "warns"),
    [(4 * MINUTE, False), (-4 * MINUTE, False), (6 * MINUTE, True), (timedelta(hours=-23), True)],
)
def test_a_clock_that_differs(
    known: Bench, ahead: timedelta, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The difference of the clocks is stored, and logged as a warning above five minutes."""
    at_server(known, ahead)
    with caplog.at_level(logging.WARNING, "catalog_sync"):
        assert known.sync().status is RunStatus.SUCCEEDED
    assert ("the clock of this host is" in caplog.text) is warns
    assert abs(known.source["clock_offset_seconds"] - ahead.total_seconds()) <= 1


@pytest.mark.parametrize("ahead", [timedelta(hours=25), -365 * DAY, 365 * DAY])
def test_a_clock_that_is_a_day_off(known: Bench, ahead: timedelta) -> None:
    """With a clock that is more than a day off, a run fails and records no models."""
    models, synced_at = known.models, known.source["last_synced_at"]
    known.change_settings(failure_alert_after=2)
    known.api.models = [model("new"), *catalog(9)]
    true = known.clock.now
    known.clock.now += ahead
    for failed in ([], [("sync_failed", None)]):
        at_server(known, ahead)
        report = known.sync()
        assert (report.status, report.error_code) == (RunStatus.FAILED, "clock")
        assert "the clock of this host is" in str(report.error)
        assert events_of(report) == failed
    assert (known.models, known.source["last_synced_at"]) == (models, synced_at)
    known.clock.now = true
    at_server(known, timedelta())
    assert ("added", "new") in events_of(known.sync())
    assert known.models["new"]["first_seen_at"] < true + timedelta(hours=1)


@sqlite_only
@pytest.mark.parametrize("ahead", [-365 * DAY, 365 * DAY])
def test_a_server_whose_clock_is_wrong(known: Bench, ahead: timedelta) -> None:
    """A server's wrong time, reported as repeated failures, moves no later time."""
    known.change_settings(failure_alert_after=2)
    for _ in range(2):
        at_server(known, ahead)
        assert known.sync().error_code == "clock"
    known.api.models = [model("new"), *catalog(9)]
    at_server(known, timedelta())
    assert ("added", "new") in events_of(known.sync())
    assert known.models["new"]["first_seen_at"] < known.clock.now + timedelta(seconds=1)


@sqlite_only
def test_one_wrong_clock_silences_no_reminder(known: Bench) -> None:
    """After a run a year ahead, which no server corrected, reminders come on their day."""
    date = (known.clock.now + 40 * DAY).isoformat()
    known.api.headers["date"] = "soon"
    known.api.models = [*catalog(9), model("claude-9", retires_at=date)]
    assert events_of(known.sync()) == [("rescheduled", "claude-9")]
    true = known.clock.now
    known.clock.now += 365 * DAY
    known.sync()
    known.clock.now = true
    reminders = [events_of(known.sync(after=DAY)) for _ in range(40)]
    assert [day for day, events in enumerate(reminders, 1) if events] == [10, 33, 39]
    assert {event for events in reminders for event in events} == {("retiring", "claude-9")}


def assert_ordered(bench: Bench) -> None:
    times = [row["occurred_at"] for row in bench.rows("model_events")]
    assert times == sorted(times)
    for run in bench.rows("sync_runs"):
        assert run["started_at"] <= run["finished_at"]


@sqlite_only
@pytest.mark.parametrize(
    ("ago", "skipped"),
    [(timedelta(minutes=9, seconds=59), True), (timedelta(minutes=10), False), (-DAY, False)],
    ids=["lately", "long ago", "in the future"],
)
def test_if_older_than(known: Bench, ago: timedelta, skipped: bool) -> None:
    """A source that was just synced is skipped without a request; a future sync does not count."""
    requests = len(known.api.requests)
    report = known.sync(after=ago, if_older_than=timedelta(minutes=10))
    assert report.status is (RunStatus.SKIPPED if skipped else RunStatus.SUCCEEDED)
    assert (report.run_id is None) is skipped
    assert len(known.rows("sync_runs")) == 1 + (not skipped)
    assert len(known.api.requests) == requests + (not skipped)
    assert report.cause is None


@sqlite_only
def test_a_failed_run_is_no_sync(known: Bench) -> None:
    """A failed run does not make the source fresher."""
    known.api.instead = refused()
    assert known.sync(after=DAY).status is RunStatus.FAILED
    assert known.sync(if_older_than=timedelta(hours=1)).status is RunStatus.FAILED


@sqlite_only
def test_after_attempts(known: Bench) -> None:
    """If attempts count, one that just failed makes every replica skip."""
    known.api.instead = refused()
    assert known.sync(after=DAY).status is RunStatus.FAILED
    lately = known.sync(after=MINUTE, if_older_than=2 * MINUTE, after_attempts=True)
    assert (lately.status, lately.error) == (RunStatus.SKIPPED, "tried 60 s ago")
    again = known.sync(after=MINUTE, if_older_than=2 * MINUTE, after_attempts=True)
    assert again.status is RunStatus.FAILED


def test_a_stop_abandons_the_walk(known: Bench) -> None:
    """A run that another thread stops ends as stopped and releases its lease."""
    known.api.instead = lambda _: known.app.stop()
    report = known.sync()
    assert (report.status, report.error) == (RunStatus.FAILED, "stopped")
    assert (known.run["status"], known.run["error"]) == ("failed", "stopped")
    assert known.run["error_code"] == "stopped"
    assert known.rows("sources")[0]["lease_run_id"] is None
    assert known.sync().error == "stopped"  # the App stays stopped


def test_a_stop_before_the_result_is_written(known: Bench) -> None:
    """A run that is stopped while it waits for its turn to write is closed, not written."""

    @sa.event.listens_for(known.app.engine, "begin")
    def begin(connection: sa.Connection) -> None:
        reads = connection.get_execution_options().get("catalog_sync_reading")
        if known.app.runs.has_open_runs and not reads:
            known.app.stop()

    known.api.models = catalog(11)
    report = known.sync()
    assert (report.status, report.error) == (RunStatus.FAILED, "stopped")
    assert known.run["error_code"] == "stopped"
    assert known.source["lease_run_id"] is None
    assert len(known.models) == 10


# --- dry runs ----------------------------------------------------------------------------------


def essence(events: tuple[Event, ...]) -> list[tuple[Any, ...]]:
    return [(e.kind, e.model_id, e.occurred_at, e.changes, e.payload) for e in events]


def test_a_dry_run_on_nothing_makes_nothing(bench: Bench, tmp_path: Path) -> None:
    """Without a database, a dry run reports what the first run would do and creates no file."""
    bench.api.models = catalog(3)
    report = bench.sync(dry_run=True)
    assert (report.status, report.run_id) == (RunStatus.SUCCEEDED, None)
    assert (report.baseline, report.pages, report.models) == (True, 1, 3)
    assert list(tmp_path.iterdir()) == []
    assert sa.inspect(bench.app.engine).get_table_names() == []
    assert essence(report.events) == essence(bench.sync(after=timedelta()).events)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


DRY_RUNS: dict[str, Callable[[Api], None]] = {
    "nothing new": lambda _: None,
    "changes": lambda api: api.models.__setitem__(slice(8), [model("new"), *catalog(7)]),
    "a field on all": lambda api: setattr(api, "models", catalog(10, line="opus")),
    "held": lambda api: setattr(api, "models", []),
    "another workspace": lambda api: api.headers.update({WORKSPACE: "another"}),
    "refused": lambda api: setattr(api, "instead", refused()),
}


@pytest.mark.parametrize("change", DRY_RUNS.values(), ids=list(DRY_RUNS))
def test_a_dry_run_writes_nothing(
    bench: Bench, change: Callable[[Api], None], tmp_path: Path
) -> None:
    """A dry run changes no byte, and reports exactly what the next run then does."""
    bench.api.models = catalog(10)
    bench.api.headers = {WORKSPACE: "ours"}
    bench.sync()
    change(bench.api)
    before = bench.dump()
    bench.app.engine.dispose()
    stored = files(tmp_path)
    dry = bench.sync(dry_run=True)
    bench.app.engine.dispose()
    assert files(tmp_path) == stored
    assert bench.dump() == before
    real = bench.sync(after=timedelta())
    assert dry.run_id is None
    assert (dry.status, dry.error, dry.pages, dry.models) == (
        *(real.status, real.error, real.pages, real.models),
    )
    assert essence(dry.events) == essence(real.events)


@sqlite_only
def test_a_dry_run_of_what_is_fresh(known: Bench) -> None:
    """A dry run skips a fresh source, without a trace."""
    before = known.dump()
    report = known.sync(dry_run=True, if_older_than=DAY)
    assert (report.status, report.run_id) == (RunStatus.SKIPPED, None)
    assert known.dump() == before


# --- several sources ---------------------------------------------------------------------------


def several(database_url: str, **base_urls: str) -> Settings:
    """Settings with sources of these names, each with a short deadline and the same key."""
    sources = [
        settings_for(database_url, url, name=name, deadline=timedelta(seconds=2)).sources[0]
        for name, url in base_urls.items()
    ]
    return Settings(database_url=SecretStr(database_url), sources=tuple(sources))


def test_a_dry_run_of_several_sources_makes_nothing(
    database_url: str, api: Api, tmp_path: Path
) -> None:
    """A dry run of several sources that would skip fresh ones creates no file either."""
    api.models = catalog(3)
    with App(several(database_url, a=api.url, b=api.url)) as app:
        reports = app.sync(RunOptions(dry_run=True, if_older_than=DAY))
    assert [report.models for report in reports] == [3, 3]
    assert list(tmp_path.iterdir()) == []


def test_a_failing_source_hurts_no_other(database_url: str, api: Api) -> None:
    """A source that is down, answers nonsense or refuses the key fails alone, with its error."""
    api.models = catalog(5)
    with Api() as nonsense, Api() as forbidden, Api() as down:
        nonsense.instead = Answer(b"<html>")
        forbidden.instead = refused()
        dead = down.url
    with Api() as nonsense, Api() as forbidden, Api() as last:
        nonsense.instead = Answer(b"<html>")
        forbidden.instead = refused()
        last.models = catalog(3)
        settings = several(
            database_url,
            first=api.url,
            dead=dead,
            nonsense=nonsense.url,
            forbidden=forbidden.url,
            last=last.url,
        )
        with App(settings) as app:
            reports = app.sync()
            with engine.read_transaction(app.engine) as connection:
                rows = Counter(record.source for record in db_catalog.select_models(connection))
    causes = [type(report.cause) for report in reports]
    none = type(None)
    assert [report.source for report in reports] == [source.name for source in settings.sources]
    assert causes == [none, UnreachableError, BadAnswerError, UnauthorizedError, none]
    assert rows == {"first": 5, "last": 3}


def test_sources_are_walked_at_once(database_url: str) -> None:
    """Several sources are walked at the same time: each is answered when all have asked."""
    all_have_asked = threading.Barrier(3, timeout=30)

    def answer(_: Request) -> Any:
        all_have_asked.wait()
        return page(catalog(2))

    with ScriptedServer(answer) as server:
        urls = {name: f"{server.url}/{name}" for name in ("a", "b", "c")}
        with App(several(database_url, **urls)) as app:
            assert [report.status for report in app.sync()] == [RunStatus.SUCCEEDED] * 3


@sqlite_only
def test_sources_by_name(database_url: str, api: Api) -> None:
    """Only the named sources are synced; an unknown name is an error of the command."""
    api.models = catalog(1)
    with App(several(database_url, a=api.url, b=api.url)) as app:
        assert [report.source for report in app.sync(names=["b", "b"])] == ["b"]
        with pytest.raises(ConfigError, match="no source is named 'c'; known are: a, b"):
            app.sync(names=["c"])


@sqlite_only
def test_a_missing_key_stops_all(
    database_url: str, api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A source without its key is an error before any request or write."""
    settings = several(database_url, a=api.url, b=api.url)
    monkeypatch.delenv("CATALOG_SYNC_TEST_KEY")
    with App(settings) as app, pytest.raises(ConfigError, match="CATALOG_SYNC_TEST_KEY is not set"):
        app.sync()
    assert api.requests == []
    assert list(tmp_path.iterdir()) == []


@sqlite_only
def test_sources_do_not_share_models(database_url: str, api: Api) -> None:
    """The same id at two sources is two rows with separate events."""
    api.models = catalog(2)
    with Api() as other:
        other.models = catalog(2)
        with App(several(database_url, a=api.url, b=other.url)) as app:
            app.sync()
            other.models = catalog(1)
            first, second = app.sync()
    assert events_of(first) == []
    assert events_of(second) == [("removed", "claude-1")]


# --- the lease ---------------------------------------------------------------------------------


def start_another(bench: Bench, expires_at: datetime) -> int:
    """Another process's run: its row and its lease."""
    row = {**bench.run, "status": "running", "started_at": bench.clock.now, "finished_at": None}
    row["number"] += 1
    del row["id"]
    with bench.app.engine.begin() as connection:
        inserted = connection.execute(sa.insert(metadata.tables["sync_runs"]).values(row))
        run_id: int = inserted.inserted_primary_key[0]
    bench.update_source(lease_run_id=run_id, lease_expires_at=expires_at, runs=row["number"])
    return run_id


def test_the_lease_of_a_run(known: Bench) -> None:
    """During its walk, a run holds its source for the deadline and a minute; then no longer."""
    known.configure(deadline=timedelta(seconds=90))
    seen: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for said in (None, refused()):

        def look(_: Request, said: Any = said) -> Any:
            seen.append((known.source, known.run))
            return said

        known.api.instead = look
        known.sync()
        source, run = seen.pop()
        assert run["status"] == "running"
        assert source["lease_run_id"] == run["id"] == known.run["id"]
        left = source["lease_expires_at"] - datetime.now(UTC)  # the database's clock
        assert timedelta(seconds=120) < left <= timedelta(seconds=150)
        assert known.source["lease_run_id"] is known.source["lease_expires_at"] is None


def test_a_source_that_another_holds_is_skipped(known: Bench) -> None:
    """While another process holds the source, a run is skipped: no error, no request."""
    requests = len(known.api.requests)
    start_another(known, datetime.now(UTC) + 2 * MINUTE)
    source = known.source
    report = known.sync()
    assert (report.status, report.cause) == (RunStatus.SKIPPED, None)
    assert report.error == "another process is syncing it"
    assert len(known.api.requests) == requests
    assert known.source == source
    assert report.run_id is None
    assert [row["status"] for row in known.rows("sync_runs")] == ["succeeded", "running"]


def test_a_dead_run_is_taken_over(known: Bench) -> None:
    """When the lease of a dead process has ended, the next run closes its run and goes on."""
    dead = start_another(known, datetime.now(UTC))
    assert known.sync().status is RunStatus.SUCCEEDED
    [row] = [row for row in known.rows("sync_runs") if row["id"] == dead]
    assert (row["status"], row["error"]) == ("failed", "interrupted")
    assert row["finished_at"] == known.clock.now


@sqlite_only
def test_a_lease_from_before_the_clock_was_set_back(known: Bench) -> None:
    """A lease that ends later than any lease could comes from a wrong clock, and does not count."""
    start_another(known, datetime.now(UTC) + 365 * DAY)
    assert known.sync().status is RunStatus.SUCCEEDED


def test_a_stolen_lease(known: Bench) -> None:
    """A run whose lease was taken during the walk fails and writes nothing."""
    known.api.models = [model("new"), *catalog(5)]
    thief = known.clock.now + DAY

    def steal(_: Request) -> None:
        known.update_source(lease_run_id=4711, lease_expires_at=thief)

    known.api.instead = steal
    before = known.dump("sync_runs", "sources")
    report = known.sync()
    assert report.status is RunStatus.FAILED
    assert isinstance(report.cause, LeaseLostError)
    assert (known.run["status"], known.run["error"]) == ("failed", report.error)
    assert known.dump("sync_runs", "sources") == before
    assert (known.source["lease_run_id"], known.source["lease_expires_at"]) == (4711, thief)


def test_a_late_walker_writes_nothing(known: Bench) -> None:
    """A walk that ends after another run's is dropped, with its outdated list."""
    later = Bench(known.url, known.api)
    later.clock.now = known.clock.now + DAY
    reports = []

    def overtake(_: Request) -> Any:
        known.update_source(lease_expires_at=datetime.now(UTC))
        known.api.instead = None
        known.api.models = [model("newest"), *catalog(10)]
        reports.append(later.sync())
        return page([model("old news"), *catalog(10)])

    known.api.instead = overtake
    late = known.sync()
    assert events_of(reports[0]) == [("added", "newest")]
    assert (late.status, late.events) == (RunStatus.FAILED, ())
    assert isinstance(late.cause, LeaseLostError)
    assert "old news" not in known.models
    assert known.models["newest"]["last_seen_at"] == later.clock.now
    [row] = [row for row in known.rows("sync_runs") if row["id"] == late.run_id]
    assert (row["status"], row["error"]) == ("failed", "interrupted")
    later.app.engine.dispose()


@sqlite_only
def test_a_run_after_its_lease_has_ended(known: Bench) -> None:
    """A run that is slower than its lease still counts if no other process took the source."""
    known.api.models = [model("new"), *catalog(10)]

    def linger(_: Request) -> None:
        known.clock.now += DAY

    known.api.instead = linger
    assert events_of(known.sync()) == [("added", "new")]
