"""The Models API as Anthropic specifies it: list queries, and strict decoding of the answers.

Specification: https://docs.anthropic.com/en/api/models-list
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from catalog_sync.client.decode import decode_list, list_of
from catalog_sync.client.walk import Page, Query
from catalog_sync.domain.model import (
    ID_MAX_LENGTH,
    INT64_MAX,
    Identity,
    ModelInfo,
    parse_api_time,
)
from catalog_sync.errors import BadAnswerError

if TYPE_CHECKING:
    import msgspec

    from catalog_sync.client.exchange import Response

PAGE_SIZE_RANGE: Final = range(1, 1001)
"""The limits of `limit`; the API's own default is 20."""
_CURSORS: Final = ("after_id", "before_id")
_OTHER_API: Final = (
    "nothing was changed; the answer has the shape of OpenAI's API: "
    'set api = "openai" for this source'
)


class AnthropicApi:
    """Anthropic's API, and gateways that answer in the same way."""

    def __init__(self, version: str = "2026-10-21") -> None:
        self.headers: Mapping[str, str] = {"anthropic-version": version}

    def query(
        self,
        *,
        limit: int | None,
        after_id: str | None,
        before_id: str | None,
        lifecycle: Sequence[str],
    ) -> Query:
        """Return the query of a page. Raises ValueError for values that the API would refuse."""
        if limit is not None and limit not in PAGE_SIZE_RANGE:
            raise ValueError("limit: expected 1 to 1000")
        if after_id is not None and before_id is not None:
            raise ValueError("after_id and before_id exclude each other")
        asked = {"limit": limit, "after_id": after_id, "before_id": before_id}
        query = [(key, str(value)) for key, value in asked.items() if value is not None]
        return (*query, *(("lifecycle[]", value) for value in lifecycle))

    def read_page(
        self, response: Response, query: Query, read: Callable[[list[msgspec.Raw]], Any]
    ) -> Page:
        """Return the page that an answer holds. Raises BadAnswerError."""
        fields, items = decode_list(response.body)
        try:
            return _page(fields, items, response, query, read)
        except BadAnswerError as error:
            if not _has_openai_shape(fields, items):
                raise
            raise BadAnswerError(error.reason, _OTHER_API) from error

    def read_model(self, payload: Any) -> ModelInfo:
        """Return the model that an object describes. Raises ValueError, naming the field."""
        if not isinstance(payload, Mapping):
            raise ValueError("expected an object")  # noqa: TRY004  # a value, not a bug
        name = ""
        try:
            for name, check in _REQUIRED:
                check(payload.get(name))
            for name, check in _OPTIONAL:
                value = payload.get(name)
                if value is not None:
                    check(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        return ModelInfo.from_payload(payload)


def _check_text(value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError("expected a string")  # noqa: TRY004  # a value, not a bug


def _check_id(value: Any) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= ID_MAX_LENGTH:
        raise ValueError(f"expected 1 to {ID_MAX_LENGTH} characters")


def _check_tokens(value: Any) -> None:
    if type(value) is not int or not 0 <= value <= INT64_MAX:
        raise ValueError("expected a number of tokens")


_REQUIRED: Final[Sequence[tuple[str, Callable[[Any], object]]]] = (
    ("id", _check_id),
    ("display_name", _check_text),
    ("type", _check_text),
    ("created_at", parse_api_time),
)
_OPTIONAL: Final[Sequence[tuple[str, Callable[[Any], object]]]] = (
    ("lifecycle", _check_text),
    ("line", _check_text),
    ("deprecated_at", parse_api_time),
    ("retires_at", parse_api_time),
    ("max_input_tokens", _check_tokens),
    ("max_tokens", _check_tokens),
)


def _page(
    fields: Mapping[str, Any] | None,
    items: list[msgspec.Raw] | None,
    response: Response,
    query: Query,
    read: Callable[[list[msgspec.Raw]], Any],
) -> Page:
    if fields is None:
        raise BadAnswerError("the answer is not an object")
    items = list_of(fields, items, response.body)
    has_more = fields.get("has_more")
    if not isinstance(has_more, bool):
        raise BadAnswerError("has_more is missing or no boolean")
    ids = [fields.get(key) for key in ("first_id", "last_id")]
    for key, cursor in zip(("first_id", "last_id"), ids, strict=True):
        if not (cursor is None or isinstance(cursor, str)):
            raise BadAnswerError(f"{key} is neither a string nor null")
    first_id, last_id = ids
    backwards = any(key == "before_id" for key, _ in query)
    cursor = first_id if backwards else last_id
    others = tuple(pair for pair in query if pair[0] not in _CURSORS)
    return Page(
        read(items),
        has_more,
        first_id,
        last_id,
        cursor,
        (*others, ("before_id" if backwards else "after_id", cursor or "")),
        Identity(
            response.headers.get("anthropic-organization-id") or None,
            response.headers.get("anthropic-workspace-id") or None,
        ),
        response.server_at,
        len(response.body),
    )


def _has_openai_shape(fields: Mapping[str, Any] | None, items: list[msgspec.Raw] | None) -> bool:
    """Whether an answer is a list in the shape of OpenAI and compatible servers."""
    if not items:
        return False
    from catalog_sync.client.openai import looks_like_a_model  # noqa: PLC0415  # rarely needed

    return (fields or {}).get("object") == "list" or looks_like_a_model(items[0])
