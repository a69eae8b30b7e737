"""The timeline: a bar per model, from its release to its retirement, on one axis of time.

Geometry only. Positions along the axis are percentages of the width, so that text keeps its size
on every screen. The height of a row is in pixels.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

from catalog_sync.clock import to_utc
from catalog_sync.site.content import escape_invisible, name_of, released_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catalog_sync.domain.model import ModelRecord
    from catalog_sync.site.content import History, SiteContent


Stage = Literal["live", "late", "ahead", "gone"]
_FARTHEST_BACK: Final = timedelta(days=12 * 366)
_FARTHEST_AHEAD: Final = timedelta(days=8 * 366)
"""Limits for an absurd date of one model, which must not compress all others. Bars are cut here."""
_MONTHS: Final = [
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
]
_STEPS: Final = (1, 3, 6, 12, 24, 60)
"""Months between two ticks. The first step whose labels fit is used."""
_NAME_WIDTH: Final = 28
_SOURCE_WIDTH: Final = 14
_COLUMN: Final = 2.2
"""Percent of the width that a character takes on a phone."""
_TICK_GAP: Final = 2
"""Columns between the labels of two ticks."""
_HALF: Final = 50
_MARGIN: Final = 0.07
"""The share of the width on the right in which bars without an end fade out."""
_LEAST: Final = 0.6
"""Percent of the width of the shortest bar."""


@dataclass(frozen=True, slots=True)
class Lifespan:
    """When a model was released and when it leaves."""

    record: ModelRecord
    start: datetime
    """The release, or if that is unknown, when the model was first seen."""
    released: bool
    """Whether `start` is the release."""
    end: datetime
    """When the model retired or was removed; for a listed model, the last sync."""
    ended: bool
    deprecated_at: datetime | None
    """Between `start` and `end`; None for a model that was not deprecated before `end`."""
    retires_at: datetime | None
    """The stated date; None if the model left before it."""
    overdue: bool
    """Whether the date has passed and the model is still listed."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar."""

    stage: Stage
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the timeline."""

    life: Lifespan
    segments: tuple[Segment, ...]
    open_start: bool
    open_end: bool
    start: float
    end: float
    retires: float | None
    """The position of the retirement date; None without one within the axis."""
    label: str
    source: str
    """Empty if the site has one source."""
    label_right: bool
    """Whether the label ends at the right edge, because it does not fit behind `start`."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid, at the first of a month."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """All bars in the order of the models, and the axis."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    now: float
    """The position of the last sync."""
    begin: datetime
    end: datetime


def lifespan(record: ModelRecord, history: History, as_of: datetime) -> Lifespan:
    """Return the life of a model as known at a time."""
    info, key = record.info, (record.source, record.info.id)
    retires_at = info.retires_at
    end = as_of
    if record.retired:
        end = history.retired_at.get(key) or min(retires_at or as_of, as_of)
    if record.removed_at is not None:
        end = min(end, record.removed_at)
    ended = record.retired or not record.listed
    released = released_at(record)
    start = min(released or record.first_seen_at, end)
    since = info.deprecated_at
    if since is None and info.lifecycle in {"deprecated", "retired"}:
        since = history.deprecated_at.get(key)
        if since is None and info.lifecycle == "deprecated":
            since = record.first_seen_at  # deprecated by then; the exact date is unknown
    if since is not None:
        since = max(since, start) if since < end else None
    if retires_at is not None and ended and retires_at > end:
        retires_at = None
    overdue = retires_at is not None and not ended and retires_at <= as_of
    return Lifespan(record, start, released is not None, end, ended, since, retires_at, overdue)


def timeline(content: SiteContent, lives: Sequence[Lifespan]) -> Timeline:
    """Place the bars of all models on one axis."""
    as_of = content.as_of
    first = min([life.start for life in lives], default=as_of)
    last = max([life.retires_at or life.end for life in lives], default=as_of)
    begin = max(min(first, as_of - timedelta(days=30)), as_of - _FARTHEST_BACK)
    farthest = min(max(last, as_of), as_of + _FARTHEST_AHEAD)
    end = farthest + (farthest - begin) * _MARGIN
    axis = _Axis(begin, end)
    bars = tuple(_bar(life, axis, as_of, several=content.several) for life in lives)
    return Timeline(bars, tuple(_ticks(axis)), axis.x(as_of), begin, end)


@dataclass(frozen=True, slots=True)
class _Axis:
    begin: datetime
    end: datetime

    def x(self, at: datetime) -> float:
        """Return the position of a time in percent, at the edge if it is outside."""
        share = (at - self.begin) / (self.end - self.begin)
        return round(100 * min(max(share, 0), 1), 2)

    def holds(self, at: datetime) -> bool:
        return self.begin <= at <= self.end


def _bar(life: Lifespan, axis: _Axis, as_of: datetime, *, several: bool) -> Bar:
    start, end = axis.x(life.start), axis.x(life.end)
    if end - start < _LEAST:
        start, end = (end - _LEAST, end) if end > _HALF else (start, start + _LEAST)
    ahead = not life.ended and life.retires_at is not None and life.retires_at > as_of
    stop = axis.x(life.retires_at) if life.retires_at is not None else end
    turn = axis.x(life.deprecated_at) if life.deprecated_at is not None else end
    turn = min(max(turn, start), end)
    stages: list[tuple[Stage, float, float]] = [("gone", start, end)]
    if not life.ended:
        stages = [("live", start, turn), ("late", turn, end), ("ahead", end, stop)]
    label = _cut(escape_invisible(name_of(life.record)), _NAME_WIDTH)
    source = _cut(life.record.source, _SOURCE_WIDTH) if several else ""
    return Bar(
        life,
        tuple(Segment(s, x, round(to - x, 2)) for s, x, to in stages if to > x),
        open_start=not life.released,
        open_end=not life.ended and not ahead,
        start=start,
        end=end,
        retires=stop if life.retires_at is not None and axis.holds(life.retires_at) else None,
        label=label,
        source=source,
        label_right=start + _columns(f"{label} {source}") * _COLUMN > 100,  # noqa: PLR2004
    )


def _ticks(axis: _Axis) -> list[Tick]:
    """Return as many ticks as have room for their labels on a phone."""
    months = [month for month in _months(axis.begin, axis.end) if axis.holds(month)]
    for step in _STEPS:
        chosen = [month for month in months if (month.year * 12 + month.month - 1) % step == 0]
        ticks = [Tick(axis.x(at), label) for at, label in zip(chosen, _labels(chosen), strict=True)]
        if all(
            (_columns(tick.label) + _TICK_GAP) * _COLUMN <= following.x - tick.x
            for tick, following in pairwise(ticks)
        ):
            break
    return ticks


def _labels(months: Sequence[datetime]) -> list[str]:
    """Return a label per month. January is its year. Without a January, the first names it."""
    labels = [str(m.year) if m.month == 1 else _MONTHS[m.month - 1] for m in months]
    if months and not any(month.month == 1 for month in months):
        labels[0] = f"{labels[0]} {months[0].year}"
    return labels


def _months(begin: datetime, end: datetime) -> list[datetime]:
    """Return the first of each month, from that of `begin` to that of `end`."""
    first, last = (to_utc(at).year * 12 + to_utc(at).month - 1 for at in (begin, end))
    return [datetime(n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in range(first, last + 1)]


def _columns(text: str) -> int:
    """Return the width of text in columns; wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> str:
    """Return text in at most `width` columns."""
    if _columns(text) <= width:
        return text
    text = text[:width]
    while _columns(text) >= width:
        text = text[:-1]
    return text.rstrip() + "…"
