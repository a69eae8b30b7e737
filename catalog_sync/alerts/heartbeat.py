"""Pings of a watchdog in the manner of healthchecks.io."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from catalog_sync.alerts.channels import _post, _shown, logger
from catalog_sync.clock import utc_now
from catalog_sync.domain.kinds import RunStatus
from catalog_sync.errors import StoppedError
from catalog_sync.logs import fields
from catalog_sync.sync.report import RunReport, report_text

if TYPE_CHECKING:
    from collections.abc import Sequence


class Heartbeat:
    """Pings a watchdog in the manner of healthchecks.io; one out of reach is only logged."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._started = threading.Lock()

    def start(self) -> None:
        """Say that a pass began; of several sources the first says it."""
        if self._started.acquire(blocking=False):
            self._ping("/start", "")

    @property
    def wanted(self) -> bool:
        """Whether there is a watchdog."""
        return self._url is not None

    def finish(self, reports: Sequence[RunReport], others: Sequence[str] = ()) -> None:
        """Say how the pass ended, with its summary; one skipped or told to stop says nothing.

        `others`: the errors of sources that had no part in it and do not work either.
        """
        made = [
            report
            for report in reports
            if report.status is not RunStatus.SKIPPED and not isinstance(report.cause, StoppedError)
        ]
        if made:
            good = all(report.status is RunStatus.SUCCEEDED for report in made) and not others
            lines = [report.error or report_text(report) for report in made]
            summary = "\n".join([*lines, *others])
            self._ping("" if good else "/fail", summary)

    def fail(self, reason: str) -> None:
        """Say that no pass could be made at all."""
        self._ping("/fail", reason)

    def _ping(self, path: str, text: str) -> None:
        if self._url is None:
            return
        parts = urlsplit(self._url)
        url = parts._replace(path=parts.path.rstrip("/") + path).geturl()
        headers = {"content-type": "text/plain; charset=utf-8"}
        outcome = _post(url, _shown(self._url), text.encode(), headers, utc_now())
        if outcome.error is not None:
            logger.warning("heartbeat not accepted", extra=fields(reason=outcome.error))
