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

    def __init__(self, message: str, advice: str | None = None) -> None:
        self.reason = one_line(message)
        """What happened, without the advice."""
        next_step = self.advice if advice is None else advice
        super().__init__(one_line(f"{message}; {next_step}" if next_step else message))


class ConfigError(CatalogSyncError):
    """The configuration or the command line cannot be used."""

    code = "config"
    exit_code = 2


class OutputError(CatalogSyncError):
    """Standard output or an output file could not be written. All other work is done."""

    code = "output"


class NotFoundError(CatalogSyncError):
    """The requested data is not in the catalog."""

    code = "not_found"


class SourceError(CatalogSyncError):
    """A source could not be synced; its catalog was not changed."""

    code = "source"


class UnreachableError(SourceError):
    """No answer came: name resolution, connection, TLS or a broken transfer."""

    code = "unreachable"
    advice = "check the network and base_url"


class UnauthorizedError(SourceError):
    """The server refused the credential (401 or 403)."""

    code = "unauthorized"


class RefusedError(SourceError):
    """The server refused the request for a reason other than the credential."""

    code = "refused"
    advice = "check base_url and the source's settings"


class OverloadedError(SourceError):
    """The server was rate limited, overloaded or broken during all retries."""

    code = "overloaded"
    advice = "the next run tries again"


class BadAnswerError(SourceError):
    """The answer does not follow the Models API."""

    code = "bad_answer"
    advice = "nothing was changed; check that base_url speaks the Models API"


class DeadlineError(SourceError):
    """The walk did not end within the source's deadline."""

    code = "deadline"
    advice = "the next run tries again; a larger `deadline` gives it longer"


class ClockError(SourceError):
    """The clocks of host and server differ so much that every recorded time would be wrong."""

    code = "clock"
    advice = "nothing was recorded; set the clock of this host"

    server_at: datetime | None = None
    """The server's time, which dates the events about this error."""


class LeaseLostError(SourceError):
    """Another process took over the source during the walk."""

    code = "lease_lost"
    advice = "nothing was written; a larger `deadline` holds the source for longer"


class SecretError(SourceError):
    """A source's secret could not be read. The other sources are not affected."""

    code = "secret"


class ValueRefusedError(SourceError):
    """The database refused a value that the API sent."""

    code = "value_refused"
    advice = "nothing was changed"


class HeldError(CatalogSyncError):
    """A run waits for a person: too many removals, or another organisation or address."""

    code = "held"
    exit_code = 3


class StoppedError(CatalogSyncError):
    """The process was asked to stop while the source was being synced."""

    code = "stopped"


class DatabaseError(CatalogSyncError):
    """The database could not be used: unreachable, locked, full, or another program's."""

    code = "database"
    exit_code = 4


class SchemaError(DatabaseError):
    """The database's schema is older or newer than this program's, or another program's."""

    code = "schema"


class DriverMissingError(DatabaseError):
    """The Python driver for this kind of database is not installed."""

    code = "driver_missing"
