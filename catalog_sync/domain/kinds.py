"""The words of the program: event kinds, run statuses, results of a confirmation."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The kind of an event. `retiring` is the reminder that a retirement date comes closer."""

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
"""The events that a channel is sent by default; the others are for operators."""

ENDING = frozenset({Kind.DEPRECATED, Kind.RETIRING, Kind.RESCHEDULED, Kind.RETIRED, Kind.REMOVED})
"""The events that ask a person to move to another model."""


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
    """How a run over one source ended; `running` until it did."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    HELD = "held"
    FAILED = "failed"
    SKIPPED = "skipped"


ENDED = (RunStatus.SUCCEEDED, RunStatus.HELD, RunStatus.FAILED)
"""How a recorded run ends. A skipped run is not recorded."""
INTERRUPTED = "interrupted"
"""The `error` and the code of a run whose process died. It counts as a failure."""
STOPPED = "stopped"
"""The `error` and the code of a run that was stopped on purpose. It does not count."""


class AbsenceCheck(StrEnum):
    """The API's answer by id about a model that its list no longer shows."""

    GONE = "gone"  # it does not exist
    ANSWERING = "answering"  # it exists: the list is wrong
    RETIRED = "retired"  # it exists and is retired: it left the list because of that
    UNKNOWN = "unknown"  # no answer that counts
