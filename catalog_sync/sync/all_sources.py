"""One run over several sources, and its heartbeat. `sync` and the daemon's jobs call this."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from catalog_sync import logs
from catalog_sync.cancel import CancelToken
from catalog_sync.db import checked, migrate, retention
from catalog_sync.db import engine as db_engine
from catalog_sync.domain.kinds import STOPPED, RunStatus
from catalog_sync.errors import ConfigError, DatabaseError, SecretError
from catalog_sync.queries import health
from catalog_sync.sync.context import OtherRuns, RunContext, RunOptions
from catalog_sync.sync.one_source import SourceRun
from catalog_sync.sync.report import RunReport, report_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import sqlalchemy as sa

    from catalog_sync.alerts.heartbeat import Heartbeat
    from catalog_sync.client.models import ModelsClient
    from catalog_sync.clock import Clock
    from catalog_sync.config.settings import Settings, SourceSettings

_PING_SECONDS = 2.0
"""How long `close` waits for a heartbeat that is being sent."""
_PRUNE_EVERY = 20
"""Old rows are deleted after each run whose id is a multiple of this."""


class AllSources:
    """Runs sources, each in a thread, and keeps track of the open runs.

    `cancel` ends all runs. `direct` ignores the proxies of the environment.
    """

    def __init__(
        self,
        settings: Settings,
        engine: sa.Engine,
        clock: Clock,
        cancel: CancelToken,
        *,
        direct: bool = False,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._clock = clock
        self._cancel = cancel
        self._direct = direct
        self._open: dict[int, Callable[[], None]] = {}
        """The function that closes each open run, by the run's id."""
        self._heartbeat: Heartbeat | None = None
        if settings.heartbeat_url is not None:
            from catalog_sync.alerts.heartbeat import Heartbeat  # noqa: PLC0415  # heavy

            self._heartbeat = Heartbeat(settings.heartbeat_url.get_secret_value())

    @property
    def has_open_runs(self) -> bool:
        """Whether a run has begun and has not ended."""
        return bool(self._open)

    def close_open_runs(self) -> None:
        """Close the runs of threads that do not end in time, and release their leases."""
        for close in list(self._open.values()):
            close()

    def close(self) -> None:
        """Wait briefly for a heartbeat that is being sent, unless the runs were stopped."""
        if self._heartbeat is not None:
            self._heartbeat.close(0 if self._cancel.cancelled else _PING_SECONDS)

    def check_credentials(self, names: Sequence[str] = ()) -> None:
        """Check the credentials of sources, except those that a command prints.

        Raises ConfigError if one is missing or cannot be used, or if a name is unknown.
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
        """Run all sources, or the named ones, once. Returns the reports in the sources' order.

        A missing credential is an error of its source only. An exception such as KeyboardInterrupt
        stops and closes all runs, and is raised again.

        Args:
            options: What differs from a scheduled run.
            names: The sources; empty for all.
            on_page: Called with the source's name and the numbers of pages and models so far.
            on_report: Called in the thread of a run, when the run ends.

        Raises:
            ConfigError: A name is unknown.
            DatabaseError: No run can be recorded.
        """
        sources, heartbeat = self._chosen(names), self._heartbeat
        if options.dry_run:
            return self._run(sources, options, lambda: None, on_page, on_report)
        on_begin = heartbeat.start if heartbeat else lambda: None
        try:
            if len(sources) > 1:  # one source's run checks the schema itself
                migrate.ensure_schema(self._engine)
            reports = self._run(sources, options, on_begin, on_page, on_report)
        except DatabaseError as error:
            if heartbeat:
                heartbeat.fail(str(error))
            raise
        if len(sources) > 1:
            db_engine.checkpoint(self._engine)
        if any(report.run_id and report.run_id % _PRUNE_EVERY == 0 for report in reports):
            with suppress(DatabaseError):  # a later run does it
                retention.prune(self._engine, self._clock(), self._settings.retention)
        if heartbeat:
            self._ping_result(heartbeat, sources, reports)
        return reports

    def _run(
        self,
        sources: Sequence[SourceSettings],
        options: RunOptions,
        on_begin: Callable[[], None],
        on_page: Callable[[str, int, int], None],
        on_report: Callable[[RunReport], None],
    ) -> list[RunReport]:
        """Run the sources. `on_begin` is called when the first run begins that is not skipped."""
        cancel, first = CancelToken(), threading.Lock()

        def begin() -> None:
            if first.acquire(blocking=False):
                on_begin()

        context = RunContext(
            self._engine,
            self._clock,
            self._settings,
            options,
            cancel,
            begin,
            on_page,
            self._open,
            checkpoint=len(sources) == 1,
        )

        others = OtherRuns(context) if options.skip_fresh and len(sources) > 1 else None

        def run(source: SourceSettings) -> RunReport:
            with logs.source(source.name):
                try:
                    if others and (reason := others.fresh(source.name)):
                        now, skipped = self._clock(), RunStatus.SKIPPED
                        report = RunReport(source.name, skipped, now, error=reason)
                    else:
                        client = partial(self._open_client, source, cancel)
                        report = SourceRun(context, source, client).run()
                except DatabaseError as error:
                    if len(sources) == 1:
                        migrate.ensure_schema(self._engine)  # raises if no run could be recorded
                    report = RunReport(source.name, RunStatus.FAILED, self._clock())
                    report = replace(report, error=str(error), error_code=error.code, cause=error)
                on_report(report)
            return report

        with self._cancel.on_cancel(cancel.cancel):
            if len(sources) == 1:
                return [run(sources[0])]
            workers = min(len(sources), self._settings.parallel)
            with ThreadPoolExecutor(workers, "source") as threads:
                try:
                    # At random, so that several processes rarely meet at a source.
                    order = random.sample(sources, len(sources)) if others else sources
                    reports = {report.source: report for report in threads.map(run, order)}
                    return [reports[source.name] for source in sources]
                except BaseException:
                    cancel.cancel()  # before the pool waits for its threads
                    raise

    def _open_client(self, source: SourceSettings, cancel: CancelToken) -> ModelsClient:
        """Read the source's credential and return its client. Raises SecretError."""
        from catalog_sync.client.anthropic import AnthropicApi  # noqa: PLC0415  # heavy
        from catalog_sync.client.models import ModelsClient  # noqa: PLC0415
        from catalog_sync.client.openai import OpenAIApi  # noqa: PLC0415

        try:
            credential = self._settings.credential(source, cancel)
        except ConfigError as error:
            raise SecretError(str(error)) from error
        headers = {
            credential.header: credential.value,
            **{name: secret.get_secret_value() for name, secret in source.headers.items()},
        }
        openai = source.api == "openai"
        return ModelsClient(
            source.base_url,
            headers,
            api=OpenAIApi() if openai else AnthropicApi(source.anthropic_version),
            deadline=source.deadline,
            direct=self._direct,
            credential_origin=credential.origin,
            cancel=cancel,
        )

    def _chosen(self, names: Sequence[str]) -> list[SourceSettings]:
        configured = {source.name: source for source in self._settings.sources}
        refuse_unknown(names, configured)
        return [configured[name] for name in dict.fromkeys(names)] or list(configured.values())

    def _ping_result(
        self,
        heartbeat: Heartbeat,
        sources: Sequence[SourceSettings],
        reports: Sequence[RunReport],
    ) -> None:
        """Ping how a run ended. Skipped and stopped sources do not count."""
        made = [report for report in reports if report.status is not RunStatus.SKIPPED]
        ended = [report for report in made if report.error_code != STOPPED]
        if not ended:
            return
        others = self._other_errors(sources)
        summary = "\n".join([*(report.error or report_text(report) for report in ended), *others])
        if others or any(report.status is not RunStatus.SUCCEEDED for report in ended):
            heartbeat.fail(summary)
        else:
            heartbeat.succeed(summary)

    def _other_errors(self, sources: Sequence[SourceSettings]) -> list[str]:
        """Return the last errors of the other sources.

        All sources share one heartbeat: a source that works must not hide one that fails.
        """
        part = {source.name for source in sources}
        if len(part) == len(self._settings.sources):
            return []
        with suppress(DatabaseError), checked.read(self._engine) as connection:
            found = health.status(connection, self._settings, self._clock()).configured
            return [
                f"source {source.name}: {source.last_error}"
                for source in found
                if source.name not in part and source.last_error
            ]
        return []


def refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ConfigError for an unknown source."""
    known = sorted(known)
    for name in names:
        if name not in known:
            raise ConfigError(f"no source is named {name!r}", f"known are: {', '.join(known)}")
