"""Which events are sent to which channel."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from catalog_sync.domain.kinds import Kind
    from catalog_sync.domain.model import Event


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Which events a channel is told. Empty globs and sources admit everything."""

    channel: str
    kinds: frozenset[Kind]
    models: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def alerts(
    events: Iterable[Event], rules: Iterable[AlertRule], source: str, *, baseline: bool
) -> list[tuple[Event, str]]:
    """Return which event is owed to which channel. A baseline's models are no news."""
    rules = list(rules)
    return [
        (event, rule.channel)
        for event in events
        if not (baseline and event.model_id is not None)
        for rule in rules
        if event.kind in rule.kinds
        and (not rule.sources or source in rule.sources)
        and (
            event.model_id is None
            or not rule.models
            or any(fnmatchcase(event.model_id, glob) for glob in rule.models)
        )
    ]
