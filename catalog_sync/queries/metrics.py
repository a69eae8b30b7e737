"""The metrics of the program in the Prometheus text format.

Every value comes from the database, so it survives a restart and is the same in all processes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from catalog_sync._version import __version__
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import outbox
from catalog_sync.db.schema import sources, sync_runs
from catalog_sync.domain.kinds import ENDED, Lifecycle
from catalog_sync.queries import health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import CollectorRegistry, Metric

    from catalog_sync.config.settings import Settings
    from catalog_sync.queries.health import SourceHealth

_Value: TypeAlias = "float | datetime | timedelta | None"
_Samples: TypeAlias = "Iterable[tuple[tuple[str, ...], _Value]]"
_PER_SOURCE = (
    (
        "last_success_timestamp_seconds",
        "health.last_success_at",
        "When the result of a run was last applied; absent before the first.",
    ),
    (
        "max_age_seconds",
        "health.max_age",
        "The configured limit of the age of the last success; absent before the first.",
    ),
    (
        "last_attempt_timestamp_seconds",
        "health.last_attempt_at",
        "The start of the last run that has ended; absent before the first.",
    ),
    ("last_run_duration_seconds", "health.last_duration", "The duration of that run."),
    ("held", "health.held", "Whether the last run is held: it waits for a person."),
    ("held_models", "held_models", "Models whose removal waits for a person."),
    (
        "clock_offset_seconds",
        "health.clock_offset_seconds",
        "The host's clock minus the API's at the last run; absent when unknown.",
    ),
    (
        "next_retirement_timestamp_seconds",
        "next_retirement_at",
        "The next retirement date of a model not removed; absent when none is known.",
    ),
)
"""The metrics with a value per source: name, attribute of `SourceSnapshot`, help."""
_PER_WORD = (
    ("runs_total", "runs", "status", ENDED, "Runs that ended, by status."),
    (
        "models",
        "models",
        "state",
        ("listed", "missing", "removed"),
        "Models ever recorded: listed, missing from the list but not confirmed gone, or removed.",
    ),
    (
        "listed_models",
        "lifecycles",
        "lifecycle",
        (*Lifecycle, "unknown", "other"),
        "Models not removed, by lifecycle; unknown if the API does not state it.",
    ),
)
"""The metrics with a value per source and word: name, attribute, label, words, help."""


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """The values of one source's metrics."""

    health: SourceHealth
    runs: Mapping[str, int] = field(default_factory=dict)
    """Ended runs by status, those that retention deleted included; a missing key is 0."""
    models: Mapping[str, int] = field(default_factory=dict)
    """Models ever recorded: `listed`, `missing` (not confirmed gone) or `removed`."""
    lifecycles: Mapping[str, int] = field(default_factory=dict)
    """Models not removed: `active`, `deprecated`, `retired`, `unknown` (not stated) or `other`."""
    next_retirement_at: datetime | None = None
    """The next retirement date of a model that is not removed."""

    @property
    def held_models(self) -> int:
        """The number of models whose removal waits for a person."""
        return len(self.health.held_models)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The values of all metrics at one time."""

    sources: tuple[SourceSnapshot, ...] = ()
    deliveries: Mapping[str, int] = field(default_factory=dict)
    """By status: `pending`, `delivered`, `failed`."""
    oldest_pending_at: datetime | None = None
    """When the oldest event with a pending delivery happened."""
    database_up: bool = True
    """Whether the database could be read. If not, the other values are meaningless."""


def snapshot(connection: sa.Connection, settings: Settings, now: datetime) -> Snapshot:
    """Return the values of the metrics of the configured sources and of the deliveries."""
    runs, delivered = _count_runs(connection)
    listed: dict[str, Counter[str]] = defaultdict(Counter)
    lifecycles: dict[str, Counter[str]] = defaultdict(Counter)
    next_retirement: dict[str, datetime] = {}
    for name, state, lifecycle, number, retires_at in db_catalog.count_models(connection, now):
        listed[name][state] += number
        if state != "removed":
            lifecycles[name][lifecycle] += number
        if retires_at is not None:
            next_retirement[name] = min(retires_at, next_retirement.get(name, retires_at))
    deliveries = Counter(outbox.count_deliveries(connection))
    deliveries[outbox.DELIVERED] += delivered
    found = [
        SourceSnapshot(
            source,
            runs[source.name],
            listed[source.name],
            lifecycles[source.name],
            next_retirement.get(source.name),
        )
        for source in health.status(connection, settings, now).configured
    ]
    return Snapshot(tuple(found), deliveries, outbox.oldest_pending(connection))


def _count_runs(connection: sa.Connection) -> tuple[dict[str, Counter[str]], int]:
    """Return the ended runs by source and status, and the deliveries that retention deleted."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    delivered = 0
    for row in connection.execute(sa.select(sources)):
        counts[row.name].update(
            succeeded=row.pruned_succeeded, held=row.pruned_held, failed=row.pruned_failed
        )
        delivered += row.pruned_delivered
    run = sync_runs.c
    ended: Iterable[Any] = connection.execute(
        sa.select(run.source, run.status, sa.func.count())
        .where(run.status.in_(ENDED))
        .group_by(run.source, run.status)
    )
    for name, status, number in ended:
        counts[name][status] += number
    return counts, delivered


def exposition(snapshot: Snapshot, *, catalog: str = "") -> bytes:
    """Return a snapshot in Prometheus's text format, version 0.0.4.

    `catalog` is a label of every sample, which distinguishes several catalogs of one host.
    """
    from prometheus_client import generate_latest  # noqa: PLC0415  # heavy

    return generate_latest(registry(lambda: snapshot, catalog=catalog))


def registry(
    read: Callable[[], Snapshot], *, process: bool = False, catalog: str = ""
) -> CollectorRegistry:
    """Return a registry that calls `read` for each collection.

    `process` adds the metrics of this process and its interpreter, which make sense for a server
    only.
    """
    from prometheus_client import (  # noqa: PLC0415  # heavy
        CollectorRegistry,
        GCCollector,
        PlatformCollector,
        ProcessCollector,
    )

    registry = CollectorRegistry()  # the default registry belongs to the host program
    registry.register(_Collector(read, {"catalog": catalog} if catalog else {}))
    if process:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
    return registry


class _Collector:
    """Collects the metrics; implements the library's interface."""

    def __init__(self, read: Callable[[], Snapshot], labels: Mapping[str, str]) -> None:
        self._read = read
        self._labels = labels

    def describe(self) -> list[Metric]:
        """Return nothing: registration must not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        snapshot = self._read()
        up, build = snapshot.database_up, "Always 1; `version` is the program's version."
        yield self._metric("build_info", build, ["version"], [((__version__,), 1)])
        down = "Whether the database can be read. If not, the metrics from it are absent."
        yield self._metric("database_up", down, [], [((), up)])
        if up:
            yield from self._of_sources(snapshot.sources)
            yield self._metric(
                "deliveries",
                "Deliveries, one per event and channel, by status.",
                ["status"],
                [((status,), snapshot.deliveries.get(status, 0)) for status in outbox.STATUSES],
            )
            yield self._metric(
                "oldest_pending_delivery_timestamp_seconds",
                "When the oldest event with a pending delivery happened; absent without one.",
                [],
                [((), snapshot.oldest_pending_at)],
            )

    def _of_sources(self, sources: Iterable[SourceSnapshot]) -> Iterator[Metric]:
        for name, attribute, text in _PER_SOURCE:
            value = attrgetter(attribute)
            single = [((source.health.name,), value(source)) for source in sources]
            yield self._metric(name, text, ["source"], single)
        for name, attribute, label, words, text in _PER_WORD:
            # Zeros too: Prometheus sees no increase at the start of a series.
            samples = [
                ((source.health.name, word), getattr(source, attribute).get(word, 0))
                for source in sources
                for word in words
            ]
            yield self._metric(name, text, ["source", label], samples)

    def _metric(self, name: str, text: str, labels: list[str], samples: _Samples) -> Metric:
        """Return a metric with its samples, except None."""
        from prometheus_client.core import (  # noqa: PLC0415  # heavy
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        metric = family(f"catalog_sync_{name}", text, labels=[*labels, *self._labels])
        for values, value in samples:
            if value is not None:
                metric.add_metric([*values, *self._labels.values()], _number(value))
        return metric


def _number(value: float | datetime | timedelta) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    return value.total_seconds() if isinstance(value, timedelta) else float(value)
