"""The feed: Atom (RFC 4287), newest entry first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from catalog_sync.clock import format_instant
from catalog_sync.publish.news import Entry, name_uuid
from catalog_sync.publish.templates import fill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from catalog_sync.publish.contents import Contents

__all__ = ["FEED", "feed"]

FEED: Final = "feed.xml"
_MAX_ENTRIES: Final = 1000
"""About a megabyte, which readers fetch again and again; `events.json` has everything."""


def feed(contents: Contents, news: Sequence[Entry]) -> bytes:
    """Return `feed.xml`.

    Its id is that of the first catalogue that was recorded: it stays when sources are added, when
    the site moves and when `public_url` is set.
    """
    source, at = next(iter(contents.baselines.items()))
    told = news[:_MAX_ENTRIES]
    return fill(
        FEED,
        id=name_uuid("feed", source, format_instant(at), *sorted(set(contents.chosen))).urn,
        updated=told[0].at if told else at,
        entries=told,
        contents=contents,
    )
