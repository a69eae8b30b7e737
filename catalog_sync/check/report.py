"""The report of `check`, as text and JSON.

File names may come from untrusted authors. They must not forge a line or a command of a program
that reads the report.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from catalog_sync.check.scan import Location, Scan
from catalog_sync.check.verdicts import ModelVerdict, Severity, SourceVerdict, severity
from catalog_sync.clock import to_utc
from catalog_sync.domain.event_text import date_text
from catalog_sync.domain.kinds import Verdict
from catalog_sync.queries import export
from catalog_sync.text import count, escape_controls

_OLDER = (
    'older models are recorded when a source sets lifecycle = ["active", "deprecated", "retired"]'
)
_RECORD_COLUMNS = ("lifecycle", "deprecated_at", "retires_at", "missing_since", "removed_at")
"""The columns of the model's row that the JSON contains."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on a model, at one location."""

    model_id: str
    verdict: Verdict
    severity: Severity
    reason: str
    location: Location | None = None
    """None for a model that was named on the command line."""

    @property
    def text(self) -> str:
        """`id: verdict: reason`, with "[warning]" for a warning."""
        text = f"{self.model_id}: {self.verdict}: {self.reason}"
        return f"{text} [warning]" if self.severity is Severity.WARNING else text

    @property
    def line(self) -> str:
        """The text in the format of compilers, which editors understand."""
        place = self.location
        where = f"{place.path}:{place.line}:{place.column}: " if place else ""
        return printable(where + self.text)


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a check."""

    verdicts: Mapping[str, ModelVerdict]
    """By model id: first the named models, then the found ones."""
    named: Sequence[str]
    now: datetime
    fail_on: Collection[str]
    scan: Scan = field(default_factory=Scan)
    scanned: bool = False
    ignored: int = 0
    """The number of ignored ids."""

    @property
    def findings(self) -> list[Finding]:
        """The models that are not fine: the named ones, then one finding per location in files."""
        places: list[tuple[str, Location | None]] = [(model_id, None) for model_id in self.named]
        places += [(one.model_id, one) for one in self.scan.found]
        return [
            self._finding(verdict, place)
            for model_id, place in places
            if (verdict := self.verdicts.get(model_id)) and verdict.verdict is not Verdict.FINE
        ]

    def _finding(self, verdict: ModelVerdict, place: Location | None = None) -> Finding:
        level, reason = severity(verdict.verdict, self.fail_on), verdict_text(verdict, self.now)
        return Finding(verdict.model_id, verdict.verdict, level, reason, place)

    @property
    def failed(self) -> bool:
        """Whether the check fails: an error, or a file that could not be read."""
        errors = any(one.severity is Severity.ERROR for one in self.findings)
        return errors or bool(self.scan.unreadable)

    def lines(self) -> Iterator[str]:
        """Yield a line per finding, and a summary. A named alias has a line even if it is fine."""
        for model_id in self.named:
            verdict = self.verdicts.get(model_id)
            if verdict and verdict.alias_of and verdict.verdict is Verdict.FINE:
                yield self._finding(verdict).line
        yield from (finding.line for finding in self.findings)
        yield self.summary()

    def summary(self) -> str:
        """Return a line with the numbers of models, files and findings."""
        facts = [f"{count(len(self.verdicts), 'model')} checked"]
        if self.ignored:
            facts.append(f"{self.ignored} ignored")
        if self.scanned:
            facts.append(f"{count(self.scan.files, 'file')} scanned")
        if self.scan.unreadable:
            facts.append(f"{len(self.scan.unreadable)} unreadable")
        severities = [one.severity for one in self.findings]
        problems = severities.count(Severity.ERROR)
        result = count(problems, "problem") if problems else "no problem"
        if warnings := severities.count(Severity.WARNING):
            result += f", {count(warnings, 'warning')}"
        return f"{', '.join(facts)}: {result}"

    def to_json(self) -> list[dict[str, Any]]:
        """Return an object per checked model, fine ones included."""
        places: dict[str, list[dict[str, Any]]] = {model_id: [] for model_id in self.verdicts}
        for one in self.scan.found:
            if one.model_id in places:
                place = {"path": one.path, "line": one.line, "column": one.column}
                places[one.model_id].append(place)
        return [self._entry(self.verdicts[id_], found) for id_, found in places.items()]

    def _entry(self, verdict: ModelVerdict, locations: Sequence[dict[str, Any]]) -> dict[str, Any]:
        worst = export.model_row(verdict.by_source[0].record) if verdict.by_source else {}
        return {
            "model_id": verdict.model_id,
            "verdict": verdict.verdict.value,
            "severity": severity(verdict.verdict, self.fail_on).value,
            "message": verdict_text(verdict, self.now),
            "alias_of": verdict.alias_of,
            "successor": verdict.successor,
            "closest": verdict.closest and verdict.closest[0],
            **(locations[0] if locations else dict.fromkeys(("path", "line", "column"))),
            "locations": locations,
            **{name: worst.get(name) for name in _RECORD_COLUMNS},
            "sources": {one.record.source: one.verdict.value for one in verdict.by_source},
        }


def verdict_text(verdict: ModelVerdict, now: datetime) -> str:
    """Return the reason for a verdict on one line, with the dates and the successor."""
    facts = [f"alias of {verdict.alias_of}"] if verdict.alias_of else []
    if verdict.by_source:
        worst, *others = verdict.by_source
        where = f"source {worst.record.source}: " if others else ""
        if text := _record_text(worst, now):
            facts.append(where + text)
        fine = [one.record.source for one in others if one.verdict is Verdict.FINE]
        facts += [f"fine in {', '.join(fine)}"] if fine else []
    else:
        facts.append("not in the catalog")
        if verdict.closest is not None:
            closest, state = verdict.closest
            suffix = "" if state is Verdict.FINE else f" ({state})"
            facts.append(f"closest is {closest}{suffix}")
        facts += [_OLDER] if verdict.older_than_record else []
    if verdict.successor is not None:
        facts.append(f"successor: {verdict.successor}")
    return escape_controls("; ".join(facts))


def _record_text(one: SourceVerdict, now: datetime) -> str:
    """Return the facts about a model in one source; "" if it is fine and not missing."""
    record, info = one.record, one.record.info
    if record.removed_at is not None:
        return f"gone from the list since {date_text(record.removed_at)}"
    facts = []
    if one.verdict is Verdict.RETIRED:
        facts.append(
            f"retirement date {date_text(info.retires_at)}" if info.retires_at else "no date"
        )
    elif one.verdict is not Verdict.FINE:
        if info.lifecycle == "deprecated":
            word = "" if one.verdict is Verdict.DEPRECATED else "deprecated "
            since = f"since {date_text(info.deprecated_at)}" if info.deprecated_at else ""
            facts += [f"{word}{since}".strip()] if word or since else []
        facts.append(_retirement_text(one, now))
    if record.missing_since is not None:
        facts.append(
            f"missing from the list since {date_text(record.missing_since)}, not confirmed"
        )
    return ", ".join(facts)


def _retirement_text(one: SourceVerdict, now: datetime) -> str:
    retires_at = one.record.info.retires_at
    if retires_at is None:
        return "no retirement date yet"
    days = (to_utc(retires_at).date() - to_utc(now).date()).days
    if one.verdict is Verdict.OVERDUE:
        late = f" ({count(-days, 'day')} overdue)" if days else ""
        return f"was to retire {date_text(retires_at)}{late}"
    return f"retires {date_text(retires_at)} ({count(days, 'day')} left)"


def printable(text: str) -> str:
    """Return text on one line without commands for a terminal or for GitHub's runner.

    The runner reads `::` at the beginning of a line and `##[` anywhere as its commands.
    """
    text = escape_controls(text).replace("##[", "#\\x23[")
    return f"./{text}" if text.lstrip().startswith("::") else text
