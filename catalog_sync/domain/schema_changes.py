"""Changes that concern the whole catalog, which are one event instead of one per model.

A path belongs to the event if it appeared, vanished or changed its value on every compared model
that has its parent object on both sides: three models at least, or both of a list of two. A model
whose parent object is missing or None does not count against it.

Where some models changed a whole object and the others parts of it (`capabilities` was None here,
and `{}` there), the object's path belongs to the event if the object is the same on all models now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from catalog_sync.domain.diff import ABSENT, Differences, Path, at, same, value_or_none

SchemaPaths: TypeAlias = Mapping[Path, dict[str, Any]]
"""The paths that changed on the whole catalog, with `old` and `new` as an event stores them."""
_MINIMUM = 3
"""The number of models that make a change catalog-wide. Of a list of two, both are needed."""


@dataclass(frozen=True)
class Comparison:
    """A model of both lists: its object before and after, and their differences."""

    old: Mapping[str, Any]
    new: Mapping[str, Any]
    differences: Differences

    @cached_property
    def touched(self) -> frozenset[Path]:
        """The paths at which the value changed: those of the differences, and their parents."""
        return frozenset(
            path[:length] for path in self.differences for length in range(1, len(path) + 1)
        )

    def has_object(self, path: Path) -> bool:
        """Whether an object stands at the path on both sides."""
        return isinstance(at(self.old, path), Mapping) and isinstance(at(self.new, path), Mapping)


def schema_paths(
    changed: Sequence[Comparison], unchanged: Sequence[Mapping[str, Any]]
) -> SchemaPaths:
    """Return the paths that changed on the whole catalog, with `old` and `new`.

    A side on which the models differ is left out. `unchanged` holds the objects of the compared
    models that do not differ.
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
    """Whether `paths` contains a path or an object that holds it."""
    return any(path[:length] in paths for length in range(1, len(path) + 1))


def _concerned(
    path: Path, changed: Sequence[Comparison], unchanged: Sequence[Mapping[str, Any]]
) -> list[Comparison]:
    """Return the models on which a path changed, or none unless it changed wherever it could."""
    parent = path[:-1]
    if any(isinstance(at(payload, parent), Mapping) for payload in unchanged):
        return []
    concerned = [each for each in changed if each.has_object(parent)]
    enough = len(concerned) >= _MINIMUM or len(concerned) == len(changed) + len(unchanged) > 1
    if not enough or any(path not in each.touched for each in concerned):
        return []
    appeared = any(at(each.old, path) is ABSENT for each in concerned)
    vanished = any(at(each.new, path) is ABSENT for each in concerned)
    return [] if appeared and vanished else concerned  # from one to another is not one change


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
