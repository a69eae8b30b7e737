"""The metrics of the program in the Prometheus text format, for scrapes and as a file.

Every value comes from the database, so it survives a restart and is the same in all processes.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import sqlalchemy as sa

from catalog_sync._version import __version__
from catalog_sync.config.settings import Settings
from catalog_sync.db import catalog as db_catalog
from catalog_sync.db import outbox
from catalog_sync.db.schema import sources, sync_runs
from catalog_sync.domain.kinds import ENDED, Lifecycle
from catalog_sync.files import atomic_write
from catalog_sync.logs import fields
from catalog_sync.queries import health
from catalog_sync.queries.health import SourceHealth

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

logger = logging.getLogger(__name__)
_FILE_NAME = re.compile(r"catalog[-_]sync[-_](.+)\.prom")
_Metric: TypeAlias = tuple[str, str, tuple[str, ...], list[Any]]
"""Name, help, labels and samples; a sample has the labels' values and a value."""
_PER_SOURCE = (
    ("last_success_timestamp_seconds", "last_success_at", "When a run was last applied."),
    ("max_age_seconds", "max_age", "The limit of the age of the last success."),
    ("last_attempt_timestamp_seconds", "last_attempt_at", "The start of the last run that ended."),
    ("last_run_duration_seconds", "last_duration", "The duration of that run."),
    ("held", "held", "Whether the last run is held: it waits for a person."),
    ("held_models", "held_models", "Models whose removal waits for a person."),
    (
        "clock_offset_seconds",
        "clock_offset_seconds",
        "Host's clock minus the API's at the last run.",
    ),
)
"""The metrics with a value per source: name, attribute of `SourceHealth`, help."""
_LIFECYCLES = tuple(word.value for word in Lifecycle)
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
        (*_LIFECYCLES, "unknown", "other"),
        "Models not removed, by lifecycle; unknown if the API does not state it.",
    ),
)
"""The metrics with a value per source and word: name, attribute, label, words, help."""


@dataclass(slots=True)
class SourceSnapshot:
    """The values of one source's metrics."""

    health: SourceHealth
    runs: Counter[str] = field(default_factory=Counter)
    """Ended runs by status, those that retention deleted included."""
    models: Counter[str] = field(default_factory=Counter)
    """Models ever recorded: `listed`, `missing` (not confirmed gone) or `removed`."""
    lifecycles: Counter[str] = field(default_factory=Counter)
    """Models not removed: `active`, `deprecated`, `retired`, `unknown` (not stated) or `other`."""
    next_retirement_at: datetime | None = None
    """The next retirement date of a model that is not removed."""


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
    found = {
        source.name: SourceSnapshot(source)
        for source in health.status(connection, settings, now).configured
    }
    deliveries = Counter(outbox.count_deliveries(connection))
    for row in connection.execute(sa.select(sources)).mappings():
        deliveries[outbox.DELIVERED] += row["pruned_delivered"]
        if row["name"] in found:
            found[row["name"]].runs.update({word: row[f"pruned_{word}"] for word in ENDED})
    run = sync_runs.c
    ended = sa.select(run.source, run.status, sa.func.count()).where(run.status.in_(ENDED))
    for name, status, number in connection.execute(ended.group_by(run.source, run.status)):
        if name in found:
            found[name].runs[status] += number
    counts = db_catalog.count_models(connection, now)
    for name, lifecycle, removed, missing, number, retires_at in counts:
        if (source := found.get(name)) is None:
            continue
        source.models["removed" if removed else "missing" if missing else "listed"] += number
        if not removed:
            word = lifecycle if lifecycle in _LIFECYCLES else "other"
            source.lifecycles["unknown" if lifecycle is None else word] += number
        if retires_at is not None:
            source.next_retirement_at = min(retires_at, source.next_retirement_at or retires_at)
    return Snapshot(tuple(found.values()), deliveries, outbox.oldest_pending(connection))


def exposition(snapshot: Snapshot, *, catalog: str = "") -> bytes:
    """Return a snapshot in Prometheus's text format, version 0.0.4.

    `catalog` is a label of every sample, which distinguishes several catalogs of one host.
    """
    from prometheus_client import generate_latest  # noqa: PLC0415  # heavy

    return generate_latest(registry(lambda: snapshot, catalog=catalog))


def write_file(path: Path, snapshot: Snapshot) -> None:
    """Replace the metrics file at `path`.

    node_exporter fails if two files in its directory have the same series. Samples in a file
    `catalog-sync-NAME.prom` therefore have the label `catalog="NAME"`, and a conflict is logged.
    Raises OSError.
    """
    named = _FILE_NAME.fullmatch(path.name)
    content = exposition(snapshot, catalog=named[1] if named else "")
    atomic_write(path, [content])
    (series,) = re.findall(rb"^catalog_sync_database_up.* ", content, re.MULTILINE)
    for other in sorted(path.parent.glob("*.prom")):
        with suppress(OSError):
            if other.name != path.name and b"\n" + series in other.read_bytes():
                logger.warning(
                    "two metrics files have the same series, which node_exporter refuses; "
                    "name each catalog-sync-NAME.prom, or delete the older one",
                    extra=fields(file=str(path), other=str(other)),
                )


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

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its samples, except None."""
        from prometheus_client.core import (  # noqa: PLC0415  # heavy
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        for name, text, labels, samples in _metrics(self._read()):
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            metric = family(f"catalog_sync_{name}", text, labels=[*labels, *self._labels])
            for values, value in samples:
                if value is not None:
                    metric.add_metric([*values, *self._labels.values()], _number(value))
            yield metric


def _metrics(snapshot: Snapshot) -> Iterator[_Metric]:
    version = "Always 1; `version` is the program's version."
    yield "build_info", version, ("version",), [((__version__,), 1)]
    up = "Whether the database can be read. If not, the metrics from it are absent."
    yield "database_up", up, (), [((), snapshot.database_up)]
    if not snapshot.database_up:
        return
    sources = snapshot.sources
    for name, attribute, text in _PER_SOURCE:
        values = [((each.health.name,), getattr(each.health, attribute)) for each in sources]
        yield name, text, ("source",), values
    retires = "The next retirement date of a model not removed."
    dates = [((each.health.name,), each.next_retirement_at) for each in sources]
    yield "next_retirement_timestamp_seconds", retires, ("source",), dates
    for name, attribute, label, words, text in _PER_WORD:
        by_word = [
            # Zeros too: Prometheus sees no increase at the start of a series.
            ((each.health.name, word), getattr(each, attribute).get(word, 0))
            for each in sources
            for word in words
        ]
        yield name, text, ("source", label), by_word
    about = "Deliveries, one per event and channel, by status."
    counts = [((word,), snapshot.deliveries.get(word, 0)) for word in outbox.STATUSES]
    yield "deliveries", about, ("status",), counts
    oldest = "When the oldest event with a pending delivery happened."
    at = [((), snapshot.oldest_pending_at)]
    yield "oldest_pending_delivery_timestamp_seconds", oldest, (), at


def _number(value: Any) -> float:
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return len(value) if isinstance(value, tuple) else float(value)
