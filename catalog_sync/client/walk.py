"""The walk over all pages of a list. A partial list cannot become a catalog.

Paging is made of small values: an API turns a query into a page, and the page names the next query.
Specification of the cursors: https://docs.anthropic.com/en/api/models-list
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from catalog_sync.client import decode
from catalog_sync.domain.diff import same
from catalog_sync.domain.model import Catalog, Identity, ModelInfo
from catalog_sync.errors import BadAnswerError
from catalog_sync.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    import msgspec

    from catalog_sync.client.exchange import Response

Query: TypeAlias = "tuple[tuple[str, str], ...]"
MAX_PAGES: Final = 1_000
MAX_WALK_BYTES: Final = 512 * 2**20
"""The size of all pages of a walk together."""
_BATCH: Final = 100
"""The number of objects that are decoded between two checks of the deadline."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

    models: tuple[ModelInfo, ...]
    has_more: bool
    first_id: str | None
    last_id: str | None
    cursor: str | None = None
    """Where the next page begins; None on the last page."""
    next_query: Query = ()
    scope: Identity = field(default_factory=Identity)
    server_at: datetime | None = None
    size: int = 0
    """Bytes of the body, decompressed."""


class Api(Protocol):
    """One shape of API: its queries, and the decoding of its answers."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with every request."""
        ...

    def query(
        self,
        *,
        limit: int | None,
        after_id: str | None,
        before_id: str | None,
        lifecycle: Sequence[str],
    ) -> Query:
        """Return the query of a page."""
        ...

    def read_page(
        self, response: Response, query: Query, read: Callable[[list[msgspec.Raw]], Any]
    ) -> Page:
        """Return the page of an answer. Raises BadAnswerError.

        `read` turns the undecoded objects of the list into models.
        """
        ...

    def read_model(self, payload: Any) -> ModelInfo:
        """Return the model that an object describes. Raises ValueError."""
        ...


def read_models(
    items: list[msgspec.Raw],
    body: bytes,
    api: Api,
    check: Callable[[], None],
    reader: decode.ObjectReader | None = None,
) -> tuple[ModelInfo, ...]:
    """Return the models of a page's undecoded objects.

    Args:
        items: The objects.
        body: The whole body, for a quick look at what cannot be stored.
        api: Reads one object.
        check: Called between batches; raises when the walk is over.
        reader: Shares equal values with the pages that it read before.

    Raises:
        BadAnswerError: An object that the API does not promise, or that no database keeps.
    """
    may_hold_nul = decode.may_hold_nul(body)
    read = (reader or decode.ObjectReader()).read
    models = []
    for index, item in enumerate(items):
        if index % _BATCH == 0:
            check()
        payload = None
        try:
            payload, plain = read(item)
            if may_hold_nul or not plain:
                decode.check_storable(payload)
            models.append(api.read_model(payload))
        except (ValueError, BadAnswerError) as error:
            id_ = payload.get("id") if isinstance(payload, dict) else None
            name = f" ({one_line(id_, 80)})" if isinstance(id_, str) else ""
            reason = error.reason if isinstance(error, BadAnswerError) else error
            raise BadAnswerError(f"data[{index}]{name}: {reason}") from error
    return tuple(models)


def pages(
    fetch: Callable[[Query], Page],
    query: Query,
    place: Callable[[str], AbstractContextManager[None]],
) -> Iterator[Page]:
    """Yield the pages from `query` on. Only `has_more` ends them.

    Args:
        fetch: Returns the page of a query.
        query: The query of the first page.
        place: Prefixes the errors of its block with the number of the page.

    Raises:
        SourceError: A page did not arrive, or its cursor is null, missing or repeated.
    """
    seen = {query}
    size = 0
    for number in range(1, MAX_PAGES + 1):
        with place(f"page {number}: "):
            page = fetch(query)
            size += page.size
            if size > MAX_WALK_BYTES:
                raise BadAnswerError(f"a list of more than {MAX_WALK_BYTES >> 20} MiB")
            if page.has_more and not page.cursor:
                raise BadAnswerError("has_more is true, but no cursor says where to go on")
            query = page.next_query
            if page.has_more and query in seen:
                shown = one_line(str(page.cursor), 80)
                raise BadAnswerError(f"the cursor '{shown}' came a second time")
        yield page
        if not page.has_more:
            return
        seen.add(query)
    raise BadAnswerError(f"page {MAX_PAGES}: still no end of the list")


class ChangedMeanwhileError(BadAnswerError):
    """A model appeared twice in one walk, with different content."""


def collect(found: Iterator[Page], on_page: Callable[[int, int], None]) -> Catalog:
    """Return the catalog of all pages.

    Args:
        found: All pages of one walk.
        on_page: Called after each page with the number of pages and of models so far.

    Raises:
        ChangedMeanwhileError: A model came twice, with different content.
        BadAnswerError: Different organizations or workspaces answered.
        SourceError: A page did not come.
    """
    models: dict[str, ModelInfo] = {}
    scope, server_at, number = Identity(), None, 0
    for number, page in enumerate(found, 1):  # the last one counts
        if page.scope.filled_from(scope) != scope.filled_from(page.scope):
            raise BadAnswerError(
                f"page {number}: answered by {page.scope}, the ones before by {scope}"
            )
        scope, server_at = page.scope.filled_from(scope), page.server_at
        for info in page.models:
            known = models.setdefault(info.id, info)
            if known is not info and not same(known.payload, info.payload):
                raise ChangedMeanwhileError(
                    f"page {number}: the model '{info.id}' came twice with different content"
                )
        on_page(number, len(models))
    return Catalog(models, number, scope, server_at)
