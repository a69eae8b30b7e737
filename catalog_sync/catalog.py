"""The questions that people ask of the catalogue. Read-only."""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from catalog_sync import reconcile, store
from catalog_sync.errors import NotFoundError
from catalog_sync.records import Event, Kind, ModelRecord, SourceRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session

__all__ = ["begun", "list_events", "list_models", "list_sources", "show_model"]


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
