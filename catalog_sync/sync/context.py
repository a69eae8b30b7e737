"""What a run is asked to do, the rules that it follows, and what the runs of all sources share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from catalog_sync.cancel import CancelToken

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    import sqlalchemy as sa

    from catalog_sync.clock import Clock
    from catalog_sync.domain.alert_rules import AlertRule


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a person or a schedule asks of a run."""

    dry_run: bool = False
    """Decide everything, write nothing."""
    accept_removals: bool = False
    """A person looked: held removals, and another server's identity, are right."""
    if_older_than: timedelta | None = None
    """Skip a source that was synced more recently; None never skips."""
    after_attempts: bool = False
    """Also skip a source whose last run failed or was held more recently: replicas share those."""
    synced_since: datetime | None = None
    """Skip a source that was synced, or tried, at or after this time; None never skips."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of the configuration that a run follows."""

    reminders: Sequence[timedelta] = ()
    """How long before a retirement date to remind of it."""
    failure_alert_after: int = 3
    """Consecutive failures that are worth an event."""
    rules: Sequence[AlertRule] = ()
    """Which events are sent to which channel."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the runs of all sources share."""

    engine: sa.Engine
    clock: Clock
    options: RunOptions = RunOptions()
    policy: Policy = Policy()
    cancel: CancelToken = field(default_factory=CancelToken)
