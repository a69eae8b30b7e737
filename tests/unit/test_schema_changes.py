"""Changes of the whole catalog are one event, whatever its objects look like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_sync.domain.diff import ABSENT, equal
from catalog_sync.domain.event_text import facts
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import (
    Event,
)
from catalog_sync.domain.reconcile import ChangeSet
from decisions import (
    BACK,
    NOW,
    REMOVED,
    bare,
    catalog,
    change,
    decide,
    event,
    record,
    recorded,
    state,
)


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
    assert result.events == (event(Kind.SCHEMA_CHANGED, NOW, None, changes, objects),)
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
    """A change of some models only, of a single model, or of values only is `updated`."""
    rows = [record(bare(f"m{n}", **fields)) for n, fields in enumerate(before)]
    seen = [bare(f"m{n}", **fields) for n, fields in enumerate(after)]
    assert recorded(decide(state(*rows), catalog(*seen))) == [("updated", id_) for id_ in updated]


def test_schema_and_a_value_of_its_own() -> None:
    """A model's other changes are recorded as its own, without the common field."""
    rows = [record(bare("a")), record(bare("b"))]
    seen = [bare("a", beta=1, display_name="New"), bare("b", beta=1)]
    result = decide(state(*rows), catalog(*seen))
    assert schema_event(result).changes == {"beta": change(None, 1)}
    own = [event for event in result.events if event.kind is not Kind.SCHEMA_CHANGED]
    assert own == [event(Kind.UPDATED, NOW, "a", {"display_name": change("M", "New")}, seen[0])]


@pytest.mark.parametrize("lifecycle", ["deprecated", "retired"])
def test_schema_and_lifecycle(lifecycle: str) -> None:
    """When the lifecycle appears on all models, only those not active have their own event."""
    rows = [record(bare("a")), record(bare("b"))]
    seen = [bare("a", lifecycle=lifecycle, line="opus"), bare("b", lifecycle="active", line="opus")]
    result = decide(state(*rows), catalog(*seen))
    assert recorded(result) == [("schema_changed", None), (lifecycle, "a")]
    both = {"line": change(None, "opus")}
    assert result.events[0].changes == {"lifecycle": {"old": None}, **both}
    assert result.events[1].changes == {"lifecycle": change(None, lifecycle), **both}


def test_schema_is_what_the_known_models_show() -> None:
    """New and returned models do not count; a returned one records all its changes."""
    rows = [record(bare("a")), record(bare("b")), record(bare("back"), **REMOVED)]
    seen = [bare("new"), bare("a", beta=1), bare("b", beta=1), bare("back", beta=1)]
    result = decide(state(*rows), catalog(*seen))
    assert recorded(result) == [("schema_changed", None), ("added", "new"), ("returned", "back")]
    assert set(schema_event(result).payload or {}) == {"a", "b"}
    assert result.events[2].changes == {**BACK, "beta": change(None, 1)}


def test_removed_models_are_no_second_one() -> None:
    """One listed and one removed model make no change of the whole catalog."""
    rows = [record(bare("a")), record(bare("b"), **REMOVED)]
    result = decide(state(*rows), catalog(bare("a", beta=1), bare("b", beta=1)))
    assert recorded(result) == [("updated", "a"), ("returned", "b")]


# --- parent objects that are missing or null -------------------------------------------------


@pytest.mark.parametrize("parent", [ABSENT, None, [], "text"])
def test_a_model_without_the_parent_object(parent: Any) -> None:
    """A model whose parent object is missing or None does not count against the change."""
    old = {} if parent is ABSENT else {"capabilities": parent}
    rows = [record(bare(f"m{n}", capabilities=EFFORT)) for n in range(9)]
    seen = [bare(f"m{n}", capabilities=MORE) for n in range(9)]
    known = state(*rows, record(bare("odd", **old)))
    result = decide(known, catalog(*seen, bare("odd", **old)))
    assert recorded(result) == [("schema_changed", None)]
    added = {"capabilities.effort.xhigh": change(None, {"supported": True})}
    assert schema_event(result).changes == added
    assert set(schema_event(result).payload or {}) == {f"m{n}" for n in range(9)}


@pytest.mark.parametrize(
    ("with_parent", "without", "events"),
    [
        (3, 0, ["schema_changed"]),
        (3, 2, ["schema_changed"]),
        (2, 0, ["schema_changed"]),
        (2, 1, ["updated", "updated"]),
        (1, 0, ["updated"]),
        (1, 1, ["updated"]),
        (1, 9, ["updated"]),
    ],
)
def test_how_many_models_make_a_catalog(with_parent: int, without: int, events: list[str]) -> None:
    """Three models with the parent object are enough, and two where they are the whole list."""
    ids = [f"m{n}" for n in range(with_parent)]
    bare_ones = [bare(f"x{n}", capabilities=None) for n in range(without)]
    known = [*(record(bare(id_, capabilities={})) for id_ in ids), *map(record, bare_ones)]
    seen = [*(bare(id_, capabilities={"a": 1}) for id_ in ids), *bare_ones]
    result = decide(state(*known), catalog(*seen))
    assert [event.kind.value for event in result.events] == events


def test_a_parent_that_appears_counts_on_no_side() -> None:
    """A model whose parent object appears has its own change, in addition to that of the others."""
    rows = [record(bare(f"m{n}", capabilities={"a": n})) for n in range(3)]
    seen = [bare(f"m{n}", capabilities={"a": n, "b": 1}) for n in range(3)]
    known = state(*rows, record(bare("odd", capabilities=None)))
    result = decide(known, catalog(*seen, bare("odd", capabilities={"z": 1})))
    assert recorded(result) == [("schema_changed", None), ("updated", "odd")]
    assert result.events[1].changes == {"capabilities": change(None, {"z": 1})}


def test_an_object_that_becomes_the_same_everywhere() -> None:
    """If all models have the same object now, it is one event, whatever they had before."""
    before = [{}, {"c": None}, {"c": {}}, {"c": {"x": 2}}, {"c": {"y": 1}}]
    rows = [record(bare(f"m{n}", **fields)) for n, fields in enumerate(before)]
    seen = [bare(f"m{n}", c={"x": 1}) for n in range(5)]
    result = decide(state(*rows), catalog(*seen))
    assert recorded(result) == [("schema_changed", None)]
    assert schema_event(result).changes == {"c": {"new": {"x": 1}}}


parents = st.sampled_from([ABSENT, None, "empty", "full"])


@given(
    st.lists(parents, min_size=1, max_size=12),
    st.sampled_from(["appears", "vanishes", "changes", "filled"]),
    st.sets(st.integers(0, 11)),
)
@settings(derandomize=True, max_examples=400, deadline=None)
def test_one_change_of_all_is_one_event(mixture: list[Any], what: str, renamed: set[int]) -> None:
    """A change of all models makes no event per model, whichever parents are missing or None.

    A change of one model is recorded as its own.
    """
    rows, seen = [], []
    for number, parent in enumerate(mixture):
        fields: dict[str, Any] = {} if parent is ABSENT else {"c": None}
        after = dict(fields)
        if parent in {"empty", "full"}:
            more = {"own": number} if parent == "full" and what != "filled" else {}
            old, new = {
                "appears": ({}, {"x": True}),
                "vanishes": ({"x": True}, {}),
                "changes": ({"x": 1}, {"x": 1 + number % 2 + 1}),
                "filled": ({}, {"x": 1}),
            }[what]
            fields, after = {"c": {**more, **old}}, {"c": {**more, **new}}
        if what == "filled":  # the object is now the same on all models
            after = {"c": {"x": 1}}
        if number in renamed:
            after["display_name"] = f"Renamed {number}"
        rows.append(record(bare(f"m{number}", **fields)))
        seen.append(bare(f"m{number}", **after))
    result = decide(state(*rows), catalog(*seen))
    having = sum(parent in {"empty", "full"} for parent in mixture)
    total = len(mixture)
    names = {f"m{n}" for n in renamed if n < total}
    if (total if what == "filled" else having) >= 3 or having == total == 2:
        own = set() if len(names) == total else names  # a name that changed on all
        assert [e.kind for e in result.events].count(Kind.SCHEMA_CHANGED) == 1
        assert {e.model_id for e in result.events if e.model_id} == own
        assert all(e.kind is Kind.UPDATED for e in result.events if e.model_id)
    recorded_ids = schema_ids(result) | {e.model_id for e in result.events if e.model_id}
    for old, new in zip(rows, seen, strict=True):
        if not equal(old.info.payload, new):
            assert old.info.id in recorded_ids


def schema_ids(result: ChangeSet) -> set[str]:
    """The models of an event of the whole catalog."""
    events = [event for event in result.events if event.kind is Kind.SCHEMA_CHANGED]
    return {id_ for event in events for id_ in event.payload or {}}


# --- gateways ----------------------------------------------------------------------------------


def gateway(time: str, count: int = 20) -> list[dict[str, Any]]:
    return [{**bare(f"m{n}"), "created_at": time} for n in range(count)]


def test_a_created_at_that_is_the_time_of_the_request() -> None:
    """A field that changes on all models at every run is one event per run, and none if ignored."""
    known = state(*map(record, gateway("2026-06-15T11:00:00Z")))
    seen = catalog(*gateway("2026-06-15T12:00:00Z"))
    assert recorded(decide(known, seen)) == [("schema_changed", None)]
    assert recorded(decide(known, seen, ignore=["created_at"])) == []


@pytest.mark.parametrize("spelling", ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00+00:00"])
def test_another_spelling_of_all_times(spelling: str) -> None:
    """Times with only another spelling make no event; the rows keep them as received."""
    known = state(*map(record, gateway("2026-01-01T00:00:00Z")))
    result = decide(known, catalog(*gateway(spelling)))
    assert result.events == ()
    assert {each.info.payload["created_at"] for each in result.changed} == {spelling}


def test_a_date_on_all_models_is_recorded_for_each() -> None:
    """A retirement date that all models get is an event per model, and never `updated`."""
    rows = [record(bare(f"m{n}", retires_at=None)) for n in range(4)]
    seen = [bare(f"m{n}", retires_at="2027-01-01T00:00:00Z") for n in range(4)]
    events = recorded(decide(state(*rows), catalog(*seen)))
    assert [event for event in events if event[1]] == [("rescheduled", f"m{n}") for n in range(4)]


@pytest.mark.parametrize(
    ("sides", "text"),
    [
        ({"old": None}, "x: appeared"),
        ({"new": None}, "x: vanished"),
        ({}, "x: changed"),
        ({"new": 2}, "x: now 2"),
        ({"old": 1}, "x: before 1"),
        ({"old": None, "new": None}, "x: appeared"),
        ({"old": 1, "new": 2}, "x: 1 → 2"),
    ],
)
def test_text_of_a_change_of_all(sides: dict[str, Any], text: str) -> None:
    """A text states what happened to a path, and the values that are the same for all models."""
    event = Event(Kind.SCHEMA_CHANGED, NOW, changes={"x": sides})
    assert facts(event) == [text]
