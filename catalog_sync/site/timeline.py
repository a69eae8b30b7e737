"""The geometry of the timeline: a bar per model, from its release to its retirement.

Positions are percentages of the width, so that text keeps its size on every screen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, Literal

from catalog_sync.clock import to_utc
from catalog_sync.domain.kinds import LEAVING, Kind, Lifecycle
from catalog_sync.domain.model import ModelRecord
from catalog_sync.site.content import ModelHistory

Stage = Literal["live", "late", "ahead", "gone"]
_FARTHEST_BACK: Final = timedelta(days=12 * 366)
_FARTHEST_AHEAD: Final = timedelta(days=8 * 366)
"""Bars are cut at these limits, so that one absurd date does not compress all other bars."""
_STEPS: Final = (1, 3, 6, 12, 24, 60)
"""Months between two ticks. The first step whose labels fit is used."""
_COLUMN: Final = 2.4
"""The width of a label's character on a phone, in percent."""
_MARGIN: Final = 0.07
"""The share of the width, on the right, in which bars without an end fade out."""
_LEAST: Final = 0.6
"""The width of the shortest bar, in percent."""


@dataclass(frozen=True, slots=True)
class Lifespan:
    """When a model was released and when it leaves."""

    start: datetime
    """The release, or when the model was first seen if the release is unknown."""
    end: datetime
    """When the model retired or was removed; for a listed model, the last sync."""
    ended: bool
    deprecated_at: datetime | None
    """Between `start` and `end`; None for a model that was not deprecated before `end`."""
    retires_at: datetime | None
    """The stated date; None if the model left before it."""
    overdue: bool
    """Whether the date has passed and the model is still listed."""


def lifespan(record: ModelRecord, past: ModelHistory, as_of: datetime) -> Lifespan:
    """Return a model's lifespan as known at `as_of`."""
    info, retires_at = record.info, record.info.retires_at
    end = as_of
    if record.retired:
        end = past.latest_at.get(Kind.RETIRED) or min(retires_at or as_of, as_of)
    if record.removed_at is not None:
        end = min(end, record.removed_at)
    ended = record.retired or not record.listed
    start = min(info.released_at or record.first_seen_at, end)
    since = info.deprecated_at
    if since is None and info.lifecycle in LEAVING:
        since = past.latest_at.get(Kind.DEPRECATED)
    if since is None and info.lifecycle == Lifecycle.DEPRECATED:
        since = record.first_seen_at  # deprecated by then; the exact date is unknown
    if since is not None:
        since = max(since, start) if since < end else None
    if retires_at is not None and ended and retires_at > end:
        retires_at = None
    overdue = retires_at is not None and not ended and retires_at <= as_of
    return Lifespan(start, end, ended, since, retires_at, overdue)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar."""

    stage: Stage
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """The bar of a model."""

    segments: tuple[Segment, ...]
    open_end: bool
    """Whether the bar fades out, because no end is known."""
    start: float
    end: float
    retires: float | None
    """The position of the retirement date; None if the axis shows none."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid, at the first of a month."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """The axis of time that all bars share."""

    begin: datetime
    end: datetime
    as_of: datetime
    """The last sync."""

    @classmethod
    def of(cls, lives: Sequence[Lifespan], as_of: datetime) -> Axis:
        """Return an axis with room for all lifespans, within the limits."""
        first = min([life.start for life in lives], default=as_of)
        last = max([life.retires_at or life.end for life in lives], default=as_of)
        begin = max(min(first, as_of - timedelta(days=30)), as_of - _FARTHEST_BACK)
        farthest = min(max(last, as_of), as_of + _FARTHEST_AHEAD)
        return cls(begin, farthest + (farthest - begin) * _MARGIN, as_of)

    def x(self, at: datetime) -> float:
        """Return the position of a time in percent; times outside are at the edge."""
        share = (at - self.begin) / (self.end - self.begin)
        return round(100 * min(max(share, 0), 1), 1)

    @property
    def now(self) -> float:
        """The position of the last sync."""
        return self.x(self.as_of)

    def bar(self, life: Lifespan) -> Bar:
        """Place the bar of a model."""
        start, end = self.x(life.start), self.x(life.end)
        if end - start < _LEAST:
            start, end = (end - _LEAST, end) if end > _LEAST else (start, start + _LEAST)
        planned = life.retires_at
        ahead = not life.ended and planned is not None and planned > self.as_of
        stop = end if planned is None else self.x(planned)
        turn = end if life.deprecated_at is None else self.x(life.deprecated_at)
        turn = min(max(turn, start), end)
        stages: list[tuple[Stage, float, float]] = [("gone", start, end)]
        if not life.ended:
            stages = [("live", start, turn), ("late", turn, end), ("ahead", end, stop)]
        return Bar(
            tuple(Segment(s, round(x, 1), round(to - x, 1)) for s, x, to in stages if to > x),
            open_end=not life.ended and not ahead,
            start=start,
            end=end,
            retires=stop if planned is not None and self.begin <= planned <= self.end else None,
        )

    def ticks(self) -> list[Tick]:
        """Return as many ticks as have room for their labels on a phone."""
        first, last = (to_utc(at).year * 12 + to_utc(at).month - 1 for at in (self.begin, self.end))
        for step in _STEPS:
            months = (n for n in range(first, last + 1) if n % step == 0)
            dates = (datetime(n // 12, n % 12 + 1, 1, tzinfo=UTC) for n in months)
            shown = [at for at in dates if self.begin <= at <= self.end]
            ticks = [Tick(self.x(at), f"{at:%Y}" if at.month == 1 else f"{at:%b}") for at in shown]
            if shown and all(at.month != 1 for at in shown):
                ticks[0] = Tick(ticks[0].x, f"{shown[0]:%b %Y}")
            if all(b.x - a.x >= (len(a.label) + 2) * _COLUMN for a, b in pairwise(ticks)):
                break
        return ticks
