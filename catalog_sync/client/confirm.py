"""Confirmation by id: whether a model that is missing from the list is gone.

An answer counts only if the server can distinguish existing ids from others. Some gateways have no
route by id, answer 200 with an error object or HTML, echo any id, return another model's object, or
do not decode `/`. Two control requests, sent first, detect these.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from catalog_sync.domain.kinds import AbsenceCheck


@dataclass(frozen=True, slots=True)
class Lookup:
    """A server's answer to a request for one model."""

    status: int | None = None
    """None if no answer came."""
    answer: Any = None
    """The decoded body; None if it is not JSON."""

    def shows(self, model_id: str) -> bool:
        """Whether the answer is the object of the requested model."""
        shown = self.answer.get("id") if isinstance(self.answer, dict) else None
        return self.status == HTTPStatus.OK and shown == model_id


def confirm_absent(
    look_up: Callable[[str], Lookup],
    missing_ids: Collection[str],
    listed_ids: Collection[str],
) -> dict[str, AbsenceCheck]:
    """Request missing models by id. Listed models serve as controls."""
    # A gateway may forward any id that begins with a provider that it knows ("openai/…").
    knows_all = {
        provider: look_up(f"{provider}catalog-sync-control-{secrets.token_hex(8)}").status
        == HTTPStatus.OK
        for provider in sorted({_provider(model_id) for model_id in missing_ids})
    }
    # A router that does not decode "/" answers 404 for such ids alone.
    knows_listed = {
        with_slash: _knows_listed(look_up, listed_ids, with_slash=with_slash)
        for with_slash in sorted({"/" in model_id for model_id in missing_ids})
    }
    checks = {}
    for model_id in missing_ids:
        lookup = look_up(model_id)
        checks[model_id] = AbsenceCheck.UNKNOWN
        if lookup.status == HTTPStatus.NOT_FOUND and knows_listed["/" in model_id]:
            checks[model_id] = AbsenceCheck.GONE
        elif lookup.shows(model_id) and not knows_all[_provider(model_id)]:
            retired = lookup.answer.get("lifecycle") == "retired"
            checks[model_id] = AbsenceCheck.RETIRED if retired else AbsenceCheck.ANSWERING
    return checks


def _provider(model_id: str) -> str:
    """Return the prefix of an id: `vendor/` of `vendor/name`, "" of `name`."""
    return "".join(model_id.rpartition("/")[:2])


def _knows_listed(
    look_up: Callable[[str], Lookup], listed_ids: Collection[str], *, with_slash: bool
) -> bool:
    """Whether the server returns a listed model when it is requested by id."""
    alike = [model_id for model_id in listed_ids if ("/" in model_id) is with_slash]
    for model_id in alike or ([] if with_slash else listed_ids):
        return look_up(model_id).shows(model_id)
    return False
