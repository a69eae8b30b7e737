"""The calendar: a day for each retirement date (RFC 5545).

An entry keeps its UID whatever happens to the date. What subscribers see is what the file holds:
a date that was withdrawn, or that a model did not live to see, is simply not there any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from catalog_sync.clock import parse_rfc3339, to_utc
from catalog_sync.domain.kinds import Kind
from catalog_sync.site.content import PAGE, SiteContent, anchor, called, plain
from catalog_sync.site.feeds import name_uuid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from catalog_sync.domain.model import Event, ModelRecord


_LINE_OCTETS: Final = 75
"""RFC 5545, section 3.1: longer lines are folded."""
_EMPTY: Final = (
    # A calendar has at least one component (section 3.6); where nothing retires it is this.
    "BEGIN:VTIMEZONE",
    "TZID:UTC",
    "BEGIN:STANDARD",
    "DTSTART:19700101T000000",
    "TZOFFSETFROM:+0000",
    "TZOFFSETTO:+0000",
    "END:STANDARD",
    "END:VTIMEZONE",
)


@dataclass(frozen=True, slots=True)
class _Revision:
    """How a model's date came to be what it is."""

    date: datetime | None
    number: int
    """How often it was changed since it was first told."""
    at: datetime
    """When it, or the name it is told under, was last changed."""
    name: Any


def calendar(contents: SiteContent) -> bytes:
    """Return `retirements.ics`."""
    revisions = _revisions(contents.events)
    dates = [record for record in contents.models if _takes_place(record)]
    dates.sort(key=lambda r: (r.info.retires_at, r.source, r.info.id))
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//catalog-sync//retirements//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        "NAME:Model retirements",
        "X-WR-CALNAME:Model retirements",
        "REFRESH-INTERVAL;VALUE=DURATION:PT6H",
        "X-PUBLISHED-TTL:PT6H",
        *(line for record in dates for line in _entry(contents, record, revisions)),
        *(() if dates else _EMPTY),
        "END:VCALENDAR",
    ]
    return b"".join(_folded(line) for line in lines)


def _takes_place(record: ModelRecord) -> bool:
    """Whether a model has a date, and was there to see it."""
    retires_at, removed_at = record.info.retires_at, record.removed_at
    return retires_at is not None and (
        removed_at is None or to_utc(retires_at).date() <= to_utc(removed_at).date()
    )


def _entry(
    contents: SiteContent, record: ModelRecord, revisions: Mapping[tuple[str, str], _Revision]
) -> Iterator[str]:
    info, key = record.info, (record.source, record.info.id)
    told = revisions.get(key)
    stamp = _instant(told.at if told else record.first_seen_at)
    day = to_utc(info.retires_at or record.first_seen_at)
    where = f" ({record.source})" if contents.several else ""
    facts = [f"Model: {plain(info.id)}", f"Source: {record.source}"]
    if info.deprecated_at is not None:
        facts.append(f"Deprecated: {to_utc(info.deprecated_at):%Y-%m-%d}")
    yield "BEGIN:VEVENT"
    yield f"UID:{name_uuid('retirement', *key)}"
    yield f"DTSTAMP:{stamp}"
    yield f"LAST-MODIFIED:{stamp}"
    yield f"SEQUENCE:{told.number if told else 0}"
    yield f"DTSTART;VALUE=DATE:{day:%Y%m%d}"
    yield f"SUMMARY:{_text(f'{plain(called(record))} retires{where}')}"
    yield f"DESCRIPTION:{_text(chr(10).join(facts))}"
    if contents.public_url:
        yield f"URL:{contents.link(PAGE, anchor(*key))}"
    yield "TRANSP:TRANSPARENT"
    yield "END:VEVENT"


def _revisions(events: Iterable[Event]) -> dict[tuple[str, str], _Revision]:
    """Return what the events tell of each model's date."""
    found: dict[tuple[str, str], _Revision] = {}
    for event in events:
        for id_, payload in _objects(event):
            date, name = _date(payload), payload.get("display_name")
            before = found.get((event.source, id_))
            if before is None:
                found[event.source, id_] = _Revision(date, 0, event.occurred_at, name)
            elif before.date != date:
                first = before.date is None and before.number == 0
                number = before.number if first else before.number + 1
                found[event.source, id_] = _Revision(date, number, event.occurred_at, name)
            elif before.name != name:
                revision = _Revision(date, before.number, event.occurred_at, name)
                found[event.source, id_] = revision
    return found


def _objects(event: Event) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each object that an event holds, by the model's id."""
    if event.kind is Kind.SCHEMA_CHANGED:
        yield from (event.payload or {}).items()
    elif event.model_id is not None and event.payload is not None:
        yield event.model_id, event.payload


def _date(payload: Mapping[str, Any]) -> datetime | None:
    said = payload.get("retires_at")
    return parse_rfc3339(said) if isinstance(said, str) else None


def _instant(moment: datetime) -> str:
    return f"{to_utc(moment):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """Return a TEXT value (section 3.3.11)."""
    return re.sub(r"([\\;,])", r"\\\1", value).replace("\n", "\\n")


def _folded(line: str) -> bytes:
    """Return a content line with its end, folded between characters, not within one."""
    parts = [b""]
    for character in line:
        octets = character.encode()
        if len(parts[-1]) + len(octets) > _LINE_OCTETS:
            parts.append(b" ")
        parts[-1] += octets
    return b"\r\n".join([*parts, b""])
