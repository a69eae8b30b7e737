"""Queries about models, events and sources. Read-only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from catalog_sync.clock import format_time, to_utc
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import state as db_state
from catalog_sync.db.events import EventFilter, select_events, select_latest_events
from catalog_sync.domain import replay
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, ModelRecord, SourceRecord
from catalog_sync.errors import NotFoundError
from catalog_sync.text import did_you_mean


def past_notes(
    connection: Connection, as_of: datetime, now: datetime, *, sources: Sequence[str] = ()
) -> list[str]:
    """Return notes on a list of the past or the future."""
    when = format_time(as_of)
    notes = [
        f"source {source.name}: nothing was recorded yet at {when}; "
        f"its record begins at {format_time(source.baseline_at)}"
        for source in list_sources(connection, sources=sources)
        if source.baseline_at is not None and source.baseline_at > as_of
    ]
    return [*notes, f"{when} is in the future: this is the present list"] if as_of > now else notes


def list_models(
    connection: Connection,
    *,
    sources: Sequence[str] = (),
    lifecycles: Sequence[str] = (),
    removed: bool = False,
    as_of: datetime | None = None,
) -> list[ModelRecord]:
    """Return the models that are listed now, or were at the aware time `as_of`, newest first.

    Records of the past are replayed from events: `missing_since` is None, and `last_seen_at` may be
    earlier than the last time that the model was seen.
    """
    records: Iterable[ModelRecord]
    if as_of is None:
        records = db_catalog.select_models(connection)
    else:
        past = select_latest_events(connection, until=to_utc(as_of), sources=sources)
        records = replay.replay(past).values()
    chosen = [
        record
        for record in records
        if (removed or record.listed)
        and (not sources or record.source in sources)
        and (not lifecycles or record.info.lifecycle in lifecycles)
    ]
    chosen.sort(key=lambda record: (record.info.id, record.source))
    return sorted(chosen, key=lambda record: record.info.created_at, reverse=True)


def model_glob(text: str | None) -> str | None:
    """Return a user's text as a glob; without a wildcard, it matches any part of an id."""
    return text if text is None or any(c in text for c in "*?[") else f"*{text}*"


def list_sources(connection: Connection, *, sources: Sequence[str] = ()) -> list[SourceRecord]:
    """Return the sources with a recorded catalog, sorted by name."""
    return [
        source
        for source in db_state.select_sources(connection)
        if source.baseline_at is not None and (not sources or source.name in sources)
    ]


def show_model(connection: Connection, model_id: str) -> list[tuple[ModelRecord, list[Event]]]:
    """Return a model's rows, one per source, each with its events, newest first.

    Raises NotFoundError, with the closest known ids, for a model that was never listed.
    """
    records = db_catalog.select_models(connection, model_id=model_id)
    found = sorted(records, key=lambda record: record.source)
    if not found:
        names = db_catalog.model_names(connection)
        advice = did_you_mean(model_id, names, names) or "see: catalog-sync models --all"
        if not names:
            advice = "nothing was recorded yet; run: catalog-sync sync"
        raise NotFoundError(f"no model {model_id!r} was ever listed", advice)
    return [(record, _history(connection, record.source, model_id)) for record in found]


def _history(connection: Connection, source: str, model_id: str) -> list[Event]:
    """Return a model's own events and the catalog-wide ones, newest first."""
    own = select_events(connection, EventFilter([source], model_id=model_id))
    shared = select_events(connection, EventFilter([source], [Kind.SCHEMA_CHANGED]))
    touching = [event for event in shared if model_id in (event.payload or {})]
    return sorted(
        [*own, *touching], key=lambda event: (event.occurred_at, event.id or 0), reverse=True
    )
