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
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from catalog_sync.db import migrate
from catalog_sync.errors import CatalogSyncError, ConfigError, DatabaseError, SchemaError
from catalog_sync.logs import fields
from catalog_sync.service.jobs import _Service, log_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from catalog_sync.app import App
    from catalog_sync.config.values import Address
    from catalog_sync.service.http import Listener


logger = logging.getLogger(__name__)
_GRACE = timedelta(seconds=10)
"""How long what is under way may take to end, after a signal."""
_CLOSING_SHARE = 0.2
"""How much of it is kept for closing the runs of what does not end."""
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
                migrate.ensure_schema(app.engine)
            except SchemaError:
                raise
            except DatabaseError as error:
                log_failure("the database cannot be used yet", error)
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
            log_failure(_NOT_RELOADED, error)
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
        from catalog_sync.service.http import Listener  # noqa: PLC0415  # only for who is asked

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


def _exit_at_once(code: int) -> None:
    """End the process without waiting for its threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
