"""The wiring: from settings to an engine, clients and passes. Nothing else builds them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Self

from catalog_sync.alerts.delivery import deliver_due
from catalog_sync.clock import Clock, utc_now
from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate, outbox
from catalog_sync.db import runs as db_runs
from catalog_sync.domain.alert_rules import AlertRule
from catalog_sync.domain.kinds import Kind
from catalog_sync.errors import ConfigError, DatabaseError, SecretError
from catalog_sync.queries import catalog as queries_catalog
from catalog_sync.queries import health as queries_health
from catalog_sync.queries.health import Snapshot
from catalog_sync.sync.one_source import RunOptions, SourceRun

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    import sqlalchemy as sa
    from sqlalchemy import Connection

    from catalog_sync.alerts.channels import Channel
    from catalog_sync.alerts.heartbeat import Heartbeat
    from catalog_sync.client.anthropic import ModelsClient
    from catalog_sync.config.settings import AlertSettings, Settings, SourceSettings
    from catalog_sync.db.outbox import DeliveryCounts
    from catalog_sync.domain.kinds import AbsenceCheck
    from catalog_sync.domain.model import Catalog, Event, ModelRecord
    from catalog_sync.queries.health import SourceStatus, Status
    from catalog_sync.sync.one_source import ModelsSource
    from catalog_sync.sync.report import RunReport

__all__ = ["App", "RunOptions"]

_MAX_THREADS = 8
"""Sources walked at once: the work is waiting, and their servers are different ones."""


class App:
    """The program, wired from its settings. A context manager: it gives its connections back."""

    def __init__(self, settings: Settings, clock: Clock = utc_now, *, direct: bool = False) -> None:
        """`direct`: sources are asked without the environment's proxies, as the demo's is."""
        self.settings = settings
        self.clock = clock
        self._direct = direct
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._walking: set[ModelsSource] = set()
        self._under_way: dict[ModelsSource, Callable[[], None]] = {}
        """What closes a run in its pass's stead."""
        self._channels: dict[str, Channel] | None = None
        self._turns = {alert.name: threading.Lock() for alert in settings.alerts}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        if "engine" in self.__dict__:  # asked for, and so built
            self.engine.dispose()

    @cached_property
    def engine(self) -> sa.Engine:
        """The configured database; nothing is connected or created by asking for it."""
        return db_engine.create_engine(self.settings.database_url.get_secret_value())

    @contextmanager
    def reading(self, sources: Sequence[str] = ()) -> Iterator[Connection]:
        """Open a connection for questions; an empty database answers as an empty catalog.

        All its answers are of one moment. `sources` are those that the question names: one that
        was never configured and never walked raises ConfigError.
        """
        with (
            migrate.engine_or_empty(self.engine) as engine,
            db_engine.read_transaction(engine, snapshot=True) as connection,
        ):
            known = db_runs.source_names(connection) | {s.name for s in self.settings.sources}
            self._refuse_unknown(sources, known)
            yield connection

    def models(
        self,
        *,
        sources: Sequence[str] = (),
        lifecycles: Sequence[str] = (),
        removed: bool = False,
        as_of: datetime | None = None,
    ) -> list[ModelRecord]:
        """Return the models listed now, or `as_of` an aware moment, newest first.

        Empty `sources` and `lifecycles` choose all; `removed` adds those that have left. A record
        of the past has the object as it was then, no `missing_since`, and as `last_seen_at` a time
        that it was seen at, not always the last. Raises ConfigError for an unknown source,
        DatabaseError, and ValueError for a moment without a zone.
        """
        with self.reading(sources) as connection:
            return queries_catalog.list_models(
                connection, sources=sources, lifecycles=lifecycles, removed=removed, as_of=as_of
            )

    def events(
        self,
        *,
        sources: Sequence[str] = (),
        kinds: Sequence[Kind] = (),
        models: str | None = None,
        since: datetime | None = None,
        payloads: Collection[Kind] | None = None,
    ) -> Iterator[Event]:
        """Yield what changed, oldest first, `since` an aware moment, that one included.

        `models` is a glob of ids, which events without a model never match; what is empty or null
        chooses all. `payloads`: the kinds whose objects are read, which is most of the work; null
        reads them all. Rows are read as they are asked for, in a transaction that ends with the
        iterator. Raises as `models`, at the first event.
        """
        with self.reading(sources) as connection:
            yield from queries_catalog.iter_events(
                connection,
                sources=sources,
                kinds=kinds,
                models=models,
                since=since,
                payloads=payloads,
            )

    def delivery_counts(self) -> DeliveryCounts:
        """Return how the alerts stand."""
        with self.reading() as connection:
            return outbox.delivery_counts(connection)

    def status(self, max_age: timedelta | None = None) -> Status:
        """Return how fresh the configured sources are and how the alerts stand.

        `max_age`: how old a source's last success may be; null as the configuration says.
        """
        with self.reading() as connection:
            return queries_health.status(connection, self._limits(max_age), self.clock())

    def _limits(
        self, max_age: timedelta | None = None
    ) -> dict[str, Callable[[datetime], timedelta]]:
        return {
            source.name: partial(self._max_age, source, max_age) for source in self.settings.sources
        }

    def health(self) -> tuple[bool, dict[str, Any]]:
        """Return whether every source is fresh, and what /healthz says, with the reason if not."""
        try:
            status = self.status()
        except DatabaseError as error:
            return False, {"ok": False, "reason": str(error)}
        stale = [
            queries_health.stale_text(source, status.at)
            for source in status.sources
            if not source.fresh
        ]
        said = {**status.to_json(), "ok": status.fresh}
        return status.fresh, {**said, "reason": "; ".join(stale)} if stale else said

    def stale(self, sources: Sequence[str] = ()) -> list[SourceStatus]:
        """Return the sources of the database, or the named ones, that are not fresh.

        One that is not configured here is measured by the first that is.
        """
        configured = {source.name: source for source in self.settings.sources}
        with self.reading(sources) as connection:
            limits = {
                name: partial(self._max_age, configured.get(name, self.settings.sources[0]), None)
                for name in sources or sorted(db_runs.source_names(connection))
            }
            found = queries_health.status(connection, limits, self.clock())
        return [source for source in found.sources if not source.fresh]

    def _max_age(
        self, source: SourceSettings, max_age: timedelta | None, synced_at: datetime
    ) -> timedelta:
        return max_age or self.settings.max_age_of(source, synced_at)

    def check(self) -> None:
        """Make sure of what passes will need: secrets and channels. Raises ConfigError."""
        for source in self.settings.sources:
            self._client(source).close()
        self.channels()
        _ = self.engine

    def metrics(self, *, process: bool = False) -> bytes:
        """Return how the configured sources and the deliveries stand, as Prometheus reads it.

        A database that cannot be asked is told, not raised; so is one that is not set up, for its
        file may be gone. `process`: with the figures of this process.
        """
        from catalog_sync.queries.metrics import exposition  # noqa: PLC0415  # few ask for them

        snapshot = Snapshot(database_up=False)
        with suppress(DatabaseError):
            if migrate.current_revision(self.engine) is not None:
                with self.reading() as connection:
                    snapshot = queries_health.snapshot(connection, self._limits(), self.clock())
        return exposition(snapshot, process=process)

    def sync(
        self,
        options: RunOptions | None = None,
        *,
        names: Sequence[str] = (),
        continue_on_error: bool = False,
        on_page: Callable[[str, int, int], None] = lambda _source, _pages, _models: None,
        on_report: Callable[[RunReport], None] = lambda _report: None,
    ) -> list[RunReport]:
        """Make one pass over the named sources, or over all, each in a thread of its own.

        Every secret is read and the schema is made sure of before the first request. Raises
        ConfigError and DatabaseError for what concerns all sources; what concerns one is in its
        report. `continue_on_error`: a secret that cannot be read concerns its source alone.
        `on_report` is called as each source's run ends, in its thread. An interrupt abandons the
        walks, closes their runs, and is raised again; `stop` does the same, but raises nothing.
        """
        options = replace(
            options or RunOptions(),
            reminders=self.settings.retirement_reminders,
            failure_alert_after=self.settings.failure_alert_after,
            rules=[_rule(alert) for alert in self.settings.alerts],
        )
        sources = self._chosen(names)
        heartbeat, first = self._heartbeat(options), threading.Lock()
        with ExitStack() as closing:
            clients = [
                self._open(source, closing, continue_on_error=continue_on_error)
                for source in sources
            ]
            closing.enter_context(self._stoppable(clients))
            if not options.dry_run:
                self.channels()  # a wrong one is told now, not when it is needed
                try:
                    migrate.ensure_schema(self.engine)
                except DatabaseError as error:
                    heartbeat.fail(str(error))
                    heartbeat.close(2)
                    raise

            def run(source: SourceSettings, client: ModelsSource) -> RunReport:
                def tell(pages: int, models: int) -> None:
                    on_page(source.name, pages, models)

                def begin(report: RunReport) -> None:
                    self._under_way[client] = partial(made.abandon, report)
                    if first.acquire(blocking=False):
                        heartbeat.start()

                made = SourceRun(self.engine, client, source, self.clock, options, tell, begin)
                try:
                    report = made.run()
                finally:
                    self._under_way.pop(client, None)
                on_report(report)
                return report

            with ThreadPoolExecutor(min(len(sources), _MAX_THREADS)) as threads:
                try:
                    reports = list(threads.map(run, sources, clients))
                except BaseException:
                    for client in clients:
                        client.abort()
                    raise
        if heartbeat.wanted:
            heartbeat.finish(reports, self._failing_besides(sources))
            heartbeat.close(2)
        return reports

    def _failing_besides(self, sources: Sequence[SourceSettings]) -> list[str]:
        """Return the errors of the sources that have no part in a pass, by their last own one.

        Sources with schedules of their own share a watchdog: one that works does not hide another.
        """
        if len(sources) == len(self.settings.sources):
            return []
        with suppress(DatabaseError):
            taking_part = {source.name for source in sources}
            runs = {s.name: s.last_run for s in self.status().sources if s.name not in taking_part}
            return [run.error for run in runs.values() if run and run.error and not run.interrupted]
        return []

    def stop(self) -> None:
        """Abandon the walks in progress and send no further alert; for another thread to call."""
        self._stopped.set()
        with self._lock:
            for client in self._walking:
                client.abort()

    def abandon(self) -> None:
        """Close the runs of passes that `stop` could not end in time, as interrupted."""
        for close in list(self._under_way.values()):
            close()

    @contextmanager
    def _stoppable(self, clients: Sequence[ModelsSource]) -> Iterator[None]:
        with self._lock:
            self._walking.update(clients)
        try:
            if self._stopped.is_set():
                self.stop()
            yield
        finally:
            with self._lock:
                self._walking.difference_update(clients)

    def channels(self) -> Mapping[str, Channel]:
        """Return the alert channels by name. Raises ConfigError for one that cannot be used."""
        if self._channels is None:
            from catalog_sync.alerts.channels import open_channel  # noqa: PLC0415  # questions send nothing

            self._channels = {alert.name: open_channel(alert) for alert in self.settings.alerts}
        return self._channels

    def deliver(self) -> DeliveryCounts:
        """Send the alerts that are due; return what was delivered, and how the others stand."""
        delivered = deliver_due(
            self.engine,
            self.channels(),
            self.clock,
            attempts=self.settings.delivery_attempts,
            stopped=self._stopped.is_set,
            turns=self._turns,
        )
        return replace(self.delivery_counts(), delivered=delivered)

    def channel_names(self) -> list[str]:
        """Return the channels that are configured, or were ever owed something."""
        with self.reading() as connection:
            owed = outbox.channels(connection)
        return sorted(owed | {alert.name for alert in self.settings.alerts})

    def requeue(self, channel: str | None = None) -> int:
        """Make failed deliveries due again, of one channel or of all, and return how many."""
        if migrate.current_revision(self.engine) is None:
            return 0  # nothing was ever owed, and asking creates nothing
        migrate.ensure_schema(self.engine)
        now = self.clock()
        return db_engine.run(
            self.engine, lambda connection: outbox.requeue(connection, now, channel=channel)
        )

    def _heartbeat(self, options: RunOptions) -> Heartbeat:
        from catalog_sync.alerts.heartbeat import Heartbeat  # noqa: PLC0415  # questions send nothing

        url = self.settings.heartbeat_url
        return Heartbeat(url.get_secret_value() if url and not options.dry_run else None)

    def _chosen(self, names: Sequence[str]) -> list[SourceSettings]:
        configured = {source.name: source for source in self.settings.sources}
        self._refuse_unknown(names, configured)
        return [configured[name] for name in dict.fromkeys(names)] or list(configured.values())

    @staticmethod
    def _refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
        known = sorted(known)
        for name in names:
            if name not in known:
                raise ConfigError(f"no source is named {name!r}", f"known are: {', '.join(known)}")

    def _open(
        self, source: SourceSettings, closing: ExitStack, *, continue_on_error: bool
    ) -> ModelsSource:
        try:
            return closing.enter_context(self._client(source))
        except ConfigError as error:
            if not continue_on_error:
                raise
            return _NoClient(error)

    def _client(self, source: SourceSettings) -> ModelsClient:
        from catalog_sync.client.anthropic import ModelsClient  # noqa: PLC0415  # questions need no HTTP

        credential = self.settings.credential(source)
        headers = {
            credential.header: credential.value,
            **{name: secret.get_secret_value() for name, secret in source.headers.items()},
        }
        return ModelsClient(
            source.base_url,
            headers,
            anthropic_version=source.anthropic_version,
            deadline=source.deadline,
            direct=self._direct,
            credential_origin=credential.origin,
        )


class _NoClient:
    """Stands in for a client whose secret cannot be read: its source's pass fails, saying so."""

    def __init__(self, error: ConfigError) -> None:
        self._error = error

    def walk(self, **_: object) -> Catalog:
        raise SecretError(str(self._error)) from self._error

    def ask(self, model_ids: Sequence[str]) -> dict[str, AbsenceCheck]:
        raise AssertionError(f"a walk that failed asks for nothing: {model_ids}")

    def abort(self) -> None:
        pass


def _rule(alert: AlertSettings) -> AlertRule:
    kinds = frozenset(Kind(kind) for kind in alert.events)
    return AlertRule(alert.name, kinds, alert.models, alert.sources)
