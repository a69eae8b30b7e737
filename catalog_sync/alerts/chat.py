"""Channels of Apprise: chat, mail, phone.

Apprise returns only True or False, and calls `requests`, which has no total deadline, reads answers
of any size and may follow redirects. This module therefore wraps the requests of its threads: each
one ends at a deadline, follows no redirect and reads only the beginning of the answer. The status
or the error is recorded.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
import threading
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import apprise
import requests
import urllib3
from requests.adapters import HTTPAdapter

from catalog_sync.alerts.channels import SEND_TIMEOUT, TOO_LATE, SendResult, http_result
from catalog_sync.client.exchange import Response, reason_of
from catalog_sync.client.network import abort
from catalog_sync.errors import ConfigError
from catalog_sync.redact import Redactor
from catalog_sync.text import one_line

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from catalog_sync.alerts.message import Message
    from catalog_sync.cancel import CancelToken

_LONGEST_SECONDS: Final = 240.0
"""The limit for a message of several parts, which some services accept only seconds apart. It is
shorter than a claim."""
_MAX_ANSWER_BYTES: Final = 64 * 1024
_REASON: Final = re.compile(
    r"(?:Socket|Connection)? ?Exception: (?:\[Errno -?\d+\] )?(.*)", re.IGNORECASE
)
"""The debug line in which Apprise's plugins state an error."""


class Chat:
    """A service that Apprise can reach."""

    def __init__(self, name: str, url: str) -> None:
        _prepare_apprise()
        asset = apprise.AppriseAsset(
            app_id="catalog-sync",
            app_desc="catalog-sync",
            app_url="",
            image_url_mask="",  # no logo from Apprise's server
            image_url_logo="",
            image_path_mask="",
            http_redirects=False,
            async_mode=False,  # send in the calling thread, not in a pool
            service_timeout=0,
        )
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        scheme = f"{url.partition('://')[0]}://" if "://" in url else ""
        if not service:
            raise ConfigError(
                f"alert channel {name}: url: {scheme}… is not a URL that Apprise understands",
                "see https://github.com/caronc/apprise/wiki",
            )
        # Many services have a token in the place of the host.
        templates: Sequence[str] = service.templates
        hosted = all("{host}" in template for template in templates)
        port = f":{service.port}" if service.port else ""
        self.place = scheme + (f"{service.host}{port}" if hosted else "…")
        self._redact = Redactor(_secrets(url, self.place if hosted else ""))
        self._markdown = _wants_markdown(service)
        self._converts = type(service).dialect_convert is not apprise.NotifyBase.dialect_convert
        """Whether the plugin converts CommonMark to the service's own markup."""
        if "overflow=" not in url:  # a long message is split, not refused
            service.overflow_mode = apprise.OverflowMode.SPLIT
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(service)

    def send(self, message: Message, now: datetime, cancel: CancelToken) -> SendResult:  # noqa: ARG002  # see Channel
        """Send in a daemon thread: a plugin cannot be interrupted and may never return."""
        results: list[SendResult] = []
        ended = threading.Event()
        attempt = _Attempt(self.place)

        def work() -> None:
            with suppress(BaseException):  # the interpreter may be shutting down
                results.append(self._notify(message, attempt))
            ended.set()

        threading.Thread(target=work, daemon=True).start()
        with cancel.on_cancel(ended.set):
            ended.wait(_LONGEST_SECONDS)
        if results:
            return results[0]
        attempt.hang_up()  # so that the thread ends
        cancel.check()
        return SendResult(f"{self.place}: no answer in {_LONGEST_SECONDS:g} s")

    def _notify(self, message: Message, attempt: _Attempt) -> SendResult:
        form = apprise.NotifyFormat.MARKDOWN if self._markdown else apprise.NotifyFormat.TEXT
        title, body = message.subject, message.text
        if self._markdown:
            title, body = message.markdown_subject, message.markdown
        if self._markdown and self._converts:  # in Slack's markup, < and > are a link
            body = re.sub("[<>]", r"\\\g<0>", body)
        _thread.attempt = attempt
        try:
            result = self._apprise.notify(
                body=body,
                title=title,
                notify_type=message.severity,
                body_format=form,
                log_level=logging.DEBUG,
            )
        except Exception:  # noqa: BLE001  # a plugin's bug must affect only this channel
            return SendResult(f"{self.place}: an unexpected error of this service's plugin")
        finally:
            attempt.close()
        if attempt.failure and (attempt.redirected or not result):
            return attempt.failure
        if result:
            return SendResult()
        return SendResult(f"{self.place}: {self._redact(_logged_reason(result.logs()))}")


def _wants_markdown(service: Any) -> bool:
    """Whether a service accepts only Markdown. Apprise would join the lines of converted text."""
    formats = service.notify_format
    accepted = set(formats) if isinstance(formats, tuple) else {formats}
    markdown = apprise.NotifyFormat.MARKDOWN
    return accepted == {markdown} or getattr(service, "_format_override", None) == markdown


def _secrets(url: str, place: str) -> set[str]:
    """Return the parts of a URL that may be secret: all except the displayed host."""
    words = re.split(r"[/:@?&=+,;#]+", url.partition("://")[2])
    shown = set(re.split(r"[/:]+", place))
    return {each for word in words for each in (word, unquote(word))} - shown


def _logged_reason(entries: Iterable[Any]) -> str:
    reason, warning = "", "not accepted"
    for entry in entries:
        text = one_line(str(entry.message), 200)
        if match := _REASON.fullmatch(text):
            reason = match[1]
        elif entry.level in {"WARNING", "ERROR", "CRITICAL"}:
            warning = text
    return f"{warning} ({reason})" if reason else warning


@functools.cache
def _prepare_apprise() -> None:
    """Hide Apprise's log, which may contain tokens, and wrap its requests."""
    logger = logging.getLogger("apprise")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    HTTPAdapter.send = _limited(HTTPAdapter.send)  # type: ignore[method-assign]
    sys.addaudithook(_on_audit_event)


# --- the connections and requests of this module's threads -----------------------------------


class _Attempt:
    """The connections and the failed request of one message."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.failure: SendResult | None = None
        """The result of the last request that failed."""
        self.redirected = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._over = False

    def connect(self, used: socket.socket) -> None:
        """Keep a duplicate of a socket, because TLS detaches the original."""
        with self._lock:
            self._check()
            self._sockets.append(used.dup())

    def hang_up(self) -> None:
        """End all connections, which wakes threads that wait for them, and allow no new one."""
        with self._lock:
            self._over = True
            for each in self._sockets:
                abort(each)

    def close(self) -> None:
        with self._lock:
            while self._sockets:
                self._sockets.pop().close()

    def _check(self) -> None:
        if self._over:
            raise requests.ReadTimeout  # which is an OSError

    def request(self, send: Callable[[], requests.Response]) -> requests.Response:
        """Make a request and read the beginning of its answer, within `SEND_TIMEOUT`."""
        timer = threading.Timer(SEND_TIMEOUT.total_seconds(), self.hang_up)
        timer.daemon = True
        timer.start()
        try:
            response = send()
            self._check()  # truncated headers look complete
            response._content = _beginning_of(response.raw)  # noqa: SLF001  # as `requests` does it
        except Exception as error:
            reason = TOO_LATE if self._over else reason_of(error)
            self.failure = SendResult(f"{self.place}: no answer ({reason})")
            raise
        finally:
            timer.cancel()
        response._content_consumed = True  # noqa: SLF001
        response.headers.pop("location", None)
        status = response.status_code
        wait = Response(status, "", response.headers, b"").retry_after
        found = http_result(self.place, status, wait)
        if found.error is not None:
            self.failure = found
            self.redirected = self.redirected or status < HTTPStatus.BAD_REQUEST
        return response


class _Thread(threading.local):
    attempt: _Attempt | None = None


_thread = _Thread()


def _on_audit_event(name: str, args: tuple[Any, ...]) -> None:
    """Register each connection of an attempt, whichever library opens it (HTTP, SMTP, MQTT)."""
    if name == "socket.connect" and (attempt := _thread.attempt) is not None:
        attempt.connect(args[0])


def _limited(send: Any) -> Any:
    """Wrap `HTTPAdapter.send`; requests of other threads pass unchanged."""

    @functools.wraps(send)
    def send_limited(adapter: HTTPAdapter, *args: Any, **options: Any) -> Any:
        attempt = _thread.attempt
        if attempt is None:
            return send(adapter, *args, **options)
        try:
            return attempt.request(lambda: send(adapter, *args, **options))
        finally:
            adapter.close()  # the next request opens a new connection
            attempt.close()

    return send_limited


def _beginning_of(raw: urllib3.HTTPResponse) -> bytes:
    """Read the beginning of an answer, as far as it arrives in time, and close the answer."""
    content = bytearray()
    with suppress(urllib3.exceptions.HTTPError, OSError), raw:
        while len(content) < _MAX_ANSWER_BYTES and (chunk := raw.read1(4096, decode_content=True)):
            content += chunk
    return bytes(content[:_MAX_ANSWER_BYTES])
