"""The decisions of a run, from the result of its walk. Nothing is written here."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from catalog_sync.domain import guard, incidents
from catalog_sync.domain.diff import ignored_paths
from catalog_sync.domain.reconcile import Absences, ChangeSet, reconcile
from catalog_sync.domain.reminders import Reminders
from catalog_sync.errors import BadAnswerError, ClockError
from catalog_sync.logs import fields
from catalog_sync.text import age_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from catalog_sync.config.settings import SourceSettings
    from catalog_sync.domain.guard import Hold
    from catalog_sync.domain.kinds import AbsenceCheck
    from catalog_sync.domain.model import Catalog, Event, SourceState
    from catalog_sync.sync.context import RunContext

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunDecision:
    """The result of a walk, and the decisions about it."""

    state: SourceState
    catalog: Catalog
    now: datetime
    """The time of everything that the run writes; later than all recorded times."""
    changes: ChangeSet = field(default_factory=ChangeSet)
    events: tuple[Event, ...] = ()
    """Events of models and of the job itself."""
    excluded_ids: tuple[str, ...] = ()
    """Recorded ids that the configuration excludes now. Their rows are not changed."""
    hold: Hold | None = None
    """Why removals, or the whole run, wait for a person."""
    error: str | None = None
    """`hold` as text, with the commands to inspect and to release it."""
    refused: bool = False
    """Whether the whole run is held: another server answered, and nothing is applied."""


def decide(
    context: RunContext,
    source: SourceSettings,
    past: SourceState,
    walked: Catalog,
    started_at: datetime,
    confirm: Callable[[Sequence[str], Sequence[str]], Mapping[str, AbsenceCheck]],
) -> RunDecision:
    """Compare a complete walk with the recorded state `past`, and decide what to write.

    `started_at` is the start of the run. `confirm` requests missing models by id.

    Raises:
        BadAnswerError: The first list of the source is empty.
        ClockError: The clocks of the host and of the server are a day apart.
    """
    if not walked.models and past.source.baseline_at is None:
        raise BadAnswerError("the first list is empty; it must contain a model")
    offset = _clock_offset(source.name, context.clock(), walked.server_at)
    state = replace(
        past,
        source=replace(past.source, clock_offset_seconds=offset),
        models=guard.drop_excluded(past.models, source.exclude),
    )
    catalog = replace(walked, models=guard.drop_excluded(walked.models, source.exclude))
    decision = RunDecision(
        state,
        catalog,
        now=later(context.clock(), past.latest_recorded_at),
        excluded_ids=tuple(past.models.keys() - state.models.keys()),
    )
    accept = context.options.accept_removals
    change, hold = guard.identity_change(state, catalog, source.base_url)
    if hold and not accept:
        return _concluded(replace(decision, refused=True), source.name, hold)
    if change:
        logger.warning("identity changed: %s", change, extra=fields(source=source.name))

    hold = None
    if not accept:
        hold = guard.removal_hold(state, catalog, decision.now, empty=not walked.models)
    missing_ids = [] if hold else guard.ids_to_confirm(guard.missing(state, catalog))
    checks = confirm(missing_ids, list(walked.models)) if missing_ids else {}
    changes = reconcile(
        state,
        catalog,
        decision.now,
        Absences(checks, hold=hold is not None, accept=accept),
        Reminders(context.settings.retirement_reminders, past.last_good_run_at, started_at),
        ignored_paths(source.ignore),
    )
    return _concluded(replace(decision, changes=changes), source.name, hold)


def _concluded(decision: RunDecision, name: str, hold: Hold | None) -> RunDecision:
    """Add the hold and the event about the job itself, if any."""
    if hold is None:
        error, event = None, incidents.recovery_event(decision.state, decision.now)
    else:
        error = incidents.held_error(name, hold.reason)
        event = incidents.held_event(decision.state, decision.now, error)
    events = (*decision.changes.events, event) if event else decision.changes.events
    return replace(decision, events=events, hold=hold, error=error)


def _clock_offset(name: str, host_at: datetime, server_at: datetime | None) -> int | None:
    """Return by how many seconds the host's clock is ahead of the server's. Raises ClockError."""
    if server_at is None:
        return None
    offset = host_at - server_at
    side = "ahead of" if offset > timedelta() else "behind"
    text = f"the clock of this host is {age_text(offset)} {side} the server's"
    if abs(offset) > guard.CLOCK_LIMIT:
        error = ClockError(text)
        error.server_at = server_at
        raise error
    if abs(offset) > guard.CLOCK_WARNING:
        logger.warning("%s", text, extra=fields(source=name))
    return round(offset.total_seconds())


def later(now: datetime, last: datetime | None) -> datetime:
    """Return `now`, or the first time after `last` if the host's clock was set back."""
    return now if last is None else max(now, last + timedelta(microseconds=1))
