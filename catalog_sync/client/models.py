"""The client of one source: List Models, Get a Model, the walk, and confirmation by id."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlsplit

from catalog_sync.cancel import CancelToken
from catalog_sync.client import confirm, walk
from catalog_sync.client.anthropic import AnthropicApi
from catalog_sync.client.decode import ObjectReader, decode_object
from catalog_sync.client.exchange import Deadline
from catalog_sync.client.request import Connection
from catalog_sync.domain.model import api_root
from catalog_sync.errors import BadAnswerError, SourceError
from catalog_sync.logs import fields

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import timedelta

    import msgspec

    from catalog_sync.domain.kinds import AbsenceCheck
    from catalog_sync.domain.model import Catalog, ModelInfo

logger = logging.getLogger(__name__)
_LIST: Final = "/v1/models"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_warned: set[str] = set()
"""Addresses without encryption that this process has warned about."""


class ModelsClient:
    """One source, for one thread.

    Args:
        base_url: Where the API is; a trailing `/v1` means the same as none.
        secret_headers: Sent with every request; their values never appear in an error.
        api: The shape of the API.
        deadline: The length of a whole walk, with the confirmation that follows it. Other
            requests have no deadline.
        credential_origin: What an error may name in place of the credential.
        direct: Use no proxy of the environment.
        cancel: Ends whatever the client is doing.

    Raises:
        ConfigError: The environment's proxy or TLS settings cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        secret_headers: Mapping[str, str],
        *,
        api: walk.Api | None = None,
        deadline: timedelta,
        credential_origin: str = "the key",
        direct: bool = False,
        cancel: CancelToken | None = None,
    ) -> None:
        self._api = api or AnthropicApi()
        self._deadline = deadline
        self._reader = ObjectReader()
        self._connection = Connection(
            api_root(base_url),
            self._api.headers,
            secret_headers,
            credential_origin=credential_origin,
            cancel=cancel or CancelToken(),
            direct=direct,
        )
        _warn_without_encryption(base_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass  # connections belong to the process

    # --- the endpoints -------------------------------------------------------------------------

    def list_models(
        self,
        *,
        limit: int | None = None,
        after_id: str | None = None,
        before_id: str | None = None,
        lifecycle: Sequence[str] = (),
    ) -> walk.Page:
        """Return one page: `limit` models (1 to 1000) after or before an id, newest first.

        Raises:
            ValueError: The API would refuse the arguments.
            SourceError: No page came.
        """
        query = self._api.query(
            limit=limit, after_id=after_id, before_id=before_id, lifecycle=lifecycle
        )
        with self._connection.redacted_errors():
            return self._page(query)

    def get_model(self, model_id: str) -> ModelInfo:
        """Return one model by id. Raises RefusedError for an unknown one."""
        with self._connection.redacted_errors():
            response = self._connection.get(_path_of(model_id))
            try:
                return self._api.read_model(decode_object(response.body))
            except ValueError as error:
                raise BadAnswerError(f"model {model_id}: {error}") from error

    def pages(
        self,
        *,
        limit: int | None = None,
        after_id: str | None = None,
        before_id: str | None = None,
        lifecycle: Sequence[str] = (),
    ) -> Iterator[walk.Page]:
        """Yield pages: from the newest model or from `after_id` on, or backwards from `before_id`.

        Raises:
            ValueError: The API would refuse the arguments.
            SourceError: A page did not come.
        """
        query = self._api.query(
            limit=limit, after_id=after_id, before_id=before_id, lifecycle=lifecycle
        )
        return walk.pages(self._page, query, self._connection.redacted_errors)

    def _page(self, query: walk.Query) -> walk.Page:
        response = self._connection.get(_LIST, query)
        check = self._connection.check

        def read(items: list[msgspec.Raw]) -> tuple[ModelInfo, ...]:
            return walk.read_models(items, response.body, self._api, check, self._reader)

        return self._api.read_page(response, query, read)

    # --- a run ---------------------------------------------------------------------------------

    def walk(
        self,
        *,
        page_size: int = 1000,
        lifecycle: Sequence[str] = (),
        on_page: Callable[[int, int], None] = lambda _pages, _models: None,
    ) -> Catalog:
        """Walk all pages and return their catalog. The deadline starts now.

        If a model appears twice with different content, it changed during the walk. The walk is
        then repeated once.

        Args:
            page_size: Models per page, 1 to 1000.
            lifecycle: The API's own filter; empty asks for its default.
            on_page: Called after each page with the number of pages and of models so far.

        Raises:
            SourceError: The walk is not complete.
            StoppedError: `cancel` was cancelled.
        """
        self._connection.deadline = Deadline.after(self._deadline)
        self._reader = ObjectReader()
        walk_once = partial(self.pages, limit=page_size, lifecycle=lifecycle)
        with self._connection.redacted_errors():
            try:
                return walk.collect(walk_once(), on_page)
            except walk.ChangedMeanwhileError:
                return walk.collect(walk_once(), on_page)

    def confirm_absent(
        self, missing_ids: Collection[str], listed_ids: Collection[str]
    ) -> dict[str, AbsenceCheck]:
        """Request missing models by id, within the rest of the walk's deadline.

        Args:
            missing_ids: The models in question.
            listed_ids: The models that the walk saw.

        Raises:
            StoppedError: `cancel` was cancelled.
        """
        return confirm.confirm_absent(self._look_up, missing_ids, listed_ids)

    def _look_up(self, model_id: str) -> confirm.Lookup:
        try:
            response = self._connection.ask(_path_of(model_id))
        except SourceError:
            return confirm.Lookup()
        answer: Any = None
        if response.status == HTTPStatus.OK:
            with suppress(BadAnswerError):  # probably HTML
                answer = decode_object(response.body)
        return confirm.Lookup(response.status, answer)


def _path_of(model_id: str) -> str:
    if not model_id:
        raise ValueError("model_id: expected at least one character")
    path = quote(model_id, safe="")
    # A segment of dots alone would mean the parent path.
    return f"{_LIST}/{path.replace('.', '%2E') if not path.strip('.') else path}"


def _warn_without_encryption(base_url: str) -> None:
    """Warn once per address that a key is sent without encryption."""
    parts = urlsplit(base_url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and base_url not in _warned:
        _warned.add(base_url)
        logger.warning(
            "the key is sent without encryption: use https://", extra=fields(base_url=base_url)
        )
