"""The sandbox answers as the real API does, checked by the official SDK."""

from __future__ import annotations

import http.client
import json
import re
import socket
import struct
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from anthropic.types import ModelInfo

from catalog_sync.demo.history import steps
from catalog_sync.demo.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NEWEST = steps()[-1].models
IDS = [model["id"] for model in NEWEST]
KEY = "sk-test-only"
OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(NEWEST, api_key=KEY) as running:
        yield running


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[anthropic.Anthropic]:
    with connect(sandbox, api_key=KEY) as connected:
        yield connected


def connect(sandbox: Sandbox, **options: Any) -> anthropic.Anthropic:
    """Give a client that refuses an answer in another shape than the SDK describes."""
    return anthropic.Anthropic(
        base_url=sandbox.url, max_retries=0, _strict_response_validation=True, **options
    )


def raw(
    sandbox: Sandbox,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """Send a request that the SDK would never send."""
    if headers is None:
        headers = {"x-api-key": sandbox.api_key, "anthropic-version": "2026-10-21"}
    with closing(connection_to(sandbox)) as connection:
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        content = response.read()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, content


def connection_to(sandbox: Sandbox) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(*address(sandbox), timeout=10)


def address(sandbox: Sandbox) -> tuple[str, int]:
    host, _, port = sandbox.url.removeprefix("http://").partition(":")
    return host, int(port)


def model(model_id: str, created_at: str = "2026-01-01T00:00:00Z", **fields: Any) -> dict[str, Any]:
    return {**NEWEST[0], "id": model_id, "created_at": created_at, **fields}


def ids(page: Any) -> list[str]:
    return [listed.id for listed in page.data]


# Listing


def test_walk_forwards(client: anthropic.Anthropic) -> None:
    """Small pages, one after the other, hold every model once, newest first."""
    assert [listed.id for listed in client.models.list(limit=3)] == IDS


def test_walk_backwards(client: anthropic.Anthropic) -> None:
    """A page before a cursor is the adjacent one, newest first; `has_more` looks backwards."""
    page = client.models.list(limit=4, before_id=IDS[-1])
    assert (ids(page), page.has_more) == (IDS[5:9], True)
    page = page.get_next_page()
    assert (ids(page), page.has_more) == (IDS[1:5], True)
    page = page.get_next_page()
    assert (ids(page), page.has_more) == (IDS[:1], False)


def test_page(client: anthropic.Anthropic) -> None:
    """A page names its first and last id and states whether more follow."""
    page = client.models.list(limit=2, after_id=IDS[0])
    assert ids(page) == IDS[1:3]
    assert (page.first_id, page.last_id, page.has_more) == (IDS[1], IDS[2], True)


def test_page_that_ends_with_the_list(client: anthropic.Anthropic) -> None:
    """A full page has no more when nothing is left."""
    page = client.models.list(limit=len(IDS))
    assert ids(page) == IDS
    assert page.has_more is False


def test_page_after_the_last(client: anthropic.Anthropic) -> None:
    """A page without objects has null ids and no more."""
    page = client.models.list(after_id=IDS[-1])
    assert (page.data, page.first_id, page.last_id, page.has_more) == ([], None, None, False)


def test_empty_catalog(sandbox: Sandbox, client: anthropic.Anthropic) -> None:
    """No models make an empty page, not an error."""
    sandbox.models = []
    page = client.models.list()
    assert (page.data, page.first_id, page.last_id, page.has_more) == ([], None, None, False)


def test_default_limit(sandbox: Sandbox, client: anthropic.Anthropic) -> None:
    """Without a limit a page holds 20; 1000 is allowed."""
    sandbox.models = [model(f"m-{number}") for number in range(1001)]
    assert len(client.models.list().data) == 20
    page = client.models.list(limit=1000)
    assert (len(page.data), page.has_more) == (1000, True)


def test_order(sandbox: Sandbox, client: anthropic.Anthropic) -> None:
    """Models are newest first, whatever the zone of the times; equal times keep their order."""
    sandbox.models = [
        model("old", "1970-01-01T00:00:00Z"),
        model("twin-b", "2026-01-01T00:00:00Z"),
        model("new", "2026-01-01T00:30:00-01:00"),
        model("twin-a", "2026-01-01T01:00:00+01:00"),
    ]
    assert ids(client.models.list()) == ["new", "twin-b", "twin-a", "old"]


def test_lifecycle_filter(sandbox: Sandbox, client: anthropic.Anthropic) -> None:
    """Active and deprecated models are listed; retired ones only if requested."""
    sandbox.models = [model(name, lifecycle=name) for name in ("active", "deprecated", "retired")]
    assert ids(client.models.list()) == ["active", "deprecated"]
    assert ids(client.models.list(lifecycle=["retired"])) == ["retired"]
    assert ids(client.models.list(lifecycle=["retired", "active"])) == ["active", "retired"]


def test_lifecycle_without_brackets(sandbox: Sandbox) -> None:
    """Only `lifecycle[]` is a filter; another parameter has no effect."""
    _, _, content = raw(sandbox, "GET", "/v1/models?lifecycle=retired&limit=1")
    assert json.loads(content)["first_id"] == IDS[0]


def test_filtered_pages(sandbox: Sandbox, client: anthropic.Anthropic) -> None:
    """A filter is applied before the limit, and a model that it hides is still a cursor."""
    sandbox.models = [
        model(f"m-{number}", lifecycle="retired" if number % 2 else "active") for number in range(9)
    ]
    assert [m.id for m in client.models.list(limit=2)] == ["m-0", "m-2", "m-4", "m-6", "m-8"]
    assert ids(client.models.list(after_id="m-3")) == ["m-4", "m-6", "m-8"]
    assert ids(client.models.list(before_id="m-3")) == ["m-0", "m-2"]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "2.5"])
def test_bad_limit(client: anthropic.Anthropic, limit: str) -> None:
    """A limit that is no integer from 1 to 1000 is an invalid request that names the limit."""
    with pytest.raises(anthropic.BadRequestError, match="limit: Input should be"):
        client.models.list(extra_query={"limit": limit})


@pytest.mark.parametrize("cursor", ["after_id", "before_id"])
@pytest.mark.parametrize("value", ["claude-unheard-of", ""])
def test_unknown_cursor(client: anthropic.Anthropic, cursor: str, value: str) -> None:
    """A cursor that names no model is an invalid request, never page one again."""
    with pytest.raises(anthropic.BadRequestError, match=cursor):
        client.models.list(extra_query={cursor: value})


def test_both_cursors(client: anthropic.Anthropic) -> None:
    """A page cannot be after one model and before another."""
    with pytest.raises(anthropic.BadRequestError, match="only one"):
        client.models.list(after_id=IDS[0], before_id=IDS[3])


def test_unknown_lifecycle(client: anthropic.Anthropic) -> None:
    """A lifecycle that does not exist is an invalid request."""
    with pytest.raises(anthropic.BadRequestError, match="lifecycle"):
        client.models.list(extra_query={"lifecycle": ["active", "asleep"]})


# One model


def test_get(client: anthropic.Anthropic) -> None:
    """A model requested by id is the object that is listed."""
    expected = next(listed for listed in client.models.list() if listed.id == IDS[4])
    assert client.models.retrieve(IDS[4]) == expected
    assert isinstance(expected, ModelInfo)


def test_get_all(client: anthropic.Anthropic) -> None:
    """The objects arrive unchanged, with every field."""
    for given in NEWEST:
        answer = client.models.with_raw_response.retrieve(given["id"])
        assert json.loads(answer.text()) == given


def test_get_unknown(client: anthropic.Anthropic) -> None:
    """An unknown model is not found, and the error says which."""
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("claude-unheard-of")
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"] == {
        "type": "not_found_error",
        "message": "model: claude-unheard-of",
    }


@pytest.mark.parametrize("odd", ["vendor/claude 5?é#", "100%25", "a+b&c=d", "模型"])
def test_get_encoded(sandbox: Sandbox, client: anthropic.Anthropic, odd: str) -> None:
    """An id of any characters can be requested and can be a cursor."""
    sandbox.models = [model(odd), model("last", "2025-01-01T00:00:00Z")]
    assert client.models.retrieve(odd).id == odd
    assert ids(client.models.list(after_id=odd)) == ["last"]


def test_get_retired(sandbox: Sandbox, client: anthropic.Anthropic) -> None:
    """A retired model is not listed and still answered by id."""
    sandbox.models = [model("gone", lifecycle="retired")]
    assert ids(client.models.list()) == []
    assert client.models.retrieve("gone").lifecycle == "retired"


# Versions


def test_older_version(sandbox: Sandbox) -> None:
    """A version before 2026-10-21 knows no lifecycle fields; retired models stay off its list."""
    sandbox.models = [*NEWEST, model("gone", lifecycle="retired")]
    with anthropic.Anthropic(
        base_url=sandbox.url, api_key=KEY, default_headers={"anthropic-version": "2023-06-01"}
    ) as client:
        listed = json.loads(client.models.with_raw_response.list().text())["data"]
        single = json.loads(client.models.with_raw_response.retrieve(IDS[0]).text())
    assert [entry["id"] for entry in listed] == IDS
    assert listed[0] == single
    for entry, given in zip(listed, NEWEST, strict=True):
        assert set(given) - set(entry) == {"lifecycle", "deprecated_at", "retires_at", "line"}


def test_missing_version(client: anthropic.Anthropic) -> None:
    """A request without `anthropic-version` is invalid, and the error says what is missing."""
    with pytest.raises(anthropic.BadRequestError, match="anthropic-version: header is required"):
        client.models.list(extra_headers={"anthropic-version": anthropic.omit})


def test_unknown_version(client: anthropic.Anthropic) -> None:
    """An unknown version is an invalid request."""
    with pytest.raises(anthropic.BadRequestError, match="anthropic-version"):
        client.models.list(extra_headers={"anthropic-version": "2031-01-01"})


# Who asks, who answers


def test_bearer(sandbox: Sandbox) -> None:
    """The key may come as a bearer token."""
    with connect(sandbox, auth_token=KEY) as client:
        assert ids(client.models.list()) == IDS


@pytest.mark.parametrize("wrong", [{"api_key": "sk-wrong"}, {"auth_token": "sk-wrong"}])
def test_wrong_key(sandbox: Sandbox, wrong: dict[str, str]) -> None:
    """A wrong key is refused in either header, and neither key is repeated."""
    with connect(sandbox, **wrong) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.response.json()["error"]["type"] == "authentication_error"
        assert "sk-" not in caught.value.response.text
        with pytest.raises(anthropic.AuthenticationError):
            client.models.retrieve(IDS[0])


def test_no_key(sandbox: Sandbox) -> None:
    """A request without a key is refused."""
    status, _, content = raw(sandbox, "GET", "/v1/models", {"anthropic-version": "2026-10-21"})
    assert status == 401
    assert json.loads(content)["error"]["type"] == "authentication_error"


def test_organisation_and_workspace(sandbox: Sandbox, client: anthropic.Anthropic) -> None:
    """Every answer, errors included, states the identity; an unset name sends no header."""
    headers = client.models.with_raw_response.list().headers
    assert headers["anthropic-organization-id"] == "org_sandbox"
    assert "anthropic-workspace-id" not in headers
    sandbox.organization_id, sandbox.workspace_id = None, "wrkspc_1"
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("claude-unheard-of")
    assert "anthropic-organization-id" not in caught.value.response.headers
    assert caught.value.response.headers["anthropic-workspace-id"] == "wrkspc_1"


def test_request_ids(client: anthropic.Anthropic) -> None:
    """Every answer has its own id, and an error has it in its body too."""
    seen = {client.models.with_raw_response.list().request_id for _ in range(3)}
    assert len(seen) == 3
    assert all(request_id is not None and request_id.startswith("req_") for request_id in seen)
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("claude-unheard-of")
    body = caught.value.response.json()
    assert body["type"] == "error"
    assert body["request_id"] == caught.value.request_id
    assert caught.value.request_id not in seen


# The wire


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/models/", "/v1/modelsx", "/v1/models/a/b", "*"])
def test_unknown_path(sandbox: Sandbox, path: str) -> None:
    """A path that the API does not have is not found."""
    status, headers, content = raw(sandbox, "GET", path)
    assert (status, headers["content-type"]) == (404, "application/json")
    assert json.loads(content)["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_other_methods(sandbox: Sandbox, method: str) -> None:
    """Only GET is allowed, whatever body is sent."""
    status, headers, content = raw(sandbox, method, "/v1/models", body=bytes(100_000))
    assert (status, headers["allow"]) == (405, "GET")
    assert json.loads(content)["type"] == "error"


def test_head(sandbox: Sandbox) -> None:
    """HEAD is not allowed either, and is answered without a body."""
    status, headers, content = raw(sandbox, "HEAD", "/v1/models")
    assert (status, content) == (405, b"")
    assert int(headers["content-length"]) > 0


def test_content_length(sandbox: Sandbox) -> None:
    """An answer has a correct length and is declared as JSON."""
    _, headers, content = raw(sandbox, "GET", "/v1/models")
    assert headers["content-type"] == "application/json"
    assert int(headers["content-length"]) == len(content)


def test_no_http_at_all(sandbox: Sandbox) -> None:
    """Bytes that are no request are refused, and the connection ends."""
    with socket.create_connection(address(sandbox), timeout=10) as connection:
        connection.sendall(b"EHLO there, who is it\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert re.match(rb"HTTP/1\.[01] 400 ", answer)


def test_keep_alive(sandbox: Sandbox) -> None:
    """A kept connection answers at once, each time: 50 answers take no 50 delayed ACKs (2 s)."""
    headers = {"x-api-key": KEY, "anthropic-version": "2026-10-21"}
    with closing(connection_to(sandbox)) as connection:
        connection.connect()
        kept = connection.sock
        started = time.monotonic()
        for _ in range(50):
            connection.request("GET", "/v1/models", headers=headers)
            connection.getresponse().read()
        assert time.monotonic() - started < 1
        assert connection.sock is kept


@pytest.mark.parametrize(("length", "status"), [("12", 200), ("-1", 400), ("x", 400)])
def test_get_with_a_body(sandbox: Sandbox, length: str, status: int) -> None:
    """A body of a GET is ignored and never taken for the next request; a bad length is refused."""
    headers = {
        "x-api-key": KEY,
        "anthropic-version": "2026-10-21",
        "content-length": length,
    }
    assert raw(sandbox, "GET", "/v1/models", headers, b"GET / HTTP/1")[0] == status


def test_clients_that_hang_up(
    sandbox: Sandbox, client: anthropic.Anthropic, capfd: pytest.CaptureFixture[str]
) -> None:
    """Clients that leave early, or reset the connection, have no effect and print nothing."""
    sandbox.models = [model(f"m-{number}") for number in range(1000)]
    request = f"GET /v1/models?limit=1000 HTTP/1.1\r\nx-api-key: {KEY}\r\n"
    request += "anthropic-version: 2026-10-21\r\n\r\n"
    for sent in (b"", b"GET /v1/mo", request.encode(), request.encode() * 9):
        with socket.create_connection(address(sandbox), timeout=10) as connection:
            # Linger of zero seconds: closing sends a reset.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(sent)
    assert ids(client.models.list(limit=1)) == ["m-0"]
    sandbox.close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="no list of open files here")
def test_answers_stay_in_memory(sandbox: Sandbox) -> None:
    """Answers that a client has not read yet are kept in memory, not in temporary files."""
    sandbox.models = [model(f"m-{number}", display_name="x" * 4000) for number in range(1000)]
    request = f"GET /v1/models?limit=1000 HTTP/1.1\r\nx-api-key: {KEY}\r\n"
    request += "anthropic-version: 2026-10-21\r\n\r\n"
    before = temporary_files()
    with socket.create_connection(address(sandbox), timeout=10) as connection:
        connection.sendall(request.encode() * 9)
        assert connection.recv(1)
        assert temporary_files() == before


def temporary_files() -> set[str]:
    """Return the open files that have no name."""
    files = set()
    for descriptor in OPEN_FILES.iterdir():
        with suppress(OSError):  # the descriptor that reads the directory
            files.add(str(descriptor.readlink()))
    return {file for file in files if file.endswith("(deleted)")}


def test_quiet(client: anthropic.Anthropic, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither answers nor refusals are logged."""
    client.models.list()
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("claude-unheard-of")
    assert capfd.readouterr() == ("", "")


# Its life


def test_exchanged_catalog(sandbox: Sandbox, client: anthropic.Anthropic) -> None:
    """A new catalog is answered from the next request on; the given objects are copied."""
    given = [model("kept", line="opus")]
    sandbox.models = given
    given[0]["line"] = "changed"
    given.append(model("late"))
    assert [(m.id, m.line) for m in client.models.list()] == [("kept", "opus")]


def test_stop(sandbox: Sandbox) -> None:
    """Stopping hangs up on kept connections, returns at once, and may be repeated."""
    with socket.create_connection(address(sandbox), timeout=10) as idle:
        raw(sandbox, "GET", "/v1/models")
        started = time.monotonic()
        sandbox.close()
        sandbox.close()
        assert time.monotonic() - started < 1
        assert idle.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address(sandbox), timeout=10)


def test_port_given_back(sandbox: Sandbox) -> None:
    """The port of a stopped sandbox can be taken by the next one at once."""
    raw(sandbox, "GET", "/v1/models")
    sandbox.close()
    with Sandbox(port=address(sandbox)[1]) as successor:
        assert successor.url == sandbox.url
        assert raw(successor, "GET", "/v1/models")[0] == 200


def test_never_started() -> None:
    """A sandbox that was never started can be stopped."""
    Sandbox().close()


def test_join() -> None:
    """`join` waits while the sandbox answers, until it is closed."""
    with Sandbox(NEWEST) as sandbox:
        waiting = threading.Thread(target=sandbox.join, daemon=True)
        waiting.start()
        assert raw(sandbox, "GET", "/v1/models")[0] == 200
        assert waiting.is_alive()
    waiting.join(timeout=10)
    assert not waiting.is_alive()
