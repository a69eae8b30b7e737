"""What people read about events and passes: pure text, the same wherever it is shown."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from catalog_sync.clock import format_instant, parse_rfc3339, to_utc
from catalog_sync.errors import one_line
from catalog_sync.records import (
    DeliveryCounts,
    Event,
    Judgement,
    Kind,
    Message,
    RunReport,
    RunStatus,
    SourceStatus,
    Standing,
    Status,
    Verdict,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

__all__ = [
    "WITH_PAYLOAD",
    "age_text",
    "capabilities",
    "capabilities_text",
    "change_texts",
    "compose",
    "deliveries_text",
    "distance_text",
    "escaped",
    "event_text",
    "past_notes",
    "problems",
    "report_text",
    "sample",
    "since_text",
    "stale_text",
    "subject",
    "value_text",
    "verdict_text",
]

_MAX_LINES = 20
"""Events that a text tells one by one; the rest is "+N more"."""

_UNKNOWN_RELEASE = "1970-01-01"
"""The day of `created_at` where the API does not know it."""
WITH_PAYLOAD = frozenset({Kind.ADDED, Kind.REMOVED, Kind.RETIRING})
"""The kinds of which `event_text` tells something that is not among the changes."""
_DATES = frozenset({"created_at", "deprecated_at", "retires_at"})

# How a kind reads alone, and how when counted; the order is that of a subject: the gravest first.
_WORDS = {
    Kind.RETIRED: ("Model retired", "retired"),
    Kind.REMOVED: ("Model removed", "removed"),
    Kind.RETIRING: ("Model retiring", "retiring soon"),
    Kind.DEPRECATED: ("Model deprecated", "deprecated"),
    Kind.ADDED: ("New model", "new"),
    Kind.RETURNED: ("Model is back", "back"),
    Kind.UPDATED: ("Model updated", "updated"),
    Kind.SCHEMA_CHANGED: ("All models changed", ""),
    Kind.SYNC_FAILED: ("Sync fails", ""),
    Kind.SYNC_HELD: ("Sync held", ""),
    Kind.SYNC_RECOVERED: ("Sync works again", ""),
}


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
        if event.kind is Kind.SCHEMA_CHANGED and sides == ["nothing", "nothing"]:
            texts.append(f"{path}: appeared")
        elif len(sides) == 2:  # noqa: PLR2004  # old and new
            texts.append(f"{path}: {sides[0]} → {sides[1]}")
        else:  # a field of the whole catalogue, on which the models differ
            texts.append(f"{path}: {'appeared' if 'old' in change else 'vanished'}")
    return texts


def event_text(event: Event) -> str:
    """Return what an event says beyond its kind and id, on one line that is never cut."""
    payload = event.payload or {}
    if event.kind in {Kind.ADDED, Kind.REMOVED}:
        text = str(payload.get("display_name", ""))
    elif event.kind is Kind.RETIRING:
        left = _days(event.changes.get("days_left", {}).get("new", 0))
        text = f"retires at {payload.get('retires_at')}, {left}"
    else:
        text = "; ".join(change_texts(event))
    return one_line(text, None)


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


def age_text(length: timedelta) -> str:
    """Return a length of time as people say it, in its largest unit: "45 min", "3 h", "2 days"."""
    seconds = abs(length).total_seconds()
    for unit, size in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < size:
            return f"{seconds:.0f} {unit}"
        seconds /= size if unit != "h" else 24
    return f"{seconds:.0f} days"


def since_text(moment: datetime, now: datetime) -> str:
    """Return how long ago something was; ahead of a clock that was set back, it says so."""
    return f"{age_text(now - moment)} {'ago' if moment <= now else 'ahead of the clock'}"


def stale_text(source: SourceStatus, now: datetime) -> str:
    """Return why a source is not fresh, with the error of its last pass if that failed."""
    last, limit = source.last_success_at, source.max_age
    if last is None or limit is None:
        text = f"source {source.name} was never synced"
    else:
        when = since_text(last, now)
        text = f"source {source.name}: last success {when}, at most {age_text(limit)} expected"
    error = source.last_run.error if source.last_run else None
    reason = (error or "").removeprefix(f"source {source.name}: ")
    return one_line(f"{text}; last error: {reason}" if error else text)


def problems(status: Status) -> list[str]:
    """Return a line for each thing that somebody should look at; empty when all is well."""
    lines = [stale_text(source, status.at) for source in status.sources if not source.fresh]
    for source in status.sources:
        if source.held and source.fresh:
            reason = source.last_run.error if source.last_run else None
            lines.append(one_line(f"a pass is held: {reason or f'source {source.name}'}"))
    if number := status.deliveries.failed:
        lines.append(f"{_count(number, 'alert')} failed; see: catalog-sync alerts list")
    return lines


def deliveries_text(counts: DeliveryCounts) -> str:
    """Return the line that says how the alerts stand."""
    return (
        f"alerts: {counts.delivered} delivered, {counts.pending} pending, {counts.failed} failed"
        + ("; see: catalog-sync alerts list" if counts.failed else "")
    )


def past_notes(as_of: datetime, now: datetime, later: Mapping[str, datetime]) -> list[str]:
    """Return what else a person must know who asks how the catalogue was.

    `later`: the sources of which nothing was recorded yet then, and when their records begin.
    """
    when = format_instant(as_of)
    notes = [
        f"source {source}: nothing was recorded yet at {when}; "
        f"its record begins at {format_instant(begin)}"
        for source, begin in later.items()
    ]
    return [*notes, f"{when} lies ahead: this is what is known now"] if as_of > now else notes


def distance_text(moment: datetime, now: datetime, *, past: str = "ago") -> str:
    """Return how far a moment is away in calendar days of UTC: "in 87 days", "421 days ago".

    `past`: what a day that is over is called.
    """
    days = (to_utc(moment).date() - to_utc(now).date()).days
    if days == 0:
        return "today"
    return f"in {_count(days, 'day')}" if days > 0 else f"{_count(-days, 'day')} {past}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def capabilities(payload: Mapping[str, Any]) -> list[str]:
    """Return the paths of what a model supports, such as "effort.high"; empty when unsaid."""
    stated = payload.get("capabilities")
    return list(_supported(stated, "")) if isinstance(stated, Mapping) else []


def capabilities_text(payload: Mapping[str, Any]) -> str:
    """Return what a model supports as a list to read: "batch, effort (high, low)"; "-" if none."""
    groups: dict[str, list[str]] = {}
    for path in capabilities(payload):
        name, _, part = path.partition(".")
        if part and name in groups:  # "thinking.types.disabled" says nothing of "thinking"
            groups[name].append(part.removeprefix("types."))
        else:
            groups[path] = []
    texts = (f"{name} ({', '.join(parts)})" if parts else name for name, parts in groups.items())
    return ", ".join(texts) or "-"


def _supported(node: Mapping[str, Any], path: str) -> list[str]:
    found = [path] if path and node.get("supported") is True else []
    for key, value in node.items():
        if isinstance(value, Mapping):
            found += _supported(value, f"{path}.{key}" if path else key)
    return found


# --- verdicts ----------------------------------------------------------------------------------


def verdict_text(judgement: Judgement, now: datetime) -> str:
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


def _closest_text(judgement: Judgement) -> str:
    text = "the catalogue never held it"
    if judgement.closest is None:
        return text
    closest, verdict = judgement.closest
    text = f"{text}; closest is {closest}"
    return text if verdict is Verdict.FINE else f"{text} ({verdict})"


def _standing_text(standing: Standing, now: datetime) -> str:
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


# --- alerts ------------------------------------------------------------------------------------


def compose(message_id: str, events: Sequence[Event], run_id: int | None) -> Message:
    """Return the message that tells of one run's events, all of one source."""
    source = events[0].source
    ordered = sorted(events, key=lambda event: list(_WORDS).index(event.kind))
    lines = [_line(event) for event in ordered[:_MAX_LINES]]
    marked = [_line(event, markdown=True) for event in ordered[:_MAX_LINES]]
    if (more := len(ordered) - _MAX_LINES) > 0:
        lines.append(f"+{more} more")
        marked.append(f"+{more} more")
    body = {
        "type": "catalog.changed",
        "timestamp": format_instant(max(event.occurred_at for event in events)),
        "data": {
            "source": source,
            "run_id": run_id,
            "events": [
                {
                    "kind": event.kind.value,
                    "model_id": event.model_id,
                    "display_name": _display_name(event),
                    "changes": event.changes,
                    "occurred_at": format_instant(event.occurred_at),
                }
                for event in events
            ],
        },
    }
    return Message(
        message_id,
        subject(ordered),
        "\n".join([*lines, f"Source: {one_line(source)}"]),
        "\n".join([*(f"- {line}" for line in marked), "", f"Source: {escaped(source)}"]),
        body,
    )


def subject(events: Sequence[Event]) -> str:
    """Return the news in a few words: "New model: Claude Opus 5 (claude-opus-5)"."""
    if len(events) == 1:
        return one_line(_headline(events[0]), 200)
    counts = Counter(event.kind for event in events)
    parts: list[str] = []
    noun = True
    for kind, (alone, counted) in _WORDS.items():
        if not counts[kind]:
            continue
        if not counted:
            parts.append(alone if not parts else alone[0].lower() + alone[1:])
            continue
        number = counts[kind]
        parts.append(f"{_count(number, 'model')} {counted}" if noun else f"{number} {counted}")
        noun = False
    return ", ".join(parts)


def sample(channel: str, now: datetime) -> Message:
    """Return the message of `alerts test`: it says that it is one."""
    text = f"This is a test of the channel {channel}: catalog-sync can reach it."
    body = {"type": "catalog.test", "timestamp": format_instant(now), "data": {"message": text}}
    return Message(f"msg_test_{uuid.uuid4().hex}", "Test of catalog-sync", text, text, body)


def _headline(event: Event) -> str:
    alone = _WORDS[event.kind][0]
    if event.model_id is not None:
        text = f"{alone}: {_named(event)}"
        days = event.changes.get("days_left", {}).get("new")
        return f"{text}, {_days(days)}" if isinstance(days, int) else text
    if event.kind is Kind.SCHEMA_CHANGED:
        return f"{alone}: {', '.join(event.changes)}"
    return f"{alone}: source {event.source}"


def _line(event: Event, *, markdown: bool = False) -> str:
    """Return all that a message says of one event, on one line."""
    marked = escaped if markdown else one_line
    alone, counted = _WORDS[event.kind]
    label = marked(_named(event)) if event.model_id is not None else alone
    words = [counted] if counted else []
    facts = ", ".join([*words, *(marked(fact) for fact in _facts(event))])
    return f"**{label}**: {facts}" if markdown else f"{label}: {facts}"


def _facts(event: Event) -> Iterator[str]:
    payload = event.payload or {}
    if event.kind is Kind.SYNC_RECOVERED:
        yield f"before: {value_text(event.changes.get('error', {}).get('old'))}"
        return
    if event.kind in {Kind.SYNC_FAILED, Kind.SYNC_HELD}:
        yield value_text(event.changes.get("error", {}).get("new"))
        return
    released = _date(payload.get("created_at"))
    if event.kind is Kind.ADDED and released != _UNKNOWN_RELEASE:
        yield f"released {released}"
    if event.kind in {Kind.DEPRECATED, Kind.RETIRING, Kind.ADDED} and payload.get("retires_at"):
        yield f"retires {_date_left(payload['retires_at'], event.occurred_at)}"
    told = {"days_left", "removed_at", "lifecycle", "deprecated_at"}
    if event.kind is Kind.UPDATED:
        told = set()
    if event.kind is Kind.DEPRECATED:
        told = told | {"retires_at"}
    changes = {
        path: _dated(path, change, event.occurred_at)
        for path, change in event.changes.items()
        if path not in told
    }
    yield from change_texts(replace(event, changes=changes))


def _dated(path: str, change: Mapping[str, Any], now: datetime) -> Mapping[str, Any]:
    """Return a change of a date as days: the time of day says nothing, unless it alone changed."""
    days = {side: value and _date(value) for side, value in change.items()}
    if path not in _DATES or len(set(days.values())) < len(days):
        return change
    if path == "retires_at" and days.get("new"):
        days["new"] = _date_left(change["new"], now)
    return days


def _named(event: Event) -> str:
    name = _display_name(event)
    return f"{name} ({event.model_id})" if name and one_line(name) else str(event.model_id)


def _display_name(event: Event) -> str | None:
    if event.model_id is None:
        return None
    name = (event.payload or {}).get("display_name")
    return name if isinstance(name, str) else None


def _date(text: Any) -> str:
    """Return the day of an RFC 3339 time of the API."""
    return str(text)[:10]


def _date_left(text: Any, now: datetime) -> str:
    try:
        days = (parse_rfc3339(str(text)).date() - now.date()).days
    except ValueError:
        return _date(text)
    return f"{_date(text)} ({_days(days)})"


def _days(days: int) -> str:
    return f"{_count(days, 'day')} left" if days >= 0 else f"{_count(-days, 'day')} overdue"


def escaped(text: str) -> str:
    """Return text that reads the same in Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", one_line(text))
