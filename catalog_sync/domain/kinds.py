"""The words of the program: event kinds, run statuses, results of a confirmation."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What an event says. Past participles; `retiring` is the reminder that a date comes closer."""

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


class Lifecycle(StrEnum):
    """The stages of a model that the Models API documents."""

    ACTIVE = "active"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


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
    """How a pass over one source ended; `running` until it did."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    HELD = "held"
    FAILED = "failed"
    SKIPPED = "skipped"


ENDED = (RunStatus.SUCCEEDED, RunStatus.HELD, RunStatus.FAILED)
"""How a pass ends that was really made."""
INTERRUPTED = "interrupted"
"""The `error` of a pass whose process was told to stop, or died."""


class AbsenceCheck(StrEnum):
    """What the API said of a model, asked by id, that its own list no longer showed."""

    GONE = "gone"  # 404
    ANSWERING = "answering"  # 200: the list is wrong
    RETIRED = "retired"  # 200, with `lifecycle` `retired`: it left the list because it retired
    UNKNOWN = "unknown"  # anything else: no answer is no news
