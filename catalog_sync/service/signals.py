"""Signals that stop `run` and `sync`, and the end of their work."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TypeAlias

from catalog_sync.app import App
from catalog_sync.cancel import FirstSignal

Inbox: TypeAlias = "SimpleQueue[signal.Signals | None]"
"""Signals, and None when a job has ended."""
STOP = (signal.SIGTERM, signal.SIGINT)
_GRACE_SECONDS = 8.0
"""How long running work may take to end after a signal."""
_SENDING_SECONDS = 2.0
"""The same if only messages are being sent. Their claims expire, and they are sent again."""
_CLOSING_SECONDS = 2.0
"""How long it may then take to close the runs whose threads did not end."""


@contextmanager
def queue_signals(inbox: Inbox, numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Queue the given signals until the block ends, then restore the previous handlers.

    A second signal to stop ends the process at once, unless it is the same one again.
    `SimpleQueue.put` is reentrant, so it is safe in a handler.
    """
    stopping = FirstSignal()

    def take(number: int, _frame: object) -> None:
        if number not in STOP or stopping.is_first(number):
            inbox.put(signal.Signals(number))

    before = {
        number: signal.signal(number, take)
        for number in numbers
        if number not in STOP or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for_end(app: App, is_busy: Callable[[], bool], inbox: Inbox) -> signal.Signals | None:
    """Wait until the work of a stopped App has ended, at most for the grace period.

    Runs that are still open are then closed. Returns the last signal received in the meantime.
    """
    received = None
    began = time.monotonic()
    while is_busy() and received not in STOP:
        longest = _GRACE_SECONDS if app.runs.has_open_runs else _SENDING_SECONDS
        left = began + longest - time.monotonic()
        if left <= 0:
            break
        with suppress(Empty):
            received = inbox.get(timeout=min(left, 0.1)) or received
    if app.runs.has_open_runs:
        closing = threading.Thread(target=app.runs.close_open_runs, daemon=True)
        closing.start()
        closing.join(_CLOSING_SECONDS)
    return received


def run_until_signal(app: App, work: Callable[[], int], on_signal: Callable[[], None]) -> int:
    """Run `work` in a thread and return its result; stop it when a signal arrives.

    The main thread stays free to handle a signal while the work waits for a lock or a server. After
    a signal, `on_signal` is called, and 128 plus the signal's number is returned. An exception of
    `work` is raised here.
    """
    inbox: Inbox = SimpleQueue()
    result: Future[int] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001  # raised again in the main thread
            result.set_exception(error)
        inbox.put(None)

    thread = threading.Thread(target=run, name="work", daemon=True)
    with queue_signals(inbox, STOP):
        thread.start()
        number = inbox.get()
        if number is None:
            thread.join()
            return result.result()
        on_signal()
        app.stop()
        wait_for_end(app, thread.is_alive, inbox)
    if thread.is_alive():
        exit_at_once(128 + number)
    return 128 + number


def exit_at_once(code: int) -> None:
    """End the process without waiting for its threads."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
