"""Values for tests of decisions: models, rows, lists and states in few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from catalog_sync.domain import guard
from catalog_sync.domain.diff import (
    ignored_paths,
)
from catalog_sync.domain.kinds import AbsenceCheck
from catalog_sync.domain.model import (
    Catalog,
    Event,
    Identity,
    ModelInfo,
    ModelRecord,
    SourceRecord,
    SourceState,
)
from catalog_sync.domain.reconcile import Absences, ChangeSet, reconcile
from catalog_sync.domain.reminders import Reminders
from support import model

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LAST = NOW - timedelta(minutes=15)
"""The time of the last run."""
FIRST = NOW - 100 * DAY
"""The time of the source's baseline."""
REMINDERS = tuple(n * DAY for n in (90, 30, 7, 1))
URL = "https://api.example"
UNKNOWN = Identity()
GONE_NOW = {"removed_at": {"old": None, "new": "2026-06-15T12:00:00Z"}}


def info(id_: str = "m", **fields: Any) -> ModelInfo:
    return ModelInfo.from_payload(model(id_, **fields))


def bare(id_: str = "m", **fields: Any) -> dict[str, Any]:
    """An object of the first API version: `fields` appear on it."""
    return {
        "id": id_,
        "type": "model",
        "display_name": "M",
        "created_at": "2026-01-01T00:00:00Z",
        **fields,
    }


def row(
    id_: str = "m",
    *,
    missing_since: datetime | None = None,
    removed_at: datetime | None = None,
    **fields: Any,
) -> ModelRecord:
    return record(model(id_, **fields), missing_since=missing_since, removed_at=removed_at)


def record(payload: dict[str, Any], **times: datetime | None) -> ModelRecord:
    seen = {"first_seen_at": FIRST, "last_seen_at": LAST, **times}
    return ModelRecord("s", ModelInfo.from_payload(payload), **seen)


def state(
    *rows: ModelRecord,
    baseline_at: datetime | None = FIRST,
    held: bool = False,
    **fields: Any,
) -> SourceState:
    """The recorded state after the last run; with `held`, that run was the first held one."""
    last = None if baseline_at is None else LAST
    source = SourceRecord("s", URL, baseline_at=baseline_at, last_synced_at=last)
    return SourceState(source, {each.info.id: each for each in rows}, held=held, **fields)


def event(*values: Any, **fields: Any) -> Event:
    """An event of the source of `state`."""
    return Event(*values, source="s", **fields)


def catalog(*listed: ModelInfo | dict[str, Any], scope: Identity = UNKNOWN) -> Catalog:
    infos = [i if isinstance(i, ModelInfo) else ModelInfo.from_payload(i) for i in listed]
    return Catalog({each.id: each for each in infos}, 1, scope)


def decide(
    known: SourceState,
    seen: Catalog,
    now: datetime = NOW,
    *,
    absences: Mapping[str, AbsenceCheck] | None = None,
    reminders: Sequence[timedelta] = (),
    ignore: Sequence[str] = (),
    **options: bool,
) -> ChangeSet:
    """Reconcile as a run with a correct clock does; the last run began when it ended."""
    return reconcile(
        known,
        seen,
        now,
        Absences(absences or {}, **options),
        Reminders(reminders, known.source.last_synced_at, now),
        ignored_paths(ignore),
    )


def held_because(known: SourceState, seen: Catalog, *, empty: bool = False) -> str | None:
    """The reason of a hold, without the models that it names."""
    hold = guard.removal_hold(known, seen, NOW, empty=empty)
    return hold.reason.partition("; missing: ")[0] if hold else None


def recorded(result: ChangeSet) -> list[tuple[str, str | None]]:
    return [(event.kind.value, event.model_id) for event in result.events]


def change(old: Any, new: Any) -> dict[str, Any]:
    return {"old": old, "new": new}


RENAMED = {"display_name": "New"}
NAME = {"display_name": change("M", "New")}
DEPRECATED = {"lifecycle": "deprecated", "deprecated_at": "2026-06-15T00:00:00Z"}
TO_DEPRECATED = {
    "lifecycle": change("active", "deprecated"),
    "deprecated_at": change(None, "2026-06-15T00:00:00Z"),
}
BACK = {"removed_at": change("2026-06-14T12:00:00Z", None)}
REMOVED = {"removed_at": NOW - DAY, "missing_since": NOW - DAY}


def numbered(numbers: range, **fields: Any) -> list[ModelRecord]:
    return [row(f"m{number}", **fields) for number in numbers]
