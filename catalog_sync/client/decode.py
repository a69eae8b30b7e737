"""JSON from servers: decoded fast, and refused where a database could not store it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from catalog_sync.errors import BadAnswerError
from catalog_sync.json_values import SharedValues
from catalog_sync.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAX_DEPTH: Final = 28
"""MariaDB stores 32 levels of JSON, and an event wraps an object in a few more."""
_FIELDS: Final = dict[str, msgspec.Raw]
_ARRAY = re.compile(rb"\s*\[")
_ESCAPED_NUL: Final = b"\\u0000"
_MAX_MESSAGE: Final = 2000
"""Characters of a server's error text that are examined; an error repeats fewer."""
_MAX_ERROR_DEPTH: Final = 5
_MESSAGE_KEYS: Final = (
    "message", "msg", "detail", "details", "error", "errors", "error_message", "error_description",
    "description", "title", "reason", "fault", "faultstring", "data",
)  # fmt: skip
"""The keys under which servers explain an error, the most informative first."""


def decode(text: bytes | msgspec.Raw, type_: Any = Any) -> Any:
    """Return the value of a JSON text. Raises BadAnswerError for anything else.

    NaN, Infinity and lone surrogates are not JSON. Integers keep every digit; of a key that
    appears twice, the last one counts.
    """
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.ValidationError as error:
        if "out of range" not in str(error):
            raise BadAnswerError(f"the answer is not {_expected(type_)}") from error
        return _decode_large_numbers(bytes(text))
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadAnswerError(f"the body is not JSON: {error}") from error
    except RecursionError:
        raise BadAnswerError("the body is not JSON: nested too deeply") from None


def _expected(type_: Any) -> str:
    return "a list" if getattr(type_, "__origin__", None) is list else "an object"


def _decode_large_numbers(text: bytes) -> Any:
    """Decode numbers that no float can hold as infinity, so that `check_storable` reports them."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadAnswerError(f"the body is not JSON: {error}") from error


def decode_list(body: bytes) -> tuple[dict[str, Any] | None, list[msgspec.Raw] | None]:
    """Split a list's answer into its fields and its items, which stay undecoded.

    Returns:
        The fields without `data`, or None for a bare array; the items, or None where `data` is
        missing or not a list.

    Raises:
        BadAnswerError: The body is not JSON, or neither an object nor an array.
    """
    text = body.removeprefix(BYTE_ORDER_MARK)
    if _ARRAY.match(text):
        return None, decode(text, list[msgspec.Raw])
    try:
        fields: dict[str, msgspec.Raw] = decode(text, dict[str, msgspec.Raw])
    except BadAnswerError as error:
        raise BadAnswerError(f"{error.reason}{_says(text)}") from error
    data = fields.pop("data", None)
    items = decode(data, list[msgspec.Raw]) if data and bytes(data)[:1] == b"[" else None
    return {key: decode(value) for key, value in fields.items()}, items


def list_of(
    fields: Mapping[str, Any] | None, items: list[msgspec.Raw] | None, body: bytes
) -> list[msgspec.Raw]:
    """Return the items of a list's answer.

    Raises:
        BadAnswerError: There is no list, or the answer says that it is an error. An error beside
            a list may mean that the list is not complete.
    """
    stated = fields or {}
    if items is None:
        reason = "data is missing or no list"
    elif stated.get("error") or stated.get("errors") or stated.get("success") is False:
        reason = "the answer states an error"
    else:
        return items
    raise BadAnswerError(f"{reason}{_says(body)}")


def _says(body: bytes) -> str:
    message = one_line(error_message(body)[0], 300)
    return f'; it says "{message}"' if message else ""


def decode_object(body: bytes) -> Any:
    """Return the value of a whole body, checked to be storable. Raises BadAnswerError."""
    value = decode(body.removeprefix(BYTE_ORDER_MARK))
    try:
        check_storable(value)
    except ValueError as error:
        raise BadAnswerError(str(error)) from error
    return value


class ObjectReader:
    """Decodes the objects of a list."""

    def __init__(self) -> None:
        self._values = SharedValues(_value)

    def read(self, item: msgspec.Raw) -> tuple[Any, bool]:
        """Return the value of an item, and whether it needs no `check_storable` for its nesting.

        Raises:
            BadAnswerError: The item is not JSON.
        """
        if bytes(item)[:1] != b"{":
            value = decode(item)
            return value, is_plain(value)
        payload, plain = {}, True
        for key, (value, is_value_plain) in self._values.read(decode(item, _FIELDS)).items():
            payload[key] = value
            plain = plain and is_value_plain
        return payload, plain


def _value(text: bytes) -> tuple[Any, bool]:
    value = decode(text)
    return value, is_plain(value, depth=_MAX_DEPTH - 1)


def may_hold_nul(body: bytes) -> bool:
    """Return whether a body can hold a NUL character: a quick test before `check_storable`."""
    return _ESCAPED_NUL in body


def is_plain(value: Any, *, depth: int = _MAX_DEPTH) -> bool:
    """Return whether a value's nesting is within the databases' limit: another quick test."""
    if not isinstance(value, (dict, list)):
        return not (isinstance(value, float) and math.isinf(value))
    children = value.values() if isinstance(value, dict) else value
    if depth == 0:
        return not children
    for child in children:  # a generator would take twice as long
        if isinstance(child, (dict, list, float)) and not is_plain(child, depth=depth - 1):
            return False
    return True


def check_storable(value: Any) -> None:
    """Raise ValueError with the path of a value that a database cannot store unchanged."""
    for path, leaf in _leaves(value, "object"):
        if isinstance(leaf, str) and "\x00" in leaf:
            raise ValueError(f"{path}: a NUL character")
        if isinstance(leaf, str) and any("\ud800" <= c <= "\udfff" for c in leaf):
            raise ValueError(f"{path}: half of a surrogate pair")
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise ValueError(f"{path}: a number that is not finite")


def _leaves(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield every key and every plain value of a JSON value, each with its path."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"an object nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{path}: a key", key
            yield from _leaves(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]", depth + 1)
    else:
        yield path, value


# --- what servers say about an error -------------------------------------------------------


def error_message(body: bytes) -> tuple[str, str]:
    """Return the text of an error's body, and its request id. Empty without one.

    Reads JSON of any common shape, and plain text. A page of HTML counts as empty.
    """
    try:
        answer = decode(body.removeprefix(BYTE_ORDER_MARK))
    except BadAnswerError:
        return _plain_text(body), ""
    request_id = answer.get("request_id") if isinstance(answer, dict) else None
    return _message(answer)[:_MAX_MESSAGE], request_id if isinstance(request_id, str) else ""


def _message(value: Any, depth: int = 0) -> str:
    """Return the most informative text of an error, prefixed by its type, place or field."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return "; ".join(filter(None, (_message(item, depth + 1) for item in value[:3])))
    if not isinstance(value, dict) or depth > _MAX_ERROR_DEPTH:
        return ""
    keys = {key.lower(): item for key, item in value.items()}
    message = next(filter(None, (_message(keys.get(key), depth + 1) for key in _MESSAGE_KEYS)), "")
    if not depth:
        return message
    if not message and value and all(isinstance(item, list) for item in value.values()):
        return "; ".join(f"{key}: {_message(item, depth + 1)}" for key, item in value.items())
    place = keys.get("loc")  # as FastAPI names the field that is wrong
    label = ".".join(map(str, place)) if isinstance(place, list) else keys.get("type")
    return ": ".join(filter(None, [label if isinstance(label, str) else "", message]))


def _plain_text(body: bytes) -> str:
    text = body[:_MAX_MESSAGE].decode("utf-8", "replace").strip()
    if text.startswith(("<", "{", "[")) or any(c < " " and c not in "\t\r\n" for c in text):
        return ""
    return "" if "\ufffd" in text[:-1] else text
