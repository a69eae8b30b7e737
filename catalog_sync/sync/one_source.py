"""One pass over one source, as a story: begin, walk, confirm, reconcile, apply.

The network is never inside a transaction. A pass is applied as a whole or not at all, and only by
the process that holds the source's lease at that moment.
"""

from __future__ import annotations

import logging
import shlex
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate, outbox, runs
from catalog_sync.domain import alert_rules, guard, incidents
from catalog_sync.domain import reconcile as domain_reconcile
from catalog_sync.domain.kinds import ENDED, INTERRUPTED, RunStatus
from catalog_sync.errors import (
    BadAnswerError,
    CatalogSyncError,
    DatabaseError,
    LeaseLostError,
    SourceError,
    StoppedError,
)
from catalog_sync.logs import fields
from catalog_sync.sync.report import RunReport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractContextManager

    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from catalog_sync.clock import Clock
    from catalog_sync.config.settings import SourceSettings
    from catalog_sync.domain.alert_rules import AlertRule
    from catalog_sync.domain.kinds import AbsenceCheck
    from catalog_sync.domain.model import Catalog, Event, SourceState


logger = logging.getLogger(__name__)
_LEASE_MARGIN = timedelta(minutes=1)
"""Beyond the walk's deadline: time to reconcile and to write."""


class ModelsSource(Protocol):
    """What a pass asks of a client."""

    def walk(
        self, *, page_size: int, lifecycle: Sequence[str], on_page: Callable[[int, int], None]
    ) -> Catalog:
        """Walk all pages. Raises SourceError."""
        ...

    def confirm_absent(
        self, missing_ids: Collection[str], listed_ids: Collection[str]
    ) -> Mapping[str, AbsenceCheck]:
        """Ask for models by id that the walk did not see. Raises StoppedError."""
        ...

    def abort(self) -> None:
        """Let what another thread is doing here raise StoppedError."""
        ...


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a pass is asked to do differently, and the rules that it follows."""

    dry_run: bool = False
    """Decide everything, write nothing."""
    accept_removals: bool = False
    """A person looked: held removals, and another one who answers, are right."""
    if_older_than: timedelta | None = None
    """Skip a source that was synced more recently; null never skips."""
    after_attempts: bool = False
    """Skip it also when a pass that failed or was held is as recent: replicas share those too."""
    synced_since: datetime | None = None
    """Skip a source that was synced, or tried, at or after this time; None never skips."""
    reminders: Sequence[timedelta] = ()
    failure_alert_after: int = 3
    rules: Sequence[AlertRule] = ()
    """Who is told of what."""


@dataclass(frozen=True, slots=True)
class RunDecision:
    """What the walk and the decisions came to; nothing is written yet."""

    state: SourceState
    catalog: Catalog
    now: datetime
    """Of all that the pass writes: later than anything written before, whatever the clock says."""
    result: domain_reconcile.ChangeSet
    frozen: tuple[str, ...]
    held: str | None = None
    """Why removals, or the whole pass, wait for a person."""
    refused: bool = False
    """Held as a whole: somebody else answered, and nothing of it may be applied."""
    error: str | None = None
    """`held` as a person is told it, with what to do next; null when nothing is held."""

    @property
    def events(self) -> tuple[Event, ...]:
        """What the pass tells: of models, and of itself."""
        if self.error is not None:
            told = incidents.held_event(self.state, self.now, self.error)
        else:
            told = incidents.recovery_event(self.state, self.now)
        return (*self.result.events, told) if told else self.result.events


@dataclass(frozen=True, slots=True)
class SourceRun:
    """One pass over one source: what it works with, and its steps."""

    engine: sa.Engine
    open_client: Callable[[], AbstractContextManager[ModelsSource]]
    """Opens the client when the run needs it."""
    source: SourceSettings
    clock: Clock
    options: RunOptions
    on_page: Callable[[int, int], None]
    """Told the number of pages and models that the walk has seen so far."""
    on_begin: Callable[[RunReport], None] = lambda _report: None
    """Told when the pass really begins: it has the lease, and is not skipped."""

    def run(self) -> RunReport:
        """Make the pass and say what it did; errors end in the report, not here.

        What is no fault of the source (an interrupt, a bug) is raised, after the run was closed.
        """
        started = time.monotonic()
        report = RunReport(self.source.name, RunStatus.FAILED, self.clock())
        try:
            report = self._preview(report) if self.options.dry_run else self._sync(report)
        except (SourceError, DatabaseError, StoppedError) as error:
            report = replace(report, error=self._line(error), cause=error)
        return replace(report, duration=timedelta(seconds=time.monotonic() - started))

    def _preview(self, report: RunReport) -> RunReport:
        """Make the pass without a run, a lease or a row."""
        with migrate.readable(self.engine) as engine:
            with db_engine.reading(engine) as session:
                reason = self._fresh(session, report.started_at)
            if reason is not None:
                return replace(report, status=RunStatus.SKIPPED, error=reason)
            outcome = self._observe(engine)
        return _reported(report, outcome, outcome.events)

    def _sync(self, report: RunReport) -> RunReport:
        report = self._begin(report)
        if report.status is RunStatus.SKIPPED:
            return report
        try:
            self.on_begin(report)
            outcome = self._observe(self.engine)
            return _reported(report, outcome, self._apply(report, outcome))
        except (SourceError, StoppedError) as error:
            failed = replace(report, error=self._line(error), cause=error)
            return replace(failed, events=self._fail(failed))
        except BaseException as error:  # the database, a signal, a bug: nobody need wait for us
            reason = str(error) if isinstance(error, DatabaseError) else INTERRUPTED
            self.abandon(report, reason)
            raise

    def abandon(self, report: RunReport, reason: str = INTERRUPTED) -> None:
        """Close the run, as far as the database can be used; what the pass still does is lost."""
        with suppress(DatabaseError), db_engine.transaction(self.engine) as session:
            self._close(session, report, reason)

    # --- 1. begin ------------------------------------------------------------------------------

    def _begin(self, report: RunReport) -> RunReport:
        """Record the run and take the source's lease; a source that is held or fresh is skipped."""
        name = self.source.name
        with db_engine.transaction(self.engine) as session:
            runs.register_source(session, name, self.source.base_url)
        with db_engine.transaction(self.engine) as session:
            runs.lock_source(session, name)
            now = self.clock()  # after those who were waited for
            report = replace(report, started_at=now)
            reason = self._fresh(session, now)
            run_id = runs.start_run(session, name, now)
            report = replace(report, run_id=run_id)
            lease = self.source.deadline + _LEASE_MARGIN
            if reason is None and not runs.acquire(session, name, run_id, now, lease=lease):
                reason = "another process is syncing it"
            if reason is not None:
                runs.finish_run(session, run_id, RunStatus.SKIPPED, now, error=reason)
                report = replace(report, status=RunStatus.SKIPPED, error=reason)
        return report

    def _fresh(self, session: Session, now: datetime) -> str | None:
        """Say why the source need not be synced yet; null when it is time to.

        What lies in the far future was before the host's clock was set back: it says nothing.
        """
        limit, since = self.options.if_older_than, self.options.synced_since
        if limit is None and since is None:
            return None
        known = runs.select_source(session, self.source.name)
        done = {"synced": known.last_synced_at if known else None}
        if self.options.after_attempts:
            last = runs.last_run(session, self.source.name, *ENDED)
            done["tried"] = last.started_at if last else None
        for word, at in done.items():
            if at is None:
                continue
            is_recent = limit is not None and abs(now - at) < limit
            if is_recent or (since is not None and since <= at <= now):
                return f"{word} {abs(now - at).total_seconds():.0f} s ago"
        return None

    # --- 2. walk, 3. confirm, 4. reconcile -----------------------------------------------------

    def _observe(self, engine: sa.Engine) -> RunDecision:
        """Walk, ask for what is missing, and decide. The lease keeps what is read here true."""
        with self.open_client() as client:
            return self._decide(engine, client)

    def _decide(self, engine: sa.Engine, client: ModelsSource) -> RunDecision:
        source, accept = self.source, self.options.accept_removals
        walked = client.walk(
            page_size=source.page_size, lifecycle=source.lifecycle, on_page=self.on_page
        )
        past = self._state(engine)
        now = _later(self.clock(), past.latest_recorded_at)
        catalog = replace(walked, models=guard.without(walked.models, source.exclude))
        state = replace(past, models=guard.without(past.models, source.exclude))
        frozen = tuple(past.models.keys() - state.models.keys())
        if not walked.models and past.source.baseline_at is None:
            raise BadAnswerError("the first list is empty; a catalog begins with a model")

        outcome = RunDecision(state, catalog, now, domain_reconcile.ChangeSet(), frozen)
        stranger, foreign = guard.identity_change(state, catalog, source.base_url)
        if foreign and not accept:
            return replace(outcome, held=stranger, refused=True, error=self._advised(stranger))
        if stranger:
            logger.warning("adopted: %s", stranger, extra=fields(source=source.name))

        empty = not walked.models
        held = None if accept else guard.hold_reason(state, catalog, now, empty=empty)
        questions = [] if held else guard.ids_to_confirm(guard.missing(state, catalog))
        result = domain_reconcile.reconcile(
            state,
            catalog,
            now,
            absences=client.confirm_absent(questions, walked.models),
            hold=held is not None,
            accept=accept,
            reminders=self.options.reminders,
        )
        return replace(outcome, result=result, held=held, error=self._advised(held))

    def _state(self, engine: sa.Engine) -> SourceState:
        with db_engine.reading(engine) as session:
            return runs.select_state(session, self.source.name, self.source.base_url)

    # --- apply, or fail ------------------------------------------------------------------------

    def _apply(self, report: RunReport, outcome: RunDecision) -> tuple[Event, ...]:
        """Write the whole outcome in one transaction, provided that the lease is still ours."""
        name, run_id = self.source.name, _recorded(report)
        state, now, result = outcome.state, outcome.now, outcome.result
        said = _reported(report, outcome, ())
        with db_engine.transaction(self.engine) as session:
            if not runs.release(session, name, run_id):
                raise LeaseLostError("another process took the source over during the walk")
            if not outcome.refused:
                db_catalog.write_models(
                    session,
                    name,
                    now,
                    added=result.added,
                    changed=result.changed,
                    frozen=outcome.frozen,
                )
                scope, base_url = outcome.catalog.scope, self.source.base_url
                runs.write_source(
                    session, guard.source_after_run(state.source, scope, base_url, now)
                )
            events = db_catalog.insert_events(session, name, run_id, outcome.events)
            self._owe(session, run_id, events, now, baseline=said.baseline)
            runs.finish_run(
                session,
                run_id,
                said.status,
                now,
                error=said.error,
                baseline=said.baseline,
                pages=said.pages,
                models=said.models,
                events=events,
            )
        return events

    def _fail(self, report: RunReport) -> tuple[Event, ...]:
        """Close the run as failed, and tell of it when it is time to."""
        name, run_id, error = self.source.name, _recorded(report), str(report.error)
        with db_engine.transaction(self.engine) as session:
            closed = self._close(session, report, error)
            if not closed or isinstance(report.cause, StoppedError):
                return ()  # whoever took the source over has closed it; a stop is no failure
            now = _later(self.clock(), runs.latest_recorded_at(session, name))
            streak, told = runs.failures(session, name)
            event = incidents.failure_event(
                now,
                error,
                type(report.cause).__name__,
                streak=streak,
                threshold=self.options.failure_alert_after,
                told=told,
            )
            events = db_catalog.insert_events(session, name, run_id, [event] if event else [])
            self._owe(session, run_id, events, now, baseline=False)
            return events

    def _close(self, session: Session, report: RunReport, error: str) -> bool:
        """End the run as failed and give the lease back; false when another process did."""
        runs.release(session, self.source.name, _recorded(report))
        now, run_id = self.clock(), _recorded(report)
        return runs.finish_run(session, run_id, RunStatus.FAILED, now, error=error)

    def _owe(
        self,
        session: Session,
        run_id: int,
        events: Sequence[Event],
        now: datetime,
        *,
        baseline: bool,
    ) -> None:
        """Write the outbox in the transaction of the events: no alert is lost between the two."""
        rules = self.options.rules
        owed = alert_rules.alerts(events, rules, self.source.name, baseline=baseline)
        # The run's own time may lie ahead of a clock that was set back; an alert does not wait.
        outbox.insert_deliveries(session, run_id, owed, min(now, self.clock()))

    # --- saying so -----------------------------------------------------------------------------

    def _line(self, error: CatalogSyncError) -> str:
        """Return the line that the person and the run's row get."""
        if isinstance(error, StoppedError):
            return error.code
        if isinstance(error, DatabaseError):
            return str(error)  # not about the source
        return f"source {self.source.name}: {error}"

    def _advised(self, held: str | None) -> str | None:
        name = self.source.name
        release = f"catalog-sync sync --source {shlex.quote(name)} --accept-removals"
        return f"source {name}: {held}; if that is right, run: {release}" if held else None


def _reported(report: RunReport, outcome: RunDecision, events: tuple[Event, ...]) -> RunReport:
    return replace(
        report,
        status=RunStatus.HELD if outcome.held else RunStatus.SUCCEEDED,
        baseline=outcome.state.source.baseline_at is None,
        pages=outcome.catalog.pages,
        models=None if outcome.refused else len(outcome.catalog.models),
        events=events,
        error=outcome.error,
    )


def _later(now: datetime, last: datetime | None) -> datetime:
    """Return `now`, or the first instant after `last` when the host's clock went back."""
    return now if last is None else max(now, last + timedelta(microseconds=1))


def _recorded(report: RunReport) -> int:
    if report.run_id is None:
        raise ValueError("a pass that was not has_baseline")
    return report.run_id
