"""What the Models API listed in 2026, day by day, as data for a replay.

Recorded, by public trackers of the list, are the models, their names and release dates, the days
on which they were first and last listed, and the days on which fields appeared. Merely typical are
the values of those fields: which capability a model has, and how many tokens it takes. Made up,
and marked so by `Moment.recorded`, is what follows the record's end: it shows the lifecycle fields,
which are younger than the record.

This module never reads a clock, a file or a socket, and never infers anything from an id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

__all__ = ["Moment", "moments"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One pass of the replay: what a source that asks at this instant is answered."""

    at: datetime
    """When the source asks, UTC. To the minute where the record is, else at 18:00."""
    headline: str
    """What happened in the world since the moment before, in one sentence without a full stop."""
    models: tuple[dict[str, Any], ...]
    """The objects that the API lists then, newest first, with the fields that it had then."""
    anthropic_version: str
    """The `anthropic-version` that the source sends."""
    recorded: bool
    """Whether it happened. False: made up, to show the lifecycle fields."""


def moments() -> tuple[Moment, ...]:
    """Tell the whole history, oldest first; each call builds its own objects."""
    return tuple(
        Moment(
            at=at,
            headline=headline,
            models=tuple(_object(r, at) for r in _RELEASES if _is_listed(r, at)),
            anthropic_version="2023-06-01" if at < _LIFECYCLE_AT else "2026-10-21",
            recorded=at < _LIFECYCLE_AT,
        )
        for at, headline in sorted(_headlines().items())
    )


def _instant(text: str) -> datetime:
    """Read an instant, or a day of which no hour is known."""
    return datetime.fromisoformat(text if "T" in text else f"{text}T18:00Z")


_BASELINE_AT = _instant("2026-02-01")
_CAPABILITIES_AT = _instant("2026-03-18")
_XHIGH_AT = _instant("2026-05-31")

# Made up from here on. Counted back from the retirement date, 90 days ahead is 2026-11-21 and 30
# days ahead is 2027-01-20: each reminder's moment is hours after its threshold and past no other.
_LIFECYCLE_AT = _instant("2026-10-21")
_DEPRECATION_AT = _instant("2026-11-10")
_REMINDER_90_AT = _instant("2026-11-21")
_REMINDER_30_AT = _instant("2027-01-20")
_DEPRECATED_ID = "claude-sonnet-4-5-20250929"
_DEPRECATED_ON = "2026-11-10"
_RETIRES_ON = "2027-02-19"

_CAPABILITIES: dict[str, tuple[str, ...]] = {
    "batch": (),
    "citations": (),
    "code_execution": (),
    "context_management": (
        "clear_thinking_20251015",
        "clear_tool_uses_20250919",
        "compact_20260112",
    ),
    "effort": ("high", "low", "max", "medium", "xhigh"),
    "image_input": (),
    "pdf_input": (),
    "server_tools": ("code_execution", "web_search"),
    "structured_outputs": (),
    "thinking": ("adaptive", "between_tools", "disabled", "enabled"),
}
"""The capabilities and their parts, as the API nests them; the parts of thinking are its types."""


def _able(paths: str) -> frozenset[str]:
    return frozenset(paths.split())


# What each generation adds. `thinking.disabled` means that thinking can be left off, so it is true
# of a model that cannot think.
_CLAUDE_3 = _able("batch image_input thinking.disabled")
_CLAUDE_4 = _CLAUDE_3 | _able(
    "citations pdf_input server_tools server_tools.code_execution server_tools.web_search"
    " context_management context_management.clear_thinking_20251015"
    " context_management.clear_tool_uses_20250919 thinking thinking.enabled"
)
_CLAUDE_4_5 = _CLAUDE_4 | _able("code_execution structured_outputs")
_OPUS_4_5 = _CLAUDE_4_5 | _able("effort effort.low effort.medium effort.high")
_CLAUDE_4_6 = _OPUS_4_5 | _able("effort.max context_management.compact_20260112 thinking.adaptive")
_CLAUDE_4_7 = (_CLAUDE_4_6 | _able("effort.xhigh")) - _able("thinking.enabled")
_CLAUDE_5 = _CLAUDE_4_7 | _able("thinking.between_tools")

_GENERATIONS = {
    "3": _CLAUDE_3,
    "4": _CLAUDE_4,
    "4.5": _CLAUDE_4_5,
    "opus 4.5": _OPUS_4_5,
    "4.6": _CLAUDE_4_6,
    "4.7": _CLAUDE_4_7,
    "5": _CLAUDE_5,
}

# Newest first, as the API lists them. No date in `listed`: before the record; in `left`: still is.
# id | display_name | created | listed | left | line | max_input_tokens | max_tokens | generation
_RECORD = """
claude-opus-5              | Claude Opus 5     | 2026-07-24 | 2026-07-24 |                   | opus   | 1000000 | 128000 | 5
claude-sonnet-5            | Claude Sonnet 5   | 2026-06-29 | 2026-06-30 |                   | sonnet | 1000000 | 128000 | 5
claude-fable-5             | Claude Fable 5    | 2026-06-07 | 2026-06-09 |                   | fable  | 1000000 | 128000 | 5
claude-opus-4-8            | Claude Opus 4.8   | 2026-05-28 | 2026-05-28 |                   | opus   | 1000000 | 128000 | 4.7
claude-opus-4-7            | Claude Opus 4.7   | 2026-04-14 | 2026-04-16 |                   | opus   | 1000000 | 128000 | 4.7
claude-sonnet-4-6          | Claude Sonnet 4.6 | 2026-02-17 | 2026-02-17 |                   | sonnet | 1000000 | 128000 | 4.6
claude-opus-4-6            | Claude Opus 4.6   | 2026-02-04 | 2026-02-05 |                   | opus   | 1000000 | 128000 | 4.6
claude-opus-4-5-20251101   | Claude Opus 4.5   | 2025-11-24 |            |                   | opus   |  200000 |  64000 | opus 4.5
claude-haiku-4-5-20251001  | Claude Haiku 4.5  | 2025-10-15 |            |                   | haiku  |  200000 |  64000 | 4.5
claude-sonnet-4-5-20250929 | Claude Sonnet 4.5 | 2025-09-29 |            |                   | sonnet | 1000000 |  64000 | 4.5
claude-opus-4-1-20250805   | Claude Opus 4.1   | 2025-08-05 |            | 2026-08-05        | opus   |  200000 |  32000 | 4
claude-opus-4-20250514     | Claude Opus 4     | 2025-05-22 |            | 2026-06-15T17:52Z | opus   |  200000 |  32000 | 4
claude-sonnet-4-20250514   | Claude Sonnet 4   | 2025-05-22 |            | 2026-06-15T17:53Z | sonnet | 1000000 |  64000 | 4
claude-3-haiku-20240307    | Claude Haiku 3    | 2024-03-07 |            | 2026-04-20        | haiku  |  200000 |   4096 | 3
"""  # noqa: E501  (a table is read by its columns)


@dataclass(frozen=True, slots=True)
class _Release:
    """One row of the record."""

    id: str
    display_name: str
    created_on: date
    """The API gave midnight UTC of it."""
    listed_at: datetime | None
    """When it was first listed; null: before the record."""
    left_at: datetime | None
    """When it was no longer listed; null: it still is."""
    line: str
    max_input_tokens: int
    max_tokens: int
    abilities: frozenset[str]
    """The capabilities, and their parts after a dot, that are supported."""


def _release(row: str) -> _Release:
    model_id, name, created, listed, left, line, max_input, max_output, generation = (
        cell.strip() for cell in row.split("|")
    )
    return _Release(
        id=model_id,
        display_name=name,
        created_on=date.fromisoformat(created),
        listed_at=_instant(listed) if listed else None,
        left_at=_instant(left) if left else None,
        line=line,
        max_input_tokens=int(max_input),
        max_tokens=int(max_output),
        abilities=_GENERATIONS[generation],
    )


_RELEASES = tuple(_release(row) for row in _RECORD.strip().splitlines())


def _is_listed(release: _Release, at: datetime) -> bool:
    return (release.listed_at is None or release.listed_at <= at) and (
        release.left_at is None or at < release.left_at
    )


def _headlines() -> dict[datetime, str]:
    """What happened, by the instant at which the list first shows it."""
    told = {
        _BASELINE_AT: "The record begins with seven models",
        _CAPABILITIES_AT: "Capabilities and token limits appear on every model",
        _XHIGH_AT: "The effort level xhigh appears on every model",
        _LIFECYCLE_AT: "A newer version of the API tells each model's lifecycle and line",
        _DEPRECATION_AT: f"Claude Sonnet 4.5 is deprecated and will retire on {_RETIRES_ON}",
        _REMINDER_90_AT: "The reminder of 90 days before Claude Sonnet 4.5 retires is due",
        _REMINDER_30_AT: "The reminder of 30 days before Claude Sonnet 4.5 retires is due",
    }
    for release in _RELEASES:
        if release.listed_at is not None:
            days = (release.listed_at.date() - release.created_on).days
            after = ("on", "a day after", "two days after")[days]
            told[release.listed_at] = f"{release.display_name} is listed, {after} its release date"
        if release.left_at is not None:
            told[release.left_at] = f"{release.display_name} leaves the list"
    return told


def _object(release: _Release, at: datetime) -> dict[str, Any]:
    """Build the API's object for `release`, with the fields that it had at that instant."""
    model: dict[str, Any] = {
        "type": "model",
        "id": release.id,
        "display_name": release.display_name,
        "created_at": f"{release.created_on}T00:00:00Z",
    }
    if at >= _CAPABILITIES_AT:
        model |= {
            "max_input_tokens": release.max_input_tokens,
            "max_tokens": release.max_tokens,
            "capabilities": _capabilities(release.abilities, at),
        }
    if at >= _LIFECYCLE_AT:
        deprecated = release.id == _DEPRECATED_ID and at >= _DEPRECATION_AT
        model |= {
            "lifecycle": "deprecated" if deprecated else "active",
            "deprecated_at": f"{_DEPRECATED_ON}T00:00:00Z" if deprecated else None,
            "retires_at": f"{_RETIRES_ON}T00:00:00Z" if deprecated else None,
            "line": release.line,
        }
    return model


def _capabilities(abilities: frozenset[str], at: datetime) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, parts in _CAPABILITIES.items():
        leaves = {
            part: {"supported": f"{name}.{part}" in abilities}
            for part in parts
            if part != "xhigh" or at >= _XHIGH_AT
        }
        below = {"types": leaves} if name == "thinking" else leaves
        tree[name] = {"supported": name in abilities, **below}
    return tree
