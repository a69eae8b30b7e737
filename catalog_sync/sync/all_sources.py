"""One run over several sources: each in a thread, at most `parallel` at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from catalog_sync import logs
from catalog_sync.cancel import CancelToken
from catalog_sync.domain.alert_rules import AlertRule
from catalog_sync.domain.kinds import STOPPED, Kind
from catalog_sync.errors import ConfigError, SecretError
from catalog_sync.sync.context import Policy, RunContext, RunOptions
from catalog_sync.sync.one_source import SourceRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import sqlalchemy as sa

    from catalog_sync.clock import Clock
    from catalog_sync.config.settings import AlertSettings, Settings, SourceSettings
    from catalog_sync.sync.decide import ModelsSource
    from catalog_sync.sync.report import RunReport


class AllSources:
    """Runs sources, and knows which runs are open.

    Args:
        settings: The configuration.
        engine: The database.
        clock: Returns the present time.
        cancel: Ends all runs when it is cancelled.
        direct: Ignore the environment's proxies, as the demo does.
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
        self.rules = [_rule(alert) for alert in settings.alerts]
        self._engine = engine
        self._clock = clock
        self._cancel = cancel
        self._direct = direct
        self._open: dict[int, Callable[[], None]] = {}
        """The function that closes each open run, by the run's id."""

    @property
    def has_open_runs(self) -> bool:
        """Whether a run has begun and has not ended."""
        return bool(self._open)

    def close_open_runs(self) -> None:
        """Close the runs of threads that do not end in time, and release their leases."""
        for close in list(self._open.values()):
            close()

    def run(
        self,
        sources: Sequence[SourceSettings],
        options: RunOptions,
        *,
        on_begin: Callable[[], None] = lambda: None,
        on_page: Callable[[str, int, int], None] = lambda _source, _pages, _models: None,
        on_report: Callable[[RunReport], None] = lambda _report: None,
    ) -> list[RunReport]:
        """Run each source once and return the reports in the order of `sources`.

        An exception such as KeyboardInterrupt stops all runs, closes them, and is raised again.

        Args:
            sources: at least one.
            options: what differs from a scheduled run.
            on_begin: called when the first run begins that is not skipped.
            on_page: called with the source's name, and the pages and models read so far.
            on_report: called as each run ends, in its thread.
        """
        cancel, first = CancelToken(), threading.Lock()
        policy = Policy(
            self._settings.retirement_reminders,
            self._settings.failure_alert_after,
            self.rules,
        )
        context = RunContext(self._engine, self._clock, options, policy, cancel)

        def begin() -> None:
            if first.acquire(blocking=False):
                on_begin()

        def run(source: SourceSettings) -> RunReport:
            with logs.source(source.name):
                report = self._run_one(source, context, begin, on_page)
                on_report(report)
            return report

        with self._cancel.on_cancel(cancel.cancel):
            if len(sources) == 1:
                return [run(sources[0])]
            workers = min(len(sources), self._settings.parallel)
            with ThreadPoolExecutor(workers, "source") as threads:
                try:
                    return list(threads.map(run, sources))
                except BaseException:
                    cancel.cancel()  # before the pool waits for its threads
                    raise

    def _run_one(
        self,
        source: SourceSettings,
        context: RunContext,
        on_begin: Callable[[], None],
        on_page: Callable[[str, int, int], None],
    ) -> RunReport:
        began: list[RunReport] = []

        def begin(report: RunReport) -> None:
            began.append(report)
            self._open[report.run_id or 0] = lambda: run.close(
                replace(report, error=STOPPED, error_code=STOPPED)
            )
            on_begin()

        run = SourceRun(
            context,
            source,
            lambda: self._open_client(source, context.cancel),
            lambda pages, models: on_page(source.name, pages, models),
            begin,
        )
        try:
            return run.run()
        finally:
            for report in began:
                self._open.pop(report.run_id or 0)

    @contextmanager
    def _open_client(self, source: SourceSettings, cancel: CancelToken) -> Iterator[ModelsSource]:
        """Read the source's credential and yield its client. Raises SecretError."""
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
        with ModelsClient(
            source.base_url,
            headers,
            api=OpenAIApi() if openai else AnthropicApi(source.anthropic_version),
            deadline=source.deadline,
            direct=self._direct,
            credential_origin=credential.origin,
            cancel=cancel,
        ) as client:
            yield client


def _rule(alert: AlertSettings) -> AlertRule:
    kinds = frozenset(Kind(kind) for kind in alert.events)
    return AlertRule(alert.name, kinds, alert.models, alert.sources)
