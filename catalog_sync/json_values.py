"""JSON as this program stores it: written and read fast, equal parts of many objects shared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

T = TypeVar("T")
_MAX_SHARED: Final = 5_000
_UNIQUE_KEYS: Final = frozenset({"id", "display_name", "name", "description"})
_MISSING: Final[Any] = object()
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def to_json(value: Any) -> str:
    """Return a value of finite numbers as JSON, with a blank after each comma and colon."""
    try:
        return msgspec.json.format(msgspec.json.encode(value), indent=0).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """Return the value of a JSON text that a database kept."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError):
        return json.loads(text)  # knows NaN and half surrogates, which older versions stored


def has_text(value: Any, text: bytes) -> bool:
    """Return whether a JSON text is that of a value, blanks aside. False when in doubt."""
    try:
        return msgspec.json.encode(value) == msgspec.json.format(text, indent=-1)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return False


class SharedValues(Generic[T]):
    """Decodes the values of many objects. Equal values are decoded once, and shared.

    Models repeat most of what they say: sharing it makes a large list ten times as small.
    """

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._shared: dict[bytes, T] = {}

    def read(self, fields: Mapping[str, msgspec.Raw]) -> dict[str, T]:
        """Return the values of an object's undecoded fields."""
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
    """Decodes the objects of many rows of a database."""

    def __init__(self) -> None:
        self._values = SharedValues[Any](from_json)

    def read(self, text: str) -> Any:
        """Return the object of a JSON text that a database kept."""
        try:
            fields = _FIELDS.decode(text)
        except (msgspec.MsgspecError, ValueError):
            return json.loads(text)
        return self._values.read(fields)
