"""The files of a site. Each is replaced as a whole. Other files of the directory are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from catalog_sync.errors import OutputError
from catalog_sync.files import write_if_changed
from catalog_sync.queries import export
from catalog_sync.site.content import PAGE, History
from catalog_sync.site.feeds import CALENDAR, FEED, calendar, entries, feed
from catalog_sync.site.page import page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from catalog_sync.domain.model import Event
    from catalog_sync.site.content import SiteContent

FILES: Final = ("events.json", "models.json", "models.csv", FEED, CALENDAR, PAGE)
"""The page links to the others, so it is written last."""
_DIRECTORY_MODE: Final = 0o755
"""A web server of another user can read the site, whatever the umask."""


@dataclass(frozen=True, slots=True)
class Published:
    """The result of writing a site."""

    models: int
    events: int
    changed: tuple[str, ...]
    """The files whose content changed. The others keep their time stamp."""


def publish(directory: Path, content: SiteContent, events: Iterable[Event]) -> Published:
    """Write the site into a directory, which is created if necessary.

    `models.json`, `models.csv` and `events.json` hold what the commands `models --all` and
    `events` print, without the events about the job.

    Args:
        directory: Where the site goes.
        content: The models and sources.
        events: The events of `KINDS`, oldest first. They are read once, and not kept.

    Raises:
        OutputError: The directory or a file cannot be written.
    """
    history = History(content.baselines)
    changed = []
    try:
        if not directory.is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(_DIRECTORY_MODE)
        for name in FILES:
            chunks = _chunks(name, content, history, events)
            if write_if_changed(directory / name, chunks):
                changed.append(name)
    except OSError as error:
        raise OutputError(
            f"{directory} cannot be published to: {error.strerror or error}",
            "check the directory's owner and the free space",
        ) from error
    return Published(len(content.models), history.events, tuple(changed))


def _chunks(
    name: str, content: SiteContent, history: History, events: Iterable[Event]
) -> Iterator[bytes]:
    """Yield the content of a file in pieces. `events.json` is first and fills the history."""
    match name:
        case "events.json":
            yield from _event_lines(events, history)
        case "models.json":
            rows = map(export.model_row, content.models)
            yield f"{export.json_array(rows)}\n".encode()
        case "models.csv":
            rows = map(export.model_row, content.models)
            yield export.csv_text(rows, export.MODEL_COLUMNS).encode()
        case "feed.xml":
            yield feed(content, entries(content, history))
        case "retirements.ics":
            yield calendar(content, history)
        case _:
            yield page(content, history, entries(content, history))


def _event_lines(events: Iterable[Event], history: History) -> Iterator[bytes]:
    """Yield a JSON array with an event per line."""
    before = "[\n"
    for event in events:
        history.add(event)
        yield f"{before}{json.dumps(export.event_row(event), ensure_ascii=False)}".encode()
        before = ",\n"
    yield b"\n]\n" if history.events else b"[]\n"
