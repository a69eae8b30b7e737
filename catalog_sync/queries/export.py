"""How the rows of the tables are told in JSON and CSV: the columns, in their order, whole.

Pure: the same for what a command prints and for what a site holds.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from catalog_sync.clock import format_instant
from catalog_sync.domain.model import Event, ModelInfo, ModelRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from catalog_sync.db.outbox import Delivery


def capabilities(payload: Mapping[str, Any]) -> list[str]:
    """Return the paths of what a model supports, such as "effort.high"; empty when unsaid."""
    stated = payload.get("capabilities")
    return list(_supported(stated, "")) if isinstance(stated, Mapping) else []


def capabilities_text(payload: Mapping[str, Any]) -> str:
    """Return what a model supports as a list to read: "batch, effort (high, low)"; "-" if none."""
    groups: dict[str, list[str]] = {}
    for path in capabilities(payload):
        name, _, part = path.partition(".")
        if part and name in groups:  # "thinking.types.disabled" says nothing of "thinking"
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


DELIVERY_COLUMNS = (
    "id",
    "event_id",
    "channel",
    "status",
    "attempts",
    "next_attempt_at",
    "delivered_at",
    "last_error",
    "source",
    "kind",
    "model_id",
)
EVENT_COLUMNS = (
    "id",
    "run_id",
    "source",
    "model_id",
    "kind",
    "occurred_at",
    "changes",
    "payload",
)
MODEL_COLUMNS = (
    "source",
    *ModelInfo.model_fields,
    "first_seen_at",
    "last_seen_at",
    "missing_since",
    "removed_at",
)


def model_row(record: ModelRecord) -> dict[str, Any]:
    """Return a model as the table `models` holds it, columns in its order, times as RFC 3339."""
    info = {name: getattr(record.info, name) for name in ModelInfo.model_fields}
    return _jsonable(
        {
            "source": record.source,
            **info,
            "first_seen_at": record.first_seen_at,
            "last_seen_at": record.last_seen_at,
            "missing_since": record.missing_since,
            "removed_at": record.removed_at,
        }
    )


def event_row(event: Event) -> dict[str, Any]:
    """Return an event as the table `model_events` holds it."""
    return _jsonable(
        {
            "id": event.id,
            "run_id": event.run_id,
            "source": event.source,
            "model_id": event.model_id,
            "kind": event.kind.value,
            "occurred_at": event.occurred_at,
            "changes": event.changes,
            "payload": event.payload,
        }
    )


def delivery_row(delivery: Delivery) -> dict[str, Any]:
    """Return a delivery as the table `alert_deliveries` holds it, with what it is about."""
    return _jsonable(
        {
            "id": delivery.id,
            "event_id": delivery.event.id,
            "channel": delivery.channel,
            "status": delivery.status,
            "attempts": delivery.attempts,
            "next_attempt_at": delivery.next_attempt_at,
            "delivered_at": delivery.delivered_at,
            "last_error": delivery.last_error,
            "source": delivery.event.source,
            "kind": delivery.event.kind.value,
            "model_id": delivery.event.model_id,
        }
    )


def _jsonable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: format_instant(value) if isinstance(value, datetime) else value
        for key, value in row.items()
    }


def json_text(value: Any, *, ascii_only: bool = False) -> str:
    """Return one JSON value as indented lines; `ascii_only` escapes all other characters."""
    return json.dumps(value, ensure_ascii=ascii_only, indent=2)


def json_array(rows: Iterable[Mapping[str, Any]], *, ascii_only: bool = False) -> str:
    """Return an array of objects, each on a line of its own; `ascii_only` as in `json_text`."""
    lines = ",\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    return f"[\n{lines}\n]" if lines else "[]"


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Return a header line and a record per row; null is empty, objects are JSON."""
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    return "".join(map(_record, [columns, *cells]))


def _record(cells: Sequence[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)  # its line end is \r\n: before Python 3.13 only that is quoted
    return line.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, (Mapping, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value
