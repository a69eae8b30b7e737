"""The successor of a model: the newest dependable model of the same line and source."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime, timedelta

from catalog_sync.domain.kinds import LEAVING
from catalog_sync.domain.model import ModelRecord

NEAR = timedelta(days=60)
"""A retirement within this time counts as near by default: time enough to plan a move."""


def dependable(record: ModelRecord, now: datetime, within: timedelta = NEAR) -> bool:
    """Whether a model is listed, not deprecated or retired, and not near its retirement."""
    retires_at = record.info.retires_at
    ends = retires_at is not None and retires_at - now <= within
    return record.listed and not ends and record.info.lifecycle not in LEAVING


def successor(
    record: ModelRecord, records: Collection[ModelRecord], now: datetime, within: timedelta = NEAR
) -> ModelRecord | None:
    """Return the model to move to: the newest dependable later model of the same line and source.

    None if no model qualifies, or if the line or the release of `record` is unknown. A retirement
    `within` this time is near.
    """
    beside = [other for other in records if other.source == record.source]
    line = record.info.line or line_of(record.info.id, beside)
    return newest_of_line(line, record.info.released_at, beside, now, within)


def leaving(record: ModelRecord) -> bool:
    """Whether a model is deprecated, retired or removed, or has a retirement date."""
    stated = record.info.retires_at or record.removed_at
    return stated is not None or record.info.lifecycle in LEAVING


def successors(
    records: Collection[ModelRecord], now: datetime
) -> dict[tuple[str, str], ModelRecord]:
    """Return the successors of the leaving models, by source and id."""
    by_source: dict[str, list[ModelRecord]] = {}
    for record in records:
        by_source.setdefault(record.source, []).append(record)
    found = {
        (record.source, record.info.id): successor(record, by_source[record.source], now)
        for record in filter(leaving, records)
    }
    return {key: newer for key, newer in found.items() if newer is not None}


def newest_of_line(
    line: str | None,
    released_after: datetime | None,
    records: Collection[ModelRecord],
    now: datetime,
    within: timedelta = NEAR,
) -> ModelRecord | None:
    """Return the newest dependable model of a line released after a time, or None."""
    if line is None or released_after is None:
        return None
    newer = (
        other
        for other in records
        if other.info.line == line
        and other.info.created_at > released_after
        and dependable(other, now, within)
    )
    return max(newer, key=lambda other: (other.info.created_at, other.info.id), default=None)


def line_of(model_id: str, records: Collection[ModelRecord]) -> str | None:
    """Infer the line of a model for which the API states none. None if it is uncertain.

    A line name counts if it is a word of this id and of at least one id whose line the API
    stated, and if it is the only such name.
    """
    proven = {
        record.info.line
        for record in records
        if record.info.line is not None and record.info.line in _words(record.info.id)
    }
    named = proven & set(_words(model_id))
    return named.pop() if len(named) == 1 else None


def _words(model_id: str) -> list[str]:
    return re.split(r"[^a-z0-9]+", model_id)
