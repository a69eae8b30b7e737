"""What a site is made of, and what every part of it agrees on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from catalog_sync.domain.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from catalog_sync.domain.model import Event, ModelRecord, SourceRecord


KINDS: Final = tuple(kind for kind in Kind if not kind.value.startswith("sync_"))
"""What a site tells. Events about the job quote errors and addresses, which are nobody else's."""
PAGE: Final = "index.html"
_EPOCH: Final = date(1970, 1, 1)
_JOINERS: Final = "\u200c\u200d"
"""Parts of words and of emoji, although they show nothing by themselves."""


@dataclass(frozen=True, slots=True)
class SiteContent:
    """What is published, all of one moment."""

    models: tuple[ModelRecord, ...]
    """All that were ever listed, newest first."""
    events: tuple[Event, ...]
    """Of `KINDS`, oldest first."""
    sources: tuple[SourceRecord, ...]
    """Those whose catalog was recorded, by name."""
    public_url: str | None = None
    """Where the site can be read, without a slash at its end; null: links are relative."""
    chosen: tuple[str, ...] = ()
    """The sources that were asked for by name; empty: all there are."""

    @property
    def several(self) -> bool:
        """Whether a model has to be told with its source."""
        return len(self.sources) > 1

    @property
    def as_of(self) -> datetime:
        """The last sync of any source: the latest moment that the site can speak of."""
        return max(source.last_synced_at or baseline for source, baseline in self._begun())

    @property
    def baselines(self) -> Mapping[str, datetime]:
        """When the catalog of each source was first recorded, in the order in which it was."""
        has_baseline = sorted((baseline, source.name) for source, baseline in self._begun())
        return {name: baseline for baseline, name in has_baseline}

    def _begun(self) -> list[tuple[SourceRecord, datetime]]:
        return [(s, s.baseline_at) for s in self.sources if s.baseline_at is not None]

    def link(self, file: str, fragment: str = "") -> str:
        """Return the address of a file of the site, absolute where `public_url` allows it."""
        base = f"{self.public_url}/" if self.public_url else ""
        return f"{base}{file}{'#' if fragment else ''}{fragment}"


def anchor(source: str, model_id: str) -> str:
    """Return the fragment at which the page tells of a model: no other pair has the same."""
    return f"{quote(source, safe='')}/{quote(model_id, safe='/:@')}"


def called(record: ModelRecord) -> str:
    """Return what people call a model: its id, where its name is blank."""
    return record.info.display_name.strip() or record.info.id


def released_at(record: ModelRecord) -> datetime | None:
    """Return when a model was released; null where the API does not know it."""
    created_at = record.info.created_at
    return None if created_at.date() == _EPOCH else created_at


def plain(text: str) -> str:
    """Return text from outside with what is invisible spelled out: it may not turn a line round."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _JOINERS else repr(c)[1:-1] for c in text)
