"""Progress of a sync on a terminal, on standard error."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from catalog_sync.logs import LOGGER_NAME

if TYPE_CHECKING:
    from rich.text import Text


class _Line(logging.Handler):
    """The text beside the spinner: the progress and duration of the walk."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._began = time.monotonic()
        self._text = "walking the list"

    def __rich__(self) -> Text:
        from rich.text import Text

        seconds = f"{time.monotonic() - self._began:.0f} s"
        return Text(f"{seconds}, {self._text}", no_wrap=True, overflow="ellipsis")

    def page(self, source: str, pages: int, models: int) -> None:
        """Show the progress of a walk of several pages; the latest one if there are several."""
        so_far = f"{source}: {models} models on {pages} pages so far"
        self._text = so_far if pages > 1 else "walking the list"

    def emit(self, record: logging.LogRecord) -> None:
        """Show that the client waits before the next attempt."""
        facts = getattr(record, "fields", {})
        if "wait_seconds" in facts:
            reason, wait = facts.get("reason", "no answer"), facts["wait_seconds"]
            self._text = f"{reason}: waiting {wait:g} s to try again"


@contextmanager
def progress(*, verbose: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a spinner during a sync. Yields the function to report progress to."""
    if verbose or not sys.stderr.isatty():  # the log replaces the spinner
        yield lambda _source, _pages, _models: None
        return
    from rich.console import Console

    line = _Line()
    logger = logging.getLogger(LOGGER_NAME)
    level = logger.level
    for handler in logger.handlers:  # the threads still report progress
        handler.setLevel(max(handler.level, level))
    logger.addHandler(line)
    logger.setLevel(min(level, logging.INFO))
    try:
        with Console(stderr=True, markup=False, emoji=False).status(line):
            yield line.page
    finally:
        logger.setLevel(level)
        logger.removeHandler(line)
