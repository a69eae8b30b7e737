"""Lists of models in the shape of OpenAI and compatible servers: `api = "openai"`.

Only an id is required of a model. `ModelInfo.from_payload` decodes the objects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from catalog_sync.client.exchange import Query
from catalog_sync.domain.model import ModelInfo
from catalog_sync.errors import BadAnswerError

_GOES_ON: Final = re.compile(
    r"next(_?(page|cursor|token|ur[il]|link|id|offset|after)\w*)?|has_?(more|next)\w*|is_?truncated",
    re.IGNORECASE,
)
"""Names of fields in which servers state that the list has another page."""


class OpenAIApi:
    """OpenAI's API and compatible servers. Their lists usually have one page."""

    headers: Mapping[str, str] = {}

    def first_query(self, page_size: int, lifecycle: Sequence[str]) -> Query:  # noqa: ARG002
        """Return an empty query: these servers have no options."""
        return ()

    def next_query(self, fields: Mapping[str, Any] | None, query: Query) -> Query | None:  # noqa: ARG002
        """Return the query of the next page, if the answer names one.

        Raises BadAnswerError if it names one in a way that is not supported: without that page, the
        list would be incomplete.
        """
        fields = fields or {}
        has_more = fields.get("has_more")
        links = fields.get("links")
        link = links.get("next") if isinstance(links, Mapping) else None
        if isinstance(link, str) and link:  # OpenRouter: only its query is used, never its host
            return tuple(parse_qsl(link.partition("#")[0].partition("?")[2]))
        if has_more is None and (name := _other_paging(fields)):
            raise BadAnswerError(f"{name} states another page in a way that is not supported")
        if not has_more:
            return None
        if has_more is not True:
            raise BadAnswerError("has_more is not a boolean")
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


def _other_paging(fields: Mapping[str, Any]) -> str | None:
    """Return the name of a field, perhaps in an object (`pagination`), that states another page."""
    objects = [fields, *(value for value in fields.values() if isinstance(value, Mapping))]
    names = (name for each in objects for name, value in each.items() if value)
    return next(filter(_GOES_ON.fullmatch, names), None)
