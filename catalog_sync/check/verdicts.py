"""Whether a model can be depended on: pure, from what the catalog holds of it.

A model is judged in each source on its own, and the gravest verdict counts: a key sees its own
workspace, so that a model which one of them lost is lost to whoever uses that key.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from catalog_sync.domain.kinds import Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from catalog_sync.domain.model import ModelRecord


@dataclass(frozen=True, slots=True)
class SourceVerdict:
    """How a model stands in one source that lists it, or did."""

    verdict: Verdict
    record: ModelRecord


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """Whether a model can be depended on, over all sources that were asked about."""

    model_id: str
    verdict: Verdict
    """The gravest of its standings; `unknown` without any."""
    standings: tuple[SourceVerdict, ...] = ()
    """The gravest first."""
    successor: str | None = None
    """The newest model of its line, where one is listed that is newer and fine; else null."""
    closest: tuple[str, Verdict] | None = None
    """Of an unknown model, the known one that may be meant; null where none is close."""


_GRAVITY = list(Verdict)
_SPELT_ALIKE = 0.9
"""A slip of the fingers or two in an id of twenty characters; another model is less alike."""
_DATE = re.compile(r"-(20\d{6})(?!\d)", re.ASCII)
_UNKNOWN_RELEASE_YEAR = 1970
"""The year of `created_at` where the API does not know it: nothing is surely newer."""


def judge(
    model_id: str, records: Collection[ModelRecord], now: datetime, within: timedelta
) -> ModelVerdict:
    """Judge a model by all records of the sources that count, of other models too.

    `within`: how near a retirement date is near.
    """
    own = [record for record in records if record.info.id == model_id]
    if not own:
        return _unknown(model_id, records, now, within)
    standings = [SourceVerdict(standing(record, now, within), record) for record in own]
    standings.sort(key=lambda one: (-_GRAVITY.index(one.verdict), one.record.source))
    gravest = standings[0]
    successor = None
    if gravest.verdict is not Verdict.FINE:
        info = gravest.record.info
        beside = [record for record in records if record.source == gravest.record.source]
        line = info.line or _line(model_id, beside)
        successor = _newest(line, info.created_at, beside, now, within)
    return ModelVerdict(model_id, gravest.verdict, tuple(standings), successor)


def standing(record: ModelRecord, now: datetime, within: timedelta) -> Verdict:
    """Judge a model by one source's record of it. One that is missing is still listed."""
    info = record.info
    if record.retired:
        return Verdict.RETIRED
    if not record.listed:
        return Verdict.REMOVED
    if info.retires_at is not None and info.retires_at <= now:
        return Verdict.OVERDUE
    if info.retires_at is not None and info.retires_at - now <= within:
        return Verdict.RETIRING
    return Verdict.DEPRECATED if info.lifecycle == "deprecated" else Verdict.FINE


def _unknown(
    model_id: str, records: Collection[ModelRecord], now: datetime, within: timedelta
) -> ModelVerdict:
    """Judge a model without a record, by its id: what may be meant, and what came after it."""
    closest = _closest(model_id, sorted({record.info.id for record in records}))
    meant = judge(closest, records, now, within) if closest is not None else None
    dated = _DATE.search(model_id)
    released_at = _day(dated[1]) if dated else None
    successor = meant.successor if meant else None
    if successor is None and released_at and (meant is None or meant.verdict is not Verdict.FINE):
        line = _line(model_id, records)
        successor = _newest(line, released_at, records, now, within)
    return ModelVerdict(
        model_id,
        Verdict.UNKNOWN,
        successor=successor,
        closest=(meant.model_id, meant.verdict) if meant else None,
    )


def _closest(model_id: str, known: Sequence[str]) -> str | None:
    """Return the dated id of which `model_id` looks like an alias, or one spelt alike."""
    stem = re.sub(r"-(?:latest|0)$", "", model_id)
    dated = [other for other in known if re.fullmatch(re.escape(stem) + r"-20\d{6}", other)]
    if dated:
        return dated[-1]
    return next(iter(difflib.get_close_matches(model_id, known, n=1, cutoff=_SPELT_ALIKE)), None)


def _line(model_id: str, records: Collection[ModelRecord]) -> str | None:
    """Return the line of a model of which the API did not say it; null where it is not certain.

    Certain is the one name of a line that stands in the id as a word, where it stands so in the id
    of a model whose line the API did say.
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


def _newest(
    line: str | None,
    than: datetime,
    records: Collection[ModelRecord],
    now: datetime,
    within: timedelta,
) -> str | None:
    """Return the newest model of a line that is fine, and was released after an instant."""
    if line is None or than.year <= _UNKNOWN_RELEASE_YEAR:
        return None
    newer = [
        record.info
        for record in records
        if record.info.line == line
        and record.info.created_at > than
        and standing(record, now, within) is Verdict.FINE
    ]
    return max(newer, key=lambda info: (info.created_at, info.id)).id if newer else None


def _day(digits: str) -> datetime | None:
    try:
        return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None
