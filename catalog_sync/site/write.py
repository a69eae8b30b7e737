"""Writes the files of a site. Each is replaced atomically; other files in the directory stay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from catalog_sync.clock import format_time
from catalog_sync.domain.event_text import date_text
from catalog_sync.domain.model import Event
from catalog_sync.domain.successor import dependable
from catalog_sync.errors import OutputError
from catalog_sync.files import atomic_write
from catalog_sync.queries import export
from catalog_sync.site.content import History, SiteContent
from catalog_sync.site.feeds import calendar, entries, feed
from catalog_sync.site.page import changes, page

_DIRECTORY_MODE: Final = 0o755
"""A web server that runs as another user can read the site, whatever the umask."""


def publish(
    directory: Path, content: SiteContent, events: Iterable[Event]
) -> tuple[int, dict[str, bool]]:
    """Write the site into a directory, which is created if necessary.

    `models.json`, `models.csv` and `events.json` contain the output of `models --all` and `events`,
    without the events about the job. `events`, oldest first, are read once and not kept.

    Returns:
        The number of events, and for each file whether it was written because its content changed.

    Raises:
        OutputError: The directory or a file cannot be written.
    """
    history = History()
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(_DIRECTORY_MODE)
        written = {}
        for name, texts in _files(content, history, events):
            parts = (text.encode() for text in texts)
            written[name] = atomic_write(directory / name, parts, unless_equal=True)
    except OSError as error:
        raise OutputError(
            f"the site cannot be written to {directory}: {error.strerror or error}",
            "check the directory's owner and the free space",
        ) from error
    return history.events, written


def _files(
    content: SiteContent, history: History, events: Iterable[Event]
) -> Iterator[tuple[str, Iterable[str]]]:
    """Yield the name and the parts of each file. Writing the first one reads the events."""
    yield "events.json", export.json_lines(_event_rows(events, history))
    rows = [export.model_row(record) for record in content.models]
    yield "models.json", export.json_lines(rows)
    yield "models.csv", export.csv_lines(rows, export.MODEL_COLUMNS)
    yield "renovate.json", [export.json_text(_renovate(content)), "\n"]
    yield "badge.json", [export.json_text(_badge(content)), "\n"]
    latest = entries(content, history)
    yield "feed.xml", [feed(content, latest)]
    yield "retirements.ics", [calendar(content, history)]
    yield "changes.html", [changes(content, history, latest)]
    yield "index.html", [page(content, history, latest)]


def _event_rows(events: Iterable[Event], history: History) -> Iterator[dict[str, Any]]:
    for event in events:
        history.add(event)
        yield export.event_row(event)


def _renovate(content: SiteContent) -> dict[str, Any]:
    """Return the listed models as releases, for a custom datasource of Renovate.

    Format: https://docs.renovatebot.com/modules/datasource/custom/
    """
    releases: dict[str, dict[str, Any]] = {}
    for record in content.models:
        if record.listed and not record.retired:
            release: dict[str, Any] = {"version": record.info.id}
            if (released := record.info.released_at) is not None:
                release["releaseTimestamp"] = format_time(released)
            if not dependable(record, content.as_of):
                release["isDeprecated"] = True
            releases.setdefault(record.info.id, release)
    return {"releases": list(releases.values())}


def _badge(content: SiteContent) -> dict[str, Any]:
    """Return the state of the catalog for a badge: https://shields.io/badges/endpoint-badge."""
    listed = [r for r in content.models if r.listed and not r.retired]
    dates = [r.info.retires_at for r in listed if r.info.retires_at is not None]
    ahead = [at for at in dates if at > content.as_of]
    facts = [f"{len(listed)} listed"]
    if len(ahead) < len(dates):
        facts.append(f"{len(dates) - len(ahead)} overdue")
    if ahead:
        facts.append(f"next retires {date_text(min(ahead))}")
    color = "red" if len(ahead) < len(dates) else "orange" if ahead else "brightgreen"
    return {"schemaVersion": 1, "label": "models", "message": ", ".join(facts), "color": color}
