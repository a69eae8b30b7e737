"""What `.gitignore` files ignore, as git reads them: the deepest file that has an opinion decides.

pathspec knows what a pattern means, but takes one that matches a directory to match all below it.
In git it speaks of the directory alone: what lies in an ignored one is never looked at, and what
lies in another is asked about by its own name.

Read are those of a directory, of the directories below it, and of those above it up to the root
of its repository. Ignored files of other places (`.git/info/exclude`, the user's own) are not
read.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


_FILE = ".gitignore"
_MAX_BYTES = 1 << 20
"""More than any `.gitignore` that was written by hand."""
_FOLDER = "ps_d"
"""pathspec's name for the slash with which a pattern has matched a directory."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """A line of a `.gitignore`."""

    pattern: re.Pattern[str]
    ignores: bool
    """False for a line that begins with "!"."""

    def match(self, below: str) -> bool:
        """Whether the line speaks of a path itself; a directory's has a slash at the end."""
        for match in self.pattern.finditer(below):
            if _FOLDER in self.pattern.groupindex:
                if match.end(_FOLDER) in {-1, len(below)}:
                    return True
            elif match.end() < len(below) or not self.pattern.pattern.endswith("/"):
                return True  # "directory/**" speaks of what lies in it
        return False


@dataclass(frozen=True, slots=True)
class _Rules:
    """A `.gitignore`."""

    directory: str
    """Where it lies, without a slash at the end."""
    lines: tuple[_Rule, ...]
    any: re.Pattern[str]
    """Matches what any of the lines may speak of: most paths are passed over at once."""

    def match(self, path: str) -> bool | None:
        """Whether a path is ignored by the last line that speaks of it; null if none does."""
        below = path[len(self.directory) + 1 :]
        if not self.any.match(below):
            return None
        return next((line.ignores for line in reversed(self.lines) if line.match(below)), None)


@dataclass(frozen=True, slots=True)
class Ignored:
    """The files that hold in a directory; the last one that speaks of a path decides."""

    files: tuple[_Rules, ...] = ()

    @classmethod
    def above(cls, directory: str) -> Self:
        """Return the rules that hold for what lies in a directory, by the files above it.

        A directory that they ignore was named all the same: none of them holds for it then.
        """
        here = Path(directory)
        root = next((one for one in (here, *here.parents) if os.path.lexists(one / ".git")), here)
        rules = cls()
        for place in reversed((here, *here.parents)):
            if place != root and rules.match(str(place), is_folder=True):
                return cls()
            if place != here and place.is_relative_to(root):
                rules = cls((*rules.files, *_read(str(place))))
        return rules

    def entering(self, directory: str, entries: Collection[os.DirEntry[str]]) -> Self:
        """Return the rules that hold in a directory, which may add to those above it.

        A repository within a repository has rules of its own.
        """
        names = {entry.name for entry in entries}
        above = () if ".git" in names else self.files
        own = _read(directory) if _FILE in names else ()
        return type(self)((*above, *own))

    def match(self, path: str, *, is_folder: bool) -> bool:
        """Whether a file or directory is ignored; files in an ignored one are not asked about."""
        named = f"{path}/" if is_folder else path
        said = (rules.match(named) for rules in reversed(self.files))
        return next((ignores for ignores in said if ignores is not None), False)


def _read(directory: str) -> tuple[_Rules, ...]:
    """Return the rules of a directory's own file; none where it has no line, or cannot be read."""
    path = Path(directory, _FILE)
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return ()
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).removeprefix(codecs.BOM_UTF8)
    except OSError:
        return ()  # it is a file of the directory as well, and told of there
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of "[[:alpha:]]", from re
        rules = tuple(rule for line in lines if (rule := _rule(line)))
        return (_Rules(directory.rstrip("/"), rules, _any(rules)),) if rules else ()


def _rule(line: str) -> _Rule | None:
    """Return what a line means; null for a comment, and for what git passes over as well."""
    try:
        pattern = GitIgnoreSpecPattern(line)
    except (ValueError, re.error):
        return None
    if pattern.regex is None or pattern.include is None:
        return None
    return _Rule(pattern.regex, pattern.include)


def _any(rules: Iterable[_Rule]) -> re.Pattern[str]:
    patterns = (rule.pattern.pattern.replace(f"(?P<{_FOLDER}>", "(?:") for rule in rules)
    return re.compile("|".join(one if one[0] == "^" else f"(?s:.*){one}" for one in patterns))
