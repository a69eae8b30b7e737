"""The client's requests, and its decoding of pages and whole walks, over real sockets."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from catalog_sync import __version__
from catalog_sync.app import App
from catalog_sync.cancel import CancelToken
from catalog_sync.client import walk
from catalog_sync.client.anthropic import AnthropicApi
from catalog_sync.client.models import ModelsClient
from catalog_sync.config.settings import DEFAULT_VERSION
from catalog_sync.demo.history import steps
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.domain.model import ModelInfo
from catalog_sync.errors import BadAnswerError, DeadlineError, RefusedError, SourceError
from support import KEY, Answer, Request, ScriptedServer, model, page, settings_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from catalog_sync.domain.model import Catalog, ModelInfo

HEADERS = {"x-api-key": KEY}
HISTORY = steps()[-1].models
IDS = [listed["id"] for listed in HISTORY]
MIB = 2**20


def connect(
    url: str, headers: Mapping[str, str] = HEADERS, **options: Any
) -> nullcontext[ModelsClient]:
    used: dict[str, Any] = {
        "api": AnthropicApi(DEFAULT_VERSION),
        "deadline": timedelta(seconds=120),
        "credential_origin": "the key",
        "cancel": CancelToken(),
    }
    return nullcontext(ModelsClient(url, headers, **used | options))


def walked(*answers: Any) -> Catalog:
    """Walk a server that gives these answers in turn."""
    with ScriptedServer(list(answers)) as server, connect(server.url) as client:
        return client.walk()


def refusal(*answers: Any) -> str:
    """The error line of a walk over these answers."""
    with pytest.raises(BadAnswerError) as caught:
        walked(*answers)
    return str(caught.value)


def second(item: Any) -> dict[str, Any]:
    """A page whose second object is this one."""
    return page([model("good")], data=[model("good"), item])


def with_item(**fields: Any) -> dict[str, Any]:
    return second(model("odd") | fields)


def without(field: str) -> dict[str, Any]:
    return second({key: value for key, value in model("odd").items() if key != field})


def raw_item(value: bytes) -> bytes:
    """A page whose second object has a field `extra` of this JSON text."""
    return json.dumps(with_item(extra="VALUE")).encode().replace(b'"VALUE"', value)


@pytest.fixture(autouse=True)
def bare_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy or certificates of the host: loading them would take most of the time."""
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(HISTORY, api_key=KEY) as running:
        yield running


def ids(models: tuple[ModelInfo, ...]) -> list[str]:
    return [info.id for info in models]


# Requests


@pytest.mark.parametrize(
    "credential",
    [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}],
    ids=["x-api-key", "bearer"],
)
def test_headers(credential: dict[str, str]) -> None:
    """Every request has the credential, the version, the extra headers and the user agent."""
    headers = {"x-team": "data", **credential}
    answers = [page([model("b")], has_more=True), page([model("a")]), model("gone")]
    server = ScriptedServer(answers)
    with server, connect(server.url, headers, api=AnthropicApi("2023-06-01")) as client:
        client.walk()
        client.confirm_absent(["gone"], ["a"])
    assert len(server.requests) == 5  # two pages, two controls, a request by id
    expected = headers | {
        "accept": "application/json",
        "anthropic-version": "2023-06-01",
        "user-agent": f"catalog-sync/{__version__}",
    }
    for request in server.requests:
        assert expected.items() <= request.headers.items()
        assert ("x-api-key" in request.headers) is ("x-api-key" in credential)


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_both_credentials_are_accepted(sandbox: Sandbox, header: str) -> None:
    """The API accepts a key and a bearer token."""
    value = KEY if header == "x-api-key" else f"Bearer {KEY}"
    with connect(sandbox.url, {header: value}) as client:
        assert list(client.walk().models) == IDS


def test_walk_asks_each_page_alike() -> None:
    """A walk requests its page size and lifecycle on each page, and continues after the last id."""
    answers = [page([model("b")], has_more=True), page([model("a")])]
    with ScriptedServer(answers) as server, connect(server.url) as client:
        client.walk(page_size=7, lifecycle=["retired"])
        client.walk()
    first, second, unfiltered = (request.query for request in server.requests)
    assert first == [("limit", "7"), ("lifecycle[]", "retired")]
    assert sorted(second) == [("after_id", "b"), ("lifecycle[]", "retired"), ("limit", "7")]
    assert unfiltered == [("limit", "1000")]


@pytest.mark.parametrize("prefix", ["/", "/proxy/anthropic", "/proxy/anthropic/"])
def test_base_url_with_a_path(prefix: str) -> None:
    """Paths of the API are added to the path of base_url, with one slash between them."""
    with ScriptedServer([page([]), model("a")]) as server, connect(server.url + prefix) as client:
        client.walk()
        client.confirm_absent(["a"], [])
    start = prefix.rstrip("/")
    first, *_, last = (request.path for request in server.requests)
    assert (first, last) == (f"{start}/v1/models", f"{start}/v1/models/a")


def test_one_connection() -> None:
    """A whole walk and the requests by id after it use one connection."""
    answers = [page([model(str(n))], has_more=True) for n in range(5)]
    with ScriptedServer([*answers, page([]), model("x")]) as server, connect(server.url) as client:
        assert client.walk().pages == 6
        client.confirm_absent(["x", "y"], ["0"])
        assert (len(server.requests), server.connections) == (10, 1)


# Requests by id


@pytest.mark.parametrize(
    "model_id",
    [
        ".",
        "..",
        "...",
        "a/b",
        "../v1",
        "é",
        "a b",
        " a ",
        "%2F",
        "a?b#c",
        "a;b=c,d&e+f",
        "A",
        "日😀",
    ],
)
def test_any_id(model_id: str) -> None:
    """An id reaches the API unchanged, whatever its characters are."""
    sandbox = Sandbox([model(model_id), model("a")], api_key=KEY)
    with sandbox, connect(sandbox.url) as client:
        assert client.confirm_absent([model_id], ["a"]) == {model_id: "answering"}


@pytest.mark.parametrize(
    ("model_id", "path"),
    [("..", "/p/v1/models/%2E%2E"), ("a/b", "/p/v1/models/a%2Fb"), ("é", "/p/v1/models/%C3%A9")],
)
def test_id_is_one_segment(model_id: str, path: str) -> None:
    """On the wire an id is one percent-encoded path segment."""
    with ScriptedServer([model("x")]) as server, connect(server.url + "/p") as client:
        client.confirm_absent([model_id], [])
    assert server.requests[-1].path.upper() == path.upper()


# Pages


# The walk


def test_walk(sandbox: Sandbox) -> None:
    """A walk has every model once, newest first, and reports its progress after each page."""
    progress: list[tuple[int, int]] = []
    with connect(sandbox.url) as client:
        catalog = client.walk(page_size=4, on_page=lambda *so_far: progress.append(so_far))
    assert list(catalog.models) == IDS
    assert (catalog.pages, catalog.scope.organization_id) == (3, "org_sandbox")
    assert progress == [(1, 4), (2, 8), (3, 10)]


def test_walk_with_lifecycle() -> None:
    """The API's own filter decides which models a walk sees."""
    models = [model("new"), model("old", lifecycle="deprecated"), model("out", lifecycle="retired")]
    with Sandbox(models, api_key=KEY) as sandbox, connect(sandbox.url) as client:
        assert set(client.walk().models) == {"new", "old"}
        assert set(client.walk(lifecycle=["retired"]).models) == {"out"}
        assert set(client.walk(lifecycle=["retired", "active"]).models) == {"new", "out"}


def test_values() -> None:
    """The API's fields arrive as values; times are in UTC and keep their microseconds."""
    sent = model(
        "a",
        created_at="2026-01-01T02:00:00.123456+02:00",
        lifecycle="deprecated",
        deprecated_at="2026-03-01T00:00:00Z",
        retires_at="2026-09-01T00:00:00Z",
        line="opus",
        max_input_tokens=1_000_000,
        max_tokens=128_000,
    )
    info = walked(page([sent])).models["a"]
    assert info.created_at == datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert info.created_at.utcoffset() == timedelta()
    assert info.deprecated_at == datetime(2026, 3, 1, tzinfo=UTC)
    assert info.retires_at == datetime(2026, 9, 1, tzinfo=UTC)
    assert (info.display_name, info.type, info.lifecycle, info.line) == (
        "A",
        "model",
        "deprecated",
        "opus",
    )
    assert (info.max_input_tokens, info.max_tokens) == (1_000_000, 128_000)


def test_seed_fields_suffice() -> None:
    """Only the fields of the first API version are required; null means an unstated value."""
    sent = {"id": "a", "display_name": "A", "created_at": "1970-01-01T00:00:00Z", "type": "model"}
    info = walked(page([sent])).models["a"]
    later = ("lifecycle", "deprecated_at", "retires_at", "line", "max_input_tokens", "max_tokens")
    assert [getattr(info, name) for name in later] == [None] * 6
    assert info.payload == sent


def test_unknown_fields_are_kept() -> None:
    """The payload is the object as it was received: every field, type, order and digit."""
    extra = {
        "z": {"deep": [[], {}, None, True, 1, 1.0, -0.5, 1e300, 2**70, "😀\u202e\t"]},
        "payload": {"own": "field"},
        "model_config": 1,
        "": 0,
    }
    sent = model("a", **extra)
    kept = walked(page([sent])).models["a"].payload
    assert json.dumps(kept) == json.dumps(sent)


def test_ids_are_exact() -> None:
    """Ids that differ only in case, spaces or normal form are different models."""
    names = ["a", "A", "a ", " a", "é", "e\u0301", "ﬁ", "fi"]
    assert list(walked(page(map(model, names))).models) == names


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "😀" * 255},
        {"display_name": ""},
        {"type": "something_else"},
        {"lifecycle": "hibernating"},
        {"created_at": "1000-01-01T00:00:00Z"},
        {"created_at": "9999-12-31T23:59:59.999999Z"},
        {"max_tokens": 2**63 - 1},
        {"extra": "\ud83d\ude00"},
    ],
    ids=str,
)
def test_odd_but_fine(fields: dict[str, Any]) -> None:
    """Unusual values that can be stored do not fail a walk."""
    assert len(walked(with_item(**fields)).models) == 2


def test_empty_list() -> None:
    """An empty list is a complete walk."""
    catalog = walked(page([]))
    assert (dict(catalog.models), catalog.pages) == ({}, 1)


def test_empty_page_is_no_end() -> None:
    """An empty page with has_more and a new cursor does not end the walk."""
    empty = page([], has_more=True, first_id="x", last_id="x")
    catalog = walked(page([model("b")], has_more=True), empty, page([model("a")]))
    assert (list(catalog.models), catalog.pages) == (["b", "a"], 3)


def test_same_model_twice() -> None:
    """An id that comes twice with the same content counts once."""
    answers = [page([model("b"), model("a")], has_more=True), page([model("a"), model("0")])]
    with ScriptedServer(answers) as server, connect(server.url) as client:
        assert list(client.walk().models) == ["b", "a", "0"]
        assert len(server.requests) == 2


def test_model_that_changed_meanwhile() -> None:
    """An id that comes twice with different content makes the walk start again, once."""
    first, changed = page([model("a")], has_more=True), page([model("a", line="opus")])
    answers = [first, changed, page([model("a", line="opus")])]
    with ScriptedServer(answers) as server, connect(server.url) as client:
        assert client.walk().models["a"].line == "opus"
        assert [dict(request.query).get("after_id") for request in server.requests] == [
            None,
            "a",
            None,
        ]


def test_model_that_keeps_changing() -> None:
    """Different content in the second walk, too, is a failure that names page and model."""
    answers = [page([model("a")], has_more=True), page([model("a", line="opus")])] * 2
    with ScriptedServer(answers) as server, connect(server.url) as client:
        with pytest.raises(BadAnswerError, match=r"page 2: the model 'a' appears twice"):
            client.walk()
        assert len(server.requests) == 4


@pytest.mark.parametrize("header", ["anthropic-organization-id", "anthropic-workspace-id"])
def test_another_answers_within_a_walk(header: str) -> None:
    """A walk fails if different organisations or workspaces answer its pages."""
    answers = [
        Answer(page([model("b")], has_more=True), headers={header: "first"}),
        Answer(page([model("a")]), headers={header: "second"}),
    ]
    assert "page 2: answered by" in (text := refusal(*answers))
    assert "first" in text
    assert "second" in text


def test_anonymous_pages() -> None:
    """A page that does not state its identity does not contradict the other pages."""
    named = {"anthropic-organization-id": "org"}
    catalog = walked(
        page([model("c")], has_more=True),
        Answer(page([model("b")], has_more=True), headers=named),
        page([model("a")]),
    )
    assert catalog.scope.organization_id == "org"


def test_list_without_end() -> None:
    """An endless list is given up after a thousand pages."""
    names = iter(range(10_000))
    with (
        ScriptedServer(lambda _: page([model(f"m{next(names)}")], has_more=True)) as server,
        connect(server.url) as client,
    ):
        with pytest.raises(BadAnswerError, match=r"^page 1000: "):
            client.walk()
        assert len(server.requests) == 1000


# What ends a walk as a failure


ONE = [model("a")]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"data": ONE, "first_id": "a", "last_id": "a"}, "has_more is missing"),
        (page(ONE, has_more=None), "has_more is missing or not a boolean"),
        (page(ONE, has_more="false"), "not a boolean"),
        (page(ONE, has_more=0), "not a boolean"),
        (page(ONE, has_more=True, last_id=None), "no cursor"),
        ({"data": ONE, "has_more": True}, "no cursor"),
        (page(ONE, has_more=True, last_id=""), "no cursor"),
        (page(ONE, has_more=True, last_id=7), "last_id is neither"),
        (page(ONE, first_id=["a"]), "first_id is neither"),
        ({"has_more": False}, "data is missing"),
        (page(ONE, data=None), "data is missing or not a list"),
        (page(ONE, data={}), "not a list"),
        ([], "not an object"),
        (b"null", "not an object"),
        (b"", "not JSON"),
        (b" \n", "not JSON"),
        (b"<!doctype html><title>Sign in</title>", "not JSON"),
        (json.dumps(page(ONE)).encode()[:-1], "not JSON"),
        (json.dumps(page(ONE)).encode() * 2, "not JSON"),
        (json.dumps(page(ONE)).encode("utf-16"), "not JSON"),
        (raw_item(b'"\xe9"'), "not JSON"),
        (raw_item(b"[" * 100_000 + b"]" * 100_000), "not JSON"),
        (raw_item(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "not JSON"),
        (raw_item(b"1" * 10_000), "not JSON"),
        (raw_item(b"NaN"), "not JSON"),
        (raw_item(b"-Infinity"), "not JSON"),
        (raw_item(b'"\\ud800"'), "not JSON"),
        (raw_item(b'"\\udc00\\ud800"'), "not JSON"),
        (raw_item(b"1e400"), "data[1] (odd): object.extra: a number that is not finite"),
        (raw_item(b'[{"a":-1e400}]'), "object.extra[0].a: a number that is not finite"),
        (raw_item(b'"a\\u0000b"'), "data[1] (odd): object.extra: a NUL character"),
        (raw_item(b'{"a\\u0000b":1}'), "a NUL character"),
        (second(None), "data[1]: expected an object"),
        (second([]), "data[1]: expected an object"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_answer_that_is_no_page(answer: Any, reason: str) -> None:
    """A page that violates the specification ends the walk; the error names page and reason."""
    first = page([model("z")], has_more=True)
    text = refusal(first, answer)
    assert text.startswith("page 2: ")
    assert reason in text


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (without("id"), "data[1]: id: "),
        (without("display_name"), "data[1] (odd): display_name: "),
        (without("created_at"), "data[1] (odd): created_at: "),
        (without("type"), "data[1] (odd): type: "),
        (with_item(id=None), "data[1]: id: "),
        (with_item(id=1), "id: "),
        (with_item(id=""), "id: "),
        (with_item(id="x" * 256), "id: expected 1 to 255 characters"),
        (with_item(id="😀" * 256), "id: expected 1 to 255 characters"),
        (with_item(id="a\0b"), "object.id: a NUL character"),
        (with_item(display_name=None), "display_name: "),
        (with_item(display_name=["A"]), "display_name: "),
        (with_item(type=None), "type: "),
        (with_item(type={}), "type: "),
        (with_item(created_at=None), "created_at: "),
        (with_item(created_at=1767225600), "created_at: "),
        (with_item(created_at="soon"), "created_at: expected an RFC 3339 time"),
        (with_item(created_at="2026-01-01"), "created_at: expected an RFC 3339 time"),
        (with_item(created_at="2026-01-01T00:00:00"), "created_at: expected an RFC 3339 time"),
        (with_item(created_at="2026-02-30T00:00:00Z"), "created_at: not a time that exists"),
        (with_item(created_at="9999-12-31T23:59:59-01:00"), "created_at: not a time that exists"),
        (with_item(created_at="0999-12-31T23:59:59Z"), "created_at: a date before the year 1000"),
        (with_item(created_at="1000-01-01T00:00:00+01:00"), "a date before the year 1000"),
        (with_item(deprecated_at="2026-01-01T00:00:00"), "deprecated_at: "),
        (with_item(retires_at="0001-01-01T00:00:00Z"), "retires_at: a date before the year 1000"),
        (with_item(retires_at=False), "retires_at: "),
        (with_item(lifecycle=1), "lifecycle: "),
        (with_item(line=[]), "line: "),
        (with_item(max_tokens="4096"), "max_tokens: "),
        (with_item(max_tokens=True), "max_tokens: "),
        (with_item(max_tokens=-1), "max_tokens: "),
        (with_item(max_tokens=1.5), "max_tokens: "),
        (with_item(max_input_tokens=2**63), "max_input_tokens: "),
    ],
    ids=lambda value: value["data"][1].__repr__()[:80] if isinstance(value, dict) else value,
)
def test_object_that_is_no_model(answer: Any, reason: str) -> None:
    """An object without its required fields, or with wrong types, ends the walk and is named."""
    text = refusal(answer)
    assert text.startswith("page 1: data[1]")
    assert reason in text


@pytest.mark.parametrize(
    ("cursors", "number"),
    [(["a", "a"], 2), (["a", "b", "a"], 3), (["a", "b", "c", "b"], 4)],
)
def test_repeated_cursor(cursors: list[str], number: int) -> None:
    """A repeated cursor would never end, so the walk fails."""
    answers = [page(ONE, has_more=True, last_id=cursor) for cursor in cursors]
    assert f"page {number}: the cursor {cursors[-1]!r} is repeated" in refusal(*answers)


@pytest.mark.parametrize("cursor", ["x" * 70_000, "é" * 20_000], ids=["ascii", "escaped"])
def test_cursor_longer_than_any_url(cursor: str) -> None:
    """A cursor that no request can contain is a bad answer, not a crash."""
    with pytest.raises(SourceError, match=r"^page \d: ") as caught:
        walked(page(ONE, has_more=True, last_id=cursor))
    assert len(str(caught.value)) <= 1000


@pytest.mark.parametrize("coding", ["identity", "gzip"])
@pytest.mark.parametrize("over", [0, 1], ids=["32 MiB", "a byte more"])
def test_largest_body(coding: str, over: int) -> None:
    """A page may have at most 32 MiB, decompressed."""
    body = json.dumps(page(ONE)).encode()
    body += b" " * (32 * MIB - len(body) + over)
    if coding == "gzip":
        body = gzip.compress(body, 1)
    answer = Answer(body, headers={"content-encoding": coding})
    if over:
        assert "page 1: the body is larger than 32 MiB" in refusal(answer)
    else:
        assert list(walked(answer).models) == ["a"]


@pytest.mark.parametrize("layers", [1, 2])
def test_compressed_bomb(layers: int) -> None:
    """A small body that decompresses to a huge one is refused before it fills the memory."""
    body = gzip.compress(b" " * (300 * MIB), 1)
    if layers == 2:
        body = gzip.compress(body)
    answer = Answer(body, headers={"content-encoding": ", ".join(["gzip"] * layers)})
    tracemalloc.start()
    try:
        assert "page 1: the body" in refusal(answer)
        assert tracemalloc.get_traced_memory()[1] < 250 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("before", "value", "after"),
    [
        (b'{"has_more": false, "data": [', b"0,", b"0]}"),
        (b'{"has_more": false, "data": [], "more": [', b"[],", b"[]]}"),
        (b'{"has_more": false, "data": [], "more": [', b"[" * 99 + b"]" * 99 + b",", b"[]]}"),
    ],
    ids=["models", "beside the models", "nested"],
)
def test_millions_of_tiny_values(before: bytes, value: bytes, after: bytes) -> None:
    """A page of millions of tiny values is refused before they fill the memory."""
    answer = Answer(before + value * (30 * MIB // len(value)) + after)
    tracemalloc.start()
    try:
        assert "page 1: the body has more than 4,000,000 values" in refusal(answer)
        assert tracemalloc.get_traced_memory()[1] < 250 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect(status: int) -> None:
    """A redirect is refused, not followed: its target gets neither a request nor the key."""
    with ScriptedServer([page([])]) as target:
        away = Answer(status=status, headers={"location": f"{target.url}/v1/models"})
        with ScriptedServer([away]) as server, connect(server.url) as client:
            with pytest.raises(RefusedError, match=f"HTTP {status}.*redirect"):
                client.walk()
            assert client.confirm_absent(["a"], ["b"]) == {"a": "unknown"}
            assert len(server.requests) == 4
        assert (target.requests, target.connections) == ([], 0)


@pytest.mark.parametrize(
    "location",
    ["", "/", "http://[", "mailto:a@b", "javascript:x", "http://xn--a/", "http://a:99999999/"],
)
def test_redirect_to_nowhere(location: str) -> None:
    """A redirect is refused also if its target is no URL."""
    answer = Answer(status=302, headers={"location": location})
    with ScriptedServer([answer]) as server, connect(server.url) as client:
        with pytest.raises(RefusedError, match=r"page 1: HTTP 302.*redirect"):
            client.walk()
        assert len(server.requests) == 1


# What version 0.1 got wrong


def raised(*answers: Any, base_path: str = "") -> str:
    """The error line of a walk."""
    with (
        ScriptedServer(list(answers)) as server,
        connect(server.url + base_path) as client,
        pytest.raises(SourceError) as caught,
    ):
        client.walk()
    return str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "x"}]},
        {"object": "list", "data": []},
        {"object": "list", "data": [{"id": "m"}], "has_more": False},
        {"data": [{"id": "m", "name": "M", "created": 1745875945}]},
        [{"id": "m", "object": "model", "created": 1}],
        page([{"id": "m", "object": "model", "created": 1}]),
        page([{**model("m"), "object": "model", "created_at": 1767225600}]),
    ],
    ids=["OpenAI", "empty", "DeepSeek", "OpenRouter", "Together", "paged", "mixed"],
)
def test_shape_of_another_api(answer: Any) -> None:
    """A list in OpenAI's shape is refused with the setting that reads it."""
    text = raised(answer)
    assert text.startswith("page 1: ")
    assert 'set api = "openai"' in text


@pytest.mark.parametrize(
    "answer",
    [
        page([{**model("m"), "created_at": 1767225600}]),
        page([{**model("m"), "max_tokens": "8192"}]),
        {"data": []},
        {"models": []},
    ],
)
def test_broken_answer_of_this_api(answer: Any) -> None:
    """A broken answer of this API is not taken for another API."""
    assert "openai" not in raised(answer)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"success": False, "message": "get user group failed"}, "get user group failed"),
        ({"error": {"message": "Invalid token"}}, "Invalid token"),
        ({"errors": [{"message": "No such\nkey"}]}, "No such key"),
    ],
)
def test_error_with_200(answer: Any, words: str) -> None:
    """An error that arrives with HTTP 200 is quoted in one line."""
    assert f'data is missing or not a list; it says "{words}"' in raised(answer)


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/proxy/v1"])
def test_base_url_with_a_version(path: str) -> None:
    """A base_url that ends in /v1 is the same address as without it; a 404 shows the URL."""
    with ScriptedServer([Answer({}, 404)]) as server:
        with connect(server.url + path) as client, pytest.raises(RefusedError) as caught:
            client.walk()
        root = path.rstrip("/").removesuffix("/v1")
        assert f"(URL: {server.url}{root}/v1/models)" in str(caught.value)
        assert server.requests[0].path == f"{root}/v1/models"


@pytest.mark.parametrize("coding", ["x-gzip", "", "identity", "none", "utf-8"])
def test_encoding_and_byte_order_mark(coding: str) -> None:
    """A byte order mark, and another name of the encoding, do not fail a list."""
    body = b"\xef\xbb\xbf" + json.dumps(page([model("a")])).encode()
    body = gzip.compress(body) if "gzip" in coding else body
    assert list(walked(Answer(body, headers={"content-encoding": coding})).models) == ["a"]


@pytest.mark.parametrize(("first", "second"), [(True, 1), (False, 0), ([True], [1]), ("1", 1)])
def test_same_model_twice_with_another_type(first: Any, second: Any) -> None:
    """A value of another type is different content, even if Python considers them equal."""
    pages = [page([model("a", x=first)], has_more=True), page([model("a", x=second)])]
    assert "page 2: the model 'a' appears twice" in raised(*pages, *pages)


def test_size_of_a_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages of a walk together have a maximum size, too."""
    monkeypatch.setattr(walk, "MAX_WALK_BYTES", 2 * MIB)
    names = iter(range(100))
    half = "x" * (MIB // 2)

    def endless(_request: Request) -> Any:
        return page([model(str(next(names)), extra=half) for _ in range(2)], has_more=True)

    with (
        ScriptedServer(endless) as server,
        connect(server.url) as client,
        pytest.raises(BadAnswerError, match="page 2: the list is larger than 2 MiB"),
    ):
        client.walk()


def test_deadline_covers_reading() -> None:
    """The deadline also ends a walk while the objects of a page are decoded."""
    items = [model(str(number)) for number in range(1000)]
    checks = iter(range(1000))

    def check() -> None:
        if next(checks) == 3:
            raise DeadlineError("not finished")

    raw = [msgspec.Raw(json.dumps(item).encode()) for item in items]
    with pytest.raises(DeadlineError):
        walk.PageReader(AnthropicApi(DEFAULT_VERSION), {}, check).models(raw)


def test_two_sources_with_different_records_of_a_model() -> None:
    """An object that is equal to one source's record is still compared with another source's."""
    sent = msgspec.Raw(json.dumps(model("a", x=2)).encode())
    records = [ModelInfo.from_payload(model("a", x=x)) for x in (1, 2, 1)]
    for record in records:
        reader = walk.PageReader(AnthropicApi(DEFAULT_VERSION), {"a": record}, lambda: None)
        [found] = reader.models([sent])
        assert (found is record) is (record.payload["x"] == 2)
        assert found.payload["x"] == 2


@pytest.mark.parametrize("over", [0, 1])
def test_largest_object(over: int) -> None:
    """An object that databases would refuse by its size is refused by name, at more than 1 MiB."""
    sent = model("odd", extra="")
    sent["extra"] = "x" * (MIB - len(json.dumps(sent)) + over)
    if over:
        assert "page 1: data[1] (odd): the object is larger than 1 MiB; " in refusal(second(sent))
    else:
        assert walked(second(sent)).models["odd"].payload == sent


@pytest.mark.parametrize("fill", ['"', "\\", "é"])
def test_largest_objects_are_recorded(database_url: str, fill: str) -> None:
    """Objects of the largest size are recorded by each database, whatever has to be escaped."""

    def large(id_: str, text: str) -> dict[str, Any]:
        sent = model(id_, extra="")
        unit = len(json.dumps(text)) - 2
        return sent | {"extra": text * ((MIB - len(json.dumps(sent))) // unit)}

    rest = [model("b"), model("c"), model("d")]
    changed = [large("a", fill[::-1] + "x"), large("e", fill), *rest]
    with (
        ScriptedServer([page([large("a", fill), *rest]), page(changed)]) as server,
        App(settings_for(database_url, server.url)) as app,
    ):
        app.sync()
        (report,) = app.sync()
    assert (report.error, len(report.events)) == (None, 2)


def test_known_models_stand_for_unchanged_ones() -> None:
    """A recorded model is in the catalog itself if its object did not change in any value."""
    before = walked(page([model("a"), model("b", x=1), model("c", x={"y": 1, "z": 2})])).models
    after = page([model("a"), model("b", x=True), model("c", x={"z": 2, "y": 1}), model("d")])
    with ScriptedServer([after]) as server, connect(server.url) as client:
        seen = client.walk(known=before).models
    assert list(seen) == ["a", "b", "c", "d"]
    assert [seen[id_] is before[id_] for id_ in "abc"] == [True, False, True]
    assert seen["b"].payload["x"] is True


def test_server_time() -> None:
    """A catalog has the server's clock, by the Date of the last answer."""
    first, last = (
        datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC),
        datetime(2026, 11, 26, 12, 0, 5, tzinfo=UTC),
    )
    answers = [
        Answer(body, headers={"date": format_datetime(at, usegmt=True)})
        for body, at in [(page([model("b")], has_more=True), first), (page([model("a")]), last)]
    ]
    assert walked(*answers).server_at == last


def test_key_without_encryption(caplog: pytest.LogCaptureFixture) -> None:
    """A key that is sent to another host without encryption is one warning per process."""
    for url in ("http://gateway.example", "http://gateway.example", "https://gateway.example"):
        connect(url)
    for host in ("127.0.0.1", "127.9.9.9", "localhost", "localhost.", "api.localhost", "[::1]"):
        connect(f"http://{host}:1/v1")
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "without encryption" in record.message


@pytest.mark.parametrize("length", [8, 12, 19])
@pytest.mark.parametrize("place", ["id", "cursor", "words"])
def test_cut_secret(place: str, length: int) -> None:
    """Parts of a secret with at least eight characters that a server echoes are redacted."""
    for part in (KEY[:length], KEY[-length:]):
        answers = {
            "id": [page([model(f"{part}…", type=None)])],
            "cursor": [page([model("a")], has_more=True, last_id=part)] * 2,
            "words": [Answer({"error": {"message": f"unknown key {part}..."}}, 401)],
        }[place]
        text = raised(*answers)
        assert "[redacted]" in text
        assert not any(KEY[i : i + 8] in text for i in range(len(KEY) - 7))
