"""The demo: the recorded history, replayed by the same code that a user runs.

The sandbox answers on a loopback port, the clock shows each recorded time, and `App.sync` does the
rest.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from catalog_sync.app import App
from catalog_sync.config.settings import Settings, SourceSettings
from catalog_sync.config.values import SecretStr
from catalog_sync.demo.history import Step, steps
from catalog_sync.demo.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from catalog_sync.sync.report import RunReport

MODEL_TO_SHOW = "claude-sonnet-4-5-20250929"
"""The model with the longest history."""


def new_file(directory: Path) -> Path:
    """Create an empty file in `directory` under a new name. A demo overwrites nothing."""
    for number in itertools.count(1):
        file = directory / ("catalog-demo.db" if number == 1 else f"catalog-demo-{number}.db")
        with suppress(FileExistsError):
            file.touch(exist_ok=False)
            return file
    raise AssertionError("there is always a next number")


def replay(database: Path | str, end: datetime | None = None) -> Iterator[tuple[Step, RunReport]]:
    """Sync once per step of the history, and yield the report of each run.

    Args:
        database: An SQLite file, or the URL of any database.
        end: When the story ends. None for the day that the tests use.
    """
    url = f"sqlite:///{database}" if isinstance(database, Path) else database
    with Sandbox() as sandbox, TemporaryDirectory() as directory:
        key_file = Path(directory, "api-key")
        key_file.write_text(sandbox.api_key, encoding="utf-8")
        for step in steps() if end is None else steps(end):
            sandbox.models = step.models
            sandbox.clock = clock = partial(getattr, step, "at")
            source = SourceSettings(
                name="anthropic",
                base_url=sandbox.url,
                api_key_file=str(key_file),
                anthropic_version=step.anthropic_version,
            )
            settings = Settings(database_url=SecretStr(url), sources=(source,))
            with App(settings, clock=clock, direct=True) as app:
                yield step, app.sync()[0]
