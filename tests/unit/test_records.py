"""The value types shared by all layers: accepted and refused values."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog_sync.client.anthropic import AnthropicApi
from catalog_sync.client.decode import check_storable
from catalog_sync.config.settings import DEFAULT_VERSION
from catalog_sync.domain.kinds import Kind, RunStatus
from catalog_sync.domain.model import (
    ID_MAX_LENGTH,
    Catalog,
    Event,
    Identity,
    ModelInfo,
    ModelRecord,
)
from catalog_sync.sync.report import RunReport
from support import model

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
SEED = {
    "id": "m",
    "type": "model",
    "display_name": "M",
    "created_at": "2026-01-01T00:00:00Z",
}
"""An object of the first API version."""


def read(payload: Any) -> ModelInfo:
    """Read an object as the client of Anthropic's API does."""
    check_storable(payload)
    return AnthropicApi(DEFAULT_VERSION).read_model(payload)


# --- the API's objects -------------------------------------------------------------------------


def test_first_api_version() -> None:
    """The fields of the first API version are enough; unstated values are None."""
    info = read(SEED)
    assert (info.id, info.type, info.display_name) == ("m", "model", "M")
    assert info.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    for each in fields(ModelInfo):
        if each.name not in {*SEED, "payload"}:
            assert getattr(info, each.name) is None


def test_newest_api_version() -> None:
    """Every field that has a column is taken from the object; times are in UTC."""
    info = read(
        {
            **SEED,
            "lifecycle": "deprecated",
            "deprecated_at": "2026-06-01T02:00:00.5+02:00",
            "retires_at": "2026-12-01T00:00:00Z",
            "line": "opus",
            "max_input_tokens": 1_000_000,
            "max_tokens": 0,
        }
    )
    assert info.lifecycle == "deprecated"
    assert info.deprecated_at == datetime(2026, 6, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert info.deprecated_at.tzinfo is UTC
    assert info.retires_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert (info.line, info.max_input_tokens, info.max_tokens) == ("opus", 1_000_000, 0)


def test_the_whole_object_is_kept() -> None:
    """The payload is the object as received, with unknown fields, nulls and order."""
    payload = {"new": {"deep": [1, None, {"a": 1.5}]}, **SEED, "line": None, "payload": "theirs"}
    info = read(payload)
    assert info.payload == payload
    assert list(info.payload) == list(payload)


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "something else"},
        {"type": ""},
        {"lifecycle": "hibernating"},
        {"line": "sonata"},
        {"display_name": ""},
        {"display_name": "🎼 موسيقى \u202e"},
        {"id": "🎼"},
        {"id": " m "},
        {"id": "x" * ID_MAX_LENGTH},
        {"created_at": "1970-01-01T00:00:00Z"},
        {"created_at": "1000-01-01T00:00:00Z"},
        {"created_at": "9999-12-31T23:59:59.999999Z"},
        {"max_tokens": 2**63 - 1},
        {"new": 10**30},
    ],
)
def test_accepted(fields: dict[str, Any]) -> None:
    """Words are stored as sent; ids, times and numbers may reach the databases' limits."""
    info = read({**SEED, **fields})
    assert info.payload == {**SEED, **fields}
    for name in fields.keys() & {"id", "type", "display_name", "lifecycle", "line", "max_tokens"}:
        assert getattr(info, name) == fields[name]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"id": None}, "id: "),
        ({"id": 1}, "id: "),
        ({"id": ""}, "id: "),
        ({"id": "x" * (ID_MAX_LENGTH + 1)}, "id: "),
        ({"id": "🎼" * (ID_MAX_LENGTH + 1)}, "id: "),
        ({"display_name": None}, "display_name: "),
        ({"display_name": 1}, "display_name: "),
        ({"type": None}, "type: "),
        ({"created_at": None}, "created_at: expected an RFC 3339 time"),
        ({"created_at": 0}, "created_at: expected an RFC 3339 time"),
        ({"created_at": "2026-01-01"}, "created_at: expected an RFC 3339 time"),
        ({"created_at": "2026-01-01T00:00:00"}, "created_at: expected an RFC 3339 time"),
        ({"created_at": "2026-13-01T00:00:00Z"}, "created_at: not a time that exists"),
        ({"created_at": "0999-12-31T23:59:59Z"}, "created_at: a date before the year 1000"),
        ({"created_at": "9999-12-31T23:59:59-01:00"}, "created_at: not a time that exists"),
        ({"deprecated_at": "soon"}, "deprecated_at: expected an RFC 3339 time"),
        ({"retires_at": "2026-12-01T00:00:00"}, "retires_at: expected an RFC 3339 time"),
        ({"lifecycle": 1}, "lifecycle: "),
        ({"line": []}, "line: "),
        ({"max_tokens": -1}, "max_tokens: "),
        ({"max_tokens": 2**63}, "max_tokens: "),
        ({"max_tokens": True}, "max_tokens: "),
        ({"max_tokens": "4096"}, "max_tokens: "),
        ({"max_input_tokens": 1.0}, "max_input_tokens: "),
        ({"display_name": "a\x00b"}, "object.display_name: a NUL character"),
        ({"display_name": "\ud83c"}, "object.display_name: half of a surrogate pair"),
        ({"new": {"deep": [0, "\x00"]}}, "object.new.deep[1]: a NUL character"),
        ({"new": {"a\x00": 1}}, "object.new: a key: a NUL character"),
        ({"\udfff": 1}, "object: a key: half of a surrogate pair"),
        ({"new": float("nan")}, "object.new: a number that is not finite"),
        ({"new": [float("-inf")]}, "object.new[0]: a number that is not finite"),
    ],
)
def test_refused(fields: dict[str, Any], place: str) -> None:
    """A value that the API does not promise, or no database stores, is refused with its place."""
    with pytest.raises(ValueError) as caught:
        read({**SEED, **fields})
    assert str(caught.value).startswith(place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", SEED)
def test_missing_field(field: str) -> None:
    """Each field of the first API version is required."""
    payload = {key: value for key, value in SEED.items() if key != field}
    with pytest.raises(ValueError, match=f"^{field}: "):
        read(payload)


@pytest.mark.parametrize("payload", [None, [], "m", 1, [SEED]])
def test_no_object(payload: Any) -> None:
    """A value that is no JSON object is refused."""
    with pytest.raises(ValueError, match=r"^expected an object"):
        ModelInfo.from_payload(payload)


# --- frozen ------------------------------------------------------------------------------------


def test_values_are_frozen() -> None:
    """No value can be changed."""
    info = ModelInfo.from_payload(SEED)
    for value, name in (
        (info, "display_name"),
        (ModelRecord("s", info, NOW, NOW), "removed_at"),
        (Catalog({}, 1), "pages"),
        (Event(Kind.ADDED, NOW), "kind"),
        (Identity(), "organization_id"),
    ):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, None)


def test_listed_and_retired() -> None:
    """A model is listed until it is removed, also while missing; `retired` is from the API."""
    info = ModelInfo.from_payload(model("m", retires_at="2026-01-01T00:00:00Z"))
    missing = ModelRecord("s", info, NOW, NOW, missing_since=NOW)
    assert missing.listed
    assert not missing.retired
    done = ModelInfo.from_payload(model("m", lifecycle="retired"))
    removed = ModelRecord("s", done, NOW, NOW, missing_since=NOW, removed_at=NOW)
    assert not removed.listed
    assert removed.retired


# --- who answered ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "text"),
    [
        (Identity(), "-/-"),
        (Identity("org_a"), "org_a/-"),
        (Identity(None, "ws_1"), "-/ws_1"),
        (Identity("org_a", "ws_1"), "org_a/ws_1"),
        (Identity("team/blue", None), "team%2Fblue/-"),
        (Identity("a/b", "c/d"), "a%2Fb/c%2Fd"),
        (Identity("50%", "-"), "50%25/%2D"),
    ],
)
def test_scope_text(scope: Identity, text: str) -> None:
    """An identity is read back unchanged from its text."""
    assert str(scope) == text
    assert Identity.parse(text) == scope


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("org_a/ws_1", Identity("org_a", "ws_1")),
        ("team/blue/-", Identity("team/blue")),
        ("50%/-", Identity("50%")),
    ],
)
def test_scope_of_version_0_1(text: str, scope: Identity) -> None:
    """Identities that version 0.1 stored are read correctly."""
    assert Identity.parse(text) == scope


def test_scope_of_nothing() -> None:
    """A source without an answer has the unknown identity."""
    assert Identity.parse(None) == Identity()


def test_scope_known_by() -> None:
    """Unstated parts of an identity are taken from the other; stated parts count."""
    full = Identity("org_a", "ws_1")
    assert Identity().filled_from(full) == full
    assert Identity("org_b").filled_from(full) == Identity("org_b", "ws_1")
    assert full.filled_from(Identity("org_b", "ws_2")) == full


# --- the report --------------------------------------------------------------------------------


def test_report() -> None:
    """The JSON of a run contains its facts, and the ids or field paths of each kind of event."""
    events = [
        Event(Kind.SCHEMA_CHANGED, NOW, changes={"a.b": {"old": None}, "c": {"new": None}}),
        Event(Kind.ADDED, NOW, "x"),
        Event(Kind.ADDED, NOW, "y"),
        Event(Kind.RETIRED, NOW, "z"),
        Event(Kind.RETIRING, NOW, "x"),
        Event(Kind.SYNC_RECOVERED, NOW),
    ]
    report = RunReport(
        "anthropic",
        RunStatus.SUCCEEDED,
        NOW,
        run_id=7,
        pages=1,
        models=10,
        events=tuple(events),
        held=("u", "v"),
        duration=timedelta(microseconds=212_345),
    )
    assert report.to_json() == {
        "run_id": 7,
        "source": "anthropic",
        "status": "succeeded",
        "baseline": False,
        "pages": 1,
        "models": 10,
        "added": ["x", "y"],
        "updated": [],
        "deprecated": [],
        "rescheduled": [],
        "retired": ["z"],
        "retiring": ["x"],
        "removed": [],
        "returned": [],
        "schema_changed": ["a.b", "c"],
        "held": ["u", "v"],
        "error": None,
        "started_at": "2026-06-15T12:00:00Z",
        "duration_seconds": 0.212,
    }


def test_report_order() -> None:
    """The JSON of every run has the same keys in the same order, also for a failed one."""
    failed = RunReport("s", RunStatus.FAILED, NOW, error="source s: HTTP 500").to_json()
    assert list(failed) == list(RunReport("s", RunStatus.SUCCEEDED, NOW).to_json())
    assert failed["error"] == "source s: HTTP 500"
    assert (failed["run_id"], failed["pages"], failed["models"]) == (None, None, None)
