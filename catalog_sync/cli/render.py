"""How results look: tables on a terminal, plain aligned text in a pipe, JSON, CSV.

Nothing is ever cut: what does not fit a line of the terminal is folded.
"""

from __future__ import annotations

import os
import sys
from datetime import time
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

from catalog_sync.clock import format_instant
from catalog_sync.errors import OutputError
from catalog_sync.queries.export import (
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    MODEL_COLUMNS,
    csv_text,
    delivery_row,
    event_row,
    json_array,
    json_text,
    model_row,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.console import Console

__all__ = [
    "DELIVERY_COLUMNS",
    "EVENT_COLUMNS",
    "MODEL_COLUMNS",
    "date",
    "day",
    "delivery_row",
    "event_row",
    "instant",
    "model_row",
    "on_terminal",
    "visible",
    "write",
    "write_csv",
    "write_facts",
    "write_json",
    "write_json_rows",
    "write_table",
]

T = TypeVar("T")

_MIDNIGHT = time(0)
_LEAST_TEXT = 9
"""Columns of a terminal that folded text needs to be read."""
_BATCH = 1000
"""Rows that are written at once while a long history is read."""


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def write(text: str, end: str = "\n") -> bool:
    """Print to standard output; false when its reader has seen enough, which is no error.

    Raises OutputError when it cannot be written for another reason.
    """
    try:
        print(text, end=end)  # noqa: T201
        sys.stdout.flush()
    except OSError as error:
        # What is printed from now on, at the interpreter's end too, goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"standard output cannot be written: {error.strerror}") from error
        return False
    return True


def visible(text: str) -> str:
    """Return text from outside with its control characters escaped: it may not move the cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def instant(moment: datetime | None) -> str:
    """Return a time for people: in their zone on a terminal, in UTC elsewhere."""
    if moment is None:
        return "-"
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if on_terminal() else format_instant(moment)


def date(moment: datetime | None) -> str:
    """Return a time of the API for people: at midnight UTC, which means no hour, its date."""
    if moment is None or moment.time() != _MIDNIGHT:
        return instant(moment)
    return f"{moment:%Y-%m-%d}"


def day(moment: datetime | None) -> str:
    """Return a time as its day on a terminal, where room is scarce; elsewhere all of it."""
    if moment is None or not on_terminal():
        return instant(moment)
    return f"{moment.astimezone():%Y-%m-%d}"


# --- formats -----------------------------------------------------------------------------------


def write_json(value: Any) -> None:
    """Print one JSON value, escaped where the terminal knows less than Unicode."""
    write(json_text(value, ascii_only=not _unicode()))


def write_json_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print an array as `json_array` writes it, as the rows come."""
    opened = False
    for batch in _batches(rows):
        lines = json_array(batch, ascii_only=not _unicode())[1:-2]
        if not write(f"{',' if opened else '['}{lines}", end=""):
            return
        opened = True
    write("\n]" if opened else "[]")


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print a header line and a record per row, as the rows come."""
    write(csv_text([], columns), end="")
    for batch in _batches(rows):
        _, _, records = csv_text(batch, columns).partition("\n")
        if not write(records, end=""):
            return


def _unicode() -> bool:
    return sys.stdout.encoding.lower().replace("-", "") == "utf8"


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def write_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Collection[str] = (),
    spare: Collection[str] = (),
    header: bool = True,
) -> None:
    """Print a table: with a header and fitted to its width on a terminal, else a row per line.

    `text` names the columns that may be folded there; an id or a time stands whole, to be copied.
    `spare` names those that are left out first, where that lets a row stand on one line.
    """
    if not rows:
        return
    rows = [[visible(cell) for cell in row] for row in rows]
    if on_terminal():
        _write_fitted(columns, rows, text, spare, header=header)
    else:
        write("\n".join(_aligned(rows)))


def write_facts(facts: Mapping[str, str]) -> None:
    """Print names and values, one below the other; text is folded at blanks on a terminal.

    A word that does not fit beside the names, such as an id, stands below its own.
    """
    facts = {name: visible(value) for name, value in facts.items()}
    if not on_terminal():
        write("\n".join(_aligned(list(facts.items()))))
        return
    from rich.cells import cell_len  # noqa: PLC0415  # heavy

    columns = _console().width
    indent = max(map(len, facts)) + 2
    lines = []
    for name, value in facts.items():
        if max(map(cell_len, value.split(" "))) > columns - indent:
            lines += [name, *("  " + part for part in _folded(value, columns - 2))]
        else:
            first, *others = _folded(value, columns - indent)
            lines += [name.ljust(indent) + first, *(" " * indent + other for other in others)]
    write("\n".join(lines))


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415  # heavy

    return Console(highlight=False)


def _aligned(rows: Sequence[Sequence[str]], gap: int = 2) -> list[str]:
    from rich.cells import cell_len  # noqa: PLC0415  # heavy; wide characters take two columns

    lengths = [[cell_len(cell) for cell in row] for row in rows]
    widths = [max(column) for column in zip(*lengths, strict=True)]
    return [
        "".join(
            cell + " " * (width - length + gap)
            for cell, length, width in zip(row, taken, widths, strict=True)
        ).rstrip()
        for row, taken in zip(rows, lengths, strict=True)
    ]


def _write_fitted(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    text: Collection[str],
    spare: Collection[str],
    *,
    header: bool,
) -> None:
    from rich.cells import cell_len  # noqa: PLC0415  # heavy

    console = _console()
    cells = [columns, *rows] if header else rows
    widths = {name: max(cell_len(row[i]) for row in cells) for i, name in enumerate(columns)}
    kept = [name for name in columns if name not in spare]
    for name in spare:
        whole = [each for each in columns if each in kept or each == name]
        if sum(widths[each] + 1 for each in whole) - 1 <= console.width:
            kept = whole
    room = console.width - sum(widths[name] + 1 for name in kept if name not in text) + 1
    folded = [name for name in kept if name in text]
    least = sum(min(widths[name], _LEAST_TEXT) + 1 for name in folded)
    if least > room:
        _write_records(console, columns, rows)
        return
    gap = 2 if sum(widths[name] + 2 for name in kept) - 2 <= console.width else 1
    for name in folded:
        widths[name] = min(widths[name], room // len(folded) - 1)
    positions = [columns.index(name) for name in kept]
    lines: list[Sequence[str]] = []
    for row in cells:
        parts = [_folded(row[i], widths[columns[i]]) for i in positions]
        lines += zip_longest(*parts, fillvalue="")
    told = _aligned(lines, gap)
    if header:
        console.out(told.pop(0), style="bold")
    write("\n".join(told))


def _folded(text: str, width: int) -> list[str]:
    """Return the lines of a text, folded at blanks; a word that is longer than a line is cut up."""
    from rich.cells import cell_len, chop_cells  # noqa: PLC0415  # heavy

    width = max(width, 2)  # the widest character there is
    if cell_len(text) <= width:
        return [text]
    lines, line = [], ""
    for number, word in enumerate(text.split(" ")):
        longer = f"{line} {word}" if number else word
        if cell_len(longer) <= width:
            line = longer
            continue
        if line.strip():
            lines.append(line.rstrip())
        *full, line = chop_cells(word, width) or [""]
        lines += full
    return [*lines, line.rstrip()]


def _write_records(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print what no table has room for: a row's first cell, and the others below it by name."""
    label = max(len(name) for name in columns[1:]) + 4
    for row in rows:
        console.out(*_folded(row[0], console.width), sep="\n", style="bold")
        lines: list[str] = []
        for name, cell in zip(columns[1:], row[1:], strict=True):
            first, *others = _folded(cell, console.width - label)
            lines += [f"  {name}".ljust(label) + first, *(" " * label + other for other in others)]
        write("\n".join(lines))
