"""Finds model ids in files.

In a git work tree, git decides which files of a directory count: the tracked ones, and the
untracked ones that it does not ignore. Elsewhere every file below the directory counts. Links are
not followed, and only regular files are opened. A path that the user names is always searched.

The files may be an untrusted checkout. Its `.git/config` must not make git run a program; see
`_git`.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path

from pathspec import GitIgnoreSpec

from catalog_sync.check.ids import IdPattern
from catalog_sync.errors import ConfigError
from catalog_sync.logs import fields

logger = logging.getLogger(__name__)
MAX_BYTES = 16 << 20
"""Larger files are not searched: they contain data, not text that a person wrote."""
_BINARY_BYTES = 8000
"""As in git, a NUL among the first bytes marks a binary file."""
# A file may become a link or a pipe just before it is opened. Windows has neither flag.
_READ_ONLY = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_WIDE = re.compile("[\U00010000-\U0010ffff]")
"""A character of two UTF-16 code units."""
_IGNORE = re.compile(
    r"catalog-sync:[ \t]*ignore(?![\w-])(?:[ \t]+until=([^\s*<>)}#]*))?", re.ASCII | re.IGNORECASE
)
_GIT = (
    *("--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    *("-c", "submodule.recurse=false", "-c", "core.untrackedCache=keep"),
    *("-c", "protocol.allow=never", "-c", "safe.bareRepository=explicit"),
    # The owner does not matter: with these settings, git executes nothing of the repository.
    *("-c", "safe.directory=*"),
)
_GIT_KEPT = {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_EXEC_PATH"}


@dataclass(frozen=True, slots=True)
class Location:
    """An id in a file. Lines and columns count from 1."""

    path: str
    """The path below the one that the user named."""
    line: int
    column: int
    """In characters."""
    unit: int
    """The column in UTF-16 code units, as SARIF counts."""
    model_id: str


@dataclass(slots=True)
class Scan:
    """The result of a search."""

    found: list[Location] = field(default_factory=list)
    """Sorted by path and position."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Files and directories that could not be read, each with the reason."""
    notes: list[str] = field(default_factory=list)
    """Notes for the user that are not problems."""
    files: int = 0
    """Files that were opened, binary ones included."""


def scan(paths: Iterable[str], ids: IdPattern, today: date, *, exclude: Sequence[str] = ()) -> Scan:
    """Search files and directories, each file once.

    Args:
        paths: The files and directories that the user named.
        ids: The ids to search for.
        today: The date for `ignore until=DATE`.
        exclude: Patterns in the syntax of .gitignore, relative to the current directory. They do
            not exclude files that the user named.

    Raises:
        ConfigError: A path is missing, or is neither a file nor a directory; a bad pattern.
    """
    try:
        excluded = GitIgnoreSpec.from_lines(exclude)
    except ValueError as error:
        raise ConfigError(f"--exclude: {error}") from error
    result = Scan()
    named = [(path, _real(path)) for path in paths]
    files: dict[str, str] = {}
    for shown, real in _files(named, excluded, result):
        files.setdefault(real, shown)
    for real, shown in files.items():
        try:
            content = _read(real)
        except OSError as error:
            result.unreadable.append((shown, str(error.strerror)))
            continue
        if content is None:
            continue
        result.files += 1
        if len(content) > MAX_BYTES:
            result.notes.append(f"{shown}: larger than 16 MiB, not searched")
        elif b"\0" not in content[:_BINARY_BYTES]:
            result.found += _locations(shown, content, ids, today, result.notes)
    result.found.sort(key=lambda one: (os.fsencode(one.path).split(b"/"), one.line, one.column))
    result.unreadable.sort()
    return result


def _real(path: str) -> str:
    """Return the real path of a file or directory that the user named."""
    try:
        real = os.path.realpath(path, strict=True)
    except OSError as error:
        advice = "name files or directories that exist"
        raise ConfigError(f"--scan {path}: {error.strerror}", advice) from error
    if not Path(real).is_file() and not Path(real).is_dir():
        raise ConfigError(f"--scan {path}: neither a file nor a directory")
    return real


def _files(
    named: Iterable[tuple[str, str]], excluded: GitIgnoreSpec, result: Scan
) -> Iterator[tuple[str, str]]:
    """Yield the files to search: the displayed path and the real path."""
    here = os.path.realpath(Path.cwd())
    for shown, real in named:
        if not Path(real).is_dir():
            yield shown, real
            continue

        def failed(error: OSError, shown: str = shown, real: str = real) -> None:
            where = Path(shown, os.path.relpath(error.filename, real))
            result.unreadable.append((str(where), str(error.strerror)))

        for file in _below(real, failed):
            relative = os.path.relpath(file, here)
            if relative.startswith("..") or not excluded.match_file(relative):
                yield str(Path(shown, os.path.relpath(file, real))), file


def _below(directory: str, failed: Callable[[OSError], None]) -> Iterator[str]:
    """Yield the files to search in a directory and in the repositories below it."""
    listed = _listed_by_git(directory)
    if listed is None:
        yield from _walked(directory, failed)
        return
    for path in listed:
        if not os.path.isdir(path) or os.path.islink(path):  # noqa: PTH112, PTH114
            yield path
        elif os.path.lexists(os.path.join(path, ".git")):  # noqa: PTH118
            yield from _below(path, failed)  # a submodule or another repository
        else:
            yield from _walked(path, failed)  # a submodule that was copied without its `.git`


def _walked(directory: str, failed: Callable[[OSError], None]) -> Iterator[str]:
    """Yield every file below a directory, except in `.git`."""
    for root, directories, files in os.walk(directory, onerror=failed):
        directories[:] = [name for name in directories if name != ".git"]
        yield from (os.path.join(root, name) for name in files if name != ".git")  # noqa: PTH118


def _listed_by_git(directory: str) -> list[str] | None:
    """Return the files of a directory that git tracks or does not ignore, and its repositories.

    Returns None outside a work tree, without git, and for a directory that git ignores as a whole:
    the user named it explicitly.
    """
    listing = _git(directory, "ls-files", "-coz", "--exclude-standard")
    if listing is None:
        return None
    if not listing and _git(directory, "check-ignore", "-q", ".") is not None:
        return None
    found: list[str] = []
    is_real = cache(lambda parent: os.path.realpath(parent) == parent)
    for name in sorted({os.fsdecode(one) for one in listing.split(b"\0") if one}):
        path = os.path.join(directory, name.rstrip("/"))  # noqa: PTH118  # many, and Path is slow
        if is_real(os.path.dirname(path)):  # noqa: PTH120  # else replaced by a link
            found.append(path)
    return found


def _git(directory: str, *arguments: str) -> bytes | None:
    """Return the output of a git command, or None if it fails. Runs no program of the repository.

    Configuration that would make git run a program (`core.fsmonitor`) is overridden, missing
    objects are not fetched from a remote, and a bare repository among the files is not used.
    """
    program = shutil.which("git")
    if program is None or not Path(program).is_absolute():
        return None
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("GIT_") or key in _GIT_KEPT  # a hook sets GIT_INDEX_FILE and others
    }
    done = subprocess.run(  # noqa: S603  # a fixed command
        [program, *_GIT, *arguments],
        cwd=directory,
        env={**kept, "LC_ALL": "C", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return done.stdout
    if done.stderr and b"not a git repository" not in done.stderr:
        reason = done.stderr.decode(errors="replace").strip()
        logger.warning("git cannot list the files: %s", reason, extra=fields(directory=directory))
    return None


def _read(path: str) -> bytes | None:
    """Return the content of a file, up to a byte more than the limit; None for anything else.

    It may have been removed or replaced since its directory was listed.
    """
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with os.fdopen(os.open(path, _READ_ONLY), "rb") as file:
            is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            return file.read(MAX_BYTES + 1) if is_file else None
    except (FileNotFoundError, NotADirectoryError):
        return None


def _locations(
    shown: str, content: bytes, ids: IdPattern, today: date, notes: list[str]
) -> Iterator[Location]:
    """Yield the positions of ids in a text (UTF-8, else Latin-1), without ignored lines."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    # Lines and columns are counted from the previous id: a single line may contain very many.
    number, start, at, wide, ignored = 1, -1, 0, 0, False
    for begin, end in ids.find(text):
        newlines = text.count("\n", at, begin)
        if newlines or start < 0:
            number += newlines
            start = at = text.rfind("\n", at, begin) + 1
            line_end = text.find("\n", end)
            line = text[start : line_end if line_end >= 0 else None]
            wide, ignored = 0, _is_ignored(line, today, f"{shown}:{number}", notes)
        wide += len(_WIDE.findall(text, at, begin))
        at = begin
        if not ignored:
            column = begin - start + 1
            yield Location(shown, number, column, column + wide, text[begin:end])


def _is_ignored(line: str, today: date, where: str, notes: list[str]) -> bool:
    """Whether a comment on a line excludes its ids from the check."""
    comment = _IGNORE.search(line)
    if comment is None or comment[1] is None:
        return comment is not None
    try:
        return today <= date.fromisoformat(comment[1])
    except ValueError:
        notes.append(f"{where}: ignore until= needs a date such as 2027-01-31; not ignored")
        return False
