"""The files of the site, as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from catalog_sync import rows
from catalog_sync.publish.agenda import calendar
from catalog_sync.publish.contents import PAGE
from catalog_sync.publish.feed import FEED, feed
from catalog_sync.publish.news import entries
from catalog_sync.publish.page import page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from catalog_sync.publish.contents import Contents

__all__ = ["render"]


def render(contents: Contents) -> Mapping[str, bytes]:
    """Return the content of each file by its name; the page, which links to the others, is last.

    `models.json`, `events.json` and `models.csv` are what the commands `models --all` and `events`
    print, without the events about the job.
    """
    models = [rows.model_row(record) for record in contents.models]
    events = [rows.event_row(event) for event in contents.events]
    news = entries(contents)
    return {
        "models.json": f"{rows.json_array(models)}\n".encode(),
        "models.csv": rows.csv_text(models, rows.MODEL_COLUMNS).encode(),
        "events.json": f"{rows.json_array(events)}\n".encode(),
        FEED: feed(contents, news),
        "retirements.ics": calendar(contents),
        PAGE: page(contents, news),
    }
