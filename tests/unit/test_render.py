"""Results are written in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from catalog_sync.cli import render
from catalog_sync.queries import export

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 2500])
def test_batches_leave_no_seam(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows written in batches give the same text as rows written at once."""

    def some() -> Iterator[dict[str, Any]]:
        for n in range(number):
            yield {"id": n, "name": "two\nlines, 💡", "payload": {"a": [n, None]}}

    render.write_rows(some(), [], "json")
    assert capsys.readouterr().out == export.json_array(some()) + "\n"
    render.write_rows(some(), ["id", "name", "payload"], "csv")
    assert capsys.readouterr().out == export.csv_text(some(), ["id", "name", "payload"])
