"""`models`, `show` and `events`: what the catalog holds. They need no key."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

from catalog_sync.cli.options import MOMENT, format_option
from catalog_sync.domain.kinds import Kind, Lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from catalog_sync.app import App
    from catalog_sync.cli import Context
    from catalog_sync.domain.model import Event, ModelRecord

__all__ = ["events", "models", "show"]


@click.command()
@click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source; repeatable."
)
@click.option(
    "--all", "removed", is_flag=True, help="What was ever listed, removed models included."
)
@click.option(
    "--as-of", type=MOMENT, metavar="TIME", help="As it was: a time, a date, or an age (7d)."
)
@click.option(
    "--lifecycle",
    "lifecycles",
    multiple=True,
    type=click.Choice([each.value for each in Lifecycle]),
)
@format_option
@click.pass_obj
def models(
    context: Context,
    sources: Sequence[str],
    removed: bool,
    as_of: datetime | None,
    lifecycles: Sequence[str],
    format_: str,
) -> None:
    """Print the models that are listed, newest first."""
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.queries import catalog as queries_catalog  # noqa: PLC0415  # heavy  # noqa: PLC0415  # heavy

    notes: list[str] = []
    with context.app() as app:
        records = app.models(sources=sources, lifecycles=lifecycles, removed=removed, as_of=as_of)
        if as_of is not None:
            with app.reading() as connection:
                later = queries_catalog.sources_without_record(connection, as_of, sources=sources)
            notes = queries_catalog.past_notes(as_of, app.clock(), later)
        if format_ == "table" and not (records or notes):
            past = removed or as_of is not None
            notes = [_nothing(app, "no such model" if past else "no such model is listed", sources)]
    if format_ == "json":
        render.write_json_rows(map(render.model_row, records))
    elif format_ == "csv":
        render.write_csv(map(render.model_row, records), render.MODEL_COLUMNS)
    else:
        _write_models(records, removed=removed)
    for note in notes:
        print(note, file=sys.stderr)  # noqa: T201


def _write_models(records: Sequence[ModelRecord], *, removed: bool) -> None:
    from catalog_sync.cli import render  # noqa: PLC0415

    columns = ["id", "source", "name", "lifecycle", "created", "retires", "first seen", "removed"]
    rows = [
        [
            record.info.id,
            record.source,
            record.info.display_name,
            record.info.lifecycle or "-",
            render.date(record.info.created_at),
            render.date(record.info.retires_at),
            render.day(record.first_seen_at),
            render.day(record.removed_at),
        ]
        for record in records
    ]
    if not removed:
        _leave_out("removed", columns, rows)
    if len({record.source for record in records}) < 2:  # noqa: PLR2004  # several
        _leave_out("source", columns, rows)
    # What a terminal may have no room for: `show` and the other formats have it all.
    render.write_table(columns, rows, text={"name"}, spare=["first seen", "created"])


@click.command()
@click.option("--since", type=MOMENT, metavar="7d", help="From this time, date or age on.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in Kind]),
    help="Repeatable.",
)
@click.option("--model", "glob", metavar="GLOB", help="Only models whose id matches; case matters.")
@click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source; repeatable."
)
@format_option
@click.pass_obj
def events(
    context: Context,
    since: datetime | None,
    kinds: Sequence[str],
    glob: str | None,
    sources: Sequence[str],
    format_: str,
) -> None:
    """Print what changed, oldest first."""
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.domain import event_text  # noqa: PLC0415  # heavy

    chosen = [Kind(kind) for kind in kinds]
    shown = event_text.WITH_PAYLOAD if format_ == "table" else None
    with context.app() as app:
        found = app.events(since=since, kinds=chosen, models=glob, sources=sources, payloads=shown)
        if format_ == "json":
            render.write_json_rows(map(render.event_row, found))
        elif format_ == "csv":
            render.write_csv(map(render.event_row, found), render.EVENT_COLUMNS)
        elif not _write_events(found):
            print(_nothing(app, "no such event", sources), file=sys.stderr)  # noqa: T201


def _write_events(found: Iterable[Event], *, with_model: bool = True) -> bool:
    """Print a row per event; false when there is none."""
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.domain import event_text  # noqa: PLC0415

    columns = ["when", "kind", "source", "model", "what"]
    rows = [
        [
            render.instant(event.occurred_at),
            event.kind.value,
            event.source,
            event.model_id or "-",
            event_text.event_text(event),
        ]
        for event in found
    ]
    if not with_model:
        _leave_out("model", columns, rows)
    if not with_model or len({row[2] for row in rows}) < 2:  # noqa: PLR2004  # several
        _leave_out("source", columns, rows)
    render.write_table(columns, rows, text={"what"})
    return bool(rows)


def _leave_out(name: str, columns: list[str], rows: Iterable[list[str]]) -> None:
    position = columns.index(name)
    for row in (columns, *rows):
        del row[position]


@click.command()
@click.argument("model")
@format_option
@click.pass_obj
def show(context: Context, model: str, format_: str) -> None:
    """Print one model: what is known of it, and its history, newest first."""
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.queries import catalog as queries_catalog  # noqa: PLC0415  # heavy

    with context.app() as app:
        with app.reading() as connection:
            found = queries_catalog.show_model(connection, model)
        now = app.clock()
    if format_ == "json":
        render.write_json(
            [
                {
                    "model": render.model_row(record),
                    "events": [render.event_row(e) for e in history],
                }
                for record, history in found
            ]
        )
        return
    if format_ == "csv":
        rows = [render.event_row(event) for _, history in found for event in history]
        render.write_csv(rows, render.EVENT_COLUMNS)
        return
    for number, (record, history) in enumerate(found):
        if number:
            render.write("")
        _write_model(record, history, now)


def _write_model(record: ModelRecord, history: Sequence[Event], now: datetime) -> None:
    from catalog_sync import text  # noqa: PLC0415
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.domain import event_text, replay  # noqa: PLC0415
    from catalog_sync.queries import export  # noqa: PLC0415

    facts = {}
    for name in render.MODEL_COLUMNS:
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
    _write_events(replay.model_history(record.info.id, history), with_model=False)


def _nothing(app: App, what: str, sources: Sequence[str]) -> str:
    """Say that there is nothing to print, and why that may be."""
    from catalog_sync.queries import catalog as queries_catalog  # noqa: PLC0415

    with app.reading(sources) as connection:
        if queries_catalog.has_baseline(connection, sources=sources):
            return what
    named = " of " + ", ".join(sources) if sources else ""
    return f"nothing was recorded yet{named}; run: catalog-sync sync"
