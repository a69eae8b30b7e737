"""The health of the sync, read with a constant number of statements, and its problems as text.

`status`, /healthz and the metrics all use `SourceHealth`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import and_

from catalog_sync.config.settings import Settings
from catalog_sync.db import outbox
from catalog_sync.db import state as db_state
from catalog_sync.db.schema import models
from catalog_sync.domain.guard import CLOCK_WARNING, named
from catalog_sync.domain.kinds import ENDED, RunStatus
from catalog_sync.queries.export import row
from catalog_sync.text import age_text, count, one_line, since_text


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """The health of one source."""

    name: str
    configured: bool = True
    last_success_at: datetime | None = None
    """When a run was last applied; None before the first."""
    max_age: timedelta | None = None
    """How old that may become."""
    fresh: bool = False
    held: bool = False
    """Whether a run waits for a person."""
    held_reason: str | None = None
    held_models: tuple[str, ...] = ()
    """Ids whose removal waits, sorted; empty when another identity answered."""
    last_attempt_at: datetime | None = None
    """When the last ended run began. Stopped runs do not count."""
    last_duration: timedelta | None = None
    """How long that run took, by the host's clock."""
    last_error: str | None = None
    """Why that run failed. None if it did not."""
    error_code: str | None = None
    clock_offset_seconds: int | None = None
    """The host's clock minus the API's at the last run; None when unknown."""

    @property
    def problem(self) -> str | None:
        """The code for why the source is not fresh; None if it is."""
        if self.fresh:
            return None
        return "never_synced" if self.last_success_at is None else "stale"

    def to_json(self) -> dict[str, Any]:
        """Return the source's object of `status --json`."""
        return {**row(_JSON_FIELDS, self), "held_models": list(self.held_models)}


_JSON_FIELDS = (
    "name", "configured", "last_success_at", "fresh", "held", "held_reason", "held_models",
    "last_attempt_at", "last_error",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Status:
    """The health of all sources and of the alerts."""

    at: datetime
    sources: tuple[SourceHealth, ...]
    """The configured ones in the configuration's order, then the others by name."""
    pending: Mapping[str, int] = field(default_factory=dict)
    """Pending deliveries by channel."""
    failed: Mapping[str, int] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    """The configured channels."""

    @property
    def configured(self) -> tuple[SourceHealth, ...]:
        """The sources of the configuration."""
        return tuple(source for source in self.sources if source.configured)

    @property
    def fresh(self) -> bool:
        """Whether every configured source is fresh."""
        return all(source.fresh for source in self.configured)

    @property
    def ok(self) -> bool:
        """Whether nothing needs attention: all fresh, none held, no alert failed."""
        held = any(source.held for source in self.configured)
        return self.fresh and not held and not any(map(self.failed.get, self.channels))

    def to_json(self, database: str, config: str | None) -> dict[str, Any]:
        """Return the object that `status --json` prints."""
        return {
            "ok": self.ok,
            "database": database,
            "config": config,
            "sources": [source.to_json() for source in self.sources],
            "deliveries": {
                "pending": sum(self.pending.values()),
                "failed": sum(self.failed.values()),
            },
        }

    def healthz(self) -> dict[str, Any]:
        """Return the object for /healthz: only codes, no texts of hosts, users or the API."""
        stale = [source for source in self.configured if not source.fresh]
        return {
            "ok": self.fresh,
            "reason": "; ".join(f"source {each.name}: {each.problem}" for each in stale) or None,
            "sources": [
                {
                    "name": source.name,
                    "ok": source.fresh,
                    "reason": source.problem,
                    "held": source.held,
                    "last_error": source.error_code,
                }
                for source in self.configured
            ],
        }


def status(
    connection: sa.Connection,
    settings: Settings,
    now: datetime,
    max_age: timedelta | None = None,
) -> Status:
    """Return the health of each source and of the alerts; `max_age` overrides the settings."""
    runs = db_state.last_runs(connection)
    recorded = {source.name: source for source in db_state.select_sources(connection)}
    walks = {name: _last(runs[name], RunStatus.SUCCEEDED, RunStatus.HELD) for name in recorded}
    # A run held for another identity has no `models`, and no removals wait.
    held = [name for name, walk in walks.items() if _is_held(walk) and walk.models is not None]
    waiting = _missing_models(connection, held)
    configured = {source.name: source for source in settings.sources}
    healths = []
    for name in [*configured, *sorted(recorded.keys() - configured.keys())]:
        health = SourceHealth(name, name in configured)
        if record := recorded.get(name):
            at = _success_time(record.last_synced_at, runs[name], now)
            source = configured.get(name, settings.sources[0])
            limit = at and (max_age or settings.max_age_of(source, at))
            health = replace(
                health,
                last_success_at=at,
                max_age=limit,
                # A time far in the future was written before the clock was set back.
                fresh=at is not None and limit is not None and abs(now - at) <= limit,
                held_models=waiting.get(name, ()),
                clock_offset_seconds=record.clock_offset_seconds,
                **_attempt(name, walks[name], _last(runs[name], *ENDED)),
            )
        healths.append(health)
    unsent = outbox.unsent(connection)
    channels = tuple(alert.name for alert in settings.alerts)
    return Status(now, tuple(healths), unsent.pending, unsent.failed, channels)


def _attempt(name: str, walk: Any, last: Any) -> dict[str, Any]:
    """Return what the last walk and the last run of a source tell about its health."""
    held, failed = _is_held(walk), last is not None and last.status == RunStatus.FAILED
    return {
        "held": held,
        "held_reason": _reason(name, walk.error) if held else None,
        "last_attempt_at": last and last.started_at,
        "last_duration": last and max(last.finished_at - last.started_at, timedelta()),
        "last_error": _reason(name, last.error) if failed else None,
        "error_code": last.error_code if failed else None,
    }


def _last(runs: Sequence[Any], *statuses: RunStatus) -> Any:
    ended = (run for run in runs if run.status in statuses)
    return max(ended, key=lambda run: run.number, default=None)


def _is_held(walk: Any) -> bool:
    return walk is not None and walk.status == RunStatus.HELD


def _missing_models(connection: sa.Connection, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the ids of the missing models of the sources, sorted, by source."""
    missing = and_(models.c.missing_since.is_not(None), models.c.removed_at.is_(None))
    ids = sa.select(models.c.source, models.c.id).where(models.c.source.in_(names), missing)
    found = groupby(sorted(connection.execute(ids).all()), key=itemgetter(0))
    return {source: tuple(model_id for _, model_id in rows) for source, rows in found}


def _success_time(synced_at: datetime | None, runs: Sequence[Any], now: datetime) -> Any:
    """Return the time of the last success.

    Recorded times never decrease. If the clock was set back and the recorded time is in the future,
    the start of the run counts, which is never adjusted.
    """
    run = _last(runs, RunStatus.SUCCEEDED)
    if synced_at is None or synced_at <= now or run is None or run.started_at > now:
        return synced_at
    return run.started_at


def _reason(source: str, error: str | None) -> str | None:
    """Return a run's error without the name of its source."""
    return error and error.removeprefix(f"source {source}: ")


# --- text ----------------------------------------------------------------------------------------


def stale_text(source: SourceHealth, now: datetime) -> str:
    """Return why a source is not fresh, with its last error."""
    last, limit = source.last_success_at, source.max_age
    if last is None or limit is None:
        text = f"source {source.name} was never synced"
    else:
        when = since_text(last, now)
        text = f"source {source.name}: last success {when}, at most {age_text(limit)} expected"
    return one_line(f"{text}; last error: {source.last_error}" if source.last_error else text)


def held_text(source: SourceHealth) -> str:
    """Return why a run is held, and the first models whose removal waits."""
    reason = source.held_reason or "a run is held"
    ids = source.held_models
    if ids and ids[0] not in reason:
        reason = f"{count(len(ids), 'model')} missing: {named(ids)}; {reason}"
    return one_line(f"a run is held: source {source.name}: {reason}")


def clock_text(source: SourceHealth) -> str | None:
    """Return the difference between the host's clock and the API's, or None if it is small."""
    offset = timedelta(seconds=source.clock_offset_seconds or 0)
    if abs(offset) <= CLOCK_WARNING:
        return None
    side = "ahead of" if offset > timedelta() else "behind"
    return f"source {source.name}: this host's clock is {age_text(offset)} {side} the API's"


def problems(status: Status) -> list[str]:
    """Return a line for each problem that needs attention."""
    lines = []
    for source in status.configured:
        if not source.fresh:
            stale = stale_text(source, status.at)
            never = source.last_success_at is None and source.last_error is None
            lines.append(f"{stale}; run: catalog-sync sync" if never else stale)
        if source.held:
            lines.append(held_text(source))
        if text := clock_text(source):
            lines.append(text)
    for channel, number in sorted(status.failed.items()):
        if channel in status.channels:
            failed = f"channel {channel}: {count(number, 'alert')} failed"
            lines.append(f"{failed}; see: catalog-sync alerts list")
    return lines
