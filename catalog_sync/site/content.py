"""The content of a published site: the models, the sources, and their history."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from catalog_sync.clock import parse_rfc3339
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, ModelRecord, SourceRecord
from catalog_sync.domain.successor import successors

KINDS: Final = tuple(kind for kind in Kind if not kind.value.startswith("sync_"))
"""The published kinds. Events about the job contain errors and addresses, which stay private."""
MAX_CHANGES: Final = 5000
"""Rows of the page of changes: about a megabyte. `events.json` has all changes."""
_MAX_OWN_CHANGES: Final = 5
_SHORT: Final = 1000


@dataclass(slots=True)
class ModelHistory:
    """The parts of one model's history that the site shows."""

    events: deque[Event] = field(default_factory=lambda: deque(maxlen=_MAX_OWN_CHANGES))
    """The latest events, oldest first, without large values."""
    number: int = 0
    """The number of all events."""
    latest_at: dict[Kind, datetime] = field(default_factory=dict)
    """When the model had its latest event of each kind."""
    retires_at: datetime | None = None
    """The last stated retirement date."""
    revision: int = -1
    """How often that date has changed since it was first stated; -1 before that."""
    revised_at: datetime | None = None
    """When that date last changed."""


@dataclass(slots=True)
class History:
    """The parts of the history that the site shows, collected in one pass over the events.

    Memory grows with the number of models, not with the number of events.
    """

    events: int = 0
    baseline_models: Counter[str] = field(default_factory=Counter)
    """The number of models on the first list of each source."""
    latest: deque[Event] = field(default_factory=lambda: deque(maxlen=MAX_CHANGES))
    """The latest events, without those of a first list, oldest first, without large values."""
    models: dict[tuple[str, str], ModelHistory] = field(
        default_factory=lambda: defaultdict(ModelHistory)
    )
    """By source and id."""

    def of(self, record: ModelRecord) -> ModelHistory:
        """Return the history of a model."""
        return self.models[record.source, record.info.id]

    def add(self, event: Event) -> None:
        """Add the next event. Events must be added oldest first."""
        self.events += 1
        payload, source, model_id = event.payload or {}, event.source, event.model_id
        for id_, described in (payload if model_id is None else {model_id: payload}).items():
            model = self.models[source, id_]
            if described and (retires_at := _retirement(described)) != model.retires_at:
                model.retires_at, model.revised_at = retires_at, event.occurred_at
                model.revision += 1
        short = {key: value for key, value in payload.items() if _is_short(value)}
        event = replace(event, payload=short if model_id is not None else None)
        if model_id is not None:
            model = self.models[source, model_id]
            model.number += 1
            model.latest_at[event.kind] = event.occurred_at
            model.events.append(event)
        if event.baseline:
            self.baseline_models[event.source] += 1
        else:
            self.latest.append(event)


def _retirement(payload: Mapping[str, Any]) -> datetime | None:
    stated = payload.get("retires_at")
    try:
        return parse_rfc3339(stated) if isinstance(stated, str) else None
    except ValueError:  # an API of another shape
        return None


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
