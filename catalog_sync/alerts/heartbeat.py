"""Pings a watchdog such as healthchecks.io. Pings never delay a run."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Final
from urllib.parse import urlsplit

from catalog_sync.alerts.channels import SendResult, post
from catalog_sync.cancel import CancelToken
from catalog_sync.logs import fields

logger = logging.getLogger(__name__)
_MAX_SUMMARY: Final = 10_000
"""Characters of a summary, as many as healthchecks.io stores."""


class Heartbeat:
    """Pings a watchdog from a thread. A ping that is not accepted is only logged.

    While a ping is being sent, only the two latest ones wait, because older ones are out of date.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: deque[tuple[str, str]] = deque(maxlen=2)
        self._changed = threading.Condition()
        self._is_sending = False

    def start(self) -> None:
        """Ping that a run began."""
        self._ping("/start", "")

    def succeed(self, summary: str) -> None:
        """Ping that the run succeeded."""
        self._ping("", summary)

    def fail(self, reason: str) -> None:
        """Ping that the run failed, or could not begin."""
        self._ping("/fail", reason)

    def close(self, seconds: float) -> None:
        """Wait for the pings that are being sent, at most for `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_sending, seconds)

    def _ping(self, path: str, text: str) -> None:
        with self._changed:
            self._waiting.append((path, text))
            if not self._is_sending:
                self._is_sending = True
                threading.Thread(target=self._send_all, name="heartbeat", daemon=True).start()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._is_sending = False
                    self._changed.notify_all()
                    return
                path, text = self._waiting.popleft()
            parts = urlsplit(self._url)
            url = parts._replace(path=parts.path.rstrip("/") + path).geturl()
            headers = {"content-type": "text/plain; charset=utf-8"}
            try:
                result = post(url, headers, text[:_MAX_SUMMARY].encode(), CancelToken())
            except Exception:  # noqa: BLE001  # a bug; its text may quote the URL
                result = SendResult("an unexpected error")
            if result.error is not None:
                logger.warning("heartbeat not accepted", extra=fields(reason=result.error))
