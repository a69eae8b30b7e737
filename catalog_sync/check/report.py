"""Texts of the verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalog_sync.domain.kinds import Verdict
from catalog_sync.text import _days, one_line

if TYPE_CHECKING:
    from datetime import datetime

    from catalog_sync.check.verdicts import ModelVerdict, SourceVerdict


def verdict_text(judgement: ModelVerdict, now: datetime) -> str:
    """Return why a model is judged so, with the dates and what to use instead, on one line."""
    facts = [_closest_text(judgement)]
    if judgement.standings:
        gravest, *others = judgement.standings
        where = f"source {gravest.record.source}: " if others else ""
        facts = [where + _standing_text(gravest, now)]
        fine = [other.record.source for other in others if other.verdict is Verdict.FINE]
        facts += [f"fine in {', '.join(fine)}"] if fine else []
    if judgement.successor is not None:
        facts.append(f"successor: {judgement.successor}")
    return one_line("; ".join(facts), None)


def _closest_text(judgement: ModelVerdict) -> str:
    text = "the catalog never held it"
    if judgement.closest is None:
        return text
    closest, verdict = judgement.closest
    text = f"{text}; closest is {closest}"
    return text if verdict is Verdict.FINE else f"{text} ({verdict})"


def _standing_text(standing: SourceVerdict, now: datetime) -> str:
    record = standing.record
    info = record.info
    if record.removed_at is not None:
        return f"gone from the list since {record.removed_at:%Y-%m-%d}"
    if standing.verdict is Verdict.RETIRED:
        planned = info.retires_at
        return f"retirement date {planned:%Y-%m-%d}" if planned else "without a date"
    facts = []
    if info.lifecycle == "deprecated":
        word = "" if standing.verdict is Verdict.DEPRECATED else "deprecated "
        since = f"since {info.deprecated_at:%Y-%m-%d}" if info.deprecated_at else ""
        facts += [f"{word}{since}".strip()] if word or since else []
    if info.retires_at is None:
        facts.append("no retirement date yet")
    else:
        overdue = standing.verdict is Verdict.OVERDUE
        days = (info.retires_at.date() - now.date()).days
        left = f" ({_days(days)})" if days or not overdue else ""
        facts.append(
            f"{'was to retire' if overdue else 'retires'} {info.retires_at:%Y-%m-%d}{left}"
        )
    return ", ".join(facts)
