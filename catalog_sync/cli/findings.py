"""How `check` prints what it found: lines as compilers print them, annotations, JSON, SARIF.

Paths come from whoever wrote the files that are looked into, perhaps from a stranger's change: no
name of a file may forge a line, or a command of the machine that reads them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from catalog_sync._version import __version__
from catalog_sync.check import report as check_report
from catalog_sync.cli import render
from catalog_sync.clock import format_instant
from catalog_sync.domain.kinds import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from catalog_sync.check.scan import Found, Scan
    from catalog_sync.check.verdicts import ModelVerdict

__all__ = ["Finding", "annotation", "line", "shown", "summary", "to_json", "to_sarif"]

_RULES = {
    Verdict.UNKNOWN: "The catalog never held this model.",
    Verdict.DEPRECATED: "This model is deprecated.",
    Verdict.RETIRING: "This model retires soon.",
    Verdict.OVERDUE: "This model's retirement date has passed.",
    Verdict.RETIRED: "This model is retired.",
    Verdict.REMOVED: "This model is gone from the list.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A model that cannot be depended on, and where it is mentioned."""

    judgement: ModelVerdict
    found: Found | None = None
    """Null for a model that was named on the command line."""


def line(finding: Finding, now: datetime) -> str:
    """Return `path:line:column: id: verdict: why`, to which editors jump."""
    text = _text(finding.judgement, now)
    if finding.found is not None:
        place = finding.found.place
        text = f"{finding.found.path}:{place.line}:{place.column}: {text}"
    return shown(text)


def _text(judgement: ModelVerdict, now: datetime) -> str:
    return f"{judgement.model_id}: {judgement.verdict}: {check_report.verdict_text(judgement, now)}"


def shown(text: str) -> str:
    """Return a line that is no more than a line, to terminals and to GitHub's runner.

    The runner takes `::` at the beginning of a line and `##[` anywhere as its commands.
    """
    text = render.visible(text).replace("##[", "#\\x23[")
    return f"./{text}" if text.lstrip().startswith("::") else text


def summary(ids: int, ignored: int, scan: Scan | None, problems: int) -> str:
    """Return the line that says how much was looked at."""
    facts = [f"{ids} model{'' if ids == 1 else 's'} checked"]
    if ignored:
        facts.append(f"{ignored} ignored")
    if scan is not None:
        facts.append(f"{scan.files} file{'' if scan.files == 1 else 's'} scanned")
        if scan.binary:
            facts.append(f"{scan.binary} of them binary")
        if scan.unreadable:
            facts.append(f"{len(scan.unreadable)} unreadable")
    found = f"{problems} problem{'' if problems == 1 else 's'}" if problems else "no problem"
    return f"{', '.join(facts)}: {found}"


# --- GitHub Actions ----------------------------------------------------------------------------


def annotation(finding: Finding, now: datetime) -> str:
    """Return a workflow command that shows the problem beside the line of the file."""
    judgement = finding.judgement
    properties = {"title": f"Model {judgement.verdict}: {judgement.model_id}"}
    if finding.found is not None:
        place = finding.found.place
        width = len(judgement.model_id)
        properties |= {
            "file": _relative(finding.found.path) or finding.found.path,
            "line": str(place.line),
            "col": str(place.column),
            "endColumn": str(place.column + width),
        }
    named = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::error {named}::{_message(line(finding, now))}"


def _message(text: str) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return render.visible(text)


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def _relative(path: str) -> str | None:
    """Return a path as seen from the current directory; null where it does not lie below it."""
    below = Path(os.path.relpath(path))
    return None if below.parts[:1] == (os.pardir,) else below.as_posix()


# --- JSON --------------------------------------------------------------------------------------


def to_json(finding: Finding, now: datetime) -> dict[str, Any]:
    """Return all facts of a finding; what does not apply to it is null."""
    judgement = finding.judgement
    place = finding.found.place if finding.found else None
    record = judgement.standings[0].record if judgement.standings else None
    info = record.info if record else None
    return {
        "model_id": judgement.model_id,
        "verdict": judgement.verdict.value,
        "message": check_report.verdict_text(judgement, now),
        "successor": judgement.successor,
        "closest": judgement.closest and judgement.closest[0],
        "path": finding.found.path if finding.found else None,
        "line": place and place.line,
        "column": place and place.column,
        "lifecycle": info.lifecycle if info else None,
        "deprecated_at": _instant(info.deprecated_at if info else None),
        "retires_at": _instant(info.retires_at if info else None),
        "removed_at": _instant(record.removed_at if record else None),
        "sources": {one.record.source: one.verdict.value for one in judgement.standings},
    }


def _instant(moment: datetime | None) -> str | None:
    return format_instant(moment) if moment else None


# --- SARIF 2.1.0 -------------------------------------------------------------------------------


def to_sarif(
    findings: Iterable[Finding], unreadable: Iterable[tuple[str, str]], now: datetime
) -> dict[str, Any]:
    """Return a log with one run; what could not be read is a notification of the invocation."""
    rules = list(_RULES)
    driver = {"name": "catalog-sync", "version": __version__, "rules": [_rule(v) for v in rules]}
    failures = [_notification(path, reason) for path, reason in unreadable]
    run = {
        "tool": {"driver": driver},
        "columnKind": "utf16CodeUnits",
        "invocations": [
            {"executionSuccessful": not failures, "toolExecutionNotifications": failures}
        ],
        "results": [_result(finding, rules, now) for finding in findings],
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return {"$schema": schema, "version": "2.1.0", "runs": [run]}


def _rule(verdict: Verdict) -> dict[str, Any]:
    return {
        "id": f"model-{verdict}",
        "shortDescription": {"text": _RULES[verdict]},
        "defaultConfiguration": {"level": "error"},
    }


def _notification(path: str, reason: str) -> dict[str, Any]:
    return {
        "level": "error",
        "message": {"text": f"cannot be read: {reason}"},
        "locations": [{"physicalLocation": {"artifactLocation": _at(path)}}],
    }


def _result(finding: Finding, rules: Sequence[Verdict], now: datetime) -> dict[str, Any]:
    judgement = finding.judgement
    result: dict[str, Any] = {
        "ruleId": f"model-{judgement.verdict}",
        "ruleIndex": rules.index(judgement.verdict),
        "level": "error",
        "message": {"text": _text(judgement, now)},
    }
    if finding.found is not None:
        place = finding.found.place
        units = len(judgement.model_id.encode("utf-16-le")) // 2
        region = {
            "startLine": place.line,
            "startColumn": place.unit,
            "endColumn": place.unit + units,
        }
        where = {"artifactLocation": _at(finding.found.path), "region": region}
        result["locations"] = [{"physicalLocation": where}]
    return result


def _at(path: str) -> dict[str, str]:
    """Return a path as a URI: relative to the current directory, the root of the sources."""
    relative = _relative(path)
    if relative is None:
        return {"uri": Path(path).resolve().as_uri()}
    return {"uri": quote(os.fsencode(relative)), "uriBaseId": "%SRCROOT%"}
