"""The health of the sync as lines of text."""

from __future__ import annotations

from datetime import datetime, timedelta

from catalog_sync.db.outbox import DeliveryCounts
from catalog_sync.domain.guard import named
from catalog_sync.queries.health import SourceHealth, Status
from catalog_sync.text import age_text, count, one_line, since_text

_CLOCK_TOLERANCE_SECONDS = 300


def stale_text(source: SourceHealth, now: datetime) -> str:
    """Return why a source is not fresh, with its last error."""
    last, limit = source.last_success_at, source.max_age
    if last is None or limit is None:
        text = f"source {source.name} was never synced"
    else:
        when = since_text(last, now)
        text = f"source {source.name}: last success {when}, at most {age_text(limit)} expected"
    return one_line(f"{text}; last error: {source.last_error}" if source.last_error else text)


def held_text(source: SourceHealth) -> str:
    """Return why a run is held, and the first models whose removal waits."""
    reason = source.held_reason or "a run is held"
    ids = source.held_models
    if ids and ids[0] not in reason:
        reason = f"{count(len(ids), 'model')} missing: {named(ids)}; {reason}"
    return one_line(f"a run is held: source {source.name}: {reason}")


def clock_text(source: SourceHealth) -> str | None:
    """Return the difference between the host's clock and the API's, or None if it is small."""
    offset = source.clock_offset_seconds
    if offset is None or abs(offset) <= _CLOCK_TOLERANCE_SECONDS:
        return None
    side = "ahead of" if offset > 0 else "behind"
    length = age_text(timedelta(seconds=offset))
    return f"source {source.name}: this host's clock is {length} {side} the API's"


def problems(status: Status) -> list[str]:
    """Return a line for each problem that needs attention."""
    lines = []
    for source in status.configured:
        if not source.fresh:
            stale = stale_text(source, status.at)
            never = source.last_success_at is None and source.last_error is None
            lines.append(f"{stale}; run: catalog-sync sync" if never else stale)
        if source.held:
            lines.append(held_text(source))
        if text := clock_text(source):
            lines.append(text)
    for channel, number in sorted(status.failed.items()):
        if channel in status.channels:
            failed = f"channel {channel}: {count(number, 'alert')} failed"
            lines.append(f"{failed}; see: catalog-sync alerts list")
    return lines


def deliveries_text(counts: DeliveryCounts) -> str:
    """Return the line with the numbers of delivered, pending and failed alerts."""
    return (
        f"alerts: {counts.delivered} delivered, {counts.pending} pending, {counts.failed} failed"
        + ("; see: catalog-sync alerts list" if counts.failed else "")
    )
