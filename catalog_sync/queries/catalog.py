"""The questions that people ask of the catalog. Read-only."""

from __future__ import annotations

import difflib
import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from catalog_sync.clock import format_instant, to_utc
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import runs
from catalog_sync.domain import replay
from catalog_sync.domain.kinds import Kind
from catalog_sync.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from catalog_sync.domain.model import Event, ModelRecord, SourceRecord


def past_notes(as_of: datetime, now: datetime, later: Mapping[str, datetime]) -> list[str]:
    """Return what else a person must know who asks how the catalog was.

    `later`: the sources of which nothing was recorded yet then, and when their records begin.
    """
    when = format_instant(as_of)
    notes = [
        f"source {source}: nothing was recorded yet at {when}; "
        f"its record begins at {format_instant(begin)}"
        for source, begin in later.items()
    ]
    return [*notes, f"{when} lies ahead: this is what is known now"] if as_of > now else notes


_SUGGESTIONS = 3
"""Ids that a typing error is answered with."""


def list_models(
    connection: Connection,
    *,
    sources: Sequence[str] = (),
    lifecycles: Sequence[str] = (),
    removed: bool = False,
    as_of: datetime | None = None,
) -> list[ModelRecord]:
    """Return the models listed now or `as_of` a moment, newest first; with `removed`, all ever.

    A record of the past is what its events tell: the object as it was then and whether it was
    listed, but not `missing_since`, and of `last_seen_at` only that it was not before.
    """
    records: Iterable[ModelRecord]
    if as_of is None:
        records = db_catalog.select_models(connection)
    else:
        past = db_catalog.select_latest_events(connection, until=to_utc(as_of), sources=sources)
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


def iter_events(
    connection: Connection,
    *,
    sources: Sequence[str] = (),
    kinds: Sequence[Kind] = (),
    models: str | None = None,
    since: datetime | None = None,
    payloads: Collection[Kind] | None = None,
) -> Iterator[Event]:
    """Yield what changed, oldest first. `models` is a glob; events without a model match none.

    `payloads`: the kinds whose objects are read; null reads them all.
    """
    begin = None if since is None else to_utc(since)
    for event in db_catalog.select_events(
        connection, sources=sources, kinds=kinds, since=begin, payloads=payloads
    ):
        if models is None or (event.model_id is not None and fnmatchcase(event.model_id, models)):
            yield event


def list_sources(connection: Connection, *, sources: Sequence[str] = ()) -> list[SourceRecord]:
    """Return the sources whose catalog was recorded, by name."""
    return [
        source
        for source in runs.select_sources(connection)
        if source.baseline_at is not None and (not sources or source.name in sources)
    ]


def has_baseline(connection: Connection, *, sources: Sequence[str] = ()) -> bool:
    """Whether any catalog was recorded, of these sources or of any; a failed pass has none."""
    return bool(list_sources(connection, sources=sources))


def sources_without_record(
    connection: Connection, as_of: datetime, *, sources: Sequence[str] = ()
) -> dict[str, datetime]:
    """Return the sources whose record begins only after a moment, by name, and when it does.

    What they listed at that moment is not known: that nothing is told is no empty catalog.
    """
    return {
        source.name: source.baseline_at
        for source in list_sources(connection, sources=sources)
        if source.baseline_at is not None and source.baseline_at > as_of
    }


def show_model(connection: Connection, model_id: str) -> list[tuple[ModelRecord, list[Event]]]:
    """Return a model's rows, one per source, each with its events, newest first.

    Raises NotFoundError, with the closest ids that are known, for one that was never listed.
    """
    records = list_models(connection, removed=True)
    found = [record for record in records if record.info.id == model_id]
    if not found:
        close = closest(model_id, {each.info.id: each.info.display_name for each in records})
        advice = "see: catalog-sync models --all"
        if close:
            advice = f"did you mean {' or '.join(close)}?"
        elif not records:
            advice = "nothing was recorded yet; run: catalog-sync sync"
        raise NotFoundError(f"no model {model_id!r} was ever listed", advice)
    return [(record, _history(connection, record.source, model_id)) for record in found]


def closest(asked: str, names: Mapping[str, str]) -> list[str]:
    """Return the ids that somebody may have meant, the likeliest first; none if nothing is like it.

    `names`: by id, what the models are called. Another case, the name in the place of the id, a
    date or a vendor that is missing or too many: that says clearly what was meant. The rest are
    typing errors.
    """
    wanted = asked.strip().casefold().removesuffix("-latest")
    folded = {id_: id_.casefold() for id_ in names}
    meant = [id_ for id_ in names if wanted in {folded[id_], names[id_].casefold()}]
    if not meant and wanted:
        meant = [id_ for id_ in names if _part(wanted, folded[id_]) or _part(folded[id_], wanted)]
        meant.sort(key=lambda id_: (not _dated(wanted, folded[id_]), abs(len(id_) - len(wanted))))
    if not meant:
        ids = {folded[id_]: id_ for id_ in names}
        meant = [ids[id_] for id_ in difflib.get_close_matches(wanted, ids, n=_SUGGESTIONS)]
    return meant[:_SUGGESTIONS]


def _part(short: str, long: str) -> bool:
    """Whether whole words of one id are the other: opus-4 is a part of opus-4-1, not of opus-45."""
    before, found, after = long.partition(short)
    return bool(found) and not (before[-1:].isalnum() or after[:1].isalnum())


def _dated(one: str, other: str) -> bool:
    """Whether two ids are the same but for a date."""
    short, long = sorted((one, other), key=len)
    return re.fullmatch(rf"{re.escape(short)}[-@]\d{{8}}", long) is not None


def _history(connection: Connection, source: str, model_id: str) -> list[Event]:
    """Return what changed about a model, newest first: its own events and those of all models."""
    own = db_catalog.select_events(connection, sources=[source], model_id=model_id)
    shared = db_catalog.select_events(connection, sources=[source], kinds=[Kind.SCHEMA_CHANGED])
    touching = [event for event in shared if model_id in (event.payload or {})]
    return sorted([*own, *touching], key=lambda event: event.id or 0, reverse=True)
