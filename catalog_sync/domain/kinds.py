"""Enumerations of the whole program: event kinds, lifecycles, verdicts, run statuses."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The kind of an event. `retiring` is a reminder of an approaching retirement date."""

    ADDED = "added"
    UPDATED = "updated"
    DEPRECATED = "deprecated"
    RESCHEDULED = "rescheduled"
    RETIRED = "retired"
    RETIRING = "retiring"
    REMOVED = "removed"
    RETURNED = "returned"
    SCHEMA_CHANGED = "schema_changed"
    SYNC_FAILED = "sync_failed"
    SYNC_RECOVERED = "sync_recovered"
    SYNC_HELD = "sync_held"


DEFAULT_ALERT_KINDS = (
    Kind.ADDED,
    Kind.DEPRECATED,
    Kind.RESCHEDULED,
    Kind.RETIRING,
    Kind.RETIRED,
    Kind.REMOVED,
    Kind.RETURNED,
)
"""The events that a channel receives by default."""

ENDING = frozenset({Kind.DEPRECATED, Kind.RETIRING, Kind.RESCHEDULED, Kind.RETIRED, Kind.REMOVED})
"""The events after which users must move to another model."""


class Lifecycle(StrEnum):
    """The stages of a model that the Models API documents."""

    ACTIVE = "active"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


LEAVING = frozenset({Lifecycle.DEPRECATED, Lifecycle.RETIRED})
"""The stages of a model that nobody should begin to use."""


class Verdict(StrEnum):
    """What `check` says about a model, best first."""

    FINE = "fine"
    DEPRECATED = "deprecated"
    RETIRING = "retiring"
    OVERDUE = "overdue"
    UNKNOWN = "unknown"
    RETIRED = "retired"
    REMOVED = "removed"


DEFAULT_FAIL_ON = (
    Verdict.UNKNOWN,
    Verdict.RETIRING,
    Verdict.OVERDUE,
    Verdict.RETIRED,
    Verdict.REMOVED,
)
"""The verdicts that make `check` fail by default; any other except `fine` is a warning."""


class RunStatus(StrEnum):
    """The status of a run over one source: `running`, or how it ended."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    HELD = "held"
    FAILED = "failed"
    SKIPPED = "skipped"


ENDED = (RunStatus.SUCCEEDED, RunStatus.HELD, RunStatus.FAILED)
"""The final statuses of recorded runs. A skipped run is not recorded."""
INTERRUPTED = "interrupted"
"""The `error` and `error_code` of a run whose process died. It counts as a failure."""
STOPPED = "stopped"
"""The `error` and `error_code` of a run that was stopped on purpose. It is not a failure."""


class AbsenceCheck(StrEnum):
    """The result of requesting a missing model by id."""

    GONE = "gone"  # it does not exist
    ANSWERING = "answering"  # it exists: the list is wrong
    RETIRED = "retired"  # it exists and is retired: it left the list because of that
    UNKNOWN = "unknown"  # no answer that counts
