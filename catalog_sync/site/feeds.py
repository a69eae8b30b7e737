"""The feed of changes (Atom) and the calendar of retirements (RFC 5545).

Feed entries never change their ids, nor calendar entries their UIDs. A model has no calendar entry
if its date was withdrawn or it left before the date.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from catalog_sync.alerts import lines, message
from catalog_sync.clock import format_time, to_utc
from catalog_sync.domain.event_text import date_text, facts
from catalog_sync.domain.kinds import ENDING
from catalog_sync.site.content import PAGE, anchor, escape_invisible, name_of
from catalog_sync.site.templates import fill
from catalog_sync.text import count, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from catalog_sync.domain.model import Event, ModelRecord
    from catalog_sync.site.content import History, SiteContent


FEED: Final = "feed.xml"
CALENDAR: Final = "retirements.ics"
_MAX_ENTRIES: Final = 1000
"""Entries of the feed: about a megabyte, which readers fetch often."""
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
    found = [
        (event.occurred_at, event.id or 0, _event_entry(event, successors))
        for event in history.latest
    ]
    found += [
        (at, 0, _baseline_entry(source, history.baseline_models[source], at))
        for source, at in content.baselines.items()
        if history.baseline_models[source]
    ]
    found.sort(key=lambda item: item[:2], reverse=True)
    return [entry for _, _, entry in found]


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


def feed(content: SiteContent, shown: Sequence[Entry]) -> bytes:
    """Return `feed.xml`.

    The id of the feed depends on the first recorded list only, so that it stays the same when
    sources are added, the site moves, or `public_url` is set.
    """
    source, at = next(iter(content.baselines.items()))
    return fill(
        FEED,
        id=name_uuid("feed", source, format_time(at), *sorted(set(content.chosen))).urn,
        updated=shown[0].at if shown else at,
        entries=shown[:_MAX_ENTRIES],
        content=content,
    )


# --- calendar ----------------------------------------------------------------------------------

_LINE_OCTETS: Final = 75
"""Longer lines are folded (RFC 5545, section 3.1)."""
_HEADER: Final = (
    "BEGIN:VCALENDAR",
    "VERSION:2.0",
    "PRODID:-//catalog-sync//retirements//EN",
    "CALSCALE:GREGORIAN",
    "METHOD:PUBLISH",
    "NAME:Model retirements",
    "X-WR-CALNAME:Model retirements",
    "REFRESH-INTERVAL;VALUE=DURATION:PT6H",
    "X-PUBLISHED-TTL:PT6H",
)
_EMPTY: Final = (
    # A calendar needs a component (section 3.6). This one is used if there are no retirements.
    "BEGIN:VTIMEZONE",
    "TZID:UTC",
    "BEGIN:STANDARD",
    "DTSTART:19700101T000000",
    "TZOFFSETFROM:+0000",
    "TZOFFSETTO:+0000",
    "END:STANDARD",
    "END:VTIMEZONE",
)


def calendar(content: SiteContent, history: History) -> bytes:
    """Return `retirements.ics`: an all-day entry for each retirement date."""
    dated = [
        (retires_at, record)
        for record in content.models
        if (retires_at := record.info.retires_at) is not None and _was_listed(record, retires_at)
    ]
    dated.sort(key=lambda item: (item[0], item[1].source, item[1].info.id))
    successors = content.successors()
    rows = [*_HEADER]
    for retires_at, record in dated:
        newer = successors.get((record.source, record.info.id))
        rows += _entry(content, history, record, retires_at, newer)
    rows += [*(() if dated else _EMPTY), "END:VCALENDAR"]
    return b"".join(map(_folded, rows))


def _was_listed(record: ModelRecord, retires_at: datetime) -> bool:
    removed_at = record.removed_at
    return removed_at is None or to_utc(retires_at).date() <= to_utc(removed_at).date()


def _entry(
    content: SiteContent,
    history: History,
    record: ModelRecord,
    retires_at: datetime,
    newer: ModelRecord | None,
) -> Iterator[str]:
    info, key = record.info, (record.source, record.info.id)
    revision = history.revisions.get(key)
    stamp = f"{to_utc(revision.changed_at if revision else record.first_seen_at):%Y%m%dT%H%M%SZ}"
    where = f" ({record.source})" if content.several else ""
    stated = [f"Model: {escape_invisible(info.id)}", f"Source: {record.source}"]
    if info.deprecated_at is not None:
        stated.append(f"Deprecated: {date_text(info.deprecated_at)}")
    if newer is not None:
        name, newer_id = escape_invisible(name_of(newer)), escape_invisible(newer.info.id)
        stated.append(f"Successor: {name} ({newer_id})")
    yield "BEGIN:VEVENT"
    yield f"UID:{name_uuid('retirement', *key)}"
    yield f"DTSTAMP:{stamp}"
    yield f"LAST-MODIFIED:{stamp}"
    yield f"SEQUENCE:{revision.number if revision else 0}"
    yield f"DTSTART;VALUE=DATE:{to_utc(retires_at):%Y%m%d}"
    yield f"SUMMARY:{_text(f'{escape_invisible(name_of(record))} retires{where}')}"
    yield f"DESCRIPTION:{_text(chr(10).join(stated))}"
    if content.public_url:
        yield f"URL:{content.link(PAGE, anchor(*key))}"
    yield "TRANSP:TRANSPARENT"
    yield "END:VEVENT"


def _text(value: str) -> str:
    """Return a TEXT value (section 3.3.11)."""
    return re.sub(r"([\\;,])", r"\\\1", value).replace("\n", "\\n")


def _folded(line: str) -> bytes:
    """Return a content line with its line end, folded between characters."""
    parts = [b""]
    for character in line:
        octets = character.encode()
        if len(parts[-1]) + len(octets) > _LINE_OCTETS:
            parts.append(b" ")
        parts[-1] += octets
    return b"\r\n".join([*parts, b""])
