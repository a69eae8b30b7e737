"""Channels of Apprise: chat, mail, phone.

Apprise calls `requests`, which follows redirects and reads answers without a limit, and returns
only True or False. This module therefore observes the requests of its threads where they are sent:
it follows no redirect, reads only the beginning of an answer, and keeps the status or the error.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import apprise
import urllib3
from requests.adapters import HTTPAdapter

from catalog_sync.alerts.channels import SEND_TIMEOUT, SendResult, http_result, reason_of
from catalog_sync.client import network
from catalog_sync.errors import ConfigError
from catalog_sync.redact import Redactor
from catalog_sync.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from catalog_sync.alerts.message import Message
    from catalog_sync.cancel import CancelToken

_LONGEST_SECONDS: Final = 240.0
"""The limit for a message of several parts, which some services want seconds apart.
It is shorter than a claim."""
_MAX_ANSWER_BYTES: Final = 64 * 1024
_REASON: Final = re.compile(
    r"(?:Socket|Connection)? ?Exception: (?:\[Errno -?\d+\] )?(.*)", re.IGNORECASE
)
"""The debug line in which Apprise's plugins state an error."""


class Chat:
    """A service that Apprise can reach."""

    def __init__(self, name: str, url: str) -> None:
        _quiet()
        asset = apprise.AppriseAsset(
            app_id="catalog-sync",
            app_desc="catalog-sync",
            app_url="",
            image_url_mask="",  # no logo from Apprise's server
            image_url_logo="",
            image_path_mask="",
            http_redirects=False,
            async_mode=False,  # in this module's thread, not in a pool that is waited for
            service_timeout=0,
        )
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        scheme = f"{url.partition('://')[0]}://" if "://" in url else ""
        if not service:
            raise ConfigError(
                f"alert channel {name}: url: {scheme}… is not a URL that Apprise understands",
                "see https://github.com/caronc/apprise/wiki",
            )
        # Many services have a token where others have their host.
        templates: Sequence[str] = service.templates
        hosted = all("{host}" in template for template in templates)
        self.place = network.origin(url) if hosted else f"{scheme}…"
        self._redact = Redactor(_secrets(url, self.place if hosted else ""))
        self._markdown = _wants_markdown(service)
        if "overflow=" not in url:  # a long message is split, not refused
            service.overflow_mode = apprise.OverflowMode.SPLIT
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(service)

    def send(self, message: Message, now: datetime, cancel: CancelToken) -> SendResult:  # noqa: ARG002  # see Channel
        """Send in a daemon thread: a plugin cannot be interrupted and may never return."""
        results: list[SendResult] = []
        ended = threading.Event()

        def work() -> None:
            with suppress(BaseException):  # the interpreter may be shutting down
                results.append(self._notify(message))
            ended.set()

        threading.Thread(target=work, daemon=True).start()
        with cancel.on_cancel(ended.set):
            ended.wait(_LONGEST_SECONDS)
        if results:
            return results[0]
        cancel.check()
        return SendResult(f"{self.place}: no answer in {_LONGEST_SECONDS:g} s")

    def _notify(self, message: Message) -> SendResult:
        form = apprise.NotifyFormat.MARKDOWN if self._markdown else apprise.NotifyFormat.TEXT
        observed = _thread.observed = _Observed()
        try:
            result = self._apprise.notify(
                body=message.markdown if self._markdown else message.text,
                title=message.markdown_subject if self._markdown else message.subject,
                notify_type=message.severity,
                body_format=form,
                log_level=logging.DEBUG,
            )
        except Exception as error:  # noqa: BLE001  # a bug of a plugin affects only this channel
            return SendResult(f"{self.place}: {type(error).__name__}")
        finally:
            _thread.observed = None
        if observed.redirected or (not result and observed.status is not None):
            found = http_result(self.place, observed.status or 0, observed.retry_after)
            if found.error is not None:
                return found
        if result:
            return SendResult()
        reason = observed.error or self._redact(_logged_reason(result.logs()))
        return SendResult(f"{self.place}: {reason}")


def _wants_markdown(service: Any) -> bool:
    """Whether a service takes Markdown only. Apprise would join the lines of converted text."""
    formats = service.notify_format
    accepted = set(formats) if isinstance(formats, tuple) else {formats}
    markdown = apprise.NotifyFormat.MARKDOWN
    return accepted == {markdown} or getattr(service, "_format_override", None) == markdown


def _secrets(url: str, place: str) -> set[str]:
    """Return the parts of a URL that may be secret: all but the host that is shown."""
    words = re.split(r"[/:@?&=+,;#]+", url.partition("://")[2])
    shown = set(re.split(r"[/:]+", place))
    return {each for word in words for each in (word, unquote(word))} - shown


def _logged_reason(entries: Iterable[Any]) -> str:
    """Return what Apprise logged about a failure."""
    reason, warning = "", "not accepted"
    for entry in entries:
        text = one_line(str(entry.message), 200)
        if match := _REASON.fullmatch(text):
            reason = match[1]
        elif entry.level in {"WARNING", "ERROR", "CRITICAL"}:
            warning = text
    return f"{warning} ({reason})" if reason else warning


def _quiet() -> None:
    """Keep Apprise's log to the results of sending: it may hold URLs, and with them tokens."""
    logger = logging.getLogger("apprise")
    if logger.propagate:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
    with _lock:
        if not hasattr(HTTPAdapter.send, "observes"):
            HTTPAdapter.send = _observing(HTTPAdapter.send)  # type: ignore[method-assign]


# --- the requests of this module's threads ---------------------------------------------------


class _Observed:
    """The result of the requests of one message."""

    status: int | None = None
    """The last status that was not a success. None if there was none."""
    redirected: bool = False
    retry_after: timedelta | None = None
    error: str | None = None


class _Thread(threading.local):
    observed: _Observed | None = None


_thread = _Thread()
_lock = threading.Lock()


def _observing(send: Any) -> Any:
    """Wrap `HTTPAdapter.send`; requests of other threads pass unchanged."""

    @functools.wraps(send)
    def observe(adapter: HTTPAdapter, *args: Any, **options: Any) -> Any:
        observed = _thread.observed
        if observed is None:
            return send(adapter, *args, **options)
        try:
            response = send(adapter, *args, **options)
        except Exception as error:
            observed.error = f"no answer ({reason_of(error)})"
            raise
        response.headers.pop("location", None)
        response._content = _beginning_of(response.raw)  # noqa: SLF001  # as `requests` does it
        response._content_consumed = True  # noqa: SLF001
        response.close()
        if not response.ok or 300 <= response.status_code < 400:  # noqa: PLR2004  # HTTP's redirects
            observed.status = response.status_code
            observed.redirected = observed.redirected or response.status_code < 400  # noqa: PLR2004
            text = response.headers.get("retry-after", "")
            observed.retry_after = (
                timedelta(seconds=int(text)) if _SECONDS.fullmatch(text) else None
            )
        return response

    observe.observes = True  # type: ignore[attr-defined]
    return observe


_SECONDS: Final = re.compile(r"[1-9]\d{0,8}")


def _beginning_of(raw: urllib3.HTTPResponse) -> bytes:
    """Return the beginning of an answer, as far as it arrives in time."""
    content = bytearray()
    ends_at = time.monotonic() + SEND_TIMEOUT.total_seconds()
    with suppress(urllib3.exceptions.HTTPError, OSError):
        while len(content) < _MAX_ANSWER_BYTES and time.monotonic() < ends_at:
            if not (chunk := raw.read1(4096, decode_content=True)):
                break
            content += chunk
    return bytes(content[:_MAX_ANSWER_BYTES])
