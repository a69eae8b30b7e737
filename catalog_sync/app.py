"""The wiring: from settings to an engine, clients and passes. Nothing else builds them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Self

from catalog_sync import database, store
from catalog_sync.clock import Clock, utc_now
from catalog_sync.errors import ConfigError
from catalog_sync.sync import Pass, PassOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    from catalog_sync.client import ModelsClient
    from catalog_sync.records import DeliveryCounts, RunReport
    from catalog_sync.settings import Settings, SourceSettings

__all__ = ["App", "PassOptions"]

_MAX_THREADS = 8
"""Sources walked at once: the work is waiting, and their servers are different ones."""


class App:
    """The program, wired from its settings. A context manager: it gives its connections back."""

    def __init__(self, settings: Settings, clock: Clock = utc_now) -> None:
        self.settings = settings
        self.clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.dispose()

    @cached_property
    def engine(self) -> sa.Engine:
        """The configured database; nothing is connected or created by asking for it."""
        return database.create_engine(self.settings.database_url.get_secret_value())

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session for questions; an empty database answers as an empty catalogue."""
        with database.reading(database.readable(self.engine)) as session:
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
        )
        sources = self._chosen(names)
        clients = [self._client(source) for source in sources]
        if not options.dry_run:
            database.ensure_schema(self.engine)

        def run(source: SourceSettings, client: ModelsClient) -> RunReport:
            def tell(pages: int, models: int) -> None:
                on_page(source.name, pages, models)

            with client:
                return Pass(self.engine, client, source, self.clock, options, tell).run()

        with ThreadPoolExecutor(min(len(sources), _MAX_THREADS)) as threads:
            try:
                return list(threads.map(run, sources, clients))
            except BaseException:
                for client in clients:
                    client.abort()
                raise

    def _chosen(self, names: Sequence[str]) -> list[SourceSettings]:
        configured = {source.name: source for source in self.settings.sources}
        for name in names:
            if name not in configured:
                raise ConfigError(
                    f"no source is named {name!r}", f"configured are: {', '.join(configured)}"
                )
        return [configured[name] for name in dict.fromkeys(names)] or list(configured.values())

    def _client(self, source: SourceSettings) -> ModelsClient:
        from catalog_sync.client import ModelsClient  # noqa: PLC0415  # questions need no HTTP

        credential = source.credential(self.settings.folder)
        headers = {
            "anthropic-version": source.anthropic_version,
            credential.header: credential.value,
            **{name: secret.get_secret_value() for name, secret in source.headers.items()},
        }
        return ModelsClient(
            source.base_url,
            headers,
            deadline=source.deadline,
            credential_origin=credential.origin,
        )
