"""Events about the job itself: failed, recovered, held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, SourceState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


def failure_event(
    now: datetime, error: str, error_class: str, *, streak: int, threshold: int, told: Iterable[str]
) -> Event | None:
    """Return the event of a pass that failed, when it is time to say so.

    `streak`: failures in a row, this one included. `told`: the classes of error that were told
    since the last success; what is told stays told, so that alternating errors make no storm.
    """
    if streak < threshold or error_class in set(told):
        return None
    changes = {"error": {"old": None, "new": error}}
    return Event(Kind.SYNC_FAILED, now, changes=changes, payload={"error_class": error_class})


def recovery_event(state: SourceState, now: datetime) -> Event | None:
    """Return the event of a pass that succeeded after a failure that was told."""
    if not state.failure_announced:
        return None
    changes = {"error": {"old": state.last_error, "new": None}}
    return Event(Kind.SYNC_RECOVERED, now, changes=changes)


def held_event(state: SourceState, now: datetime, reason: str) -> Event | None:
    """Return the event of the first pass that was held since the last success."""
    if state.held:
        return None
    return Event(Kind.SYNC_HELD, now, changes={"error": {"old": None, "new": reason}})
