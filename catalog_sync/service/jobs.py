"""The jobs of the daemon: one run per schedule, and the deliveries between them."""

from __future__ import annotations

import logging
import random
import threading
from contextlib import suppress
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from catalog_sync._version import __version__
from catalog_sync.config.schedule import Schedule
from catalog_sync.errors import CatalogSyncError, DatabaseError
from catalog_sync.logs import fields
from catalog_sync.sync.one_source import RunOptions
from catalog_sync.sync.report import log_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from catalog_sync.app import App


logger = logging.getLogger(__name__)

_DELIVERY_EVERY = timedelta(seconds=10)
"""How often is looked for alerts that have become due."""
_RETRY = timedelta(seconds=10)
"""How soon the first pass is tried again while the database cannot be used."""
_DELIVERIES = "deliveries"


class _Service:
    """One configuration at work: an app, and the scheduler that says when."""

    def __init__(self, app: App, done: Callable[[], None]) -> None:
        """`done` is called, from whatever thread, each time that something ended."""
        self.app = app
        self._done = done
        self._groups: dict[Schedule, list[str]] = {}
        for source in app.settings.sources:
            self._groups.setdefault(app.settings.schedule(source), []).append(source.name)
        self._begun: set[Schedule] = set()
        # A delivery lasts as long as its slowest channel: one that hangs holds up no other.
        self._senders = len(app.settings.alerts) + 1
        self._running = 0
        self._stopped = False
        self._lock = threading.Lock()
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(len(self._groups) + self._senders)},
            # A late pass runs late, and never twice.
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    @property
    def busy(self) -> bool:
        """Whether a pass or a delivery is under way."""
        return self._running > 0

    @property
    def longest_walk(self) -> timedelta:
        """The longest deadline of a walk."""
        return max(source.deadline for source in self.app.settings.sources)

    def start(self) -> None:
        """Begin with a pass of each schedule, and go on by them."""
        self._plan()
        for number, (schedule, names) in enumerate(self._groups.items()):
            self._scheduler.modify_job(str(number), next_run_time=self.app.clock())
            logger.info(
                "started",
                extra=fields(
                    version=__version__,
                    sources=",".join(names),
                    every=None if schedule.cron else f"{schedule.every.total_seconds():g}s",
                    cron=schedule.cron,
                ),
            )
        self._scheduler.start()

    def _plan(self) -> None:
        """Set each job's next time by the clock as it is now."""
        for number, schedule in enumerate(self._groups):
            self._plan_passes(str(number), schedule)
        self._scheduler.add_job(
            self._guarded,
            ScheduleTrigger(Schedule(_DELIVERY_EVERY)),
            args=[self._deliver],
            id=_DELIVERIES,
            max_instances=self._senders,
        )

    def _plan_passes(self, job_id: str, schedule: Schedule) -> None:
        jitter = schedule.at_most(self.app.settings.jitter, self.app.clock())
        self._scheduler.add_job(
            self._guarded,
            ScheduleTrigger(schedule, jitter),
            args=[self._pass, schedule, job_id],
            id=job_id,
            replace_existing=True,
        )

    def keep_time(self, step: timedelta) -> None:
        """Follow a clock that was set: APScheduler would wait until it is again what it was.

        What comes every so often comes when it would have come: a clock that is set back again
        and again puts nothing off.
        """
        if step > timedelta():
            self._scheduler.wakeup()  # what has become due meanwhile runs late
            return
        schedules = {str(number): schedule for number, schedule in enumerate(self._groups)}
        for job in self._scheduler.get_jobs():
            if job.id in schedules and schedules[job.id].cron:
                self._plan_passes(job.id, schedules[job.id])
            else:
                job.modify(next_run_time=job.next_run_time + step)

    def stop(self) -> None:
        """Start nothing more, and abandon what can be."""
        with self._lock:
            self._stopped = True
        self._scheduler.shutdown(wait=False)
        self.app.stop()

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        """Do something that has come due: whatever happens, it will come due again."""
        with self._lock:
            if self._stopped:
                return
            self._running += 1
        try:
            work(*arguments)
        except Exception as error:  # noqa: BLE001  # a bug; the next time may go well
            log_failure(f"unexpected {type(error).__name__}", error)
        finally:
            with self._lock:
                self._running -= 1
            self._done()

    def _pass(self, schedule: Schedule, job_id: str) -> None:
        first = schedule not in self._begun
        options = RunOptions(if_older_than=self._fresh_for(schedule), after_attempts=not first)
        try:
            self.app.sync(
                options, names=self._groups[schedule], continue_on_error=True, on_report=log_report
            )
        except DatabaseError as error:
            log_failure("no pass could be made", error)
            if first:
                with suppress(JobLookupError):  # told to stop meanwhile
                    soon = self.app.clock() + min(_RETRY, schedule.interval(self.app.clock()))
                    self._scheduler.modify_job(job_id, next_run_time=soon)
        except CatalogSyncError as error:
            log_failure("no pass could be made", error)
        else:
            self._begun.add(schedule)
            with suppress(JobLookupError):  # by itself: no receiver holds up the next pass
                self._scheduler.modify_job(_DELIVERIES, next_run_time=self.app.clock())

    def _fresh_for(self, schedule: Schedule) -> timedelta:
        """Return how long a pass serves all replicas: an interval, less the time that one takes."""
        interval = schedule.interval(self.app.clock())
        return max(interval - self.longest_walk, interval / 2)

    def _deliver(self) -> None:
        if not self._begun:
            return  # nothing is owed yet, perhaps there is not even a database
        try:
            self.app.deliver()
        except DatabaseError as error:
            logger.debug("no alerts delivered", extra=fields(reason=str(error)))


class ScheduleTrigger(BaseTrigger):  # type: ignore[misc]  # has no types
    """Trigger of a schedule: every run lies after the present time, so missed runs are skipped.

    Args:
        schedule: says when.
        jitter: each run comes up to this much later, drawn at random and added in UTC.
    """

    def __init__(self, schedule: Schedule, jitter: timedelta = timedelta()) -> None:
        self._schedule = schedule
        self._jitter = jitter

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next run; APScheduler asks after each one."""
        run = self._schedule.next_after(previous_fire_time or now)
        if run <= now:
            run = self._schedule.next_after(now)
        return run + random.random() * self._jitter  # noqa: S311


def log_failure(what: str, error: Exception) -> None:
    """Log an error that ends nothing; its traceback only at DEBUG."""
    shown = error if logger.isEnabledFor(logging.DEBUG) else None
    logger.error(what, extra=fields(reason=str(error)), exc_info=shown)
