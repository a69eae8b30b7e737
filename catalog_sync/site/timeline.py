"""The picture: a bar for each model, from its release to its retirement, on one axis of time.

Geometry alone. What lies along the axis is in percent of the picture's width, so that text keeps
its size on any screen; a row has its height in pixels.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

from catalog_sync.clock import to_utc
from catalog_sync.domain.kinds import Kind
from catalog_sync.site.content import SiteContent, called, plain, released_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from catalog_sync.domain.model import Event, ModelRecord


Stage = Literal["live", "late", "ahead", "gone"]
_FARTHEST_BACK: Final = timedelta(days=12 * 366)
_FARTHEST_AHEAD: Final = timedelta(days=8 * 366)
"""An absurd date of one model must not press all others into a line; beyond, bars are cut."""
_MONTHS: Final = (
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
)
_STEPS: Final = (1, 3, 6, 12, 24, 60)
_NAME_WIDTH: Final = 28
_SOURCE_WIDTH: Final = 14
_ON_A_PHONE: Final = 2.2
"""Percent of the width that a character of a label takes."""
_ON_A_DESK: Final = 1.0
_TICK_GAP: Final = 2
"""Columns between the labels of two ticks, at least."""
_HALF: Final = 50
_MARGIN: Final = 0.07
"""Of the width, on the right: where what has no end fades out."""
_LEAST: Final = 0.6
"""Percent of the width that the shortest life is drawn with."""


@dataclass(frozen=True, slots=True)
class Life:
    """When a model came and when it goes."""

    record: ModelRecord
    start: datetime
    """Its release; when it was first seen, where that is not known."""
    released: bool
    """Whether `start` is the release."""
    end: datetime
    """When it retired or left the list; of one that is there, the last sync."""
    ended: bool
    deprecated_at: datetime | None
    """Between start and end; null for one that was not deprecated before `end`."""
    retires_at: datetime | None
    """The date that was told, unless the model left before."""
    overdue: bool
    """Whether the date passed and the model is still there."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar."""

    stage: Stage
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of the picture."""

    life: Life
    segments: tuple[Segment, ...]
    open_start: bool
    open_end: bool
    start: float
    end: float
    retires: float | None
    """Where the mark of the retirement date stands; null where there is none in the picture."""
    label: str
    source: str
    """Empty where there is one source alone."""
    room: Literal["everywhere", "wide", "nowhere"]
    """Where the label can begin with the bar; elsewhere it ends with the picture."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid, at the first of a month."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole picture, a bar for each model in their order."""

    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]
    now: float
    """Where the last sync stands."""
    begin: datetime
    end: datetime


def lives(contents: SiteContent) -> list[Life]:
    """Return each model's life, in the order of the models."""
    retired = _latest(contents.events, Kind.RETIRED)
    deprecated = _latest(contents.events, Kind.DEPRECATED)
    return [_life(record, contents.as_of, retired, deprecated) for record in contents.models]


def _latest(events: Iterable[Event], kind: Kind) -> dict[tuple[str, str | None], datetime]:
    """Return when each model had its latest event of a kind."""
    return {(e.source, e.model_id): e.occurred_at for e in events if e.kind is kind}


def _life(
    record: ModelRecord,
    as_of: datetime,
    retired: Mapping[tuple[str, str | None], datetime],
    deprecated: Mapping[tuple[str, str | None], datetime],
) -> Life:
    info, key = record.info, (record.source, record.info.id)
    retires_at = info.retires_at
    end = as_of
    if record.retired:
        end = retired.get(key) or min(retires_at or as_of, as_of)
    if record.removed_at is not None:
        end = min(end, record.removed_at)
    ended = record.retired or not record.listed
    released = released_at(record)
    start = min(released or record.first_seen_at, end)
    since = info.deprecated_at
    if since is None and info.lifecycle in {"deprecated", "retired"}:
        since = deprecated.get(key)
        if since is None and info.lifecycle == "deprecated":
            since = record.first_seen_at  # it was by then; since when, nobody said
    if since is not None:
        since = max(since, start) if since < end else None
    if retires_at is not None and ended and retires_at > end:
        retires_at = None
    overdue = retires_at is not None and not ended and retires_at <= as_of
    return Life(record, start, released is not None, end, ended, since, retires_at, overdue)


def timeline(contents: SiteContent, told: Sequence[Life]) -> Timeline:
    """Draw the lives."""
    as_of = contents.as_of
    first = min([life.start for life in told], default=as_of)
    last = max([life.retires_at or life.end for life in told], default=as_of)
    begin = max(min(first, as_of - timedelta(days=30)), as_of - _FARTHEST_BACK)
    farthest = min(max(last, as_of), as_of + _FARTHEST_AHEAD)
    end = farthest + (farthest - begin) * _MARGIN
    axis = _Axis(begin, end)
    return Timeline(
        tuple(_bar(contents, life, axis, as_of) for life in told),
        tuple(_ticks(axis)),
        axis.x(as_of),
        begin,
        end,
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    begin: datetime
    end: datetime

    def x(self, moment: datetime) -> float:
        """Return where a moment stands, in percent; what lies outside, at the edge."""
        share = (moment - self.begin) / (self.end - self.begin)
        return round(100 * min(max(share, 0), 1), 2)

    def holds(self, moment: datetime) -> bool:
        return self.begin <= moment <= self.end


def _bar(contents: SiteContent, life: Life, axis: _Axis, as_of: datetime) -> Bar:
    record = life.record
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
    marked = life.retires_at is not None and axis.holds(life.retires_at)
    label = _cut(plain(called(record)), _NAME_WIDTH)
    source = _cut(record.source, _SOURCE_WIDTH) if contents.several else ""
    room = (100 - start) / _columns(f"{label} {source}")
    return Bar(
        life,
        tuple(Segment(s, x, round(to - x, 2)) for s, x, to in stages if to > x),
        open_start=not life.released,
        open_end=not life.ended and not ahead,
        start=start,
        end=end,
        retires=stop if marked else None,
        label=label,
        source=source,
        room="everywhere" if room >= _ON_A_PHONE else "wide" if room >= _ON_A_DESK else "nowhere",
    )


def _ticks(axis: _Axis) -> list[Tick]:
    """Return as many ticks as have room for their labels on a phone."""
    months = [month for month in _months(axis.begin, axis.end) if axis.holds(month)]
    for step in _STEPS:
        chosen = [month for month in months if (month.year * 12 + month.month - 1) % step == 0]
        ticks = [
            Tick(axis.x(month), label) for month, label in zip(chosen, _labels(chosen), strict=True)
        ]
        if all(
            (_columns(tick.label) + _TICK_GAP) * _ON_A_PHONE <= following.x - tick.x
            for tick, following in pairwise(ticks)
        ):
            break
    return ticks


def _labels(months: Sequence[datetime]) -> list[str]:
    """Return a name for each month: a January is its year, which the first tells if none does."""
    labels = [str(m.year) if m.month == 1 else _MONTHS[m.month - 1] for m in months]
    if months and not any(month.month == 1 for month in months):
        labels[0] = f"{labels[0]} {months[0].year}"
    return labels


def _months(begin: datetime, end: datetime) -> list[datetime]:
    """Return the first of each month, from that of `begin` to that of `end`."""
    first, last = (to_utc(moment).year * 12 + to_utc(moment).month - 1 for moment in (begin, end))
    return [datetime(n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in range(first, last + 1)]


def _columns(text: str) -> int:
    """Return how many columns text takes; wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, width: int) -> str:
    """Return text in at most `width` columns."""
    if _columns(text) <= width:
        return text
    text = text[:width]
    while _columns(text) >= width:
        text = text[:-1]
    return text.rstrip() + "…"
