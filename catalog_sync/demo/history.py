"""The models that the API listed in 2026, for a replay. The record is `history.toml`.

The steps after the end of the record are made up, and have `Step.recorded` false. They show the
lifecycle fields, which are newer than the record.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

_DEPRECATED_ID = "claude-sonnet-4-5-20250929"
_DEFAULT_END = datetime(2027, 1, 20, 18, tzinfo=UTC)
# Days before the end of the story.
_LIFECYCLE_DAYS, _DEPRECATION_DAYS, _REMINDER_DAYS = 91, 71, 60
_NOTICE_DAYS = 30
"""Days from the end of the story to the retirement date."""


@dataclass(frozen=True, slots=True)
class Step:
    """One run of the replay: the time, and the API's answer."""

    at: datetime
    """The time of the run in UTC: to the minute if the record has it, otherwise 18:00."""
    headline: str
    """What happened since the previous step, in one sentence without a full stop."""
    models: tuple[dict[str, Any], ...]
    """The objects that the API listed, newest first, with the fields that it had then."""
    anthropic_version: str
    """The `anthropic-version` that the source sends."""
    recorded: bool
    """Whether it really happened, or is made up."""


@dataclass(frozen=True, slots=True)
class _Invented:
    """The times of the made-up part."""

    lifecycle_at: datetime
    deprecated_at: datetime
    reminder_at: datetime
    end_at: datetime
    retires_on: str


def _invented(end: datetime) -> _Invented:
    """Return the times of a replay that ends at `end`, or later if the record ends too late."""
    record_end = max(
        _time(release["left"]) for release in _record()["releases"] if "left" in release
    )
    end = max(end, record_end + timedelta(days=_LIFECYCLE_DAYS + 1))
    days = (_LIFECYCLE_DAYS, _DEPRECATION_DAYS, _REMINDER_DAYS)
    lifecycle_at, deprecated_at, reminder_at = (end - timedelta(days=before) for before in days)
    retires_on = f"{end + timedelta(days=_NOTICE_DAYS):%Y-%m-%d}"
    return _Invented(lifecycle_at, deprecated_at, reminder_at, end, retires_on)


def steps(end: datetime = _DEFAULT_END) -> tuple[Step, ...]:
    """Return the whole history, oldest first; its made-up part ends at `end`."""
    invented = _invented(end)
    return tuple(
        Step(
            at=at,
            headline=headline,
            models=tuple(
                _object(release, at, invented)
                for release in _record()["releases"]
                if _is_listed(release, at)
            ),
            anthropic_version="2023-06-01" if at < invented.lifecycle_at else "2026-10-21",
            recorded=at < invented.lifecycle_at,
        )
        for at, headline in sorted(_headlines(invented).items())
    )


@cache
def _record() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("history.toml").read_text(encoding="utf-8"))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text if "T" in text else f"{text}T18:00Z")


def _is_listed(release: dict[str, Any], at: datetime) -> bool:
    listed, left = release.get("listed"), release.get("left")
    return (not listed or _time(listed) <= at) and (not left or at < _time(left))


def _headlines(invented: _Invented) -> dict[datetime, str]:
    """Return what happened, by the time of the first list that shows it."""
    catalog = _record()["catalog"]
    retires = "before Claude Sonnet 4.5 retires is due"
    found = {
        _time(catalog["baseline"]): "The record begins with seven models",
        _time(catalog["capabilities"]): "Capabilities and token limits appear on every model",
        _time(catalog["xhigh"]): "The effort level xhigh appears on every model",
        invented.lifecycle_at: "A newer version of the API gives each model's lifecycle and line",
        invented.deprecated_at: "Claude Sonnet 4.5 is deprecated and will retire on "
        f"{invented.retires_on}",
        invented.reminder_at: f"The reminder of 90 days {retires}",
        invented.end_at: f"The reminder of {_NOTICE_DAYS} days {retires}",
    }
    for release in _record()["releases"]:
        name = release["display_name"]
        if "listed" in release:
            listed_at = _time(release["listed"])
            days = (listed_at.date() - datetime.fromisoformat(release["created"]).date()).days
            after = ("on", "a day after", "two days after")[days]
            found[listed_at] = f"{name} is listed, {after} its release date"
        if "left" in release:
            found[_time(release["left"])] = f"{name} leaves the list"
    return found


def _object(release: dict[str, Any], at: datetime, invented: _Invented) -> dict[str, Any]:
    """Return the API's object for a release, with the fields that it had at a time."""
    model: dict[str, Any] = {
        "type": "model",
        "id": release["id"],
        "display_name": release["display_name"],
        "created_at": f"{release['created']}T00:00:00Z",
    }
    catalog = _record()["catalog"]
    if at >= _time(catalog["capabilities"]):
        model |= {key: release[key] for key in ("max_input_tokens", "max_tokens")}
        supported = set(_record()["generations"][release["generation"]].split())
        model["capabilities"] = _capabilities(supported, xhigh=at >= _time(catalog["xhigh"]))
    if at >= invented.lifecycle_at:
        deprecated = release["id"] == _DEPRECATED_ID and at >= invented.deprecated_at
        model |= {
            "lifecycle": "deprecated" if deprecated else "active",
            "deprecated_at": f"{invented.deprecated_at:%Y-%m-%d}T00:00:00Z" if deprecated else None,
            "retires_at": f"{invented.retires_on}T00:00:00Z" if deprecated else None,
            "line": release["line"],
        }
    return model


def _capabilities(supported: set[str], *, xhigh: bool) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, parts in _record()["capabilities"].items():
        leaves = {
            part: {"supported": f"{name}.{part}" in supported}
            for part in parts
            if part != "xhigh" or xhigh
        }
        below = {"types": leaves} if name == "thinking" else leaves
        tree[name] = {"supported": name in supported, **below}
    return tree
