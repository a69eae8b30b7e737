"""One run over one source: begin, walk, confirm, reconcile, apply.

No transaction is open during requests. A run is applied as a whole or not at all, and only if the
process still holds the source's lease.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import checked, outbox, runs
from catalog_sync.db import engine as db_engine
from catalog_sync.db import state as db_state
from catalog_sync.domain import guard, incidents
from catalog_sync.domain.kinds import INTERRUPTED, STOPPED, RunStatus
from catalog_sync.errors import (
    ClockError,
    DatabaseError,
    LeaseLostError,
    SourceError,
    StoppedError,
)
from catalog_sync.sync.decide import RunDecision, decide, later
from catalog_sync.sync.report import RunReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection

    from catalog_sync.client.models import ModelsClient
    from catalog_sync.config.settings import SourceSettings
    from catalog_sync.domain.model import Event, SourceState
    from catalog_sync.errors import CatalogSyncError
    from catalog_sync.sync.context import RunContext

_LEASE_MARGIN = timedelta(minutes=1)
"""The part of a lease after the walk's deadline, for decisions and writing."""


@dataclass(frozen=True, slots=True)
class SourceRun:
    """A run over one source."""

    context: RunContext
    source: SourceSettings
    open_client: Callable[[], ModelsClient]
    """Opens the client when the run needs it. Raises SourceError."""

    def run(self) -> RunReport:
        """Run, and return the report, which also states errors of the source and a stop.

        Any other exception (an interrupt, a bug) is raised after the run was closed.

        Raises:
            DatabaseError: No run could be recorded. Later errors of the database are in the report.
        """
        started = time.monotonic()
        report = RunReport(self.source.name, RunStatus.FAILED, self.context.clock())
        try:
            self.context.cancel.check()
            if self.context.options.dry_run:
                report = self._preview(report)
            else:
                report, state = self._begin(report)
                if state is not None:
                    report = self._finish(report, state)
        except (SourceError, StoppedError) as error:
            report = self._failed(report, error)
        return replace(report, duration=timedelta(seconds=time.monotonic() - started))

    def _preview(self, report: RunReport) -> RunReport:
        """Run without a row and without a lease."""
        name, base_url, now = self.source.name, self.source.base_url, report.started_at
        with checked.read(self.context.engine) as connection:
            state, tried_at = db_state.select_state(connection, name, base_url, now)
        if reason := self.context.options.fresh(now, state.source, tried_at):
            return replace(report, status=RunStatus.SKIPPED, error=reason)
        return _concluded(report, self._decide(state, now))

    def _finish(self, report: RunReport, state: SourceState) -> RunReport:
        """Walk, decide and apply, or close the run as failed."""
        stopped = replace(report, error=STOPPED, error_code=STOPPED)
        self.context.open_runs[_run_id(report)] = partial(self.close, stopped)
        try:
            self.context.on_begin()
            decision = self._decide(state, report.started_at)
            return self._apply(_concluded(report, decision), decision)
        except SourceError as error:
            return self._fail(self._failed(report, error))
        except (StoppedError, DatabaseError) as error:
            failed = self._failed(report, error)
            self.close(failed)
            return failed
        except BaseException as error:
            is_stop = isinstance(error, (KeyboardInterrupt, SystemExit))
            died = replace(report, error=INTERRUPTED, error_code=INTERRUPTED)
            self.close(stopped if is_stop else died)
            raise
        finally:
            del self.context.open_runs[_run_id(report)]

    def close(self, report: RunReport) -> None:
        """Close a run as failed, if the database can be used. Its results are discarded."""
        with suppress(DatabaseError):
            self._close(report, self.context.clock(), announce=False)

    # --- 1. begin ------------------------------------------------------------------------------

    def _begin(self, report: RunReport) -> tuple[RunReport, SourceState | None]:
        """Record the run, take the source's lease and read the source's state.

        Returns no state if the source is skipped: another process holds it, or it is fresh.
        """
        name = self.source.name

        def work(connection: Connection) -> tuple[RunReport, SourceState | None]:
            now = self.context.clock()
            begun = runs.begin_run(
                connection,
                name,
                self.source.base_url,
                now,
                lease=self.source.deadline + _LEASE_MARGIN,
                fresh=partial(self.context.options.fresh, now),
                channels={alert.name for alert in self.context.settings.alerts},
            )
            if isinstance(begun, str):
                skipped = replace(report, status=RunStatus.SKIPPED, error=begun, started_at=now)
                return skipped, None
            return replace(report, run_id=begun.run_id, started_at=now), begun

        def landed(connection: Connection, done: tuple[RunReport, SourceState | None]) -> bool:
            run_id = done[0].run_id
            return run_id is None or runs.holds_lease(connection, name, run_id)

        return checked.run(self.context.engine, work, landed=landed)

    # --- 2. walk, 3. confirm, 4. reconcile -----------------------------------------------------

    def _decide(self, past: SourceState, started_at: datetime) -> RunDecision:
        source = self.source
        client = self.open_client()
        walked = client.walk(
            page_size=source.page_size,
            lifecycle=source.lifecycle,
            known={id_: record.info for id_, record in past.models.items()},
            on_page=partial(self.context.on_page, source.name),
        )
        return decide(self.context, source, past, walked, started_at, client.confirm_absent)

    # --- apply, or fail ------------------------------------------------------------------------

    def _apply(self, report: RunReport, decision: RunDecision) -> RunReport:
        """Write the whole decision in one transaction, if the run still holds the lease."""
        name, run_id, now = self.source.name, _run_id(report), decision.now
        record = None
        if not decision.refused:
            scope, base_url = decision.catalog.scope, self.source.base_url
            record = guard.source_after_run(decision.state.source, scope, base_url, now)

        def work(connection: Connection) -> None:
            self.context.cancel.check()  # it may have waited long for its turn to write
            if not runs.release(connection, name, run_id, now, record):
                raise LeaseLostError("another process took over the source during the walk")
            if not decision.refused:
                db_catalog.write_models(
                    connection,
                    name,
                    now,
                    added=decision.changes.added,
                    changed=decision.changes.changed,
                    excluded_ids=decision.excluded_ids,
                )
            runs.finish_run(connection, run_id, report.columns(now))
            self._record(connection, run_id, decision.events)

        db_engine.run(
            self.context.engine,
            work,
            checkpoint=self.context.checkpoint,
            landed=lambda found, _: runs.finished_at(found, run_id) == now,
        )
        return report

    def _fail(self, report: RunReport) -> RunReport:
        """Close the run as failed, and record the event about repeated failures if it is due."""
        now = self.context.clock()
        if isinstance(report.cause, ClockError) and report.cause.server_at:
            # Either clock may be wrong. A time in the future would push all later times forward.
            now = min(now, report.cause.server_at)
        try:
            return replace(report, events=self._close(report, now, announce=True))
        except DatabaseError as error:
            return self._failed(report, error)

    def _close(self, report: RunReport, now: datetime, *, announce: bool) -> tuple[Event, ...]:
        name, run_id = self.source.name, _run_id(report)

        def work(connection: Connection) -> tuple[Event, ...]:
            failed_at = later(now, db_state.latest_recorded_at(connection, name))
            if not runs.finish_run(connection, run_id, report.columns(failed_at)):
                return ()  # the process that took over the source has closed the run
            event = None
            if announce:
                threshold = self.context.settings.failure_alert_after
                streak, announced_codes = db_state.failures(connection, name, threshold)
                event = incidents.failure_event(
                    failed_at,
                    str(report.error),
                    str(report.error_code),
                    streak=streak,
                    threshold=threshold,
                    announced_codes=announced_codes,
                )
            runs.release(connection, name, run_id, failed_at if event else None)
            events = (replace(event, source=name, run_id=run_id),) if event else ()
            self._record(connection, run_id, events)
            return events

        return db_engine.run(
            self.context.engine,
            work,
            checkpoint=self.context.checkpoint,
            landed=lambda found, _: runs.finished_at(found, run_id) is not None,
        )

    def _record(self, connection: Connection, run_id: int, events: Sequence[Event]) -> None:
        """Insert the events and their outbox entries together, so that no alert is lost."""
        db_catalog.insert_events(connection, events)
        if events:
            alerts, now = self.context.settings.alerts, self.context.clock()
            outbox.enqueue(connection, alerts, now, run_id=run_id)

    def _failed(self, report: RunReport, error: CatalogSyncError) -> RunReport:
        line = (
            f"source {self.source.name}: {error}" if isinstance(error, SourceError) else str(error)
        )
        if isinstance(error, StoppedError):
            line = STOPPED
        return replace(report, error=line, error_code=error.code, cause=error)


def _concluded(report: RunReport, decision: RunDecision) -> RunReport:
    """Return the report of a run that reached a decision."""
    hold = decision.hold
    return replace(
        report,
        status=RunStatus.HELD if hold else RunStatus.SUCCEEDED,
        baseline=decision.state.source.baseline_at is None,
        pages=decision.catalog.pages,
        models=None if decision.refused else len(decision.catalog.models),
        events=decision.events,
        held=hold.model_ids if hold else (),
        error=decision.error,
        error_code=hold.code if hold else None,
    )


def _run_id(report: RunReport) -> int:
    if report.run_id is None:
        raise ValueError("the run was not recorded")
    return report.run_id
