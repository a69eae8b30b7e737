"""When a run is held, and which server answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from catalog_sync.domain import guard
from catalog_sync.domain.kinds import AbsenceCheck
from catalog_sync.domain.model import (
    Identity,
    SourceRecord,
)
from decisions import (
    DAY,
    LAST,
    NOW,
    REMOVED,
    URL,
    catalog,
    decide,
    held_because,
    info,
    numbered,
    recorded,
    row,
    state,
)

# --- the guard ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gone", "listed", "held"),
    [
        (1, 1, False),
        (3, 3, False),
        (4, 4, True),
        (4, 13, True),
        (4, 14, False),
        (6, 20, False),
        (7, 20, True),
        (300, 1000, False),
        (301, 1000, True),
    ],
)
def test_guard(gone: int, listed: int, held: bool) -> None:
    """More than three models and more than 30 % of the listed may not leave at once."""
    known = state(*numbered(range(listed)))
    seen = catalog(info("newcomer"), *(info(f"m{n}") for n in range(gone, listed)))
    reason = f"{gone} of {listed} models left the list at once" if held else None
    assert held_because(known, seen) == reason


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        pytest.param({}, True, id="active"),
        pytest.param({"lifecycle": "deprecated"}, True, id="deprecated"),
        pytest.param({"lifecycle": "retired"}, False, id="retired"),
        pytest.param({"retires_at": "2026-06-15T12:00:01Z"}, True, id="retires in a second"),
        pytest.param({"retires_at": "2026-06-15T12:00:00Z"}, False, id="retires now"),
        pytest.param({"retires_at": "2026-01-01T00:00:00Z"}, False, id="overdue"),
        pytest.param({"missing_since": LAST}, False, id="missing already"),
    ],
)
def test_who_counts_for_the_guard(fields: dict[str, Any], counts: bool) -> None:
    """Models that are retired, overdue or were missing already may leave in any number."""
    known = state(row("stays"), row("a"), row("b"), row("c"), row("this one", **fields))
    reason = held_because(known, catalog(info("stays")))
    assert reason == ("4 of 5 models left the list at once" if counts else None)


def test_removed_models_do_not_make_a_list_longer() -> None:
    """The share is one of the listed models, not of all models ever recorded."""
    known = state(*numbered(range(13)), *numbered(range(100, 200), **REMOVED))
    seen = catalog(*(info(f"m{n}") for n in range(4, 13)))
    reason = held_because(known, seen)
    assert reason == "4 of 13 models left the list at once"


@pytest.mark.parametrize(
    ("listed", "were"), [(1, "1 model was"), (3, "3 models were"), (10, "10 models were")]
)
def test_empty_list(listed: int, were: str) -> None:
    """An empty list holds the run, however few models it would remove."""
    known = state(*numbered(range(listed)))
    reason = held_because(known, catalog(), empty=True)
    assert reason == f"the list is empty where {were} listed"


def test_empty_list_without_models() -> None:
    """An empty list removes nothing if no model is listed."""
    assert held_because(state(row(**REMOVED)), catalog(), empty=True) is None


def test_held_stays_held() -> None:
    """While a source is held, the models that are missing since then keep counting."""
    known = state(*numbered(range(6)), *numbered(range(6, 10), missing_since=LAST), held=True)
    seen = catalog(*(info(f"m{n}") for n in range(6)))
    reason = held_because(known, seen)
    assert reason == "4 of 10 models left the list at once"


@pytest.mark.parametrize("more", [0, 1])
def test_newcomers_do_not_release_a_held_source(more: int) -> None:
    """Models that were added while a source is held do not make the share smaller."""
    left = numbered(range(4), missing_since=LAST)
    old = numbered(range(4, 10))
    new = [replace(each, first_seen_at=LAST) for each in numbered(range(10, 25))]
    known = state(*left, *old, *new, held=True)
    seen = catalog(*(each.info for each in (*old[more:], *new)))
    reason = held_because(known, seen)
    assert reason == f"{4 + more} of 10 models left the list at once"


@pytest.mark.parametrize("held", [False, True])
def test_a_model_missing_for_long_makes_no_list_shorter(held: bool) -> None:
    """A model that came after another one went missing counts as listed."""
    long_ago = row("missing", missing_since=LAST - 50 * DAY)
    rows = [replace(each, first_seen_at=LAST - 20 * DAY) for each in numbered(range(29))]
    four = [replace(each, missing_since=LAST if held else None) for each in rows[:4]]
    known = state(long_ago, *four, *rows[4:], held=held)
    seen = catalog(*(each.info for each in rows[4:]))
    assert held_because(known, seen) is None
    reason = held_because(known, catalog(), empty=True)
    assert reason == "the list is empty where 30 models were listed"


def test_held_ends_when_the_models_are_back() -> None:
    """A list that is complete again ends the hold without a person."""
    known = state(*numbered(range(6)), *numbered(range(6, 10), missing_since=LAST), held=True)
    seen = catalog(*(info(f"m{n}") for n in range(10)))
    assert held_because(known, seen) is None
    assert recorded(decide(known, seen)) == []


def test_held_run_applies_everything_else() -> None:
    """A held run keeps the missing models on the list, and applies all other changes."""
    known = state(row("a"), row("b", **REMOVED), *numbered(range(4)))
    seen = catalog(info("a", lifecycle="deprecated"), info("b"), info("c"))
    gone = {f"m{n}": AbsenceCheck.GONE for n in range(4)}
    result = decide(known, seen, absences=gone, hold=True)
    assert recorded(result) == [("deprecated", "a"), ("returned", "b"), ("added", "c")]
    missing = [each for each in result.changed if each.missing_since is not None]
    assert missing == numbered(range(4), missing_since=NOW)


# --- who answered ------------------------------------------------------------------------------


ORG, SPACE = Identity("org_a"), Identity("org_a", "ws_1")


@pytest.mark.parametrize(
    ("before", "after", "who", "held"),
    [
        pytest.param(SPACE, SPACE, None, False, id="the same"),
        pytest.param(Identity(), SPACE, None, False, id="unknown before"),
        pytest.param(SPACE, Identity(), None, False, id="unknown now"),
        pytest.param(ORG, SPACE, None, False, id="workspace unknown before"),
        pytest.param(SPACE, ORG, None, False, id="workspace unknown now"),
        pytest.param(
            ORG,
            Identity("org_b"),
            "organisation org_b answered where org_a did",
            True,
            id="another organisation",
        ),
        pytest.param(
            SPACE,
            Identity("org_a", "ws_2"),
            "workspace ws_2 answered where ws_1 did",
            True,
            id="another workspace",
        ),
        pytest.param(
            Identity(None, "ws_1"),
            Identity("org_b", "ws_2"),
            "workspace ws_2 answered where ws_1 did",
            True,
            id="another workspace of who knows whom",
        ),
    ],
)
def test_another_answers(before: Identity, after: Identity, who: str | None, held: bool) -> None:
    """Another organisation or workspace holds the run; an unstated identity does not."""
    known = state(row())
    known = replace(known, source=replace(known.source, scope=before))
    seen = catalog(info("other"), scope=after)
    change, hold = guard.identity_change(known, seen, URL)
    assert (change, hold is not None) == (who, held)
    assert hold is None or (hold.code, hold.model_ids) == (guard.IDENTITY_CHANGED, ())


def test_another_organisation_with_the_same_list() -> None:
    """Another organisation with the same list is accepted; with a missing model it is not."""
    known = state(row("a"), row("b"), row("removed", **REMOVED))
    known = replace(known, source=replace(known.source, scope=SPACE))
    other = Identity("org_b", "ws_2")
    for seen, held in (([info("b"), info("a")], False), ([info("a")], True)):
        change, hold = guard.identity_change(known, catalog(*seen, scope=other), URL)
        assert change == "organisation org_b answered where org_a did"
        assert (hold is not None) is held


def test_another_workspace_with_the_same_list() -> None:
    """Another workspace holds the run even with the same list."""
    known = state(row())
    known = replace(known, source=replace(known.source, scope=SPACE))
    seen = catalog(info(), scope=Identity("org_a", "ws_2"))
    assert guard.identity_change(known, seen, URL)[1]


def test_another_base_url() -> None:
    """Another `base_url` holds the run even with the same list, but never the first run."""
    change, hold = guard.identity_change(state(row()), catalog(info()), "https://other.example")
    assert change == "https://other.example answered where https://api.example did before"
    assert hold is not None
    first = state(baseline_at=None)
    assert guard.identity_change(first, catalog(info()), "https://other.example") == (
        None,
        None,
    )


def test_adopted() -> None:
    """An applied run sets the source's baseline once, and stores the identity and the time."""
    first = guard.source_after_run(SourceRecord("s", URL), SPACE, URL, LAST)
    assert first == SourceRecord("s", URL, SPACE, baseline_at=LAST, last_synced_at=LAST)
    second = guard.source_after_run(first, Identity("org_b", "ws_2"), "https://other.example", NOW)
    assert second == SourceRecord(
        "s",
        "https://other.example",
        Identity("org_b", "ws_2"),
        baseline_at=LAST,
        last_synced_at=NOW,
    )


def test_adopted_keeps_what_an_answer_leaves_open() -> None:
    """The identity stays known while the same server's answers do not state it."""
    known = SourceRecord("s", URL, SPACE, baseline_at=LAST)
    for scope in (Identity(), ORG, SPACE):
        assert guard.source_after_run(known, scope, URL, NOW).scope == SPACE


@pytest.mark.parametrize(
    ("scope", "base_url"),
    [
        pytest.param(Identity("org_b"), URL, id="another organisation"),
        pytest.param(Identity(), "https://other.example", id="another server"),
    ],
)
def test_an_unstated_identity_is_unknown(scope: Identity, base_url: str) -> None:
    """Facts that another server does not state are unknown, not taken from the one before."""
    known = SourceRecord("s", URL, SPACE, baseline_at=LAST)
    assert guard.source_after_run(known, scope, base_url, NOW).scope == scope


# --- what is not recorded ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("globs", "kept"),
    [
        ((), ["canary-1", "Canary-2", "prod-canary-3", "a[b]", "m"]),
        (("*canary*",), ["Canary-2", "a[b]", "m"]),
        (("canary-?", "m"), ["Canary-2", "prod-canary-3", "a[b]"]),
        (("a[[]b]",), ["canary-1", "Canary-2", "prod-canary-3", "m"]),
        (("*",), []),
    ],
)
def test_exclude(globs: tuple[str, ...], kept: list[str]) -> None:
    """Ids that match one of the globs are left out; a glob matches whole ids with their case."""
    ids = ["canary-1", "Canary-2", "prod-canary-3", "a[b]", "m"]
    assert guard.drop_excluded({id_: id_.upper() for id_ in ids}, globs) == {
        id_: id_.upper() for id_ in kept
    }


@pytest.mark.parametrize(
    ("gone", "text"),
    [
        (4, "m0, m1, m2, m3"),
        (5, "m0, m1, m2, m3, m4"),
        (6, "m0, m1, m2, m3, m4 and 1 more"),
        (10, "m0, m1, m2, m3, m4 and 5 more"),
    ],
)
def test_a_hold_names_its_models(gone: int, text: str) -> None:
    """A hold lists all models whose removal waits, in the order of ids; its text names five."""
    known = state(*reversed(numbered(range(10))))
    seen = catalog(*(info(f"m{n}") for n in range(gone, 10)))
    hold = guard.removal_hold(known, seen, NOW, empty=not seen.models)
    assert hold is not None
    assert hold.model_ids == tuple(f"m{n}" for n in range(gone))
    assert hold.reason.endswith(f"; missing: {text}")
    assert hold.code == guard.REMOVALS_HELD


def test_a_hold_names_no_control_characters() -> None:
    """An id with a line break is named on one line."""
    assert guard.named(["a\nb", "c\x1b"]) == "a b, c"
