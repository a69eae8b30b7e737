"""The sandbox's answers: a function of the request and the catalog, without any HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, unquote

_LIFECYCLE_VERSION: Final = "2026-10-21"
_VERSIONS: Final = frozenset({"2023-01-01", "2023-06-01", _LIFECYCLE_VERSION})
_LIFECYCLE_FIELDS: Final = frozenset({"lifecycle", "deprecated_at", "retires_at", "line"})
_LIFECYCLES: Final = frozenset({"active", "deprecated", "retired"})
_LISTED_BY_DEFAULT: Final = frozenset({"active", "deprecated"})
_MAX_LIMIT: Final = 1000
_DEFAULT_LIMIT: Final = 20
Models = tuple[Mapping[str, Any], ...]
Answer = tuple[int, Any]
"""The status and the body: a JSON value, or bytes of HTML."""


class RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _find(model_id: str, models: Models) -> Mapping[str, Any]:
    for model in models:
        if model["id"] == model_id:
            return model
    raise RefusedError(404, f"model: {model_id}")


def _refuse(status: int) -> Callable[[str, Models], Answer]:
    def refuse(_model_id: str, _models: Models) -> Answer:
        raise RefusedError(status, HTTPStatus(status).phrase)

    return refuse


def _error_with_200(model_id: str, models: Models) -> Answer:
    try:
        return 200, _find(model_id, models)
    except RefusedError:
        return 200, {"error": {"code": "model_not_found", "message": f"no model {model_id}"}}


def _slash_undecoded(model_id: str, models: Models) -> Answer:
    if "/" in model_id:
        raise RefusedError(404, "Not Found")
    return 200, _find(model_id, models)


BY_ID: Final[Mapping[str, Callable[[str, Models], Answer]]] = {
    "api": lambda model_id, models: (200, _find(model_id, models)),
    "no-route": _refuse(404),
    "not-allowed": _refuse(405),
    "redirect": _refuse(301),
    "error": _error_with_200,
    "html": lambda _id, _models: (200, b"<!doctype html><title>Console</title>"),
    "empty": lambda _id, _models: (200, b""),
    "echo": lambda model_id, _models: (200, {"id": model_id, "type": "model"}),
    "other": lambda _id, models: (200, models[0]),
    "undecoded": _slash_undecoded,
}
"""How Get a Model answers: like the API, or like gateways that exist."""
SHAPES: Final = ("anthropic", "openai")


def answer(
    target: str, headers: Mapping[str, str], models: Models, *, api_key: str, by_id: str, shape: str
) -> Answer:
    """Answer a GET of `target`. Names in `headers` are lower case."""
    path, _, query = target.partition("?")
    openai = shape == "openai"
    if openai:
        path = f"/v1{path.removeprefix('/v1')}"
    parent, _, name = path.rpartition("/")
    if path != "/v1/models" and (parent != "/v1/models" or not name):
        raise RefusedError(404, "Not Found")
    _authenticate(headers, api_key)
    version = _LIFECYCLE_VERSION if openai else headers.get("anthropic-version")
    if version not in _VERSIONS:
        what = "header is required" if version is None else "the value is not a valid version"
        raise RefusedError(400, f"anthropic-version: {what}")
    if path == "/v1/models":
        asked = {} if openai else parse_qs(query, keep_blank_values=True)
        page = _page(asked, models, whole=openai)
        page["data"] = [_shape(model, version, openai=openai) for model in page["data"]]
        return 200, {"object": "list", "data": page["data"]} if openai else page
    # Split before decoding: %2F belongs to the id.
    status, body = BY_ID[by_id](unquote(name), models)
    return status, body if isinstance(body, bytes) else _shape(body, version, openai=openai)


def _authenticate(headers: Mapping[str, str], key: str) -> None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    offered = [headers["x-api-key"]] if "x-api-key" in headers else []
    offered += [token.strip()] if scheme.lower() == "bearer" else []
    if not offered:
        raise RefusedError(401, "x-api-key header is required")
    # http.server decodes headers as Latin-1; this restores the bytes that were sent.
    if not any(o.encode("latin-1") == key.encode() for o in offered):
        raise RefusedError(401, "invalid x-api-key")


def _page(query: Mapping[str, list[str]], models: Models, *, whole: bool) -> dict[str, Any]:
    """Return one page: after the cursor, before it, or the first one; newest first."""
    limit = len(models) if whole else _limit(query)
    wanted = frozenset(query.get("lifecycle[]", ())) or _LISTED_BY_DEFAULT
    if not wanted <= _LIFECYCLES:
        raise RefusedError(400, "lifecycle: Input should be 'active', 'deprecated' or 'retired'")
    cursors = [name for name in ("after_id", "before_id") if name in query]
    if len(cursors) > 1:
        raise RefusedError(400, "after_id, before_id: only one of them may be given")
    backwards = cursors == ["before_id"]
    if cursors:  # cut before filtering: a model that a filter hides is still a cursor
        ids = [model["id"] for model in models]
        if (cursor := query[cursors[0]][-1]) not in ids:
            raise RefusedError(400, f"{cursors[0]}: no such model")
        position = ids.index(cursor)
        models = models[:position] if backwards else models[position + 1 :]
    rest = [model for model in models if model.get("lifecycle", "active") in wanted]
    page = rest[-limit:] if backwards else rest[:limit]
    return {
        "data": page,
        "has_more": len(page) < len(rest),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def _limit(query: Mapping[str, list[str]]) -> int:
    try:
        limit = int(query.get("limit", [str(_DEFAULT_LIMIT)])[-1])
    except ValueError:
        raise RefusedError(400, "limit: Input should be a valid integer") from None
    if not 1 <= limit <= _MAX_LIMIT:
        bound = "greater than or equal to 1" if limit < 1 else f"less than or equal to {_MAX_LIMIT}"
        raise RefusedError(400, f"limit: Input should be {bound}")
    return limit


def _shape(model: Mapping[str, Any], version: str, *, openai: bool) -> Mapping[str, Any]:
    """Return a model with the fields that the API's version, or OpenAI's API, has."""
    if openai and "created_at" in model:
        retires_at = model.get("retires_at")
        return {
            "id": model["id"],
            "object": "model",
            "created": int(datetime.fromisoformat(model["created_at"]).timestamp()),
            "owned_by": "sandbox",
            "shutdown_date": retires_at[:10] if retires_at else None,
        }
    hidden = _LIFECYCLE_FIELDS if version < _LIFECYCLE_VERSION else frozenset()
    return {field: value for field, value in model.items() if field not in hidden}


def error_body(status: int, message: str, request_id: str, shape: str) -> dict[str, Any]:
    """Return the body of an error in a shape."""
    types = {401: "authentication_error", 404: "not_found_error"}
    error = {"type": types.get(status, "invalid_request_error"), "message": message}
    if shape == "openai":
        return {"error": {**error, "param": None, "code": None}}
    return {"type": "error", "error": error, "request_id": request_id}
