"""The Models API over HTTP: List Models, Get a Model, and the walk over all pages.

Callers never see a header or a status code: they get values, or an error that says what to do
next. Retries follow the official SDK (`anthropic/_base_client.py`). The credential and the values
of extra headers never leave in a message.

Specification: https://docs.anthropic.com/en/api/models-list
"""

from __future__ import annotations

import email.utils
import logging
import math
import random
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from http.cookiejar import CookieJar
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import pydantic_core
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.stop import stop_before_delay

from catalog_sync._version import __version__
from catalog_sync.domain.kinds import AbsenceCheck
from catalog_sync.domain.model import Catalog, Identity, ModelInfo
from catalog_sync.errors import (
    BadAnswerError,
    ConfigError,
    DeadlineError,
    OverloadedError,
    RefusedError,
    SourceError,
    StoppedError,
    UnauthorizedError,
    UnreachableError,
)
from catalog_sync.logs import fields
from catalog_sync.text import one_line


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of List Models."""

    models: tuple[ModelInfo, ...]
    has_more: bool
    first_id: str | None
    last_id: str | None
    scope: Identity = field(default_factory=Identity)


logger = logging.getLogger(__name__)
PAGE_SIZE_RANGE: Final = range(1, 1001)
"""What `limit` may be; the API's own default is 20."""
_MAX_PAGES = 1_000
_MAX_BODY_BYTES = 32 * 2**20
_ENCODINGS = ("gzip", "deflate", "identity")
_MAX_RETRIES = 4
_REDIRECTS: Final = frozenset({300, 301, 302, 303, 305, 307, 308})
_RETRIED: Final = frozenset({408, 409, 429})
"""With all 5xx: what the official SDK tries again."""
_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 8.0
_CONNECT_SECONDS = 5.0  # as the official SDK
_SECRET_LENGTH = 4
"""Shorter header values are words that anybody says, not secrets to be struck out."""
_SILENCE_SECONDS = 30.0
"""How long a server may be silent, within the deadline, before a request counts as lost."""
_MESSAGE_LENGTH = 300
"""Characters of a server's own words that an error repeats."""


class _Refusal(Exception):  # noqa: N818  # an answer on its way to becoming an error
    """An answer that is not 2xx, with what decides whether it is tried again."""

    def __init__(self, response: httpx.Response, body: bytes) -> None:
        super().__init__(response.status_code)
        self.status = response.status_code
        self.reason = response.reason_phrase
        self.headers = response.headers
        self.body = body


class ModelsClient:
    """One source's connection. One thread uses it; `abort` may be called from another.

    `deadline` is for a whole walk, the questions by id that follow it included. No message repeats
    the values of `secret_headers`, the credential among them; `credential_origin` is what it may
    name. `direct` asks without the proxies of the environment.
    """

    def __init__(
        self,
        base_url: str,
        secret_headers: Mapping[str, str],
        *,
        anthropic_version: str = "2026-10-21",
        deadline: timedelta = timedelta(seconds=60),
        credential_origin: str = "the key",
        direct: bool = False,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        words = {word for value in secret_headers.values() for word in (value, *value.split(" "))}
        words |= {word.replace("\\", "\\\\") for word in words}  # as a quotation has it
        words |= {word.replace("'", "\\'") for word in words}  # as one of bytes has it
        self._secrets = sorted((w for w in words if len(w) >= _SECRET_LENGTH), key=len)[::-1]
        self._origin = credential_origin
        self._deadline_seconds = deadline.total_seconds()
        self._ends_at = float("inf")  # by time.monotonic()
        self._aborted = threading.Event()
        self._socket: socket.socket | None = None
        common = {
            "accept": "application/json",
            "accept-encoding": ", ".join(_ENCODINGS),
            "anthropic-version": anthropic_version,
            "user-agent": f"catalog-sync/{__version__}",
        }
        try:
            self._http = httpx.Client(
                headers=common | dict(secret_headers),
                cookies=_NoCookies(),
                follow_redirects=False,
                trust_env=not direct,
                event_hooks={"response": [_forget_location]},
                limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            )
        except (ImportError, OSError, ValueError, httpx.InvalidURL):
            raise ConfigError(
                "the proxy or certificate settings of the environment cannot be used",
                "check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR",
            ) from None  # the cause may quote a proxy's password

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back; a closed one asks no more."""
        if "_http" in self.__dict__:
            self._http.close()
            # What retries remember refers to us until it is collected: its certificates are heavy.
            del self._http
        if self._socket is not None:
            self._socket.close()

    def abort(self) -> None:
        """Abandon what another thread is doing here: it raises StoppedError at once."""
        self._aborted.set()
        self._hang_up()

    # --- the endpoints -------------------------------------------------------------------------

    def list_models(
        self,
        *,
        limit: int | None = None,
        after_id: str | None = None,
        before_id: str | None = None,
        lifecycle: Sequence[str] = (),
    ) -> Page:
        """Return one page: `limit` models (1 to 1000) after or before an id, newest first.

        Raises ValueError for arguments that the API would refuse, SourceError when no page came.
        """
        if limit is not None and limit not in PAGE_SIZE_RANGE:
            raise ValueError("limit: expected 1 to 1000")
        if after_id is not None and before_id is not None:
            raise ValueError("after_id and before_id exclude each other")
        asked = {"limit": limit, "after_id": after_id, "before_id": before_id}
        query = [(key, str(value)) for key, value in asked.items() if value is not None]
        query += [("lifecycle[]", value) for value in lifecycle]
        with self._discretion():
            body, headers = self._get("/v1/models", query)
            return _page(_json(body), headers)

    def get_model(self, model_id: str) -> ModelInfo:
        """Return one model by id; one that the API does not know raises RefusedError."""
        with self._discretion():
            body, _ = self._get(_path_of(model_id))
            try:
                return ModelInfo.from_payload(_json(body))
            except ValueError as error:
                raise BadAnswerError(f"model {model_id}: {error}") from error

    def pages(
        self,
        *,
        limit: int | None = None,
        after_id: str | None = None,
        before_id: str | None = None,
        lifecycle: Sequence[str] = (),
    ) -> Iterator[Page]:
        """Yield pages: from the newest model or from `after_id` on, or backwards from `before_id`.

        Nothing but `has_more` ends it: a cursor that is null, missing or repeated is an error.
        """
        seen = {after_id, before_id}
        for number in range(1, _MAX_PAGES + 1):
            with self._discretion(f"page {number}: "):
                page = self.list_models(
                    limit=limit, after_id=after_id, before_id=before_id, lifecycle=lifecycle
                )
                cursor = page.last_id if before_id is None else page.first_id
                if page.has_more and not cursor:
                    raise BadAnswerError("has_more is true, but no cursor says where to go on")
                if page.has_more and cursor in seen:
                    shown = one_line(str(cursor), 80)
                    raise BadAnswerError(f"the cursor '{shown}' came a second time")
            yield page
            if not page.has_more:
                return
            seen.add(cursor)
            after_id, before_id = (cursor, None) if before_id is None else (None, cursor)
        raise BadAnswerError(f"page {_MAX_PAGES}: still no end of the list")

    # --- the walk ------------------------------------------------------------------------------

    def walk(
        self,
        *,
        page_size: int = 1000,
        lifecycle: Sequence[str] = (),
        on_page: Callable[[int, int], None] = lambda _pages, _models: None,
    ) -> Catalog:
        """Walk all pages and return what they hold, or raise SourceError; the deadline starts now.

        `on_page` is told the number of pages and models so far. A model that comes twice with
        different content has changed meanwhile: then the walk is repeated, once.
        """
        self._ends_at = time.monotonic() + self._deadline_seconds
        with self._discretion(), self._alarm():
            try:
                return self._walk_once(page_size, lifecycle, on_page)
            except _ChangedMeanwhileError:
                return self._walk_once(page_size, lifecycle, on_page)

    def _walk_once(
        self, page_size: int, lifecycle: Sequence[str], on_page: Callable[[int, int], None]
    ) -> Catalog:
        models: dict[str, ModelInfo] = {}
        scope = Identity()
        number = 0
        for number, page in enumerate(self.pages(limit=page_size, lifecycle=lifecycle), 1):
            if page.scope.filled_from(scope) != scope.filled_from(page.scope):
                raise BadAnswerError(
                    f"page {number}: answered by {page.scope}, the ones before by {scope}"
                )
            scope = page.scope.filled_from(scope)
            for info in page.models:
                if models.setdefault(info.id, info) != info:
                    raise _ChangedMeanwhileError(
                        f"page {number}: the model '{info.id}' came twice with different content"
                    )
            on_page(number, len(models))
        return Catalog(models, number, scope)

    def ask(self, model_ids: Sequence[str]) -> dict[str, AbsenceCheck]:
        """Ask for models by id that the walk did not see, within what is left of its deadline."""
        with self._alarm():
            return {model_id: self._ask(model_id) for model_id in model_ids}

    def _ask(self, model_id: str) -> AbsenceCheck:
        try:
            body, _ = self._exchange(_path_of(model_id))
        except _Refusal as refusal:
            return (
                AbsenceCheck.GONE
                if refusal.status == HTTPStatus.NOT_FOUND
                else AbsenceCheck.UNKNOWN
            )
        except StoppedError:
            raise
        except SourceError:
            return AbsenceCheck.UNKNOWN
        # Gateways answer by id in other shapes: only the status and a `lifecycle` count.
        with suppress(BadAnswerError):
            answer = _json(body)
            if isinstance(answer, Mapping) and answer.get("lifecycle") == "retired":
                return AbsenceCheck.RETIRED
        return AbsenceCheck.ANSWERING

    # --- one request ---------------------------------------------------------------------------

    def _get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> tuple[bytes, httpx.Headers]:
        try:
            return self._exchange(path, query)
        except _Refusal as refusal:
            raise self._explain(refusal) from None

    def _exchange(
        self, path: str, query: Sequence[tuple[str, str]] = ()
    ) -> tuple[bytes, httpx.Headers]:
        """Send a request until it is answered, or no retry is left, or none fits the deadline."""
        retrying = Retrying(
            retry=retry_if_exception(_is_retried),
            wait=_delay_seconds,
            stop=stop_after_attempt(1 + _MAX_RETRIES)
            | stop_before_delay(self._ends_at - time.monotonic()),
            sleep=self._sleep,
            before_sleep=_log_retry,
            reraise=True,
        )
        return retrying(self._attempt, path, query)

    def _attempt(self, path: str, query: Sequence[tuple[str, str]]) -> tuple[bytes, httpx.Headers]:
        self._check()
        left = max(self._ends_at - time.monotonic(), 0.001)
        silence = min(left, _SILENCE_SECONDS)
        timeout = httpx.Timeout(silence, connect=min(left, _CONNECT_SECONDS))
        try:
            request = self._http.build_request(
                "GET",
                self._base_url + path,
                params=list(query),
                timeout=timeout,
                extensions={"trace": self._note_socket},
            )
            response = self._http.send(request, stream=True)
            try:
                body = self._read(response)
            except (BadAnswerError, httpx.RequestError):
                self._check()
                if response.is_success:
                    raise
                body = b""  # a refusal is one, whatever it says
            finally:
                response.close()
        except (httpx.InvalidURL, UnicodeError) as error:
            raise RefusedError(f"{self._base_url}: a URL that cannot be asked for") from error
        except httpx.DecodingError as error:
            raise BadAnswerError("the body is not encoded as its headers say") from error
        except (httpx.RequestError, OSError) as error:
            self._check()
            kind = "timed out" if isinstance(error, httpx.TimeoutException) else "no answer"
            reason = self._clean(str(error)) or type(error).__name__
            raise UnreachableError(f"{self._base_url}: {kind}: {reason}") from error
        self._check()  # a body that was hung up on may look like a complete one
        if not response.is_success:
            raise _Refusal(response, body)
        return body, response.headers

    def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        if (
            response.headers.get("content-encoding", _ENCODINGS[0]).strip().lower()
            not in _ENCODINGS
        ):
            raise BadAnswerError("a body in an encoding that was not asked for")  # or in several
        for chunk in response.iter_bytes():
            self._check()
            body += chunk
            if len(body) > _MAX_BODY_BYTES:
                raise BadAnswerError(f"a body of more than {_MAX_BODY_BYTES >> 20} MiB")
        return bytes(body)

    # --- time ----------------------------------------------------------------------------------

    @contextmanager
    def _alarm(self) -> Iterator[None]:
        """Hang up at the deadline: a server that drips bytes is never silent for long."""
        left = min(max(self._ends_at - time.monotonic(), 0), threading.TIMEOUT_MAX)
        timer = threading.Timer(left, self._hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _note_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember the connection's socket: httpx shows it while a request is under way.

        A duplicate of it: TLS takes the original away, and both end the same connection.
        """
        if event == "connection.connect_tcp.complete":
            if self._socket is not None:
                self._socket.close()
            connection = info["return_value"]
            self._socket = connection.get_extra_info("socket").dup()
            try:
                self._check()
            except (SourceError, StoppedError):
                connection.close()  # nobody else knows of it yet
                raise

    def _hang_up(self) -> None:
        """Wake whoever waits for the server; closing alone would not."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _sleep(self, seconds: float) -> None:
        self._aborted.wait(seconds)
        self._check()

    def _check(self) -> None:
        if self._aborted.is_set():
            raise StoppedError("interrupted")
        if time.monotonic() >= self._ends_at:
            raise DeadlineError(f"not finished after {self._deadline_seconds:g} s")

    # --- errors --------------------------------------------------------------------------------

    def _explain(self, refusal: _Refusal) -> SourceError:
        """Return the error of a refusal, with the API's own words and its request id."""
        words, request_id = _words(refusal.body)
        request_id = refusal.headers.get("request-id") or request_id
        text = f"HTTP {refusal.status}"
        if words := self._clean(words or refusal.reason):
            text += f": {words}"
        if request_id:
            text += f" (request {self._clean(request_id)})"
        if refusal.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return UnauthorizedError(text, f"check {self._origin}")
        if refusal.status in _REDIRECTS:
            return RefusedError(f"{text}: a redirect, which is not followed")
        if refusal.status in _RETRIED or refusal.status >= 500:  # noqa: PLR2004  # server errors
            wait = _retry_after_seconds(refusal.headers)
            return OverloadedError(f"{text}, to be tried in {wait:g} s" if wait else text)
        if refusal.status == HTTPStatus.BAD_REQUEST:
            return RefusedError(text, f"check {self._origin}, base_url and the source's settings")
        return RefusedError(text)

    @contextmanager
    def _discretion(self, place: str = "") -> Iterator[None]:
        """Say where an error happened; keep what a server echoes of secrets out of it.

        Out of its causes too, in which a secret may be quoted, with its backslashes doubled.
        """
        try:
            yield
        except StoppedError:
            raise  # nobody's fault, wherever it happened
        except SourceError as error:
            whole = "".join(traceback.format_exception(error)).replace("\\", "")
            told = type(error)(self._clean(f"{place}{error}", None), advice="")
            if any(secret.replace("\\", "") in whole for secret in self._secrets):
                raise told from None
            if not place:
                raise
            raise told from error

    def _clean(self, text: str, limit: int | None = _MESSAGE_LENGTH) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]")
        return one_line(text, limit)


class _ChangedMeanwhileError(BadAnswerError):
    """A model came twice in one walk, with different content."""


def _path_of(model_id: str) -> str:
    if not model_id:
        raise ValueError("model_id: expected at least one character")
    path = quote(model_id, safe="")
    # A segment of dots alone would be taken for a way up.
    return "/v1/models/" + (path.replace(".", "%2E") if not path.strip(".") else path)


class _NoCookies(CookieJar):
    """Keeps nothing: the API has no sessions, and the standard library stumbles over odd ones."""

    def extract_cookies(self, response: object, request: object) -> None:
        pass


def _forget_location(response: httpx.Response) -> None:
    """Leave httpx nothing to follow, and nothing to stumble over, of a redirect."""
    response.headers.pop("location", None)


def _is_retried(error: BaseException) -> bool:
    if isinstance(error, _Refusal):
        said: str | None = error.headers.get("x-should-retry")
        if said in {"true", "false"}:
            return said == "true"
        return error.status in _RETRIED or error.status >= 500  # noqa: PLR2004  # server errors
    return isinstance(error, UnreachableError)


def _delay_seconds(state: RetryCallState) -> float:
    """Return the wait before the next attempt: what the server asks for, else exponential."""
    error = state.outcome.exception() if state.outcome else None
    asked = _retry_after_seconds(error.headers) if isinstance(error, _Refusal) else None
    if asked is not None:
        return asked
    doublings = min(state.attempt_number - 1, 10)
    delay = min(_FIRST_DELAY_SECONDS * 2.0**doublings, _LAST_DELAY_SECONDS)
    return delay * (1 - 0.25 * random.random())  # noqa: S311  # jitter is no secret


def _retry_after_seconds(headers: httpx.Headers) -> float | None:
    """Return how long the server asks to wait; null when it does not say, or nothing sensible."""
    seconds: float | None = None
    with suppress(KeyError, ValueError):
        seconds = float(headers["retry-after-ms"]) / 1000
    if seconds is None and (text := headers.get("retry-after")) is not None:
        try:
            seconds = float(text)
        except ValueError:
            with suppress(TypeError, ValueError, OverflowError, IndexError):
                seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    if seconds is None or not math.isfinite(seconds) or seconds <= 0:
        return None
    return min(seconds, threading.TIMEOUT_MAX)


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    reason = f"HTTP {error.status}" if isinstance(error, _Refusal) else type(error).__name__
    wait = round(state.upcoming_sleep, 2)
    logger.info("trying again", extra=fields(reason=reason, wait_seconds=wait))


def _json(body: bytes) -> Any:
    try:
        return pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BadAnswerError(f"the body is not JSON: {error}") from error


def _page(body: Any, headers: httpx.Headers) -> Page:
    """Return the page that an answer promises to be. Raises BadAnswerError."""
    if not isinstance(body, Mapping):
        raise BadAnswerError("the answer is not an object")
    data, has_more = body.get("data"), body.get("has_more")
    if not isinstance(data, list):
        raise BadAnswerError("data is missing or no list")
    if not isinstance(has_more, bool):
        raise BadAnswerError("has_more is missing or no boolean")
    first_id, last_id = body.get("first_id"), body.get("last_id")
    for key, cursor in (("first_id", first_id), ("last_id", last_id)):
        if not (cursor is None or isinstance(cursor, str)):
            raise BadAnswerError(f"{key} is neither a string nor null")
    models = []
    for index, item in enumerate(data):
        try:
            models.append(ModelInfo.from_payload(item))
        except ValueError as error:
            named = item.get("id") if isinstance(item, Mapping) else None
            name = f" ({one_line(named, 80)})" if isinstance(named, str) else ""
            raise BadAnswerError(f"data[{index}]{name}: {error}") from error
    scope = Identity(
        headers.get("anthropic-organization-id") or None,
        headers.get("anthropic-workspace-id") or None,
    )
    return Page(tuple(models), has_more, first_id, last_id, scope)


def _words(body: bytes) -> tuple[str, str]:
    """Return what an error body says and its request id; gateways say it in many shapes."""
    try:
        answer = _json(body)
    except BadAnswerError:
        return "", ""  # HTML, most likely
    if not isinstance(answer, Mapping):
        return "", ""
    error = answer.get("error", answer)
    if not isinstance(error, Mapping):
        error = {"message": error}
    message = error.get("message") or error.get("detail") or ""
    words = [str(word) for word in (error.get("type"), message) if isinstance(word, str) and word]
    request_id = answer.get("request_id")
    return ": ".join(words), request_id if isinstance(request_id, str) else ""
