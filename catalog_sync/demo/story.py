"""The demo: a replay of the recorded history by `App.sync`, against the sandbox.

The clock shows the time of each step.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from catalog_sync.app import App
from catalog_sync.config.settings import Settings, SourceSettings
from catalog_sync.config.values import SecretStr
from catalog_sync.demo.history import Step, steps
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.errors import OutputError
from catalog_sync.sync.report import RunReport

MODEL_TO_SHOW = "claude-sonnet-4-5-20250929"
"""The model with the longest history."""


@contextmanager
def new_file(directory: Path) -> Iterator[Path]:
    """Yield an empty file in `directory` with a new name, so that the demo overwrites nothing.

    If the block fails, the incomplete file is deleted. Raises OutputError if it cannot be created.
    """
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    for number in numbers:
        file = directory / f"catalog-demo{number}.db"
        try:
            file.touch(exist_ok=False)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(
                f"the demo's database cannot be created in the current directory: {error.strerror}",
                "run it in a directory that may be written",
            ) from error
        break
    try:
        yield file
    except BaseException:
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{file}{suffix}").unlink(missing_ok=True)
        raise


def replay(database: Path | str, end: datetime | None = None) -> Iterator[tuple[Step, RunReport]]:
    """Sync once per step of the history, and yield the report of each run. Raises its error.

    `database` is an SQLite file or a database URL. `end` is the end of the history; None for the
    day that the tests use.
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
                [report] = app.sync()
                if report.cause is not None:
                    raise report.cause
                yield step, report
