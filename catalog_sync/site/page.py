"""The page: timeline, table and latest changes, in one file that requests nothing else.

It contains its style and its script; its policy allows these two texts by their hashes. The HTML
holds all content. The script filters and sorts, and counts days.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from catalog_sync.clock import to_utc
from catalog_sync.queries.export import capabilities_text
from catalog_sync.site.content import PAGE, SiteContent, anchor, name_of
from catalog_sync.site.templates import fill, source
from catalog_sync.site.timeline import Lifespan, lifespan, timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from catalog_sync.domain.model import ModelRecord
    from catalog_sync.site.content import Change, History
    from catalog_sync.site.feeds import Entry


_LATEST: Final = 8
"""Changes on the page; the feed has more."""
_UPCOMING: Final = 4
_LONG: Final = 40
"""From this number of models on, the timeline scrolls within itself."""
_DETAILED: Final = 300
"""Up to this number of models, a row opens with capabilities and history."""


@dataclass(frozen=True, slots=True)
class Successor:
    """The model to move to."""

    name: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Row:
    """A model in the table."""

    life: Lifespan
    anchor: str
    lifecycle: str
    """As the API states it; empty if it does not."""
    state: str
    """The class of its mark: `live`, `late` (deprecated) or `gone`."""
    successor: Successor | None
    capabilities: str
    """A list to read. Empty without capabilities, and on a page with very many models."""
    changes: tuple[Change, ...]
    """The latest events, newest first. Empty on a page with very many models."""

    @property
    def status(self) -> str:
        """The status in one word: "removed", the lifecycle, or "listed" if that is unknown."""
        if not self.life.record.listed and not self.life.record.retired:
            return "removed"
        return self.lifecycle or "listed"

    @property
    def name(self) -> str:
        """The display name."""
        return name_of(self.life.record)


def page(content: SiteContent, history: History, latest: Sequence[Entry]) -> bytes:
    """Return `index.html`."""
    successors = content.successors()
    lives = [lifespan(record, history, content.as_of) for record in content.models]
    detailed = history if len(lives) <= _DETAILED else None
    rows = [_row(life, successors, detailed) for life in lives]
    style, script = source("page.css"), source("page.js")
    upcoming = _upcoming(rows)
    infos = [record.info for record in content.models]
    return fill(
        "page.html",
        style=Markup(style),  # noqa: S704  # part of this program
        script=Markup(script),  # noqa: S704  # part of this program
        style_hash=_hash(style),
        script_hash=_hash(script),
        content=content,
        canonical=content.link(PAGE) if content.public_url else None,
        rows=rows,
        baselines=content.baselines,
        picture=timeline(content, lives),
        long=len(rows) > _LONG,
        listed=sum(record.listed for record in content.models),
        lifecycles=sorted({row.lifecycle for row in rows if row.lifecycle}),
        tokens=any(
            info.max_input_tokens is not None or info.max_tokens is not None for info in infos
        ),
        upcoming=upcoming[:_UPCOMING],
        retiring=len(upcoming),
        latest=latest[:_LATEST],
        more=max(len(latest) - _LATEST, 0),
        day=_day,
        minute=_minute,
    )


def _row(
    life: Lifespan,
    successors: Mapping[tuple[str, str], ModelRecord],
    detailed: History | None,
) -> Row:
    record = life.record
    key = (record.source, record.info.id)
    newer = successors.get(key)
    lifecycle = record.info.lifecycle or ""
    late = lifecycle == "deprecated" or life.overdue
    state = "gone" if life.ended else "late" if late else "live"
    to = Successor(name_of(newer), anchor(newer.source, newer.info.id)) if newer else None
    able = capabilities_text(record.info.payload) if detailed else "-"
    return Row(
        life,
        anchor(*key),
        lifecycle,
        state,
        to,
        capabilities="" if able == "-" else able,
        changes=tuple(reversed(detailed.of_models.get(key, ()))) if detailed else (),
    )


def _upcoming(rows: Sequence[Row]) -> list[Row]:
    """Return the listed models with a retirement date, the earliest first."""
    dated = [(row.life.retires_at, row) for row in rows if not row.life.ended]
    found = [(at, row.anchor, row) for at, row in dated if at is not None]
    return [row for _, _, row in sorted(found, key=lambda item: item[:2])]


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _day(at: datetime) -> str:
    return f"{to_utc(at):%Y-%m-%d}"


def _minute(at: datetime) -> str:
    return f"{to_utc(at):%Y-%m-%d %H:%M} UTC"
