"""The metrics of the program in the Prometheus text format.

Every value comes from the database, so it survives a restart and is the same in all processes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from catalog_sync._version import __version__
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import outbox
from catalog_sync.db.schema import sources, sync_runs
from catalog_sync.domain.kinds import ENDED
from catalog_sync.queries import health

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import CollectorRegistry, Metric

    from catalog_sync.config.settings import Settings
    from catalog_sync.queries.health import SourceHealth


_STATES = ("listed", "missing", "removed")
_LIFECYCLES = ("active", "deprecated", "retired", "unknown", "other")
_DELIVERIES = ("pending", "delivered", "failed")
_Value: TypeAlias = "float | datetime | timedelta | None"
_Sample: TypeAlias = "tuple[tuple[str, ...], _Value]"


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
    """The next retirement of a model not removed. None if none is known."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The values of all metrics at one time."""

    sources: tuple[SourceSnapshot, ...] = ()
    deliveries: Mapping[str, int] = field(default_factory=dict)
    """By status: `pending`, `delivered`, `failed`."""
    oldest_pending_at: datetime | None = None
    """When the oldest event with a pending delivery happened. None without one."""
    database_up: bool = True
    """Whether the database could be read. If not, the other values have no meaning."""


def snapshot(connection: sa.Connection, settings: Settings, now: datetime) -> Snapshot:
    """Return the values of the metrics of the configured sources and of the deliveries."""
    runs, delivered = _count_runs(connection)
    groups: dict[str, list[tuple[str, str, int, datetime | None]]] = {}
    for name, *group in db_catalog.count_models(connection, now):
        groups.setdefault(name, []).append(tuple(group))  # type: ignore[arg-type]
    found = []
    for source in health.status(connection, settings, now).configured:
        listed: Counter[str] = Counter()
        lifecycles: Counter[str] = Counter()
        retirements = []
        for state, lifecycle, number, retires_at in groups.get(source.name, ()):
            listed[state] += number
            if state != "removed":
                lifecycles[lifecycle] += number
            if retires_at is not None:
                retirements.append(retires_at)
        next_one = min(retirements, default=None)
        own: Mapping[str, int] = runs.get(source.name, {})
        found.append(SourceSnapshot(source, own, listed, lifecycles, next_one))
    deliveries = Counter(outbox.count_deliveries(connection))
    deliveries["delivered"] += delivered
    return Snapshot(tuple(found), deliveries, outbox.oldest_pending(connection))


def _count_runs(connection: sa.Connection) -> tuple[dict[str, Counter[str]], int]:
    """Return the ended runs by source and status, and the deliveries that retention deleted."""
    pruned = sources.c
    counts: dict[str, Counter[str]] = {}
    delivered = 0
    for name, succeeded, held, failed, sent in connection.execute(
        sa.select(
            pruned.name,
            pruned.pruned_succeeded,
            pruned.pruned_held,
            pruned.pruned_failed,
            pruned.pruned_delivered,
        )
    ):
        counts[name] = Counter(succeeded=succeeded, held=held, failed=failed)
        delivered += sent
    run = sync_runs.c
    rows: Iterable[Any] = connection.execute(
        sa.select(run.source, run.status, sa.func.count())
        .where(run.status.in_(ENDED))
        .group_by(run.source, run.status)
    )
    for name, ended, number in rows:
        counts[name][ended] += number
    return counts, delivered


def exposition(snapshot: Snapshot) -> bytes:
    """Return a snapshot in Prometheus's text format, version 0.0.4."""
    from prometheus_client import generate_latest  # noqa: PLC0415  # heavy

    return generate_latest(registry(lambda: snapshot))


def registry(read: Callable[[], Snapshot], *, process: bool = False) -> CollectorRegistry:
    """Return a registry that calls `read` for each collection.

    `process` adds the values of this process and its interpreter. They are for a server: a process
    that writes a file has ended when the file is read.
    """
    from prometheus_client import (  # noqa: PLC0415  # heavy
        CollectorRegistry,
        GCCollector,
        PlatformCollector,
        ProcessCollector,
    )

    registry = CollectorRegistry()  # the library's default one is shared with the host program
    registry.register(_Collector(read))
    if process:
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
    return registry


class _Collector:
    """Collects the metrics from the database; an interface of the library."""

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Return no descriptions: registering must not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        return _metrics(self._read())


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
        "Whether the database can be read; while it is 0, no other figure is shown.",
        [],
        [((), snapshot.database_up)],
    )
    if not snapshot.database_up:
        return
    per_source: tuple[tuple[str, str, Callable[[SourceSnapshot], _Value]], ...] = (
        (
            "last_success_timestamp_seconds",
            "When the result of a run was last applied; absent before the first.",
            lambda source: source.health.last_success_at,
        ),
        (
            "max_age_seconds",
            "How old the last success may become, as configured; absent before the first.",
            lambda source: source.health.max_age,
        ),
        (
            "last_attempt_timestamp_seconds",
            "When the last run began that has ended; absent before the first.",
            lambda source: source.health.last_attempt_at,
        ),
        (
            "last_run_duration_seconds",
            "How long that run took.",
            lambda source: source.health.last_duration,
        ),
        (
            "held",
            "Whether the last run is held: it waits for a person.",
            lambda source: source.health.held,
        ),
        (
            "clock_offset_seconds",
            "The host's clock minus the API's at the last run; absent when unknown.",
            lambda source: source.health.clock_offset_seconds,
        ),
        (
            "next_retirement_timestamp_seconds",
            "The next retirement date of a model not removed; absent when none is known.",
            lambda source: source.next_retirement_at,
        ),
    )
    for name, documentation, value in per_source:
        samples = [((source.health.name,), value(source)) for source in sources]
        yield _metric(name, documentation, ["source"], samples)
    yield _metric(
        "runs_total",
        "Runs that ended, by status; it never falls.",
        ["source", "status"],
        _each(sources, ENDED, lambda source: source.runs),
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
        "Deliveries, one per event and channel, by status.",
        ["status"],
        [((status,), snapshot.deliveries.get(status, 0)) for status in _DELIVERIES],
    )
    yield _metric(
        "oldest_pending_delivery_timestamp_seconds",
        "When the oldest event with a pending delivery happened; absent when there is none.",
        [],
        [((), snapshot.oldest_pending_at)],
    )


def _each(
    sources: Iterable[SourceSnapshot],
    words: Iterable[str],
    numbers: Callable[[SourceSnapshot], Mapping[str, int]],
) -> Iterator[_Sample]:
    """Yield a sample per source and word, also zeros: a series that begins late shows no rise."""
    for source in sources:
        counted = numbers(source)
        for word in words:
            yield (source.health.name, word), counted.get(word, 0)


def _metric(
    name: str,
    documentation: str,
    labels: list[str],
    samples: Iterable[_Sample],
    *,
    counter: bool = False,
) -> Metric:
    """Return a metric with its samples, without those that are None."""
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
