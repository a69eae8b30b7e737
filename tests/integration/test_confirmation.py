"""Models that leave the list, on servers that answer by id in every known way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from catalog_sync.app import App
from catalog_sync.demo.answers import BY_ID
from catalog_sync.demo.sandbox import Sandbox
from support import model, settings_for

CANNOT_TELL = sorted(BY_ID.keys() - {"api", "undecoded"})
NAMES = ["a", "b", "c", "d", "vendor/e", "vendor/f"]


class Source:
    """A sandbox, and a database that is synced from it every hour."""

    def __init__(self, app: App, sandbox: Sandbox) -> None:
        self.app, self._sandbox = app, sandbox
        self.clock = datetime(2026, 7, 1, tzinfo=UTC)

    def sync(self, *names: str) -> list[tuple[str, str | None]]:
        """Sync a list of these models; return the events."""
        self._sandbox.models = [model(name) for name in names]
        self.clock += timedelta(hours=1)
        (report,) = self.app.sync()
        assert report.error is None
        return [(event.kind.value, event.model_id) for event in report.events]


@contextmanager
def source(tmp_path: Path, by_id: str, **options: Any) -> Iterator[Source]:
    with Sandbox(by_id=by_id, **options) as sandbox:
        settings = settings_for(f"sqlite:///{tmp_path}/catalog.db", sandbox.url)
        with App(settings, clock=lambda: made.clock) as app:
            made = Source(app, sandbox)
            made.sync(*NAMES)
            yield made


@pytest.mark.parametrize("by_id", CANNOT_TELL)
def test_list_that_flaps(tmp_path: Path, by_id: str) -> None:
    """Models that are missing for one run are not removed if the server cannot tell by id."""
    with source(tmp_path, by_id) as made:
        assert made.sync(*NAMES[2:]) == []
        assert made.sync(*NAMES) == []


@pytest.mark.parametrize("by_id", CANNOT_TELL)
def test_model_that_left_for_good(tmp_path: Path, by_id: str) -> None:
    """If the server cannot tell by id, a model is removed after three walks without it."""
    with source(tmp_path, by_id) as made:
        assert [made.sync(*NAMES[1:]) for _ in range(3)] == [[], [], [("removed", "a")]]


def test_server_that_can_tell(tmp_path: Path) -> None:
    """A 404 of a server that shows a listed model by id confirms a removal at once."""
    with source(tmp_path, "api") as made:
        assert made.sync(*NAMES[1:-1]) == [("removed", "a"), ("removed", "vendor/f")]


def test_server_that_does_not_decode_a_slash(tmp_path: Path) -> None:
    """If the server knows no id with a slash, a 404 counts only for ids without one."""
    with source(tmp_path, "undecoded") as made:
        assert made.sync(*NAMES[1:-1]) == [("removed", "a")]
        assert made.sync(*NAMES[1:-1]) == []
        assert made.sync(*NAMES[1:-1]) == [("removed", "vendor/f")]


def test_organization_with_a_slash(tmp_path: Path) -> None:
    """An organization's id may contain a slash, and holds no run."""
    with source(tmp_path, "api", organization_id="team/blue", workspace_id="a/b") as made:
        assert made.sync(*NAMES, "new") == [("added", "new")]
        assert made.sync(*NAMES) == [("removed", "new")]


def test_same_address_with_and_without_a_version(tmp_path: Path) -> None:
    """A base_url with `/v1` is the same address as without it, and holds no run."""
    url = f"sqlite:///{tmp_path}/catalog.db"
    with Sandbox([model(name) for name in NAMES]) as sandbox:
        for path in ("", "/v1", "/v1/", ""):
            with App(settings_for(url, sandbox.url + path)) as app:
                (report,) = app.sync()
            assert report.status == "succeeded"
