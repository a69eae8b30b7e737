"""Library facade: runs, deliveries and queries, built from the settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import sqlalchemy as sa

from catalog_sync.cancel import CancelToken
from catalog_sync.clock import Clock, utc_now
from catalog_sync.config.settings import Settings
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import checked, migrate, notifications, outbox
from catalog_sync.db import engine as db_engine
from catalog_sync.db import state as db_state
from catalog_sync.db.events import EventFilter, select_events
from catalog_sync.db.urls import display_url
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, ModelRecord
from catalog_sync.errors import DatabaseError
from catalog_sync.queries import catalog, health
from catalog_sync.queries.health import SourceHealth
from catalog_sync.sync.all_sources import AllSources, refuse_unknown
from catalog_sync.sync.context import RunOptions
from catalog_sync.sync.report import RunReport

if TYPE_CHECKING:
    from catalog_sync.alerts.channels import Channel
    from catalog_sync.queries.metrics import Snapshot

T = TypeVar("T")


class App:
    """The program, built from its settings. A context manager that releases its connections.

    `clock` returns the present time. `direct` ignores the proxies of the environment.
    """

    def __init__(self, settings: Settings, clock: Clock = utc_now, *, direct: bool = False) -> None:
        self.settings = settings
        self.clock = clock
        self.cancel = CancelToken()
        self.engine: sa.Engine = db_engine.create_engine(settings.database_url.get_secret_value())
        self.runs = AllSources(settings, self.engine, clock, self.cancel, direct=direct)
        self._channels: dict[str, Channel] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the connections, after waiting briefly for a heartbeat that is being sent."""
        self.runs.close()
        self.engine.dispose()

    @property
    def database(self) -> str:
        """The database's address for messages, without user and password."""
        return display_url(self.engine.url)

    # --- runs and deliveries -------------------------------------------------------------------

    def check(self) -> None:
        """Check the channels and the credentials that runs need. Raises ConfigError."""
        self.runs.check_credentials()
        self.channels()

    def sync(
        self,
        options: RunOptions | None = None,
        *,
        names: Sequence[str] = (),
        on_page: Callable[[str, int, int], None] = lambda _source, _pages, _models: None,
        on_report: Callable[[RunReport], None] = lambda _report: None,
    ) -> list[RunReport]:
        """Run all sources, or the named ones, once; an error of one source is in its report.

        `on_page` (source, pages and models so far) and `on_report` are called in the runs' threads.
        Raises ConfigError before the first run, and DatabaseError when no run can be recorded.
        """
        options = options or RunOptions()
        self.runs.check_credentials(names)
        if not options.dry_run:
            self.channels()
        return self.runs.sync(options, names=names, on_page=on_page, on_report=on_report)

    def deliver(self) -> outbox.DeliveryCounts:
        """Send the due alerts. Returns the numbers of delivered, pending and failed ones."""
        from catalog_sync.alerts.delivery import deliver_due  # noqa: PLC0415  # heavy

        if migrate.file_missing(self.engine):
            return outbox.DeliveryCounts()  # connecting would create it
        try:
            return deliver_due(
                self.engine,
                self.channels(),
                self.clock,
                attempts=self.settings.delivery_attempts,
                rules=self.settings.alerts,
                cancel=self.cancel,
                public_url=self.settings.public_url,
            )
        except DatabaseError:
            # Looked at only now, because an unchanged `sync` opens no fourth transaction.
            if migrate.current_revision(self.engine) is not None:
                raise
            return outbox.DeliveryCounts()  # nothing was recorded yet

    def stop(self) -> None:
        """Stop all runs and deliveries, from any thread. The App runs nothing afterwards."""
        self.cancel.cancel()

    def channels(self) -> Mapping[str, Channel]:
        """Return the alert channels by name. Raises ConfigError for one that cannot be used."""
        if self._channels is None:
            from catalog_sync.alerts.delivery import open_channel  # noqa: PLC0415  # heavy

            self._channels = {alert.name: open_channel(alert) for alert in self.settings.alerts}
        return self._channels

    def requeue(self, channel: str | None = None) -> tuple[int, int]:
        """Make failed and deferred deliveries due now. Returns how many of each there were."""
        if migrate.current_revision(self.engine) is None:
            return 0, 0  # nothing to requeue; this must not create the database
        now = self.clock()
        return self._write(
            lambda connection: notifications.requeue(connection, now, channel=channel)
        )

    def forget(self, source: str) -> int:
        """Delete a source with all its rows. Returns how many models it had."""
        from catalog_sync.db.retention import forget  # noqa: PLC0415  # rarely used

        return self._write(lambda connection: forget(connection, source))

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        migrate.ensure_schema(self.engine)
        return db_engine.run(self.engine, work)

    # --- queries -------------------------------------------------------------------------------

    @contextmanager
    def read_transaction(self, sources: Sequence[str] = ()) -> Iterator[sa.Connection]:
        """Yield a connection whose queries all see one snapshot; a missing database reads as empty.

        Raises ConfigError for a name in `sources` that is neither configured nor recorded.
        """
        with checked.read(self.engine) as connection:
            if sources:
                known = {s.name for s in db_state.select_sources(connection)}
                refuse_unknown(sources, known | {s.name for s in self.settings.sources})
            yield connection

    def models(
        self,
        *,
        sources: Sequence[str] = (),
        lifecycles: Sequence[str] = (),
        removed: bool = False,
        as_of: datetime | None = None,
    ) -> list[ModelRecord]:
        """Return the models listed now, or at the aware time `as_of`; see `queries.catalog`."""
        with self.read_transaction(sources) as connection:
            return catalog.list_models(
                connection, sources=sources, lifecycles=lifecycles, removed=removed, as_of=as_of
            )

    def events(
        self,
        *,
        sources: Sequence[str] = (),
        kinds: Sequence[Kind] = (),
        models: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        payloads: Collection[Kind] | None = None,
    ) -> Iterator[Event]:
        """Yield the events, oldest first, in a transaction that ends with the iterator."""
        where = EventFilter(sources, kinds, models, since, until, payloads)
        with self.read_transaction(sources) as connection:
            yield from select_events(connection, where)

    def delivery_counts(self) -> outbox.DeliveryCounts:
        """Return how many deliveries are pending and failed."""
        with self.read_transaction() as connection:
            return outbox.unsent(connection).counts()

    def names(self, what: Literal["models", "sources", "channels"]) -> list[str]:
        """Return the ids of the recorded models, or the recorded and configured other names."""
        with self.read_transaction() as connection:
            if what == "models":
                return sorted(db_catalog.model_names(connection))
            if what == "channels":
                alerts = {alert.name for alert in self.settings.alerts}
                return sorted(outbox.channels(connection) | alerts)
            # Without a file, the only source is the default one: the user did not name it.
            configured = {s.name for s in self.settings.sources if self.settings.file}
            return sorted({s.name for s in db_state.select_sources(connection)} | configured)

    def status(self, max_age: timedelta | None = None) -> health.Status:
        """Return the health of each source and of the alerts; `max_age` overrides the settings."""
        with self.read_transaction() as connection:
            return health.status(connection, self.settings, self.clock(), max_age)

    def snapshot(self) -> Snapshot:
        """Return the values of the metrics, including whether the database can be read."""
        from catalog_sync.queries import metrics  # noqa: PLC0415  # rarely used

        with suppress(DatabaseError):
            if migrate.current_revision(self.engine) is not None:
                with self.read_transaction() as connection:
                    return metrics.snapshot(connection, self.settings, self.clock())
        return metrics.Snapshot(database_up=False)

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether every configured source is fresh, and the object for /healthz."""
        try:
            status = self.status()
        except DatabaseError as error:
            return False, {"ok": False, "reason": error.code, "sources": []}
        return status.fresh, status.healthz()

    def stale(self, sources: Sequence[str] = ()) -> list[SourceHealth]:
        """Return the sources in the database, or the named ones, that are not fresh."""
        with self.read_transaction(sources) as connection:
            recorded = set(sources) or {s.name for s in db_state.select_sources(connection)}
            found = health.status(connection, self.settings, self.clock()).sources
        return [source for source in found if source.name in recorded and not source.fresh]
