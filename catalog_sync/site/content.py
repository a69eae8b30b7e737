"""The content of a published site: the models, the sources, and their history."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from catalog_sync.clock import parse_rfc3339
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.successor import successors
from catalog_sync.text import escape_controls

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from catalog_sync.domain.model import Event, ModelRecord, SourceRecord


KINDS: Final = tuple(kind for kind in Kind if not kind.value.startswith("sync_"))
"""The published kinds. Events about the job contain errors and addresses, which stay private."""
PAGE: Final = "index.html"
CHANGES: Final = "changes.html"
MAX_CHANGES: Final = 5000
"""Rows of the page of changes: about a megabyte. `events.json` has all changes."""
_MAX_OWN_CHANGES: Final = 5
_SHORT: Final = 1000
_JOINERS: Final = "\u200c\u200d"
"""Invisible characters that words and emoji need."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The current retirement date of a model, from its events."""

    retires_at: datetime | None
    number: int
    """How often the date has changed since it was first stated."""
    changed_at: datetime
    """When the date or the name last changed."""
    name: Any


@dataclass(slots=True)
class History:
    """The parts of the history that the site shows, collected in one pass over the events.

    Memory grows with the number of models, not with the number of events.
    """

    baselines: Mapping[str, datetime]
    """When the first list of each source was recorded."""
    events: int = 0
    baseline_models: Counter[str] = field(default_factory=Counter)
    """The number of models on the first list of each source."""
    latest: deque[Event] = field(default_factory=lambda: deque(maxlen=MAX_CHANGES))
    """The latest events, without those of a first list, oldest first, without large values."""
    retired_at: dict[tuple[str, str], datetime] = field(default_factory=dict)
    deprecated_at: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """When a model had its latest event of this kind, by source and id."""
    revisions: dict[tuple[str, str], Revision] = field(default_factory=dict)
    of_models: dict[tuple[str, str], deque[Event]] = field(default_factory=dict)
    """The latest events of each model, oldest first, without large values."""
    numbers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """The number of events of each model."""

    def add(self, event: Event) -> None:
        """Add the next event. Events must be added oldest first."""
        self.events += 1
        for model_id, payload in _objects(event):
            self._revise((event.source, model_id), payload, event.occurred_at)
        event = replace(event, payload=_scalars(event))
        if event.model_id is not None:
            key = (event.source, event.model_id)
            if event.kind is Kind.RETIRED:
                self.retired_at[key] = event.occurred_at
            if event.kind is Kind.DEPRECATED:
                self.deprecated_at[key] = event.occurred_at
            self.numbers[key] += 1
            self.of_models.setdefault(key, deque(maxlen=_MAX_OWN_CHANGES)).append(event)
        if event.kind is Kind.ADDED and event.occurred_at == self.baselines.get(event.source):
            self.baseline_models[event.source] += 1
        else:
            self.latest.append(event)

    def _revise(self, key: tuple[str, str], payload: Mapping[str, Any], at: datetime) -> None:
        stated, name = payload.get("retires_at"), payload.get("display_name")
        try:
            retires_at = parse_rfc3339(stated) if isinstance(stated, str) else None
        except ValueError:  # an API of another shape
            retires_at = None
        before = self.revisions.get(key)
        if before is None:
            self.revisions[key] = Revision(retires_at, 0, at, name)
        elif before.retires_at != retires_at:
            first = before.retires_at is None and before.number == 0
            number = before.number if first else before.number + 1
            self.revisions[key] = Revision(retires_at, number, at, name)
        elif before.name != name:
            self.revisions[key] = Revision(retires_at, before.number, at, name)


def _objects(event: Event) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if event.kind is Kind.SCHEMA_CHANGED:
        yield from (event.payload or {}).items()
    elif event.model_id is not None and event.payload is not None:
        yield event.model_id, event.payload


def _scalars(event: Event) -> Mapping[str, Any] | None:
    """Return the values of an event's object that texts need: names, times and the lifecycle."""
    if event.payload is None or event.kind is Kind.SCHEMA_CHANGED:
        return None
    return {key: value for key, value in event.payload.items() if _is_short(value)}


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict | list) and len(str(value)) <= _SHORT


@dataclass(frozen=True, slots=True)
class SiteContent:
    """The published data, read in one transaction."""

    models: tuple[ModelRecord, ...]
    """All models ever listed, newest first."""
    sources: tuple[SourceRecord, ...]
    """The sources with a recorded list, by name."""
    title: str = "Model catalog"
    public_url: str | None = None
    """The address of the site, without a trailing slash. If None, links are relative."""
    chosen: tuple[str, ...] = ()
    """The sources that the user chose; empty for all."""

    @property
    def several(self) -> bool:
        """Whether each model is shown with its source."""
        return len(self.sources) > 1

    @property
    def as_of(self) -> datetime:
        """The time of the last sync of any source: the present time of the site."""
        return max(source.last_synced_at or baseline for source, baseline in self._recorded())

    @property
    def baselines(self) -> Mapping[str, datetime]:
        """When the first list of each source was recorded, the oldest first."""
        ordered = sorted((baseline, source.name) for source, baseline in self._recorded())
        return {name: baseline for baseline, name in ordered}

    def _recorded(self) -> list[tuple[SourceRecord, datetime]]:
        return [(s, s.baseline_at) for s in self.sources if s.baseline_at is not None]

    def link(self, file: str, fragment: str = "") -> str:
        """Return the address of a file of the site, absolute if `public_url` is set."""
        base = f"{self.public_url}/" if self.public_url else ""
        return f"{base}{file}{'#' if fragment else ''}{fragment}"

    def successors(self) -> dict[tuple[str, str], ModelRecord]:
        """Return the successors of the leaving models, by source and id."""
        return successors(self.models, self.as_of)


def anchor(source: str, model_id: str) -> str:
    """Return the unique fragment of a model on the page."""
    return f"{quote(source, safe='')}/{quote(model_id, safe='/:@')}"


def name_of(record: ModelRecord) -> str:
    """Return the display name of a model, or its id if the name is blank."""
    return record.info.display_name.strip() or record.info.id


def escape_invisible(text: str) -> str:
    """Return foreign text with its invisible characters escaped."""
    return escape_controls(text, _JOINERS)
