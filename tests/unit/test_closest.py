"""Suggestions for an unknown model id."""

from __future__ import annotations

import pytest

from catalog_sync.demo.history import steps
from catalog_sync.text import closest

NAMES = {model["id"]: model["display_name"] for model in steps()[0].models} | {
    model["id"]: model["display_name"] for model in reversed(steps()[-1].models)
}
"""The display names of all models that were ever listed."""


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        pytest.param("claude-opus-4-1", ["claude-opus-4-1-20250805"], id="no date"),
        pytest.param("claude-opus-4-1-latest", ["claude-opus-4-1-20250805"], id="an alias"),
        pytest.param("claude-opus-5-20260724", ["claude-opus-5"], id="a date too many"),
        pytest.param("claude-opus-5@20260724", ["claude-opus-5"], id="another vendor's date"),
        pytest.param("Claude-OPUS-5", ["claude-opus-5"], id="case"),
        pytest.param("claude opus 5", ["claude-opus-5"], id="name"),
        pytest.param(" claude-opus-5 ", ["claude-opus-5"], id="blanks"),
        pytest.param("anthropic/claude-opus-5", ["claude-opus-5"], id="a vendor's name before it"),
        pytest.param("us.anthropic.claude-opus-5-v1:0", ["claude-opus-5"], id="around it"),
        pytest.param("opus-4-1", ["claude-opus-4-1-20250805"], id="half of it"),
        pytest.param("gpt", [], id="nothing like it"),
        pytest.param("", [], id="nothing"),
        pytest.param("\x1b[31m(((", [], id="no id at all"),
    ],
)
def test_meant(asked: str, meant: list[str]) -> None:
    """An id that clearly means one model gets that model as its only suggestion."""
    assert closest(asked, NAMES, NAMES) == meant


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        pytest.param("claude-opus-55", "claude-opus-5", id="a letter too many"),
        pytest.param("claud-opus-5", "claude-opus-5", id="a letter too few"),
        pytest.param("calude-fable-5", "claude-fable-5", id="letters swapped"),
        pytest.param("claude-opus-4", "claude-opus-4-20250514", id="the same except for its date"),
    ],
)
def test_likeliest(asked: str, first: str) -> None:
    """Of several similar ids the likeliest comes first, and at most three are suggested."""
    found = closest(asked, NAMES, NAMES)
    assert found[0] == first
    assert len(found) <= 3
    assert len(set(found)) == len(found)


def test_ids_that_differ_in_case_alone() -> None:
    """Ids compare exactly: of two that differ only in case, both are suggested."""
    names = {"Model-A": "One", "MODEL-A": "Two"}
    assert closest("model-a", names, names) == ["Model-A", "MODEL-A"]
