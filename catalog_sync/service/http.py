"""What is measured, as Prometheus reads it, and the small HTTP server that tells it.

Nothing is counted here: every figure comes from the database, so that it survives a restart and is
the same whichever process tells it. The server knows the two functions that it was given, and
nothing of what they do; it reaches no other host and logs no request.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import socket
import sys
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Self

from catalog_sync.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


logger = logging.getLogger(__name__)
_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"  # what every scraper reads
_METHODS = "GET, HEAD"
_PATIENCE_SECONDS = 5.0
"""For a client to say what it wants, and again to take its answer: scrapers are near."""
_MAX_REQUEST_BYTES = 16 * 1024
"""A scraper's headers are a few hundred."""
_LINGER_SECONDS = 1.0
_MAX_LEFT_BYTES = 1 << 20
"""For what a client sends beyond its request, and how much of it is read away."""
_MAX_CONNECTIONS = 32
"""Beyond it the oldest one is hung up on: whoever holds many open keeps nobody out."""
_MAX_ANSWERS = 8
"""Made at once; the rest is told to come back, or a slow database would gather threads."""
_POLL_SECONDS = 0.1
"""How soon `close` is noticed; a new client is noticed at once."""


class Listener:
    """`/metrics` and `/healthz`, over HTTP.

    Args:
        address: host and port to bind; a name is looked up, `::` takes IPv4 too, port 0 is any
            free one.
        metrics: returns what `/metrics` answers, as `exposition` does.
        health: returns whether all is well, and the object that `/healthz` answers with 200 or 503.

    The port is taken at once, or OSError is raised, and answered from `start` on, which `with`
    calls. Both functions are called in threads of the listener, at most eight at a time; what they
    raise is logged by its class alone, because it may quote a secret, and answered with 500 or 503.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        metrics: Callable[[], bytes],
        health: Callable[[], tuple[bool, Mapping[str, Any]]],
    ) -> None:
        try:
            self._server = _Server(address, metrics, health)
        except (TypeError, UnicodeError) as error:  # no name server could be asked for it
            raise OSError(errno.EINVAL, "not a host name") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that it answers on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on, in a thread of its own."""
        if self._thread.ident is None:
            self._thread.start()

    def close(self) -> None:
        """Give the port back and hang up on every client, without waiting for any."""
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.hang_up()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingMixIn, TCPServer):
    """A thread for each connection, and a list of the open ones, the oldest first."""

    allow_reuse_address = True  # a restart need not wait for the old connections' end
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        metrics: Callable[[], bytes],
        health: Callable[[], tuple[bool, Mapping[str, Any]]],
    ) -> None:
        self._metrics, self._health = metrics, health
        self._answering = threading.BoundedSemaphore(_MAX_ANSWERS)
        self._open: dict[Any, None] = {}
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        if self.server_address[0] == "::":
            with suppress(OSError):  # where a system cannot, IPv6 alone it is
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, content type and body of a GET."""
        if path not in {"/metrics", "/healthz"}:
            return HTTPStatus.NOT_FOUND, _TEXT, b"Not Found; there are /metrics and /healthz\n"
        if not self._answering.acquire(blocking=False):
            return _no_answer(path, HTTPStatus.SERVICE_UNAVAILABLE, "busy")
        try:
            if path == "/metrics":
                return HTTPStatus.OK, _EXPOSITION, self._metrics()
            well, said = self._health()
            status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
            return status, _JSON, _json(said)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client is told no more
            logger.warning("%s has no answer", path, extra=fields(error=type(error).__name__))
            return _no_answer(path, HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
        finally:
            self._answering.release()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._open) >= _MAX_CONNECTIONS:
                oldest = next(iter(self._open))
                del self._open[oldest]
                _hang_up(oldest)
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        error = sys.exception()
        if not isinstance(error, OSError):  # a client that hung up is its own affair
            logger.warning("a connection broke", extra=fields(error=type(error).__name__))

    def hang_up(self) -> None:
        """End every connection; its thread lets go of it by itself."""
        with self._lock:
            for request in self._open:
                _hang_up(request)


class _Handler(BaseHTTPRequestHandler):
    """One request: a scrape each quarter of a minute gains nothing by a kept-alive connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    # What a request line that names no version is answered in; HTTP/0.9 would be without headers.
    default_request_version = "HTTP/1.0"
    disable_nagle_algorithm = True
    # Of a request that could not be read so far.
    command = requestline = request_version = ""

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        incoming = _Incoming(self.connection, _PATIENCE_SECONDS, _MAX_REQUEST_BYTES)
        self.rfile = io.BufferedReader(incoming)

    def handle(self) -> None:
        try:
            self.handle_one_request()
        except HTTPException:
            self.send_error(HTTPStatus.REQUEST_URI_TOO_LONG)
        # What is left unread would reset the connection, and with it the answer on its way.
        with suppress(OSError, HTTPException):
            self.connection.shutdown(socket.SHUT_WR)
            _Incoming(self.connection, _LINGER_SECONDS, _MAX_LEFT_BYTES).readall()

    def do_GET(self) -> None:
        self._send(*self.server.answer(self.path.partition("?")[0]))

    def do_HEAD(self) -> None:
        self.do_GET()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Say what http.server itself refuses in few words, and none of the client's."""
        del message, explain
        status = HTTPStatus(code)
        if status is HTTPStatus.NOT_IMPLEMENTED:  # its word for a method without a do_ function
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self._send(status, _TEXT, f"{status.phrase}\n".encode())

    def log_message(self, *_: object) -> None:
        """Log nothing: a request is no news."""

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.connection.settimeout(_PATIENCE_SECONDS)
        self.send_response_only(status)  # `send_response` would also name our versions
        self.send_header("date", self.date_time_string())
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.send_header("cache-control", "no-store")
        self.send_header("x-content-type-options", "nosniff")
        self.send_header("connection", "close")
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("allow", _METHODS)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Incoming(io.RawIOBase):
    """What a client sends, for a time and up to a size, both of the whole: no trickle outlives it.

    Reading raises TimeoutError, HTTPException for more than the size, and ConnectionAbortedError
    when the client stops in the middle.
    """

    def __init__(self, connection: socket.socket, seconds: float, limit: int) -> None:
        super().__init__()
        self._connection = connection
        self._ends_at = time.monotonic() + seconds
        self._limit = self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            raise HTTPException
        patience = self._ends_at - time.monotonic()
        if patience <= 0:
            raise TimeoutError
        self._connection.settimeout(patience)
        received = self._connection.recv_into(memoryview(buffer)[: self._left])
        if not received and self._left < self._limit:
            raise ConnectionAbortedError
        self._left -= received
        return received


def _hang_up(request: socket.socket) -> None:
    with suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


def _no_answer(path: str, status: HTTPStatus, reason: str) -> tuple[HTTPStatus, str, bytes]:
    """Return what is said instead: of health, that it cannot be told is bad health."""
    if path == "/healthz":
        said = {"ok": False, "reason": reason}
        return HTTPStatus.SERVICE_UNAVAILABLE, _JSON, _json(said)
    return status, _TEXT, f"{reason}\n".encode()


def _json(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, allow_nan=False).encode() + b"\n"
