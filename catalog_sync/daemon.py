"""The daemon: it decides when, and calls what `sync` calls. It holds no logic of the pass.

The main thread waits for signals; APScheduler starts the passes of each schedule and, between
them, the deliveries. What fails is logged and done again when its time comes: only a configuration
or a schema that cannot be used ends it, and only at the start.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from catalog_sync import __version__, database
from catalog_sync.errors import CatalogSyncError, ConfigError, DatabaseError, SchemaError
from catalog_sync.logs import fields
from catalog_sync.sync import PassOptions, log_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from catalog_sync.app import App
    from catalog_sync.metrics import Listener
    from catalog_sync.schedule import Schedule
    from catalog_sync.settings import Address

__all__ = ["Daemon"]

logger = logging.getLogger(__name__)

_GRACE = timedelta(seconds=10)
"""How long what is under way may take to end, after a signal."""
_CLOSING_SHARE = 0.2
"""How much of it is kept for closing the runs of what does not end."""
_DELIVERY_EVERY = timedelta(seconds=10)
"""How often is looked for alerts that have become due."""
_RETRY = timedelta(seconds=10)
"""How soon the first pass is tried again while the database cannot be used."""
_DELIVERIES = "deliveries"
_LOOK_SECONDS = 5.0
"""How often the clock is looked at."""
_CLOCK_STEP_SECONDS = 2.0
"""By how much a clock must differ from the time that went by to count as having been set."""
_STOP = frozenset({signal.SIGTERM, signal.SIGINT})
_RELOAD = frozenset({signal.SIGHUP} if hasattr(signal, "SIGHUP") else ())  # not on Windows
_NOT_RELOADED = "not reloaded; the configuration before it stays"


class Daemon:
    """The process: its signals, its listener, and the configuration that is at work."""

    def __init__(self, load: Callable[[], App]) -> None:
        """`load` reads the configuration and wires it; it is called anew at each reload."""
        self._load = load
        self._inbox: SimpleQueue[signal.Signals | None] = SimpleQueue()
        self._service: _Service
        self._listener: Listener | None = None
        self._left: list[_Service] = []
        """Those before, of which something has not ended yet."""

    def run(self) -> int:
        """Work until told to stop, and return 0.

        Raises ConfigError and SchemaError for what is wrong at the start. To be called in the
        main thread, which alone receives signals.
        """
        with _signals_into(self._inbox, _RELOAD):  # who reloads at the start does not mean to end
            app = self._load()
            app.check()
            try:
                database.ensure_schema(app.engine)
            except SchemaError:
                raise
            except DatabaseError as error:
                _log_failure("the database cannot be used yet", error)
            self._listener = self._listen(app.settings.http_listen)
            with _signals_into(self._inbox, _STOP):
                self._begin(app)
                while (number := self._next()) not in _STOP:
                    self._reload()
                logger.info("stopping", extra=fields(signal=number.name))
                self._end()
        logger.info("stopped")
        return 0

    def _begin(self, app: App) -> None:
        self._service = _Service(app, done=lambda: self._inbox.put(None))
        self._service.start()
        if self._listener is not None:
            self._listener.start()

    def _next(self) -> signal.Signals:
        """Wait for a signal, and meanwhile for a clock that is set."""
        ahead = time.time() - time.monotonic()
        while True:
            with suppress(Empty):
                if (number := self._inbox.get(timeout=_LOOK_SECONDS)) is not None:
                    return number
            before, ahead = ahead, time.time() - time.monotonic()
            if abs(ahead - before) > _CLOCK_STEP_SECONDS:
                logger.warning("the clock was set", extra=fields(seconds=round(ahead - before)))
                self._service.keep_time(timedelta(seconds=ahead - before))

    def _end(self) -> None:
        """Stop what is under way; what does not end in time is left behind, for others to redo."""
        self._service.stop()
        self._settle()
        if self._listener is not None:
            self._listener.close()
        if self._service.busy or any(left.busy for left in self._left):
            logger.warning("left behind what did not end in time")
            _exit_at_once(0)  # its threads would be waited for
        self._service.app.close()

    def _settle(self) -> signal.Signals | None:
        """Wait until nothing is under way, or the time is over; return a signal that came.

        The runs of what is still under way then are closed in its stead.
        """
        came, service = None, self._service
        grace = min(_GRACE, service.longest_walk)
        ends = time.monotonic() + (grace * (1 - _CLOSING_SHARE)).total_seconds()
        while service.busy and came not in _STOP and (left := ends - time.monotonic()) > 0:
            with suppress(Empty):
                came = self._inbox.get(timeout=left) or came
        if service.busy:
            closing = threading.Thread(target=service.app.abandon, daemon=True)
            closing.start()
            closing.join((grace * _CLOSING_SHARE).total_seconds())
        return came

    def _reload(self) -> None:
        """Put a new configuration to work; one that cannot be used is told, and the old stays."""
        listener, old = self._listener, self._service
        try:
            _refuse_to_forget(old.app.settings.file)
            app = self._load()
            app.check()
            if app.settings.http_listen != old.app.settings.http_listen:
                listener = self._listen(app.settings.http_listen)
        except CatalogSyncError as error:
            _log_failure(_NOT_RELOADED, error)
            return
        except Exception as error:  # noqa: BLE001  # a bug; it may quote what the file holds
            logger.error(_NOT_RELOADED, extra=fields(reason=f"unexpected {type(error).__name__}"))  # noqa: TRY400
            return
        old.stop()
        came = self._settle()
        if came is not None:
            self._inbox.put(came)
        self._left = [left for left in (*self._left, old) if left.busy]
        if self._listener is not None and self._listener is not listener:
            self._listener.close()
        self._listener = listener
        self._begin(app)
        old.app.close()
        logger.info("reloaded")

    def _listen(self, address: Address | None) -> Listener | None:
        """Take the port; it is answered from when there is something to say."""
        if address is None:
            return None
        from catalog_sync.metrics import Listener  # noqa: PLC0415  # only for who is asked

        try:
            listener = Listener(address, metrics=self._metrics, health=self._health)
        except OSError as error:
            raise ConfigError(
                f"http_listen: {address.host}:{address.port} cannot be listened on: "
                f"{error.strerror}",
                "choose another address, or end who has it",
            ) from error
        logger.info("listening", extra=fields(host=address.host or None, port=listener.port))
        return listener

    def _metrics(self) -> bytes:
        return self._service.app.metrics(process=True)

    def _health(self) -> tuple[bool, dict[str, Any]]:
        return self._service.app.health()


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
        every = IntervalTrigger(seconds=_DELIVERY_EVERY.total_seconds(), timezone=UTC)
        self._scheduler.add_job(
            self._guarded,
            _Onward(every),
            args=[self._deliver],
            id=_DELIVERIES,
            max_instances=self._senders,
        )

    def _plan_passes(self, job_id: str, schedule: Schedule) -> None:
        jitter = schedule.at_most(self.app.settings.jitter, self.app.clock())
        self._scheduler.add_job(
            self._guarded,
            _Onward(schedule.trigger(jitter)),
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
            _log_failure(f"unexpected {type(error).__name__}", error)
        finally:
            with self._lock:
                self._running -= 1
            self._done()

    def _pass(self, schedule: Schedule, job_id: str) -> None:
        first = schedule not in self._begun
        options = PassOptions(if_older_than=self._fresh_for(schedule), after_attempts=not first)
        try:
            self.app.sync(
                options, names=self._groups[schedule], each_alone=True, on_report=log_report
            )
        except DatabaseError as error:
            _log_failure("no pass could be made", error)
            if first:
                with suppress(JobLookupError):  # told to stop meanwhile
                    soon = self.app.clock() + min(_RETRY, schedule.interval(self.app.clock()))
                    self._scheduler.modify_job(job_id, next_run_time=soon)
        except CatalogSyncError as error:
            _log_failure("no pass could be made", error)
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


class _Onward(BaseTrigger):  # type: ignore[misc]  # has no types
    """A trigger that leaves behind what was missed: it runs late, once, and then it goes on.

    APScheduler would go through every run that was missed, if only to make one of them: after a
    clock that began in 1970, for minutes and with gigabytes.
    """

    def __init__(self, trigger: BaseTrigger) -> None:
        self._trigger = trigger

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        coming: datetime | None = self._trigger.get_next_fire_time(previous_fire_time, now)
        if coming is not None and coming <= now:
            coming = self._trigger.get_next_fire_time(now, now)
        return coming


@contextmanager
def _signals_into(
    inbox: SimpleQueue[signal.Signals | None], numbers: frozenset[signal.Signals]
) -> Iterator[None]:
    """Put signals into a queue, whose `put` may interrupt itself; as it was before, at the end.

    A second one that says stop ends the process, whatever the main thread waits for.
    """
    told: list[int] = []

    def take(got: int, _frame: object) -> None:
        if got in _STOP:
            if told:
                os._exit(128 + got)
            told.append(got)
        inbox.put(signal.Signals(got))

    before = {number: signal.signal(number, take) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse_to_forget(file: Path | None) -> None:
    """Raise ConfigError for a file that is gone: without it, the defaults would be taken."""
    if file is not None and not file.exists():
        raise ConfigError(f"configuration file {file} is gone")


def _log_failure(what: str, error: Exception) -> None:
    shown = error if logger.isEnabledFor(logging.DEBUG) else None
    logger.error(what, extra=fields(reason=str(error)), exc_info=shown)


def _exit_at_once(code: int) -> None:
    """End the process without waiting for its threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
