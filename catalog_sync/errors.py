"""The errors of this program, grouped by what the operator does next.

    CatalogSyncError
    ├── ConfigError             exit 2: correct the configuration or the command line
    ├── OutputError             exit 1: the results could not be written
    ├── NotFoundError           exit 1: the requested model or source is not in the catalog
    ├── SourceError             exit 1: a source could not be synced
    │   ├── UnreachableError        no answer: look at the network and at base_url
    │   ├── UnauthorizedError       the credential was refused: look at the key
    │   ├── RefusedError            another refusal of the request: look at the request
    │   ├── OverloadedError         the server is busy or broken: wait
    │   ├── BadAnswerError          the answer is not what the API promises
    │   ├── DeadlineError           the walk took too long
    │   ├── ClockError              the host's clock and the server's differ by more than a day
    │   ├── LeaseLostError          another process took over the source
    │   ├── SecretError             its secret cannot be read
    │   └── ValueRefusedError       the database refused a value of the walk
    ├── HeldError               exit 3: a run waits for a person to look at its removals
    ├── StoppedError            exit 1: the process was asked to stop
    └── DatabaseError           exit 4: the database could not be used
        ├── SchemaError             its schema is not this program's
        └── DriverMissingError      its driver is not installed

Errors of lower layers are translated once, where they are caught first. Only `cli` catches these.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from catalog_sync.text import one_line


class CatalogSyncError(Exception):
    """Base of this program's errors. `str()` is one line: what happened, to what, what to do."""

    code: ClassVar[str] = "error"
    """Stored in `sync_runs.error_code` and shown in place of the class's name: never changed."""
    exit_code: ClassVar[int] = 1
    advice: ClassVar[str] = ""

    def __init_subclass__(cls, **attributes: str | int) -> None:
        for name, value in attributes.items():
            setattr(cls, name, value)

    def __init__(self, message: str, advice: str | None = None) -> None:
        self.reason = one_line(message)
        """What happened, without the advice."""
        next_step = self.advice if advice is None else advice
        super().__init__(one_line(f"{message}; {next_step}" if next_step else message))


class ConfigError(CatalogSyncError, code="config", exit_code=2):
    """The configuration or the command line cannot be used."""


class OutputError(CatalogSyncError, code="output"):
    """Standard output or an output file could not be written. All other work is done."""


class NotFoundError(CatalogSyncError, code="not_found"):
    """The requested data is not in the catalog."""


class SourceError(CatalogSyncError, code="source"):
    """A source could not be synced; its catalog was not changed."""


class UnreachableError(SourceError, code="unreachable", advice="check the network and base_url"):
    """No answer came: name resolution, connection, TLS or a broken transfer."""


class UnauthorizedError(SourceError, code="unauthorized"):
    """The server refused the credential (401 or 403)."""


class RefusedError(SourceError, code="refused", advice="check base_url and the source's settings"):
    """The server refused the request for a reason other than the credential."""


class OverloadedError(SourceError, code="overloaded", advice="the next run tries again"):
    """The server was rate limited, overloaded or broken during all retries."""


class BadAnswerError(
    SourceError,
    code="bad_answer",
    advice="nothing was changed; check that base_url speaks the Models API",
):
    """The answer does not follow the Models API."""


class DeadlineError(
    SourceError,
    code="deadline",
    advice="the next run tries again; a larger `deadline` gives it longer",
):
    """The walk did not end within the source's deadline."""


class ClockError(
    SourceError, code="clock", advice="nothing was recorded; set the clock of this host"
):
    """The clocks of host and server differ so much that every recorded time would be wrong."""

    server_at: datetime | None = None
    """The server's time, which dates the events about this error."""


class LeaseLostError(
    SourceError,
    code="lease_lost",
    advice="nothing was written; a larger `deadline` holds the source for longer",
):
    """Another process took over the source during the walk."""


class SecretError(SourceError, code="secret"):
    """A source's secret could not be read. The other sources are not affected."""


class ValueRefusedError(SourceError, code="value_refused", advice="nothing was changed"):
    """The database refused a value that the API sent."""


class HeldError(CatalogSyncError, code="held", exit_code=3):
    """A run waits for a person: too many removals, or another organisation or address."""


class StoppedError(CatalogSyncError, code="stopped"):
    """The process was asked to stop while the source was being synced."""


class DatabaseError(CatalogSyncError, code="database", exit_code=4):
    """The database could not be used: unreachable, locked, full, or another program's."""


class SchemaError(DatabaseError, code="schema"):
    """The database's schema is older or newer than this program's, or another program's."""


class DriverMissingError(DatabaseError, code="driver_missing"):
    """The Python driver for this kind of database is not installed."""
