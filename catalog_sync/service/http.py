"""The HTTP servers: waitress in a thread, and its application for /metrics and /healthz."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from waitress import create_server, wasyncore

from catalog_sync.logs import fields

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

logger = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
_DRAIN_SECONDS = 1.0
"""How long `close` waits for answers in progress."""
_MEMORY_BYTES = 2**30
"""Answers wait in memory: waitress leaves temporary files open when it closes a connection."""

_LIMITS = {
    "threads": 4,  # concurrent requests
    "connection_limit": 500,  # slow or silent clients occupy no thread
    "channel_timeout": 10,  # seconds of silence after which a connection is closed
    "cleanup_interval": 5,
    "max_request_header_size": 16 * 1024,
    "max_request_body_size": 64 * 1024,
}
_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
_Answer: TypeAlias = tuple[str, list[tuple[str, str]], bytes]
"""Status, headers and body."""


class Server:
    """Serves a WSGI application from `start`, which `with` calls, until `close`.

    The host `::` accepts IPv4 too, and port 0 chooses a free port. `limits` are options of
    waitress. Raises OSError if the address cannot be bound.
    """

    def __init__(
        self, address: tuple[str, int], application: WSGIApplication, **limits: int
    ) -> None:
        host, port = address
        listening = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=128,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
        self.port = int(listening.getsockname()[1])
        self._channels: dict[int, Any] = {}
        self._server = create_server(
            application,
            map=self._channels,
            sockets=[listening],
            ident=None,
            clear_untrusted_proxy_headers=True,
            inbuf_overflow=_MEMORY_BYTES,
            outbuf_overflow=_MEMORY_BYTES,
            **limits,
        )
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    def start(self) -> None:
        """Answer requests, in a thread. A second call does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def join(self) -> None:
        """Wait until another thread closes the server."""
        self._thread.join()

    def close(self) -> None:
        """Close the port and all connections."""
        self._closing.set()
        if self._thread.is_alive():
            self._server.pull_trigger()
            self._thread.join()
        self._server.task_dispatcher.shutdown(timeout=_DRAIN_SECONDS)
        wasyncore.close_all(self._channels)

    def _serve(self) -> None:
        while not self._closing.is_set():
            wasyncore.loop(_POLL_SECONDS, use_poll=True, map=self._channels, count=1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Listener(Server):
    """Serves /metrics and /healthz.

    `health` returns whether the status is 200 (or 503), and the object for /healthz. Raises OSError
    if the address cannot be bound.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        metrics: CollectorRegistry,
        health: Callable[[], tuple[bool, Mapping[str, Any]]],
    ) -> None:
        from prometheus_client import make_wsgi_app  # noqa: PLC0415  # the sandbox needs none

        self._metrics = make_wsgi_app(metrics)
        self._health = health
        super().__init__(address, self._respond, **_LIMITS)

    def _respond(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        try:
            status, headers, body = self._answer(environ)
        except Exception as error:  # noqa: BLE001  # its text may quote a secret
            logger.warning("no answer", extra=fields(error=type(error).__name__))
            status, headers, body = _text("500 Internal Server Error", "internal error")
        headers = [*headers, *_HEADERS, ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, environ: WSGIEnvironment) -> _Answer:
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            status, headers, body = _text("405 Method Not Allowed", "expected GET or HEAD")
            return status, [*headers, ("Allow", "GET, HEAD")], body
        if environ["PATH_INFO"] == "/metrics":
            answered: list[Any] = []
            request = {**environ, "REQUEST_METHOD": "GET"}  # its HEAD has no content length
            body = b"".join(self._metrics(request, lambda *answer: answered.extend(answer)))
            return answered[0], answered[1], body
        if environ["PATH_INFO"] == "/healthz":
            is_well, shown = self._health()
            status = "200 OK" if is_well else "503 Service Unavailable"
            body = json.dumps(shown, allow_nan=False).encode() + b"\n"
            return status, [("Content-Type", "application/json")], body
        return _text("404 Not Found", "Not Found; there are /metrics and /healthz")


def _text(status: str, text: str) -> _Answer:
    return status, [("Content-Type", "text/plain; charset=utf-8")], f"{text}\n".encode()
