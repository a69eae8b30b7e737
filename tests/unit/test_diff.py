"""How JSON objects are compared, and how paths are written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_sync.domain.diff import (
    at,
    diff,
    drop_ignored,
    equal,
    ignored_paths,
    path_of,
    path_text,
    same,
)
from decisions import RENAMED, catalog, change, decide, info, recorded, row, state


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


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000Z", True),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00", True),
        ("2026-01-01T00:00:00Z", "2026-01-01t02:00:00+02:00", True),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", False),
        ("2026-01-01T00:00:00.1234567Z", "2026-01-01T00:00:00.123456Z", False),
        ("2026-01-01T00:00:00.1234560Z", "2026-01-01T00:00:00.123456Z", True),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00", False),
        ("2026-01-01", "2026-01-01T00:00:00Z", False),
        ("9999-99-99T00:00:00Z", "9999-99-99T00:00:00.0Z", False),
        ("", "2026-01-01T00:00:00Z", False),
    ],
)
def test_instants(one: str, other: str, expected: bool) -> None:
    """Two spellings of the same time are the same value, at any depth; text is text."""
    for wrap in (lambda value: value, lambda value: [{"at": value}]):
        assert same(wrap(one), wrap(other)) is expected
        assert same(wrap(other), wrap(one)) is expected
        assert not equal(wrap(one), wrap(other))


def test_large_numbers() -> None:
    """A number equals its digits, as `jsonb` spells them; two integers are compared whole."""
    assert same(1e23, 10**23)
    assert same([10**300], [1e300])
    assert not same(10**23, 10**23 + 1)
    assert not same(1e23, 10**400)
    assert not same(1.5, 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.floats(0, 1) | st.text("a.\\", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.\\", max_size=2), inner)
    ),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text("ab.\\", max_size=3), json_values, max_size=4)


@given(json_objects, json_objects)
@settings(derandomize=True, max_examples=300)
def test_equal_means_no_difference(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The quick comparison agrees with the paths: two objects are equal if no path differs."""
    turned = dict(reversed(one.items()))
    assert equal(one, turned)
    assert diff(one, turned) == {}
    assert equal(one, other) == (diff(one, other) == {})


@given(json_objects, json_objects)
@settings(derandomize=True, max_examples=300)
def test_each_path_is_its_own(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Every difference has a unique text, from which its path and its values can be read back."""
    differences = diff(one, other)
    assert len({path_text(path) for path in differences}) == len(differences)
    for path, (old, new) in differences.items():
        assert path_of(path_text(path)) == path
        assert (repr(at(one, path)), repr(at(other, path))) == (repr(old), repr(new))


def test_a_dot_in_a_key() -> None:
    """A key with a dot differs from the path of two keys: both changes are kept."""
    old, new = {"a.b": 1, "a": {"b": 1}}, {"a.b": 2, "a": {"b": 3}}
    assert sorted(map(path_text, diff(old, new))) == ["a.b", "a\\.b"]
    result = decide(state(row(**old)), catalog(info(**new)))
    [event] = result.events
    assert event.changes == {"a.b": change(1, 3), "a\\.b": change(1, 2)}


@pytest.mark.parametrize(
    ("globs", "kept"),
    [
        ([], {"a": 1, "b": {"c": 2, "d.e": 3}, "n": None}),
        (["a"], {"b": {"c": 2, "d.e": 3}, "n": None}),
        (["A"], {"a": 1, "b": {"c": 2, "d.e": 3}, "n": None}),
        (["b.c"], {"a": 1, "b": {"d.e": 3}, "n": None}),
        (["b.d.e"], {"a": 1, "b": {"c": 2, "d.e": 3}, "n": None}),
        (["b.d\\.e"], {"a": 1, "b": {"c": 2}, "n": None}),
        (["b.*"], {"a": 1, "n": None}),
        (["n.*"], {"a": 1, "b": {"c": 2, "d.e": 3}}),
        (["*c"], {"a": 1, "b": {"d.e": 3}, "n": None}),
        (["*"], {}),
    ],
)
def test_ignored_paths(globs: list[str], kept: dict[str, Any]) -> None:
    """Ignored paths are left out; `*` spans levels, and a glob matches the whole path."""
    payload = {"a": 1, "b": {"c": 2, "d.e": 3}, "n": None}
    ignored = ignored_paths(globs)
    assert (drop_ignored(payload, {}, ignored)[0] if ignored else payload) == kept


@pytest.mark.parametrize(
    ("ignore", "before", "after", "events"),
    [
        (["created_at"], {}, {"created_at": "2026-02-02T00:00:00Z"}, []),
        (["pricing.*"], {"pricing": {"in": 1}}, {"pricing": {"in": 2}}, []),
        (["pricing.*"], {"pricing": None}, {"pricing": {"in": 2}}, []),
        (["pricing.*"], {}, {"pricing": {"in": 2}}, []),
        (["pricing.*"], {"pricing": 1}, {"pricing": {"in": 2}}, [("updated", "m")]),
        (["pricing.in"], {"pricing": {"in": 1}}, {"pricing": {"in": True}}, []),
        (["pricing.in"], {"pricing": {"in": 1}}, {"pricing": {}}, []),
        (["pricing.in"], {"pricing": None}, {"pricing": {"in": 2}}, []),
        (["pricing.in"], {}, {"pricing": {"in": 2}}, []),
        (["pricing.in"], {}, {"pricing": {}}, [("updated", "m")]),
        (["a.b.c"], {}, {"a": {"b": {"c": 2}}}, []),
        (["a.b.c"], {"a": {"b": {"c": 2}}}, {"a": None}, []),
        (["a.b.c"], {"a": 1}, {"a": {"b": {"c": 2}}}, [("updated", "m")]),
        (["retires_at"], {}, {"retires_at": "2027-01-01T00:00:00Z"}, []),
        (["retires_at"], {}, {"retires_at": "2027-01-01T00:00:00Z", **RENAMED}, [("updated", "m")]),
        (["lifecycle"], {}, {"lifecycle": "deprecated"}, []),
    ],
)
def test_what_is_ignored_makes_no_event(
    ignore: list[str], before: dict[str, Any], after: dict[str, Any], events: list[Any]
) -> None:
    """A change at an ignored path appears in no event, but the row contains it."""
    seen = info(**after)
    result = decide(state(row(**before)), catalog(seen), ignore=ignore)
    assert recorded(result) == events
    assert [each.info.payload for each in result.changed] == [seen.payload]
    assert all("retires_at" not in event.changes for event in result.events)
    assert '"c"' not in json.dumps([dict(event.changes) for event in result.events])


@pytest.mark.parametrize("ignored", ["created_at", "display_name", "type"])
@pytest.mark.parametrize("lifecycle", [None, "sunset"])
def test_an_ignored_path_changes_no_meaning(ignored: str, lifecycle: str | None) -> None:
    """With an ignored path too, a date on a model without a lifecycle is `rescheduled`."""
    known = state(row(lifecycle=lifecycle))
    seen = catalog(info(lifecycle=lifecycle, retires_at="2027-01-01T00:00:00Z"))
    for ignore in ([], [ignored]):
        assert recorded(decide(known, seen, ignore=ignore)) == [("rescheduled", "m")]


@pytest.mark.parametrize("after", [{"in": 1}, {"in": 1, "out": 2}])
def test_what_is_ignored_is_no_change_of_the_whole_catalog(after: dict[str, int]) -> None:
    """An object that appears on all models is recorded without its ignored content, if at all."""
    known, seen = [row(f"m{n}") for n in range(3)], [info(f"m{n}", pricing=after) for n in range(3)]
    events = decide(state(*known), catalog(*seen), ignore=["pricing.in"]).events
    rest = {"pricing": change(None, {"out": 2})}
    assert [event.changes for event in events] == ([rest] if "out" in after else [])
