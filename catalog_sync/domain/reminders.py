"""Reminders of approaching retirement dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Changes, ModelRecord

COVERING = frozenset({Kind.ADDED, Kind.RETURNED, Kind.DEPRECATED, Kind.RESCHEDULED})
"""Kinds of events that state the retirement date, so that a reminder would repeat it."""


@dataclass(frozen=True, slots=True)
class Reminders:
    """The thresholds that a run may cross.

    Both times are unadjusted readings of the hosts' clocks: a run with a wrong clock must not
    suppress the reminders of later runs.
    """

    thresholds: Sequence[timedelta] = ()
    """How long before the retirement date to remind."""
    since: datetime | None = None
    """When the last applied run began; None before the first."""
    now: datetime | None = None
    """When this run began."""

    def changes(self, record: ModelRecord) -> Changes | None:
        """Return the `changes` of a model's reminder; None if no threshold was crossed."""
        retires_at = record.info.retires_at
        if retires_at is None or record.retired or self.since is None or self.now is None:
            return None
        if not any(
            self.since < retires_at - threshold <= self.now for threshold in self.thresholds
        ):
            return None
        old, new = ((retires_at.date() - time.date()).days for time in (self.since, self.now))
        return {"days_left": {"old": old, "new": new}}
