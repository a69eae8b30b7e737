"""Events about the job itself: failed, recovered, held."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, SourceState

_COMMANDS: Final = "; to see what would happen, run: "
"""Separates the reason for a hold from the commands."""


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

    It is too early before the `threshold` of failures in a row, this one included (`streak`). A
    code is announced once until the next success, so that alternating errors do not repeat the
    alert.
    """
    if streak < threshold or code in announced_codes:
        return None
    changes = {"error": {"old": None, "new": error}}
    return Event(Kind.SYNC_FAILED, now, changes=changes, payload={"error_code": code})


def held_error(source: str, reason: str) -> str:
    """Return the line about a held run, with the commands to inspect and to release it."""
    sync = f"catalog-sync sync --source {shlex.quote(source)}"
    return (
        f"source {source}: {reason}{_COMMANDS}{sync} --dry-run --accept-removals; "
        f"if that is right, run: {sync} --accept-removals"
    )


def held_event(state: SourceState, now: datetime, error: str) -> Event | None:
    """Return the event of the first held run since the last success, or None."""
    if state.held:
        return None
    return _event(Kind.SYNC_HELD, state, now, {"old": None, "new": error})


def recovery_event(state: SourceState, now: datetime) -> Event | None:
    """Return the event of a run that succeeded after an announced failure or hold, or None."""
    if not (state.failure_announced or state.held):
        return None
    before = state.last_error and state.last_error.partition(_COMMANDS)[0]
    return _event(Kind.SYNC_RECOVERED, state, now, {"old": before, "new": None})


def _event(kind: Kind, state: SourceState, now: datetime, error: Mapping[str, Any]) -> Event:
    source, changes = state.source.name, {"error": error}
    return Event(kind, now, changes=changes, source=source, run_id=state.run_id)
