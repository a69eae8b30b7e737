"""The daemon's process: signals, the listener, and the active configuration.

The main thread waits for signals; the jobs run in threads. An error of a run is logged, and the
schedule continues. An unusable configuration or schema ends the process only at the start.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from catalog_sync.app import App
from catalog_sync.config.load import ignoring_base_url
from catalog_sync.config.values import Address
from catalog_sync.db import migrate
from catalog_sync.errors import CatalogSyncError, ConfigError, DatabaseError, SchemaError
from catalog_sync.logs import fields
from catalog_sync.service.jobs import Jobs, log_failure
from catalog_sync.service.signals import STOP, Inbox, exit_at_once, queue_signals, wait_for_end

if TYPE_CHECKING:
    from catalog_sync.service.http import Listener

logger = logging.getLogger(__name__)
_LOOK_SECONDS = 5.0
"""How often the clock is checked."""
_CLOCK_STEP_SECONDS = 2.0
"""If the clock differs from the elapsed time by more than this, it was set."""
_RELOAD = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()  # not on Windows
_NOT_RELOADED = "not reloaded; the previous configuration stays active"


class Daemon:
    """The process of `catalog-sync run`. `load` returns the App, also at each reload."""

    def __init__(self, load: Callable[[], App]) -> None:
        self._load = load
        self._inbox: Inbox = SimpleQueue()
        self._jobs: Jobs
        self._listener: Listener | None = None
        self._replaced: list[Jobs] = []
        """Jobs of earlier configurations, some of which are still running."""

    def run(self) -> int:
        """Run until a signal to stop, and return 0. Must be called in the main thread.

        Raises ConfigError, and SchemaError if the schema is that of another version.
        """
        # By default, a SIGHUP during the start would end the process.
        with queue_signals(self._inbox, _RELOAD):
            app = self._load()
            app.check()
            if names := ignoring_base_url(app.settings):
                facts = fields(sources=",".join(names), advice="set base_url in [[sources]]")
                logger.warning("ANTHROPIC_BASE_URL is not used", extra=facts)
            try:
                migrate.ensure_schema(app.engine)
            except SchemaError:
                raise
            except DatabaseError as error:
                log_failure("the database cannot be used yet", error)
            self._listener = self._listen(app.settings.http_listen)
            with queue_signals(self._inbox, STOP):
                self._begin(app)
                while (number := self._next()) not in STOP:
                    self._reload()
                logger.info("stopping", extra=fields(signal=number.name))
                self._end()
        logger.info("stopped")
        return 0

    def _begin(self, app: App) -> None:
        self._jobs = Jobs(app, on_end=lambda: self._inbox.put(None))
        self._jobs.start()
        if self._listener is not None:
            self._listener.start()

    def _next(self) -> signal.Signals:
        """Wait for a signal, and check for changes of the system clock."""
        ahead = time.time() - time.monotonic()
        while True:
            with suppress(Empty):
                if (number := self._inbox.get(timeout=_LOOK_SECONDS)) is not None:
                    return number
            before, ahead = ahead, time.time() - time.monotonic()
            if abs(ahead - before) > _CLOCK_STEP_SECONDS:
                logger.warning("the clock was set", extra=fields(seconds=round(ahead - before)))
                self._jobs.on_clock_change(timedelta(seconds=ahead - before))

    def _end(self) -> None:
        """Stop the jobs. The next process takes over work that does not end in time."""
        self._jobs.stop()
        wait_for_end(self._jobs.app, lambda: self._jobs.is_busy, self._inbox)
        if self._listener is not None:
            self._listener.close()
        if self._jobs.is_busy or any(jobs.is_busy for jobs in self._replaced):
            logger.warning("work that did not end in time is left to the next process")
            exit_at_once(0)  # otherwise the interpreter waits for the threads
        self._jobs.app.close()

    def _reload(self) -> None:
        """Switch to a new configuration. If it cannot be used, log it and keep the old one."""
        listener, old = self._listener, self._jobs
        try:
            _refuse_missing(old.app.settings.file)
            app = self._load()
            app.check()
            if app.settings.http_listen != old.app.settings.http_listen:
                listener = self._listen(app.settings.http_listen)
        except CatalogSyncError as error:
            log_failure(_NOT_RELOADED, error)
            return
        except Exception as error:  # noqa: BLE001  # a bug; its text may quote the file
            logger.error(_NOT_RELOADED, extra=fields(reason=f"unexpected {type(error).__name__}"))  # noqa: TRY400
            return
        old.stop()
        if (received := wait_for_end(old.app, lambda: old.is_busy, self._inbox)) is not None:
            self._inbox.put(received)
        self._replaced = [jobs for jobs in (*self._replaced, old) if jobs.is_busy]
        if self._listener is not None and self._listener is not listener:
            self._listener.close()
        self._listener = listener
        self._begin(app)
        old.app.close()
        logger.info("reloaded")

    def _listen(self, address: Address | None) -> Listener | None:
        """Bind the address. Requests are answered after `start`."""
        if address is None:
            return None
        from catalog_sync.queries.metrics import registry  # noqa: PLC0415  # only for a server
        from catalog_sync.service.http import Listener  # noqa: PLC0415

        try:
            listener = Listener(
                address,
                metrics=registry(lambda: self._jobs.app.snapshot(), process=True),  # noqa: PLW0108  # a reload changes the App
                health=lambda: self._jobs.app.health(),  # noqa: PLW0108
            )
        except OSError as error:
            raise ConfigError(
                f"http_listen: cannot listen on {address.host}:{address.port}: {error.strerror}",
                "choose another address, or stop the process that uses it",
            ) from error
        logger.info("listening", extra=fields(host=address.host or None, port=listener.port))
        return listener


def _refuse_missing(file: Path | None) -> None:
    """Raise ConfigError if the file was deleted. `load` would use the defaults instead."""
    if file is not None and not file.exists():
        raise ConfigError(f"configuration file {file} no longer exists")
