"""The pages: the models on a timeline, and all changes. Each is one self-contained file.

A page contains its style and its script, which its content security policy allows by their hashes.
The HTML contains all content. The script filters, sorts and compares, and counts days.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from markupsafe import Markup

from catalog_sync.clock import to_utc
from catalog_sync.domain.event_text import date_text
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, ModelRecord
from catalog_sync.queries.export import capabilities_text
from catalog_sync.site.content import History, SiteContent, anchor, name_of
from catalog_sync.site.feeds import Entry, change_text
from catalog_sync.site.templates import fill, source
from catalog_sync.site.timeline import Axis, Bar, Lifespan, lifespan
from catalog_sync.text import count

_LATEST: Final = 6
"""Changes on the page of models."""
_UPCOMING: Final = 4
_LONG: Final = 40
"""With more models than this, the page has a section per year of release."""


@dataclass(frozen=True, slots=True)
class Row:
    """A model on the page."""

    record: ModelRecord
    life: Lifespan
    bar: Bar
    successor: ModelRecord | None
    changes: tuple[Event, ...]
    """The latest events, newest first."""
    earlier: int
    """The number of other events."""


def page(content: SiteContent, history: History, latest: Sequence[Entry]) -> str:
    """Return `index.html`."""
    axis, rows = _rows(content, history)
    dated = [row for row in rows if not row.life.ended and row.life.retires_at is not None]
    upcoming = sorted(dated, key=lambda row: (row.life.retires_at, _anchor(row.record)))
    listed = sum(record.listed for record in content.models)
    sections = [(year, list(found)) for year, found in groupby(rows, _year)]
    summary = [f"{count(listed, 'model')} listed, {len(rows) - listed} gone."]
    if upcoming:
        first = upcoming[0]
        summary.append(
            f"Next to retire: {name_of(first.record)}, {date_text(first.life.retires_at)}."
        )
    return _fill(
        "index.html",
        content,
        " ".join(summary),
        source("page.js"),
        _axis_style(axis),
        rows=rows,
        sections=sections if len(rows) > _LONG else [("", rows)] if rows else [],
        axis=axis,
        listed=listed,
        lifecycles=sorted({r.info.lifecycle for r in content.models if r.info.lifecycle}),
        upcoming=upcoming[:_UPCOMING],
        more_upcoming=upcoming[_UPCOMING:],
        latest=latest[:_LATEST],
        more=max(len(latest) - _LATEST, 0),
        capabilities_text=capabilities_text,
        change_text=change_text,
    )


def _rows(content: SiteContent, history: History) -> tuple[Axis, list[Row]]:
    successors = content.successors()
    lives = [lifespan(record, history.of(record), content.as_of) for record in content.models]
    axis = Axis.of(lives, content.as_of)
    rows = []
    for record, life in zip(content.models, lives, strict=True):
        past = history.of(record)
        changes = tuple(reversed(past.events))
        if past.number == 1 and changes[0].kind is Kind.ADDED:
            changes = ()  # the same as "first seen"
        newer = successors.get((record.source, record.info.id))
        earlier = past.number - len(changes) if changes else 0
        rows.append(Row(record, life, axis.bar(life), newer, changes, earlier))
    return axis, rows


def _year(row: Row) -> str:
    """Return the section of a model on a long page."""
    released = row.record.info.released_at
    return f"Released {released.year}" if released else "Release unknown"


def changes(content: SiteContent, history: History, latest: Sequence[Entry]) -> str:
    """Return `changes.html`: every change by month, up to a limit."""
    months = [
        (month, list(found))
        for month, found in groupby(latest, lambda entry: f"{to_utc(entry.at):%B %Y}")
    ]
    recorded = history.events - sum(history.baseline_models.values())
    return _fill(
        "changes.html",
        content,
        f"{count(len(latest), 'change')} of the model list.",
        months=months,
        shown=len(latest),
        cut=len(history.latest) < recorded,
    )


def _axis_style(axis: Axis) -> str:
    """Return the grid of the timeline as CSS backgrounds, so that no row repeats it."""
    lines = [
        f"linear-gradient(var(--rule),var(--rule)) {tick.x}% 0/1px 100% no-repeat"
        for tick in axis.ticks()
    ]
    now = f"var(--dashes) {axis.now}% 0/1px 100% no-repeat"
    ahead = f"linear-gradient(90deg,transparent {axis.now}%,var(--future) {axis.now}%)"
    return f":root{{--grid:{','.join([now, *lines, ahead])}}}"


def _fill(
    name: str,
    content: SiteContent,
    summary: str,
    script: str = "",
    own_style: str = "",
    **values: Any,
) -> str:
    """Fill a page. `summary` is a line for search engines and for previews of links."""
    style = source("page.css") + own_style
    return fill(
        name,
        style=Markup(style),  # noqa: S704  # part of this program
        script=Markup(script),  # noqa: S704  # part of this program
        style_hash=_hash(style),
        script_hash=_hash(script),
        content=content,
        summary=summary,
        canonical=content.link(name) if content.public_url else None,
        anchor=_anchor,
        name_of=name_of,
        **values,
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _anchor(record: ModelRecord) -> str:
    return anchor(record.source, record.info.id)
