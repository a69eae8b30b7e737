"""Decodes JSON from servers, and refuses values that a database could not store."""

from __future__ import annotations

import math
import re
from typing import Any, Final

import msgspec

from catalog_sync.errors import BadAnswerError
from catalog_sync.json_values import SharedValues
from catalog_sync.text import one_line

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MAX_DEPTH: Final = 28
"""MariaDB stores 32 levels of JSON, and an event wraps an object in a few more."""
MAX_MODEL_BYTES: Final = 2**20
"""The largest size of one object. An event contains it up to three times, escaped, and MariaDB
accepts statements of 16 MiB by default."""
_MAX_VALUES: Final = 4_000_000
"""The largest number of values in a body. One byte of JSON may take 80 bytes of memory."""
_STARTS_ARRAY = re.compile(rb"\s*\[")
_MAX_MESSAGE: Final = 2000
"""Characters of a server's error text that are read; an error quotes fewer."""
_MAX_ERROR_DEPTH: Final = 5
_MESSAGE_KEYS: Final = (
    "message", "msg", "detail", "details", "errormessage", "errormsg", "errordescription", "error",
    "errors", "description", "title", "reason", "fault", "faultstring", "data",
)  # fmt: skip
"""The keys under which servers explain an error, the most informative first, without underscores:
`error_description` beside a code in `error`."""


_ANY: Final = msgspec.json.Decoder(float_hook=float)  # huge numbers become inf, not an error
_ARRAY_OF_RAW: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT_OF_RAW: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode(text: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Any] = _ANY) -> Any:
    """Decode JSON. Raises BadAnswerError for anything else, such as NaN or a lone surrogate.

    Integers keep every digit. The last one of duplicate keys counts.
    """
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        expected = {_ARRAY_OF_RAW: "a list", _OBJECT_OF_RAW: "an object"}.get(decoder)
        reason = f"the answer is not {expected}" if expected else f"the body is not JSON: {error}"
        raise BadAnswerError(reason) from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadAnswerError(f"the body is not JSON: {error}") from error
    except RecursionError:
        raise BadAnswerError("the body is not JSON: nested too deeply") from None


def _text_of(body: bytes) -> bytes:
    """Return a body without a byte order mark. Raises BadAnswerError for too many values."""
    if len(body) > _MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise BadAnswerError(f"the body has more than {_MAX_VALUES:,} values")
    has_mark = body.startswith(_BYTE_ORDER_MARK)  # `removeprefix` would copy a bytearray
    return body[len(_BYTE_ORDER_MARK) :] if has_mark else body


def decode_body(body: bytes) -> Any:
    """Decode a whole body. Raises BadAnswerError if it is not JSON."""
    return decode(_text_of(body))


def decode_list(body: bytes) -> tuple[dict[str, Any] | None, list[msgspec.Raw]]:
    """Return a list's other fields, or None for a bare array, and its undecoded items.

    Raises BadAnswerError, also if the answer states an error: its list may be incomplete.
    """
    text = _text_of(body)
    if _STARTS_ARRAY.match(text):
        return None, decode(text, _ARRAY_OF_RAW)
    try:
        raw: dict[str, msgspec.Raw] = decode(text, _OBJECT_OF_RAW)
    except BadAnswerError as error:
        raise BadAnswerError(f"{error.reason}{_says(text)}") from error
    data = raw.pop("data", None)
    fields = {key: decode(value) for key, value in raw.items()}
    if data is None or memoryview(data)[0] != ord("["):
        raise BadAnswerError(f"data is missing or not a list{_says(text)}")
    if fields.get("error") or fields.get("errors") or fields.get("success") is False:
        raise BadAnswerError(f"the answer states an error{_says(text)}")
    return fields, decode(data, _ARRAY_OF_RAW)


def _says(body: bytes) -> str:
    message = one_line(error_message(body)[0], 300)
    return f'; it says "{message}"' if message else ""


class ObjectReader:
    """Decodes the objects of a list. Equal values share memory."""

    def __init__(self) -> None:
        self._values = SharedValues(_storable_value)

    def read(self, item: msgspec.Raw) -> dict[str, Any]:
        """Decode an object of the list. Raises ValueError if a database could not store it."""
        text = bytes(item)
        if text[:1] != b"{":
            raise ValueError("expected an object")
        if len(text) > MAX_MODEL_BYTES:
            raise ValueError(f"the object is larger than {MAX_MODEL_BYTES >> 20} MiB")
        try:
            fields = decode(item, _OBJECT_OF_RAW)
            check_storable("".join(fields))
            return self._values.read(fields)
        except ValueError:
            check_storable(decode(item))  # raises an error with the whole path
            raise


def _storable_value(text: bytes) -> Any:
    value = decode(text)
    check_storable(value, depth=1)
    return value


def check_storable(value: Any, path: str = "object", depth: int = 0) -> None:
    """Raise ValueError with the path of a value that a database cannot store unchanged."""
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError(f"{path}: a NUL character")
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError(f"{path}: half of a surrogate pair")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path}: a number that is not finite")
    elif depth >= _MAX_DEPTH and isinstance(value, (dict, list)) and value:
        raise ValueError(f"an object nested deeper than {_MAX_DEPTH} levels")
    elif isinstance(value, dict):
        for key, item in value.items():
            check_storable(key, f"{path}: a key")
            check_storable(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_storable(item, f"{path}[{index}]", depth + 1)


# --- error texts of servers ----------------------------------------------------------------


def error_message(body: bytes) -> tuple[str, str]:
    """Return the error text of a body and its request id; "" for what is missing.

    Reads JSON in all common shapes, and plain text. HTML is ignored.
    """
    try:
        answer = decode_body(body)
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
    keys = {key.lower().replace("_", ""): item for key, item in value.items()}
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
