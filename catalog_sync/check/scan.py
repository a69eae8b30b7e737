"""The ids that files mention: which files are looked into, and what cannot be.

Only regular files are ever opened. Links that are found on the way are not followed, a directory's
`.git` is passed over, and so is what its `.gitignore` files ignore, tracked or not. What the user
names is looked into, ignored or not, and through a link too.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from catalog_sync.check.ignored import Ignored
from catalog_sync.check.scan_text import Place, places
from catalog_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from catalog_sync.check.ids import IdPattern


_READ_ONLY = (
    os.O_RDONLY
    # What was a file when the directory was listed may be a link or a pipe by now.
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_VANISHED = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR})
"""Errors of a file that was removed, or became a link, since its directory was listed."""


@dataclass(frozen=True, slots=True)
class Found:
    """An id that a file mentions."""

    path: str
    """As the user would name it: below the path that was given."""
    place: Place


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found."""

    found: tuple[Found, ...]
    """By path, and in the order of the file."""
    unreadable: tuple[tuple[str, str], ...]
    """Files and directories that could not be looked into, each with the reason."""
    files: int
    """How many were opened, binary ones included."""
    binary: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or a directory: how it is shown, and where it really is."""

    shown: Path
    real: str


def scan(paths: Iterable[str], mentions: IdPattern) -> Scan:
    """Look for ids in files, and in directories with all below them; each file once.

    Raises ConfigError for a path that is not there, or is neither a file nor a directory.
    """
    found: list[Found] = []
    unreadable: list[tuple[str, str]] = []
    seen: set[str] = set()
    binary = 0
    for entry in _files([_named(path) for path in paths], unreadable):
        if entry.real in seen:
            continue
        seen.add(entry.real)
        try:
            with _open(entry.real) as file:
                known = places(file, mentions)
        except OSError as error:
            seen.discard(entry.real)
            if error.errno not in _VANISHED:
                unreadable.append((str(entry.shown), _reason(error)))
            continue
        if known is None:
            binary += 1
        else:
            found += [Found(str(entry.shown), place) for place in known]
    found.sort(key=lambda one: (os.fsencode(one.path).split(b"/"), one.place))
    return Scan(tuple(found), tuple(sorted(unreadable)), len(seen), binary)


def _named(path: str) -> _Entry:
    """Return what the user named, or say that it is not there."""
    try:
        real = os.path.realpath(path, strict=True)
        mode = Path(real).stat().st_mode
    except (OSError, ValueError) as error:
        reason = _reason(error) if isinstance(error, OSError) else "not a path"
        raise ConfigError(
            f"--scan {path}: {reason}", "name files or directories that exist"
        ) from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ConfigError(f"--scan {path}: neither a file nor a directory")
    return _Entry(Path(path), real)


def _files(named: Iterable[_Entry], unreadable: list[tuple[str, str]]) -> Iterator[_Entry]:
    for entry in named:
        if Path(entry.real).is_dir():
            yield from _below(entry, Ignored.above(entry.real), unreadable)
        else:
            yield entry


def _below(
    directory: _Entry, ignored: Ignored, unreadable: list[tuple[str, str]]
) -> Iterator[_Entry]:
    """Yield the files of a directory and of the directories below it, but for the ignored ones."""
    waiting = [(directory, ignored)]
    while waiting:
        here, above = waiting.pop()
        try:
            with os.scandir(here.real) as listing:
                entries = list(listing)
        except OSError as error:
            if error.errno not in _VANISHED:
                unreadable.append((str(here.shown), _reason(error)))
            continue
        rules = above.entering(here.real, entries)
        for each in entries:
            is_folder = each.is_dir(follow_symlinks=False)
            if each.name == ".git" or not (is_folder or each.is_file(follow_symlinks=False)):
                continue
            if rules.match(each.path, is_folder=is_folder):
                continue
            entry = _Entry(here.shown / each.name, each.path)
            if is_folder:
                waiting.append((entry, rules))
            else:
                yield entry


def _open(path: str) -> BinaryIO:
    """Open a regular file, and nothing else, without ever waiting for somebody to write to it."""
    descriptor = os.open(path, _READ_ONLY)
    file = os.fdopen(descriptor, "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise OSError(errno.ENOENT, "no regular file any more")
    return file


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
