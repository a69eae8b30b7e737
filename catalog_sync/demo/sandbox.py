"""The sandbox: a small HTTP server that answers List Models and Get a Model as the real API does.

It owns its socket, its threads and the catalog it was given. It never reaches another host,
never writes to disk, and never logs a request or repeats a key in an answer. The standard library
is all it needs. Answering is a pure function of the request and the catalog (`_answer`); the
classes below it only carry bytes.
"""

from __future__ import annotations

import copy
import hmac
import json
import socket
import sys
import threading
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote

__all__ = ["Sandbox"]

_PATH = "/v1/models"
_LIFECYCLE_VERSION = "2026-10-21"
_VERSIONS = frozenset({"2023-01-01", "2023-06-01", _LIFECYCLE_VERSION})
_LIFECYCLE_FIELDS = frozenset({"lifecycle", "deprecated_at", "retires_at", "line"})
_LIFECYCLES = frozenset({"active", "deprecated", "retired"})
_LISTED_BY_DEFAULT = frozenset({"active", "deprecated"})
_MAX_LIMIT = 1000
_DEFAULT_LIMIT = 20

# How soon `stop` is noticed; a new client is noticed at once.
_POLL_SECONDS = 0.02
# How long `stop` waits for answers being written; their threads are daemons, so no exit hangs.
_DRAIN_SECONDS = 2.0
# Bytes of a request's body, which means nothing here, that are read before hanging up.
_MAX_BODY = 1 << 20

_ERROR_TYPES = {401: "authentication_error", 404: "not_found_error"}

_Models = tuple[Mapping[str, Any], ...]


class _RefusedError(Exception):
    """The request is answered with an error: the HTTP status, and what the client is told."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _invalid(message: str) -> _RefusedError:
    return _RefusedError(400, message)


def _answer(target: str, headers: Mapping[str, str], models: _Models, key: str) -> dict[str, Any]:
    """Answer a GET of `target` from `models`, newest first; names in `headers` are lower case."""
    path, _, query = target.partition("?")
    parent, _, name = path.rpartition("/")
    if path != _PATH and (parent != _PATH or not name):
        raise _RefusedError(404, "Not Found")
    _authenticate(headers, key)
    version = headers.get("anthropic-version")
    if version is None:
        raise _invalid("anthropic-version: header is required")
    if version not in _VERSIONS:
        raise _invalid("anthropic-version: the value is not a valid version")
    if path == _PATH:
        return _list(parse_qs(query, keep_blank_values=True), models, version)
    # Split first, decoded after: %2F belongs to the id.
    model_id = unquote(name)
    for model in models:
        if model["id"] == model_id:
            return _shape(model, version)
    raise _RefusedError(404, f"model: {model_id}")


def _authenticate(headers: Mapping[str, str], key: str) -> None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    offered = [headers["x-api-key"]] if "x-api-key" in headers else []
    offered += [token.strip()] if scheme.lower() == "bearer" else []
    if not offered:
        raise _RefusedError(401, "x-api-key header is required")
    # http.server decodes headers as Latin-1, so this restores the bytes that were sent.
    if not any(hmac.compare_digest(o.encode("latin-1"), key.encode()) for o in offered):
        raise _RefusedError(401, "invalid x-api-key")


def _list(query: Mapping[str, list[str]], models: _Models, version: str) -> dict[str, Any]:
    """One page: after the cursor, before it, or from the top; always newest first."""
    limit = _limit(query)
    wanted = frozenset(query.get("lifecycle[]", ())) or _LISTED_BY_DEFAULT
    if not wanted <= _LIFECYCLES:
        raise _invalid("lifecycle: Input should be 'active', 'deprecated' or 'retired'")
    if "after_id" in query and "before_id" in query:
        raise _invalid("after_id, before_id: only one of them may be given")
    backwards = "before_id" in query
    # Cut before filtering: an object stays a cursor after its lifecycle took it off the list.
    if backwards:
        models = models[: _position("before_id", query, models)]
    elif "after_id" in query:
        models = models[_position("after_id", query, models) + 1 :]
    rest = [model for model in models if model.get("lifecycle", "active") in wanted]
    page = rest[-limit:] if backwards else rest[:limit]
    return {
        "data": [_shape(model, version) for model in page],
        "has_more": len(page) < len(rest),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def _limit(query: Mapping[str, list[str]]) -> int:
    try:
        limit = int(query.get("limit", [str(_DEFAULT_LIMIT)])[-1])
    except ValueError:
        raise _invalid("limit: Input should be a valid integer") from None
    if limit < 1:
        raise _invalid("limit: Input should be greater than or equal to 1")
    if limit > _MAX_LIMIT:
        raise _invalid(f"limit: Input should be less than or equal to {_MAX_LIMIT}")
    return limit


def _position(cursor: str, query: Mapping[str, list[str]], models: _Models) -> int:
    cursor_id = query[cursor][-1]
    for position, model in enumerate(models):
        if model["id"] == cursor_id:
            return position
    raise _invalid(f"{cursor}: no such model")


def _shape(model: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Give `model` the fields that `version` of the API knows."""
    hidden = _LIFECYCLE_FIELDS if version < _LIFECYCLE_VERSION else frozenset()
    return {field: value for field, value in model.items() if field not in hidden}


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept alive between its requests."""

    server: _Server
    protocol_version = "HTTP/1.1"
    # What a request line that names no version is answered in; HTTP/0.9 would be without headers.
    default_request_version = "HTTP/1.0"
    # Headers and body are two small writes: with Nagle's algorithm the second waits for the
    # client's delayed acknowledgement of the first, some 40 ms on a kept-alive connection.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._drop_body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        sandbox = self.server.sandbox
        try:
            body = _answer(self.path, headers, sandbox.models, sandbox.api_key)
        except _RefusedError as refused:
            self._send_error(refused.status, str(refused))
        else:
            self._send(200, body, _request_id())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Say what http.server itself refuses in the API's shape, then hang up."""
        del explain
        self.close_connection = True
        if code == HTTPStatus.NOT_IMPLEMENTED:  # its word for a method without a do_ function
            self._drop_body()
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed"
        self._send_error(code, message or "Bad Request")

    def _send_error(self, status: int, message: str) -> None:
        request_id = _request_id()
        error = {"type": _ERROR_TYPES.get(status, "invalid_request_error"), "message": message}
        body = {"type": "error", "error": error, "request_id": request_id}
        self._send(status, body, request_id)

    def _send(self, status: int, body: Mapping[str, Any], request_id: str) -> None:
        content = json.dumps(body).encode()
        sandbox = self.server.sandbox
        headers = {
            "date": self.date_time_string(),
            "content-type": "application/json",
            "content-length": str(len(content)),
            "request-id": request_id,
            "anthropic-organization-id": sandbox.organization_id,
            "anthropic-workspace-id": sandbox.workspace_id,
            "allow": "GET" if status == HTTPStatus.METHOD_NOT_ALLOWED else None,
            "connection": "close" if self.close_connection else None,
        }
        # `send_response` would also write a line to stderr.
        self.send_response_only(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _drop_body(self) -> None:
        """Read a body away, so that hanging up does not reset the answer on its way."""
        length = self.headers.get("content-length", "0")
        if length != "0" or "transfer-encoding" in self.headers:
            self.close_connection = True
        with suppress(ValueError):
            self.rfile.read(min(max(int(length), 0), _MAX_BODY))


def _request_id() -> str:
    return f"req_{uuid.uuid4().hex[:24]}"


class _Server(ThreadingHTTPServer):
    """A thread for each connection, and a list of the open ones, so that `stop` can close them."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._open: set[Any] = set()
        self._changed = threading.Condition()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the host's full name here, which waits for DNS.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._changed:
            super().shutdown_request(request)
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hung up is its own affair; anything else is a bug, and is shown.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        """Close the kept-alive connections and wait until their threads let go of them."""
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, timeout=_DRAIN_SECONDS)


class Sandbox:
    """The Models API on a local port, with a catalog that can be exchanged while it answers.

    Args:
        models: the catalog, see the property.
        api_key: the only key that it accepts, as `x-api-key` or as a bearer token.
        organization_id: sent as `anthropic-organization-id`; null: no such header.
        workspace_id: sent as `anthropic-workspace-id`; null: no such header.
        host: the address to bind.
        port: the port to bind; 0: any free one, which `url` then names.

    The port is taken at once and answered from `start` on, which `with` calls. `stop` gives it
    back; a stopped sandbox stays stopped.
    """

    def __init__(
        self,
        models: Iterable[Mapping[str, Any]] = (),
        *,
        api_key: str = "sandbox-key",
        organization_id: str | None = "org_sandbox",
        workspace_id: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.api_key = api_key
        self.organization_id = organization_id
        self.workspace_id = workspace_id
        self.models = models
        self._server = _Server((host, port), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="sandbox", daemon=True
        )
        self.url = f"http://{host}:{self._server.server_address[1]}"
        """Where it answers, without a path."""

    @property
    def models(self) -> _Models:
        """The catalog, newest first, retired models included; not to be changed in place.

        Assign objects in the newest shape of the API, in any order: they are copied, sorted by
        `created_at` (equal ones keep their order) and exchanged at once, so that every answer
        comes from one catalog. Fields of the lifecycle are hidden from older versions.
        """
        return self._models

    @models.setter
    def models(self, models: Iterable[Mapping[str, Any]]) -> None:
        copies = copy.deepcopy(list(models))
        copies.sort(key=lambda model: datetime.fromisoformat(model["created_at"]), reverse=True)
        self._models: _Models = tuple(copies)

    def start(self) -> None:
        """Answer from now on, in a thread of its own."""
        if self._thread.ident is None:
            self._thread.start()

    def serve_forever(self) -> None:
        """Answer until `stop` is called from elsewhere, or the calling thread is interrupted."""
        self.start()
        self._thread.join()

    def stop(self) -> None:
        """Hang up on every client and give the port back."""
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.hang_up()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
