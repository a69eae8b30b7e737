"""The questions that people ask of the catalogue. Read-only."""

from __future__ import annotations

import difflib
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from catalog_sync import reconcile, store
from catalog_sync.errors import NotFoundError
from catalog_sync.records import (
    ENDED,
    Event,
    Kind,
    ModelRecord,
    RunStatus,
    Snapshot,
    SourceRecord,
    SourceSnapshot,
    SourceStatus,
    Status,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

__all__ = [
    "begun",
    "list_events",
    "list_models",
    "list_sources",
    "show_model",
    "snapshot",
    "status",
]


def list_models(
    session: Session,
    *,
    sources: Sequence[str] = (),
    lifecycles: Sequence[str] = (),
    removed: bool = False,
    as_of: datetime | None = None,
) -> list[ModelRecord]:
    """Return the models listed now or `as_of` a moment, newest first; with `removed`, all ever.

    A record of the past has the times that its events tell: it was last seen at its last event.
    """
    records: Sequence[ModelRecord]
    if as_of is None:
        records = list(store.select_models(session))
    else:
        past = store.select_events(session, until=as_of)
        records = list(reconcile.replay(past).values())
    chosen = [
        record
        for record in records
        if (removed or record.listed)
        and (not sources or record.source in sources)
        and (not lifecycles or record.info.lifecycle in lifecycles)
    ]
    chosen.sort(key=lambda record: (record.info.id, record.source))
    return sorted(chosen, key=lambda record: record.info.created_at, reverse=True)


def list_events(
    session: Session,
    *,
    sources: Sequence[str] = (),
    kinds: Sequence[Kind] = (),
    models: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Event]:
    """Return what changed, oldest first. `models` is a glob; events without a model match none."""
    events = store.select_events(session, sources=sources, kinds=kinds, since=since, until=until)
    return [
        event
        for event in events
        if models is None or (event.model_id is not None and fnmatchcase(event.model_id, models))
    ]


def list_sources(session: Session, *, sources: Sequence[str] = ()) -> list[SourceRecord]:
    """Return the sources whose catalogue was recorded, by name."""
    return [
        source
        for source in store.select_sources(session)
        if source.baseline_at is not None and (not sources or source.name in sources)
    ]


def begun(session: Session) -> bool:
    """Whether any catalogue was recorded: a pass that failed has recorded none."""
    return store.has_baseline(session)


def status(
    session: Session,
    max_ages: Mapping[str, Callable[[datetime], timedelta]],
    now: datetime,
) -> Status:
    """Return how fresh each source is and how the alerts stand.

    `max_ages`: by source, how old a success of some moment may become.
    """
    sources = [_source_status(session, name, max_ages[name], now) for name in max_ages]
    return Status(now, tuple(sources), store.delivery_counts(session))


def _source_status(
    session: Session, name: str, max_age: Callable[[datetime], timedelta], now: datetime
) -> SourceStatus:
    source = store.select_source(session, name)
    succeeded = store.last_run(session, name, RunStatus.SUCCEEDED)
    synced_at = _really(
        source.last_synced_at if source else None, succeeded.started_at if succeeded else None, now
    )
    walked = store.last_run(session, name, RunStatus.SUCCEEDED, RunStatus.HELD)
    limit = max_age(synced_at) if synced_at else None
    return SourceStatus(
        name,
        synced_at,
        limit,
        # A success in the far future was before the host's clock was set back: it says nothing.
        fresh=synced_at is not None and limit is not None and abs(now - synced_at) <= limit,
        held=walked is not None and walked.status is RunStatus.HELD,
        last_run=store.last_run(session, name, *ENDED),
    )


def _really(
    synced_at: datetime | None, began_at: datetime | None, now: datetime
) -> datetime | None:
    """Return when the last success was: where its time lies ahead, when its run began.

    What is written never runs backwards. After a clock that was set back it stays ahead for as
    long, but for the beginning of the runs.
    """
    if synced_at is None or began_at is None or began_at > now:
        return synced_at
    return began_at if synced_at > now else synced_at


def show_model(session: Session, model_id: str) -> list[tuple[ModelRecord, list[Event]]]:
    """Return a model's rows, one per source, each with its events, newest first.

    Raises NotFoundError, with the closest ids that are known, for one that was never listed.
    """
    records = list(store.select_models(session))
    found = [record for record in records if record.info.id == model_id]
    if not found:
        known = sorted({record.info.id for record in records})
        close = difflib.get_close_matches(model_id, known, n=3)
        advice = "see: catalog-sync models --all"
        if close:
            advice = f"did you mean {' or '.join(close)}?"
        elif not known:
            advice = "nothing was recorded yet; run: catalog-sync sync"
        raise NotFoundError(f"no model {model_id!r} was ever listed", advice)
    return [(record, _history(session, record.source, model_id)) for record in found]


def _history(session: Session, source: str, model_id: str) -> list[Event]:
    """Return what changed about a model, newest first: its own events and those of all models."""
    own = store.select_events(session, sources=[source], model_id=model_id)
    shared = store.select_events(session, sources=[source], kinds=[Kind.SCHEMA_CHANGED])
    touching = [event for event in shared if model_id in (event.payload or {})]
    return sorted([*own, *touching], key=lambda event: event.id or 0, reverse=True)


def snapshot(
    session: Session,
    max_ages: Mapping[str, Callable[[datetime], timedelta]],
    now: datetime,
) -> Snapshot:
    """Return how each source stands, and the deliveries of all.

    `max_ages`: by source, how old a success of some moment may become. A source of which nothing
    is recorded yet stands at nothing. How many sources, models or runs there are does not change
    the number of questions to the database.
    """
    runs: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for source, status, number, last_id in store.count_runs(session):
        runs[source][status] = number, last_id
    last_ids = [last_id for counts in runs.values() for _, last_id in counts.values()]
    times = store.select_run_times(session, last_ids)
    standings = {name: _with_runs(SourceSnapshot(name), runs[name], times) for name in max_ages}
    for name, synced_at in store.synced_at(session).items():
        _, last_id = runs[name].get(RunStatus.SUCCEEDED, (0, 0))
        moment = _really(synced_at, times.get(last_id, (None, None))[0], now)
        if name in standings and moment is not None:
            limit = max_ages[name](moment)
            standings[name] = replace(standings[name], last_success_at=moment, max_age=limit)
    for source, state, lifecycle, number, retires_at in store.count_models(session, now):
        if source in standings:
            standings[source] = _with_models(
                standings[source], state, lifecycle, number, retires_at
            )
    return Snapshot(
        tuple(standings.values()), store.count_deliveries(session), store.oldest_pending(session)
    )


def _with_runs(
    standing: SourceSnapshot,
    runs: Mapping[str, tuple[int, int]],
    times: Mapping[int, tuple[datetime, datetime | None]],
) -> SourceSnapshot:
    """Add what the runs say: by status, their number and the id of the last one."""
    last = {status: last_id for status, (_, last_id) in runs.items()}
    held = last.get(RunStatus.HELD, 0) > last.get(RunStatus.SUCCEEDED, 0)
    last.pop(RunStatus.SKIPPED, None)
    began_at, _ = times.get(max(last.values(), default=0), (None, None))
    last.pop(RunStatus.RUNNING, None)
    ended_began_at, ended_at = times.get(max(last.values(), default=0), (None, None))
    duration = None
    if ended_began_at is not None and ended_at is not None:
        duration = max(ended_at - ended_began_at, timedelta())  # a clock that was set back
    return replace(
        standing,
        last_attempt_at=began_at,
        last_duration=duration,
        held=held,
        runs={status: number for status, (number, _) in runs.items()},
    )


def _with_models(
    standing: SourceSnapshot, state: str, lifecycle: str, number: int, retires_at: datetime | None
) -> SourceSnapshot:
    """Add a group of models that have state and lifecycle in common."""
    models = Counter(standing.models)
    models[state] += number
    lifecycles = Counter(standing.lifecycles)
    if state != "removed":
        lifecycles[lifecycle] += number
    ahead = [moment for moment in (standing.next_retirement_at, retires_at) if moment]
    return replace(
        standing,
        models=models,
        lifecycles=lifecycles,
        next_retirement_at=min(ahead, default=None),
    )
