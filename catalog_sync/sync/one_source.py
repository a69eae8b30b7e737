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
from functools import partial
from typing import TYPE_CHECKING, Protocol

from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate, outbox, runs
from catalog_sync.domain import guard, incidents
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
    from sqlalchemy import Connection

    from catalog_sync.clock import Clock
    from catalog_sync.config.settings import SourceSettings
    from catalog_sync.db.runs import RunRecord
    from catalog_sync.domain.alert_rules import AlertRule
    from catalog_sync.domain.kinds import AbsenceCheck
    from catalog_sync.domain.model import Catalog, Event, SourceRecord, SourceState


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
        name, base_url = self.source.name, self.source.base_url
        with (
            migrate.engine_or_empty(self.engine) as engine,
            db_engine.read_transaction(engine, snapshot=True) as connection,
        ):
            state = runs.select_state(connection, name, base_url)
            last = runs.last_run(connection, name, *ENDED) if self._by_attempts else None
        if reason := self._fresh(report.started_at, state.source, last):
            return replace(report, status=RunStatus.SKIPPED, error=reason)
        outcome = self._observe(state)
        return _reported(report, outcome, outcome.events)

    def _sync(self, report: RunReport) -> RunReport:
        report, state = self._begin(report)
        if state is None:
            return report
        try:
            self.on_begin(report)
            outcome = self._observe(state)
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
        with suppress(DatabaseError):
            db_engine.run(self.engine, lambda connection: self._close(connection, report, reason))

    # --- 1. begin ------------------------------------------------------------------------------

    def _begin(self, report: RunReport) -> tuple[RunReport, SourceState | None]:
        """Record the run, take the source's lease and read the state that the lease keeps true.

        Without a state the source is skipped: it is held, or fresh.
        """
        name = self.source.name

        def work(connection: Connection) -> tuple[RunReport, SourceState | None]:
            now = self.clock()
            begun = runs.begin_run(
                connection,
                name,
                self.source.base_url,
                now,
                lease=self.source.deadline + _LEASE_MARGIN,
                fresh=partial(self._fresh, now),
                last=self._by_attempts,
            )
            if isinstance(begun, str):
                skipped = replace(report, status=RunStatus.SKIPPED, error=begun, started_at=now)
                return skipped, None
            channels = {rule.channel for rule in self.options.rules}
            if channels:
                outbox.register_channels(connection, channels, now)
            return replace(report, run_id=begun.run_id, started_at=now), begun.state

        def landed(connection: Connection, done: tuple[RunReport, SourceState | None]) -> bool:
            run_id = done[0].run_id
            return run_id is None or runs.holds_lease(connection, name, run_id)

        return db_engine.run(self.engine, work, landed=landed)

    @property
    def _by_attempts(self) -> bool:
        options = self.options
        limited = options.if_older_than is not None or options.synced_since is not None
        return options.after_attempts and limited

    def _fresh(self, now: datetime, source: SourceRecord, last: RunRecord | None) -> str | None:
        """Say why the source need not be synced yet; null when it is time to.

        What lies in the far future was before the host's clock was set back: it says nothing.
        """
        limit, since = self.options.if_older_than, self.options.synced_since
        if limit is None and since is None:
            return None
        done = {"synced": source.last_synced_at, "tried": last.started_at if last else None}
        for word, at in done.items():
            if at is None:
                continue
            is_recent = limit is not None and abs(now - at) < limit
            if is_recent or (since is not None and since <= at <= now):
                return f"{word} {abs(now - at).total_seconds():.0f} s ago"
        return None

    # --- 2. walk, 3. confirm, 4. reconcile -----------------------------------------------------

    def _observe(self, past: SourceState) -> RunDecision:
        """Walk, ask for what is missing, and decide. The lease keeps what is read here true."""
        with self.open_client() as client:
            return self._decide(past, client)

    def _decide(self, past: SourceState, client: ModelsSource) -> RunDecision:
        source, accept = self.source, self.options.accept_removals
        walked = client.walk(
            page_size=source.page_size, lifecycle=source.lifecycle, on_page=self.on_page
        )
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

    # --- apply, or fail ------------------------------------------------------------------------

    def _apply(self, report: RunReport, outcome: RunDecision) -> tuple[Event, ...]:
        """Write the whole outcome in one transaction, provided that the lease is still ours."""
        name, run_id = self.source.name, _recorded(report)
        state, now, result = outcome.state, outcome.now, outcome.result
        said = _reported(report, outcome, ())
        record = None
        if not outcome.refused:
            scope, base_url = outcome.catalog.scope, self.source.base_url
            record = guard.source_after_run(state.source, scope, base_url, now)

        def work(connection: Connection) -> tuple[Event, ...]:
            if not runs.release(connection, name, run_id, now, record):
                raise LeaseLostError("another process took the source over during the walk")
            if not outcome.refused:
                db_catalog.write_models(
                    connection,
                    name,
                    now,
                    added=result.added,
                    changed=result.changed,
                    excluded_ids=outcome.frozen,
                )
            events = self._record(connection, run_id, outcome.events, baseline=said.baseline)
            runs.finish_run(
                connection,
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

        return self._run(work, run_id, now)

    def _fail(self, report: RunReport) -> tuple[Event, ...]:
        """Close the run as failed, and tell of it when it is time to."""
        name, run_id, error = self.source.name, _recorded(report), str(report.error)
        closed_at = self.clock()

        def work(connection: Connection) -> tuple[Event, ...]:
            now = _later(closed_at, runs.latest_recorded_at(connection, name))
            closed = self._close(connection, report, error, now)
            if not closed or isinstance(report.cause, StoppedError):
                return ()  # whoever took the source over has closed it; a stop is no failure
            streak, told = runs.failures(connection, name)
            event = incidents.failure_event(
                now,
                error,
                type(report.cause).__name__,
                streak=streak,
                threshold=self.options.failure_alert_after,
                told=told,
            )
            return self._record(connection, run_id, [event] if event else [], baseline=False)

        return db_engine.run(
            self.engine, work, landed=lambda connection, _: runs.is_closed(connection, run_id)
        )

    def _run(
        self, work: Callable[[Connection], tuple[Event, ...]], run_id: int, now: datetime
    ) -> tuple[Event, ...]:
        """Make the transaction that closes the run; one whose answer was lost is recognised."""
        return db_engine.run(
            self.engine, work, landed=lambda found, _: runs.is_finished(found, run_id, now)
        )

    def _close(
        self, connection: Connection, report: RunReport, error: str, now: datetime | None = None
    ) -> bool:
        """End the run as failed and give the lease back; false when another process did."""
        name, run_id = self.source.name, _recorded(report)
        now = now or _later(self.clock(), runs.latest_recorded_at(connection, name))
        runs.release(connection, name, run_id, now)
        code = report.cause.code if report.cause else None
        code = error if error in {INTERRUPTED, StoppedError.code} else code
        return runs.finish_run(
            connection, run_id, RunStatus.FAILED, now, error=error, error_code=code
        )

    def _record(
        self, connection: Connection, run_id: int, events: Sequence[Event], *, baseline: bool
    ) -> tuple[Event, ...]:
        """Write the events, and their outbox in the same transaction: no alert is lost between."""
        marked = [replace(event, baseline=baseline and bool(event.model_id)) for event in events]
        events = db_catalog.insert_events(connection, self.source.name, run_id, marked)
        if events:
            outbox.enqueue(connection, self.options.rules, self.clock(), run_id=run_id)
        return tuple(events)

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
