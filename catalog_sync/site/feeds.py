"""The feed of changes (Atom) and the calendar of retirements (RFC 5545).

Feed entries never change their ids, nor calendar entries their UIDs. A model has no calendar entry
if its date was withdrawn or it left before the date.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from catalog_sync.alerts import lines, message
from catalog_sync.clock import format_time, to_utc
from catalog_sync.domain.event_text import facts
from catalog_sync.domain.kinds import ENDING
from catalog_sync.domain.model import Event, ModelRecord
from catalog_sync.site.content import History, SiteContent, anchor, name_of
from catalog_sync.site.templates import fill
from catalog_sync.text import count, one_line

_MAX_ENTRIES: Final = 1000
"""Entries of the feed: about a megabyte, which readers fetch often."""
_LINE_OCTETS: Final = 75
"""Longer lines of the calendar are folded (RFC 5545, section 3.1)."""
_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:catalog-sync:publish")
"""Namespace of all ids. Never change it: readers recognise entries by their ids."""


def name_uuid(*names: str) -> uuid.UUID:
    """Return the id for these names, which never changes."""
    return uuid.uuid5(_NAMESPACE, "\x00".join(names))


# --- feed --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """A change: an entry of the feed, and a row of the page of changes."""

    id: str
    """A URN, the same in every run and on every machine."""
    title: str
    at: datetime
    text: str
    """Lines; the last one names the source."""
    kind: str
    source: str
    fragment: str
    """The address of its model on the page."""
    name: str
    """The model's name, or a title if the change has no model."""
    model_id: str | None = None
    facts: str = ""


def entries(content: SiteContent, history: History) -> list[Entry]:
    """Return the changes, newest first.

    The models of a source's first list are not new: they share one entry.
    """
    successors = {key: name_of(record) for key, record in content.successors().items()}
    found = [_event_entry(event, successors) for event in reversed(history.latest)]
    found += [
        _baseline_entry(source, history.baseline_models[source], at)
        for source, at in content.baselines.items()
        if history.baseline_models[source]
    ]
    return sorted(found, key=lambda entry: entry.at, reverse=True)


def _event_entry(event: Event, successors: dict[tuple[str, str], str]) -> Entry:
    at = format_time(event.occurred_at)
    key = (event.source, str(event.id), at, event.kind.value, event.model_id or "")
    newer = successors.get((event.source, event.model_id or ""))
    text, stated = [lines.whole_sentence(event)], [change_text(event)]
    if newer is not None and event.kind in ENDING:
        text.append(f"Successor: {newer}")
        stated.append(f"successor: {newer}")
    return Entry(
        name_uuid("event", *key).urn,
        message.subject([event]),
        event.occurred_at,
        "\n".join([*text, f"Source: {event.source}"]),
        event.kind.value,
        event.source,
        anchor(event.source, event.model_id) if event.model_id is not None else "all",
        (lines.display_name(event) or "").strip() or event.model_id or "All models",
        event.model_id,
        ", ".join(filter(None, stated)),
    )


def change_text(event: Event) -> str:
    """Return what an event changed, on one line."""
    return one_line(", ".join(facts(event)), None)


def _baseline_entry(source: str, number: int, at: datetime) -> Entry:
    models = count(number, "model")
    return Entry(
        name_uuid("baseline", source, format_time(at)).urn,
        f"Baseline of {models}: source {source}",
        at,
        f"{models} on the first list. Changes are recorded from here on.\nSource: {source}",
        "baseline",
        source,
        "all",
        f"{models} on the first list",
        facts="changes are recorded from here on",
    )


def feed(content: SiteContent, shown: Sequence[Entry]) -> str:
    """Return `feed.xml`.

    The id of the feed depends on the first recorded list only, so that it stays the same when
    sources are added, the site moves, or `public_url` is set.
    """
    source, at = next(iter(content.baselines.items()))
    return fill(
        "feed.xml",
        id=name_uuid("feed", source, format_time(at), *sorted(set(content.chosen))).urn,
        updated=shown[0].at if shown else at,
        entries=shown[:_MAX_ENTRIES],
        content=content,
    )


# --- calendar ----------------------------------------------------------------------------------


def calendar(content: SiteContent, history: History) -> str:
    """Return `retirements.ics`: an all-day entry for each retirement date."""
    dated = [
        (to_utc(retires_at), record)
        for record in content.models
        if (retires_at := record.info.retires_at) is not None and _was_listed(record, retires_at)
    ]
    dated.sort(key=lambda item: (item[0], item[1].source, item[1].info.id))
    text = fill(
        "retirements.ics",
        dated=dated,
        content=content,
        history=history,
        successors=content.successors(),
        name_of=name_of,
        name_uuid=name_uuid,
        anchor=anchor,
    )
    return "".join(map(_folded, text.rstrip("\n").split("\n")))


def _was_listed(record: ModelRecord, retires_at: datetime) -> bool:
    removed_at = record.removed_at
    return removed_at is None or to_utc(retires_at).date() <= to_utc(removed_at).date()


def _folded(line: str) -> str:
    """Return a content line with its line end, folded between characters."""
    parts, octets = [""], 0
    for character in line:
        octets += len(character.encode())
        if octets > _LINE_OCTETS:
            parts.append(" ")
            octets = 1 + len(character.encode())
        parts[-1] += character
    return "\r\n".join([*parts, ""])
