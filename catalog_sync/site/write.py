"""The directory of the site: its files are replaced whole, all others stay."""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from catalog_sync.errors import OutputError
from catalog_sync.files import FILE_MODE, SUFFIX, stage
from catalog_sync.logs import fields
from catalog_sync.queries import export
from catalog_sync.site.calendar import calendar
from catalog_sync.site.content import PAGE
from catalog_sync.site.feeds import FEED, entries, feed
from catalog_sync.site.page import page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from catalog_sync.site.content import SiteContent


logger = logging.getLogger(__name__)
_FOLDER_MODE: Final = 0o755
"""A web server that is another user may read what we write, whatever the umask says."""
_PREFIX: Final = ".catalog-sync-site-"
"""Of what only a process that has the directory's lock writes."""


class Directory:
    """A directory that one process at a time publishes to; a context manager, which creates it.

    Who waits for another process here, and reads the database then, replaces no news by older.
    Raises OutputError where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def __enter__(self) -> Self:
        try:
            if not self._path.is_dir():
                self._path.mkdir(parents=True, exist_ok=True)
                self._path.chmod(_FOLDER_MODE)
            self._lock = _locked(self._path)
        except OSError as error:
            raise self._error(error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def write(self, files: Mapping[str, bytes]) -> list[str]:
        """Write the files that are not there as they should be, in order; return their names.

        All of them are on the disk before the first takes its place, and each does so at once.
        What has not changed keeps its time stamp.
        """
        staged: dict[str, Path] = {}
        try:
            self._sweep()
            for name, content in files.items():
                if not _holds(self._path / name, content):
                    staged[name] = stage(self._path, content, _PREFIX)
            for name, temporary in staged.items():
                temporary.replace(self._path / name)
            if staged and self._lock is not None:
                os.fsync(self._lock)
        except OSError as error:
            raise self._error(error) from error
        finally:
            for temporary in staged.values():
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)
        return list(staged)

    def _sweep(self) -> None:
        """Remove what a process that was killed left; while the lock is ours, all of it is that."""
        if self._lock is not None:
            for left in self._path.glob(f"{_PREFIX}*{SUFFIX}"):
                left.unlink(missing_ok=True)

    def _error(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._path} cannot be published to: {error.strerror or error}",
            "check the directory's owner and the free space",
        )


def _holds(file: Path, content: bytes) -> bool:
    """Whether a file is already what it should be. Raises OSError for a directory of its name."""
    try:
        found = file.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, f"{file.name} is a directory")
    as_is = stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == FILE_MODE
    return as_is and found.st_size == len(content) and file.read_bytes() == content


def _locked(directory: Path) -> int | None:
    """Take the lock of a directory, once nobody has it; null where there is no such thing."""
    try:
        import fcntl  # noqa: PLC0415
    except ImportError:  # Windows
        return None
    number = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info(
                "another process publishes there; waiting", extra=fields(directory=directory)
            )
            fcntl.flock(number, fcntl.LOCK_EX)
    except OSError:  # a network's file system may have none
        os.close(number)
        return None
    except BaseException:
        os.close(number)
        raise
    return number


def render(contents: SiteContent) -> Mapping[str, bytes]:
    """Return the content of each file by its name; the page, which links to the others, is last.

    `models.json`, `events.json` and `models.csv` are what the commands `models --all` and `events`
    print, without the events about the job.
    """
    models = [export.model_row(record) for record in contents.models]
    events = [export.event_row(event) for event in contents.events]
    news = entries(contents)
    return {
        "models.json": f"{export.json_array(models)}\n".encode(),
        "models.csv": export.csv_text(models, export.MODEL_COLUMNS).encode(),
        "events.json": f"{export.json_array(events)}\n".encode(),
        FEED: feed(contents, news),
        "retirements.ics": calendar(contents),
        PAGE: page(contents, news),
    }
