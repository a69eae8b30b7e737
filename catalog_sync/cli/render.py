"""How results look: tables on a terminal, plain aligned text in a pipe, JSON, CSV.

Nothing is ever cut: what does not fit a line of the terminal is folded.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from catalog_sync.clock import format_instant
from catalog_sync.errors import OutputError
from catalog_sync.rows import (
    DELIVERY_COLUMNS,
    EVENT_COLUMNS,
    MODEL_COLUMNS,
    csv_text,
    delivery_row,
    event_row,
    json_text,
    model_row,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from rich.console import Console

__all__ = [
    "DELIVERY_COLUMNS",
    "EVENT_COLUMNS",
    "MODEL_COLUMNS",
    "day",
    "delivery_row",
    "event_row",
    "instant",
    "model_row",
    "on_terminal",
    "visible",
    "write",
    "write_csv",
    "write_json",
    "write_table",
]

_LEAST_TEXT = 9
"""Columns of a terminal that folded text needs to be read."""


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def write(text: str) -> None:
    """Print to standard output; a reader who has seen enough changes nothing for us.

    Raises OutputError when it cannot be written for another reason.
    """
    try:
        print(text)  # noqa: T201
        sys.stdout.flush()
    except OSError as error:
        # What is printed from now on, at the interpreter's end too, goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OutputError(f"standard output cannot be written: {error.strerror}") from error


def visible(text: str) -> str:
    """Return text from outside with its control characters escaped: it may not move the cursor."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def instant(moment: datetime | None) -> str:
    """Return a time for people: theirs on a terminal, UTC elsewhere; at midnight UTC, the date."""
    if moment is None:
        return "-"
    if (moment.hour, moment.minute, moment.second, moment.microsecond) == (0, 0, 0, 0):
        return f"{moment:%Y-%m-%d}"
    return f"{moment.astimezone():%Y-%m-%d %H:%M}" if on_terminal() else format_instant(moment)


def day(moment: datetime | None) -> str:
    """Return a time as its day on a terminal, where room is scarce; elsewhere all of it."""
    if moment is None or not on_terminal():
        return instant(moment)
    return f"{moment.astimezone():%Y-%m-%d}"


# --- formats -----------------------------------------------------------------------------------


def write_json(value: Any) -> None:
    """Print one JSON value, escaped where the terminal knows less than Unicode."""
    unicode = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    write(json_text(value, ascii_only=not unicode))


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print a header line and a record per row; null is empty, objects are JSON."""
    write(csv_text(rows, columns).removesuffix("\n"))


def write_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Collection[str] = (),
    header: bool = True,
) -> None:
    """Print a table: with a header and fitted to its width on a terminal, else a row per line.

    `text` names the columns that may be folded there; an id or a time stands whole, to be copied.
    """
    if not rows:
        return
    rows = [[visible(cell) for cell in row] for row in rows]
    if on_terminal():
        _write_rich(columns, rows, text, header=header)
        return
    from rich.cells import cell_len  # noqa: PLC0415  # heavy; wide characters take two columns

    widths = [max(cell_len(row[i]) for row in rows) for i in range(len(columns))]
    lines = [
        "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    write("\n".join(lines))


def _write_rich(
    columns: Sequence[str], rows: Sequence[Sequence[str]], text: Collection[str], *, header: bool
) -> None:
    from rich.cells import cell_len  # noqa: PLC0415  # heavy
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    cells = [columns, *rows] if header else rows
    widths = [max(cell_len(row[i]) for row in cells) for i in range(len(columns))]
    least = sum(
        min(width, _LEAST_TEXT) if name in text else width
        for name, width in zip(columns, widths, strict=True)
    )
    if least + len(columns) - 1 > console.width:
        _write_records(console, columns, rows)
        return
    gap = 2 if sum(widths) + 2 * (len(columns) - 1) <= console.width else 1
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, show_header=header)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name not in text)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)


def _write_records(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print what no table has room for: a row's first cell, and the others below it by name."""
    from rich.cells import chop_cells  # noqa: PLC0415  # heavy

    label = max(len(name) for name in columns[1:]) + 4
    for row in rows:
        console.out(*chop_cells(row[0], console.width), sep="\n", style="bold")
        for name, cell in zip(columns[1:], row[1:], strict=True):
            first, *others = chop_cells(cell, max(console.width - label, 1)) or [""]
            console.out(f"  {name}".ljust(label) + first)
            for other in others:
                console.out(" " * label + other)
