"""How work is stopped: a token that wakes everything that waits for it, and the first signal."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from catalog_sync.errors import StoppedError

_SAME_SIGNAL_SECONDS = 1.0
"""A signal that is repeated within this time is one signal: `timeout` sends its signal to the
process and to the process's group."""


class CancelToken:
    """Asks running work to stop. Safe to share between threads."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[object, Callable[[], None]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Cancel the work: waits end, and every registered callback is called once."""
        self._cancelled.set()
        with self._lock:
            callbacks, self._callbacks = list(self._callbacks.values()), {}
        for callback in callbacks:
            callback()

    def check(self) -> None:
        """Raise StoppedError if the token was cancelled."""
        if self._cancelled.is_set():
            raise StoppedError("stopped")

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds`. Raises StoppedError as soon as the token is cancelled."""
        self._cancelled.wait(seconds)
        self.check()

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback`, for example to close a socket, if the token is cancelled in the block.

        The callback runs in the thread that cancels, and must not block or raise. If the token is
        already cancelled, it is called immediately.
        """
        key = object()
        with self._lock:
            registered = not self._cancelled.is_set()
            if registered:
                self._callbacks[key] = callback
        if not registered:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(key, None)


class FirstSignal:
    """Tells the first signal to stop from later ones."""

    def __init__(self) -> None:
        self._at: float | None = None

    def is_first(self, number: int) -> bool:
        """Return whether no signal came before. A second one ends the process at once."""
        if self._at is None:
            self._at = time.monotonic()
            return True
        if time.monotonic() - self._at > _SAME_SIGNAL_SECONDS:
            os._exit(128 + number)
        return False
