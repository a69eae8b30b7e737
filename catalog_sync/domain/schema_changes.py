"""Catalog-wide changes, recorded as one event instead of one per model.

A path belongs to the event if it appeared, vanished or changed its value on every compared model
that has its parent object on both sides: at least three models, or both models of a list of two.
Models whose parent object is missing or None are ignored.

If some models changed a whole object and others parts of it (`capabilities` was None on some and
`{}` on others), the object's path belongs to the event if all models now have the same object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from catalog_sync.domain.diff import ABSENT, Differences, Path, at, same, value_or_none

SchemaPaths: TypeAlias = Mapping[Path, dict[str, Any]]
"""The paths of catalog-wide changes, with `old` and `new` as events store them."""
_MINIMUM = 3
"""The number of models that make a change catalog-wide; two if the list has only two."""


@dataclass(frozen=True)
class Comparison:
    """A model's object before and after, and the differences."""

    old: Mapping[str, Any]
    new: Mapping[str, Any]
    differences: Differences

    @cached_property
    def touched(self) -> frozenset[Path]:
        """The changed paths and all their parents."""
        return frozenset(
            path[:length] for path in self.differences for length in range(1, len(path) + 1)
        )


def schema_paths(
    changed: Sequence[Comparison], unchanged: Sequence[Mapping[str, Any]]
) -> SchemaPaths:
    """Return the paths of catalog-wide changes, with `old` and `new`.

    `old` or `new` is left out if the models differ in it. `unchanged` are the objects of the
    compared models without a difference.
    """
    touching = Counter(path for each in changed for path in each.touched)
    candidates = dict.fromkeys(path for each in changed for path in each.differences)
    found: dict[Path, dict[str, Any]] = {}
    for path in sorted(candidates, key=len):
        if touching[path] < min(_MINIMUM, len(changed) + len(unchanged)) or covers(found, path):
            continue
        concerned = _concerned(path, changed, unchanged)
        if concerned:
            sides = _sides(path, concerned)
            if "new" in sides or all(path in each.differences for each in concerned):
                found[path] = sides
    return {path: found[path] for path in candidates if path in found}


def covers(paths: Mapping[Path, Any], path: Path) -> bool:
    """Whether `paths` contains a path or one of its parents."""
    return any(path[:length] in paths for length in range(1, len(path) + 1))


def _concerned(
    path: Path, changed: Sequence[Comparison], unchanged: Sequence[Mapping[str, Any]]
) -> list[Comparison]:
    """Return the models on which a path changed; none if it did not change on all that have it."""

    def has_parent(payload: Mapping[str, Any]) -> bool:
        return isinstance(at(payload, path[:-1]), Mapping)

    if any(map(has_parent, unchanged)):
        return []
    concerned = [each for each in changed if has_parent(each.old) and has_parent(each.new)]
    enough = len(concerned) >= _MINIMUM or len(concerned) == len(changed) + len(unchanged) > 1
    if not enough or any(path not in each.touched for each in concerned):
        return []
    appeared = any(at(each.old, path) is ABSENT for each in concerned)
    vanished = any(at(each.new, path) is ABSENT for each in concerned)
    return [] if appeared and vanished else concerned  # two different changes


def _sides(path: Path, concerned: Sequence[Comparison]) -> dict[str, Any]:
    sides = {
        "old": [value_or_none(at(each.old, path)) for each in concerned],
        "new": [value_or_none(at(each.new, path)) for each in concerned],
    }
    return {
        side: values[0]
        for side, values in sides.items()
        if all(same(values[0], value) for value in values)
    }
