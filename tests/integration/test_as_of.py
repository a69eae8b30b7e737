"""`--as-of` is exact: at every time of any history it returns the list of that time.

The runs are real ones, into a real database. The model beside it keeps every catalog.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count, zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from catalog_sync.app import App
from catalog_sync.clock import format_time
from catalog_sync.config.settings import Settings, SourceSettings
from catalog_sync.db import migrate
from catalog_sync.db import state as db_state
from catalog_sync.domain.kinds import AbsenceCheck, Kind
from catalog_sync.domain.model import Catalog, ModelRecord
from catalog_sync.errors import BadAnswerError
from catalog_sync.queries import catalog as queries_catalog
from catalog_sync.sync.context import RunContext, RunOptions
from catalog_sync.sync.one_source import SourceRun
from cookbook import recipes
from histories import DAY, SCOPE, START, URL, Step, World, histories

TICK = timedelta(microseconds=1)
LONG_AGO, ALWAYS = START - 3650 * DAY, START + 3650 * DAY


class Api:
    """The client's methods that a run calls, answered from a step instead of a server."""

    def __init__(self) -> None:
        self.world = World()
        self.step: Step

    def walk(self, **_: object) -> Catalog:
        listed = self.world.turn(self.step)
        return Catalog({info.id: info for info in listed}, pages=1, scope=self.step.scope)

    def confirm_absent(
        self, missing_ids: Sequence[str], _listed_ids: object
    ) -> dict[str, AbsenceCheck]:
        return {id_: self.step.answers.get(id_, self.step.otherwise) for id_ in missing_ids}


class Source:
    """A source whose runs follow a history, and the catalogs that were kept of it."""

    def __init__(self, app: App, name: str) -> None:
        self.app = app
        self.name = name
        self.api = Api()
        self.clock = START
        self.kept: dict[datetime, list[ModelRecord]] = {LONG_AGO: []}
        """Every row of the source, by the time at which it was written."""

    def make(self, step: Step) -> None:
        self.clock += step.passed
        self.api.step = step
        context = RunContext(
            self.app.engine,
            lambda: self.clock,
            self.app.settings,
            RunOptions(accept_removals=step.accept),
        )
        source = SourceSettings(name=self.name, base_url=step.base_url, exclude=step.exclude)
        one = SourceRun(context, source, lambda: self.api)
        report = one.run()
        assert report.error is None or report.status == "held" or _empty_first(report.cause)
        with self.app.read_transaction() as connection:
            synced = {
                each.name: each.last_synced_at for each in db_state.select_sources(connection)
            }
        if (synced_at := synced[self.name]) is not None:
            self.kept[synced_at] = self.app.models(sources=[self.name], removed=True)

    def then(self, time: datetime) -> list[ModelRecord]:
        return self.kept[max(each for each in self.kept if each <= time)]


def _empty_first(cause: object) -> bool:
    return isinstance(cause, BadAnswerError)


def comparable(records: list[ModelRecord]) -> list[ModelRecord]:
    """Rows without the values that no event states."""
    return [replace(each, last_seen_at=each.first_seen_at, missing_since=None) for each in records]


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    sources = (SourceSettings(name="unused"),)
    with App(
        Settings(
            database_url=SecretStr(database_url),
            sources=sources,
            retirement_reminders=(30 * DAY, 7 * DAY),
        )
    ) as app:
        migrate.ensure_schema(app.engine)
        yield app


def play(app: App, names: Sequence[str], both: Sequence[list[Step]]) -> list[Source]:
    """Make the runs of several sources in turn."""
    sources = [Source(app, name) for name in names]
    for steps in zip_longest(*both):
        for source, step in zip(sources, steps, strict=True):
            if step is not None:
                source.make(step)
    return sources


def instants_of(sources: Sequence[Source]) -> list[datetime]:
    """Return each time at which something was written, and the times just before and after it."""
    written = {ALWAYS}.union(*(source.kept for source in sources)) - {LONG_AGO}
    return sorted({each + shift for each in written for shift in (-TICK, timedelta(), TICK)})


def test_every_time(app: App) -> None:
    """At every time of two sources, and a microsecond around it, each row is as it was then.

    The README's recipe for a date gives the same answer. The histories contain an event of every
    kind, held runs, and excluded ids.
    """
    numbers = count()
    kind = app.engine.dialect.name.replace("mysql", "mariadb")
    recipe = recipes()["What was listed when 1 June 2026 began"][kind]
    zone = "+00" if kind == "postgresql" else ""

    @settings(derandomize=True, max_examples=12, deadline=None)
    @given(st.tuples(histories, histories), st.sampled_from(["active", "deprecated", "retired"]))
    def check(both: tuple[list[Step], list[Step]], stage: str) -> None:
        names = [f"s{next(numbers)}" for _ in both]
        sources = play(app, names, both)
        with app.read_transaction() as connection:
            ask = partial(queries_catalog.list_models, connection, sources=names)
            for time in instants_of(sources):
                then = [record for source in sources for record in source.then(time)]
                then.sort(key=lambda each: (each.info.id, each.source))
                then.sort(key=lambda each: each.info.created_at, reverse=True)
                listed = [each for each in then if each.listed]
                staged = [each for each in listed if each.info.lifecycle == stage]

                everything = ask(removed=True, as_of=time)
                assert comparable(everything) == comparable(then)
                for past, real in zip(everything, then, strict=True):
                    assert real.first_seen_at <= past.last_seen_at <= real.last_seen_at
                assert comparable(ask(as_of=time)) == comparable(listed)
                assert comparable(ask(as_of=time, lifecycles=[stage])) == comparable(staged)

                after = f"'{time + TICK:%Y-%m-%d %H:%M:%S.%f}{zone}'"
                query = re.sub(r"'2026-06-01[^']*'", after, recipe)
                rows = connection.exec_driver_sql(query).all()
                assert sorted(row for row in map(tuple, rows) if row[0] in names) == sorted(
                    (each.source, each.info.id) for each in listed
                )

    check()
    assert {event.kind for event in app.events()} >= set(Kind) - {
        Kind.SYNC_FAILED,
        Kind.SYNC_RECOVERED,
    }


def test_what_was_not_recorded_yet(app: App) -> None:
    """Before a source's record begins its catalog is unknown, and each such source has a remark."""
    first, second = Source(app, "first"), Source(app, "second")
    begin = Step(
        put={"m": {"display_name": "One"}},
        gone=frozenset(),
        answers={},
        otherwise=AbsenceCheck.UNKNOWN,
        common={},
        turned=False,
        passed=DAY,
        accept=False,
        exclude=(),
        scope=SCOPE,
        base_url=URL,
    )
    first.make(begin)
    second.make(replace(begin, passed=3 * DAY))
    begins = {"first": START + DAY, "second": START + 3 * DAY}

    def notes(as_of: datetime, *names: str) -> list[str]:
        """The notes on a list of the past that these sources have."""
        return [
            f"source {name}: nothing was recorded yet at {format_time(as_of)}; "
            f"its record begins at {format_time(begins[name])}"
            for name in names
        ]

    with app.read_transaction() as connection:
        ask = partial(queries_catalog.past_notes, connection, now=START + 9 * DAY)
        assert ask(START + DAY - TICK) == notes(START + DAY - TICK, "first", "second")
        assert ask(START + DAY) == notes(START + DAY, "second")
        assert ask(START + DAY, sources=["first"]) == []
        assert ask(START + 3 * DAY) == []


def test_a_time_needs_a_zone(app: App) -> None:
    """A time without a zone is refused."""
    naive = START.replace(tzinfo=None)
    with pytest.raises(ValueError, match="has no time zone"):
        app.models(as_of=naive)
    with pytest.raises(ValueError, match="has no time zone"):
        list(app.events(since=naive))
