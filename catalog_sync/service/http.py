"""The HTTP server of /metrics and /healthz."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, TypeAlias

from prometheus_client import make_wsgi_app

from catalog_sync.logs import fields
from catalog_sync.service.server import Server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client import CollectorRegistry

logger = logging.getLogger(__name__)
_LIMITS = {
    "threads": 4,  # concurrent requests
    "connection_limit": 500,  # slow or silent clients occupy no thread
    "channel_timeout": 10,  # seconds of silence after which a connection is closed
    "cleanup_interval": 5,
    "max_request_header_size": 16 * 1024,
    "max_request_body_size": 64 * 1024,
}
_HEADERS = [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
_Answer: TypeAlias = "tuple[str, list[tuple[str, str]], bytes]"
"""Status, headers and body."""


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
        super().__init__(address, _Application(metrics, health), **_LIMITS)


class _Application:
    def __init__(
        self,
        metrics: CollectorRegistry,
        health: Callable[[], tuple[bool, Mapping[str, Any]]],
    ) -> None:
        self._metrics = make_wsgi_app(metrics)
        self._health = health

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
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
