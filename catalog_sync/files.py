"""Files that other programs read: a reader sees the old or the new content, never a mixture."""

from __future__ import annotations

import errno
import filecmp
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE_MODE = 0o644
"""A web server or a metrics collector may read the file as another user."""
SUFFIX = ".tmp"


def atomic_write(path: Path, content: bytes) -> None:
    """Replace the file at `path` in one step, readable by all users whatever the umask.

    The content is first written to a hidden file beside `path`, which is deleted on failure. A link
    at `path` is replaced, not followed.

    Raises:
        OSError: The file cannot be written. It is unchanged.
    """
    staged = stage(path.parent, [content], ".catalog-sync-")
    try:
        staged.replace(path)
    except BaseException:
        with suppress(OSError):
            staged.unlink()
        raise
    _sync_directory(path.parent)


def stage(directory: Path, chunks: Iterable[bytes], prefix: str) -> Path:
    """Write a new file with a unique name into `directory`, and return its path.

    The name begins with `prefix` and ends with `SUFFIX`.

    Raises:
        OSError: The file cannot be written. Nothing is left behind.
    """
    descriptor, name = tempfile.mkstemp(SUFFIX, prefix, directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(chunks)
            file.flush()
            Path(name).chmod(FILE_MODE)
            os.fsync(file.fileno())  # otherwise a power failure could leave an empty file
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    return Path(name)


def _sync_directory(directory: Path) -> None:
    """Make a new name survive a power failure, if the file system supports it."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_if_changed(path: Path, chunks: Iterable[bytes]) -> bool:
    """Replace the file at `path` in one step, unless it already has this content.

    Args:
        path: The file. A link is replaced, not followed.
        chunks: The content in pieces, which are not kept in memory.

    Returns:
        Whether the file was written. An unchanged file keeps its time stamp.

    Raises:
        OSError: The file cannot be written, or is a directory. It is unchanged.
    """
    staged = stage(path.parent, chunks, ".catalog-sync-")
    try:
        if _is_file(path) and filecmp.cmp(path, staged, shallow=False):
            staged.unlink()
            return False
        staged.replace(path)
    except BaseException:
        with suppress(OSError):
            staged.unlink()
        raise
    _sync_directory(path.parent)
    return True


def _is_file(path: Path) -> bool:
    """Whether a path is a regular file with the mode of published files."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, f"{path.name} is a directory")
    return stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == FILE_MODE
