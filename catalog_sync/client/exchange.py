"""One HTTP request under a total deadline.

A request can be cancelled at any time, follows no redirect and reads a limited body. The client,
webhooks and the heartbeat use this module. The process shares connections and TLS certificates.
"""

from __future__ import annotations

import email.utils
import math
import re
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

import httpx

from catalog_sync._version import __version__
from catalog_sync.client import network
from catalog_sync.errors import (
    BadAnswerError,
    ConfigError,
    DeadlineError,
    RefusedError,
    SourceError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from catalog_sync.cancel import CancelToken

Query: TypeAlias = "tuple[tuple[str, str], ...]"
"""The parameters of a request for a page. The last one is the cursor, if there is one."""
_CODINGS: Final = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
_OTHER_CODINGS: Final = frozenset(
    {"br", "zstd", "compress", "x-compress", "dcb", "dcz", "exi", "pack200-gzip", "aes128gcm"}
)
"""Compressions that are never requested. Any other word (identity, utf-8, …) is a plain body."""
_MAX_REFUSAL_BYTES: Final = 64 * 1024
"""How much of a refusal's body is read."""
_STATED_ERROR: Final = re.compile(r"\[(?:Errno -?\d+|SSL[^\]]*)\] ([\w ,.':-]+)")
_PROXY_ERROR: Final = re.compile(r"(?:ProxyError.*|Tunnel connection failed): (\d{3})")
_NO_URL: Final = "the URL cannot be requested"
_HTTP_ERRORS: Final = (
    (re.compile("InvalidURL|UnsupportedProtocol|UnicodeError"), _NO_URL),
    (re.compile("LocalProtocolError"), "the request cannot be sent"),
    (
        re.compile("without (?:sending a )?response"),
        "the server closed the connection without an answer",
    ),
    (
        re.compile("complete message body|IncompleteRead"),
        "the server closed the connection within the answer",
    ),
    (re.compile("DecodeError|DecodingError"), "the answer is not encoded as its headers say"),
    (re.compile("ProtocolError|HTTPException|InvalidHeader"), "the answer is not HTTP"),
)
"""Names and texts of the errors of httpx, http.client and urllib3, the most specific first."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of a period that several requests share."""

    seconds: float
    """The length of the whole period, for messages."""
    ends_at: float
    """A value of `time.monotonic()`."""

    @classmethod
    def after(cls, length: timedelta) -> Deadline:
        """Return the deadline `length` from now."""
        seconds = length.total_seconds()
        return cls(seconds, time.monotonic() + seconds)

    def left(self) -> float:
        """Return the remaining seconds. Raises DeadlineError if none remain."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise DeadlineError(f"not finished after {self.seconds:g} s")
        return left


@dataclass(frozen=True, slots=True)
class Response:
    """A server's answer to one request."""

    status: int
    reason: str
    headers: Mapping[str, str]
    """Names are case-insensitive."""
    body: bytes
    """Empty when `max_bytes` was 0, and for a refusal whose body could not be read."""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004  # HTTP's own classes

    @property
    def server_at(self) -> datetime | None:
        """The server's time when it answered, in UTC; None if it did not state it."""
        answered_at = _date(self.headers.get("date"))
        with suppress(ValueError, OverflowError):  # a cache returns the original date
            if answered_at is not None and (age := self.headers.get("age")):
                return answered_at + timedelta(seconds=int(age))
        return answered_at

    @property
    def retry_after(self) -> timedelta | None:
        """The wait that the server asks for. None if it states none, or an invalid one."""
        seconds: float | None = None
        with suppress(KeyError, ValueError):
            seconds = float(self.headers["retry-after-ms"]) / 1000
        if seconds is None and (text := self.headers.get("retry-after")) is not None:
            try:
                seconds = float(text)
            except ValueError:  # a date, by the server's clock
                if (until := _date(text)) is not None:
                    now = _date(self.headers.get("date")) or datetime.now(UTC)
                    seconds = (until - now).total_seconds()
        if seconds is None or not math.isfinite(seconds) or seconds <= 0:
            return None
        return timedelta(seconds=min(seconds, threading.TIMEOUT_MAX))


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    with suppress(TypeError, ValueError, OverflowError, IndexError):
        parsed = email.utils.parsedate_to_datetime(text)
        return parsed.replace(tzinfo=parsed.tzinfo or UTC).astimezone(UTC)
    return None


def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    deadline: Deadline,
    cancel: CancelToken,
    max_bytes: int,
    content: bytes | None = None,
    direct: bool = False,
    cut: bool = False,
    verify: bool = True,
) -> Response:
    """Send one request and return the answer, whatever its status.

    Args:
        method: `GET`, `POST`, …
        url: An absolute `http://` or `https://` URL. Only its origin appears in errors.
        headers: Sent unchanged, with a `user-agent`.
        deadline: Covers connecting, sending and reading, but not name resolution.
        cancel: Ends the exchange when it is cancelled.
        max_bytes: The largest decompressed body. 0 reads no body. A refusal's body is cut.
        content: The body to send. Its connection is not used for other requests.
        direct: Ignore the proxies of the environment.
        cut: Only the status counts: any body is cut, and one that does not arrive is left out.
        verify: Whether to verify the server's certificate.

    Raises:
        UnreachableError: No answer, or an incomplete one.
        BadAnswerError: The body of a 2xx answer is larger than `max_bytes` or wrongly compressed.
        RefusedError: The URL cannot be requested.
        DeadlineError: The deadline passed.
        StoppedError: `cancel` was cancelled.
        ConfigError: The environment's proxy or TLS settings cannot be used.
    """
    connections, proxy_variable = network.route_to(url, direct=direct, verify=verify)
    headers = {"user-agent": f"catalog-sync/{__version__}", **headers}
    if content is not None:
        headers["connection"] = "close"
    operation = network.Operation(deadline.left, cancel)
    try:
        with operation, cancel.on_cancel(operation.hang_up):
            operation.check()
            request = httpx.Request(method, url, headers=headers, content=content)
            with closing(connections.handle_request(request)) as response:
                read = _read if response.is_success and not cut else _beginning
                body = read(response, operation, max_bytes)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise RefusedError(f"{network.origin(url)}: {_NO_URL}") from error
    except (httpx.HTTPError, OSError) as error:
        operation.check()
        via = advice = None
        if proxy_variable is not None:
            via = f" through the proxy of {proxy_variable}"
            if isinstance(error, (httpx.ConnectError, httpx.ProxyError)):
                advice = f"check {proxy_variable}, or name the host in NO_PROXY"
        text = f"{network.origin(url)}: no answer{via or ''}: {reason_of(error)}"
        raise UnreachableError(text, advice) from error
    return Response(response.status_code, response.reason_phrase, response.headers, body)


def _read(response: httpx.Response, operation: network.Operation, max_bytes: int) -> bytes:
    """Return the decompressed body. Raises BadAnswerError if it is unusable."""
    if max_bytes == 0:
        return b""
    body = _read_up_to(response, operation, max_bytes)
    operation.check()  # a body that `hang_up` cut may look complete
    if len(body) > max_bytes:
        raise BadAnswerError(f"the body is larger than {max_bytes >> 20} MiB")
    return body


def _beginning(response: httpx.Response, operation: network.Operation, max_bytes: int) -> bytes:
    """Return the beginning of a body; nothing if it does not arrive or cannot be decompressed."""
    longest = min(max_bytes, _MAX_REFUSAL_BYTES)
    with suppress(SourceError, httpx.HTTPError):
        return _read_up_to(response, operation, longest)[:longest] if longest else b""
    return b""


def _read_up_to(response: httpx.Response, operation: network.Operation, max_bytes: int) -> bytes:
    words = response.headers.get("content-encoding", "").lower().split(",")
    codings = [word.strip() for word in words]
    compressions = [_CODINGS[word] for word in codings if word in _CODINGS]
    if len(compressions) > 1 or not _OTHER_CODINGS.isdisjoint(codings):
        raise BadAnswerError("the body has an encoding that was not requested")
    response.headers["content-encoding"] = compressions[0] if compressions else "identity"
    body = bytearray()
    try:
        for chunk in response.iter_bytes():
            operation.check()
            body += chunk
            if len(body) > max_bytes:
                break
    except httpx.DecodingError as error:
        raise BadAnswerError("the body is not encoded as its headers say") from error
    return body  # type: ignore[return-value]  # bytes() would copy up to 32 MiB


# --- why there was no answer -----------------------------------------------------------------


def reason_of(error: BaseException) -> str:
    """Return why there was no answer, without any part of the URL.

    Covers the errors of the system, of TLS, of httpx, and of the libraries that Apprise calls.
    """
    if isinstance(error, ConfigError):
        return error.reason
    causes = list(_causes(error))
    if reason := next(filter(None, map(_system_reason, causes)), None):
        return reason
    # Some libraries keep only the text of a system error.
    if stated := next(filter(None, map(_STATED_ERROR.match, map(str, causes))), None):
        return stated[1]
    texts = [f"{' '.join(_kinds(cause))}: {cause}" for cause in causes]
    if refusal := next(filter(None, map(_PROXY_ERROR.search, texts)), None):
        return f"the proxy answered HTTP {refusal[1]}"
    reasons = (words for form, words in _HTTP_ERRORS if any(map(form.search, texts)))
    return next(reasons, "the connection broke")


def _system_reason(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", None) or error.reason or "failed"
        return f"TLS: {reason.replace('_', ' ').lower() if reason.isupper() else reason}"
    if isinstance(error, socket.gaierror):
        return "the host name is unknown"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "timed out"
    if isinstance(error, OSError) and error.errno:
        return error.strerror
    return None


def _kinds(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, including those in its `reason` or args."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, BaseException) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
