"""The report of a run, as a value, JSON, text and a log line."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from catalog_sync.clock import format_time
from catalog_sync.domain.kinds import STOPPED, Kind, RunStatus
from catalog_sync.logs import fields
from catalog_sync.text import count

if TYPE_CHECKING:
    from catalog_sync.domain.model import Event
    from catalog_sync.errors import CatalogSyncError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunReport:
    """The result of one run over one source."""

    source: str
    status: RunStatus
    started_at: datetime
    run_id: int | None = None
    """None if no run was recorded: skipped, a dry run, or an unusable database."""
    baseline: bool = False
    pages: int | None = None
    """None without a complete walk, as `models`."""
    models: int | None = None
    events: tuple[Event, ...] = ()
    held: tuple[str, ...] = ()
    """The ids whose removal waits for a person, sorted."""
    error: str | None = None
    error_code: str | None = None
    """The stable code of `error`, as in `sync_runs`; not part of the JSON."""
    cause: CatalogSyncError | None = None
    """The exception behind `error`, for its exit code and traceback."""
    duration: timedelta = timedelta()

    def columns(self, finished_at: datetime) -> dict[str, Any]:
        """Return the columns of `sync_runs` for a run that ended."""
        kinds = Counter(event.kind for event in self.events)
        return {
            "status": self.status.value,
            "finished_at": finished_at,
            "error": self.error,
            "error_code": self.error_code,
            "baseline": self.baseline,
            "pages": self.pages,
            "models": self.models,
            **{kind.value: kinds[kind] for kind in _COUNTED_KINDS},
        }

    def to_json(self) -> dict[str, Any]:
        """Return the object for `sync --json`: ids by kind, and paths for `schema_changed`."""
        ids: dict[str, list[str]] = {kind.value: [] for kind in _REPORTED_KINDS}
        for event in self.events:
            if event.kind is Kind.SCHEMA_CHANGED:
                ids[event.kind.value] += list(event.changes)
            elif event.kind in _REPORTED_KINDS and event.model_id is not None:
                ids[event.kind.value].append(event.model_id)
        return {
            "run_id": self.run_id,
            "source": self.source,
            "status": self.status.value,
            "baseline": self.baseline,
            "pages": self.pages,
            "models": self.models,
            **ids,
            "held": list(self.held),
            "error": self.error,
            "started_at": format_time(self.started_at),
            "duration_seconds": round(self.duration.total_seconds(), 3),
        }


_COUNTED_KINDS = (Kind.ADDED, Kind.UPDATED, Kind.REMOVED, Kind.RETURNED)
_REPORTED_KINDS = (
    Kind.ADDED,
    Kind.UPDATED,
    Kind.DEPRECATED,
    Kind.RESCHEDULED,
    Kind.RETIRED,
    Kind.RETIRING,
    Kind.REMOVED,
    Kind.RETURNED,
    Kind.SCHEMA_CHANGED,
)


def log_report(report: RunReport) -> None:
    """Log a run that ended: WARNING if held, ERROR if failed, INFO otherwise."""
    level = logging.INFO
    if report.status is RunStatus.HELD:
        level = logging.WARNING
    elif report.status is RunStatus.FAILED and report.error_code != STOPPED:
        level = logging.ERROR
    logger.log(
        level,
        "run ended",
        extra=fields(
            run_id=report.run_id,
            source=report.source,
            status=report.status.value,
            pages=report.pages,
            models=report.models,
            baseline=report.baseline or None,
            **Counter(event.kind.value for event in report.events),
            duration_seconds=round(report.duration.total_seconds(), 3),
            reason=report.error,
        ),
        exc_info=report.cause if logger.isEnabledFor(logging.DEBUG) else None,
    )


def report_text(report: RunReport, *, dry_run: bool = False) -> str:
    """Return the summary line of a run that did not fail."""
    if report.status is RunStatus.SKIPPED:
        return f"{report.source}: skipped, {report.error}"
    facts = [count(report.models or 0, "model"), count(report.pages or 0, "page")]
    if report.baseline and report.models is not None:
        recorded = "would be recorded" if dry_run else "recorded"
        facts = [
            (
                f"baseline of {count(report.models, 'model')} {recorded}; "
                "alerts begin with the next change"
            )
        ]
    else:
        counts = Counter(event.kind.value for event in report.events if event.model_id)
        schema = [event for event in report.events if event.kind is Kind.SCHEMA_CHANGED]
        facts += [f"{number} {kind}" for kind, number in counts.items()]
        facts += [count(len(event.changes), "field") + " changed" for event in schema]
        if not counts and not schema:
            facts.append("no change")
    if report.models is None:
        facts = ["nothing applied"]
    label = f"{report.status.value}{' (dry run, nothing written)' if dry_run else ''}"
    return f"{report.source}: {label}: {', '.join(facts)} ({report.duration.total_seconds():.2f} s)"
