"""The HTTP server of /metrics and /healthz."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from catalog_sync.logs import fields
from catalog_sync.service.server import Server

logger = logging.getLogger(__name__)
_LIMITS = {
    "threads": 4,  # concurrent requests
    "connection_limit": 500,  # slow or silent clients occupy no thread
    "channel_timeout": 10,  # seconds of silence after which a connection is closed
    "cleanup_interval": 5,
    "max_request_header_size": 16 * 1024,
    "max_request_body_size": 64 * 1024,
}
_HEADERS = [
    ("Allow", "GET, HEAD"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
]
_TEXT = "text/plain; charset=utf-8"


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
        self._metrics = metrics
        self._health = health
        super().__init__(address, self._answer, **_LIMITS)

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        method = environ["REQUEST_METHOD"]
        try:
            status, content_type, body = self._content(method, environ["PATH_INFO"])
        except Exception as error:  # noqa: BLE001  # its text may quote a secret
            logger.warning("no answer", extra=fields(error=type(error).__name__))
            status, content_type, body = 500, _TEXT, b"internal error\n"
        headers = [("Content-Type", content_type), ("Content-Length", str(len(body)))]
        start_response(f"{status} {HTTPStatus(status).phrase}", [*headers, *_HEADERS])
        return [] if method == "HEAD" else [body]

    def _content(self, method: str, path: str) -> tuple[int, str, bytes]:
        """Return the status, the content type and the body."""
        if method not in {"GET", "HEAD"}:
            return 405, _TEXT, b"expected GET or HEAD\n"
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._metrics)
        if path == "/healthz":
            is_well, shown = self._health()
            body = json.dumps(shown, allow_nan=False).encode() + b"\n"
            return 200 if is_well else 503, "application/json", body
        return 404, _TEXT, b"Not Found; there are /metrics and /healthz\n"
