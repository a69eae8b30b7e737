"""Requests to one source: retried as the official SDK does; refusals become errors.

No error repeats the values of the secret headers.
"""

from __future__ import annotations

import itertools
import logging
import random
import time
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from catalog_sync.client import network
from catalog_sync.client.decode import error_message
from catalog_sync.client.exchange import Deadline, Response, exchange
from catalog_sync.errors import (
    OverloadedError,
    RefusedError,
    SourceError,
    UnauthorizedError,
    UnreachableError,
)
from catalog_sync.logs import fields
from catalog_sync.redact import AnswerRedactor, Redactor
from catalog_sync.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from catalog_sync.cancel import CancelToken

logger = logging.getLogger(__name__)
MAX_BODY_BYTES: Final = 32 * 2**20
_MAX_RETRIES: Final = 4
_REDIRECTS: Final = frozenset({300, 301, 302, 303, 305, 307, 308})
_RETRIED: Final = frozenset({408, 409, 429})
"""Statuses that are retried, like the official SDK's, in addition to all 5xx."""
_FIRST_DELAY_SECONDS: Final = 0.5
_LAST_DELAY_SECONDS: Final = 8.0
_MESSAGE_LENGTH: Final = 300
"""Characters of a server's error text that an error repeats."""


class Connection:
    """Sends requests to one source until one is answered or no retry is left.

    Args:
        base_url: The address of the API, without `/v1`.
        headers: Sent with every request.
        secret_headers: Sent too; their values never appear in an error.
        credential_origin: What an error may name in place of the credential.
        cancel: Ends any request in progress.
        direct: Use no proxy of the environment.

    Raises:
        ConfigError: The environment's proxy or TLS settings cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        secret_headers: Mapping[str, str],
        *,
        credential_origin: str,
        cancel: CancelToken,
        direct: bool,
    ) -> None:
        network.check_environment(base_url, direct=direct)
        self.base_url = base_url
        self.cancel = cancel
        self.deadline = Deadline(float("inf"), float("inf"))
        """The deadline of the walk in progress. Without one, requests have no deadline."""
        common = {"accept": "application/json", "accept-encoding": "gzip, deflate"}
        self._headers = {**common, **headers, **secret_headers}
        self._origin = credential_origin
        self._direct = direct
        self.redact = Redactor(secret_headers.values())
        self._answers = AnswerRedactor(secret_headers)

    def check(self) -> None:
        """Raise StoppedError or DeadlineError if the walk in progress is over."""
        self.cancel.check()
        self.deadline.left()

    def get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Response:
        """Return a 2xx answer. Raises the matching SourceError for any other answer."""
        response = self.ask(path, query)
        if not response.is_success:
            raise self._explain(response, path)
        return response

    def ask(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Response:
        """Return the answer, whatever its status, when no retry is left or allowed."""
        url = network.with_query(self.base_url + path, query)
        for attempt in itertools.count(1):
            failure = None
            started = time.monotonic()
            try:
                response = exchange(
                    "GET",
                    url,
                    headers=self._headers,
                    deadline=self.deadline,
                    cancel=self.cancel,
                    max_bytes=MAX_BODY_BYTES,
                    direct=self._direct,
                )
            except UnreachableError as error:
                failure, reason, asked = error, type(error).__name__, None
            else:
                spent = round((time.monotonic() - started) * 1000)
                response = replace(
                    response,
                    headers=self._answers.headers(response.headers),
                    body=self._answers.body(response.body),
                )
                facts = fields(path=path, status=response.status, milliseconds=spent)
                logger.debug("GET", extra=facts)
                if not _is_retried(response):
                    return response
                reason, asked = f"HTTP {response.status}", _seconds(response)
            wait = delay_seconds(attempt, asked)
            left = self.deadline.ends_at - time.monotonic()
            if attempt > _MAX_RETRIES or wait >= left:
                if failure is not None:
                    raise failure
                return response
            facts = fields(reason=reason, wait_seconds=round(wait, 2))
            logger.info("trying again", extra=facts)
            self.cancel.sleep(wait)
        raise AssertionError("unreachable")

    def _explain(self, response: Response, path: str) -> SourceError:
        """Return the error of a refusal, with the server's text and its request id."""
        message, request_id = error_message(response.body)
        request_id = response.headers.get("request-id") or request_id
        status = response.status
        text = f"HTTP {status}"
        if message := self._quoted(message or response.reason):
            text += f": {message}"
        if request_id:
            text += f" (request {self._quoted(request_id)})"
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return UnauthorizedError(text, f"check {self._origin}")
        if status in _REDIRECTS:
            return RefusedError(f"{text}: a redirect, which is not followed")
        if status in _RETRIED or status >= 500:  # noqa: PLR2004  # server errors
            wait = _seconds(response)
            return OverloadedError(f"{text}, to be tried in {wait:g} s" if wait else text)
        if status == HTTPStatus.BAD_REQUEST:
            return RefusedError(text, f"check {self._origin}, base_url and the source's settings")
        if status == HTTPStatus.NOT_FOUND:
            return RefusedError(f"{text} (URL: {self.base_url}{path})")
        return RefusedError(text)

    def _quoted(self, text: str) -> str:
        return one_line(self.redact(text), _MESSAGE_LENGTH)

    @contextmanager
    def redacted_errors(self, place: str = "") -> Iterator[None]:
        """Prefix errors with the place and redact secrets.

        The cause is dropped if its traceback would show a secret.
        """
        try:
            yield
        except SourceError as error:
            redacted = type(error)(self.redact(one_line(f"{place}{error}", None)), advice="")
            if self.redact.found_in_traceback(error):
                raise redacted from None
            if not place:
                raise
            raise redacted from error


def delay_seconds(attempt: int, asked: float | None = None) -> float:
    """Return the wait after an attempt: as long as the server asks for, otherwise exponential."""
    if asked is not None:
        return asked
    delay = min(_FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 10), _LAST_DELAY_SECONDS)
    return delay * (1 - 0.25 * random.random())  # noqa: S311  # jitter is no secret


def _seconds(response: Response) -> float | None:
    return response.retry_after.total_seconds() if response.retry_after else None


def _is_retried(response: Response) -> bool:
    if response.is_success:
        return False
    said = response.headers.get("x-should-retry")
    if said in {"true", "false"}:
        return said == "true"
    return response.status in _RETRIED or response.status >= 500  # noqa: PLR2004  # server errors
