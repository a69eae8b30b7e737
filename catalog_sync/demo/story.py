"""The demo: the recorded history, replayed through the very code that a user runs.

The sandbox answers on a loopback port, the clock stands at each recorded moment, and `App.sync`
does the rest.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pydantic import SecretStr

from catalog_sync.app import App
from catalog_sync.demo.history import Moment, moments
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.settings import Settings, SourceSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from catalog_sync.records import RunReport

__all__ = ["MODEL_TO_SHOW", "free_file", "replay"]

MODEL_TO_SHOW = "claude-sonnet-4-5-20250929"
"""The model whose history has most to say."""


def free_file(folder: Path) -> Path:
    """Return a file in `folder` that does not exist yet: a demo overwrites nothing."""
    names = ("catalog-demo.db", *(f"catalog-demo-{n}.db" for n in range(2, 1000)))
    return next(folder / name for name in names if not (folder / name).exists())


def replay(file: Path) -> Iterator[tuple[Moment, RunReport]]:
    """Make one pass per moment of the history into an SQLite file, and yield what each did."""
    with Sandbox() as sandbox, TemporaryDirectory() as folder:
        key_file = Path(folder, "api-key")
        key_file.write_text(sandbox.api_key, encoding="utf-8")
        for moment in moments():
            sandbox.models = moment.models
            source = SourceSettings(
                name="anthropic",
                base_url=sandbox.url,
                api_key_file=str(key_file),
                anthropic_version=moment.anthropic_version,
            )
            database_url = SecretStr(f"sqlite:///{file}")
            settings = Settings(database_url=database_url, sources=(source,))
            with App(settings, clock=partial(getattr, moment, "at")) as app:
                yield moment, app.sync()[0]
