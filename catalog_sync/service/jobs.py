"""The daemon's jobs: one per source, and one for deliveries."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from catalog_sync._version import __version__
from catalog_sync.app import App
from catalog_sync.config.schedule import Schedule
from catalog_sync.config.settings import SourceSettings
from catalog_sync.domain.kinds import RunStatus
from catalog_sync.errors import CatalogSyncError, DatabaseError
from catalog_sync.logs import fields
from catalog_sync.sync.context import RunOptions
from catalog_sync.sync.report import RunReport, log_report

logger = logging.getLogger(__name__)

_DELIVER_EVERY = Schedule(timedelta(seconds=10))
"""How often due alerts are delivered, in addition to after each run."""
_RETRY = timedelta(seconds=10)
"""The delay before a source's first run is retried if the database cannot be used."""
_DELIVERIES = "deliveries"


class ScheduleTrigger(BaseTrigger):  # type: ignore[misc]  # has no types
    """Trigger that skips missed runs: the next run is always in the future.

    Each run is delayed by a random time of up to `jitter`.
    """

    def __init__(self, schedule: Schedule, jitter: timedelta = timedelta()) -> None:
        self._schedule = schedule
        self._jitter = jitter

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the time of the next run. Called by APScheduler."""
        run = self._schedule.next_after(previous_fire_time or now)
        if run <= now:
            run = self._schedule.next_after(now)
        return run + random.random() * self._jitter  # noqa: S311


class Jobs:
    """One active configuration: an App and the scheduler of its jobs.

    `on_end` is called, from any thread, whenever a run or a delivery has ended.
    """

    def __init__(self, app: App, on_end: Callable[[], None]) -> None:
        self.app = app
        self._on_end = on_end
        self._schedules = {s.name: app.settings.schedule(s) for s in app.settings.sources}
        self._done: set[str] = set()
        """The sources whose first run has ended."""
        self._recorded: set[str] = set()
        """The sources for which this process has seen a recorded catalog."""
        self._running = 0
        self._stopped = False
        self._lock = threading.Lock()
        # A delivery lasts as long as its slowest channel, which must not block the others.
        self._senders = len(app.settings.alerts) + 1
        parallel = min(len(self._schedules), app.settings.parallel)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={
                "runs": ThreadPoolExecutor(parallel),
                _DELIVERIES: ThreadPoolExecutor(self._senders),
            },
            # A late job still runs, and only once.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    @property
    def is_busy(self) -> bool:
        """Whether a run or a delivery is in progress."""
        return self._running > 0

    def start(self) -> None:
        """Run each source now, and then on its schedule."""
        self._log_start()
        now = self.app.clock()
        for source in self.app.settings.sources:
            self._schedule(source, next_run_time=now)
        self._scheduler.add_job(
            self._run_job,
            ScheduleTrigger(_DELIVER_EVERY),
            args=[self.deliver],
            id=_DELIVERIES,
            executor=_DELIVERIES,
            max_instances=self._senders,
        )
        self._scheduler.start()

    def stop(self) -> None:
        """Start no more jobs, and stop the running ones."""
        with self._lock:
            self._stopped = True
        self._scheduler.shutdown(wait=False)
        self.app.stop()

    def on_clock_change(self, step: timedelta) -> None:
        """Adjust the jobs to a change of the system clock, since APScheduler stores absolute times.

        Intervals move with the clock, so that a clock that is set back repeatedly delays no run.
        Crontab lines are computed from the new time.
        """
        if step > timedelta():
            self._scheduler.wakeup()  # a job that is already due runs late
            return
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=job.next_run_time + step)
        for source in self.app.settings.sources:
            if self._schedules[source.name].cron:
                self._schedule(source)

    def _schedule(self, source: SourceSettings, **options: datetime) -> None:
        schedule = self._schedules[source.name]
        jitter = schedule.at_most(self.app.settings.jitter, self.app.clock())
        self._scheduler.add_job(
            self._run_job,
            ScheduleTrigger(schedule, jitter),
            args=[self.sync, source],
            id=f"run:{source.name}",
            executor="runs",
            replace_existing=True,
            **options,
        )

    def _log_start(self) -> None:
        names: dict[Schedule, list[str]] = {}
        for name, schedule in self._schedules.items():
            names.setdefault(schedule, []).append(name)
        for schedule, sources in names.items():
            logger.info(
                "started",
                extra=fields(
                    version=__version__,
                    config=str(self.app.settings.file or "") or None,
                    database=self.app.database,
                    sources=",".join(sources),
                    every=None if schedule.cron else f"{schedule.every.total_seconds():g}s",
                    cron=schedule.cron,
                ),
            )

    # --- the jobs ------------------------------------------------------------------------------

    def _run_job(self, work: Callable[..., None], *arguments: object) -> None:
        """Run a job. An unexpected error is logged, and the job stays scheduled."""
        with self._lock:
            if self._stopped:
                return
            self._running += 1
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001  # a bug; the next run may succeed
            log_failure(f"unexpected {type(error).__name__}", error)
        finally:
            with self._lock:
                self._running -= 1
            self._on_end()

    def sync(self, source: SourceSettings) -> None:
        """Run a source, unless it was already synced, perhaps by another replica."""
        try:
            options = self._options(source)
            self.app.runs.sync(options, names=[source.name], on_report=self._on_report)
        except DatabaseError as error:
            log_failure("the run could not start", error)
            if source.name not in self._done:
                now = self.app.clock()
                soon = now + min(_RETRY, self._schedules[source.name].interval(now))
                self._modify(f"run:{source.name}", soon)
        except CatalogSyncError as error:
            log_failure("the run could not start", error)
        else:
            self._done.add(source.name)
            self._modify(_DELIVERIES, self.app.clock())  # a job: no receiver delays the next run

    def _options(self, source: SourceSettings) -> RunOptions:
        """Return the options that skip an unnecessary run.

        With a crontab line, this is a source that was synced since the scheduled time; with an
        interval, one that was synced within the interval, minus the duration of a walk. After this
        process's first run, failed and held runs count too.
        """
        schedule, now = self._schedules[source.name], self.app.clock()
        again = source.name in self._done
        if schedule.cron:
            return RunOptions(synced_since=schedule.last_before(now), after_attempts=again)
        recent = max(schedule.every - source.deadline, schedule.every / 2)
        return RunOptions(if_older_than=recent, after_attempts=again)

    def _on_report(self, report: RunReport) -> None:
        log_report(report)
        if report.status not in {RunStatus.SUCCEEDED, RunStatus.HELD}:
            return
        if report.baseline and report.source in self._recorded:
            logger.warning(
                "the database is new and does not contain the earlier history",
                extra=fields(source=report.source, database=self.app.database),
            )
        self._recorded.add(report.source)

    def deliver(self) -> None:
        """Send the due alerts."""
        if not self._done:
            return  # nothing is recorded yet, and perhaps no database exists
        try:
            self.app.deliver()
        except DatabaseError as error:
            logger.debug("no alerts delivered", extra=fields(reason=str(error)))

    def _modify(self, job_id: str, next_run_time: datetime) -> None:
        with suppress(JobLookupError):  # the scheduler was stopped
            self._scheduler.modify_job(job_id, next_run_time=next_run_time)


def log_failure(what: str, error: Exception) -> None:
    """Log an error that does not end the daemon, with its traceback only at DEBUG."""
    shown = error if logger.isEnabledFor(logging.DEBUG) else None
    logger.error(what, extra=fields(reason=str(error)), exc_info=shown)
