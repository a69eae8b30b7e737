"""JSON that the program stores: written and read without a loss, shared where it is equal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from catalog_sync.json_values import StoredObjects, from_json, has_text, to_json

VALUES: list[Any] = [
    None,
    {"a": {}, "b": [], "c": [1, {"é": '\x01\x7f\u2028/\\"', "": [[]]}], "d": 1.5, "e": True},
    {"large": 2**70, "small": -(2**70), "tiny": 1e-07, "zero": -0.0, "far": 1e300},
    {"half": "\ud83d", "whole": "\U0001f600"},
]


@pytest.mark.parametrize("value", VALUES)
def test_json_keeps_every_value(value: Any) -> None:
    """What is written as JSON is read again as it was, by this program and by Python's decoder."""
    text = to_json(value)
    assert from_json(text) == json.loads(text) == value
    for unshared in (0, 1):
        assert value is None or StoredObjects(unshared).read(text) == value


def test_json_is_written_as_python_writes_it() -> None:
    """The text has a space after each comma and colon, and characters stand as themselves."""
    assert to_json(VALUES[1]) == json.dumps(VALUES[1], ensure_ascii=False)


def test_json_of_older_versions_is_read() -> None:
    """An object that an older version stored is read although strict JSON does not allow it."""
    assert StoredObjects(0).read('{"half": "\\ud83d", "far": 1e400, "n": [Infinity]}') == {
        "half": "\ud83d",
        "far": float("inf"),
        "n": [float("inf")],
    }


@pytest.mark.parametrize(
    ("value", "text", "same"),
    [
        ({"a": [1, "é"]}, '{ "a":[1,\n"é"] }', True),
        ({"a": 1}, '{"a": true}', False),
        ({"a": 1}, '{"a": 1.0}', False),
        ({"a": 1}, '{"a": 2, "a": 1}', False),
        ({"a": 1}, '{"a": 1', False),
        ({"a": "\ud83d"}, '{"a": "\\ud83d"}', False),
    ],
)
def test_text_of_a_value(value: Any, text: str, same: bool) -> None:
    """A text is that of a value only if it is valid and differs in nothing but its spaces."""
    assert has_text(value, text.encode()) is same


def test_equal_objects_of_sources_are_one_object() -> None:
    """An object that several sources have in common is decoded once, unless it is large."""
    for length, kept in [(10, True), (10_000, False)]:
        text = to_json({"id": "x" * length})
        first, second = (StoredObjects(keep=True).read(text) for _ in range(2))
        assert (first is second) is kept
