"""What a pass decides, as tables of cases: known rows and a list in, rows and events out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog_sync.domain import guard, incidents
from catalog_sync.domain.diff import diff, ignored_paths, path_text
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
from catalog_sync.domain.reconcile import Absences, ChangeSet, reconcile
from catalog_sync.domain.reminders import Reminders
from support import model

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LAST = NOW - timedelta(minutes=15)
"""When the last pass was."""
FIRST = NOW - 100 * DAY
"""When the source's baseline was."""
REMINDERS = tuple(n * DAY for n in (90, 30, 7, 1))
URL = "https://api.example"
UNKNOWN = Identity()
GONE_NOW = {"removed_at": {"old": None, "new": "2026-06-15T12:00:00Z"}}


# --- small words for the tables ----------------------------------------------------------------


def info(id_: str = "m", **fields: Any) -> ModelInfo:
    return ModelInfo.from_payload(model(id_, **fields))


def bare(id_: str = "m", **fields: Any) -> dict[str, Any]:
    """An object of the first API version: `fields` appear on it."""
    return {
        "id": id_,
        "type": "model",
        "display_name": "M",
        "created_at": "2026-01-01T00:00:00Z",
        **fields,
    }


def row(
    id_: str = "m",
    *,
    missing_since: datetime | None = None,
    removed_at: datetime | None = None,
    **fields: Any,
) -> ModelRecord:
    return record(model(id_, **fields), missing_since=missing_since, removed_at=removed_at)


def record(payload: dict[str, Any], **times: datetime | None) -> ModelRecord:
    seen = {"first_seen_at": FIRST, "last_seen_at": LAST, **times}
    return ModelRecord("s", ModelInfo.from_payload(payload), **seen)


def state(
    *rows: ModelRecord,
    baseline_at: datetime | None = FIRST,
    held: bool = False,
    **fields: Any,
) -> SourceState:
    """What is known after the last pass; with `held`, it was the first that was held."""
    last = None if baseline_at is None else LAST
    source = SourceRecord("s", URL, baseline_at=baseline_at, last_synced_at=last)
    return SourceState(source, {each.info.id: each for each in rows}, held=held, **fields)


def catalog(*listed: ModelInfo | dict[str, Any], scope: Identity = UNKNOWN) -> Catalog:
    infos = [i if isinstance(i, ModelInfo) else ModelInfo.from_payload(i) for i in listed]
    return Catalog({each.id: each for each in infos}, 1, scope)


def decide(
    known: SourceState,
    seen: Catalog,
    now: datetime = NOW,
    *,
    absences: Mapping[str, AbsenceCheck] | None = None,
    reminders: Sequence[timedelta] = (),
    ignore: Sequence[str] = (),
    **options: bool,
) -> ChangeSet:
    """Reconcile as a run does whose host's clock is right; the last one began when it ended."""
    return reconcile(
        known,
        seen,
        now,
        Absences(absences or {}, **options),
        Reminders(reminders, known.source.last_synced_at, now),
        ignored_paths(ignore),
    )


def held_because(known: SourceState, seen: Catalog, *, empty: bool = False) -> str | None:
    """The reason of a hold, without the models that it names."""
    hold = guard.removal_hold(known, seen, NOW, empty=empty)
    return hold.reason.partition("; missing: ")[0] if hold else None


def recorded(result: ChangeSet) -> list[tuple[str, str | None]]:
    return [(event.kind.value, event.model_id) for event in result.events]


def change(old: Any, new: Any) -> dict[str, Any]:
    return {"old": old, "new": new}


RENAMED = {"display_name": "New"}
NAME = {"display_name": change("M", "New")}
DEPRECATED = {"lifecycle": "deprecated", "deprecated_at": "2026-06-15T00:00:00Z"}
TO_DEPRECATED = {
    "lifecycle": change("active", "deprecated"),
    "deprecated_at": change(None, "2026-06-15T00:00:00Z"),
}
BACK = {"removed_at": change("2026-06-14T12:00:00Z", None)}
REMOVED = {"removed_at": NOW - DAY, "missing_since": NOW - DAY}


# --- a model on the list: one event, of the first kind that applies ----------------------------


@pytest.mark.parametrize(
    ("before", "after", "kind", "changes"),
    [
        pytest.param({}, {}, None, {}, id="the same"),
        pytest.param({}, RENAMED, "updated", NAME, id="a value"),
        pytest.param({}, DEPRECATED, "deprecated", TO_DEPRECATED, id="deprecated"),
        pytest.param(
            {},
            {**DEPRECATED, **RENAMED},
            "deprecated",
            {**TO_DEPRECATED, **NAME},
            id="deprecated before updated, with all changes",
        ),
        pytest.param(
            {"lifecycle": "deprecated"},
            {"lifecycle": "retired", **RENAMED},
            "retired",
            {"lifecycle": change("deprecated", "retired"), **NAME},
            id="retired before updated, with all changes",
        ),
        pytest.param(
            {},
            {"lifecycle": "retired"},
            "retired",
            {"lifecycle": change("active", "retired")},
            id="retired at once",
        ),
        pytest.param(
            {"lifecycle": None},
            {"lifecycle": "deprecated"},
            "deprecated",
            {"lifecycle": change(None, "deprecated")},
            id="deprecated when first said",
        ),
        pytest.param(
            DEPRECATED,
            {**DEPRECATED, **RENAMED},
            "updated",
            NAME,
            id="already deprecated",
        ),
        pytest.param(
            {"lifecycle": "retired"}, {"lifecycle": "retired"}, None, {}, id="already retired"
        ),
        pytest.param(
            {"lifecycle": "deprecated"},
            {"lifecycle": "active"},
            "rescheduled",
            {"lifecycle": change("deprecated", "active")},
            id="active again",
        ),
        pytest.param(
            {"lifecycle": "retired"},
            {"lifecycle": "deprecated", **RENAMED},
            "rescheduled",
            {"lifecycle": change("retired", "deprecated"), **NAME},
            id="deprecated again is a move back",
        ),
        pytest.param(
            {"lifecycle": "retired"},
            {"lifecycle": "active"},
            "rescheduled",
            {"lifecycle": change("retired", "active")},
            id="from retired to active",
        ),
        pytest.param(
            {"lifecycle": "deprecated"},
            {"lifecycle": None},
            "updated",
            {"lifecycle": change("deprecated", None)},
            id="a lifecycle that is no longer stated",
        ),
        pytest.param(
            {},
            {"retires_at": "2027-01-01T00:00:00Z", **RENAMED},
            "rescheduled",
            {"retires_at": change(None, "2027-01-01T00:00:00Z"), **NAME},
            id="a retirement date is set",
        ),
        pytest.param(
            {"retires_at": "2027-01-01T00:00:00Z"},
            {"retires_at": "2027-02-01T00:00:00Z"},
            "rescheduled",
            {"retires_at": change("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z")},
            id="a retirement date is revised",
        ),
        pytest.param(
            {"retires_at": "2027-01-01T00:00:00Z"},
            {"retires_at": None},
            "rescheduled",
            {"retires_at": change("2027-01-01T00:00:00Z", None)},
            id="a retirement date is withdrawn",
        ),
        pytest.param(
            {},
            {"lifecycle": "retired", "retires_at": "2026-06-15T00:00:00Z"},
            "retired",
            {
                "lifecycle": change("active", "retired"),
                "retires_at": change(None, "2026-06-15T00:00:00Z"),
            },
            id="retired with its date is not rescheduled",
        ),
        pytest.param(
            {},
            {"deprecated_at": "2026-06-15T00:00:00Z"},
            "updated",
            {"deprecated_at": change(None, "2026-06-15T00:00:00Z")},
            id="deprecated_at alone",
        ),
        pytest.param(
            {"retires_at": "2027-01-01T00:00:00Z"},
            {"retires_at": "2027-01-01T02:00:00.000+02:00"},
            None,
            {},
            id="another spelling of the date",
        ),
        pytest.param(REMOVED, {}, "returned", BACK, id="returned the same"),
        pytest.param(
            REMOVED,
            {**DEPRECATED, **RENAMED},
            "returned",
            {**BACK, **TO_DEPRECATED, **NAME},
            id="returned before deprecated, with all changes",
        ),
        pytest.param(
            REMOVED,
            {"lifecycle": "retired"},
            "returned",
            {**BACK, "lifecycle": change("active", "retired")},
            id="returned before retired",
        ),
        pytest.param(
            {"missing_since": LAST}, {}, None, {}, id="missed, then seen: nothing was announced"
        ),
    ],
)
def test_one_event_per_model(
    before: dict[str, Any], after: dict[str, Any], kind: str | None, changes: dict[str, Any]
) -> None:
    """A listed model gets one event: returned, retired, deprecated or updated, with all changes."""
    seen = info(**{"display_name": "M", **after})
    result = decide(state(row(**{"display_name": "M", **before})), catalog(seen))
    expected = [] if kind is None else [Event(Kind(kind), NOW, "m", changes, seen.payload)]
    assert list(result.events) == expected


def test_added() -> None:
    """An unknown model is added: a row first and last seen now, and an event with its object."""
    seen = info(lifecycle="deprecated")
    result = decide(state(row("known")), catalog(info("known"), seen))
    assert result == ChangeSet(
        added=(ModelRecord("s", seen, first_seen_at=NOW, last_seen_at=NOW),),
        events=(Event(Kind.ADDED, NOW, "m", {}, seen.payload),),
    )


def test_baseline() -> None:
    """The first walk of a source is all rows and `added` events, in the order of the list."""
    result = decide(state(baseline_at=None), catalog(info("b"), info("a")), reminders=REMINDERS)
    assert recorded(result) == [("added", "b"), ("added", "a")]
    assert [each.info.id for each in result.added] == ["b", "a"]


def test_ids_compare_exactly() -> None:
    """Ids that differ in case or in trailing blanks are models of their own."""
    result = decide(state(row("m")), catalog(info("M"), info("m "), info("m")))
    assert recorded(result) == [("added", "M"), ("added", "m ")]


def test_unchanged_rows_are_not_written() -> None:
    """A list in another order, of objects with their keys in another order, changes nothing."""
    payload = model("a", capabilities={"x": {"supported": True}, "y": {"supported": False}})
    turned = dict(reversed(payload.items()))
    turned["capabilities"] = dict(reversed(payload["capabilities"].items()))
    result = decide(state(record(payload), row("b")), catalog(info("b"), turned))
    assert result == ChangeSet()


def test_rows_that_are_seen_again() -> None:
    """A model that is seen is neither missing nor removed, and keeps when it was first seen."""
    known = state(row("back", **REMOVED), row("missed", missing_since=LAST), row("new name"))
    seen = [info("back"), info("missed"), info("new name", **RENAMED)]
    result = decide(known, catalog(*seen))
    assert result.changed == tuple(ModelRecord("s", each, FIRST, NOW) for each in seen)


# --- a model that is not on the list -----------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "answer", "options", "kind", "missing_since"),
    [
        pytest.param({}, "gone", {}, "removed", NOW, id="404"),
        pytest.param({}, "answering", {}, None, NOW, id="200: the list is wrong"),
        pytest.param({}, "unknown", {}, None, NOW, id="no answer, first walk"),
        pytest.param({}, None, {}, None, NOW, id="not asked"),
        pytest.param(
            {"missing_since": LAST}, "unknown", {}, None, LAST, id="no answer, second walk"
        ),
        pytest.param(
            {"missing_since": LAST - DAY},
            "unknown",
            {},
            "removed",
            LAST - DAY,
            id="no answer, third walk",
        ),
        pytest.param(
            {"missing_since": LAST - 2 * DAY},
            "unknown",
            {},
            "removed",
            LAST - 2 * DAY,
            id="no answer, fourth walk",
        ),
        pytest.param(
            {"missing_since": LAST - 2 * DAY},
            "answering",
            {},
            None,
            NOW,  # it was there again: the walks are counted anew
            id="200 on the fourth walk",
        ),
        pytest.param({"lifecycle": "retired"}, None, {}, "removed", NOW, id="already retired"),
        pytest.param({"lifecycle": "retired"}, "retired", {}, "removed", NOW, id="still retired"),
        pytest.param(
            {"lifecycle": "deprecated", "retires_at": "2026-06-01T00:00:00Z"},
            None,
            {},
            None,
            NOW,
            id="past its date is overdue, not done",
        ),
        pytest.param({}, "gone", {"hold": True}, None, NOW, id="held"),
        pytest.param(
            {"lifecycle": "retired"}, None, {"hold": True}, None, NOW, id="held, retired or not"
        ),
        pytest.param(
            {"missing_since": LAST}, "gone", {"hold": True}, None, LAST, id="held a second time"
        ),
        pytest.param({}, "unknown", {"accept": True}, "removed", NOW, id="accepted, no answer"),
        pytest.param(
            {}, "answering", {"accept": True}, None, NOW, id="accepted, but it is still there"
        ),
    ],
)
def test_missing(
    before: dict[str, Any],
    answer: str | None,
    options: dict[str, bool],
    kind: str | None,
    missing_since: datetime,
) -> None:
    """A model that is not listed is removed when that is confirmed, and until then only missing."""
    known = state(row(**before), second_last_walk_at=LAST - DAY)
    result = decide(
        known, catalog(), absences={"m": AbsenceCheck(answer)} if answer else {}, **options
    )
    removed_at = None if kind is None else NOW
    left = row(**{**before, "missing_since": missing_since, "removed_at": removed_at})
    assert result.changed == (() if left == known.models["m"] else (left,))
    expected = [] if kind is None else [Event(Kind(kind), NOW, "m", GONE_NOW, left.info.payload)]
    assert list(result.events) == expected


def test_missing_needs_three_walks_at_least() -> None:
    """While a source has not made three complete walks, no answer confirms nothing."""
    known = state(row(missing_since=LAST), second_last_walk_at=None)
    assert recorded(decide(known, catalog(), absences={"m": AbsenceCheck.UNKNOWN})) == []


def test_retired_by_id() -> None:
    """A model that left the list because it retired gets one event, `retired`, and leaves."""
    known = state(row(line="opus"))
    result = decide(known, catalog(), absences={"m": AbsenceCheck.RETIRED}, reminders=REMINDERS)
    retired = info(line="opus", lifecycle="retired")
    changes = {"lifecycle": change("active", "retired"), **GONE_NOW}
    assert result.events == (Event(Kind.RETIRED, NOW, "m", changes, retired.payload),)
    assert result.changed == (
        ModelRecord("s", retired, FIRST, LAST, missing_since=NOW, removed_at=NOW),
    )


def test_retired_by_id_where_the_list_says_no_lifecycle() -> None:
    """Only the lifecycle is taken from the answer by id, also where the list never had one."""
    result = decide(state(record(bare())), catalog(), absences={"m": AbsenceCheck.RETIRED})
    assert result.changed[0].info.payload == bare(lifecycle="retired")
    assert result.events[0].changes == {"lifecycle": change(None, "retired"), **GONE_NOW}


def test_removed_models_stay_removed() -> None:
    """A model that was removed is no longer missed, and nothing is said of it again."""
    known = state(row(**REMOVED))
    assert guard.missing(known, catalog()) == []
    assert decide(known, catalog(), accept=True) == ChangeSet()


def test_who_is_asked_for() -> None:
    """Every missing model is asked for by id, but for those that already retired."""
    known = state(
        row("b"),
        row("a", missing_since=LAST - 9 * DAY),
        row("listed"),
        row("overdue", lifecycle="deprecated", retires_at="2026-01-01T00:00:00Z"),
        row("removed", **REMOVED),
        row("retired", lifecycle="retired"),
    )
    absent = guard.missing(known, catalog(info("listed")))
    assert guard.ids_to_confirm(absent) == ["a", "b", "overdue"]


# --- the guard ---------------------------------------------------------------------------------


def numbered(numbers: range, **fields: Any) -> list[ModelRecord]:
    return [row(f"m{number}", **fields) for number in numbers]


@pytest.mark.parametrize(
    ("gone", "listed", "held"),
    [
        (1, 1, False),
        (3, 3, False),
        (4, 4, True),
        (4, 13, True),
        (4, 14, False),
        (6, 20, False),
        (7, 20, True),
        (300, 1000, False),
        (301, 1000, True),
    ],
)
def test_guard(gone: int, listed: int, held: bool) -> None:
    """More than three models and more than 30 % of the listed may not leave at once."""
    known = state(*numbered(range(listed)))
    seen = catalog(info("newcomer"), *(info(f"m{n}") for n in range(gone, listed)))
    reason = f"{gone} of {listed} models left the list at once" if held else None
    assert held_because(known, seen) == reason


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        pytest.param({}, True, id="active"),
        pytest.param({"lifecycle": "deprecated"}, True, id="deprecated"),
        pytest.param({"lifecycle": "retired"}, False, id="retired"),
        pytest.param({"retires_at": "2026-06-15T12:00:01Z"}, True, id="retires in a second"),
        pytest.param({"retires_at": "2026-06-15T12:00:00Z"}, False, id="retires now"),
        pytest.param({"retires_at": "2026-01-01T00:00:00Z"}, False, id="overdue"),
        pytest.param({"missing_since": LAST}, False, id="missing already"),
    ],
)
def test_who_counts_for_the_guard(fields: dict[str, Any], counts: bool) -> None:
    """Models that retired, are past their date or were missing already may leave in any number."""
    known = state(row("stays"), row("a"), row("b"), row("c"), row("this one", **fields))
    reason = held_because(known, catalog(info("stays")))
    assert reason == ("4 of 5 models left the list at once" if counts else None)


def test_removed_models_do_not_make_a_list_longer() -> None:
    """The share is one of the models that are listed, not of all that ever were."""
    known = state(*numbered(range(13)), *numbered(range(100, 200), **REMOVED))
    seen = catalog(*(info(f"m{n}") for n in range(4, 13)))
    reason = held_because(known, seen)
    assert reason == "4 of 13 models left the list at once"


@pytest.mark.parametrize("listed", [1, 3, 10])
def test_empty_list(listed: int) -> None:
    """An empty list is no catalog, however few models it would remove."""
    known = state(*numbered(range(listed)))
    reason = held_because(known, catalog(), empty=True)
    assert reason == f"the list is empty where {listed} models were listed"


def test_empty_list_without_models() -> None:
    """An empty list removes nothing where nothing is listed any more."""
    assert held_because(state(row(**REMOVED)), catalog(), empty=True) is None


def test_held_stays_held() -> None:
    """While a source is held, the models that are missing since then keep counting."""
    known = state(*numbered(range(6)), *numbered(range(6, 10), missing_since=LAST), held=True)
    seen = catalog(*(info(f"m{n}") for n in range(6)))
    reason = held_because(known, seen)
    assert reason == "4 of 10 models left the list at once"


@pytest.mark.parametrize("more", [0, 1])
def test_newcomers_do_not_release_a_held_source(more: int) -> None:
    """Models that came while a source is held make no share smaller, even when one more leaves."""
    left = numbered(range(4), missing_since=LAST)
    old = numbered(range(4, 10))
    new = [replace(each, first_seen_at=LAST) for each in numbered(range(10, 25))]
    known = state(*left, *old, *new, held=True)
    seen = catalog(*(each.info for each in (*old[more:], *new)))
    reason = held_because(known, seen)
    assert reason == f"{4 + more} of 10 models left the list at once"


@pytest.mark.parametrize("held", [False, True])
def test_a_model_missing_for_long_makes_no_list_shorter(held: bool) -> None:
    """What came after a model that is missing for long is listed as well, and counts as that."""
    long_ago = row("missing", missing_since=LAST - 50 * DAY)
    rows = [replace(each, first_seen_at=LAST - 20 * DAY) for each in numbered(range(29))]
    four = [replace(each, missing_since=LAST if held else None) for each in rows[:4]]
    known = state(long_ago, *four, *rows[4:], held=held)
    seen = catalog(*(each.info for each in rows[4:]))
    assert held_because(known, seen) is None
    reason = held_because(known, catalog(), empty=True)
    assert reason == "the list is empty where 30 models were listed"


def test_held_ends_when_the_models_are_back() -> None:
    """A list that is whole again needs nobody's word."""
    known = state(*numbered(range(6)), *numbered(range(6, 10), missing_since=LAST), held=True)
    seen = catalog(*(info(f"m{n}") for n in range(10)))
    assert held_because(known, seen) is None
    assert recorded(decide(known, seen)) == []


def test_held_pass_applies_everything_else() -> None:
    """A held pass keeps what is missing on the list, and applies the rest."""
    known = state(row("a"), row("b", **REMOVED), *numbered(range(4)))
    seen = catalog(info("a", lifecycle="deprecated"), info("b"), info("c"))
    gone = {f"m{n}": AbsenceCheck.GONE for n in range(4)}
    result = decide(known, seen, absences=gone, hold=True)
    assert recorded(result) == [("deprecated", "a"), ("returned", "b"), ("added", "c")]
    missing = [each for each in result.changed if each.missing_since is not None]
    assert missing == numbered(range(4), missing_since=NOW)


# --- who answered ------------------------------------------------------------------------------


ORG, SPACE = Identity("org_a"), Identity("org_a", "ws_1")


@pytest.mark.parametrize(
    ("before", "after", "who", "held"),
    [
        pytest.param(SPACE, SPACE, None, False, id="the same"),
        pytest.param(Identity(), SPACE, None, False, id="unknown before"),
        pytest.param(SPACE, Identity(), None, False, id="unknown now"),
        pytest.param(ORG, SPACE, None, False, id="workspace unknown before"),
        pytest.param(SPACE, ORG, None, False, id="workspace unknown now"),
        pytest.param(
            ORG,
            Identity("org_b"),
            "organisation org_b answered where org_a did",
            True,
            id="another organisation",
        ),
        pytest.param(
            SPACE,
            Identity("org_a", "ws_2"),
            "workspace ws_2 answered where ws_1 did",
            True,
            id="another workspace",
        ),
        pytest.param(
            Identity(None, "ws_1"),
            Identity("org_b", "ws_2"),
            "workspace ws_2 answered where ws_1 did",
            True,
            id="another workspace of who knows whom",
        ),
    ],
)
def test_another_answers(before: Identity, after: Identity, who: str | None, held: bool) -> None:
    """Another organisation or workspace holds the pass; who does not say who it is, is no other."""
    known = state(row())
    known = replace(known, source=replace(known.source, scope=before))
    seen = catalog(info("other"), scope=after)
    change, hold = guard.identity_change(known, seen, URL)
    assert (change, hold is not None) == (who, held)
    assert hold is None or (hold.code, hold.model_ids) == (guard.IDENTITY_CHANGED, ())


def test_another_organisation_with_the_same_list() -> None:
    """Another organisation that lists what is listed is adopted; a missing model makes it other."""
    known = state(row("a"), row("b"), row("removed", **REMOVED))
    known = replace(known, source=replace(known.source, scope=SPACE))
    other = Identity("org_b", "ws_2")
    for seen, held in (([info("b"), info("a")], False), ([info("a")], True)):
        change, hold = guard.identity_change(known, catalog(*seen, scope=other), URL)
        assert change == "organisation org_b answered where org_a did"
        assert (hold is not None) is held


def test_another_workspace_with_the_same_list() -> None:
    """Another workspace holds the pass even when it lists the same."""
    known = state(row())
    known = replace(known, source=replace(known.source, scope=SPACE))
    seen = catalog(info(), scope=Identity("org_a", "ws_2"))
    assert guard.identity_change(known, seen, URL)[1]


def test_another_base_url() -> None:
    """Another `base_url` holds the pass even when it lists the same, but never the first pass."""
    change, hold = guard.identity_change(state(row()), catalog(info()), "https://other.example")
    assert change == "https://other.example answered where https://api.example did before"
    assert hold is not None
    first = state(baseline_at=None)
    assert guard.identity_change(first, catalog(info()), "https://other.example") == (
        None,
        None,
    )


def test_adopted() -> None:
    """An applied pass makes the source's baseline once, and remembers who answered and when."""
    first = guard.source_after_run(SourceRecord("s", URL), SPACE, URL, LAST)
    assert first == SourceRecord("s", URL, SPACE, baseline_at=LAST, last_synced_at=LAST)
    second = guard.source_after_run(first, Identity("org_b", "ws_2"), "https://other.example", NOW)
    assert second == SourceRecord(
        "s",
        "https://other.example",
        Identity("org_b", "ws_2"),
        baseline_at=LAST,
        last_synced_at=NOW,
    )


def test_adopted_keeps_what_an_answer_leaves_open() -> None:
    """Who answered stays known while the same server's answers do not say it."""
    known = SourceRecord("s", URL, SPACE, baseline_at=LAST)
    for scope in (Identity(), ORG, SPACE):
        assert guard.source_after_run(known, scope, URL, NOW).scope == SPACE


@pytest.mark.parametrize(
    ("scope", "base_url"),
    [
        pytest.param(Identity("org_b"), URL, id="another organisation"),
        pytest.param(Identity(), "https://other.example", id="another server"),
    ],
)
def test_adopted_mixes_nobody(scope: Identity, base_url: str) -> None:
    """What somebody else leaves open is unknown, and not taken from the one before."""
    known = SourceRecord("s", URL, SPACE, baseline_at=LAST)
    assert guard.source_after_run(known, scope, base_url, NOW).scope == scope


# --- fields of the whole catalog -------------------------------------------------------------


def schema_event(result: ChangeSet) -> Event:
    events = [event for event in result.events if event.kind is Kind.SCHEMA_CHANGED]
    assert len(events) == 1
    return events[0]


EFFORT = {"effort": {"max": {"supported": True}}}
MORE = {"effort": {"max": {"supported": True}, "xhigh": {"supported": True}}}


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        pytest.param(
            [{}, {}],
            [{"beta": True}, {"beta": True}],
            {"beta": change(None, True)},
            id="appeared, the same for all",
        ),
        pytest.param(
            [{}, {}],
            [{"beta": 1}, {"beta": 2}],
            {"beta": {"old": None}},
            id="appeared, with values",
        ),
        pytest.param(
            [{}, {}],
            [{"beta": True}, {"beta": 1}],
            {"beta": {"old": None}},
            id="appeared, and true is not 1",
        ),
        pytest.param(
            [{}, {}],
            [{"beta": None}, {"beta": None}],
            {"beta": change(None, None)},
            id="appeared as null",
        ),
        pytest.param(
            [{"beta": 1}, {"beta": 1}], [{}, {}], {"beta": change(1, None)}, id="vanished"
        ),
        pytest.param(
            [{"beta": 1}, {"beta": 2}],
            [{}, {}],
            {"beta": {"new": None}},
            id="vanished, with values",
        ),
        pytest.param(
            [{}, {}],
            [{"capabilities": EFFORT}, {"capabilities": EFFORT}],
            {"capabilities": change(None, EFFORT)},
            id="the topmost path",
        ),
        pytest.param(
            [{"capabilities": EFFORT}, {"capabilities": EFFORT}],
            [{"capabilities": MORE}, {"capabilities": MORE}],
            {"capabilities.effort.xhigh": change(None, {"supported": True})},
            id="a nested path",
        ),
        pytest.param(
            [{"old": 1}, {"old": 1}],
            [{"new": 1}, {"new": 1}],
            {"old": change(1, None), "new": change(None, 1)},
            id="one for another",
        ),
        pytest.param(
            [{}, {}, {}],
            [{"max_tokens": 1}, {"max_tokens": 2}, {"max_tokens": None}],
            {"max_tokens": {"old": None}},
            id="three models",
        ),
        pytest.param(
            [{"beta": 1}, {"beta": 1}],
            [{"beta": 2}, {"beta": 2}],
            {"beta": change(1, 2)},
            id="a new value",
        ),
        pytest.param(
            [{"beta": 1}, {"beta": None}],
            [{"beta": 2}, {"beta": 3}],
            {"beta": {}},
            id="new values that differ",
        ),
    ],
)
def test_schema_changed(
    before: list[dict[str, Any]], after: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    """A field that appears on or vanishes from all models is one event, and none of a model."""
    rows = [record(bare(f"m{n}", **fields)) for n, fields in enumerate(before)]
    seen = [bare(f"m{n}", **fields) for n, fields in enumerate(after)]
    result = decide(state(*rows), catalog(*seen))
    objects = {payload["id"]: payload for payload in seen}
    assert result.events == (Event(Kind.SCHEMA_CHANGED, NOW, None, changes, objects),)
    assert [each.info.payload for each in result.changed] == seen


@pytest.mark.parametrize(
    ("before", "after", "updated"),
    [
        pytest.param([{}], [{"beta": 1}], ["m0"], id="a single model"),
        pytest.param([{}, {}], [{"beta": 1}, {}], ["m0"], id="on one of two"),
        pytest.param([{"beta": 1}, {}], [{}, {}], ["m0"], id="from the one that had it"),
        pytest.param([{}, {"beta": 1}], [{"beta": 1}, {}], ["m0", "m1"], id="changed places"),
    ],
)
def test_not_the_schema(
    before: list[dict[str, Any]], after: list[dict[str, Any]], updated: list[str]
) -> None:
    """What concerns some models only, or one alone, or only values, is `updated`."""
    rows = [record(bare(f"m{n}", **fields)) for n, fields in enumerate(before)]
    seen = [bare(f"m{n}", **fields) for n, fields in enumerate(after)]
    assert recorded(decide(state(*rows), catalog(*seen))) == [("updated", id_) for id_ in updated]


def test_schema_and_a_value_of_its_own() -> None:
    """What a model has changed beside the schema is told as its own, without the common field."""
    rows = [record(bare("a")), record(bare("b"))]
    seen = [bare("a", beta=1, display_name="New"), bare("b", beta=1)]
    result = decide(state(*rows), catalog(*seen))
    assert schema_event(result).changes == {"beta": change(None, 1)}
    own = [event for event in result.events if event.kind is not Kind.SCHEMA_CHANGED]
    assert own == [Event(Kind.UPDATED, NOW, "a", {"display_name": change("M", "New")}, seen[0])]


@pytest.mark.parametrize("lifecycle", ["deprecated", "retired"])
def test_schema_and_lifecycle(lifecycle: str) -> None:
    """When the lifecycle appears on all models, those not active are told of, with all changes."""
    rows = [record(bare("a")), record(bare("b"))]
    seen = [bare("a", lifecycle=lifecycle, line="opus"), bare("b", lifecycle="active", line="opus")]
    result = decide(state(*rows), catalog(*seen))
    assert recorded(result) == [("schema_changed", None), (lifecycle, "a")]
    both = {"line": change(None, "opus")}
    assert result.events[0].changes == {"lifecycle": {"old": None}, **both}
    assert result.events[1].changes == {"lifecycle": change(None, lifecycle), **both}


def test_schema_is_what_the_known_models_show() -> None:
    """New and returned models do not speak for the schema; a returned one tells all its changes."""
    rows = [record(bare("a")), record(bare("b")), record(bare("back"), **REMOVED)]
    seen = [bare("new"), bare("a", beta=1), bare("b", beta=1), bare("back", beta=1)]
    result = decide(state(*rows), catalog(*seen))
    assert recorded(result) == [("schema_changed", None), ("added", "new"), ("returned", "back")]
    assert set(schema_event(result).payload or {}) == {"a", "b"}
    assert result.events[2].changes == {**BACK, "beta": change(None, 1)}


def test_removed_models_are_no_second_one() -> None:
    """Of one listed and one removed model, no field is one of the whole catalog."""
    rows = [record(bare("a")), record(bare("b"), **REMOVED)]
    result = decide(state(*rows), catalog(bare("a", beta=1), bare("b", beta=1)))
    assert recorded(result) == [("updated", "a"), ("returned", "b")]


# --- comparing objects -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": True}, {"a": 1}, ["a"]),
        ({"a": 0}, {"a": False}, ["a"]),
        ({"a": False}, {"a": None}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({}, {"a": None}, ["a"]),
        ({"a": ""}, {"a": None}, ["a"]),
        ({"a": "1"}, {"a": 1}, ["a"]),
        ({"a": {}}, {"a": []}, ["a"]),
        ({"a": {}}, {"a": None}, ["a"]),
        ({"a": {}}, {"a": {"b": None}}, ["a.b"]),
        ({"a": {"b": {"c": 1, "d": 1}}}, {"a": {"b": {"c": 2, "d": 1}}}, ["a.b.c"]),
        ({"a": {"b": 1}}, {"a": 1}, ["a"]),
        ({"a": [1, 2]}, {"a": [1, 2]}, []),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a"]),
        ({"a": [1]}, {"a": [True]}, ["a"]),
        ({"a": [{"b": [0]}]}, {"a": [{"b": [False]}]}, ["a"]),
        ({"a": [{"b": 1, "c": 2}]}, {"a": [{"c": 2, "b": 1}]}, []),
        ({"a": [None]}, {"a": []}, ["a"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": None}]}, ["a"]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": [1]}, {"a": [1.0]}, []),
        ({"a": "é"}, {"a": "e\u0301"}, ["a"]),
        ({"a": 1, "b": 1}, {"b": 2, "c": 1}, ["a", "b", "c"]),
    ],
)
def test_diff(old: dict[str, Any], new: dict[str, Any], paths: list[str]) -> None:
    """Values compare as JSON does: true is not 1, null is not absence, order counts in lists."""
    assert sorted(map(path_text, diff(old, new))) == paths
    assert sorted(map(path_text, diff(new, old))) == paths


# --- reminders ---------------------------------------------------------------------------------


def reminded(
    known: SourceState, seen: Catalog, now: datetime = NOW, **options: Any
) -> list[dict[str, Any]]:
    """The changes of the reminders that a pass gives."""
    result = decide(known, seen, now, reminders=options.pop("reminders", REMINDERS), **options)
    return [dict(event.changes) for event in result.events if event.kind is Kind.RETIRING]


def days_left(old: int | None, new: int) -> list[dict[str, Any]]:
    return [{"days_left": change(old, new)}]


RETIRES = {"lifecycle": "deprecated", "retires_at": "2026-07-15T12:00:00Z"}
"""Thirty days from now, to the second."""
AGO = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("last", "now", "expected"),
    [
        pytest.param(NOW - 2 * DAY, NOW - AGO, [], id="not yet"),
        pytest.param(NOW - AGO, NOW, days_left(30, 30), id="at the second"),
        pytest.param(NOW, NOW + AGO, [], id="once"),
        pytest.param(NOW, NOW + 22 * DAY, [], id="until the next"),
        pytest.param(NOW, NOW + 23 * DAY, days_left(30, 7), id="the next"),
        pytest.param(NOW - DAY, NOW + 24 * DAY, days_left(31, 6), id="two at once are one"),
        pytest.param(NOW - 61 * DAY, NOW + 50 * DAY, days_left(91, -20), id="all at once are one"),
        pytest.param(NOW + 29 * DAY, NOW + 99 * DAY, [], id="overdue is no threshold"),
    ],
)
def test_reminder(last: datetime, now: datetime, expected: list[dict[str, Any]]) -> None:
    """A pass reminds of a retirement date when a threshold lies between the last pass and now."""
    known = state(row(**RETIRES))
    known = replace(known, source=replace(known.source, last_synced_at=last))
    assert reminded(known, catalog(info(**RETIRES)), now) == expected


def test_reminder_event() -> None:
    """A reminder carries the model's object, and changes nothing of its row."""
    known = state(row(**RETIRES))
    seen = info(**RETIRES)
    result = decide(known, catalog(seen), reminders=REMINDERS)
    changes = {"days_left": change(30, 30)}
    assert result == ChangeSet(events=(Event(Kind.RETIRING, NOW, "m", changes, seen.payload),))


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        pytest.param(None, RETIRES, ["added"], id="added"),
        pytest.param({}, RETIRES, ["deprecated"], id="deprecated"),
        pytest.param({"lifecycle": "deprecated"}, RETIRES, ["rescheduled"], id="a date is set"),
        pytest.param(
            {**RETIRES, "retires_at": "2026-07-10T00:00:00Z"},
            RETIRES,
            ["rescheduled"],
            id="the date is revised",
        ),
        pytest.param(
            {**RETIRES, "retires_at": "2027-01-01T00:00:00Z"},
            RETIRES,
            ["rescheduled"],
            id="the date is nearer",
        ),
        pytest.param(
            RETIRES,
            {**RETIRES, "retires_at": "2027-01-01T00:00:00Z"},
            ["rescheduled"],
            id="the date is far again",
        ),
        pytest.param(REMOVED, RETIRES, ["returned"], id="returned with a date"),
        pytest.param(
            RETIRES, {**RETIRES, **RENAMED}, ["updated", "retiring"], id="an event without the date"
        ),
        pytest.param(
            RETIRES, {**RETIRES, "lifecycle": "retired"}, ["retired"], id="retired: no reminder"
        ),
        pytest.param(
            RETIRES, {**RETIRES, "retires_at": None}, ["rescheduled"], id="no date any more"
        ),
    ],
)
def test_reminder_beside_another_event(
    before: dict[str, Any] | None, after: dict[str, Any], kinds: list[str]
) -> None:
    """A reminder is left out where the run's other event states the date."""
    known = state() if before is None else state(row(**before))
    result = decide(known, catalog(info(**after)), reminders=REMINDERS)
    assert recorded(result) == [(kind, "m") for kind in kinds]


def test_same_instant_is_no_new_date() -> None:
    """A date that is only written in another way reminds of nothing again."""
    other = {**RETIRES, "retires_at": "2026-07-15T14:00:00+02:00"}
    assert reminded(state(row(**RETIRES)), catalog(info(**other)), NOW + DAY) == days_left(30, 29)
    known = state(row(**RETIRES))
    known = replace(known, source=replace(known.source, last_synced_at=NOW))
    assert reminded(known, catalog(info(**other)), NOW + DAY) == []


def test_baseline_counts_as_reminded() -> None:
    """At the baseline no reminder is given; the next threshold reminds."""
    first = state(baseline_at=None)
    assert reminded(first, catalog(info(**RETIRES))) == []
    then = state(row(**RETIRES), baseline_at=NOW)
    then = replace(then, source=replace(then.source, last_synced_at=NOW))
    assert reminded(then, catalog(info(**RETIRES)), NOW + DAY) == []
    assert reminded(then, catalog(info(**RETIRES)), NOW + 23 * DAY) == days_left(30, 7)


def test_reminders_follow_the_clock_of_the_runs() -> None:
    """Thresholds count from the beginning of the last run before this one, by its own clock."""
    known = state(row(**RETIRES))
    known = replace(known, source=replace(known.source, last_synced_at=NOW + 365 * DAY))
    ahead = NOW + 366 * DAY
    for since, now, expected in ((LAST, NOW, days_left(30, 30)), (NOW, NOW + DAY, [])):
        reminders = Reminders(REMINDERS, since, now)
        result = reconcile(known, catalog(info(**RETIRES)), ahead, Absences(), reminders)
        assert [dict(event.changes) for event in result.events] == expected


@pytest.mark.parametrize(
    ("answer", "hold", "expected"),
    [
        ("answering", False, days_left(30, 30)),
        ("unknown", False, days_left(30, 30)),
        ("gone", True, days_left(30, 30)),
        ("gone", False, []),
        ("retired", False, []),
    ],
)
def test_reminder_of_a_missing_model(
    answer: str, hold: bool, expected: list[dict[str, Any]]
) -> None:
    """A missing model that still counts as listed reminds; one that left does not."""
    absences = {"m": AbsenceCheck(answer)}
    assert reminded(state(row(**RETIRES)), catalog(), absences=absences, hold=hold) == expected


def test_no_thresholds() -> None:
    """Without thresholds there are no reminders."""
    assert reminded(state(row()), catalog(info(**RETIRES)), reminders=()) == []


# --- what is not recorded ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("globs", "kept"),
    [
        ((), ["canary-1", "Canary-2", "prod-canary-3", "a[b]", "m"]),
        (("*canary*",), ["Canary-2", "a[b]", "m"]),
        (("canary-?", "m"), ["Canary-2", "prod-canary-3", "a[b]"]),
        (("a[[]b]",), ["canary-1", "Canary-2", "prod-canary-3", "m"]),
        (("*",), []),
    ],
)
def test_exclude(globs: tuple[str, ...], kept: list[str]) -> None:
    """Ids that match one of the globs are left out; a glob matches whole ids, and their case."""
    ids = ["canary-1", "Canary-2", "prod-canary-3", "a[b]", "m"]
    assert guard.drop_excluded({id_: id_.upper() for id_ in ids}, globs) == {
        id_: id_.upper() for id_ in kept
    }


# --- the job itself ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threshold", "classes", "announced"),
    [
        (3, "AAA", [3]),
        (3, "AA", []),
        (3, "AAAAAAAA", [3]),
        (1, "AA", [1]),
        (3, "AAAB", [3, 4]),
        (3, "ABAB", [3, 4]),
        (3, "ABABABABAB", [3, 4]),
        (3, "ABC", [3]),
    ],
)
def test_failures(threshold: int, classes: str, announced: list[int]) -> None:
    """A row of failures is told at the threshold, and again only for a class not told before."""
    announced_codes: list[str] = []
    when: list[int] = []
    for streak, error_class in enumerate(classes, 1):
        event = incidents.failure_event(
            NOW,
            "it broke",
            error_class,
            streak=streak,
            threshold=threshold,
            announced_codes=announced_codes,
        )
        if event is not None:
            changes = {"error": change(None, "it broke")}
            payload = {"error_code": error_class}
            assert event == Event(Kind.SYNC_FAILED, NOW, None, changes, payload)
            announced_codes.append(error_class)
            when.append(streak)
    assert when == announced


def test_recovery() -> None:
    """A success is told of after a failure that was told, with that failure, and else never."""
    assert incidents.recovery_event(state(last_error="it broke"), NOW) is None
    known = state(last_error="it broke", failure_announced=True)
    changes = {"error": change("it broke", None)}
    assert incidents.recovery_event(known, NOW) == Event(Kind.SYNC_RECOVERED, NOW, changes=changes)


def test_held() -> None:
    """The first held pass of an episode is told, with its reason; the ones after it are not."""
    changes = {"error": change(None, "half of it left")}
    event = incidents.held_event(state(), NOW, "half of it left")
    assert event == Event(Kind.SYNC_HELD, NOW, changes=changes)
    assert incidents.held_event(state(held=True), NOW, "half of it left") is None
