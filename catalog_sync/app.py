"""The wiring: from settings to an engine, clients and passes. Nothing else builds them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from catalog_sync import database, store
from catalog_sync.clock import Clock, utc_now
from catalog_sync.delivery import deliver_due
from catalog_sync.errors import ConfigError, DatabaseError
from catalog_sync.records import AlertRule, Kind
from catalog_sync.sync import Pass, PassOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from catalog_sync.channels import Channel, Heartbeat
    from catalog_sync.client import ModelsClient
    from catalog_sync.records import DeliveryCounts, RunReport
    from catalog_sync.settings import AlertSettings, Settings, SourceSettings

__all__ = ["App", "PassOptions"]

_MAX_THREADS = 8
"""Sources walked at once: the work is waiting, and their servers are different ones."""


class App:
    """The program, wired from its settings. A context manager: it gives its connections back."""

    def __init__(self, settings: Settings, clock: Clock = utc_now, *, direct: bool = False) -> None:
        """`direct`: sources are asked without the environment's proxies, as the demo's is."""
        self.settings = settings
        self.clock = clock
        self._direct = direct

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "engine" in self.__dict__:  # asked for, and so built
            self.engine.dispose()

    @cached_property
    def engine(self) -> sa.Engine:
        """The configured database; nothing is connected or created by asking for it."""
        return database.create_engine(self.settings.database_url.get_secret_value())

    @contextmanager
    def reading(self, sources: Sequence[str] = ()) -> Iterator[Session]:
        """Open a session for questions; an empty database answers as an empty catalogue.

        All its answers are of one moment. `sources` are those that the question names: one that
        was never configured and never walked raises ConfigError.
        """
        with (
            database.readable(self.engine) as engine,
            database.reading(engine, snapshot=True) as session,
        ):
            known = store.source_names(session) | {s.name for s in self.settings.sources}
            self._refuse_unknown(sources, known)
            yield session

    def delivery_counts(self) -> DeliveryCounts:
        """Return how the alerts stand."""
        with self.reading() as session:
            return store.delivery_counts(session)

    def sync(
        self,
        options: PassOptions | None = None,
        *,
        names: Sequence[str] = (),
        on_page: Callable[[str, int, int], None] = lambda _source, _pages, _models: None,
    ) -> list[RunReport]:
        """Make one pass over the named sources, or over all, each in a thread of its own.

        Every secret is read and the schema is made sure of before the first request. Raises
        ConfigError and DatabaseError for what concerns all sources; what concerns one is in its
        report. An interrupt abandons the walks, closes their runs, and is raised again.
        """
        options = replace(
            options or PassOptions(),
            reminders=self.settings.retirement_reminders,
            failure_alert_after=self.settings.failure_alert_after,
            rules=[_rule(alert) for alert in self.settings.alerts],
        )
        sources = self._chosen(names)
        clients = [self._client(source) for source in sources]
        heartbeat = self._heartbeat(options)
        if not options.dry_run:
            self.channels()  # a wrong one is told now, not when it is needed
            try:
                database.ensure_schema(self.engine)
            except DatabaseError as error:
                heartbeat.fail(str(error))
                raise

        def run(source: SourceSettings, client: ModelsClient) -> RunReport:
            def tell(pages: int, models: int) -> None:
                on_page(source.name, pages, models)

            with client:
                return Pass(
                    self.engine, client, source, self.clock, options, tell, heartbeat.start
                ).run()

        with ThreadPoolExecutor(min(len(sources), _MAX_THREADS)) as threads:
            try:
                reports = list(threads.map(run, sources, clients))
            except BaseException:
                for client in clients:
                    client.abort()
                raise
        heartbeat.finish(reports)
        return reports

    def channels(self) -> dict[str, Channel]:
        """Return the alert channels by name. Raises ConfigError for one that cannot be used."""
        from catalog_sync.channels import open_channel  # noqa: PLC0415  # questions send nothing

        return {alert.name: open_channel(alert) for alert in self.settings.alerts}

    def deliver(self) -> DeliveryCounts:
        """Send the alerts that are due; return what was delivered, and how the others stand."""
        delivered = deliver_due(
            self.engine, self.channels(), self.clock, attempts=self.settings.delivery_attempts
        )
        return replace(self.delivery_counts(), delivered=delivered)

    def channel_names(self) -> list[str]:
        """Return the channels that are configured, or were ever owed something."""
        with self.reading() as session:
            owed = store.channels(session)
        return sorted(owed | {alert.name for alert in self.settings.alerts})

    def revive(self, channel: str | None = None) -> int:
        """Make failed deliveries due again, of one channel or of all, and return how many."""
        if database.current_revision(self.engine) is None:
            return 0  # nothing was ever owed, and asking creates nothing
        database.ensure_schema(self.engine)
        with database.transaction(self.engine) as session:
            return store.revive(session, self.clock(), channel=channel)

    def _heartbeat(self, options: PassOptions) -> Heartbeat:
        from catalog_sync.channels import Heartbeat  # noqa: PLC0415  # questions send nothing

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

    def _client(self, source: SourceSettings) -> ModelsClient:
        from catalog_sync.client import ModelsClient  # noqa: PLC0415  # questions need no HTTP

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


def _rule(alert: AlertSettings) -> AlertRule:
    kinds = frozenset(Kind(kind) for kind in alert.events)
    return AlertRule(alert.name, kinds, alert.models, alert.sources)
