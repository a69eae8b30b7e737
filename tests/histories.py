"""Any history of lists: the changes of the API between two runs, and the options of each run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from catalog_sync.domain.kinds import AbsenceCheck
from catalog_sync.domain.model import Identity, ModelInfo
from support import model

START = datetime(2026, 2, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SCOPE = Identity("org_a", "ws_1")
URL, OTHER_URL = "https://api.example", "https://other.example"
IDS = [f"m{number}" for number in range(7)]
ABSENT = object()
"""The value of a missing field."""


@dataclass(frozen=True)
class Step:
    """The changes of the API since the previous run, and the options of this run."""

    put: Mapping[str, Mapping[str, Any]]
    """Models that come or change."""
    gone: frozenset[str]
    """Models that leave the list, with the API's answer about them by id."""
    answers: Mapping[str, AbsenceCheck]
    otherwise: AbsenceCheck
    common: Mapping[str, Any]
    """Fields that every model gains or loses."""
    turned: bool
    """Whether the list and its objects are in reverse order."""
    passed: timedelta
    """By the host's clock, which may go backwards."""
    accept: bool
    exclude: tuple[str, ...]
    scope: Identity
    base_url: str


abilities = st.sampled_from([None, {}, {"a": {"on": True}}, {"a": {"on": 1}, "b": {"on": False}}])
objects = st.fixed_dictionaries(
    {"display_name": st.sampled_from(["One", "Two"])},
    optional={
        "lifecycle": st.sampled_from([None, "active", "deprecated", "retired"]),
        "retires_at": st.sampled_from([None, "2026-03-01T00:00:00Z", "2026-04-15T12:00:00Z"]),
        "capabilities": abilities,
        "regions": st.sampled_from([[], [1], [True], [{"id": "eu"}]]),
    },
)
common = st.fixed_dictionaries(
    {},
    optional={
        "capabilities": st.one_of(st.just(ABSENT), abilities),
        "line": st.sampled_from([ABSENT, None, "opus"]),
        "lifecycle": st.sampled_from([ABSENT, "active", "deprecated"]),
    },
)
ids = st.sampled_from(IDS)
answers = st.sampled_from(AbsenceCheck)
parts: dict[str, Any] = {
    "put": st.dictionaries(ids, objects, max_size=4),
    "gone": st.one_of(
        st.just(frozenset()), st.frozensets(ids, max_size=6), st.just(frozenset(IDS))
    ),
    "answers": st.dictionaries(ids, answers, max_size=3),
    "otherwise": st.one_of(st.just(AbsenceCheck.UNKNOWN), answers),
    "common": st.one_of(st.just({}), st.just({}), common),
    "turned": st.booleans(),
    "passed": st.sampled_from([-DAY, timedelta(), timedelta(minutes=15), DAY, 20 * DAY]),
    "accept": st.sampled_from([False, False, False, False, True]),
    "exclude": st.sampled_from([(), (), (), ("m0",), ("m[12]", "x")]),
    "scope": st.sampled_from([SCOPE] * 5 + [Identity(), Identity("org_a"), Identity("org_b")]),
    "base_url": st.sampled_from([URL] * 9 + [OTHER_URL]),
}
first = {**parts, "put": st.dictionaries(ids, objects, min_size=2), "gone": st.just(frozenset())}
histories = st.builds(
    lambda baseline, more: [baseline, *more],
    st.builds(Step, **first),
    st.lists(st.builds(Step, **parts), min_size=2, max_size=8),
)


@dataclass
class World:
    """The API's list, changed step by step."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    common: dict[str, Any] = field(default_factory=dict)

    def turn(self, step: Step) -> list[ModelInfo]:
        """Apply a step, and return the list after it."""
        self.common.update(step.common)
        self.objects.update({id_: dict(fields) for id_, fields in step.put.items()})
        for id_ in step.gone:
            self.objects.pop(id_, None)
        listed = []
        for id_, fields in self.objects.items():
            payload = {**model(id_), **fields, **self.common}
            items = [(key, value) for key, value in payload.items() if value is not ABSENT]
            listed.append(ModelInfo.from_payload(dict(items[::-1] if step.turned else items)))
        return listed[::-1] if step.turned else listed
