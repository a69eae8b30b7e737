"""The metrics of a snapshot: values in, text out, read back by the library's parser."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from catalog_sync import __version__
from catalog_sync.queries.health import SourceHealth
from catalog_sync.queries.metrics import Snapshot, SourceSnapshot, exposition, registry

NOW = datetime(2026, 7, 24, 18, 12, 21, 500_000, tzinfo=UTC)
FULL = SourceSnapshot(
    SourceHealth(
        "anthropic",
        last_success_at=NOW,
        max_age=timedelta(minutes=45),
        held=True,
        held_models=("claude-1", "claude-2"),
        last_attempt_at=NOW + timedelta(minutes=15),
        last_duration=timedelta(milliseconds=210),
        clock_offset_seconds=-2,
    ),
    runs={"succeeded": 9, "held": 1, "failed": 2},
    models={"listed": 10, "missing": 1, "removed": 4},
    lifecycles={"active": 9, "deprecated": 1, "other": 1},
    next_retirement_at=NOW + timedelta(days=30),
)


def nothing_of(name: str, **fields: bool) -> SourceSnapshot:
    return SourceSnapshot(SourceHealth(name, **fields))


def read(snapshot: Snapshot, *, process: bool = False) -> dict[tuple[str, str], float]:
    """Return each sample by its name without our prefix, and its labels' values."""
    text = generate_latest(registry(lambda: snapshot, process=process)).decode()
    return {
        (
            sample.name.removeprefix("catalog_sync_"),
            "/".join(sample.labels[label] for label in sorted(sample.labels, reverse=True)),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_value_has_a_metric() -> None:
    """Each value of a snapshot has its metric, times in seconds, and there is no other metric."""
    deliveries = {"pending": 2, "delivered": 7, "failed": 1}
    assert read(Snapshot((FULL,), deliveries, NOW)) == {
        ("build_info", __version__): 1,
        ("database_up", ""): 1,
        ("last_success_timestamp_seconds", "anthropic"): NOW.timestamp(),
        ("max_age_seconds", "anthropic"): 2700,
        ("last_attempt_timestamp_seconds", "anthropic"): NOW.timestamp() + 900,
        ("last_run_duration_seconds", "anthropic"): 0.21,
        ("held", "anthropic"): 1,
        ("held_models", "anthropic"): 2,
        ("clock_offset_seconds", "anthropic"): -2,
        ("runs_total", "succeeded/anthropic"): 9,
        ("runs_total", "held/anthropic"): 1,
        ("runs_total", "failed/anthropic"): 2,
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


def test_every_count_is_shown_before_the_first_run() -> None:
    """Before the first run each count is 0, so that its first rise is visible; no time is shown."""
    shown = read(Snapshot((nothing_of("anthropic"),)))
    assert {name for name, _ in shown} == {
        "build_info",
        "database_up",
        "held",
        "held_models",
        "runs_total",
        "models",
        "listed_models",
        "deliveries",
    }
    counts = [value for (name, _), value in shown.items() if name in {"runs_total", "deliveries"}]
    assert counts == [0] * 6


def test_sources_stand_side_by_side() -> None:
    """Each source has the same series, in the order of the configuration."""
    shown = read(Snapshot((FULL, nothing_of("gateway"))))
    assert shown["models", "listed/anthropic"] == 10
    assert shown["models", "listed/gateway"] == 0
    ours = [key for key in shown if "gateway" in key[1]]
    assert len(ours) == 2 + 3 + 3 + 5


def test_a_database_that_is_down_is_shown_alone() -> None:
    """While the database cannot be read, no count is shown, so that none falls to 0."""
    shown = read(Snapshot((FULL,), {"failed": 1}, NOW, database_up=False))
    assert shown == {("build_info", __version__): 1, ("database_up", ""): 0}


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
    """A source's name is escaped as a label and cannot forge a line."""
    text = exposition(Snapshot((nothing_of(name, held=True),))).decode()
    lines = [line for line in text.split("\n") if line]
    assert all(line.startswith(("# HELP ", "# TYPE ", "catalog_sync_")) for line in lines)
    shown = read(Snapshot((nothing_of(name, held=True),)))
    assert shown["held", name] == 1


def test_unknown_words_make_no_series() -> None:
    """An unknown state, status or lifecycle adds no series: their number is bounded."""
    strange = SourceSnapshot(SourceHealth("a"), runs={"x": 1}, models={"x": 1}, lifecycles={"x": 1})
    assert read(Snapshot((strange,), {"x": 1})) == read(Snapshot((nothing_of("a"),)))


def test_the_process_is_shown_by_a_server_alone() -> None:
    """Only a server shows values of its process and interpreter."""
    snapshot = Snapshot((FULL,))
    before = read(snapshot)
    names = {name for name, _ in read(snapshot, process=True)}
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "python_info"} <= names
    assert read(snapshot) == before
    assert not any(name.startswith(("process_", "python_")) for name, _ in before)
