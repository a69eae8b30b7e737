"""Lists of models in the shape of OpenAI and compatible servers: `api = "openai"`.

Only an id is required of a model. `ModelInfo.from_payload` decodes the objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from catalog_sync.client.exchange import Query
from catalog_sync.domain.model import ModelInfo
from catalog_sync.errors import BadAnswerError


class OpenAIApi:
    """OpenAI's API and compatible servers. Their lists usually have one page."""

    headers: Mapping[str, str] = {}

    def first_query(self, page_size: int, lifecycle: Sequence[str]) -> Query:  # noqa: ARG002
        """Return an empty query: these servers have no options."""
        return ()

    def next_query(self, fields: Mapping[str, Any] | None, query: Query) -> Query | None:  # noqa: ARG002
        """Return the query of the next page, if the answer names one."""
        fields = fields or {}
        links = fields.get("links")
        link = links.get("next") if isinstance(links, Mapping) else None
        if isinstance(link, str) and link:  # OpenRouter: only its query is used, never its host
            return tuple(parse_qsl(urlsplit(link).query))
        if fields.get("has_more") is not True:
            return None
        last_id = fields.get("last_id")
        if not isinstance(last_id, str) or not last_id:
            raise BadAnswerError("has_more is true, but the answer has no cursor")
        # OpenAI's lists continue after `after`, Anthropic's after `after_id`.
        return (("after" if fields.get("object") == "list" else "after_id", last_id),)

    def read_model(self, payload: Mapping[str, Any]) -> ModelInfo:
        """Decode a model. Raises ValueError without an id."""
        return ModelInfo.from_payload(payload)

    def advice(self, fields: Mapping[str, Any] | None, items: Sequence[msgspec.Raw]) -> str | None:  # noqa: ARG002
        """Return None: this shape accepts any list."""
        return None
