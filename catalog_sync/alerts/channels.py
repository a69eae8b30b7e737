"""Alert channels. Sending raises only StoppedError; every other outcome is a result."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final, Protocol

from catalog_sync.alerts.message import Message
from catalog_sync.cancel import CancelToken
from catalog_sync.client import network
from catalog_sync.client.exchange import Deadline, Response, exchange, reason_of
from catalog_sync.errors import ConfigError, DeadlineError, SourceError

SEND_TIMEOUT: Final = timedelta(seconds=10)
"""The limit for a whole exchange with a webhook or a watchdog."""
_TOO_LATE: Final = f"not within {SEND_TIMEOUT.total_seconds():g} s"
_NOT_NOW: Final = frozenset({408, 409, 425, 429})
"""Statuses that mean "try again later" (timeouts, conflicts, rate limits), not a refusal."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result of an attempt to send a message."""

    error: str | None = None
    """None if the receiver accepted the message."""
    refused: bool = False
    """Whether the receiver refused this message. It will probably refuse it again."""
    final: bool = False
    """Whether the receiver no longer exists (410)."""
    retry_after: timedelta | None = None
    """The wait that the receiver asks for, if any."""


class Channel(Protocol):
    """A receiver of alerts."""

    place: str
    """The part of its address that may be shown: scheme, host and port."""

    def send(self, message: Message, now: datetime, cancel: CancelToken) -> SendResult:
        """Send a message once.

        Raises StoppedError if `cancel` is cancelled. The receiver may have got the message.
        """
        ...


class Webhook:
    """Sends JSON by POST, signed as Standard Webhooks describe. Only 2xx is success.

    See https://www.standardwebhooks.com.
    """

    def __init__(self, url: str, secret: str | None) -> None:
        self.place = network.origin(url)
        self._url = url
        self._signer = None
        if secret is not None:
            import standardwebhooks  # noqa: PLC0415  # only for signed webhooks

            self._signer = standardwebhooks.Webhook(secret)

    def send(self, message: Message, now: datetime, cancel: CancelToken) -> SendResult:
        """Post a message once. See `Channel`."""
        body = json.dumps(message.body, ensure_ascii=False, separators=(",", ":"))
        headers = {
            "content-type": "application/json",
            "webhook-id": message.message_id,
            "webhook-timestamp": str(int(now.timestamp())),
        }
        if self._signer is not None:
            headers["webhook-signature"] = self._signer.sign(message.message_id, now, body)
        return post(self._url, headers, body.encode(), cancel)


def post(url: str, headers: Mapping[str, str], body: bytes, cancel: CancelToken) -> SendResult:
    """Send one POST request. The answer's body is not read."""
    place = network.origin(url)
    return request(place, "POST", url, headers=headers, content=body, cancel=cancel, max_bytes=0)[0]


def request(
    place: str, method: str, url: str, **options: Any
) -> tuple[SendResult, Response | None]:
    """Send one request. Returns its result, and the answer if one came.

    The result states the HTTP status with its standard phrase. The receiver's own text is not
    quoted: it may repeat the URL. `options` are those of `exchange`.
    """
    try:
        response = exchange(method, url, deadline=Deadline.after(SEND_TIMEOUT), **options)
    except (SourceError, ConfigError) as error:
        reason = _TOO_LATE if isinstance(error, DeadlineError) else reason_of(error)
        return SendResult(f"{place}: no answer ({reason})"), None
    if response.is_success:
        return SendResult(), response
    status = response.status
    return SendResult(
        f"{place}: HTTP {status} {http.client.responses.get(status, '')}".strip(),
        refused=status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _NOT_NOW,
        final=status == HTTPStatus.GONE,
        retry_after=response.retry_after,
    ), response
