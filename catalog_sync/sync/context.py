"""The options of a run, and the objects that all runs share."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from catalog_sync.cancel import CancelToken
from catalog_sync.db import checked
from catalog_sync.db import state as db_state
from catalog_sync.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    import sqlalchemy as sa

    from catalog_sync.clock import Clock
    from catalog_sync.config.settings import Settings
    from catalog_sync.domain.model import SourceRecord

_LOOK_SECONDS = 1.0
"""How long the result of a query for the sources is used."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of a run, from the user or the schedule."""

    dry_run: bool = False
    """Decide everything, write nothing."""
    accept_removals: bool = False
    """A person accepted the held removals, or the change of the server's identity."""
    if_older_than: timedelta | None = None
    """Skip a source that was synced more recently; None never skips."""
    after_attempts: bool = False
    """Skip a source also after a failed or held run: replicas share these attempts."""
    synced_since: datetime | None = None
    """Skip a source that was synced, or tried, at or after this time; None never skips."""

    @property
    def skip_fresh(self) -> bool:
        """Whether recently synced sources are skipped."""
        return self.if_older_than is not None or self.synced_since is not None

    def fresh(self, now: datetime, source: SourceRecord, tried_at: datetime | None) -> str | None:
        """Return why a source need not be synced yet, or None.

        `tried_at` is the start of its last run. A time in the future was written before the host's
        clock was set back, and is ignored.
        """
        tried_at = tried_at if self.after_attempts else None
        for word, at in {"synced": source.last_synced_at, "tried": tried_at}.items():
            if at is None:
                continue
            is_recent = self.if_older_than is not None and abs(now - at) < self.if_older_than
            if is_recent or (self.synced_since is not None and self.synced_since <= at <= now):
                return f"{word} {abs(now - at).total_seconds():.0f} s ago"
        return None


@dataclass(frozen=True, slots=True)
class RunContext:
    """The objects that the runs of all sources share."""

    engine: sa.Engine
    clock: Clock
    settings: Settings
    options: RunOptions = RunOptions()
    cancel: CancelToken = field(default_factory=CancelToken)
    on_begin: Callable[[], None] = lambda: None
    """Called when a run has taken its lease."""
    on_page: Callable[[str, int, int], None] = lambda _source, _pages, _models: None
    """Called with the source's name and the numbers of pages and models so far."""
    open_runs: dict[int, Callable[[], None]] = field(default_factory=dict)
    """The function that closes each open run, by the run's id."""
    checkpoint: bool = True
    """Whether each run moves SQLite's log into the file. Once after many runs is faster."""


class OtherRuns:
    """Finds the sources that other processes have synced meanwhile, with one query for all.

    A transaction per source and process would be most of the work of several replicas.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._sources: dict[str, SourceRecord] = {}

    def fresh(self, name: str) -> str | None:
        """Return why a source need not be synced yet. If it returns None, the run checks again."""
        with self._lock:
            if self._looked_at is None or time.monotonic() - self._looked_at > _LOOK_SECONDS:
                with (
                    suppress(DatabaseError),  # the source's run reports it
                    checked.read(self._context.engine) as connection,
                ):
                    found = db_state.select_sources(connection)
                    self._sources = {source.name: source for source in found}
                self._looked_at = time.monotonic()
            source = self._sources.get(name)
        if source is None:
            return None
        return self._context.options.fresh(self._context.clock(), source, None)
