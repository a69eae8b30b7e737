"""The layout of results: tables that fit a terminal, aligned lines in a pipe, JSON and CSV.

Nothing is cut: text that does not fit a line of the terminal is folded. Control characters of
foreign text are escaped, and foreign text is never read as markup.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import unicodedata
from datetime import time
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from catalog_sync.clock import format_instant
from catalog_sync.errors import OutputError
from catalog_sync.queries.export import csv_text, json_array, json_text
from catalog_sync.text import escape_controls

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.console import Console
    from rich.text import Text

T = TypeVar("T")

_MIDNIGHT = time(0)
_NARROWEST = 9
"""The smallest number of columns in which folded text is readable."""
_BATCH = 1000
"""Rows that are written at once while a long history is read."""
_STYLES = {
    "deprecated": "yellow",
    "retiring": "yellow",
    "held": "yellow",
    "stale": "yellow",
    "retired": "red",
    "removed": "red",
    "failed": "red",
    "never synced": "red",
}
"""Colours of words, on a terminal only."""


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def write(text: str, end: str = "\n") -> bool:
    """Print to standard output. Return False if its reader has closed it, which is no error.

    Raises:
        OutputError: It cannot be written for another reason.
    """
    try:
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
    """Print a remark for people on standard error."""
    print(escape_controls(text), file=sys.stderr)  # noqa: T201


def instant(at: datetime | None) -> str:
    """Return a time for people: in their zone on a terminal, in UTC elsewhere."""
    if at is None:
        return "-"
    return f"{at.astimezone():%Y-%m-%d %H:%M}" if on_terminal() else format_instant(at)


def date(at: datetime | None) -> str:
    """Return a time of the API for people. Midnight UTC is shown as a date alone."""
    if at is None or at.time() != _MIDNIGHT:
        return instant(at)
    return f"{at:%Y-%m-%d}"


def day(at: datetime | None) -> str:
    """Return only the day of a time on a terminal, which is narrow; elsewhere the whole time."""
    if at is None or not on_terminal():
        return instant(at)
    return f"{at.astimezone():%Y-%m-%d}"


# --- formats -----------------------------------------------------------------------------------


def write_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], format_: str) -> None:
    """Print rows with every column, as "json" or "csv"."""
    if format_ == "json":
        write_json_rows(rows)
    else:
        write_csv(rows, columns)


def write_json(value: Any) -> None:
    """Print one JSON value, escaped where the terminal's encoding is smaller than Unicode."""
    write(_harmless_json(json_text(value, ascii_only=not _unicode())))


def write_json_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print an array in the format of `json_array`, row by row."""
    opened = False
    for batch in _batches(rows):
        lines = json_array(batch, ascii_only=not _unicode())[1:-2]
        if not write(f"{',' if opened else '['}{_harmless_json(lines)}", end=""):
            return
        opened = True
    write("\n]" if opened else "[]")


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print a header line and a record per row, row by row."""
    write(csv_text([], columns), end="")
    for batch in _batches(rows):
        if on_terminal():
            batch = [  # noqa: PLW2901
                {key: escape_controls(v) if isinstance(v, str) else v for key, v in row.items()}
                for row in batch
            ]
        _, _, records = csv_text(batch, columns).partition("\n")
        if on_terminal():  # objects are JSON text here
            records = "\n".join(map(escape_controls, records.split("\n")))
        if not write(records, end=""):
            return


def _harmless_json(text: str) -> str:
    r"""Escape control characters of JSON as `\u…` on a terminal. In a pipe JSON stays unchanged."""
    if not on_terminal() or text.replace("\n", "").isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _json_escape(c) for c in text)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return re.sub("(.{4})", r"\\u\1", units)


def _unicode() -> bool:
    return sys.stdout.encoding.lower().replace("-", "") == "utf8"


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


# --- tables ------------------------------------------------------------------------------------


def write_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Collection[str] = (),
    spare: Collection[str] = (),
    header: bool = True,
    plain: bool = False,
) -> None:
    """Print a table that is fitted to the width of a terminal; elsewhere one line per row.

    Args:
        columns: The names of the columns.
        rows: The cells, as text.
        text: Columns that may be folded; an id or a time stands whole, to be copied.
        spare: Columns that are left out first to keep a row on one line.
        header: Whether the names of the columns are printed.
        plain: One line per row on a terminal too.
    """
    if not rows:
        return
    rows = [[escape_controls(cell) for cell in row] for row in rows]
    if plain or not on_terminal():
        write("\n".join(_aligned([columns, *rows] if header else rows)))
        return
    width = _width()
    cells = [columns, *rows] if header else rows
    needed = {name: max(_cells(row[i]) for row in cells) + 1 for i, name in enumerate(columns)}
    shown = [name for name in columns if name not in spare]
    for name in spare:
        more = [each for each in columns if each in shown or each == name]
        if sum(needed[each] for each in more) - 1 <= width:
            shown = more
    least = (min(needed[each], _NARROWEST + 1) if each in text else needed[each] for each in shown)
    if sum(least) - 1 > width:
        for row in rows:
            write_facts(dict(zip(columns[1:], row[1:], strict=True)), title=row[0])
        return
    gap = 2 if sum(needed[each] + 1 for each in shown) - 2 <= width else 1
    from rich.table import Table  # noqa: PLC0415  # heavy; on a terminal only

    table = Table(
        box=None, show_header=header, header_style="bold", pad_edge=False, padding=(0, gap, 0, 0)
    )
    for name in shown:
        table.add_column(_styled(name), no_wrap=name not in text, overflow="fold")
    positions = [columns.index(name) for name in shown]
    for row in rows:
        table.add_row(*(_styled(row[i], columns[i]) for i in positions))
    _print(table)


def write_facts(facts: Mapping[str, str], *, title: str = "") -> None:
    """Print names and values, one pair per line, folded at blanks on a terminal.

    A value with a word that does not fit beside the names is printed below its name.
    """
    facts = {name: escape_controls(value) for name, value in facts.items()}
    if not on_terminal():
        write("\n".join(_aligned(list(facts.items()))))
        return
    from rich.padding import Padding  # noqa: PLC0415  # heavy; on a terminal only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    left = 2 if title else 0
    indent = max(map(len, facts), default=0) + 2 + left
    if title:
        _print(Text(title, style="bold", overflow="fold"))
    for name, value in facts.items():
        if max(map(_cells, value.split(" "))) > _width() - indent:
            _print(Padding(Text(name), (0, 0, 0, left)))
            _print(Padding(Text(value, overflow="fold"), (0, 0, 0, left + 2)))
            continue
        grid = Table.grid(padding=0)
        grid.add_column(width=indent)
        grid.add_column(overflow="fold")
        grid.add_row(Text(" " * left + name), _styled(value, name))
        _print(grid)


def _styled(cell: str, column: str = "") -> Text:
    """Return a cell as text without markup, coloured by its word."""
    from rich.text import Text  # noqa: PLC0415  # heavy; on a terminal only

    style = "red" if column == "removed" and cell != "-" else _STYLES.get(cell, "")
    return Text(cell, style=style, overflow="fold")


def _print(renderable: Any) -> None:
    console = _console()
    with console.capture() as captured:
        console.print(renderable)
    write("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415  # heavy; on a terminal only

    return Console(highlight=False, markup=False, emoji=False, width=_width())


def _width() -> int:
    """Return the columns of the terminal. COLUMNS=0 is ignored."""
    return max(shutil.get_terminal_size().columns, 2)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line per row, with the columns aligned."""
    lengths = [[_cells(cell) for cell in row] for row in rows]
    widths = [max(column) + 2 for column in zip(*lengths, strict=True)]
    return [
        "".join(
            cell + " " * (width - length)
            for cell, length, width in zip(row, taken, widths, strict=True)
        ).rstrip()
        for row, taken in zip(rows, lengths, strict=True)
    ]


def _cells(text: str) -> int:
    """Return the number of columns of a text: two per wide character, none per combining one."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )
