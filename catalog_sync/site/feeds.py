"""The news: an entry for each event, but one alone for a catalog that was recorded whole."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from catalog_sync.alerts import lines, message
from catalog_sync.clock import format_instant
from catalog_sync.domain.kinds import Kind
from catalog_sync.site.content import anchor
from catalog_sync.site.templates import fill

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from catalog_sync.domain.model import Event
    from catalog_sync.site.content import SiteContent


_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:catalog-sync:publish")
"""Under which the ids of entries and dates are made. Never to be changed: readers know by them."""


def name_uuid(*names: str) -> uuid.UUID:
    """Return the id that these names always have."""
    return uuid.uuid5(_NAMESPACE, "\x00".join(names))


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of news."""

    id: str
    """A URN: the same at every run, on every machine."""
    title: str
    at: datetime
    text: str
    """Lines, of which the last names the source."""
    kind: str
    source: str
    fragment: str
    """Where the page tells of what it is about."""


def entries(contents: SiteContent) -> list[Entry]:
    """Return the news, newest first.

    A model that was there when its source's catalog was first recorded is not new: all of those
    are one entry together.
    """
    baselines = contents.baselines
    found: list[tuple[datetime, int, Entry]] = []
    recorded: Counter[str] = Counter()
    for event in contents.events:
        if event.kind is Kind.ADDED and event.occurred_at == baselines.get(event.source):
            recorded[event.source] += 1
        else:
            found.append((event.occurred_at, event.id or 0, _told(event)))
    found += [
        (at, 0, _baseline(source, recorded[source], at))
        for source, at in baselines.items()
        if recorded[source]
    ]
    found.sort(key=lambda item: item[:2], reverse=True)
    return [entry for _, _, entry in found]


def _told(event: Event) -> Entry:
    at = format_instant(event.occurred_at)
    key = (event.source, str(event.id), at, event.kind.value, event.model_id or "")
    return Entry(
        name_uuid("event", *key).urn,
        message.subject([event]),
        event.occurred_at,
        f"{lines.whole_sentence(event)}\nSource: {event.source}",
        event.kind.value,
        event.source,
        anchor(event.source, event.model_id) if event.model_id is not None else "all",
    )


def _baseline(source: str, number: int, at: datetime) -> Entry:
    models = "1 model" if number == 1 else f"{number} models"
    return Entry(
        name_uuid("baseline", source, format_instant(at)).urn,
        f"Baseline of {models}: source {source}",
        at,
        f"{models} on the first list; news begins with the next change\nSource: {source}",
        "baseline",
        source,
        "all",
    )


FEED: Final = "feed.xml"
_MAX_ENTRIES: Final = 1000
"""About a megabyte, which readers fetch again and again; `events.json` has everything."""


def feed(contents: SiteContent, news: Sequence[Entry]) -> bytes:
    """Return `feed.xml`.

    Its id is that of the first catalog that was recorded: it stays when sources are added, when
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
