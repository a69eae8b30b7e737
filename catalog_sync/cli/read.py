"""`models`, `show` and `events`: what the catalogue holds. They need no key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from catalog_sync.cli.options import MOMENT, format_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from catalog_sync.cli import Context
    from catalog_sync.records import Event, ModelRecord

__all__ = ["events", "models", "show"]

# The kinds and stages of the contract, here so that --help need not load the records.
_KINDS = (
    "added",
    "updated",
    "deprecated",
    "retired",
    "retiring",
    "removed",
    "returned",
    "schema_changed",
    "sync_failed",
    "sync_recovered",
    "sync_held",
)
_LIFECYCLES = ("active", "deprecated", "retired")


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
@click.option("--lifecycle", "lifecycles", multiple=True, type=click.Choice(_LIFECYCLES))
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
    from catalog_sync import catalog  # noqa: PLC0415  # heavy
    from catalog_sync.cli import render  # noqa: PLC0415

    with context.app() as app, app.reading(sources) as session:
        records = catalog.list_models(
            session, sources=sources, lifecycles=lifecycles, removed=removed, as_of=as_of
        )
        begun = catalog.begun(session)
    rows = [render.model_row(record) for record in records]
    if format_ == "json":
        render.write_json(rows)
    elif format_ == "csv":
        render.write_csv(rows, render.MODEL_COLUMNS)
    elif not records:
        _nothing("no such model" if removed or as_of else "no such model is listed", begun=begun)
    else:
        _write_models(records, removed=removed)


def _write_models(records: Sequence[ModelRecord], *, removed: bool) -> None:
    from catalog_sync.cli import render  # noqa: PLC0415

    columns = ["id", "name", "lifecycle", "created", "retires", "first seen"]
    rows = [
        [
            record.info.id,
            record.info.display_name,
            record.info.lifecycle or "-",
            render.instant(record.info.created_at),
            render.instant(record.info.retires_at),
            render.day(record.first_seen_at),
        ]
        for record in records
    ]
    if removed:
        columns.append("removed")
        for row, record in zip(rows, records, strict=True):
            row.append(render.day(record.removed_at))
    if len({record.source for record in records}) > 1:
        columns.insert(1, "source")
        for row, record in zip(rows, records, strict=True):
            row.insert(1, record.source)
    if render.on_terminal():  # has room for what people look for; `show` and the formats have it
        position = columns.index("created")
        for row in (columns, *rows):
            del row[position]
    render.write_table(columns, rows, text={"name"})


@click.command()
@click.option("--since", type=MOMENT, metavar="7d", help="From this time, date or age on.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(_KINDS), help="Repeatable.")
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
    from catalog_sync import catalog  # noqa: PLC0415  # heavy
    from catalog_sync.cli import render  # noqa: PLC0415
    from catalog_sync.records import Kind  # noqa: PLC0415

    with context.app() as app, app.reading(sources) as session:
        found = catalog.list_events(
            session, since=since, kinds=[Kind(k) for k in kinds], models=glob, sources=sources
        )
        begun = catalog.begun(session)
    if format_ == "json":
        render.write_json([render.event_row(event) for event in found])
    elif format_ == "csv":
        render.write_csv([render.event_row(event) for event in found], render.EVENT_COLUMNS)
    elif not found:
        _nothing("no such event", begun=begun)
    else:
        _write_events(found)


def _write_events(found: Sequence[Event], *, with_model: bool = True) -> None:
    from catalog_sync import messages  # noqa: PLC0415
    from catalog_sync.cli import render  # noqa: PLC0415

    columns = ["when", "kind", *(["model"] if with_model else []), "what"]
    rows = [
        [
            render.instant(event.occurred_at),
            event.kind.value,
            *([event.model_id or "-"] if with_model else []),
            messages.event_text(event),
        ]
        for event in found
    ]
    if with_model and len({event.source for event in found}) > 1:
        columns.insert(2, "source")
        for row, event in zip(rows, found, strict=True):
            row.insert(2, event.source)
    render.write_table(columns, rows, text={"what"})


@click.command()
@click.argument("model")
@format_option
@click.pass_obj
def show(context: Context, model: str, format_: str) -> None:
    """Print one model: what is known of it, and its history, newest first."""
    from catalog_sync import catalog, messages  # noqa: PLC0415  # heavy
    from catalog_sync.cli import render  # noqa: PLC0415

    with context.app() as app, app.reading() as session:
        found = catalog.show_model(session, model)
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
    for record, history in found:
        row = render.model_row(record)
        facts = [
            [name, messages.value_text(value) if value is not None else "-"]
            for name, value in row.items()
            if name != "payload"
        ]
        facts.append(["capabilities", ", ".join(messages.capabilities(record.info.payload)) or "-"])
        render.write_table(["fact", "value"], facts, text={"value"}, header=False)
        render.write("")
        _write_events(history, with_model=False)


def _nothing(what: str, *, begun: bool) -> None:
    """Say on standard error that there is nothing to print, and why that may be."""
    text = what if begun else "nothing was recorded yet; run: catalog-sync sync"
    print(text, file=sys.stderr)  # noqa: T201
