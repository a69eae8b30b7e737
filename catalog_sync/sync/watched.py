"""Runs of chosen sources with their heartbeat. `sync` and the daemon's jobs call this."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.errors import ConfigError, DatabaseError
from catalog_sync.queries import health
from catalog_sync.sync.all_sources import AllSources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import sqlalchemy as sa

    from catalog_sync.alerts.heartbeat import Heartbeat
    from catalog_sync.cancel import CancelToken
    from catalog_sync.clock import Clock
    from catalog_sync.config.settings import Settings, SourceSettings
    from catalog_sync.sync.context import RunOptions
    from catalog_sync.sync.report import RunReport

_PING_SECONDS = 2.0
"""How long `close` waits for a heartbeat that is being sent."""


class WatchedRuns(AllSources):
    """Runs sources by name and pings the watchdog."""

    def __init__(
        self,
        settings: Settings,
        engine: sa.Engine,
        clock: Clock,
        cancel: CancelToken,
        *,
        direct: bool = False,
    ) -> None:
        super().__init__(settings, engine, clock, cancel, direct=direct)
        self._heartbeat: Heartbeat | None = None
        if settings.heartbeat_url is not None:
            from catalog_sync.alerts.heartbeat import Heartbeat  # noqa: PLC0415  # heavy

            self._heartbeat = Heartbeat(settings.heartbeat_url.get_secret_value())

    def check_credentials(self, names: Sequence[str] = ()) -> None:
        """Check the credentials of sources, except those that a command prints.

        Raises:
            ConfigError: one is missing or cannot be used, or a name is unknown.
        """
        for source in self._chosen(names):
            if not (source.api_key_command or source.auth_token_command):
                self._settings.credential(source)

    def sync(
        self,
        options: RunOptions,
        *,
        names: Sequence[str] = (),
        on_page: Callable[[str, int, int], None] = lambda _source, _pages, _models: None,
        on_report: Callable[[RunReport], None] = lambda _report: None,
    ) -> list[RunReport]:
        """Run the named sources, or all. A missing credential is an error of its source alone.

        Raises:
            ConfigError: A name is unknown.
            DatabaseError: No run can be recorded.
        """
        sources, heartbeat = self._chosen(names), self._heartbeat
        if not options.dry_run:
            try:
                migrate.ensure_schema(self._engine)
            except DatabaseError as error:
                if heartbeat is not None:
                    heartbeat.fail(str(error))
                raise
        if options.dry_run or heartbeat is None:
            return self.run(sources, options, on_page=on_page, on_report=on_report)
        reports = self.run(
            sources, options, on_begin=heartbeat.start, on_page=on_page, on_report=on_report
        )
        heartbeat.finish(reports, self._other_errors(sources))
        return reports

    def close(self) -> None:
        """Wait briefly for a heartbeat that is being sent, unless the runs were stopped."""
        if self._heartbeat is not None:
            self._heartbeat.close(0 if self._cancel.cancelled else _PING_SECONDS)

    def _chosen(self, names: Sequence[str]) -> list[SourceSettings]:
        configured = {source.name: source for source in self._settings.sources}
        refuse_unknown(names, configured)
        return [configured[name] for name in dict.fromkeys(names)] or list(configured.values())

    def _other_errors(self, sources: Sequence[SourceSettings]) -> list[str]:
        """Return the last errors of the sources that are not part of a run.

        All sources share one heartbeat: a source that works must not hide one that fails.
        """
        part = {source.name for source in sources}
        if len(part) == len(self._settings.sources):
            return []
        with suppress(DatabaseError), db_engine.read_transaction(self._engine) as connection:
            found = health.status(connection, self._settings, self._clock()).configured
            return [
                f"source {source.name}: {source.last_error}"
                for source in found
                if source.name not in part and source.last_error
            ]
        return []


def refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ConfigError for a source's name that is not known."""
    known = sorted(known)
    for name in names:
        if name not in known:
            raise ConfigError(f"no source is named {name!r}", f"known are: {', '.join(known)}")
