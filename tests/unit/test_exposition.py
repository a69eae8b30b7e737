"""What Prometheus is told of a snapshot: values in, text out, read back by the library's parser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from catalog_sync import __version__
from catalog_sync.db.runs import RunRecord
from catalog_sync.domain.kinds import RunStatus
from catalog_sync.queries.health import Snapshot, SourceSnapshot, SourceStatus
from catalog_sync.queries.metrics import exposition

NOW = datetime(2026, 7, 24, 18, 12, 21, 500_000, tzinfo=UTC)
FULL = SourceSnapshot(
    SourceStatus(
        "anthropic",
        last_success_at=NOW,
        max_age=timedelta(minutes=45),
        held=True,
        last_run=RunRecord(
            RunStatus.FAILED,
            NOW + timedelta(minutes=15),
            NOW + timedelta(minutes=15, milliseconds=210),
        ),
    ),
    runs={"succeeded": 9, "held": 1, "failed": 2, "skipped": 3, "running": 1},
    models={"listed": 10, "missing": 1, "removed": 4},
    lifecycles={"active": 9, "deprecated": 1, "other": 1},
    next_retirement_at=NOW + timedelta(days=30),
)


def nothing_of(name: str, **fields: bool) -> SourceSnapshot:
    return SourceSnapshot(SourceStatus(name, **fields))


def read(snapshot: Snapshot, *, process: bool = False) -> dict[tuple[str, str], float]:
    """Return each sample by its name without our prefix, and its labels' values."""
    text = exposition(snapshot, process=process).decode()
    return {
        (
            sample.name.removeprefix("catalog_sync_"),
            "/".join(sample.labels[label] for label in sorted(sample.labels, reverse=True)),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_everything_is_told() -> None:
    """Each value of a snapshot stands under its name, times in seconds, and nothing else does."""
    deliveries = {"pending": 2, "delivered": 7, "failed": 1}
    assert read(Snapshot((FULL,), deliveries, NOW)) == {
        ("build_info", __version__): 1,
        ("database_up", ""): 1,
        ("last_success_timestamp_seconds", "anthropic"): NOW.timestamp(),
        ("max_age_seconds", "anthropic"): 2700,
        ("last_attempt_timestamp_seconds", "anthropic"): NOW.timestamp() + 900,
        ("last_run_duration_seconds", "anthropic"): 0.21,
        ("held", "anthropic"): 1,
        ("runs_total", "succeeded/anthropic"): 9,
        ("runs_total", "held/anthropic"): 1,
        ("runs_total", "failed/anthropic"): 2,
        ("runs_total", "skipped/anthropic"): 3,
        ("models", "listed/anthropic"): 10,
        ("models", "missing/anthropic"): 1,
        ("models", "removed/anthropic"): 4,
        ("listed_models", "anthropic/active"): 9,
        ("listed_models", "anthropic/deprecated"): 1,
        ("listed_models", "anthropic/retired"): 0,
        ("listed_models", "anthropic/unknown"): 0,
        ("listed_models", "anthropic/other"): 1,
        ("next_retirement_timestamp_seconds", "anthropic"): NOW.timestamp() + 30 * 86_400,
        ("deliveries", "pending"): 2,
        ("deliveries", "delivered"): 7,
        ("deliveries", "failed"): 1,
        ("oldest_pending_delivery_timestamp_seconds", ""): NOW.timestamp(),
    }


def test_of_nothing_every_count_is_told() -> None:
    """Before the first pass each count is 0, so that its first rise is one; no time is invented."""
    told = read(Snapshot((nothing_of("anthropic"),)))
    assert {name for name, _ in told} == {
        "build_info",
        "database_up",
        "held",
        "runs_total",
        "models",
        "listed_models",
        "deliveries",
    }
    counts = [value for (name, _), value in told.items() if name in {"runs_total", "deliveries"}]
    assert counts == [0] * 7


def test_sources_stand_side_by_side() -> None:
    """Each source has the same series, in the order of the configuration."""
    told = read(Snapshot((FULL, nothing_of("gateway"))))
    assert told["models", "listed/anthropic"] == 10
    assert told["models", "listed/gateway"] == 0
    ours = [key for key in told if "gateway" in key[1]]
    assert len(ours) == 1 + 4 + 3 + 5


def test_a_database_that_is_down_is_told_alone() -> None:
    """Without a database nothing is said but that, and by whom: no count falls to 0."""
    told = read(Snapshot((FULL,), {"failed": 1}, NOW, database_up=False))
    assert told == {("build_info", __version__): 1, ("database_up", ""): 0}


@pytest.mark.parametrize(
    "name",
    [
        'a"} 1\nup 1',
        "back\\slash\\",
        "\\n",
        "tab\tand\r\nreturn",
        'comma="x",',
        "{}",
        "Ümläut ☃ 🜁",
        "\u202eright to left\u2028",
        " blanks ",
        "# HELP",
    ],
)
def test_a_hostile_name_stays_a_label(name: str) -> None:
    """Whatever a source is called, its name comes back whole, and no line is forged."""
    text = exposition(Snapshot((nothing_of(name, held=True),))).decode()
    lines = [line for line in text.split("\n") if line]
    assert all(line.startswith(("# HELP ", "# TYPE ", "catalog_sync_")) for line in lines)
    told = read(Snapshot((nothing_of(name, held=True),)))
    assert told["held", name] == 1


def test_unknown_words_make_no_series() -> None:
    """A state, status or lifecycle that we do not know adds no series: their number is bounded."""
    strange = SourceSnapshot(SourceStatus("a"), runs={"x": 1}, models={"x": 1}, lifecycles={"x": 1})
    assert read(Snapshot((strange,), {"x": 1})) == read(Snapshot((nothing_of("a"),)))


def test_the_process_is_told_on_request_alone() -> None:
    """A server tells of its process and interpreter; a file does not, nor does the next answer."""
    snapshot = Snapshot((FULL,))
    before = read(snapshot)
    names = {name for name, _ in read(snapshot, process=True)}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "python_info"} <= names
    assert read(snapshot) == before
    assert not any(name.startswith(("process_", "python_")) for name, _ in before)
