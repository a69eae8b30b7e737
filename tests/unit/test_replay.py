"""Any history of lists: the events state exactly what happened, and rebuild every catalog of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_sync.domain import guard, incidents, replay
from catalog_sync.domain.kinds import AbsenceCheck, Kind
from catalog_sync.domain.model import (
    Catalog,
    Event,
    Identity,
    ModelInfo,
    ModelRecord,
    SourceRecord,
    SourceState,
)
from catalog_sync.domain.reconcile import Absences, reconcile
from catalog_sync.domain.reminders import COVERING, Reminders
from catalog_sync.sync.decide import later
from histories import ABSENT, DAY, START, URL, Step, World, histories
from support import model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TICK = timedelta(microseconds=1)
REMINDERS = (30 * DAY, 7 * DAY)
LEAVING = {Kind.REMOVED, Kind.RETIRED}

bounded = settings(derandomize=True, max_examples=100, deadline=None)


# --- the job, without a network and a database -------------------------------------------------


@dataclass
class Made:
    """One run: what it saw, what it did."""

    step: Step
    catalog: Catalog
    now: datetime
    held: bool
    refused: bool
    events: list[Event]
    before: dict[str, ModelRecord]
    after: dict[str, ModelRecord]


@dataclass
class Job:
    """Carries the decisions of a run to the next one, as the program and its tables do."""

    source: SourceRecord = SourceRecord("s", URL)  # noqa: RUF009  # frozen
    rows: dict[str, ModelRecord] = field(default_factory=dict)
    walks: list[datetime] = field(default_factory=list)
    held: bool = False
    world: World = field(default_factory=World)
    clock: datetime = START

    def make(self, step: Step) -> Made:
        """Make one run over the API's present list."""
        self.clock += step.passed
        now = later(self.clock, self.source.last_synced_at)
        seen = Catalog(
            guard.drop_excluded({info.id: info for info in self.world.turn(step)}, step.exclude),
            pages=1,
            scope=step.scope,
        )
        state = SourceState(
            self.source,
            guard.drop_excluded(self.rows, step.exclude),
            held=self.held,
            second_last_walk_at=self.walks[-2] if len(self.walks) > 1 else None,
        )
        _, foreign = guard.identity_change(state, seen, step.base_url)
        if foreign and not step.accept:
            recorded = incidents.held_event(state, now, "foreign")
            return self._made(
                step, seen, now, [recorded] if recorded else [], held=True, refused=True
            )
        reason = None
        if not step.accept:
            hold = guard.removal_hold(state, seen, now, empty=not self.world.objects)
            reason = hold.reason if hold else None
        questions = [] if reason else guard.ids_to_confirm(guard.missing(state, seen))
        checks = {id_: step.answers.get(id_, step.otherwise) for id_ in questions}
        result = reconcile(
            state,
            seen,
            now,
            Absences(checks, hold=reason is not None, accept=step.accept),
            Reminders(REMINDERS, self.source.last_synced_at, now),
        )
        recorded = incidents.held_event(state, now, reason) if reason else None
        before, frozen = self.rows, self.rows.keys() - state.models.keys()
        written = {record.info.id: record for record in (*result.added, *result.changed)}
        self.rows = {
            id_: replace(record, last_seen_at=now)
            if record.listed and record.missing_since is None and id_ not in frozen
            else record
            for id_, record in {**before, **written}.items()
        }
        self.source = guard.source_after_run(self.source, step.scope, step.base_url, now)
        self.walks += [] if reason else [now]
        events = [*result.events, *([recorded] if recorded else [])]
        return self._made(step, seen, now, events, held=reason is not None, before=before)

    def _made(
        self,
        step: Step,
        seen: Catalog,
        now: datetime,
        events: Iterable[Event],
        *,
        held: bool,
        refused: bool = False,
        before: dict[str, ModelRecord] | None = None,
    ) -> Made:
        self.held = held
        recorded = [replace(event, source="s") for event in events]
        before = self.rows if before is None else before
        return Made(step, seen, now, held, refused, recorded, before, self.rows)


def play(history: Iterable[Step]) -> list[Made]:
    job = Job()
    return [job.make(step) for step in history]


def events_of(runs: Iterable[Made]) -> list[Event]:
    return [event for made in runs for event in made.events]


def said(row: ModelRecord) -> tuple[Any, ...]:
    """The parts of a row that events can rebuild."""
    return typed(row.info.payload), row.first_seen_at, row.removed_at


def on_model(events: Iterable[Event]) -> list[Event]:
    """Events of one model each, reminders left out."""
    return [e for e in events if e.model_id is not None and e.kind is not Kind.RETIRING]


# --- the promises ------------------------------------------------------------------------------


@bounded
@given(histories)
def test_events_rebuild_the_rows(history: list[Step]) -> None:
    """After every run, all events until then rebuild every row: object, first seen, removed."""
    runs = play(history)
    for number, made in enumerate(runs, 1):
        rebuilt = replay.replay(events_of(runs[:number]))
        assert {id_: said(row) for (_, id_), row in rebuilt.items()} == {
            id_: said(row) for id_, row in made.after.items()
        }


@bounded
@given(histories)
def test_rows_are_what_was_seen(history: list[Step]) -> None:
    """The rows equal those of a simple bookkeeping of the lists and answers."""
    payloads: dict[str, Mapping[str, Any]] = {}
    listed: set[str] = set()
    missing: set[str] = set()
    missed: Counter[str] = Counter()
    for made in play(history):
        if made.refused:
            assert made.after == made.before
            continue
        frozen = payloads.keys() - guard.drop_excluded(payloads, made.step.exclude).keys()
        for id_ in listed - frozen:
            if id_ in made.catalog.models:
                continue
            missing.add(id_)
            missed[id_] += not made.held  # a held list is in doubt
            answer = made.step.answers.get(id_, made.step.otherwise)
            retired = payloads[id_].get("lifecycle") == "retired"
            gone = answer is AbsenceCheck.GONE or (
                answer is AbsenceCheck.UNKNOWN and (made.step.accept or missed[id_] > 2)
            )
            if made.held:
                continue
            if answer is AbsenceCheck.RETIRED and not retired:
                payloads[id_] = {**payloads[id_], "lifecycle": "retired"}
            if retired or gone or answer is AbsenceCheck.RETIRED:
                listed = listed - {id_}
        for id_ in frozen:
            missed[id_] += id_ in missing and not made.held  # the walk did not see it either
        for id_, info in made.catalog.models.items():
            payloads[id_] = info.payload
            listed = listed | {id_}
            missed[id_] = 0
            missing.discard(id_)
        assert typed({i: row.info.payload for i, row in made.after.items()}) == typed(payloads)
        assert {id_ for id_, row in made.after.items() if row.listed} == listed
        assert {id_ for id_, row in made.after.items() if row.listed and row.missing_since} == {
            id_ for id_ in listed if id_ in missing
        }


@bounded
@given(histories)
def test_no_event_without_a_change(history: list[Step]) -> None:
    """An event names a model only if its object or its presence changed in that run."""
    for made in play(history):
        for event in on_model(made.events):
            was, now_is = made.before.get(event.model_id or ""), made.after[event.model_id or ""]
            assert was is None or said(was) != said(now_is)
            assert typed(event.payload) == typed(now_is.info.payload)
            assert (event.kind is Kind.ADDED) == (was is None)
            assert (event.kind is Kind.ADDED) == (not event.changes)
        for event in made.events:
            if event.kind is Kind.SCHEMA_CHANGED:
                assert event.payload == {
                    id_: made.after[id_].info.payload for id_ in event.payload or {}
                }


@bounded
@given(histories)
def test_no_change_without_an_event(history: list[Step]) -> None:
    """Every change of a model is recorded: by its own event, or by that of the whole catalog."""
    for made in play(history):
        own = {event.model_id for event in on_model(made.events)}
        shared = {
            id_
            for event in made.events
            if event.kind is Kind.SCHEMA_CHANGED
            for id_ in event.payload or {}
        }
        for id_, row in made.after.items():
            was = made.before.get(id_)
            if was is None or was.removed_at != row.removed_at:
                assert id_ in own
            elif said(was) != said(row):
                assert id_ in own | shared


@bounded
@given(histories)
def test_changes_are_true(history: list[Step]) -> None:
    """`changes` holds exactly the differences between the objects before and after."""
    for made in play(history):
        shared = [event for event in made.events if event.kind is Kind.SCHEMA_CHANGED]
        for id_, row in made.after.items():
            if id_ not in made.before:
                continue
            before, after = dict(made.before[id_].info.payload), dict(row.info.payload)
            mine = [event for event in on_model(made.events) if event.model_id == id_]
            whole = [event for event in shared if id_ in (event.payload or {})]
            for event in (*mine, *whole):
                for path, change in event.changes.items():
                    if path == "removed_at":
                        continue
                    old, new = at(made.before[id_].info.payload, path), at(row.info.payload, path)
                    assert typed(old) != typed(new)
                    assert typed(change.get("old", shown(old))) == typed(shown(old))
                    assert typed(change.get("new", shown(new))) == typed(shown(new))
                    before, after = cut(before, path), cut(after, path)
            assert typed(before) == typed(after)


@bounded
@given(histories)
def test_one_event_per_model_and_run(history: list[Step]) -> None:
    """A run makes at most one event and one reminder per model, and one event of the schema."""
    for made in play(history):
        assert all(
            count == 1 for count in Counter(e.model_id for e in on_model(made.events)).values()
        )
        reminders = Counter(e.model_id for e in made.events if e.kind is Kind.RETIRING)
        assert all(count == 1 for count in reminders.values())
        kinds = Counter(event.kind for event in made.events)
        assert kinds[Kind.SCHEMA_CHANGED] <= 1


@bounded
@given(histories)
def test_removed_at_stands_in_the_changes(history: list[Step]) -> None:
    """Events record the time of leaving the list and of coming back, whatever their kind."""
    for made in play(history):
        for event in on_model(made.events):
            was, now_is = made.before.get(event.model_id or ""), made.after[event.model_id or ""]
            left = (was is None or was.listed) and not now_is.listed
            back = was is not None and not was.listed and now_is.listed
            sides = event.changes.get("removed_at")
            assert (sides is not None) == (left or back)
            assert event.kind in LEAVING or not left
            assert (event.kind is Kind.RETURNED) == back
            assert not left or now_is.removed_at == made.now


@bounded
@given(histories)
def test_held_runs_remove_nothing(history: list[Step]) -> None:
    """A held run removes no model, and an episode of held runs makes one event."""
    episode = False
    for made in play(history):
        recorded = sum(event.kind is Kind.SYNC_HELD for event in made.events)
        assert recorded == (made.held and not episode)
        episode = made.held
        if made.held:
            left = [id_ for id_, row in made.before.items() if row.listed != made.after[id_].listed]
            assert all(made.after[id_].listed for id_ in left)


@bounded
@given(histories)
def test_times_never_run_backwards(history: list[Step]) -> None:
    """No time of an applied run is earlier than a recorded one, whatever the host's clock says."""
    last = START - 365 * DAY
    for made in play(history):
        if made.refused:
            continue
        assert made.now > last
        last = made.now
        assert all(event.occurred_at == made.now for event in made.events)
        for id_, row in made.after.items():
            was = made.before.get(id_, row)
            assert row.first_seen_at == was.first_seen_at <= row.last_seen_at
            assert row.last_seen_at >= was.last_seen_at
            assert row.last_seen_at == made.now or id_ not in made.catalog.models
            if was.listed and row.missing_since is not None:
                assert row.missing_since in {was.missing_since, made.now}
            if row.removed_at is not None:
                assert row.missing_since is not None
                assert row.missing_since <= row.removed_at


@bounded
@given(histories)
def test_as_of(history: list[Step]) -> None:
    """The events up to a time rebuild the catalog of that time exactly."""
    runs = [made for made in play(history) if not made.refused]
    events = events_of(runs)
    kept: dict[datetime, dict[str, Any]] = {START - 365 * DAY: {}}
    for made in runs:
        kept[made.now] = {
            id_: typed(row.info.payload) for id_, row in made.after.items() if row.listed
        }
    for time in {t + shift for t in kept for shift in (-TICK, timedelta(), TICK)}:
        rows = replay.replay(event for event in events if event.occurred_at <= time)
        rebuilt = {id_: typed(row.info.payload) for (_, id_), row in rows.items() if row.listed}
        earlier = [t for t in kept if t <= time]
        assert rebuilt == (kept[max(earlier)] if earlier else {})


DATES = [START + days * DAY for days in (10, 35, 45, 61, 95, 200)]
life = st.lists(
    st.tuples(
        st.integers(min_value=1, max_value=40),  # days until the run
        st.sampled_from([0, 0, 0, 1]),  # the number of dates by which it is postponed
        st.sampled_from(["listed", "listed", "listed", "gone", "answering"]),
    ),
    min_size=1,
    max_size=8,
)


@bounded
@given(life)
def test_each_threshold_reminds_once_per_date(runs: list[tuple[int, int, str]]) -> None:
    """A run makes a reminder exactly if the date crossed a threshold that no event stated yet."""
    job = Job()
    date, done = 0, set()
    for number, (days, further, answer) in enumerate([(0, 0, "listed"), *runs]):
        date = min(date + further, len(DATES) - 1) if answer == "listed" else date
        job.clock += days * DAY
        info = ModelInfo.from_payload(model("m", retires_at=f"{DATES[date]:%Y-%m-%dT%H:%M:%SZ}"))
        state = SourceState(job.source, job.rows)
        gone = answer == "gone" and number > 0
        result = reconcile(
            state,
            Catalog({"m": info} if answer == "listed" else {}, 1),
            job.clock,
            Absences({"m": AbsenceCheck.GONE if gone else AbsenceCheck.ANSWERING}),
            Reminders(REMINDERS, job.source.last_synced_at, job.clock),
        )
        for record in (*result.added, *result.changed):
            job.rows[record.info.id] = record
        if answer == "listed":
            job.rows["m"] = replace(job.rows["m"], last_seen_at=job.clock)
        job.source = guard.source_after_run(job.source, Identity(), URL, job.clock)

        crossed = {(date, each) for each in REMINDERS if DATES[date] - each <= job.clock}
        covered = bool(COVERING & {event.kind for event in result.events})
        expected = bool(crossed - done) and job.rows["m"].listed and not covered
        assert [e.kind for e in result.events].count(Kind.RETIRING) == expected
        if job.rows["m"].removed_at in {None, job.clock}:
            done |= crossed


# --- small cases of replay ---------------------------------------------------------------------


def test_sources_do_not_mix() -> None:
    """Models of the same id in two sources are two rows."""
    events = [
        Event(Kind.ADDED, START, "m", {}, model("m"), source="a"),
        Event(Kind.ADDED, START + DAY, "m", {}, model("m", line="opus"), source="b"),
        Event(
            Kind.SCHEMA_CHANGED,
            START + 2 * DAY,
            None,
            {"beta": {"old": None, "new": 1}},
            {"m": model("m", beta=1)},
            source="a",
        ),
    ]
    rows = replay.replay(events)
    assert rows["a", "m"].info.payload == model("m", beta=1)
    assert rows["b", "m"].info.payload == model("m", line="opus")
    assert rows["b", "m"].first_seen_at == START + DAY


def test_a_models_own_history() -> None:
    """A change on all models is shown as the model's own old and new values, newest first.

    A whole object that appeared is shown without its content.
    """
    tokens = {"max_tokens": {"old": None}, "abilities": {"old": None}}
    after = model("m", max_tokens=5, abilities={"a": {"on": True}, "b": {"on": False}})
    gone = {key: value for key, value in after.items() if key != "max_tokens"}
    events = [
        Event(Kind.ADDED, START, "m", {}, model("m"), id=1),
        Event(Kind.SCHEMA_CHANGED, START + DAY, None, tokens, {"m": after, "n": model("n")}, id=2),
        Event(
            Kind.SCHEMA_CHANGED,
            START + 2 * DAY,
            None,
            {"max_tokens": {"new": None}},
            {"m": gone, "n": model("n")},
            id=3,
        ),
    ]
    recorded = replay.model_history("m", events[::-1])
    assert [event.id for event in recorded] == [3, 2, 1]
    assert recorded[0].changes == {"max_tokens": {"old": 5, "new": None}}
    assert recorded[1].changes == {
        "max_tokens": {"old": None, "new": 5},
        "abilities": {"old": None},
    }
    assert recorded[1].payload == after


@pytest.mark.parametrize("kind", [Kind.SYNC_FAILED, Kind.SYNC_RECOVERED, Kind.SYNC_HELD])
def test_events_of_the_job_change_no_model(kind: Kind) -> None:
    """Events of the job do not belong to the catalog."""
    job = Event(kind, START, None, {}, {"error_class": "UnreachableError"}, source="a")
    assert replay.replay([job]) == {}


def test_a_field_called_removed_at() -> None:
    """A field of the API with the name `removed_at` removes no model."""
    job = Job()
    for fields in ({"display_name": "One"}, {"display_name": "One", "removed_at": "2026-01-01"}):
        made = job.make(replace(QUIET, put={"m": fields}))
        rebuilt = replay.replay(events_of([made]))
        assert rebuilt["s", "m"].listed


QUIET = Step(
    put={},
    gone=frozenset(),
    answers={},
    otherwise=AbsenceCheck.UNKNOWN,
    common={},
    turned=False,
    passed=DAY,
    accept=False,
    exclude=(),
    scope=Identity(),
    base_url=URL,
)
"""A step that only advances the clock by a day."""


# --- comparing, written once more --------------------------------------------------------------


def at(payload: Any, path: str) -> Any:
    """The value at a path, or ABSENT."""
    for key in path.split("."):
        if not isinstance(payload, dict) or key not in payload:
            return ABSENT
        payload = payload[key]
    return payload


def cut(payload: dict[str, Any], path: str) -> dict[str, Any]:
    """The object without the value at a path, and without objects that this leaves empty."""
    key, _, rest = path.partition(".")
    if not rest or not isinstance(payload.get(key), dict):
        return {k: v for k, v in payload.items() if k != key}
    return {**payload, key: cut(payload[key], rest)}


def typed(value: Any) -> str:
    """A text that is equal only for equal JSON values. A missing value is no value."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {typed(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(typed, value))}]"
    return "absent" if value is ABSENT else repr(value)


def shown(value: Any) -> Any:
    """A value as `changes` shows it."""
    return None if value is ABSENT else value
