"""Rows of the tables as JSON and CSV, with every column in the order of the table.

Commands print these rows, and the published site contains them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

from catalog_sync.clock import format_time
from catalog_sync.domain.model import Event, ModelInfo, ModelRecord

if TYPE_CHECKING:
    from catalog_sync.db.outbox import Delivery


def capabilities(payload: Mapping[str, Any]) -> list[str]:
    """Return the paths of the capabilities that a model supports, such as "effort.high"."""
    stated = payload.get("capabilities")
    return list(_supported(stated, "")) if isinstance(stated, Mapping) else []


def capabilities_text(payload: Mapping[str, Any]) -> str:
    """Return the capabilities of a model as text, "batch, effort (high, low)", or "-"."""
    groups: dict[str, list[str]] = {}
    for path in capabilities(payload):
        name, _, part = path.partition(".")
        if part and name in groups:  # a part may be supported without its group
            groups[name].append(part.removeprefix("types."))
        else:
            groups[path] = []
    texts = (f"{name} ({', '.join(parts)})" if parts else name for name, parts in groups.items())
    return ", ".join(texts) or "-"


def _supported(node: Mapping[str, Any], path: str) -> list[str]:
    found = [path] if path and node.get("supported") is True else []
    for key, value in node.items():
        if isinstance(value, Mapping):
            found += _supported(value, f"{path}.{key}" if path else key)
    return found


_INFO_FIELDS = tuple(ModelInfo.__dataclass_fields__)
_EVENT_FIELDS = ("source", "kind", "model_id")
MODEL_COLUMNS = (
    "source", *_INFO_FIELDS, "first_seen_at", "last_seen_at", "missing_since", "removed_at",
)  # fmt: skip
EVENT_COLUMNS = (
    "id", "run_id", "source", "model_id", "kind", "occurred_at", "changes", "payload", "baseline",
)  # fmt: skip
DELIVERY_COLUMNS = (
    "id", "event_id", "channel", "status", "attempts", "next_attempt_at", "delivered_at",
    "last_error", *_EVENT_FIELDS,
)  # fmt: skip


def model_row(record: ModelRecord) -> dict[str, Any]:
    """Return a model with the columns of the table `models`; times are RFC 3339."""
    return row(MODEL_COLUMNS, record, **{name: getattr(record.info, name) for name in _INFO_FIELDS})


def event_row(event: Event) -> dict[str, Any]:
    """Return an event with the columns of the table `model_events`."""
    return row(EVENT_COLUMNS, event, kind=event.kind.value)


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery with the columns of `alert_deliveries`, and some of its event's."""
    about = {name: getattr(delivery.event, name) for name in _EVENT_FIELDS}
    return row(DELIVERY_COLUMNS, delivery, event_id=delivery.event.id, **about)


def row(columns: Sequence[str], value: object, **known: Any) -> dict[str, Any]:
    """Return the `known` values, or the attributes of `value`, by column; times are RFC 3339."""
    cells = {name: known[name] if name in known else getattr(value, name) for name in columns}
    return {
        key: format_time(cell) if isinstance(cell, datetime) else cell
        for key, cell in cells.items()
    }


def json_text(value: Any, *, ascii_only: bool = False) -> str:
    """Encode a value as indented JSON; `ascii_only` escapes all other characters."""
    return json.dumps(value, ensure_ascii=ascii_only, indent=2)


def json_lines(rows: Iterable[Mapping[str, Any]], *, ascii_only: bool = False) -> Iterator[str]:
    """Yield the text of an array with one object per line; `ascii_only` as in `json_text`."""
    before = "[\n"
    for row in rows:
        yield before + json.dumps(row, ensure_ascii=ascii_only)
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def csv_lines(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    """Yield a header line and a record per row; None is empty, objects are JSON."""
    for cells in chain([columns], ([_cell(row[name]) for name in columns] for row in rows)):
        line = io.StringIO()
        csv.writer(line).writerow(cells)  # Python before 3.13 quotes only its own line end, \r\n
        yield line.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, (Mapping, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value
