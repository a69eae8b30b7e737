"""The options of a run, and the objects that all runs share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from catalog_sync.cancel import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    import sqlalchemy as sa

    from catalog_sync.clock import Clock
    from catalog_sync.config.settings import Settings
    from catalog_sync.domain.model import SourceRecord


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
        """Whether sources are skipped that were synced recently."""
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
