"""Events about the job itself."""

from __future__ import annotations

import pytest

from catalog_sync.domain import incidents
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import (
    Event,
)
from decisions import (
    NOW,
    change,
    event,
    state,
)


@pytest.mark.parametrize(
    ("threshold", "classes", "announced"),
    [
        (3, "AAA", [3]),
        (3, "AA", []),
        (3, "AAAAAAAA", [3]),
        (1, "AA", [1]),
        (3, "AAAB", [3, 4]),
        (3, "ABAB", [3, 4]),
        (3, "ABABABABAB", [3, 4]),
        (3, "ABC", [3]),
    ],
)
def test_failures(threshold: int, classes: str, announced: list[int]) -> None:
    """A streak of failures is recorded at the threshold, and again only for a new error code."""
    announced_codes: list[str] = []
    when: list[int] = []
    for streak, error_class in enumerate(classes, 1):
        failure = incidents.failure_event(
            NOW,
            "it broke",
            error_class,
            streak=streak,
            threshold=threshold,
            announced_codes=announced_codes,
        )
        if failure is not None:
            changes = {"error": change(None, "it broke")}
            payload = {"error_code": error_class}
            assert failure == Event(Kind.SYNC_FAILED, NOW, None, changes, payload)
            announced_codes.append(error_class)
            when.append(streak)
    assert when == announced


@pytest.mark.parametrize("incident", [{"failure_announced": True}, {"held": True}])
def test_recovery(incident: dict[str, bool]) -> None:
    """A success makes an event only after a recorded failure or hold, and contains its reason."""
    assert incidents.recovery_event(state(last_error="it broke"), NOW) is None
    known = state(last_error="it broke", **incident)
    changes = {"error": change("it broke", None)}
    assert incidents.recovery_event(known, NOW) == event(Kind.SYNC_RECOVERED, NOW, changes=changes)


def test_held() -> None:
    """Only the first held run since the last success makes an event, with its reason."""
    error = incidents.held_error("my source", "half of it left")
    assert error.startswith("source my source: half of it left; ")
    assert "run: catalog-sync sync --source 'my source' --accept-removals" in error
    changes = {"error": change(None, error)}
    held = incidents.held_event(state(), NOW, error)
    assert held == event(Kind.SYNC_HELD, NOW, changes=changes)
    assert incidents.held_event(state(held=True), NOW, error) is None


def test_recovery_from_a_hold_names_no_command() -> None:
    """When a hold is over, its event keeps the reason without the commands that release it."""
    held = state(held=True, last_error=incidents.held_error("team", "half of it left"))
    recovered = incidents.recovery_event(held, NOW)
    assert recovered is not None
    assert recovered.changes["error"] == change("source team: half of it left", None)
