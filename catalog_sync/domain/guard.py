"""When a run is held: too many models missing, or another server answered."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from catalog_sync.domain.model import api_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from catalog_sync.domain.model import Catalog, Identity, ModelRecord, SourceRecord, SourceState


T = TypeVar("T")
_HELD_SHARE = 30
"""Percent of the listed models that may leave at once before somebody should look."""
_HELD_MINIMUM = 3
"""Models that may leave at once from any catalog, however small."""


def without(models: Mapping[str, T], exclude: Sequence[str]) -> dict[str, T]:
    """Return what is kept of a mapping by id: ids that match a glob are left out; case matters."""
    return {
        id_: value
        for id_, value in models.items()
        if not any(fnmatchcase(id_, pattern) for pattern in exclude)
    }


def missing(state: SourceState, catalog: Catalog) -> list[ModelRecord]:
    """Return the listed models that a complete walk did not see, by id."""
    return [
        record
        for id_, record in sorted(state.models.items())
        if record.listed and id_ not in catalog.models
    ]


def ids_to_confirm(absent: Iterable[ModelRecord]) -> list[str]:
    """Return the ids whose absence is a question; a model already retired left as expected."""
    return [record.info.id for record in absent if not record.retired]


def hold_reason(state: SourceState, catalog: Catalog, now: datetime, *, empty: bool) -> str | None:
    """Say why removals must wait for a person, or null.

    `empty`: the list itself held nothing. Models that are retired, or past their retirement date,
    may leave in any number. While a source is held, what is missing already keeps counting.
    """
    absent = missing(state, catalog)
    if empty and absent:
        listed = sum(record.listed for record in state.models.values())
        return f"the list is empty where {listed} models were listed"
    gone = [record for record in absent if record.missing_since is None or state.held]
    for left_at in sorted({record.missing_since or now for record in gone}):
        # Of those that were there at the time: newcomers make their leaving no smaller a thing.
        there = sum(r.listed and r.first_seen_at < left_at for r in state.models.values())
        left = sum(
            record.first_seen_at < left_at <= (record.missing_since or now)
            and not _expected_to_leave(record, now)
            for record in gone
        )
        if left > _HELD_MINIMUM and left * 100 > there * _HELD_SHARE:
            return f"{left} of {there} models left the list at once"
    return None


def _expected_to_leave(record: ModelRecord, now: datetime) -> bool:
    retires_at = record.info.retires_at
    return record.retired or (retires_at is not None and retires_at <= now)


def identity_change(state: SourceState, catalog: Catalog, base_url: str) -> tuple[str | None, bool]:
    """Say who answered in the place of the one before, and whether the pass must be held for it.

    Another organisation that shows the same list says nothing new and is no reason to hold. A
    server that does not say who it is, is not another.
    """
    source = state.source
    if source.baseline_at is None:
        return None, False
    if api_root(source.base_url) != api_root(base_url):
        return f"{base_url} answered where {source.base_url} did before", True
    before, after = source.scope, catalog.scope
    if _another(before.organization_id, after.organization_id):
        listed = {id_ for id_, record in state.models.items() if record.listed}
        same_list = listed == set(catalog.models)
        return (
            f"organisation {after.organization_id} answered where {before.organization_id} did",
            not same_list,
        )
    if _another(before.workspace_id, after.workspace_id):
        return f"workspace {after.workspace_id} answered where {before.workspace_id} did", True
    return None, False


def _another(before: str | None, after: str | None) -> bool:
    return before is not None and after is not None and before != after


def source_after_run(
    record: SourceRecord, scope: Identity, base_url: str, now: datetime
) -> SourceRecord:
    """Return a source's row after a pass that was applied.

    What a server leaves open of who it is stays as it was, unless somebody else is known to answer.
    """
    before = record.scope
    other = api_root(record.base_url) != api_root(base_url) or _another(
        before.organization_id, scope.organization_id
    )
    return replace(
        record,
        base_url=base_url,
        scope=scope if other else scope.filled_from(before),
        baseline_at=record.baseline_at or now,
        last_synced_at=now,
    )
