"""Atomic file writes: a reader sees the old or the new content, never a mixture."""

from __future__ import annotations

import errno
import filecmp
import os
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_MODE = 0o644
"""The reader, such as a web server or a metrics collector, may be another user."""


def atomic_write(path: Path, chunks: Iterable[bytes], *, unless_equal: bool = False) -> bool:
    """Replace the file at `path` in one step; all users may read it, whatever the umask.

    `chunks` are the parts of the content. They are not kept in memory. With `unless_equal`, a file
    that has this content stays. A link at `path` is replaced, not followed. Returns whether the
    file was replaced. Raises OSError and leaves the file unchanged.
    """
    # A hidden file beside `path`, which is then renamed.
    descriptor, name = tempfile.mkstemp(".tmp", ".catalog-sync-", path.parent)
    staged = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(chunks)
            file.flush()
            staged.chmod(_MODE)
            os.fsync(file.fileno())  # otherwise a power failure could leave an empty file
        if unless_equal and _is_file(path) and filecmp.cmp(path, staged, shallow=False):
            staged.unlink()
            return False
        staged.replace(path)
    except BaseException:
        with suppress(OSError):
            staged.unlink()
        raise
    with suppress(OSError):  # the new name survives a power failure, if the file system can
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    return True


def _is_file(path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, f"{path.name} is a directory")
    return stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == _MODE
