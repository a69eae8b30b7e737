"""The client of one source: requests with retries, the walk, and confirmation by id.

Refusals become errors that quote the server. No error repeats the values of the secret headers.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

from catalog_sync.cancel import CancelToken
from catalog_sync.client import network
from catalog_sync.client.confirm import Lookup, confirm_absent
from catalog_sync.client.decode import decode_body, error_message
from catalog_sync.client.exchange import Deadline, Response, exchange
from catalog_sync.client.walk import ChangedMeanwhileError, Page, PageReader, walk
from catalog_sync.domain.guard import api_root
from catalog_sync.domain.kinds import AbsenceCheck
from catalog_sync.domain.model import Catalog, ModelInfo
from catalog_sync.errors import (
    BadAnswerError,
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
    from catalog_sync.client.exchange import Query
    from catalog_sync.client.walk import Api

logger = logging.getLogger(__name__)
_LIST: Final = "/v1/models"
_MAX_BODY_BYTES: Final = 32 * 2**20
_MAX_RETRIES: Final = 4
_RETRIED: Final = frozenset({408, 409, 429})
"""Statuses that are retried, in addition to all 5xx, as by the official SDK."""
_FIRST_DELAY_SECONDS: Final = 0.5
_LAST_DELAY_SECONDS: Final = 8.0
_QUOTED_LENGTH: Final = 300
"""Characters of a server's error text that an error quotes."""
_LOOPBACK: Final = re.compile(r"(.*\.)?localhost\.?|127(\.\d+){3}|::1")
_warned: set[str] = set()
"""Addresses without encryption about which this process has warned."""


class ModelsClient:
    """A client of one source, for one thread. The process shares its connections.

    Args:
        base_url: The API's address, with or without a trailing `/v1`.
        secret_headers: Sent with every request; their values never appear in an error.
        api: The shape of the API.
        deadline: The time for a whole walk and the confirmation that follows it.
        credential_origin: Names the credential in errors.
        direct: Ignore the proxies of the environment.
        cancel: Ends requests and waits when it is cancelled.

    Raises:
        ConfigError: The environment's proxy or TLS settings cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        secret_headers: Mapping[str, str],
        *,
        api: Api,
        deadline: timedelta,
        credential_origin: str,
        direct: bool = False,
        cancel: CancelToken,
    ) -> None:
        self._api = api
        self._base_url = api_root(base_url)
        network.route_to(self._base_url, direct=direct)
        common = {"accept": "application/json", "accept-encoding": "gzip, deflate"}
        self._headers = {**common, **self._api.headers, **secret_headers}
        self._length = deadline
        self._deadline = Deadline.after(deadline)
        self._credential_origin = credential_origin
        self._direct = direct
        self._cancel = cancel
        self._redact, self._answers = _redactors(tuple(secret_headers.items()))
        _warn_without_encryption(base_url)

    def walk(
        self,
        *,
        page_size: int = 1000,
        lifecycle: Sequence[str] = (),
        known: Mapping[str, ModelInfo] | None = None,
        on_page: Callable[[int, int], None] = lambda _pages, _models: None,
    ) -> Catalog:
        """Walk all pages and return their catalog. The deadline starts now.

        If a model appears twice with different content, it changed during the walk, and the walk
        is repeated once.

        Args:
            page_size: Models per page, 1 to 1000.
            lifecycle: The API's own filter; empty requests its default.
            known: The recorded models by id. The catalog contains them for unchanged models, which
                saves memory.
            on_page: Called after each page with the numbers of pages and models so far.

        Raises:
            SourceError: The walk is not complete.
            StoppedError: `cancel` was cancelled.
        """
        self._deadline = Deadline.after(self._length)
        query = self._api.first_query(page_size, lifecycle)

        def walk_once() -> Catalog:
            reader = PageReader(self._api, known or {}, self._check)

            def fetch(query: Query) -> Page:
                return reader.page(self._get(_LIST, query), query)

            return walk(fetch, query, self._redacted_errors, on_page)

        with self._redacted_errors():
            try:
                return walk_once()
            except ChangedMeanwhileError:
                return walk_once()

    def confirm_absent(
        self, missing_ids: Collection[str], listed_ids: Collection[str]
    ) -> dict[str, AbsenceCheck]:
        """Request missing models by id, within the walk's deadline. Raises StoppedError.

        Listed models serve as controls.
        """
        return confirm_absent(self._look_up, missing_ids, listed_ids)

    def _look_up(self, model_id: str) -> Lookup:
        path = quote(model_id, safe="")
        if not path.strip("."):  # a segment of dots alone would mean the parent path
            path = path.replace(".", "%2E")
        try:
            response = self._ask(f"{_LIST}/{path}")
        except SourceError:
            return Lookup()
        answer: Any = None
        if response.status == HTTPStatus.OK:
            with suppress(BadAnswerError):  # probably HTML
                answer = decode_body(response.body)
        return Lookup(response.status, answer)

    # --- requests ------------------------------------------------------------------------------

    def _check(self) -> None:
        """Raise StoppedError or DeadlineError if the walk is over."""
        self._cancel.check()
        self._deadline.left()

    def _get(self, path: str, query: Query) -> Response:
        """Return a 2xx answer. Raises the matching SourceError for any other answer."""
        response = self._ask(f"{path}?{urlencode(query)}" if query else path)
        if not response.is_success:
            raise self._refusal(response, path)
        return response

    def _ask(self, target: str) -> Response:
        """Request with retries. Returns the last answer, whatever its status."""
        attempt = 0
        while True:
            attempt += 1
            try:
                response = self._ask_once(target)
            except UnreachableError as error:
                if not self._wait(attempt, self._redact(error.reason)):
                    raise
            else:
                reason, asked = f"HTTP {response.status}", response.retry_after
                if not (_is_retried(response) and self._wait(attempt, reason, asked)):
                    return response

    def _wait(self, attempt: int, reason: str, asked: timedelta | None = None) -> bool:
        """Wait before the next attempt. Returns False after the last attempt."""
        wait = delay_seconds(attempt, asked)
        if attempt > _MAX_RETRIES or wait >= self._deadline.ends_at - time.monotonic():
            return False
        logger.info("retrying", extra=fields(reason=reason, wait_seconds=round(wait, 2)))
        self._cancel.sleep(wait)
        return True

    def _ask_once(self, target: str) -> Response:
        started = time.monotonic()
        response = exchange(
            "GET",
            self._base_url + target,
            headers=self._headers,
            deadline=self._deadline,
            cancel=self._cancel,
            max_bytes=_MAX_BODY_BYTES,
            direct=self._direct,
        )
        facts = fields(
            path=target.partition("?")[0],
            status=response.status,
            milliseconds=round((time.monotonic() - started) * 1000),
        )
        logger.debug("GET", extra=facts)
        headers = self._answers.headers(response.headers)
        body = self._answers.body(response.body, self._check)
        return replace(response, headers=headers, body=body)

    def _refusal(self, response: Response, path: str) -> SourceError:
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
            return UnauthorizedError(text, f"check {self._credential_origin}")
        if status // 100 == 3:  # noqa: PLR2004  # HTTP's class of redirects
            return RefusedError(f"{text}: a redirect, which is not followed")
        if status in _RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = response.retry_after
            return OverloadedError(
                f"{text}, to be tried in {wait.total_seconds():g} s" if wait else text
            )
        if status == HTTPStatus.BAD_REQUEST:
            settings = "base_url and the source's settings"
            return RefusedError(text, f"check {self._credential_origin}, {settings}")
        if status == HTTPStatus.NOT_FOUND:
            return RefusedError(f"{text} (URL: {self._base_url}{path})")
        return RefusedError(text)

    def _quoted(self, text: str) -> str:
        return one_line(self._redact(text), _QUOTED_LENGTH)

    @contextmanager
    def _redacted_errors(self, place: str = "") -> Iterator[None]:
        """Prefix errors with `place`, and redact secrets, also in the traceback of the cause."""
        try:
            yield
        except SourceError as error:
            redacted = type(error)(self._redact(one_line(f"{place}{error}", None)), advice="")
            if self._redact.found_in_traceback(error):
                raise redacted from None
            if not place:
                raise
            raise redacted from error


@lru_cache(maxsize=16)
def _redactors(secret_headers: tuple[tuple[str, str], ...]) -> tuple[Redactor, AnswerRedactor]:
    """Return what many sources with the same key share."""
    headers = dict(secret_headers)
    return Redactor(headers.values()), AnswerRedactor(headers)


def delay_seconds(attempt: int, asked: timedelta | None = None) -> float:
    """Return the wait after an attempt: the one that the server asks for, else exponential."""
    if asked is not None:
        return asked.total_seconds()
    delay = min(_FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 10), _LAST_DELAY_SECONDS)
    return delay * (1 - 0.25 * random.random())  # noqa: S311  # jitter needs no secure source


def _is_retried(response: Response) -> bool:
    if response.is_success:
        return False
    said = response.headers.get("x-should-retry")
    if said in {"true", "false"}:
        return said == "true"
    return response.status in _RETRIED or response.status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _warn_without_encryption(base_url: str) -> None:
    parts = urlsplit(base_url)
    is_local = _LOOPBACK.fullmatch(parts.hostname or "")
    if parts.scheme == "http" and not is_local and base_url not in _warned:
        _warned.add(base_url)
        logger.warning(
            "the key is sent without encryption: use https://", extra=fields(base_url=base_url)
        )
