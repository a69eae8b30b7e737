"""Helpers for text that people read: single lines, lengths of time, counts, Markdown escapes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from catalog_sync.clock import to_utc

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta


def age_text(length: timedelta) -> str:
    """Return a length of time in its largest unit: "45 min", "3 h", "2 days"."""
    seconds = abs(length).total_seconds()
    for unit, size in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < size:
            return f"{seconds:.0f} {unit}"
        seconds /= size if unit != "h" else 24
    return f"{seconds:.0f} days"


def since_text(at: datetime, now: datetime) -> str:
    """Return how long ago a time was, or that it is ahead of a clock that was set back."""
    return f"{age_text(now - at)} {'ago' if at <= now else 'ahead of the clock'}"


def distance_text(at: datetime, now: datetime, *, past: str = "ago") -> str:
    """Return the distance of a time in calendar days of UTC: "in 87 days", "421 days ago".

    `past`: the word for days that are over.
    """
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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known word that is most similar to `word`, or ""."""
    import difflib  # noqa: PLC0415  # only for typing errors

    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


_JOINERS = "\u200c\u200d\u200e\u200f"  # parts of emoji and of right-to-left words, not controls


def one_line(text: str, limit: int | None = 1000) -> str:
    """Return `text` without line breaks and control characters, cut to `limit` characters if any.

    Texts of servers and drivers are shown in a terminal, a log and a table. They must not move a
    cursor, forge a second line or fill a disk.
    """
    printable = "".join(c if c.isprintable() or c in _JOINERS else " " for c in text)
    joined = " ".join(printable.split())
    return joined if limit is None or len(joined) <= limit else joined[: limit - 1] + "…"


def escape_controls(text: str, keep: str = "") -> str:
    """Return text from outside with its invisible characters escaped, those of `keep` excepted.

    Control characters could move the cursor of a terminal or forge a line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)
