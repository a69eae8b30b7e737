"""What people read about events and passes: pure text, the same wherever it is shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from catalog_sync.records import Event, Kind, RunReport, RunStatus

__all__ = ["capabilities", "change_texts", "event_text", "report_text", "value_text"]


def value_text(value: Any) -> str:
    """Return a JSON value as people write it: text bare, null as "nothing", objects as JSON."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def change_texts(event: Event) -> list[str]:
    """Return a line per change, such as "display_name: Opus 5 → Claude Opus 5"."""
    texts = []
    for path, change in event.changes.items():
        sides = [value_text(change[side]) for side in ("old", "new") if side in change]
        if len(sides) == 2:  # noqa: PLR2004  # old and new
            texts.append(f"{path}: {sides[0]} → {sides[1]}")
        else:  # a field of the whole catalogue, on which the models differ
            texts.append(f"{path}: {'appeared' if 'old' in change else 'vanished'}")
    return texts


def event_text(event: Event) -> str:
    """Return what an event says beyond its kind and id, on one line."""
    if event.kind is Kind.ADDED:
        return str((event.payload or {}).get("display_name", ""))
    if event.kind is Kind.RETIRING:
        days = event.changes.get("days_left", {}).get("new")
        return f"retires at {(event.payload or {}).get('retires_at')}, {days} days left"
    if event.kind is Kind.REMOVED:
        return str((event.payload or {}).get("display_name", ""))
    return "; ".join(change_texts(event))


def report_text(report: RunReport, *, dry_run: bool = False) -> str:
    """Return the one line that sums a pass up; a failed one has its error instead."""
    if report.status is RunStatus.SKIPPED:
        return f"{report.source}: skipped, {report.error}"
    facts = [_count(report.models or 0, "model"), _count(report.pages or 0, "page")]
    if report.baseline and report.models is not None:
        recorded = "would be recorded" if dry_run else "recorded"
        facts = [
            (
                f"baseline of {_count(report.models, 'model')} {recorded}; "
                "alerts begin with the next change"
            )
        ]
    else:
        counts = Counter(event.kind.value for event in report.events if event.model_id)
        schema = [event for event in report.events if event.kind is Kind.SCHEMA_CHANGED]
        facts += [f"{number} {kind}" for kind, number in counts.items()]
        facts += [_count(len(event.changes), "field") + " changed" for event in schema]
        if not counts and not schema:
            facts.append("no change")
    if report.models is None:
        facts = ["nothing applied"]
    label = f"{report.status.value}{' (dry run, nothing written)' if dry_run else ''}"
    return f"{report.source}: {label}: {', '.join(facts)} ({report.duration.total_seconds():.2f} s)"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def capabilities(payload: Mapping[str, Any]) -> list[str]:
    """Return the paths of what a model supports, such as "effort.high"; empty when unsaid."""
    stated = payload.get("capabilities")
    return list(_supported(stated, "")) if isinstance(stated, Mapping) else []


def _supported(node: Mapping[str, Any], path: str) -> list[str]:
    found = [path] if path and node.get("supported") is True else []
    for key, value in node.items():
        if isinstance(value, Mapping):
            found += _supported(value, f"{path}.{key}" if path else key)
    return found
