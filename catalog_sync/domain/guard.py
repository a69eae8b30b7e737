"""When a run is held or records nothing: models missing, another server, a wrong clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TypeVar

from catalog_sync.domain.model import Catalog, Identity, ModelRecord, SourceRecord, SourceState
from catalog_sync.text import one_line

T = TypeVar("T")
CLOCK_WARNING = timedelta(minutes=5)
"""A larger difference between the clocks of host and server is logged as a warning."""
CLOCK_LIMIT = timedelta(days=1)
"""With a larger difference, a run records nothing."""
_HELD_SHARE = 30
"""The percentage of the listed models that may leave at once without a person's approval."""
_HELD_MINIMUM = 3
"""The number of models that may leave at once, however small the catalog is."""
_NAMED = 5
"""The number of models that the text of a held run names. The others are counted."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Why removals, or the whole run, wait for a person."""

    reason: str
    code: str
    """Stored in `sync_runs.error_code`: REMOVALS_HELD or IDENTITY_CHANGED."""
    model_ids: tuple[str, ...] = ()
    """The models whose removal waits, sorted; empty when the whole run is held."""


REMOVALS_HELD = "removals_held"
IDENTITY_CHANGED = "identity_changed"


def drop_excluded(models: Mapping[str, T], exclude: Sequence[str]) -> Mapping[str, T]:
    """Drop the ids that match a glob of `exclude`; case matters."""
    if not exclude:
        return models
    kept = (id_ for id_ in models if not any(fnmatchcase(id_, glob) for glob in exclude))
    return {id_: models[id_] for id_ in kept}


def missing(state: SourceState, catalog: Catalog) -> list[ModelRecord]:
    """Return the listed models that a complete walk did not see, sorted by id."""
    absent = (id_ for id_ in state.models if id_ not in catalog.models)
    return [state.models[id_] for id_ in sorted(absent) if state.models[id_].listed]


def ids_to_confirm(absent: Iterable[ModelRecord]) -> list[str]:
    """Return the ids to confirm. A retired model needs no confirmation: it is expected to leave."""
    return [record.info.id for record in absent if not record.retired]


def removal_hold(
    state: SourceState, catalog: Catalog, now: datetime, *, empty: bool
) -> Hold | None:
    """Return why removals must wait for a person, or None.

    Any number of models may leave that are retired or past their retirement date. While a source is
    held, the models that went missing before count too. `empty`: the list was empty before
    excluded ids were dropped.
    """
    absent = missing(state, catalog)
    reason = _removal_reason(state, absent, now, empty=empty)
    if reason is None:
        return None
    ids = tuple(record.info.id for record in absent)
    return Hold(f"{reason}; missing: {named(ids)}", REMOVALS_HELD, ids)


def named(ids: Sequence[str]) -> str:
    """Return the first ids as text, and the number of the others."""
    more = len(ids) - _NAMED
    text = ", ".join(one_line(id_) for id_ in ids[:_NAMED])
    return f"{text} and {more} more" if more > 0 else text


def _removal_reason(
    state: SourceState, absent: Sequence[ModelRecord], now: datetime, *, empty: bool
) -> str | None:
    if empty and absent:
        listed = sum(record.listed for record in state.models.values())
        were = "1 model was" if listed == 1 else f"{listed} models were"
        return f"the list is empty where {were} listed"
    gone = [record for record in absent if record.missing_since is None or state.held]
    for left_at in sorted({record.missing_since or now for record in gone}):
        # The share is of the models listed at that time: new models do not make it smaller.
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


def identity_change(
    state: SourceState, catalog: Catalog, base_url: str
) -> tuple[str | None, Hold | None]:
    """Compare the server's identity with that of the last applied run.

    Returns the change as text, and the hold of the whole run, if any. Another organisation with the
    same list does not hold the run. A server that does not state its identity does not count as
    another server.
    """
    source = state.source
    before, after = source.scope, catalog.scope
    change = None
    holds = True
    if source.baseline_at is None:
        return None, None
    if api_root(source.base_url) != api_root(base_url):
        change = f"{base_url} answered where {source.base_url} did before"
    elif _differ(before.organization_id, after.organization_id):
        change = f"organisation {after.organization_id} answered where {before.organization_id} did"
        holds = {id_ for id_, record in state.models.items() if record.listed} != set(
            catalog.models
        )
    elif _differ(before.workspace_id, after.workspace_id):
        change = f"workspace {after.workspace_id} answered where {before.workspace_id} did"
    return change, Hold(change, IDENTITY_CHANGED) if change and holds else None


def _differ(before: str | None, after: str | None) -> bool:
    return before is not None and after is not None and before != after


def source_after_run(
    record: SourceRecord, scope: Identity, base_url: str, now: datetime
) -> SourceRecord:
    """Return a source's row after an applied run.

    Parts of the identity that the server does not state stay, unless another server answered.
    """
    before = record.scope
    other = api_root(record.base_url) != api_root(base_url) or _differ(
        before.organization_id, scope.organization_id
    )
    return replace(
        record,
        base_url=base_url,
        scope=scope if other else scope.filled_from(before),
        baseline_at=record.baseline_at or now,
        last_synced_at=now,
    )


def api_root(base_url: str) -> str:
    """Return a base URL without a trailing `/v1`: with and without it, it is the same address."""
    return base_url.rstrip("/").removesuffix("/v1").rstrip("/")
