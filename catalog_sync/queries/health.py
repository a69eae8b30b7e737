"""The health of the sync: what `status`, /healthz and the metrics answer from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from catalog_sync.clock import format_instant
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import outbox
from catalog_sync.db import runs as db_runs
from catalog_sync.domain.kinds import ENDED, RunStatus
from catalog_sync.text import _count, age_text, one_line, since_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from sqlalchemy import Connection

    from catalog_sync.db.outbox import DeliveryCounts
    from catalog_sync.db.runs import RunRecord


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How fresh a source is."""

    name: str
    last_success_at: datetime | None = None
    """The last pass that was applied; null before the first."""
    max_age: timedelta | None = None
    """How old that may be; null before the first."""
    fresh: bool = False
    held: bool = False
    """Whether a pass waits for a person."""
    last_run: RunRecord | None = None
    """The last one that ended and was not skipped; null when there was none."""


@dataclass(frozen=True, slots=True)
class Status:
    """Whether the sync is alive: what `status`, /healthz and the metrics answer from."""

    at: datetime
    sources: tuple[SourceStatus, ...]
    deliveries: DeliveryCounts

    @property
    def fresh(self) -> bool:
        """Whether every source is."""
        return all(source.fresh for source in self.sources)

    @property
    def ok(self) -> bool:
        """Whether nobody need look: all fresh, none held, no alert failed."""
        held = any(source.held for source in self.sources)
        return self.fresh and not held and not self.deliveries.failed

    def to_json(self) -> dict[str, Any]:
        """Return the object that `status --json` prints."""
        return {
            "ok": self.ok,
            "sources": [
                {
                    "name": source.name,
                    "last_success_at": source.last_success_at
                    and format_instant(source.last_success_at),
                    "fresh": source.fresh,
                    "held": source.held,
                }
                for source in self.sources
            ],
            "deliveries": {"pending": self.deliveries.pending, "failed": self.deliveries.failed},
        }


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """How one source stands, as its metrics tell it."""

    status: SourceStatus
    runs: Mapping[str, int] = field(default_factory=dict)
    """Passes by `status`; what is not named has none, here and below."""
    models: Mapping[str, int] = field(default_factory=dict)
    """Every model ever recorded: `listed`, `missing` (not confirmed gone) or `removed`."""
    lifecycles: Mapping[str, int] = field(default_factory=dict)
    """Models not removed: `active`, `deprecated`, `retired`, `unknown` (unsaid) or `other`."""
    next_retirement_at: datetime | None = None
    """The earliest one ahead of a model not removed; null when none is known."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How everything stands at one moment, as metrics tell it."""

    sources: tuple[SourceSnapshot, ...] = ()
    deliveries: Mapping[str, int] = field(default_factory=dict)
    """By `status`: `pending`, `delivered`, `failed`."""
    oldest_pending_at: datetime | None = None
    """When the oldest event happened that a channel still waits for; null when none does."""
    database_up: bool = True
    """Whether the database could be asked; if not, nothing else here says anything."""


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


def status(
    connection: Connection,
    max_ages: Mapping[str, Callable[[datetime], timedelta]],
    now: datetime,
) -> Status:
    """Return how fresh each source is and how the alerts stand.

    `max_ages`: by source, how old a success of some moment may become.
    """
    sources = [_source_status(connection, name, max_ages[name], now) for name in max_ages]
    return Status(now, tuple(sources), outbox.delivery_counts(connection))


def _source_status(
    connection: Connection, name: str, max_age: Callable[[datetime], timedelta], now: datetime
) -> SourceStatus:
    source = db_runs.select_source(connection, name)
    succeeded = db_runs.last_run(connection, name, RunStatus.SUCCEEDED)
    synced_at = _really(
        source.last_synced_at if source else None, succeeded.started_at if succeeded else None, now
    )
    walked = db_runs.last_run(connection, name, RunStatus.SUCCEEDED, RunStatus.HELD)
    limit = max_age(synced_at) if synced_at else None
    return SourceStatus(
        name,
        synced_at,
        limit,
        # A success in the far future was before the host's clock was set back: it says nothing.
        fresh=synced_at is not None and limit is not None and abs(now - synced_at) <= limit,
        held=walked is not None and walked.status is RunStatus.HELD,
        last_run=db_runs.last_run(connection, name, *ENDED),
    )


def _really(
    synced_at: datetime | None, began_at: datetime | None, now: datetime
) -> datetime | None:
    """Return when the last success was: where its time lies ahead, when its run began.

    What is written never runs backwards. After a clock that was set back it stays ahead for as
    long, but for the beginning of the runs.
    """
    if synced_at is None or began_at is None or began_at > now:
        return synced_at
    return began_at if synced_at > now else synced_at


def snapshot(
    connection: Connection, max_ages: Mapping[str, Callable[[datetime], timedelta]], now: datetime
) -> Snapshot:
    """Return how each source stands, and the deliveries of all.

    `max_ages`: by source, how old a success of some moment may become. A source of which nothing
    is recorded yet stands at nothing.
    """
    runs, groups = db_runs.count_runs(connection), db_catalog.count_models(connection, now)
    standings = []
    for source in status(connection, max_ages, now).sources:
        models: Counter[str] = Counter()
        lifecycles: Counter[str] = Counter()
        retirements = []
        for name, state, lifecycle, number, retires_at in groups:
            if name != source.name:
                continue
            models[state] += number
            if state != "removed":
                lifecycles[lifecycle] += number
            if retires_at is not None:
                retirements.append(retires_at)
        own = {status: number for (name, status), number in runs.items() if name == source.name}
        next_one = min(retirements, default=None)
        standings.append(SourceSnapshot(source, own, models, lifecycles, next_one))
    return Snapshot(
        tuple(standings), outbox.count_deliveries(connection), outbox.oldest_pending(connection)
    )
