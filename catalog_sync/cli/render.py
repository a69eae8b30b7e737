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
from datetime import time
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from catalog_sync.clock import format_time
from catalog_sync.errors import OutputError
from catalog_sync.text import escape_controls

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.console import RenderableType
    from rich.text import Text

T = TypeVar("T")

_MIDNIGHT = time(0)
_NARROWEST = 9
"""The smallest number of columns in which folded text is readable."""
_BATCH = 1000
"""Rows that are written at once."""
_STYLES = {
    **dict.fromkeys(("deprecated", "retiring", "held", "stale"), "yellow"),
    **dict.fromkeys(("retired", "removed", "overdue", "failed", "never synced"), "red"),
}
"""Colours of words, on a terminal only."""


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def write(text: str, end: str = "\n") -> bool:
    """Print to standard output, and flush it. Returns False if its reader has closed it.

    Raises OutputError if it cannot be written for another reason.
    """
    try:
        if text or end:  # on a full disk, even printing nothing fails
            print(text, end=end)  # noqa: T201
        sys.stdout.flush()
    except OSError as error:
        # Discard the rest of the output, including what the interpreter flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"standard output cannot be written: {error.strerror}") from error
        return False
    return True


def note(text: str) -> None:
    """Print a note on standard error."""
    print(escape_controls(text), file=sys.stderr)  # noqa: T201


def local_time(at: datetime | None) -> str:
    """Return a time as text: in the local zone on a terminal, in UTC elsewhere."""
    if at is None:
        return "-"
    return (
        f"{at.astimezone():%Y-%m-%d %H:%M}"
        if on_terminal()
        else format_time(at.replace(microsecond=0))
    )


def date(at: datetime | None) -> str:
    """Return a time of the API as text. Midnight UTC is shown as a date."""
    return local_time(at) if at is None or at.time() != _MIDNIGHT else f"{at:%Y-%m-%d}"


def day(at: datetime | None) -> str:
    """Return the day of a time on a terminal, which is narrow; elsewhere the whole time."""
    return local_time(at)[:10] if on_terminal() else local_time(at)


# --- formats -----------------------------------------------------------------------------------


def write_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], format_: str) -> None:
    """Print rows with every column, as "json" or "csv", in batches."""
    from catalog_sync.queries.export import csv_text, json_array

    if format_ == "csv":
        write(csv_text([], columns), end="")
        for batch in _batches(rows):
            if on_terminal():
                batch = [  # noqa: PLW2901
                    {k: escape_controls(v) if isinstance(v, str) else v for k, v in row.items()}
                    for row in batch
                ]
            records = csv_text(batch, columns).partition("\n")[2]
            # Escaped again: objects have become JSON text.
            if not write(escape_controls(records, "\n") if on_terminal() else records, end=""):
                return
        return
    before = "["
    for batch in _batches(rows):
        lines = json_array(batch, ascii_only=not _unicode())[1:-2]
        if not write(before + _harmless_json(lines), end=""):
            return
        before = ","
    write("[]" if before == "[" else "\n]")


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


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


# --- tables ------------------------------------------------------------------------------------


def write_table(
    table: Sequence[Mapping[str, str]],
    *,
    text: Collection[str] = (),
    spare: Sequence[str] = (),
    without: Collection[str] = (),
    header: bool = True,
    plain: bool = False,
) -> None:
    """Print a table that fits the width of a terminal; elsewhere one line per row.

    Args:
        table: The cells of each row by column.
        text: Columns that may be folded. Ids and times are never folded, so they can be copied.
        spare: Columns that may be left out to keep a row on one line, the last one first.
        without: Columns that are not printed.
        header: Whether to print the names of the columns.
        plain: Whether to print one line per row on a terminal too.
    """
    if not table:
        return
    columns = [name for name in table[0] if name not in without]
    rows = [[escape_controls(row[name]) for name in columns] for row in table]
    cells = [columns, *rows] if header else rows
    if plain or not on_terminal():
        write("\n".join(_aligned(cells)))
        return
    widths = (max(map(_cells, column)) for column in zip(*cells, strict=True))
    needed = dict(zip(columns, widths, strict=True))
    least = needed | {name: min(needed[name], _NARROWEST) for name in text}

    def fits(shown: Sequence[str], sizes: Mapping[str, int], gap: int) -> bool:
        return sum(sizes[name] + gap for name in shown) - gap <= width()

    choices = [
        [name for name in columns if name not in spare[kept:]] for kept in range(len(spare), -1, -1)
    ]
    shown = next((each for each in choices if fits(each, needed, 1)), choices[-1])
    if not fits(shown, least, 1):
        for row in rows:
            write_facts(dict(zip(columns[1:], row[1:], strict=True)), title=row[0])
        return
    from rich.table import Table

    gap = 2 if fits(shown, needed, 2) else 1
    grid = Table(
        box=None, show_header=header, header_style="bold", pad_edge=False, padding=(0, gap, 0, 0)
    )
    for name in shown:
        grid.add_column(name, no_wrap=name not in text, overflow="fold")
    positions = [columns.index(name) for name in shown]
    for row in rows:
        grid.add_row(*(_styled(row[i], columns[i]) for i in positions))
    _print(grid)


def write_facts(facts: Mapping[str, str], *, title: str = "") -> None:
    """Print names and values, one pair per line, folded at spaces on a terminal.

    A value with a word that does not fit beside the names is printed below its name.
    """
    facts = {name: escape_controls(value) for name, value in facts.items()}
    if not on_terminal():
        write("\n".join(_aligned(list(facts.items()))))
        return
    from rich.table import Table
    from rich.text import Text

    left = 2 if title else 0
    indent = max(map(len, facts), default=0) + 2 + left
    if title:
        _print(Text(title, style="bold", overflow="fold"))
    for name, value in facts.items():
        label, beside = Text(" " * left + name), indent
        if max(map(_cells, value.split(" "))) > width() - indent:
            _print(label)
            label, beside = Text(), left + 2
        grid = Table.grid()
        grid.add_column(width=beside)
        grid.add_column(overflow="fold")
        grid.add_row(label, _styled(value, name))
        _print(grid)


def _styled(cell: str, column: str = "") -> Text:
    """Return a cell as text without markup, coloured by its word."""
    from rich.text import Text

    style = "red" if column == "removed" and cell != "-" else _STYLES.get(cell, "")
    return Text(cell, style=style, overflow="fold")


def _print(renderable: RenderableType) -> None:
    """Print rich's layout without trailing spaces."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, width=width())
    with console.capture() as captured:
        console.print(renderable)
    write("\n".join(line.rstrip() for line in captured.get().splitlines()))


def width() -> int:
    """Return the width of the terminal. COLUMNS=0 is ignored."""
    return max(shutil.get_terminal_size().columns, 2)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(_cells, column)) + 2 for column in zip(*rows, strict=True)]
    return [
        "".join(
            cell + " " * (width - _cells(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _cells(text: str) -> int:
    """Return the width of a text: two columns per wide character, none per combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
