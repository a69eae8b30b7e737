"""Confirmation by id: which answers count, judged by the control requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from catalog_sync.client.confirm import Lookup, confirm_absent

LISTED = ["new", "vendor/new"]
FOUND = ["new", "vendor/new", "there", "vendor/there"]
"""The models of a server that answers by id. Its list is wrong about two of them."""
MISSING = ["gone", "there", "vendor/gone", "vendor/there"]
NO_NEWS = dict.fromkeys(MISSING, "unknown")

Server = Callable[[str], Lookup]


def found(id_: str) -> Lookup:
    return Lookup(200, {"id": id_})


def api(id_: str) -> Lookup:
    return found(id_) if id_ in FOUND else Lookup(404)


def asked_of(server: Server, missing: list[str], listed: list[str]) -> tuple[list[str], Any]:
    """Return the requested ids, and the result."""
    asked: list[str] = []

    def look_up(id_: str) -> Lookup:
        asked.append(id_)
        return server(id_)

    return asked, confirm_absent(look_up, missing, listed)


def test_nothing_missing() -> None:
    """Without missing models no request is sent, controls included."""
    assert asked_of(api, [], LISTED) == ([], {})


def test_controls_come_first() -> None:
    """An impossible id and a listed model are requested before the models in question."""
    asked, result = asked_of(api, ["there", "gone"], LISTED)
    assert asked[1:] == ["new", "there", "gone"]
    assert asked[0] not in FOUND
    assert list(result.items()) == [("there", "answering"), ("gone", "gone")]


def test_impossible_id_is_new_each_time() -> None:
    """The impossible id differs in each run, so no cache or gateway can know it."""
    first, second = (asked_of(api, ["gone"], LISTED)[0][0] for _ in range(2))
    assert first != second


@pytest.mark.parametrize(
    ("server", "result"),
    [
        (
            api,
            {"gone": "gone", "there": "answering"}
            | {"vendor/gone": "gone", "vendor/there": "answering"},
        ),
        (lambda _id: Lookup(404), NO_NEWS),
        (lambda _id: Lookup(405), NO_NEWS),
        (lambda _id: Lookup(301), NO_NEWS),
        (lambda _id: Lookup(401), NO_NEWS),
        (lambda _id: Lookup(), NO_NEWS),
        (lambda _id: Lookup(200), NO_NEWS),
        (lambda _id: Lookup(200, {"error": {"code": "model_not_found"}}), NO_NEWS),
        (found, NO_NEWS),
        (lambda _id: found("new"), NO_NEWS),
        (
            lambda id_: found(id_) if id_ in FOUND else Lookup(200, {"error": "no model"}),
            NO_NEWS,
        ),
        (
            lambda id_: Lookup(404) if "/" in id_ else api(id_),
            {**NO_NEWS, "gone": "gone", "there": "answering"},
        ),
        (
            lambda id_: api(id_) if "/" in id_ else Lookup(404),
            {**NO_NEWS, "vendor/gone": "gone", "vendor/there": "answering"},
        ),
        (
            lambda id_: found(id_) if id_ == "there" else Lookup(404),
            {**NO_NEWS, "there": "answering"},
        ),
        (
            lambda id_: found(f"{id_}-20260101") if id_ == "there" else api(id_),
            {"gone": "gone", "there": "unknown"}
            | {"vendor/gone": "gone", "vendor/there": "answering"},
        ),
    ],
    ids=[
        "the API",
        "no route",
        "not allowed",
        "redirect",
        "wrong key",
        "no answer",
        "html",
        "error with 200",
        "echo",
        "another model",
        "error with 200 for unknown ids",
        "slash not decoded",
        "slash alone",
        "a route for one only",
        "aliases",
    ],
)
def test_servers(server: Server, result: dict[str, str]) -> None:
    """An answer counts only if the server can tell."""
    assert asked_of(server, MISSING, LISTED)[1] == result


@pytest.mark.parametrize(
    ("missing", "listed", "result"),
    [
        (["gone"], [], "unknown"),
        (["gone"], ["vendor/new"], "gone"),
        (["vendor/gone"], ["new"], "unknown"),
        (["vendor/gone"], [], "unknown"),
    ],
)
def test_without_a_control(missing: list[str], listed: list[str], result: str) -> None:
    """Without a listed model as a control no 404 counts; ids with a slash need one with a slash."""
    assert asked_of(api, missing, listed)[1] == dict.fromkeys(missing, result)


def test_retired() -> None:
    """A model that answers as retired has left the list because it retired."""

    def server(id_: str) -> Lookup:
        return Lookup(200, {"id": id_, "lifecycle": "retired"}) if id_ == "old" else api(id_)

    assert asked_of(server, ["old"], LISTED)[1] == {"old": "retired"}


def test_provider_that_is_passed_on() -> None:
    """Where any name of a provider is answered, an answer for its models says nothing."""

    def server(id_: str) -> Lookup:
        return found(id_) if id_.startswith("vendor/") else api(id_)

    assert asked_of(server, MISSING, LISTED)[1] == {
        "gone": "gone",
        "there": "answering",
        "vendor/gone": "unknown",
        "vendor/there": "unknown",
    }
