"""Which events are sent to which channel."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Selects the events that are sent to a channel. Empty `models` and `sources` match all."""

    channel: str
    kinds: frozenset[Kind]
    models: tuple[str, ...] = ()
    """Globs of ids, case-sensitive; they do not apply to events without a model."""
    sources: tuple[str, ...] = ()

    def matches(self, event: Event) -> bool:
        """Whether the channel gets the event. The models of a first list are not sent."""
        return (
            event.kind in self.kinds
            and not event.baseline
            and (not self.sources or event.source in self.sources)
            and (
                event.model_id is None
                or not self.models
                or any(fnmatchcase(event.model_id, glob) for glob in self.models)
            )
        )
