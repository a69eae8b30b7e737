"""Helpers for text that people read: single lines, durations, counts, suggestions, escapes."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from importlib.util import find_spec

from catalog_sync.clock import to_utc

_SUGGESTIONS = 3
"""How many ids are suggested for an unknown one."""


def install_command(package: str) -> str:
    """Return the command that installs a package beside this program, with or without pip there."""
    python = shlex.quote(sys.executable)
    if find_spec("pip") is None:  # as after `uv tool install`
        return f"uv pip install --python {python} '{package}'"
    return f"{python} -m pip install '{package}'"


def age_text(length: timedelta) -> str:
    """Return a duration in its largest unit: "45 min", "3 h", "2 days"."""
    seconds = abs(length).total_seconds()
    for unit, size in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < size:
            return f"{seconds:.0f} {unit}"
        seconds /= size if unit != "h" else 24
    return f"{seconds:.0f} days"


def since_text(at: datetime, now: datetime) -> str:
    """Return how long ago a time was; it is "ahead of the clock" if the clock was set back."""
    return f"{age_text(now - at)} {'ago' if at <= now else 'ahead of the clock'}"


def distance_text(at: datetime, now: datetime, *, past: str = "ago") -> str:
    """Return the distance to a time in calendar days (UTC): "in 87 days", "421 days ago"."""
    days = (to_utc(at).date() - to_utc(now).date()).days
    if days == 0:
        return "today"
    return f"in {count(days, 'day')}" if days > 0 else f"{count(-days, 'day')} {past}"


def count(number: int, noun: str) -> str:
    """Return a number and its noun: "1 day", "2 days"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def escaped(text: str) -> str:
    """Return text escaped for Markdown, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", one_line(text))


def did_you_mean(
    asked: str, known: Iterable[str], display_names: Mapping[str, str] | None = None
) -> str:
    """Return "did you mean X or Y?" with the closest names, or ""; see `closest`."""
    close = " or ".join(map(escape_controls, closest(asked, known, display_names)))
    return f"did you mean {close}?" if close else ""


def closest(
    asked: str,
    known: Iterable[str],
    display_names: Mapping[str, str] | None = None,
    *,
    likeness: float = 0.6,
) -> list[str]:
    """Return the names that the user may have meant, the most likely first.

    Of words, such as keys or commands, this is the one with the most similar spelling. Of model
    ids, these are at most three: those that differ only in case, date or vendor, or whose display
    name was given; if there are none, those with a similar spelling.

    `known` are ids if their `display_names` are given, and otherwise words. `likeness` is the
    required similarity, from 0 to 1.
    """
    wanted = asked.strip().casefold()
    shown: Mapping[str, str] = {}
    if display_names is not None:
        shown, wanted = display_names, wanted.removesuffix("-latest")
    limit = 1 if display_names is None else _SUGGESTIONS
    folded = {name: name.casefold() for name in known}
    meant = [n for n in folded if wanted in {folded[n], shown.get(n, n).casefold()}]
    if not meant and wanted and shown:
        meant = [n for n in folded if _part(wanted, folded[n]) or _part(folded[n], wanted)]
        meant.sort(key=lambda n: (not _dated(wanted, folded[n]), abs(len(n) - len(wanted))))
    if not meant:
        import difflib  # noqa: PLC0415  # only for typing errors

        exact = {text: name for name, text in folded.items()}
        alike = difflib.get_close_matches(wanted, exact, n=limit, cutoff=likeness)
        meant = [exact[text] for text in alike]
    return meant[:limit]


def _part(short: str, long: str) -> bool:
    """Whether one id consists of whole words of the other: opus-4 in opus-4-1, not in opus-45."""
    before, found, after = long.partition(short)
    return bool(found) and not (before[-1:].isalnum() or after[:1].isalnum())


def _dated(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return re.fullmatch(rf"{re.escape(short)}[-@]\d{{8}}", long) is not None


_JOINERS = "\u200c\u200d\u200e\u200f"  # parts of emoji and of right-to-left words, not controls


def one_line(text: str, limit: int | None = 1000) -> str:
    """Return `text` without line breaks and control characters, cut to `limit` characters if any.

    Texts of servers and drivers appear on terminals, in logs and in tables. They must not move the
    cursor, forge a second line or fill a disk.
    """
    printable = "".join(c if c.isprintable() or c in _JOINERS else " " for c in text)
    joined = " ".join(printable.split())
    return joined if limit is None or len(joined) <= limit else joined[: limit - 1] + "…"


def escape_controls(text: str, keep: str = "") -> str:
    """Return text with its unprintable characters escaped, except those in `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)
