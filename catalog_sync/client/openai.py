"""Lists of models in the shape of OpenAI and compatible servers: `api = "openai"`.

Only an id is required of a model. `ModelInfo.from_payload` decodes the objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from catalog_sync.client.decode import decode, decode_list, list_of
from catalog_sync.client.walk import Page, Query
from catalog_sync.domain.model import ModelInfo
from catalog_sync.errors import BadAnswerError

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from catalog_sync.client.exchange import Response


class OpenAIApi:
    """OpenAI's API, and compatible servers. Their lists usually have one page."""

    headers: Mapping[str, str] = {}

    def query(
        self,
        *,
        limit: int | None,  # noqa: ARG002  # these servers know no limit
        after_id: str | None,
        before_id: str | None,
        lifecycle: Sequence[str],  # noqa: ARG002  # as limit
    ) -> Query:
        """Return the query of a page: empty, or a cursor."""
        cursors = {"after": after_id, "before": before_id}
        return tuple((key, value) for key, value in cursors.items() if value is not None)

    def read_page(
        self, response: Response, query: Query, read: Callable[[list[msgspec.Raw]], Any]
    ) -> Page:
        """Return the page of an answer: an object with `data`, or a bare array.

        Raises:
            BadAnswerError: There is no list, or an object in it has no id.
        """
        del query
        fields, items = decode_list(response.body)
        models = read(list_of(fields, items, response.body))
        fields = fields or {}
        cursor, next_query = _next(fields)
        first_id, last_id = (models[0].id, models[-1].id) if models else (None, None)
        return Page(
            models,
            cursor is not None or fields.get("has_more") is True,
            first_id,
            last_id,
            cursor,
            next_query,
            server_at=response.server_at,
            size=len(response.body),
        )

    def read_model(self, payload: Any) -> ModelInfo:
        """Return the model that an object describes. Raises ValueError without an id."""
        return ModelInfo.from_payload(payload)


def _next(fields: Mapping[str, Any]) -> tuple[str | None, Query]:
    """Return the cursor of the next page, and its query."""
    links = fields.get("links")
    link = links.get("next") if isinstance(links, Mapping) else None
    if isinstance(link, str) and link:  # OpenRouter: only its query is used, never its host
        return link, tuple(parse_qsl(urlsplit(link).query))
    last_id = fields.get("last_id")
    if fields.get("has_more") is not True or not isinstance(last_id, str) or not last_id:
        return None, ()
    # OpenAI's lists continue after `after`, Anthropic's after `after_id`.
    return last_id, (("after" if fields.get("object") == "list" else "after_id", last_id),)


def looks_like_a_model(item: msgspec.Raw) -> bool:
    """Whether an undecoded object is a model in the shape of OpenAI's API."""
    try:
        payload = decode(item)
    except BadAnswerError:
        return False
    return (
        isinstance(payload, Mapping)
        and isinstance(payload.get("id"), str)
        and (payload.get("object") == "model" or "created" in payload)
    )
