"""Compare JSON objects, and find changes that concern the whole catalog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_SCHEMA_MINIMUM = 2
"""Known models from which "the whole catalog" means something."""


class _Absent:
    """A value that is not there, which is not the same as null."""

    def __repr__(self) -> str:
        return "absent"


_ABSENT: Final = _Absent()


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the topmost paths at which two JSON objects differ → the old and the new value.

    Paths are keys joined by dots. A side that has no such key holds a marker that is not null.
    """
    return dict(_differences(old, new, ""))


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for key in {**old, **new}:
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, f"{prefix}{key}.")
        elif not _same(before, after):
            yield f"{prefix}{key}", (before, after)


def _same(before: Any, after: Any) -> bool:
    """Whether two JSON values are the same; unlike in Python, true is not 1."""
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(map(_same, before, after))
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() == after.keys() and all(_same(before[k], after[k]) for k in before)
    return isinstance(before, bool) is isinstance(after, bool) and bool(before == after)


def _changes(differences: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    return {
        path: {"old": _null(before), "new": _null(after)}
        for path, (before, after) in differences.items()
    }


def _null(value: Any) -> Any:
    return None if value is _ABSENT else value


def _schema_changes(
    differences: Sequence[Mapping[str, tuple[Any, Any]]],
) -> dict[str, dict[str, Any]]:
    """Return the paths that appeared on, or vanished from, every known model at once.

    A side is told where it is the same for all; where the models differ, it is left out.
    """
    if len(differences) < _SCHEMA_MINIMUM:
        return {}
    changes: dict[str, dict[str, Any]] = {}
    for path in differences[0]:
        pairs = [each[path] for each in differences if path in each]
        if len(pairs) < len(differences):
            continue
        olds, news = zip(*pairs, strict=True)
        if all(old is _ABSENT for old in olds) or all(new is _ABSENT for new in news):
            changes[path] = {
                side: _null(values[0])
                for side, values in (("old", olds), ("new", news))
                if all(_same(values[0], value) for value in values)
            }
    return changes
