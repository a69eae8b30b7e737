"""The metrics of the program in the Prometheus text format."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from catalog_sync._version import __version__
from catalog_sync.domain.kinds import RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from catalog_sync.queries.health import Snapshot, SourceSnapshot


_STATUSES = tuple(status.value for status in RunStatus if status is not RunStatus.RUNNING)
_STATES = ("listed", "missing", "removed")
_LIFECYCLES = ("active", "deprecated", "retired", "unknown", "other")
_DELIVERIES = ("pending", "delivered", "failed")
_Value: TypeAlias = "float | datetime | timedelta | None"
_Sample: TypeAlias = "tuple[tuple[str, ...], _Value]"


def exposition(snapshot: Snapshot, *, process: bool = False) -> bytes:
    """Return a snapshot in Prometheus's text format, version 0.0.4.

    `process`: the figures of this process and its interpreter stand beside; they are for a server
    alone, because a process that wrote a file has ended when the file is read.
    """
    from prometheus_client import (  # noqa: PLC0415  # heavy
        CollectorRegistry,
        GCCollector,
        PlatformCollector,
        ProcessCollector,
        generate_latest,
    )

    registry = CollectorRegistry()  # the library's own one is shared with whoever imports us
    registry.register(_Collected(snapshot))
    if process:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
    return generate_latest(registry)


class _Collected:
    """A snapshot, as the library collects it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; of a database that cannot be asked, that alone."""
        return _metrics(self._snapshot)


def _metrics(snapshot: Snapshot) -> Iterator[Metric]:
    sources = snapshot.sources
    yield _metric(
        "build_info",
        "Always 1; `version` is this catalog-sync's.",
        ["version"],
        [((__version__,), 1)],
    )
    yield _metric(
        "database_up",
        "Whether the database can be asked; while it is 0, nothing else is told.",
        [],
        [((), snapshot.database_up)],
    )
    if not snapshot.database_up:
        return
    per_source: tuple[tuple[str, str, Callable[[SourceSnapshot], _Value]], ...] = (
        (
            "last_success_timestamp_seconds",
            "When the result of a pass was last applied; absent before the first.",
            lambda source: source.status.last_success_at,
        ),
        (
            "max_age_seconds",
            "How old the last success may become, as configured; absent before the first.",
            lambda source: source.status.max_age,
        ),
        (
            "last_attempt_timestamp_seconds",
            "When the last pass began that has ended and was not skipped; absent before the first.",
            lambda source: source.status.last_run.started_at if source.status.last_run else None,
        ),
        (
            "last_run_duration_seconds",
            "How long that pass took.",
            lambda source: source.status.last_run.duration if source.status.last_run else None,
        ),
        (
            "held",
            "Whether a pass is held since the last one that succeeded: it waits for a person.",
            lambda source: source.status.held,
        ),
        (
            "next_retirement_timestamp_seconds",
            "The next retirement date of a model not removed; absent when none is known.",
            lambda source: source.next_retirement_at,
        ),
    )
    for name, documentation, value in per_source:
        samples = [((source.status.name,), value(source)) for source in sources]
        yield _metric(name, documentation, ["source"], samples)
    yield _metric(
        "runs_total",
        "Passes that ended, by how.",
        ["source", "status"],
        _each(sources, _STATUSES, lambda source: source.runs),
        counter=True,
    )
    yield _metric(
        "models",
        "Models ever recorded: listed, missing from the list but not confirmed gone, or removed.",
        ["source", "state"],
        _each(sources, _STATES, lambda source: source.models),
    )
    yield _metric(
        "listed_models",
        "Models not removed, by lifecycle; unknown where the API does not say.",
        ["source", "lifecycle"],
        _each(sources, _LIFECYCLES, lambda source: source.lifecycles),
    )
    yield _metric(
        "deliveries",
        "Alerts, one per event and channel, by what became of them.",
        ["status"],
        [((status,), snapshot.deliveries.get(status, 0)) for status in _DELIVERIES],
    )
    yield _metric(
        "oldest_pending_delivery_timestamp_seconds",
        "When the oldest event happened that a channel waits for; absent when none does.",
        [],
        [((), snapshot.oldest_pending_at)],
    )


def _each(
    sources: Iterable[SourceSnapshot],
    words: Iterable[str],
    numbers: Callable[[SourceSnapshot], Mapping[str, int]],
) -> Iterator[_Sample]:
    """Yield a sample for each source and word, 0 included: what begins late shows no rise."""
    for source in sources:
        counted = numbers(source)
        for word in words:
            yield (source.status.name, word), counted.get(word, 0)


def _metric(
    name: str,
    documentation: str,
    labels: list[str],
    samples: Iterable[_Sample],
    *,
    counter: bool = False,
) -> Metric:
    """Return a metric with its samples, those of no value left out."""
    from prometheus_client.core import (  # noqa: PLC0415  # heavy
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    family = CounterMetricFamily if counter else GaugeMetricFamily
    metric = family(f"catalog_sync_{name}", documentation, labels=labels)
    for label_values, value in samples:
        if value is not None:
            metric.add_metric(label_values, _number(value))
    return metric


def _number(value: float | datetime | timedelta) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    return value.total_seconds() if isinstance(value, timedelta) else float(value)
