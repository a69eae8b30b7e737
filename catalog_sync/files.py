"""Files that others read while they are written: a reader finds the old content or the new one."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["FILE_MODE", "SUFFIX", "atomic_write", "stage"]

FILE_MODE = 0o644
"""For whoever serves or scrapes the file, which is rarely the user who writes it."""
SUFFIX = ".tmp"


def atomic_write(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step, readable by everybody whatever the umask.

    It is written beside `path` under a hidden name first, which no failure leaves behind; a link
    at `path` is replaced, not followed. Raises OSError, and then `path` is as it was.
    """
    staged = stage(path.parent, content, ".catalog-sync-")
    try:
        staged.replace(path)
    except BaseException:
        with suppress(OSError):
            staged.unlink()
        raise
    _sync_folder(path.parent)


def stage(directory: Path, content: bytes, prefix: str) -> Path:
    """Write a new file into `directory` whose name nobody has, to take another's place; return it.

    Its name begins with `prefix` and ends with `SUFFIX`. Raises OSError, and then nothing is left.
    """
    descriptor, name = tempfile.mkstemp(SUFFIX, prefix, directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            Path(name).chmod(FILE_MODE)
            os.fsync(file.fileno())  # or a power cut could leave the new name without its content
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    return Path(name)


def _sync_folder(directory: Path) -> None:
    """Make a new name outlive a power cut, where the file system lets us; it is in place anyway."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
