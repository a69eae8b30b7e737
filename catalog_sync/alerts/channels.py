"""Messages out: webhooks of our own, any service that Apprise knows, and the heartbeat.

Sending never raises: what became of a message is its outcome. Of a URL only scheme and host are
ever shown, for the rest of it opens the door.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import logging
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import httpx

from catalog_sync._version import __version__
from catalog_sync.errors import ConfigError
from catalog_sync.text import escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from catalog_sync.alerts.message import Message
    from catalog_sync.config.settings import AlertSettings


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of sending a message."""

    error: str | None = None
    """Null when the channel accepted it."""
    refused: bool = False
    """The receiver answered no, and will likely say no again."""
    final: bool = False
    """The receiver is gone for good (410)."""
    retry_after: timedelta | None = None
    """How long the receiver asks to wait; null when it does not say."""


logger = logging.getLogger(__name__)
_TIMEOUT_SECONDS = 10.0
"""Of silence, and of an answer's head as a whole: who drips bytes is never silent for long."""
_LONGEST_SECONDS = 240.0
"""For a message of several parts, which some services want minutes apart; less than a claim."""
_NOT_FINAL = frozenset({408, 409, 425, 429})
"""Refusals that say "not now": timeouts, conflicts, rate limits."""


class Channel(Protocol):
    """Where alerts go."""

    place: str
    """What may be shown of where it is: scheme and host."""

    def send(self, message: Message, now: datetime) -> SendResult:
        """Send a message once and say what became of it."""
        ...


def open_channel(alert: AlertSettings) -> Channel:
    """Return the channel that the configuration describes. Raises ConfigError if it is none."""
    if alert.webhook is not None:
        return _Webhook(alert.webhook.get_secret_value(), alert.secret())
    if alert.url is None:
        raise ValueError("a channel without an address")
    return _Service(alert.name, alert.url.get_secret_value())


def _shown(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL"
    return f"{parts.scheme}://{parts.hostname or '…'}"


class _Webhook:
    """JSON by POST, signed as https://www.standardwebhooks.com describes; success is 2xx alone."""

    def __init__(self, url: str, secret: str | None) -> None:
        self.place = _shown(url)
        self._url = url
        self._sign: Callable[..., str] | None = None
        if secret is not None:
            from standardwebhooks import Webhook  # noqa: PLC0415  # only for who signs

            self._sign = Webhook(secret).sign

    def send(self, message: Message, now: datetime) -> SendResult:
        body = json.dumps(message.body, ensure_ascii=False, separators=(",", ":"))
        headers = {
            "content-type": "application/json",
            "webhook-id": message.message_id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._sign is not None:
            signature = self._sign(msg_id=message.message_id, timestamp=now, data=body)
            headers["webhook-signature"] = signature
        return _post(self._url, self.place, body.encode(), headers, now)


def _post(url: str, place: str, body: bytes, headers: dict[str, str], now: datetime) -> SendResult:
    headers = {"user-agent": f"catalog-sync/{__version__}", **headers}
    sockets: list[socket.socket] = []

    def note(event: str, info: Mapping[str, Any]) -> None:
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            sockets.append(info["return_value"].get_extra_info("socket"))

    def hang_up() -> None:
        for each in sockets[-1:]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # closing alone would not wake who reads

    alarm = threading.Timer(_TIMEOUT_SECONDS, hang_up)
    alarm.daemon = True
    alarm.start()
    trace = {"trace": note}
    # A redirect is a refusal, wherever it leads: httpx is left nothing to stumble over.
    hooks: Any = {"response": [lambda response: response.headers.pop("location", None)]}
    try:
        with (
            httpx.Client(timeout=_TIMEOUT_SECONDS, event_hooks=hooks) as client,
            client.stream("POST", url, content=body, headers=headers, extensions=trace) as response,
        ):
            pass  # what a receiver says beyond its status is nothing to us
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, ImportError) as error:
        return SendResult(
            f"{place}: no answer ({type(error).__name__})"
        )  # its text may hold the URL
    finally:
        alarm.cancel()
    if response.is_success:
        return SendResult()
    status = response.status_code
    # In the standard's words: the receiver's own may repeat the URL.
    reason = f"{place}: HTTP {status} {http.client.responses.get(status, '')}".strip()
    return SendResult(
        reason,
        refused=status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _NOT_FINAL,
        final=status == HTTPStatus.GONE,
        retry_after=_retry_after(response.headers.get("retry-after"), now),
    )


def _retry_after(text: str | None, now: datetime) -> timedelta | None:
    if text is None:
        return None
    with suppress(TypeError, ValueError, OverflowError, IndexError):
        wait = (
            timedelta(seconds=int(text))
            if text.strip().isdecimal()
            else email.utils.parsedate_to_datetime(text) - now
        )
        return wait if wait > timedelta() else None
    return None


class _Service:
    """Anything that Apprise can reach: chat, mail, phone."""

    def __init__(self, name: str, url: str) -> None:
        import apprise  # noqa: PLC0415  # heavy, and only for who uses it

        # What it logs may hold the URL, and with it the token.
        logging.getLogger("apprise").addHandler(logging.NullHandler())
        logging.getLogger("apprise").propagate = False
        asset = apprise.AppriseAsset(app_id="catalog-sync", app_desc="catalog-sync")
        service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        scheme = f"{url.partition('://')[0]}://" if "://" in url else ""
        if not service:
            raise ConfigError(
                f"alert channel {name}: url: {scheme}… is no URL that Apprise understands",
                "see https://github.com/caronc/apprise/wiki",
            )
        # Many services have a token where others have their host.
        templates: Sequence[str] = service.templates
        hosted = all("{host}" in template for template in templates)
        self.place = _shown(url) if hosted else f"{scheme}…"
        formats: Any = service.notify_format  # one, or several in the order of preference
        accepted = formats if isinstance(formats, tuple) else (formats,)
        # Text, which Apprise escapes as the service needs; but turned into Markdown it would lose
        # its lines.
        self._markdown = set(accepted) == {apprise.NotifyFormat.MARKDOWN}
        if "overflow=" not in url:  # in several parts rather than refused for its length
            service.overflow_mode = apprise.OverflowMode.SPLIT
        self._formats = apprise.NotifyFormat
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(service)

    def send(self, message: Message, now: datetime) -> SendResult:  # noqa: ARG002  # as the protocol
        """Send it in a thread that is not waited for for ever: a plugin's patience is its own."""
        said: list[SendResult] = []
        sending = threading.Thread(target=lambda: said.append(self._notify(message)), daemon=True)
        sending.start()
        sending.join(_LONGEST_SECONDS)
        return said[0] if said else SendResult(f"{self.place}: no answer in {_LONGEST_SECONDS:g} s")

    def _notify(self, message: Message) -> SendResult:
        form = self._formats.MARKDOWN if self._markdown else self._formats.TEXT
        body = message.markdown if self._markdown else message.text
        title = escaped(message.subject) if self._markdown else message.subject
        try:
            accepted = self._apprise.notify(body=body, title=title, body_format=form)
        except Exception as error:  # noqa: BLE001  # a plugin's bug is this channel's trouble alone
            return SendResult(f"{self.place}: {type(error).__name__}")
        return SendResult(None if accepted else f"{self.place}: not accepted, or out of reach")
