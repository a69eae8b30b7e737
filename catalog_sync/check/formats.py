"""The report of `check` for GitHub Actions and as SARIF."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from catalog_sync._version import __version__
from catalog_sync.check.report import Finding, Report, printable
from catalog_sync.check.verdicts import severity
from catalog_sync.domain.kinds import Verdict
from catalog_sync.text import escape_controls, escaped

_RULES = {
    Verdict.UNKNOWN: "This model was never in the catalog.",
    Verdict.DEPRECATED: "This model is deprecated.",
    Verdict.RETIRING: "This model retires soon.",
    Verdict.OVERDUE: "This model's retirement date has passed.",
    Verdict.RETIRED: "This model is retired.",
    Verdict.REMOVED: "This model was removed from the list.",
}
_SUMMARY_ROWS = 200
"""Rows of a job summary, which GitHub limits to a mebibyte."""


def github_annotations(report: Report) -> Iterator[str]:
    """Yield a workflow command per finding, which GitHub shows at the line, and a summary."""
    for finding in report.findings:
        properties = {"title": f"Model {finding.verdict}: {finding.model_id}"}
        if (place := finding.location) is not None:
            properties |= {
                "file": _relative(place.path) or place.path,
                "line": str(place.line),
                "col": str(place.column),
                "endColumn": str(place.column + len(place.model_id)),
            }
        named = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
        yield f"::{finding.severity} {named}::{_message(finding.line)}"
    yield report.summary()


def github_summary(report: Report) -> str:
    """Return the findings as Markdown, for the page of a GitHub Actions run."""
    findings = report.findings
    parts = [f"### Models: {report.summary()}", ""]
    if findings:
        parts += ["| Severity | Model | Verdict | Why | Where |", "|---|---|---|---|---|"]
    for one in findings[:_SUMMARY_ROWS]:
        place = f"{one.location.path}:{one.location.line}" if one.location else ""
        cells = [one.severity, one.model_id, one.verdict, one.reason, place]
        parts.append(f"| {' | '.join(escaped(printable(cell)) for cell in cells)} |")
    if len(findings) > _SUMMARY_ROWS:
        parts += ["", f"and {len(findings) - _SUMMARY_ROWS} more"]
    return "\n".join([*parts, "", ""])


def sarif(report: Report) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log. Unreadable files are notifications of the invocation."""
    failures = [
        {
            "level": "error",
            "message": {"text": f"cannot be read: {reason}"},
            "locations": [{"physicalLocation": {"artifactLocation": _uri(path)}}],
        }
        for path, reason in report.scan.unreadable
    ]
    rules = [
        {
            "id": f"model-{verdict}",
            "shortDescription": {"text": text},
            "defaultConfiguration": {"level": severity(verdict, report.fail_on).value},
        }
        for verdict, text in _RULES.items()
    ]
    run = {
        "tool": {"driver": {"name": "catalog-sync", "version": __version__, "rules": rules}},
        "columnKind": "utf16CodeUnits",
        "invocations": [
            {"executionSuccessful": not failures, "toolExecutionNotifications": failures}
        ],
        "results": list(map(_sarif_result, report.findings)),
    }
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return {"$schema": schema, "version": "2.1.0", "runs": [run]}


def _sarif_result(finding: Finding) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": f"model-{finding.verdict}",
        "ruleIndex": list(_RULES).index(finding.verdict),
        "level": finding.severity.value,
        "message": {"text": finding.text},
    }
    if (place := finding.location) is not None:
        end = place.unit + len(place.model_id.encode("utf-16-le")) // 2
        region = {"startLine": place.line, "startColumn": place.unit, "endColumn": end}
        where = {"artifactLocation": _uri(place.path), "region": region}
        result["locations"] = [{"physicalLocation": where}]
    return result


def _message(text: str) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return escape_controls(text)


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def _relative(path: str) -> str | None:
    """Return a path relative to the current directory, or None if it is not below it."""
    below = Path(os.path.relpath(path))
    return None if below.parts[:1] == (os.pardir,) else below.as_posix()


def _uri(path: str) -> dict[str, str]:
    """Return a path as a URI, relative to the current directory, which is the source root."""
    relative = _relative(path)
    if relative is None:
        return {"uri": Path(path).resolve().as_uri()}
    return {"uri": quote(os.fsencode(relative)), "uriBaseId": "%SRCROOT%"}
