"""Events about the job itself: failed, recovered, held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, SourceState

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime


def failure_event(
    now: datetime,
    error: str,
    code: str,
    *,
    streak: int,
    threshold: int,
    announced_codes: Collection[str],
) -> Event | None:
    """Return the event of a run that failed, or None if it is too early or already announced.

    Args:
        now: When the run failed.
        error: The line that describes the failure.
        code: The stable code of the error's class.
        streak: Failures in a row, this one included. Stopped runs do not count.
        threshold: The number of failures in a row that makes an event.
        announced_codes: The codes announced since the last success. Each is announced once, so that
            alternating errors do not repeat the alert.
    """
    if streak < threshold or code in announced_codes:
        return None
    changes = {"error": {"old": None, "new": error}}
    return Event(Kind.SYNC_FAILED, now, changes=changes, payload={"error_code": code})


def recovery_event(state: SourceState, now: datetime) -> Event | None:
    """Return the event of a run that succeeded after an announced failure, or None."""
    if not state.failure_announced:
        return None
    changes = {"error": {"old": state.last_error, "new": None}}
    return Event(Kind.SYNC_RECOVERED, now, changes=changes)


def held_event(state: SourceState, now: datetime, reason: str) -> Event | None:
    """Return the event of the first held run since the last success, or None."""
    if state.held:
        return None
    return Event(Kind.SYNC_HELD, now, changes={"error": {"old": None, "new": reason}})
