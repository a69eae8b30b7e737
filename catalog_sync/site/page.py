"""The page: the picture, the table and the latest news, in one file that asks for nothing else.

Its style and its script stand in it, and its policy allows those two texts alone, by their hash.
All that is told stands in the HTML; the script filters, sorts and counts days.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from catalog_sync.clock import to_utc
from catalog_sync.site.content import PAGE, SiteContent, anchor, called
from catalog_sync.site.templates import fill, source
from catalog_sync.site.timeline import Life, lives, timeline

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from catalog_sync.site.feeds import Entry


_LATEST: Final = 8
"""News that the page tells; the feed has the rest."""
_UPCOMING: Final = 4
_LONG: Final = 40
"""Models from which on the picture scrolls within itself."""


@dataclass(frozen=True, slots=True)
class Row:
    """A model as the table shows it."""

    life: Life
    anchor: str
    lifecycle: str
    """As the API said; empty where it did not."""
    state: str
    """What its mark looks like: `live`, `late` (deprecated) or `gone`."""

    @property
    def status(self) -> str:
        """Return the one word for where it stands; "listed" where the API told no lifecycle."""
        if not self.life.record.listed and not self.life.record.retired:
            return "removed"
        return self.lifecycle or "listed"

    @property
    def name(self) -> str:
        """Return what people call it."""
        return called(self.life.record)


def page(contents: SiteContent, news: Sequence[Entry]) -> bytes:
    """Return `index.html`."""
    told = lives(contents)
    rows = [_row(life) for life in told]
    style, script = source("page.css"), source("page.js")
    return fill(
        "page.html",
        style=Markup(style),  # noqa: S704  # ours
        script=Markup(script),  # noqa: S704  # ours
        style_hash=_hash(style),
        script_hash=_hash(script),
        contents=contents,
        canonical=contents.link(PAGE) if contents.public_url else None,
        rows=rows,
        picture=timeline(contents, told),
        long=len(rows) > _LONG,
        listed=sum(row.life.record.listed for row in rows),
        lifecycles=sorted({row.lifecycle for row in rows if row.lifecycle}),
        tokens=any(
            row.life.record.info.max_input_tokens is not None
            or row.life.record.info.max_tokens is not None
            for row in rows
        ),
        upcoming=_upcoming(rows),
        news=news[:_LATEST],
        day=_day,
        minute=_minute,
    )


def _row(life: Life) -> Row:
    record = life.record
    lifecycle = record.info.lifecycle or ""
    late = lifecycle == "deprecated" or life.overdue
    state = "gone" if life.ended else "late" if late else "live"
    return Row(life, anchor(record.source, record.info.id), lifecycle, state)


def _upcoming(rows: Sequence[Row]) -> list[Row]:
    """Return the models that are there and have a retirement date, the earliest first."""
    dated = [(row.life.retires_at, row) for row in rows if not row.life.ended]
    found = [(at, row.anchor, row) for at, row in dated if at is not None]
    return [row for _, _, row in sorted(found, key=lambda item: item[:2])][:_UPCOMING]


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _day(moment: datetime) -> str:
    return f"{to_utc(moment):%Y-%m-%d}"


def _minute(moment: datetime) -> str:
    return f"{to_utc(moment):%Y-%m-%d %H:%M} UTC"
