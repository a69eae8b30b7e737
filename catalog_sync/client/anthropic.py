"""The Models API as Anthropic specifies it: queries, and strict reading of the answers.

Specification: https://docs.anthropic.com/en/api/models-list
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from catalog_sync.client.decode import decode
from catalog_sync.client.exchange import Query
from catalog_sync.domain.model import INT64_MAX, ModelInfo, parse_api_time, parse_id
from catalog_sync.errors import BadAnswerError

PAGE_SIZE_RANGE: Final = range(1, 1001)
"""The allowed values of `limit`; the API's default is 20."""


class AnthropicApi:
    """Anthropic's API, and gateways that answer in the same way."""

    def __init__(self, version: str) -> None:
        self.headers: Mapping[str, str] = {"anthropic-version": version}

    def first_query(self, page_size: int, lifecycle: Sequence[str]) -> Query:
        """Return the query of the first page. Raises ValueError for an invalid page size."""
        if page_size not in PAGE_SIZE_RANGE:
            raise ValueError("limit: expected 1 to 1000")
        return (("limit", str(page_size)), *(("lifecycle[]", value) for value in lifecycle))

    def next_query(self, fields: Mapping[str, Any] | None, query: Query) -> Query | None:
        """Return the query of the next page, or None after the last one."""
        if fields is None:
            raise BadAnswerError("the answer is not an object")
        has_more = fields.get("has_more")
        if not isinstance(has_more, bool):
            raise BadAnswerError("has_more is missing or not a boolean")
        for name in ("first_id", "last_id"):
            if not isinstance(fields.get(name), (str, type(None))):
                raise BadAnswerError(f"{name} is neither a string nor null")
        if not has_more:
            return None
        if not fields.get("last_id"):
            raise BadAnswerError("has_more is true, but the answer has no cursor")
        others = (pair for pair in query if pair[0] != "after_id")
        return (*others, ("after_id", fields["last_id"]))

    def read_model(self, payload: Mapping[str, Any]) -> ModelInfo:
        """Decode a model. Raises ValueError, naming the field."""
        values: dict[str, Any] = {}
        name = ""
        try:
            for name, read in _FIELDS.items():
                value = payload.get(name)
                missing = value is None and name not in _REQUIRED
                values[name] = None if missing else read(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        return ModelInfo(id=parse_id(payload.get("id")), payload=payload, **values)

    def advice(self, fields: Mapping[str, Any] | None, items: Sequence[msgspec.Raw]) -> str | None:
        """Return advice about a refused answer if it has the shape of OpenAI's API."""
        is_other = (fields or {}).get("object") == "list" or (items and _is_openai(items[0]))
        text = "nothing was changed; the answer has the shape of OpenAI's API: "
        return f'{text}set api = "openai" for this source' if is_other else None


def _is_openai(item: msgspec.Raw) -> bool:
    try:
        payload = decode(item)
    except BadAnswerError:
        return False
    is_model = isinstance(payload, dict) and isinstance(payload.get("id"), str)
    return is_model and (payload.get("object") == "model" or "created" in payload)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a string")  # noqa: TRY004  # a value, not a bug
    return value


def _tokens(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= INT64_MAX:
        raise ValueError("expected a number of tokens")
    return value


_REQUIRED: Final = frozenset({"display_name", "type", "created_at"})
_FIELDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "display_name": _text,
    "type": _text,
    "created_at": parse_api_time,
    "lifecycle": _text,
    "line": _text,
    "deprecated_at": parse_api_time,
    "retires_at": parse_api_time,
    "max_input_tokens": _tokens,
    "max_tokens": _tokens,
}
