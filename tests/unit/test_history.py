"""The demo's history contains the record, and marks the made-up part."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from anthropic.types import ModelInfo

from catalog_sync.demo.history import Step, steps

LIFECYCLE_FIELDS = {"lifecycle", "deprecated_at", "retires_at", "line"}

# id, display_name, created_at, first listed, no longer listed
RECORD = [
    ("claude-3-haiku-20240307", "Claude Haiku 3", "2024-03-07", None, "2026-04-20"),
    ("claude-opus-4-20250514", "Claude Opus 4", "2025-05-22", None, "2026-06-15"),
    ("claude-sonnet-4-20250514", "Claude Sonnet 4", "2025-05-22", None, "2026-06-15"),
    ("claude-opus-4-1-20250805", "Claude Opus 4.1", "2025-08-05", None, "2026-08-05"),
    ("claude-sonnet-4-5-20250929", "Claude Sonnet 4.5", "2025-09-29", None, None),
    ("claude-haiku-4-5-20251001", "Claude Haiku 4.5", "2025-10-15", None, None),
    ("claude-opus-4-5-20251101", "Claude Opus 4.5", "2025-11-24", None, None),
    ("claude-opus-4-6", "Claude Opus 4.6", "2026-02-04", "2026-02-05", None),
    ("claude-sonnet-4-6", "Claude Sonnet 4.6", "2026-02-17", "2026-02-17", None),
    ("claude-opus-4-7", "Claude Opus 4.7", "2026-04-14", "2026-04-16", None),
    ("claude-opus-4-8", "Claude Opus 4.8", "2026-05-28", "2026-05-28", None),
    ("claude-fable-5", "Claude Fable 5", "2026-06-07", "2026-06-09", None),
    ("claude-sonnet-5", "Claude Sonnet 5", "2026-06-29", "2026-06-30", None),
    ("claude-opus-5", "Claude Opus 5", "2026-07-24", "2026-07-24", None),
]


def by_day(day: str) -> Step:
    """Return the last step of that day."""
    return [step for step in steps() if step.at.date().isoformat() == day][-1]


def listed(model_id: str) -> list[Step]:
    return [step for step in steps() if model_id in {m["id"] for m in step.models}]


def one(step: Step, model_id: str) -> dict[str, Any]:
    return next(model for model in step.models if model["id"] == model_id)


def test_order() -> None:
    """Steps are in the order of UTC time, begin on 2026-02-01, and have different headlines."""
    story = steps()
    times = [step.at for step in story]
    assert times == sorted(set(times))
    assert {time.utcoffset() for time in times} == {timedelta(0)}
    assert times[0].date().isoformat() == "2026-02-01"
    assert len({step.headline for step in story}) == len(story)


@pytest.mark.parametrize(("model_id", "name", "created", "first", "left"), RECORD)
def test_record(
    model_id: str, name: str, created: str, first: str | None, left: str | None
) -> None:
    """Each model is listed from and until the recorded day, with its recorded name and date."""
    present = listed(model_id)
    assert {one(m, model_id)["display_name"] for m in present} == {name}
    assert {one(m, model_id)["created_at"] for m in present} == {f"{created}T00:00:00Z"}
    assert {one(m, model_id)["type"] for m in present} == {"model"}
    assert present[0].at.date().isoformat() == (first or "2026-02-01")
    absent = [step for step in steps() if step.at > present[-1].at]
    assert (absent[0].at.date().isoformat() if absent else None) == left
    assert len(present) + len(absent) == sum(m.at >= present[0].at for m in steps())


def test_nothing_else_is_listed() -> None:
    """No model outside the record appears, and no model twice in one step."""
    for step in steps():
        ids = [model["id"] for model in step.models]
        assert len(ids) == len(set(ids))
        assert set(ids) <= {row[0] for row in RECORD}


def test_newest_first() -> None:
    """Every step lists its models newest first, as the API does."""
    for step in steps():
        created = [model["created_at"] for model in step.models]
        assert created == sorted(created, reverse=True)


@pytest.mark.parametrize(
    ("day", "count"),
    [("2026-02-01", 7), ("2026-03-18", 9), ("2026-05-31", 10), ("2026-08-05", 10)],
)
def test_counts(day: str, count: int) -> None:
    """Each day lists as many models as were recorded."""
    assert len(by_day(day).models) == count


def test_capabilities_appear() -> None:
    """On 2026-03-18 capabilities and token limits appear on all nine models, and nothing else."""
    seed = {"id", "type", "display_name", "created_at"}
    added = {"capabilities", "max_input_tokens", "max_tokens"}
    for step in steps():
        if step.recorded:
            known = seed if step.at < by_day("2026-03-18").at else seed | added
            assert all(set(model) == known for model in step.models)
    before, after = by_day("2026-02-17"), by_day("2026-03-18")
    assert [m["id"] for m in before.models] == [m["id"] for m in after.models]


def test_xhigh_appears() -> None:
    """On 2026-05-31 the effort level xhigh appears on all ten models, and nothing else changes."""
    before, after = by_day("2026-05-28"), by_day("2026-05-31")
    for model in after.models:
        model["capabilities"]["effort"].pop("xhigh")
    assert after.models == before.models


def test_departures_a_minute_apart() -> None:
    """Claude Opus 4 left at 17:52 and Claude Sonnet 4 at 17:53 on 2026-06-15."""
    hour = datetime(2026, 6, 15, 17, tzinfo=UTC)
    story = {step.at: {m["id"] for m in step.models} for step in steps()}
    assert "claude-opus-4-20250514" not in story[hour + timedelta(minutes=52)]
    assert "claude-sonnet-4-20250514" in story[hour + timedelta(minutes=52)]
    assert "claude-sonnet-4-20250514" not in story[hour + timedelta(minutes=53)]


def test_late_listings() -> None:
    """Four of the seven releases are first listed one or two days after their release date."""
    late = [row for row in RECORD if row[3] is not None and row[3] > row[2]]
    assert len(late) == 4
    for model_id, name, *_ in late:
        headline = listed(model_id)[0].headline
        assert headline.startswith(f"{name} is listed, ")
        assert headline.endswith("after its release date")


def test_token_limits_are_plausible() -> None:
    """Token limits stay within the values that are typical of the API."""
    for model in steps()[-1].models + by_day("2026-03-18").models:
        assert model["max_input_tokens"] in {200_000, 1_000_000}
        assert 4_096 <= model["max_tokens"] <= 128_000


def test_end_of_the_record() -> None:
    """Steps after 2026-08-05 are marked as made up; only they use the newest version."""
    for step in steps():
        recorded = step.at <= by_day("2026-08-05").at
        assert step.recorded is recorded
        assert step.anthropic_version == ("2023-06-01" if recorded else "2026-10-21")


def test_lifecycle_appears() -> None:
    """With the newest version the lifecycle fields appear on all models, all of them active."""
    before, after = by_day("2026-08-05"), by_day("2026-10-21")
    for old, new in zip(before.models, after.models, strict=True):
        assert {field: new[field] for field in LIFECYCLE_FIELDS - {"line"}} == {
            "lifecycle": "active",
            "deprecated_at": None,
            "retires_at": None,
        }
        assert new["line"] in {"haiku", "sonnet", "opus", "fable"}
        assert {field: new[field] for field in new if field not in LIFECYCLE_FIELDS} == old


def test_deprecation() -> None:
    """One model is deprecated, about 100 days before it retires; no other changes."""
    before, after = by_day("2026-10-21"), by_day("2026-11-10")
    changed = [new for old, new in zip(before.models, after.models, strict=True) if new != old]
    assert [model["id"] for model in changed] == ["claude-sonnet-4-5-20250929"]
    assert changed[0]["lifecycle"] == "deprecated"
    assert datetime.fromisoformat(changed[0]["deprecated_at"]) <= after.at
    assert 99 < days_left(after) < 101


def test_reminders() -> None:
    """After the deprecation two steps cross a reminder each: 90 days, then 30."""
    story = [step for step in steps() if step.at >= by_day("2026-11-10").at]
    assert {step.models == story[0].models for step in story} == {True}
    crossed = [[n for n in (90, 30, 7, 1) if days_left(step) <= n] for step in story]
    assert crossed == [[], [90], [90, 30]]


def days_left(step: Step) -> float:
    retires_at = one(step, "claude-sonnet-4-5-20250929")["retires_at"]
    left: timedelta = datetime.fromisoformat(retires_at) - step.at
    return left / timedelta(days=1)


def test_sdk_knows_the_newest_shape() -> None:
    """The newest objects are complete, and have no field that the official SDK does not know."""
    for model in steps()[-1].models:
        assert set(ModelInfo.model_validate(model).to_dict()) == set(model)


def test_fresh_objects() -> None:
    """Each call builds new objects, which a reader may change."""
    steps()[0].models[0].clear()
    assert steps()[0].models[0]
