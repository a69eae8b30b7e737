"""Sources with `api = "openai"`: lists of OpenAI and of compatible servers."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import openai
import pytest

from catalog_sync.cancel import CancelToken
from catalog_sync.client.models import ModelsClient
from catalog_sync.client.openai import OpenAIApi
from catalog_sync.demo.history import steps
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.domain.model import EPOCH, ModelInfo
from catalog_sync.errors import BadAnswerError, RefusedError, UnauthorizedError
from support import Answer, Request, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from catalog_sync.domain.model import Catalog

KEY = "sk-proj-test-0d51ce"
HEADERS = {"authorization": f"Bearer {KEY}"}
HISTORY = steps()[-1].models
DAY = datetime(2027, 1, 15, tzinfo=UTC)


def connect(url: str) -> nullcontext[ModelsClient]:
    client = ModelsClient(
        url,
        HEADERS,
        api=OpenAIApi(),
        deadline=timedelta(seconds=60),
        credential_origin="OPENAI_API_KEY",
        cancel=CancelToken(),
    )
    return nullcontext(client)


def walked(*answers: Any) -> Catalog:
    """Walk a server that gives these answers in turn."""
    with ScriptedServer(list(answers)) as server, connect(server.url) as client:
        return client.walk()


def listed(*models: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(models), **fields}


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(HISTORY, api_key=KEY, shape="openai") as running:
        yield running


# The sandbox, checked by the official SDK


@pytest.mark.parametrize("path", ["", "/v1"])
def test_official_sdk(sandbox: Sandbox, path: str) -> None:
    """The sandbox answers in the shape that OpenAI's SDK expects."""
    with openai.OpenAI(
        base_url=sandbox.url + path, api_key=KEY, max_retries=0, _strict_response_validation=True
    ) as client:
        found = list(client.models.list())
        assert [each.id for each in found] == [given["id"] for given in HISTORY]
        assert client.models.retrieve(found[0].id) == found[0]
        assert found[0].object == "model"
        with pytest.raises(openai.NotFoundError, match="model: nobody"):
            client.models.retrieve("nobody")


def test_official_sdk_with_a_wrong_key(sandbox: Sandbox) -> None:
    """A wrong key is an authentication error of OpenAI's SDK."""
    with (
        openai.OpenAI(base_url=sandbox.url, api_key="sk-wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_walk_of_the_sandbox(sandbox: Sandbox) -> None:
    """A walk holds every model, with its release and retirement dates."""
    with connect(sandbox.url) as client:
        catalog = client.walk()
        assert client.confirm_absent(["nobody"], catalog.models) == {"nobody": "gone"}
    for given in HISTORY:
        expected, info = ModelInfo.from_payload(given), catalog.models[given["id"]]
        assert (info.created_at, info.retires_at) == (expected.created_at, expected.retires_at)
        assert info.lifecycle == ("deprecated" if expected.retires_at else None)


def test_wrong_key(sandbox: Sandbox) -> None:
    """A wrong key is refused with the server's text."""
    sandbox.api_key = "another"
    with (
        connect(sandbox.url) as client,
        pytest.raises(UnauthorizedError, match="HTTP 401: authentication_error: invalid"),
    ):
        client.walk()


# Requests


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/api", "/api/v1"])
def test_addresses(path: str) -> None:
    """A base_url means the same with and without `/v1`; no query is sent."""
    with ScriptedServer([listed({"id": "a"})]) as server, connect(server.url + path) as client:
        client.walk(page_size=7, lifecycle=["active"])
        client.confirm_absent(["x/y"], [])
    first, *_, last = server.requests
    root = "/api" if path.startswith("/api") else ""
    assert (first.path, first.query) == (f"{root}/v1/models", [])
    assert last.path == f"{root}/v1/models/x%2Fy"
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert not {"anthropic-version", "x-api-key"} & first.headers.keys()


# Recorded shapes

RECORDED: dict[str, tuple[Any, dict[str, Any]]] = {
    "OpenAI": (
        listed(
            {
                "id": "gpt-4-0613",
                "object": "model",
                "created": 1686588896,
                "owned_by": "openai",
                "shutdown_date": "2027-01-15",
            }
        ),
        {
            "id": "gpt-4-0613",
            "display_name": "gpt-4-0613",
            "created_at": datetime(2023, 6, 12, 16, 54, 56, tzinfo=UTC),
            "lifecycle": "deprecated",
            "retires_at": DAY,
            "type": "model",
        },
    ),
    "OpenAI without a date": (
        listed({"id": "gpt-5", "object": "model", "created": 1754425777, "shutdown_date": None}),
        {"retires_at": None, "lifecycle": None},
    ),
    "OpenRouter": (
        {
            "data": [
                {
                    "id": "qwen/qwen3-32b",
                    "canonical_slug": "qwen/qwen3-32b-04-28",
                    "name": "Qwen: Qwen3 32B",
                    "created": 1745875945,
                    "context_length": 40960,
                    "pricing": {"prompt": "0.00000008", "completion": "0.00000024"},
                    "top_provider": {"context_length": 40960, "max_completion_tokens": None},
                    "per_request_limits": None,
                    "expiration_date": "2027-01-15",
                }
            ],
            "total_count": 1,
            "links": {"next": None},
        },
        {"display_name": "Qwen: Qwen3 32B", "retires_at": DAY, "lifecycle": "deprecated"},
    ),
    "Mistral": (
        listed(
            {
                "id": "mistral-small-2312",
                "object": "model",
                "created": 1763800000,
                "owned_by": "mistralai",
                "name": "mistral-small-2312",
                "aliases": ["open-mixtral-8x7b"],
                "capabilities": {"completion_chat": True},
                "deprecation": "2027-01-15T00:00:00Z",
                "deprecation_replacement_model": "mistral-small-latest",
                "archived": False,
                "type": "base",
            }
        ),
        {"type": "base", "retires_at": DAY, "lifecycle": "deprecated"},
    ),
    "Groq": (
        listed(
            {
                "id": "llama-3.3-70b-versatile",
                "object": "model",
                "created": 1733447754,
                "owned_by": "Meta",
                "active": True,
                "context_window": 131072,
                "public_apps": None,
                "max_completion_tokens": 32768,
            }
        ),
        {"lifecycle": None, "max_tokens": None},
    ),
    "DeepSeek": (
        listed({"id": "deepseek-chat", "object": "model", "owned_by": "deepseek"}),
        {"created_at": EPOCH, "display_name": "deepseek-chat"},
    ),
    "Together": (
        [
            {
                "id": "moonshotai/Kimi-K2",
                "object": "model",
                "created": 1752510000,
                "type": "chat",
                "running": False,
                "display_name": "Kimi K2",
                "organization": "Moonshot",
                "pricing": {"hourly": 0, "input": 1.0},
            }
        ],
        {"display_name": "Kimi K2", "type": "chat"},
    ),
    "vLLM": (
        listed(
            {
                "id": "meta-llama/Llama-3.1-8B",
                "object": "model",
                "created": 1763800001,
                "owned_by": "vllm",
                "root": "meta-llama/Llama-3.1-8B",
                "parent": None,
                "max_model_len": 131072,
                "permission": [{"id": "modelperm-1", "object": "model_permission"}],
            }
        ),
        {"type": "model"},
    ),
    "llama.cpp": (
        {
            "models": [{"name": "m.gguf", "model": "m.gguf"}],
            "object": "list",
            "data": [
                {
                    "id": "m.gguf",
                    "object": "model",
                    "created": 1763800002,
                    "owned_by": "llamacpp",
                    "meta": {"vocab_type": 2, "n_ctx_train": 131072, "size": 4912898304},
                }
            ],
        },
        {"display_name": "m.gguf"},
    ),
    "new-api": (
        {
            "success": True,
            "data": [
                {
                    "id": "claude-opus-5",
                    "object": "model",
                    "created": 1626777600,
                    "owned_by": "custom",
                    "supported_endpoint_types": ["openai"],
                }
            ],
            "object": "list",
        },
        {"created_at": datetime(2021, 7, 20, 10, 40, tzinfo=UTC)},
    ),
    "LiteLLM": (
        listed({"id": "gpt-5", "object": "model", "created": 1677610602, "owned_by": "openai"}),
        {"created_at": datetime(2023, 2, 28, 18, 56, 42, tzinfo=UTC)},
    ),
    "Azure": (
        listed(
            {
                "id": "gpt-4o-2024-08-06",
                "object": "model",
                "created_at": 1722902400,
                "lifecycle_status": "deprecated",
                "deprecation": {"fine_tune": 1, "inference": 1797552000},
                "status": "succeeded",
            }
        ),
        {"created_at": datetime(2024, 8, 6, tzinfo=UTC), "retires_at": None},
    ),
}


@pytest.mark.parametrize(("answer", "fields"), RECORDED.values(), ids=RECORDED)
def test_recorded_answers(answer: Any, fields: dict[str, Any]) -> None:
    """Recorded answers of real servers are read, and kept completely."""
    (info,) = walked(answer).models.values()
    assert {name: getattr(info, name) for name in fields} == fields
    data = answer if isinstance(answer, list) else answer["data"]
    assert json.dumps(info.payload) == json.dumps(data[0])


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({}, {"display_name": "m", "created_at": EPOCH, "type": "model", "lifecycle": None}),
        ({"max_tokens": "8192"}, {"max_tokens": 8192}),
        ({"max_tokens": 8192.0}, {"max_tokens": 8192}),
        ({"max_tokens": -1}, {"max_tokens": None}),
        ({"max_tokens": True}, {"max_tokens": None}),
        ({"max_tokens": "many"}, {"max_tokens": None}),
        ({"max_tokens": 1.5}, {"max_tokens": None}),
        ({"max_tokens": 2**63}, {"max_tokens": None}),
        ({"max_input_tokens": {"a": 1}}, {"max_input_tokens": None}),
        ({"created": "1686588896"}, {"created_at": datetime(2023, 6, 12, 16, 54, 56, tzinfo=UTC)}),
        ({"created": 1686588896.0}, {"created_at": datetime(2023, 6, 12, 16, 54, 56, tzinfo=UTC)}),
        ({"created": 0}, {"created_at": EPOCH}),
        ({"created": -5}, {"created_at": EPOCH}),
        ({"created": True}, {"created_at": EPOCH}),
        ({"created": 1e30}, {"created_at": EPOCH}),
        ({"created": [1]}, {"created_at": EPOCH}),
        ({"created_at": "0001-01-01T00:00:00Z"}, {"created_at": EPOCH}),
        ({"created_at": "2027-01-15T02:00:00+02:00"}, {"created_at": DAY}),
        ({"retires_at": ""}, {"retires_at": None, "lifecycle": None}),
        ({"retires_at": "2027-01-15"}, {"retires_at": DAY, "lifecycle": "deprecated"}),
        ({"shutdown_date": "0001-01-01"}, {"retires_at": None, "lifecycle": None}),
        ({"shutdown_date": "soon"}, {"retires_at": None}),
        ({"expiration_date": DAY.timestamp()}, {"retires_at": DAY}),
        ({"shutdown_date": "2027-01-15", "lifecycle": "retired"}, {"lifecycle": "retired"}),
        ({"shutdown_date": "2027-01-15", "lifecycle": "active"}, {"lifecycle": "active"}),
        ({"lifecycle": "beta"}, {"lifecycle": None}),
        ({"lifecycle": {"stage": "active"}}, {"lifecycle": None}),
        ({"display_name": None, "name": "M"}, {"display_name": "M"}),
        ({"display_name": "", "name": 1}, {"display_name": "m"}),
        ({"type": ["x"], "object": 7}, {"type": "model"}),
        ({"line": 1, "deprecated_at": 0}, {"line": None, "deprecated_at": None}),
    ],
    ids=str,
)
def test_odd_values(given: dict[str, Any], fields: dict[str, Any]) -> None:
    """A number may be a string; values of other types, and zero dates, count as unstated."""
    (info,) = walked(listed({"id": "m", **given})).models.values()
    assert {name: getattr(info, name) for name in fields} == fields


@pytest.mark.parametrize("item", [{}, {"id": None}, {"id": ""}, {"id": 7}, {"id": "x" * 256}, "m"])
def test_model_without_an_id(item: Any) -> None:
    """Only a missing id is refused, with its place."""
    with pytest.raises(BadAnswerError, match=r"page 1: data\[1\]"):
        walked(listed({"id": "a"}, item))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"success": False, "message": "get user group failed"}, "get user group failed"),
        ({"error": {"message": "Invalid token"}}, "Invalid token"),
        ({"success": False, "message": "no user group", "data": []}, "no user group"),
        ({"data": [{"id": "a"}], "errors": [{"message": "provider is down"}]}, "provider is down"),
        ({"code": 1, "data": "token expired"}, "token expired"),
        (b"out of quota", "out of quota"),
        (b'"out of quota"', "out of quota"),
        ({"object": "list", "data": None}, "data is missing"),
        (b"null", "not an object"),
        (b"<html>", "not JSON"),
    ],
)
def test_no_list(answer: Any, words: str) -> None:
    """An answer without a list, or with an error beside one, is refused, quoting the server."""
    with pytest.raises(BadAnswerError, match=words):
        walked(answer)


# Pages


def paged(request: Request, *, name: str, **fields: Any) -> Any:
    start = int(dict(request.query).get(name, "0"))
    data = [{"id": str(start + 1)}, {"id": str(start + 2)}]
    return {"data": data, "has_more": start < 4, "last_id": str(start + 2), **fields}


@pytest.mark.parametrize(
    ("name", "fields"), [("after", {"object": "list"}), ("after_id", {"first_id": "x"})]
)
def test_pages(name: str, fields: dict[str, Any]) -> None:
    """If has_more and last_id say so, the list goes on, after each API's own cursor."""
    with (
        ScriptedServer(lambda request: paged(request, name=name, **fields)) as server,
        connect(server.url) as client,
    ):
        assert list(client.walk().models) == list("123456")


def test_linked_pages() -> None:
    """Only the query of a link to the next page is used; the host stays the configured one."""
    with ScriptedServer([listed({"id": "elsewhere"})]) as other:
        link = f"{other.url}/stolen?offset=1&limit=1"
        answers = [listed({"id": "a"}, links={"next": link}), listed({"id": "b"})]
        with ScriptedServer(answers) as server, connect(server.url) as client:
            assert list(client.walk().models) == ["a", "b"]
        assert server.requests[1].path == "/v1/models"
        assert server.requests[1].query == [("offset", "1"), ("limit", "1")]
        assert other.requests == []


@pytest.mark.parametrize(
    "fields",
    [
        {"has_more": True},
        {"has_more": True, "last_id": None},
        {"has_more": True, "last_id": "a"},
        {"links": {"next": "/v1/models"}},
    ],
)
def test_pages_without_end(fields: dict[str, Any]) -> None:
    """A list that goes on without a new cursor is incomplete."""
    with pytest.raises(BadAnswerError, match="cursor"):
        walked(listed({"id": "a"}, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"has_more": "true", "last_id": "a"},
        {"has_more": 1, "last_id": "a"},
        {"hasMore": True},
        {"next": "https://example.com/v1/models?page=2"},
        {"next_page": 2},
        {"nextPageToken": "x"},
        {"pagination": {"next_cursor": "x"}},
        {"links": {"next": {"href": "/v1/models?page=2"}}},
    ],
)
def test_pages_of_an_unknown_kind(fields: dict[str, Any]) -> None:
    """A list that goes on in a way that is not supported is incomplete, and is never recorded."""
    with pytest.raises(BadAnswerError, match=r"not supported|not a boolean"):
        walked(listed({"id": "a"}, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"has_more": False, "nextPageToken": "x"},
        {"has_more": None, "last_id": "a"},
        {"next": None, "next_page": "", "nextPageToken": ""},
        {"pagination": {"next": None, "has_next": False}, "links": {"next": None}, "total": 1},
    ],
)
def test_one_page(fields: dict[str, Any]) -> None:
    """A list that states no further page has one page."""
    assert list(walked(listed({"id": "a"}, **fields)).models) == ["a"]


def test_a_link_that_is_no_url() -> None:
    """Only the query of a link to the next page counts. The rest need not be a URL."""
    answers = [listed({"id": "a"}, links={"next": "http://[x/?page=2"}), listed({"id": "b"})]
    with ScriptedServer(answers) as server, connect(server.url) as client:
        assert list(client.walk().models) == ["a", "b"]
    assert server.requests[1].query == [("page", "2")]


def test_not_found() -> None:
    """A 404 names the requested URL."""
    with ScriptedServer([Answer({"detail": "Not Found"}, 404)]) as server:
        with connect(f"{server.url}/api/v1") as client, pytest.raises(RefusedError) as caught:
            client.walk()
        assert f"HTTP 404: Not Found (URL: {server.url}/api/v1/models)" in str(caught.value)
