"""The sandbox: a small HTTP server that answers List Models and Get a Model as the real API does.

It never reaches another host, never writes to disk, never logs a request and never repeats a key.
`answers` decides the answers; this module only transports them.
"""

from __future__ import annotations

import copy
import json
import socket
import sys
import threading
import uuid
from contextlib import suppress
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, Final, Self

from catalog_sync.demo import answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from catalog_sync.clock import Clock

_POLL_SECONDS: Final = 0.02  # how soon `stop` is noticed
_DRAIN_SECONDS: Final = 2.0  # how long `stop` waits for answers in progress
_MAX_REQUEST_BODY: Final = 1 << 20


class _Handler(BaseHTTPRequestHandler):
    """One connection, kept alive between its requests."""

    server: _Server
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # HTTP/0.9 would be answered without headers
    # With Nagle's algorithm the body waits for the client's acknowledgement of the headers, 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._drop_body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, body = answers.answer(self.path, headers, self.server.sandbox)
        except answers.RefusedError as refused:
            self._send(refused.status, message=str(refused))
        else:
            self._send(status, body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what http.server itself refuses in the API's shape, and hang up."""
        del explain
        self.close_connection = True
        if code == HTTPStatus.NOT_IMPLEMENTED:  # http.server's word for any other method
            self._drop_body()
            code, message = HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed"
        self._send(code, message=message or "Bad Request")

    def _send(self, status: int, body: Any = None, message: str = "") -> None:
        sandbox = self.server.sandbox
        request_id = f"req_{uuid.uuid4().hex[:24]}"
        if message:
            body = answers.error_body(status, message, request_id, sandbox.shape)
        html = isinstance(body, bytes)
        content = body if html else json.dumps(body).encode()
        headers = {
            "date": format_datetime(sandbox.clock(), usegmt=True) if sandbox.clock else None,
            "content-type": "text/html" if html else "application/json",
            "content-length": str(len(content)),
            "request-id": request_id,
            "anthropic-organization-id": sandbox.organization_id,
            "anthropic-workspace-id": sandbox.workspace_id,
            "allow": "GET" if status == HTTPStatus.METHOD_NOT_ALLOWED else None,
            "connection": "close" if self.close_connection else None,
        }
        self.send_response_only(status)  # `send_response` would log a line on stderr
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _drop_body(self) -> None:
        """Read a request's body, so that hanging up does not reset the answer on its way."""
        length = self.headers.get("content-length", "0")
        if length != "0" or "transfer-encoding" in self.headers:
            self.close_connection = True
        with suppress(ValueError):
            self.rfile.read(min(max(int(length), 0), _MAX_REQUEST_BODY))


class _Server(ThreadingHTTPServer):
    """A thread for each connection, and the set of open ones, so that `stop` can close them."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._open: set[Any] = set()
        self._changed = threading.Condition()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer would look up the host's name, and wait for DNS

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
        if not isinstance(sys.exception(), OSError):  # a client that hangs up is no error
            super().handle_error(request, client_address)

    def hang_up(self) -> None:
        """Close the kept-alive connections, and wait until their threads have ended."""
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, timeout=_DRAIN_SECONDS)


class Sandbox:
    """The Models API on a loopback port, with a catalog that can be exchanged at any time.

    The port is taken at once, and answers come from `start` on, which `with` calls.

    Args:
        models: The catalog, see the property.
        api_key: The only key that it accepts, as `x-api-key` or as a bearer token.
        organization_id: Sent as `anthropic-organization-id`; None sends no such header.
        workspace_id: Sent as `anthropic-workspace-id`; None sends no such header.
        by_id: How Get a Model answers, a key of `answers.BY_ID`.
        shape: The API whose answers it gives, one of `answers.SHAPES`.
        port: 0 takes a free one, which `url` then names.
    """

    def __init__(
        self,
        models: Iterable[Mapping[str, Any]] = (),
        *,
        api_key: str = "sandbox-key",
        organization_id: str | None = "org_sandbox",
        workspace_id: str | None = None,
        by_id: str = "api",
        shape: str = "anthropic",
        port: int = 0,
    ) -> None:
        self.api_key = api_key
        self.organization_id = organization_id
        self.workspace_id = workspace_id
        self.by_id = by_id
        self.shape = shape
        self.clock: Clock | None = None
        """Dates the answers; None sends no `date`, for programs whose clock is moved."""
        self.models = models
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="sandbox", daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def models(self) -> answers.Models:
        """The catalog, newest first. Assigned objects are copied, sorted and answered at once."""
        return self._models

    @models.setter
    def models(self, models: Iterable[Mapping[str, Any]]) -> None:
        copies = copy.deepcopy(list(models))
        with suppress(KeyError):  # objects in OpenAI's shape keep their order
            copies.sort(key=lambda m: datetime.fromisoformat(m["created_at"]), reverse=True)
        self._models: answers.Models = tuple(copies)

    def start(self) -> None:
        """Answer from now on, in a thread."""
        if self._thread.ident is None:
            self._thread.start()

    def serve_forever(self) -> None:
        """Answer until `stop` is called from elsewhere, or the calling thread is interrupted."""
        self.start()
        self._thread.join()

    def stop(self) -> None:
        """Close every connection and release the port."""
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
