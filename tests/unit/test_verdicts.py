"""Verdicts on models, as tables of cases: records in, a verdict and its text out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from catalog_sync.check.report import verdict_text
from catalog_sync.check.verdicts import Severity, Verdicts, severity
from catalog_sync.domain.kinds import Verdict
from catalog_sync.domain.model import ModelInfo, ModelRecord
from support import model

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SEEN = NOW - 100 * DAY
NEVER = "not in the catalog"
OLDER = (
    'older models are recorded when a source sets lifecycle = ["active", "deprecated", "retired"]'
)
DATED = "claude-opus-4-20250514"


def record(
    id_: str, *, source: str = "s", removed_at: datetime | None = None, **fields: Any
) -> ModelRecord:
    info = ModelInfo.from_payload(model(id_, **fields))
    return ModelRecord(source, info, SEEN, NOW, removed_at=removed_at)


def opus(number: int, **fields: Any) -> ModelRecord:
    """A model of a line that was released in that month."""
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
        ({"lifecycle": "retired"}, "retired", "no date"),
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
    """Lifecycle, dates and removal decide the verdict; its text states the deciding date."""
    judged = Verdicts([record("m", **fields)], NOW, 60 * DAY).of("m")
    assert judged.verdict == verdict
    if text is not None:
        assert verdict_text(judged, NOW) == text


def test_missing_is_not_removed() -> None:
    """A missing model counts as listed until its removal is confirmed."""
    info = ModelInfo.from_payload(model("m"))
    missing = ModelRecord("s", info, SEEN, SEEN, missing_since=NOW - DAY)
    assert Verdicts([missing], NOW, DAY).of("m").verdict is Verdict.FINE


def test_the_most_severe_source_counts() -> None:
    """The most severe verdict of all sources counts; the text names where it is fine."""
    records = [
        record("m", source="a"),
        record("m", source="b", removed_at=NOW - DAY),
        record("m", source="c", **DEPRECATED),
    ]
    verdict = Verdicts(records, NOW, DAY).of("m")
    assert verdict.verdict is Verdict.REMOVED
    assert [one.record.source for one in verdict.by_source] == ["b", "c", "a"]
    assert verdict_text(verdict, NOW) == "source b: gone from the list since 2026-06-14; fine in a"
    assert Verdicts(records[:1], NOW, DAY).of("m").verdict is Verdict.FINE


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
    """The successor is the newest listed and fine model of the line in the same source."""
    gone = opus(1, removed_at=NOW)
    assert Verdicts([gone, *others], NOW, 60 * DAY).of("claude-opus-1").successor == successor


def test_a_fine_model_has_no_successor() -> None:
    """A fine model needs no successor."""
    assert Verdicts([opus(1), opus(2)], NOW, DAY).of("claude-opus-1").successor is None


def test_an_unknown_release_has_no_successor() -> None:
    """If the release of a model is unknown, no other model is certainly newer."""
    gone = opus(1, removed_at=NOW, created_at="1970-01-01T00:00:00Z")
    assert Verdicts([gone, opus(2)], NOW, DAY).of("claude-opus-1").successor is None


@pytest.mark.parametrize(
    ("id_", "others", "successor"),
    [
        (DATED, [opus(2)], "claude-opus-2"),
        (DATED, [record("o", line="opus", created_at="2026-06-01T00:00:00Z")], None),
        ("claude-sonnet-opus-1", [opus(2), record("claude-sonnet-2", line="sonnet")], None),
        ("claude-magnopus-1", [opus(2)], None),
    ],
    ids=["proven", "no id of the line states it", "two lines", "part of a word"],
)
def test_a_line_that_the_api_does_not_state(
    id_: str, others: list[ModelRecord], successor: str | None
) -> None:
    """A record without a line gets it from its id if that is certain."""
    gone = record(id_, created_at="2025-05-14T00:00:00Z", line=None, removed_at=NOW)
    assert Verdicts([gone, *others], NOW, DAY).of(id_).successor == successor


@pytest.mark.parametrize(
    ("id_", "text"),
    [
        ("gpt-9", NEVER),
        ("claude-haiku-4-latest", f"{NEVER}; closest is claude-haiku-4"),
        ("Claude-Haiku-4", f"{NEVER}; closest is claude-haiku-4"),
        ("claude-opus-4-20250515", f"{NEVER}; closest is {DATED}"),
        (
            "claude-3-haiku-20240308",
            f"{NEVER}; closest is claude-3-haiku-20240307 (removed); successor: claude-haiku-4",
        ),
        ("claude-3-opus-20240229", f"{NEVER}; {OLDER}; successor: {DATED}"),
        ("claude-opus-3-2024-02-29", f"{NEVER}; {OLDER}; successor: {DATED}"),
        ("gpt-4-20200101", NEVER),
        ("claude-3-5-haiku-20241022", f"{NEVER}; successor: claude-haiku-4"),
    ],
)
def test_unknown(id_: str, text: str) -> None:
    """An id that was never recorded is unknown; the text names the closest id and its verdict."""
    records = [
        record(DATED, line="opus", created_at="2025-05-22T00:00:00Z"),
        record("claude-3-haiku-20240307", removed_at=NOW, created_at="2024-03-07T00:00:00Z"),
        record("claude-haiku-4", line="haiku", created_at="2026-01-01T00:00:00Z"),
    ]
    verdict = Verdicts(records, NOW, DAY).of(id_)
    assert verdict.verdict is Verdict.UNKNOWN
    assert verdict_text(verdict, NOW) == text


@pytest.mark.parametrize(
    "end", ["", "-latest", "-0"], ids=["without the date", "with latest", "with 0"]
)
@pytest.mark.parametrize("date", ["20250514", "2025-05-14"])
def test_aliases(end: str, date: str) -> None:
    """An alias is judged as its dated model, and the text says so."""
    dated = f"claude-opus-4-{date}"
    records = [
        record(dated, line="opus", created_at="2025-05-14T00:00:00Z", removed_at=NOW),
        opus(5),
    ]
    verdict = Verdicts(records, NOW, DAY).of(f"claude-opus-4{end}")
    assert (verdict.verdict, verdict.alias_of) == (Verdict.REMOVED, dated)
    assert verdict_text(verdict, NOW) == (
        f"alias of {dated}; gone from the list since 2026-06-15; successor: claude-opus-5"
    )
    plain = Verdicts(records, NOW, DAY, resolve_aliases=False).of(f"claude-opus-4{end}")
    assert (plain.verdict, plain.alias_of) == (Verdict.UNKNOWN, None)


def test_the_model_behind_an_alias() -> None:
    """An alias stands for the newest listed model, else for the newest recorded one."""
    first = record("m-1-20240101", created_at="2024-01-01T00:00:00Z")
    second = record("m-1-20250101", created_at="2025-01-01T00:00:00Z")
    third = record("m-1-20260101", created_at="2026-01-01T00:00:00Z", removed_at=NOW)
    exact = record("m-1", **DEPRECATED)

    def behind(*records: ModelRecord) -> str | None:
        return Verdicts(records, NOW, DAY).of("m-1").alias_of

    assert behind(third, first, second) == "m-1-20250101"
    assert behind(third) == "m-1-20260101"
    assert behind(third, first, second, exact) is None


def test_a_missing_model_is_named() -> None:
    """The text says that a model is missing although its removal is not confirmed."""
    info = ModelInfo.from_payload(model("m", **DEPRECATED))
    missing = ModelRecord("s", info, SEEN, SEEN, missing_since=NOW - DAY)
    assert verdict_text(Verdicts([missing], NOW, DAY).of("m"), NOW).endswith(
        "missing from the list since 2026-06-14, not confirmed"
    )


@pytest.mark.parametrize("verdict", [each for each in Verdict if each is not Verdict.FINE])
def test_severity(verdict: Verdict) -> None:
    """By default every verdict but deprecated is an error; outside `fail_on` it is a warning."""
    assert severity(verdict) == ("warning" if verdict == "deprecated" else "error")
    assert severity(verdict, [verdict.value]) is Severity.ERROR
    assert severity(verdict, []) is Severity.WARNING
    assert severity(Verdict.FINE, list(Verdict)) is Severity.OK


def test_hostile_names_stay_on_one_line() -> None:
    """A display name moves no cursor and forges no line."""
    records = [
        record("m", removed_at=NOW, line="x", created_at="2025-01-01T00:00:00Z"),
        record("n\n::error::\x1b[2J", line="x"),
    ]
    assert verdict_text(Verdicts(records, NOW, DAY).of("m"), NOW).endswith(
        r"successor: n\n::error::\x1b[2J"
    )
