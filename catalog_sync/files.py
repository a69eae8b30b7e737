"""Files that others read while they are written: a reader finds the old content or the new one."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["atomic_write"]

_MODE = 0o644
"""For whoever serves or scrapes the file, which is rarely the user who writes it."""


def atomic_write(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step, readable by everybody whatever the umask.

    It is written beside `path` under a hidden name first, which no failure leaves behind; a link
    at `path` is replaced, not followed. Raises OSError, and then `path` is as it was.
    """
    descriptor, name = tempfile.mkstemp(prefix=".catalog-sync-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name without its content
        Path(name).chmod(_MODE)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a new name outlive a power cut, where the file system lets us; it is in place anyway."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
