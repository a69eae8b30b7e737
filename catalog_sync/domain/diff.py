r"""Compare JSON objects: equality, ignored paths, and the paths at which two objects differ.

A path is the keys from the object's top to a value. As text, its keys are joined by dots; a dot or
a backslash that belongs to a key is escaped by a backslash: `a\.b` is one key, `a.b` are two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import translate
from typing import Any, Final, TypeAlias

from catalog_sync.clock import parse_rfc3339

Path: TypeAlias = tuple[str, ...]
Differences: TypeAlias = Mapping[Path, tuple[Any, Any]]
"""The topmost paths at which two objects differ, with the old and the new value."""
IsIgnored: TypeAlias = Callable[[str], bool]
"""Whether a path, as text, is left out of every comparison."""


class _Absent:
    """A value that is not there, which is not the same as None."""

    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent()
_SPECIAL = re.compile(r"[.\\]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_KEY = re.compile(r"(?:^|\.)((?:[^.\\]|\\.)*)", re.DOTALL)
_DATE_LENGTH = len("2026-01-01T00:00:00")


def path_text(path: Path) -> str:
    """Return a path as text, as `changes` and the setting `ignore` name it."""
    return ".".join(_SPECIAL.sub(r"\\\g<0>", key) for key in path)


def path_of(text: str) -> Path:
    """Return the path that `path_text` wrote."""
    return tuple(_ESCAPE.sub(r"\1", match[1]) for match in _KEY.finditer(text))


def at(value: Any, path: Path) -> Any:
    """Return what stands at a path of an object, or ABSENT."""
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return ABSENT
        value = value[key]
    return value


def equal(old: Any, new: Any) -> bool:
    """Whether two JSON values are equal: the order of keys is free, and true is not 1."""
    return bool(old == new) and _same_types(old, new)


def _same_types(old: Any, new: Any) -> bool:
    """Whether two values that Python calls equal have booleans at the same places."""
    if isinstance(old, dict):
        return all(
            value is (other := new[key]) or value.__class__ is str or _same_types(value, other)
            for key, value in old.items()
        )
    if isinstance(old, list):
        return all(map(_same_types, old, new))
    return isinstance(old, bool) is isinstance(new, bool)


def same(old: Any, new: Any) -> bool:
    """Whether two JSON values are equal, where two spellings of an instant are equal too."""
    if isinstance(old, str) and isinstance(new, str):
        return old == new or _same_instant(old, new)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    return isinstance(old, bool) is isinstance(new, bool) and bool(old == new)


def _same_instant(old: str, new: str) -> bool:
    if not (old[:4].isdigit() and new[:4].isdigit()):
        return False
    try:
        return parse_rfc3339(old) == parse_rfc3339(new) and _fraction(old) == _fraction(new)
    except ValueError:
        return False


def _fraction(text: str) -> str:
    """Return the digits after the second, which `parse_rfc3339` cuts to microseconds."""
    digits = re.match(r"\.?(\d*)", text[_DATE_LENGTH:])
    return digits[1].rstrip("0") if digits else ""


def ignored_paths(globs: Sequence[str]) -> IsIgnored | None:
    """Return the test of a source's `ignore` setting, or None if it ignores nothing.

    Args:
        globs: Globs of paths as text; `*` spans levels, case matters.
    """
    if not globs:
        return None
    pattern = re.compile("|".join(translate(glob) for glob in globs))
    return lambda path: pattern.match(path) is not None


def without_ignored(
    payload: Mapping[str, Any], is_ignored: IsIgnored | None, prefix: str = ""
) -> Mapping[str, Any]:
    """Return an object without its ignored paths.

    An object whose whole content is ignored (`pricing.*`) is left out, and so is a None in its
    place: whether an API sends such an object is no news either.
    """
    if is_ignored is None:
        return payload
    kept = {}
    for key, value in payload.items():
        path = prefix + path_text((key,))
        nested = isinstance(value, Mapping)
        if is_ignored(path) or ((nested or value is None) and is_ignored(f"{path}.")):
            continue
        kept[key] = without_ignored(value, is_ignored, f"{path}.") if nested else value
    return kept


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> Differences:
    """Return the topmost paths at which two JSON objects differ.

    A side that has no such key holds ABSENT.
    """
    return dict(_differences(old, new, ()))


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], parent: Path
) -> Iterator[tuple[Path, tuple[Any, Any]]]:
    for key in {**old, **new}:
        before, after = old.get(key, ABSENT), new.get(key, ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, (*parent, key))
        elif not same(before, after):
            yield (*parent, key), (before, after)


def changes(differences: Differences) -> dict[str, dict[str, Any]]:
    """Return differences as events store them: the path as text, with `old` and `new`."""
    return {
        path_text(path): {"old": value_or_none(before), "new": value_or_none(after)}
        for path, (before, after) in differences.items()
    }


def value_or_none(value: Any) -> Any:
    """Return a value as JSON can hold it: ABSENT becomes None."""
    return None if value is ABSENT else value
