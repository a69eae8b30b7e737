r"""Compare JSON objects: equality, ignored paths, and the paths at which two objects differ.

A path is the keys from the object's top to a value. As text, its keys are joined by dots; a dot or
a backslash that belongs to a key is escaped by a backslash: `a\.b` is one key, `a.b` are two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final, TypeAlias

import msgspec

from catalog_sync.clock import parse_rfc3339

Path: TypeAlias = tuple[str, ...]
Differences: TypeAlias = Mapping[Path, tuple[Any, Any]]
"""The topmost paths at which two objects differ, with the old and the new value."""
IgnoredPaths: TypeAlias = Callable[[str], bool]
"""Returns whether a path, as text, is ignored."""


ABSENT: Final[Any] = object()
"""The value of a missing key, which is not None."""
_encode = msgspec.json.Encoder(order="sorted").encode
_SPECIAL = re.compile(r"[.\\]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_KEY = re.compile(r"(?:^|\.)((?:[^.\\]|\\.)*)", re.DOTALL)
_DATE_LENGTH = len("2026-01-01T00:00:00")


def path_text(path: Path) -> str:
    """Return a path as text, as in `changes` and in the setting `ignore`."""
    return ".".join(_SPECIAL.sub(r"\\\g<0>", key) for key in path)


def path_of(text: str) -> Path:
    """Return the path that `path_text` wrote."""
    return tuple(_ESCAPE.sub(r"\1", match[1]) for match in _KEY.finditer(text))


def at(value: Any, path: Path) -> Any:
    """Return the value at a path of an object, or ABSENT."""
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return ABSENT
        value = value[key]
    return value


def equal(old: Any, new: Any) -> bool:
    """Whether two JSON values are equal. The order of keys is ignored, and true is not 1."""
    return _same_text(old, new) or (bool(old == new) and _same_types(old, new))


def _same_text(old: Any, new: Any) -> bool:
    """Whether two values have the same JSON. Much faster than comparing each part."""
    try:
        return _encode(old) == _encode(new)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):
        return False


def _same_types(old: Any, new: Any) -> bool:
    """Whether two values that Python considers equal have their booleans at the same paths."""
    if isinstance(old, dict):
        return all(_same_types(value, new[key]) for key, value in old.items())
    if isinstance(old, list):
        return all(map(_same_types, old, new))
    return isinstance(old, bool) is isinstance(new, bool)


def same(old: Any, new: Any) -> bool:
    """Whether two JSON values are equal, or two spellings of the same time."""
    if isinstance(old, str) and isinstance(new, str):
        return old == new or _same_time(old, new)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    return isinstance(old, bool) is isinstance(new, bool) and _same_number(old, new)


def _same_number(old: Any, new: Any) -> bool:
    """Whether two values are equal, even if `jsonb` returned one of them (1e23) as an integer."""
    if {type(old), type(new)} == {int, float}:
        try:
            return float(old) == float(new)
        except OverflowError:
            return False
    return bool(old == new)


def _same_time(old: str, new: str) -> bool:
    if not (old[:4].isdigit() and new[:4].isdigit()):
        return False
    try:
        return parse_rfc3339(old) == parse_rfc3339(new) and _fraction(old) == _fraction(new)
    except ValueError:
        return False


def _fraction(text: str) -> str:
    """Return the fractional digits of the second, which `parse_rfc3339` cuts to microseconds."""
    digits = re.match(r"\.?(\d*)", text[_DATE_LENGTH:])
    return digits[1].rstrip("0") if digits else ""


def ignored_paths(globs: Sequence[str]) -> IgnoredPaths | None:
    """Compile a source's `ignore` globs; None without globs. `*` spans levels, case matters."""
    if not globs:
        return None
    pattern = re.compile("|".join(map(translate, globs)))
    return lru_cache(maxsize=10_000)(lambda path: pattern.match(path) is not None)


def drop_ignored(
    old: Mapping[str, Any], new: Mapping[str, Any], is_ignored: IgnoredPaths, parent: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two objects without their ignored paths. Equal parts are kept whole.

    If the whole content of an object is ignored, the object is left out on both sides, even where
    it is None or empty: its presence is ignored too.
    """
    kept_old: dict[str, Any] = {}
    kept_new: dict[str, Any] = {}
    for key in {**old, **new}:
        path = parent + path_text((key,))
        if is_ignored(path):
            continue
        before, after = old.get(key, ABSENT), new.get(key, ABSENT)
        if not equal(before, after):
            objects = [value if isinstance(value, Mapping) else {} for value in (before, after)]
            left = drop_ignored(objects[0], objects[1], is_ignored, f"{path}.")
            only_ignored = not any(left) and (any(objects) or is_ignored(f"{path}."))
            if only_ignored and _is_object_or_none(before) and _is_object_or_none(after):
                continue
            before = left[0] if isinstance(before, Mapping) else before
            after = left[1] if isinstance(after, Mapping) else after
        if before is not ABSENT:
            kept_old[key] = before
        if after is not ABSENT:
            kept_new[key] = after
    return kept_old, kept_new


def _is_object_or_none(value: Any) -> bool:
    return isinstance(value, Mapping) or value is None or value is ABSENT


def diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> Differences:
    """Return the topmost paths at which two objects differ; ABSENT stands for a missing key."""
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
    """Return differences in the form that events store: `old` and `new` by path as text."""
    return {
        path_text(path): {"old": value_or_none(before), "new": value_or_none(after)}
        for path, (before, after) in differences.items()
    }


def value_or_none(value: Any) -> Any:
    """Replace ABSENT, which JSON cannot store, by None."""
    return None if value is ABSENT else value
