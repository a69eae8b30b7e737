"""Fast JSON encoding and decoding. Equal values of many objects share memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

import msgspec

T = TypeVar("T")
_MAX_SHARED: Final = 5_000
_UNSHARED: Final = 100
"""Objects that are few enough to be decoded at once, which is faster but takes more memory."""
MAX_RECENT: Final = 1_000
"""The number of objects that the process keeps, because sources have most models in common."""
MAX_RECENT_LENGTH: Final = 8_192
"""The longest text of an object that is kept."""
_UNIQUE_KEYS: Final = frozenset({"id", "display_name", "name", "description"})
_MISSING: Final[Any] = object()
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def to_json(value: Any) -> str:
    """Encode a value without NaN or Infinity, with a space after each comma and colon."""
    try:
        return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """Decode JSON from a database."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError):
        return json.loads(text)  # accepts NaN and lone surrogates, which older versions stored


_recent = lru_cache(maxsize=MAX_RECENT)(from_json)


def has_text(value: Any, text: bytes) -> bool:
    """Return whether `text` is the JSON of a value, apart from whitespace. False when in doubt."""
    try:
        return msgspec.json.encode(value) == msgspec.json.format(text, indent=-1)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return False


class SharedValues(Generic[T]):
    """Decodes the values of many objects. Equal values are decoded once, and shared.

    Models have most values in common. Sharing them makes a large list ten times smaller.
    """

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._shared: dict[bytes, T] = {}

    def read(self, fields: Mapping[str, msgspec.Raw]) -> dict[str, T]:
        """Decode the fields of an object."""
        shared, values = self._shared, {}
        for key, raw in fields.items():
            text = bytes(raw)
            value = shared.get(text, _MISSING)
            if value is _MISSING:
                value = self._decode(text)
                if key not in _UNIQUE_KEYS:
                    if len(shared) >= _MAX_SHARED:
                        shared.clear()
                    shared[text] = value
            values[key] = value
        return values


class StoredObjects:
    """Decodes the JSON objects of many database rows.

    The first ones do not share values. With `keep`, equal ones of several sources are the same
    object. A program that uses the library receives other objects: it may change them.
    """

    def __init__(self, unshared: int = _UNSHARED, *, keep: bool = False) -> None:
        self._first = _recent if keep else from_json
        self._values = SharedValues[Any](from_json)
        self._left = unshared

    def read(self, text: str) -> Any:
        """Decode an object from a database."""
        if self._left:
            self._left -= 1
            return self._first(text) if len(text) <= MAX_RECENT_LENGTH else from_json(text)
        try:
            fields = _FIELDS.decode(text)
        except (msgspec.MsgspecError, ValueError):
            return json.loads(text)
        return self._values.read(fields)
