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
