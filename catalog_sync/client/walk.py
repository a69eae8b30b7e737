"""The walk over all pages of a list. A partial list cannot become a catalog.

An API class turns each answer into the query of the next page.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from catalog_sync.client.decode import ObjectReader, decode, decode_list
from catalog_sync.domain.diff import equal, same
from catalog_sync.domain.model import Catalog, Identity, ModelInfo
from catalog_sync.errors import BadAnswerError
from catalog_sync.json_values import MAX_RECENT, MAX_RECENT_LENGTH, has_text
from catalog_sync.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    import msgspec

    from catalog_sync.client.anthropic import AnthropicApi
    from catalog_sync.client.exchange import Query, Response
    from catalog_sync.client.openai import OpenAIApi

    Api: TypeAlias = AnthropicApi | OpenAIApi
    """Builds the queries of an API, and reads its answers."""

MAX_PAGES: Final = 1_000
MAX_WALK_BYTES: Final = 512 * 2**20
"""The largest size of all pages of a walk together."""
_ID: Final = re.compile(rb'"id"\s*:\s*"([^"\\]*)"')
_EQUAL: Final[dict[bytes, Any]] = {}
"""Recorded objects by the text of an answer that is equal to them. Sources have most models in
common."""
_BATCH: Final = 100
"""The number of objects that are decoded between two checks of the deadline."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    models: tuple[ModelInfo, ...]
    next_query: Query | None
    """None on the last page."""
    scope: Identity
    server_at: datetime | None
    size: int
    """Bytes of the decompressed body."""


class PageReader:
    """Reads the pages of one walk.

    An unchanged model is replaced by its `known` value, so that it is in memory only once. `check`
    is called between batches of objects, and raises when the walk must end.
    """

    def __init__(
        self, api: Api, known: Mapping[str, ModelInfo], check: Callable[[], object]
    ) -> None:
        self._api, self._known, self._check = api, known, check
        self._objects = ObjectReader()

    def page(self, response: Response, query: Query) -> Page:
        """Decode a page. Raises BadAnswerError."""
        fields, items = decode_list(response.body)
        try:
            next_query = self._api.next_query(fields, query)
            models = self.models(items)
        except BadAnswerError as error:
            advice = self._api.advice(fields, items)
            if advice is None:
                raise
            raise BadAnswerError(error.reason, advice) from error
        scope = Identity(
            response.headers.get("anthropic-organization-id") or None,
            response.headers.get("anthropic-workspace-id") or None,
        )
        return Page(models, next_query, scope, response.server_at, len(response.body))

    def models(self, items: Sequence[msgspec.Raw]) -> tuple[ModelInfo, ...]:
        """Decode the models of a page. Raises BadAnswerError."""
        models = []
        for index, item in enumerate(items):
            if index % _BATCH == 0:
                self._check()
            models.append(self._unchanged(item) or self._read(item, index))
        return tuple(models)

    def _unchanged(self, item: msgspec.Raw) -> ModelInfo | None:
        """Return the recorded model if its object is equal, without sharing values and checks."""
        text = bytes(item)
        id_ = _ID.search(text)
        recorded = self._known.get(id_[1].decode(errors="replace")) if id_ else None
        if recorded is None or _EQUAL.get(text) is recorded.payload:
            return recorded
        if not _is_equal(recorded.payload, text):
            return None
        if len(_EQUAL) >= MAX_RECENT:
            _EQUAL.clear()
        if len(text) <= MAX_RECENT_LENGTH:
            _EQUAL[text] = recorded.payload
        return recorded

    def _read(self, item: msgspec.Raw, index: int) -> ModelInfo:
        try:
            payload = self._objects.read(item)
            info = self._api.read_model(payload)
        except (ValueError, BadAnswerError) as error:
            reason = error.reason if isinstance(error, BadAnswerError) else error
            raise BadAnswerError(f"data[{index}]{_named(item)}: {reason}") from error
        recorded = self._known.get(info.id)
        if recorded is not None and equal(recorded.payload, payload):
            return recorded
        return info


def _is_equal(recorded: Mapping[str, Any], text: bytes) -> bool:
    """Whether an answer's object is equal to a recorded one. PostgreSQL reorders its keys."""
    if has_text(recorded, text):
        return True
    with suppress(BadAnswerError):
        return equal(recorded, decode(text))
    return False


def _named(item: msgspec.Raw) -> str:
    with suppress(BadAnswerError, AttributeError):
        id_ = decode(item).get("id")
        return f" ({one_line(id_, 80)})" if isinstance(id_, str) else ""
    return ""


class ChangedMeanwhileError(BadAnswerError):
    """A model appeared twice in one walk, with different content."""


def walk(
    fetch: Callable[[Query], Page],
    query: Query,
    place: Callable[[str], AbstractContextManager[None]],
    on_page: Callable[[int, int], None],
) -> Catalog:
    """Return the catalog of all pages, the first of which is `query`'s.

    `place` adds a prefix, the page number, to the errors of its block. Raises SourceError if a page
    did not arrive or contradicts an earlier one.
    """
    models: dict[str, ModelInfo] = {}
    scope, size, seen = Identity(), 0, {query}
    for number in range(1, MAX_PAGES + 1):
        with place(f"page {number}: "):
            page = fetch(query)
            size += page.size
            if size > MAX_WALK_BYTES:
                raise BadAnswerError(f"the list is larger than {MAX_WALK_BYTES >> 20} MiB")
            if page.scope.filled_from(scope) != scope.filled_from(page.scope):
                raise BadAnswerError(f"answered by {page.scope}, the ones before by {scope}")
            for info in page.models:
                first = models.setdefault(info.id, info)
                if first is not info and not same(first.payload, info.payload):
                    text = f"the model '{info.id}' appears twice with different content"
                    raise ChangedMeanwhileError(text)
            if page.next_query in seen:
                cursor = page.next_query[-1][1] if page.next_query else ""
                raise BadAnswerError(f"the cursor '{one_line(cursor, 80)}' is repeated")
        on_page(number, len(models))
        if page.next_query is None:
            return Catalog(models, number, page.scope.filled_from(scope), page.server_at)
        query, scope = page.next_query, page.scope.filled_from(scope)
        seen.add(query)
    raise BadAnswerError(f"page {MAX_PAGES}: the list does not end")
