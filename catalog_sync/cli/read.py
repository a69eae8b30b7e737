"""`models`, `show` and `events`: the catalog. They need no key."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from catalog_sync import text
from catalog_sync.cli import render
from catalog_sync.domain import event_text, replay
from catalog_sync.domain.kinds import Kind
from catalog_sync.queries import catalog, export
from catalog_sync.queries.catalog import EventFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from catalog_sync.app import App
    from catalog_sync.cli.options import Context
    from catalog_sync.domain.model import Event, ModelRecord


def models(
    context: Context,
    sources: Sequence[str],
    removed: bool,
    as_of: datetime | None,
    lifecycles: Sequence[str],
    format_: str,
) -> None:
    """Print the chosen models, and remarks on the answer."""
    notes: list[str] = []
    with context.app() as app:
        records = app.models(sources=sources, lifecycles=lifecycles, removed=removed, as_of=as_of)
        if as_of is not None:
            with app.read_transaction() as connection:
                later = catalog.sources_without_record(connection, as_of, sources=sources)
            notes = catalog.past_notes(as_of, app.clock(), later)
        if format_ in {"table", "lines"} and not (records or notes):
            past = removed or as_of is not None
            notes = [_nothing(app, "no such model" if past else "no such model is listed", sources)]
    if format_ in {"json", "csv"}:
        render.write_rows(map(export.model_row, records), export.MODEL_COLUMNS, format_)
    else:
        _write_models(records, removed=removed, plain=format_ == "lines")
    for note in notes:
        render.note(note)


def _write_models(records: Sequence[ModelRecord], *, removed: bool, plain: bool) -> None:
    several = len({record.source for record in records}) > 1
    columns: dict[str, Any] = {
        "id": lambda record: record.info.id,
        "source": lambda record: record.source,
        "name": lambda record: record.info.display_name,
        "lifecycle": lambda record: record.info.lifecycle or "-",
        "created": lambda record: render.date(record.info.created_at),
        "retires": lambda record: render.date(record.info.retires_at),
        "first seen": lambda record: render.day(record.first_seen_at),
        "removed": lambda record: render.day(record.removed_at),
    }
    if not several:
        del columns["source"]
    if not removed:
        del columns["removed"]
    rows = [[cell(record) for cell in columns.values()] for record in records]
    # `show` and the other formats print the columns that a narrow terminal omits.
    render.write_table(
        list(columns), rows, text={"name"}, spare=["first seen", "created"], plain=plain
    )


def events(
    context: Context,
    since: datetime | None,
    until: datetime | None,
    kinds: Sequence[str],
    model: str | None,
    sources: Sequence[str],
    format_: str,
) -> None:
    """Print the chosen events."""
    where = EventFilter(
        sources=sources,
        kinds=[Kind(kind) for kind in kinds],
        models=catalog.model_glob(model),
        since=since,
        until=until,
        payloads=event_text.WITH_PAYLOAD if format_ in {"table", "lines"} else None,
    )
    with context.app() as app, app.read_transaction(sources) as connection:
        found = catalog.iter_events(connection, where)
        if format_ in {"json", "csv"}:
            render.write_rows(map(export.event_row, found), export.EVENT_COLUMNS, format_)
        elif not _write_events(found, plain=format_ == "lines"):
            render.note(_nothing(app, "no such event", sources))


def _write_events(found: Iterable[Event], *, with_model: bool = True, plain: bool = False) -> bool:
    """Print a row per event. Return whether there was any."""
    events = list(found)
    several = with_model and len({event.source for event in events}) > 1
    columns: dict[str, Any] = {
        "when": lambda event: render.instant(event.occurred_at),
        "kind": lambda event: event.kind.value,
        "source": lambda event: event.source,
        "model": lambda event: event.model_id or "-",
        "what": event_text.event_text,
    }
    if not several:
        del columns["source"]
    if not with_model:
        del columns["model"]
    rows = [[cell(event) for cell in columns.values()] for event in events]
    render.write_table(list(columns), rows, text={"what"}, plain=plain)
    return bool(rows)


def show(context: Context, model: str, format_: str) -> None:
    """Print a model, once for each source that lists or listed it."""
    with context.app() as app:
        with app.read_transaction() as connection:
            found = catalog.show_model(connection, model)
        now = app.clock()
    if format_ == "json":
        objects = [
            {"model": export.model_row(record), "events": list(map(export.event_row, history))}
            for record, history in found
        ]
        render.write_json(objects)
    elif format_ == "csv":
        rows = (export.event_row(event) for _, history in found for event in history)
        render.write_csv(rows, export.EVENT_COLUMNS)
    else:
        for number, (record, history) in enumerate(found):
            if number:
                render.write("")
            _write_model(record, history, now, plain=format_ == "lines")


def _write_model(
    record: ModelRecord, history: Sequence[Event], now: datetime, *, plain: bool
) -> None:
    facts = {}
    for name in export.MODEL_COLUMNS:
        value = getattr(record if hasattr(record, name) else record.info, name)
        if name == "payload":
            continue
        if isinstance(value, datetime):
            overdue = name == "retires_at" and record.listed and not record.retired
            away = text.distance_text(value, now, past="overdue" if overdue else "ago")
            facts[name] = f"{render.date(value)} ({away})"
        else:
            facts[name] = "-" if value is None else event_text.value_text(value)
    facts["capabilities"] = export.capabilities_text(record.info.payload)
    render.write_facts(facts)
    render.write("")
    _write_events(replay.model_history(record.info.id, history), with_model=False, plain=plain)


def _nothing(app: App, what: str, sources: Sequence[str]) -> str:
    """Return why nothing is printed."""
    with app.read_transaction(sources) as connection:
        if catalog.has_baseline(connection, sources=sources):
            return what
    named = " of " + ", ".join(sources) if sources else ""
    return f"nothing was recorded yet{named}; run: catalog-sync sync"
