"""Verdicts: whether a project can depend on a model, decided from the records of the catalog.

A model is judged in each source, and the most severe verdict counts: a key sees only its own
workspace, so a model that left one workspace is unavailable to the users of that key.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from catalog_sync.domain import successor
from catalog_sync.domain.kinds import DEFAULT_FAIL_ON, Verdict
from catalog_sync.domain.model import ModelRecord
from catalog_sync.domain.successor import dependable, line_of, newest_of_line
from catalog_sync.text import closest


class Severity(StrEnum):
    """The meaning of a verdict for the exit code: an error fails the check."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class SourceVerdict:
    """The verdict on a model in one source that lists or listed it."""

    verdict: Verdict
    record: ModelRecord


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """The verdict on a model over all sources."""

    model_id: str
    verdict: Verdict
    """The most severe verdict of `by_source`; `unknown` if that is empty."""
    by_source: tuple[SourceVerdict, ...] = ()
    """The most severe first."""
    alias_of: str | None = None
    """The recorded id that was judged because `model_id` is its alias."""
    successor: str | None = None
    """The newest dependable model of the same line, if the model is not fine."""
    closest: tuple[str, Verdict] | None = None
    """For an unknown model: the recorded id with the most similar spelling, and its verdict."""
    older_than_record: bool = False
    """For an unknown model: whether its date is before all recorded models of its family."""


_SEVERITY = list(Verdict)
_SPELLED_ALIKE = 0.9
"""Allows one or two typing errors in twenty characters. Ids of different models differ more."""
_DATE = r"-20\d\d(?:\d{4}|-\d\d-\d\d)"
_DATED = re.compile(rf"(?P<stem>.+)(?P<date>{_DATE})", re.ASCII)
_ANY_DATE = re.compile(rf"({_DATE})(?!\d)", re.ASCII)
_ALIAS_END = re.compile(r"-(?:latest|0)$")


def aliases(model_id: str) -> tuple[str, ...]:
    """Return the aliases of a dated id: without its date, and with `-latest` or `-0` instead."""
    dated = _DATED.fullmatch(model_id)
    return (dated["stem"], f"{dated['stem']}-latest", f"{dated['stem']}-0") if dated else ()


class Verdicts:
    """Judges model ids by the records of the sources that count."""

    def __init__(
        self,
        records: Sequence[ModelRecord],
        now: datetime,
        within: timedelta,
        *,
        resolve_aliases: bool = True,
    ) -> None:
        """Index the records, which include removed models. A retirement `within` this time is near.

        `resolve_aliases` judges an alias as its model.
        """
        self._records = records
        self._now = now
        self._within = within
        self._by_id: dict[str, list[ModelRecord]] = defaultdict(list)
        self._by_alias: dict[str, list[ModelRecord]] = defaultdict(list)
        for record in records:
            self._by_id[record.info.id].append(record)
            for alias in aliases(record.info.id) if resolve_aliases else ():
                self._by_alias[alias].append(record)

    def of(self, model_id: str) -> ModelVerdict:
        """Return the verdict on an id, which may be an alias or unknown."""
        if model_id in self._by_id:
            return self._known(model_id)
        if named := self._by_alias.get(model_id):
            newest = max(named, key=lambda r: (r.listed, r.info.created_at, r.info.id)).info.id
            return replace(self._known(newest), model_id=model_id, alias_of=newest)
        return self._unknown(model_id)

    def _of_record(self, record: ModelRecord) -> Verdict:
        """Return the verdict on a model in one source. A missing model is still listed."""
        retires_at = record.info.retires_at
        if record.retired:
            return Verdict.RETIRED
        if not record.listed:
            return Verdict.REMOVED
        if retires_at is not None and retires_at <= self._now:
            return Verdict.OVERDUE
        if retires_at is not None and retires_at - self._now <= self._within:
            return Verdict.RETIRING
        return Verdict.FINE if dependable(record, self._now, self._within) else Verdict.DEPRECATED

    def _known(self, model_id: str) -> ModelVerdict:
        by_source = [SourceVerdict(self._of_record(one), one) for one in self._by_id[model_id]]
        by_source.sort(key=lambda one: (-_SEVERITY.index(one.verdict), one.record.source))
        worst, newer = by_source[0], None
        if worst.verdict is not Verdict.FINE:
            newer = successor.successor(worst.record, self._records, self._now, self._within)
        newer_id = newer.info.id if newer else None
        return ModelVerdict(model_id, worst.verdict, tuple(by_source), successor=newer_id)

    def _unknown(self, model_id: str) -> ModelVerdict:
        """Judge an id without a record: a similar recorded id, and the models released after it."""
        stem = _ALIAS_END.sub("", model_id)
        ids = sorted(self._by_id, reverse=True)  # of several dates, the latest
        alike = closest(stem, ids, {id_: id_ for id_ in ids}, likeness=_SPELLED_ALIKE)
        near = self._known(alike[0]) if alike else None
        newer = near.successor if near else None
        released_at = _date_in(model_id)
        if newer is None and released_at and (near is None or near.verdict is not Verdict.FINE):
            line = line_of(model_id, self._records)
            found = newest_of_line(line, released_at, self._records, self._now, self._within)
            newer = found.info.id if found else None
        return ModelVerdict(
            model_id,
            Verdict.UNKNOWN,
            successor=newer,
            closest=(near.model_id, near.verdict) if near else None,
            older_than_record=released_at is not None and self._is_older(model_id, released_at),
        )

    def _is_older(self, model_id: str, released_at: datetime) -> bool:
        """Whether a release is before the first recorded one of the family of an id."""
        family = model_id.partition("-")[0]
        known = [
            record.info.released_at or _date_in(record.info.id)
            for record in self._records
            if record.info.id.partition("-")[0] == family
        ]
        dates = [at for at in known if at is not None]
        return bool(dates) and released_at < min(dates)


def _date_in(model_id: str) -> datetime | None:
    found = _ANY_DATE.search(model_id)
    try:
        digits = found[1].replace("-", "") if found else ""
        return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def severity(verdict: Verdict, fail_on: Collection[str] = DEFAULT_FAIL_ON) -> Severity:
    """Return whether a verdict is an error, a warning or neither."""
    if verdict is Verdict.FINE:
        return Severity.OK
    return Severity.ERROR if verdict in fail_on else Severity.WARNING
