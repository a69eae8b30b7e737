"""The layout of results: tables that fit a terminal, aligned lines in a pipe, JSON and CSV.

Nothing is cut: text that is too wide for the terminal is folded. In foreign text, control
characters are escaped, and nothing is markup.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import unicodedata
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, time
from itertools import accumulate, zip_longest
from typing import Any

from catalog_sync.clock import format_time
from catalog_sync.errors import OutputError
from catalog_sync.text import escape_controls

_MIDNIGHT = time(0)
_WORD = 26
"""Words of this width, such as ids, are not torn to fit a table into the terminal."""
_RED, _YELLOW = "31", "33"
_COLOURS = {
    **dict.fromkeys(("deprecated", "retiring", "held", "stale"), _YELLOW),
    **dict.fromkeys(("retired", "removed", "overdue", "failed", "never synced"), _RED),
}
"""Colours of words, on a terminal only."""


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def write(text: str) -> None:
    """Print a text and a line end; see `write_all`."""
    write_all([text, "\n"])


def write_all(texts: Iterable[str]) -> None:
    """Print texts to standard output and flush it, until its reader closes it.

    Raises OutputError if it cannot be written for another reason.
    """
    try:
        for text in texts:
            sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Discard the rest of the output, including what the interpreter flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def note(text: str) -> None:
    """Print a note on standard error, if that can be written."""
    with suppress(OSError):
        print(escape_controls(text), file=sys.stderr)  # noqa: T201


def local_time(at: datetime | None) -> str:
    """Return a time as text: in the local zone on a terminal, in UTC elsewhere."""
    if at is None:
        return "-"
    if not on_terminal():
        return format_time(at.replace(microsecond=0))
    with suppress(OverflowError):  # "never" as 9999-12-31T23:59:59Z stays in UTC
        at = at.astimezone()
    return f"{at:%Y-%m-%d %H:%M}"


def date(at: datetime | None) -> str:
    """Return a time of the API as text. Midnight UTC is shown as a date."""
    return local_time(at) if at is None or at.time() != _MIDNIGHT else f"{at:%Y-%m-%d}"


def day(at: datetime | None) -> str:
    """Return the day of a time on a terminal, which is narrow; elsewhere the whole time."""
    return local_time(at)[:10] if on_terminal() else local_time(at)


# --- formats -----------------------------------------------------------------------------------


def write_rows(
    format_: str | None,
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    table: Iterable[Mapping[str, str | None]] = (),
    **layout: Any,
) -> None:
    """Print rows in the format that the user chose: every column as data, or a table for people.

    Args:
        format_: "json", "csv", "table", or None for a table that fits the terminal.
        rows: The rows for JSON and CSV.
        columns: The names of their columns.
        table: The rows for people.
        layout: Arguments of `write_table`.
    """
    from catalog_sync.queries.export import csv_lines, json_lines

    if format_ == "csv":
        lines = csv_lines(rows, columns)
        write_all(escape_controls(each, "\n") if on_terminal() else each for each in lines)
    elif format_ == "json":
        write_all(map(_harmless_json, json_lines(rows, ascii_only=not _unicode())))
    else:
        write_table(table, plain=format_ == "table", **layout)


def write_json(value: Any) -> None:
    """Print one JSON value, escaped if the encoding of the output is not UTF-8."""
    from catalog_sync.queries.export import json_text

    write(_harmless_json(json_text(value, ascii_only=not _unicode())))


def _harmless_json(text: str) -> str:
    r"""Escape control characters of JSON as `\u…` on a terminal. In a pipe JSON stays unchanged."""
    if not on_terminal():
        return text
    return re.sub(
        r"[^\n -~]", lambda c: c[0] if c[0].isprintable() else json.dumps(c[0])[1:-1], text
    )


def _unicode() -> bool:
    return sys.stdout.encoding.lower().replace("-", "") == "utf8"


# --- tables ------------------------------------------------------------------------------------


def width() -> int:
    """Return the width of the terminal; elsewhere lines have any length. COLUMNS=0 is ignored."""
    return max(shutil.get_terminal_size().columns, 2) if on_terminal() else sys.maxsize


def write_table(
    table: Iterable[Mapping[str, str | None]],
    *,
    text: str,
    spare: Sequence[str] = (),
    header: bool = True,
    plain: bool = False,
) -> None:
    """Print a table that fits the width of a terminal; elsewhere one line per row.

    A row that does not fit a narrow terminal becomes a line per cell.

    Args:
        table: The cells of each row by column.
        text: The column that may be folded. Ids and times are never folded, so they can be copied.
        spare: Columns that may be left out to keep a row on one line, the last one first.
        header: Whether to print the names of the columns.
        plain: Whether to print one line per row on a terminal too.
    """
    rows = [{name: escape_controls(cell or "-") for name, cell in row.items()} for row in table]
    if not rows:
        return
    titles = {name: name for name in rows[0]}
    every = [titles, *rows] if header else rows
    widths = {name: max(_width(row[name]) for row in every) for name in titles}

    def excess(gap: int) -> int:
        limit = sys.maxsize if plain else width()
        return sum(widths.values()) + gap * (len(widths) - 1) - limit

    for name in reversed(spare):
        if excess(1) > 0:
            del widths[name]
    gap = 1 if excess(2) > 0 else 2
    if (over := excess(gap)) > 0:
        words = (word for row in rows for word in row[text].split(" "))
        if widths[text] - over < min(max(map(_width, words)), _WORD):
            for row in rows:
                first, *others = row
                write_facts({name: row[name] for name in others}, title=row[first])
            return
        widths[text] -= over
    lines = []
    for row in every:
        style = _bold if row is titles else _coloured
        folded = (_fold(row[name], size) for name, size in widths.items())
        for parts in zip_longest(*folded, fillvalue=""):
            cells = (
                style(part, name) + " " * (size - _width(part))
                for part, (name, size) in zip(parts, widths.items(), strict=True)
            )
            lines.append((" " * gap).join(cells).rstrip())
    write("\n".join(lines))


def write_facts(facts: Mapping[str, str], *, title: str = "") -> None:
    """Print names and values, one pair per line, folded at spaces on a terminal.

    A value with a word that does not fit beside the names is printed below its name.
    """
    left = 2 if title else 0
    lines = [_bold(part) for part in _fold(title, width())] if title else []
    for name, text in facts.items():
        value, label = escape_controls(text), " " * left + name
        indent = max(map(len, facts)) + 2 + left
        if max(map(_width, value.split(" "))) > width() - indent:
            lines.append(label)
            label, indent = "", left + 2
        for part in _fold(value, width() - indent):
            lines.append(label.ljust(indent) + _coloured(part, name))
            label = ""
    write("\n".join(lines))


def _bold(text: str, _column: str = "") -> str:
    return _styled(text, "1")


def _coloured(text: str, column: str) -> str:
    """Return text in the colour of its meaning, if it has one."""
    return _styled(text, _RED if column == "removed" and text != "-" else _COLOURS.get(text, ""))


def _styled(text: str, code: str) -> str:
    plain = not code or not on_terminal() or os.environ.get("TERM") == "dumb"
    return text if plain or os.environ.get("NO_COLOR") else f"\x1b[{code}m{text}\x1b[0m"


def _fold(text: str, width: int) -> list[str]:
    """Fold a text at spaces, and a word that is wider than a line anywhere."""
    lines = []
    while _width(text) > width:
        fits = max(bisect(list(accumulate(map(_width, text[:width]))), width), 1)
        space = text.rfind(" ", 1, fits + 1)
        end = space if space > 0 else fits
        lines.append(text[:end])
        text = text[end:].removeprefix(" ")
    return [*lines, text]


def _width(text: str) -> int:
    """Return the width of a text: two columns per wide character, none per combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
