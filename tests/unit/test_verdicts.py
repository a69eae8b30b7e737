"""What is said of a model, as tables of cases: records in, a verdict and its words out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog_sync.check.report import verdict_text
from catalog_sync.check.verdicts import judge
from catalog_sync.domain.kinds import Verdict
from catalog_sync.domain.model import ModelInfo, ModelRecord
from support import model

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SEEN = NOW - 100 * DAY
NEVER = "the catalog never held it"
DATED = "claude-opus-4-20250514"


def record(
    id_: str, *, source: str = "s", removed_at: datetime | None = None, **fields: Any
) -> ModelRecord:
    info = ModelInfo.from_payload(model(id_, **fields))
    return ModelRecord(source, info, SEEN, NOW, removed_at=removed_at)


def opus(number: int, **fields: Any) -> ModelRecord:
    """A model of a line, released in that month."""
    created = f"2026-{number:02}-01T00:00:00Z"
    return record(f"claude-opus-{number}", **{"created_at": created, "line": "opus", **fields})


DEPRECATED = {"lifecycle": "deprecated", "deprecated_at": "2026-05-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("fields", "verdict", "text"),
    [
        ({}, "fine", None),
        ({"lifecycle": None}, "fine", None),
        ({"lifecycle": "preview"}, "fine", None),
        (DEPRECATED, "deprecated", "since 2026-05-01, no retirement date yet"),
        ({"lifecycle": "deprecated"}, "deprecated", "no retirement date yet"),
        (
            {**DEPRECATED, "retires_at": "2026-08-14T12:00:00.000001Z"},
            "deprecated",
            "since 2026-05-01, retires 2026-08-14 (60 days left)",
        ),
        (
            {**DEPRECATED, "retires_at": "2026-08-14T12:00:00Z"},
            "retiring",
            "deprecated since 2026-05-01, retires 2026-08-14 (60 days left)",
        ),
        ({"retires_at": "2026-06-16T00:00:00Z"}, "retiring", "retires 2026-06-16 (1 day left)"),
        (
            {"lifecycle": None, "retires_at": "2026-06-15T12:00:00Z"},
            "overdue",
            "was to retire 2026-06-15",
        ),
        (
            {**DEPRECATED, "retires_at": "2026-06-01T00:00:00Z"},
            "overdue",
            "deprecated since 2026-05-01, was to retire 2026-06-01 (14 days overdue)",
        ),
        (
            {"lifecycle": "retired", "retires_at": "2026-06-01T00:00:00Z"},
            "retired",
            "retirement date 2026-06-01",
        ),
        ({"lifecycle": "retired"}, "retired", "without a date"),
        (
            {"lifecycle": "retired", "removed_at": NOW - DAY},
            "retired",
            "gone from the list since 2026-06-14",
        ),
        (
            {"lifecycle": "active", "removed_at": NOW - DAY},
            "removed",
            "gone from the list since 2026-06-14",
        ),
    ],
)
def test_one_source(fields: dict[str, Any], verdict: str, text: str | None) -> None:
    """Lifecycle, dates and removal make the verdict; its words give the date that it turns on."""
    judgement = judge("m", [record("m", **fields)], NOW, 60 * DAY)
    assert judgement.verdict == verdict
    if text is not None:
        assert verdict_text(judgement, NOW) == text


def test_missing_is_not_removed() -> None:
    """A model that walks miss is listed until it is confirmed gone."""
    info = ModelInfo.from_payload(model("m"))
    missing = ModelRecord("s", info, SEEN, SEEN, missing_since=NOW - DAY)
    assert judge("m", [missing], NOW, DAY).verdict is Verdict.FINE


def test_the_gravest_source_counts() -> None:
    """A model that one key lost is lost to whoever uses it; where it is fine is said as well."""
    records = [
        record("m", source="a"),
        record("m", source="b", removed_at=NOW - DAY),
        record("m", source="c", **DEPRECATED),
    ]
    judgement = judge("m", records, NOW, DAY)
    assert judgement.verdict is Verdict.REMOVED
    assert [one.record.source for one in judgement.standings] == ["b", "c", "a"]
    assert (
        verdict_text(judgement, NOW) == "source b: gone from the list since 2026-06-14; fine in a"
    )
    assert judge("m", records[:1], NOW, DAY).verdict is Verdict.FINE


@pytest.mark.parametrize(
    ("others", "successor"),
    [
        ([], None),
        ([opus(2), opus(4), opus(3)], "claude-opus-4"),
        ([opus(2), opus(4, **DEPRECATED)], "claude-opus-2"),
        ([opus(2), opus(4, retires_at="2026-06-20T00:00:00Z")], "claude-opus-2"),
        ([opus(2), opus(4, removed_at=NOW)], "claude-opus-2"),
        ([opus(2), opus(4, lifecycle=None)], "claude-opus-4"),
        ([opus(4, line="sonnet"), opus(5, line=None)], None),
        ([opus(4, source="elsewhere")], None),
        ([record("claude-opus-0", created_at="2025-12-31T00:00:00Z", line="opus")], None),
    ],
)
def test_the_successor(others: list[ModelRecord], successor: str | None) -> None:
    """It is the newest of the line in the same source that is listed, newer, and fine itself."""
    gone = opus(1, removed_at=NOW)
    assert judge("claude-opus-1", [gone, *others], NOW, 60 * DAY).successor == successor


def test_a_fine_model_has_no_successor() -> None:
    """Nobody is told to move without need."""
    assert judge("claude-opus-1", [opus(1), opus(2)], NOW, DAY).successor is None


def test_an_unknown_release_has_no_successor() -> None:
    """Of a model whose release the API does not know, nothing is surely newer."""
    gone = opus(1, removed_at=NOW, created_at="1970-01-01T00:00:00Z")
    assert judge("claude-opus-1", [gone, opus(2)], NOW, DAY).successor is None


@pytest.mark.parametrize(
    ("id_", "others", "successor"),
    [
        (DATED, [opus(2)], "claude-opus-2"),
        (DATED, [record("o", line="opus", created_at="2026-06-01T00:00:00Z")], None),
        ("claude-sonnet-opus-1", [opus(2), record("claude-sonnet-2", line="sonnet")], None),
        ("claude-magnopus-1", [opus(2)], None),
    ],
    ids=["proven", "no id of the line says it", "two lines", "part of a word"],
)
def test_a_line_that_the_api_did_not_say(
    id_: str, others: list[ModelRecord], successor: str | None
) -> None:
    """A record older than the field takes its line from its id, where that is certain."""
    gone = record(id_, created_at="2025-05-14T00:00:00Z", line=None, removed_at=NOW)
    assert judge(id_, [gone, *others], NOW, DAY).successor == successor


@pytest.mark.parametrize(
    ("id_", "text"),
    [
        ("gpt-9", NEVER),
        ("claude-opus-4", f"{NEVER}; closest is {DATED}"),
        ("claude-opus-4-0", f"{NEVER}; closest is {DATED}"),
        ("claude-opus-4-latest", f"{NEVER}; closest is {DATED}"),
        ("claude-opus-4-20250515", f"{NEVER}; closest is {DATED}"),
        (
            "claude-3-haiku-latest",
            f"{NEVER}; closest is claude-3-haiku-20240307 (removed); successor: claude-haiku-4",
        ),
        ("claude-3-5-haiku-20241022", f"{NEVER}; successor: claude-haiku-4"),
    ],
)
def test_unknown(id_: str, text: str) -> None:
    """What the catalog never held is unknown; what may be meant is said, with how it stands."""
    records = [
        record(DATED, line="opus", created_at="2025-05-22T00:00:00Z"),
        record("claude-3-haiku-20240307", removed_at=NOW, created_at="2024-03-07T00:00:00Z"),
        record("claude-haiku-4", line="haiku", created_at="2026-01-01T00:00:00Z"),
    ]
    judgement = judge(id_, records, NOW, DAY)
    assert judgement.verdict is Verdict.UNKNOWN
    assert verdict_text(judgement, NOW) == text


def test_hostile_names_stay_on_one_line() -> None:
    """What a gateway calls its models moves no cursor and forges no line."""
    records = [
        record("m", removed_at=NOW, line="x", created_at="2025-01-01T00:00:00Z"),
        record("n\n::error::\x1b[2J", line="x"),
    ]
    assert verdict_text(judge("m", records, NOW, DAY), NOW).endswith("successor: n ::error:: [2J")
