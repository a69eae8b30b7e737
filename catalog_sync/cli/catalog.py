"""`models`, `show`, `events` and `publish`: print or publish the catalog. They need no key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from catalog_sync.cli import render
from catalog_sync.cli.options import Context, recorded, row_format, source_option, time_option
from catalog_sync.domain.kinds import ENDING, Kind, Lifecycle
from catalog_sync.errors import NotFoundError
from catalog_sync.text import count, distance_text, escape_controls

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from catalog_sync.domain.model import Event, ModelRecord

_WIDE = 100
"""Columns of a terminal that show the time of an event beside its model."""


def _values_option(
    name: str, values: type[Kind | Lifecycle], text: str, metavar: str | None = None
) -> Callable[[Any], Any]:
    """Add a repeatable option whose values are those of an enumeration."""
    return click.option(
        name,
        f"{name.removeprefix('--')}s",
        multiple=True,
        type=click.Choice([each.value for each in values]),
        callback=lambda _ctx, _param, words: [values(word) for word in words],
        metavar=metavar,
        help=text,
    )


@click.command(epilog="Example: catalog-sync models --all --as-of 2026-06-01")
@source_option
@click.option("--all", "removed", is_flag=True, help="Include removed models.")
@time_option("--as-of", "TIME", "The catalog at a time, date or age.")
@_values_option("--lifecycle", Lifecycle, "Only this lifecycle; repeatable.")
@row_format
@click.pass_obj
def models(context: Context, /, format_: str | None, **chosen: Any) -> None:
    """Print the models that are listed, newest first."""
    from catalog_sync.queries import catalog, export

    sources, as_of, removed = chosen["sources"], chosen["as_of"], chosen["removed"]
    notes: list[str] = []
    with context.app() as app, app.read_transaction(sources) as connection:
        records = catalog.list_models(connection, **chosen)
        if as_of is not None:
            notes = catalog.past_notes(connection, as_of, app.clock(), sources=sources)
        if format_ not in {"json", "csv"} and not (records or notes):
            now = " is listed" if as_of is None and not removed else ""
            notes = [_nothing(connection, f"no such model{now}", sources)]
    several = len({record.source for record in records}) > 1
    table = (
        {
            "id": record.info.id,
            **({"source": record.source} if several else {}),
            "name": record.info.display_name,
            "lifecycle": record.info.lifecycle,
            "created": render.date(record.info.created_at),
            "retires": render.date(record.info.retires_at),
            "first seen": render.day(record.first_seen_at),
            **({"removed": render.day(record.removed_at)} if removed else {}),
        }
        for record in records
    )
    # `show` and the other formats print the columns that a narrow terminal omits.
    spare = ["first seen", "created"]
    rows = map(export.model_row, records)
    render.write_rows(format_, rows, export.MODEL_COLUMNS, table, text="name", spare=spare)
    for note in notes:
        render.note(note)


@click.command(epilog="Example: catalog-sync events --since 7d --kind removed --model opus")
@time_option("--since", "7d", "Only events since a time, date or age.")
@time_option("--until", "TIME", "Only events before a time, date or age.")
@_values_option("--kind", Kind, f"Only this kind; repeatable: {', '.join(Kind)}.", "KIND")
@click.option(
    "--model",
    "models",
    metavar="GLOB",
    shell_complete=recorded("models"),
    help="Only models whose id matches, or contains a GLOB without wildcards; case matters.",
)
@source_option
@row_format
@click.pass_obj
def events(context: Context, /, format_: str | None, **chosen: Any) -> None:
    """Print what changed, oldest first.

    The models of a source's first list are marked as baseline. Events about the end of a model
    name its successor.
    """
    from catalog_sync.db.events import EventFilter, select_events
    from catalog_sync.domain import event_text
    from catalog_sync.domain.successor import successors
    from catalog_sync.queries import catalog, export

    as_rows = format_ in {"json", "csv"}
    chosen["models"] = catalog.model_glob(chosen["models"])
    where = EventFilter(**chosen, payloads=None if as_rows else event_text.WITH_PAYLOAD)
    with context.app() as app, app.read_transaction(where.sources) as connection:
        found = select_events(connection, where)
        if as_rows:
            render.write_rows(format_, map(export.event_row, found), export.EVENT_COLUMNS)
        elif listed := list(found):
            ends = any(event.kind in ENDING for event in listed)
            records = catalog.list_models(connection, removed=True) if ends else []
            _write_events(listed, successors(records, app.clock()), plain=format_ == "table")
        else:
            render.note(_nothing(connection, "no such event", where.sources))


def _write_events(
    found: Sequence[Event],
    newer: Mapping[tuple[str, str], ModelRecord],
    *,
    with_model: bool = True,
    plain: bool = False,
) -> None:
    from catalog_sync.domain.event_text import event_text

    # A narrow terminal cannot show both the time of day and the ids of models.
    narrow = with_model and not plain and render.width() < _WIDE
    when = render.day if narrow else render.local_time
    several = with_model and len({event.source for event in found}) > 1
    table = []
    for event in found:
        what = [f"baseline: {event_text(event)}" if event.baseline else event_text(event)]
        successor = newer.get((event.source, event.model_id or ""))
        if successor is not None and event.kind in ENDING:
            what.append(f"successor: {successor.info.id}")
        row = {
            "when": when(event.occurred_at),
            "kind": event.kind.value,
            **({"source": event.source} if several else {}),
            **({"model": event.model_id} if with_model else {}),
            "what": "; ".join(filter(None, what)),
        }
        table.append(row)
    render.write_table(table, text="what", plain=plain)


@click.command(epilog="Example: catalog-sync show claude-opus-5")
@click.argument("model", shell_complete=recorded("models"))
@row_format
@click.pass_obj
def show(context: Context, model: str, format_: str | None) -> None:
    """Print one model: its row and its history, newest first."""
    from catalog_sync.domain import replay
    from catalog_sync.domain.successor import leaving, successors
    from catalog_sync.queries import catalog, export

    with context.app() as app, app.read_transaction() as connection:
        found = catalog.show_model(connection, model)
        now, ends = app.clock(), any(leaving(record) for record, _ in found)
        records = catalog.list_models(connection, removed=True) if ends else []
        newer = successors(records, now)
    if format_ == "json":
        render.write_json(
            [
                {"model": export.model_row(record), "events": list(map(export.event_row, history))}
                for record, history in found
            ]
        )
    elif format_ == "csv":
        rows = (export.event_row(event) for _, history in found for event in history)
        render.write_rows("csv", rows, export.EVENT_COLUMNS)
    else:
        for number, (record, history) in enumerate(found):
            if number:
                render.write("")
            _write_model(record, now, newer.get((record.source, model)))
            render.write("")
            past = replay.model_history(model, history)
            _write_events(past, {}, with_model=False, plain=format_ == "table")


def _write_model(record: ModelRecord, now: datetime, newer: ModelRecord | None) -> None:
    from catalog_sync.domain.event_text import value_text
    from catalog_sync.queries import export

    facts = {}
    for name in export.MODEL_COLUMNS:
        value = getattr(record if hasattr(record, name) else record.info, name)
        if isinstance(value, datetime):
            overdue = name == "retires_at" and record.listed and not record.retired
            away = distance_text(value, now, past="overdue" if overdue else "ago")
            facts[name] = f"{render.date(value)} ({away})"
        elif name != "payload":
            facts[name] = "-" if value is None else value_text(value)
    facts["successor"] = f"{newer.info.id} ({newer.info.display_name})" if newer else "-"
    facts["capabilities"] = export.capabilities_text(record.info.payload)
    render.write_facts(facts)


@click.command(epilog="Example: catalog-sync publish /var/www/models")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False))
@source_option
@click.pass_obj
def publish(context: Context, directory: str, sources: Sequence[str]) -> None:
    """Write a static site: page, JSON, CSV, feed and calendar.

    Other files in DIR stay. A file whose content has not changed is not written again.
    """
    from catalog_sync.db.events import EventFilter, select_events
    from catalog_sync.queries import catalog
    from catalog_sync.site import write
    from catalog_sync.site.content import KINDS, SiteContent

    if not directory:  # from an unset variable; it would mean the current directory
        raise click.UsageError("DIR is empty")
    with context.app() as app, app.read_transaction(sources) as connection:
        recorded = catalog.list_sources(connection, sources=sources)
        if not recorded:
            raise NotFoundError("nothing was recorded yet", "run: catalog-sync sync")
        content = SiteContent(
            tuple(catalog.list_models(connection, sources=sources, removed=True)),
            tuple(recorded),
            app.settings.site_title,
            app.settings.public_url,
            tuple(sources),
        )
        found = select_events(connection, EventFilter(sources, KINDS))
        events, written = write.publish(Path(directory), content, found)
    render.write(
        f"published {count(len(content.models), 'model')} and {count(events, 'event')} "
        f"to {escape_controls(directory)}: {len(written)} files, {sum(written.values())} changed"
    )


def _nothing(connection: Connection, what: str, sources: Sequence[str]) -> str:
    from catalog_sync.queries import catalog

    if catalog.list_sources(connection, sources=sources):
        return what
    named = " of " + ", ".join(sources) if sources else ""
    return f"nothing was recorded yet{named}; run: catalog-sync sync"
