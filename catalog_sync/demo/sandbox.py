"""The sandbox: an HTTP server that answers List Models and Get a Model as the real API does.

It never reaches another host, never writes to disk, never logs a request and never repeats a key.
`answers` decides the answers; this module only transports them.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIEnvironment

from catalog_sync.clock import Clock
from catalog_sync.demo import answers
from catalog_sync.service.http import Server

_LIMITS: Final = {"threads": 32, "channel_timeout": 600}
_NO_DATE: Final = "-"  # without a `date` waitress would send its own


class Sandbox(Server):
    """The Models API on a loopback port, with a catalog that can be replaced at any time.

    Args:
        models: The catalog, see the property.
        api_key: The only accepted key, as `x-api-key` or as a bearer token.
        organization_id: Sent as `anthropic-organization-id`; None sends no such header.
        workspace_id: Sent as `anthropic-workspace-id`; None sends no such header.
        by_id: How Get a Model answers: a key of `answers.BY_ID`.
        shape: The shape of the answers: one of `answers.SHAPES`.
        port: 0 takes a free one, which is part of `url`.
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
        """The clock for the header `date`; None sends no date."""
        self.models = models
        super().__init__(("127.0.0.1", port), self._answer, **_LIMITS)
        self.url = f"http://127.0.0.1:{self.port}"

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

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        """Answer a request; the WSGI application."""
        request_id = f"req_{uuid.uuid4().hex[:24]}"
        sent = {
            key.removeprefix("HTTP_").replace("_", "-").lower(): value
            for key, value in environ.items()
            if key.startswith("HTTP_")
        }
        try:
            if environ["REQUEST_METHOD"] != "GET":
                raise answers.RefusedError(405, "Method Not Allowed")  # noqa: TRY301
            status, body = answers.answer(
                environ["REQUEST_URI"],
                sent,
                self.models,
                api_key=self.api_key,
                by_id=self.by_id,
                shape=self.shape,
            )
        except answers.RefusedError as refused:
            status = refused.status
            body = answers.error_body(status, str(refused), request_id, self.shape)
        html = isinstance(body, bytes)
        content = body if html else json.dumps(body).encode()
        headers = {
            "date": format_datetime(self.clock(), usegmt=True) if self.clock else _NO_DATE,
            "content-type": "text/html" if html else "application/json",
            "content-length": str(len(content)),
            "request-id": request_id,
            "anthropic-organization-id": self.organization_id,
            "anthropic-workspace-id": self.workspace_id,
            "allow": "GET" if status == HTTPStatus.METHOD_NOT_ALLOWED else None,
        }
        stated = [(name, value) for name, value in headers.items() if value is not None]
        start_response(f"{status} {HTTPStatus(status).phrase}", stated)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]
