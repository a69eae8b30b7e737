"""The models that the API listed in 2026, for a replay. The data is in `history.toml`.

The steps after the end of the record are made up, and have `Step.recorded` false.
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
_NOTICE = timedelta(days=30)
"""The time from the end of the story to the retirement date."""


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


def steps(end: datetime = _DEFAULT_END) -> tuple[Step, ...]:
    """Return the whole history, oldest first.

    Its made-up part ends at `end`, or later if the record ends too late for that.
    """
    record = _record()
    notices = [timedelta(days=step["days_before_end"]) for step in record["made_up_steps"]]
    end = max(end, record["steps"][-1]["at"] + notices[0] + timedelta(days=1))
    lifecycle_at, deprecated_at, *_ = times = [end - notice for notice in notices]
    retires_on = f"{end + _NOTICE:%Y-%m-%d}"
    deprecation = {
        "lifecycle": "deprecated",
        "deprecated_at": f"{deprecated_at:%Y-%m-%d}T00:00:00Z",
        "retires_at": f"{retires_on}T00:00:00Z",
    }

    def listed(at: datetime) -> tuple[dict[str, Any], ...]:
        models = []
        for release in record["releases"]:
            if not release.get("listed", at) <= at < release.get("left", end + _NOTICE):
                continue
            model = _recorded_object(release, at)
            if at >= lifecycle_at:
                model |= {"lifecycle": "active", "deprecated_at": None, "retires_at": None}
                model["line"] = release["line"]
            if at >= deprecated_at and release["id"] == _DEPRECATED_ID:
                model |= deprecation
            models.append(model)
        return tuple(models)

    recorded = [
        Step(step["at"], step["headline"], listed(step["at"]), "2023-06-01", recorded=True)
        for step in record["steps"]
    ]
    made_up = [
        Step(
            at,
            step["headline"].format(retires_on=retires_on),
            listed(at),
            "2026-10-21",
            recorded=False,
        )
        for at, step in zip(times, record["made_up_steps"], strict=True)
    ]
    return (*recorded, *made_up)


@cache
def _record() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("history.toml").read_text(encoding="utf-8"))


def _recorded_object(release: dict[str, Any], at: datetime) -> dict[str, Any]:
    """Return the API's object for a release, with the recorded fields that it had at a time."""
    record = _record()
    model: dict[str, Any] = {
        "type": "model",
        "id": release["id"],
        "display_name": release["display_name"],
        "created_at": f"{release['created']}T00:00:00Z",
    }
    if at < record["since"]["capabilities"]:
        return model
    supported = record["generations"][release["generation"]].split()
    capabilities: dict[str, Any] = {}
    for name, parts in record["capabilities"].items():
        leaves = {
            part: {"supported": f"{name}.{part}" in supported}
            for part in parts
            if part != "xhigh" or at >= record["since"]["xhigh"]
        }
        below = {"types": leaves} if name == "thinking" else leaves
        capabilities[name] = {"supported": name in supported, **below}
    limits = {key: release[key] for key in ("max_input_tokens", "max_tokens")}
    return {**model, **limits, "capabilities": capabilities}
