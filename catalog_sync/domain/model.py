"""Immutable value types shared by all layers.

None means that the API did not say. Times are aware and in UTC. JSON objects are treated as
immutable, although Python cannot enforce it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Self, TypeAlias
from urllib.parse import unquote

from catalog_sync.clock import parse_rfc3339
from catalog_sync.domain.kinds import Kind, Lifecycle

JsonObject: TypeAlias = Mapping[str, Any]
Changes: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The changes of an event: `old` and `new` by path (`capabilities.effort.max.supported`)."""
ID_MAX_LENGTH = 255
"""Characters in a model's id: the longest key that every supported database indexes."""
INT64_MAX = 2**63 - 1
_FIRST_YEAR = 1000  # MariaDB documents DATETIME from the year 1000 on
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""The `created_at` of a model whose release time the API does not know."""
_LIFECYCLES: Final = frozenset(Lifecycle)
RETIREMENT_KEYS: Final = ("retires_at", "shutdown_date", "expiration_date", "deprecation")
"""The keys of a retirement date in the APIs' objects."""
SHAPE_KEYS: Final = ("display_name", "type", "created_at")
"""The fields that every version of Anthropic's API sends. Other APIs lack at least one."""


def parse_api_time(value: object) -> datetime:
    """Parse an RFC 3339 time. Raises ValueError, also for a year that databases cannot store."""
    if not isinstance(value, str):
        raise ValueError("expected an RFC 3339 time")  # noqa: TRY004  # a value, not a bug
    return _parsed(value)


def parse_id(value: object) -> str:
    """Check a model's id. Raises ValueError for an id that databases cannot index."""
    if not isinstance(value, str) or not 1 <= len(value) <= ID_MAX_LENGTH:
        raise ValueError(f"id: expected 1 to {ID_MAX_LENGTH} characters")
    return value


@lru_cache(maxsize=4096)  # models share most of their dates
def _parsed(text: str) -> datetime:
    time = parse_rfc3339(text)
    if time.year < _FIRST_YEAR:
        raise ValueError(f"a date before the year {_FIRST_YEAR}, which databases cannot store")
    return time


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model as its API describes it."""

    id: str
    """Compared exactly: case and trailing spaces matter."""
    display_name: str
    created_at: datetime
    """Release time; the epoch when the API does not know it."""
    type: str
    """`model`, stored as sent."""
    lifecycle: str | None = None
    """`active`, `deprecated` or `retired`; None before API version 2026-10-21 and from gateways."""
    deprecated_at: datetime | None = None
    retires_at: datetime | None = None
    """Planned retirement; can be revised. A past one means overdue: `lifecycle` says retired."""
    line: str | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    payload: JsonObject = field(default_factory=dict)
    """The whole object as received, fields that this program does not know included."""

    @property
    def released_at(self) -> datetime | None:
        """When the model was released; None when the API does not know it."""
        return self.created_at if self.created_at.year > EPOCH.year else None

    @classmethod
    def from_payload(cls, payload: Any) -> Self:
        """Decode a model from an API's object or a stored one, in Anthropic's or OpenAI's shape.

        Only `id` is required. A value that does not fit its column becomes None. Raises
        ValueError without a usable id.
        """
        if not isinstance(payload, Mapping):
            raise ValueError("expected an object")  # noqa: TRY004  # a value, not a bug
        read = _anthropic_fields if _has_anthropic_shape(payload) else _openai_fields
        return cls(
            id=parse_id(payload.get("id")),
            line=_text(payload.get("line")),
            deprecated_at=_time(payload.get("deprecated_at")),
            max_input_tokens=_tokens(payload.get("max_input_tokens")),
            max_tokens=_tokens(payload.get("max_tokens")),
            payload=payload,
            **read(payload),
        )


def _has_anthropic_shape(payload: JsonObject) -> bool:
    required = map(payload.get, SHAPE_KEYS)
    return all(isinstance(value, str) for value in required) and bool(_time(payload["created_at"]))


def _anthropic_fields(payload: JsonObject) -> dict[str, Any]:
    return {
        "display_name": payload["display_name"],
        "type": payload["type"],
        "created_at": _time(payload["created_at"]),
        "lifecycle": _text(payload.get("lifecycle")),
        "retires_at": _time(payload.get("retires_at")),
    }


def _openai_fields(payload: JsonObject) -> dict[str, Any]:
    """Read the fields of OpenAI and compatible servers, in all their spellings."""
    names = (payload.get("display_name"), payload.get("name"), payload["id"])
    created = (_time(payload.get(key)) for key in ("created", "created_at"))
    dates = (_time(payload.get(key)) for key in RETIREMENT_KEYS)
    retires_at = next(filter(None, dates), None)
    lifecycle = payload.get("lifecycle")
    if not isinstance(lifecycle, str) or lifecycle not in _LIFECYCLES:
        lifecycle = "deprecated" if retires_at else None
    return {
        "display_name": next(name for name in names if isinstance(name, str) and name),
        "type": _text(payload.get("type")) or _text(payload.get("object")) or "model",
        "created_at": next(filter(None, created), EPOCH),
        "lifecycle": lifecycle,
        "retires_at": retires_at,
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    """Return a number, also one that was sent as a string."""
    if isinstance(value, str):
        try:
            return int(value) if value.strip().isdecimal() else float(value)
        except ValueError:
            return None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _tokens(value: Any) -> int | None:
    number = _number(value)
    if number is None or not 0 <= number <= INT64_MAX or number != int(number):
        return None
    return int(number)


def _time(value: Any) -> datetime | None:
    """Return the time of an ISO 8601 time or date, or of Unix seconds; None for anything else."""
    with suppress(ValueError, OverflowError):
        if (seconds := _number(value)) is not None:
            time = EPOCH + timedelta(seconds=seconds)
            return time if time > EPOCH else None
        if isinstance(value, str):
            return _lenient_time(value)
    return None


@lru_cache(maxsize=4096)
def _lenient_time(text: str) -> datetime | None:
    time = datetime.fromisoformat(text.strip().upper())
    time = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    return time if time.year >= _FIRST_YEAR else None


@dataclass(frozen=True, slots=True)
class Identity:
    """The server's identity, from the headers of its answers."""

    organization_id: str | None = None
    workspace_id: str | None = None

    def __str__(self) -> str:
        return f"{_stored(self.organization_id)}/{_stored(self.workspace_id)}"

    @classmethod
    def parse(cls, text: str | None) -> Identity:
        """Parse the text that `str`, in this or an earlier version, wrote. None is unknown."""
        organization_id, _, workspace_id = (text or "-/-").rpartition("/")
        parts = (organization_id, workspace_id)
        return cls(*(None if part in {"-", ""} else unquote(part) for part in parts))

    def filled_from(self, other: Identity) -> Identity:
        """Return this identity with its unknown parts filled from `other`."""
        return Identity(
            self.organization_id or other.organization_id, self.workspace_id or other.workspace_id
        )


def _stored(id_: str | None) -> str:
    if id_ == "-":
        return "%2D"
    return "-" if id_ is None else id_.replace("%", "%25").replace("/", "%2F")


@dataclass(frozen=True, slots=True)
class Catalog:
    """The result of a complete walk. A partial walk cannot be a value of this type."""

    models: Mapping[str, ModelInfo]
    """By id, in the order of the list: newest first."""
    pages: int
    scope: Identity = Identity()
    server_at: datetime | None = None
    """The server's time: the `Date` of the last answer. None without one."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A row of `models`: the API's latest description, and when it was seen."""

    source: str
    info: ModelInfo
    first_seen_at: datetime
    last_seen_at: datetime
    missing_since: datetime | None = None
    """The first complete walk without the model since its last listing. None while it is listed."""
    removed_at: datetime | None = None
    """When it was confirmed gone; None while it is listed."""

    @property
    def listed(self) -> bool:
        """Whether the model is in the catalog. A missing one is, until its removal is confirmed."""
        return self.removed_at is None

    @property
    def retired(self) -> bool:
        """Whether the API said that the model is retired."""
        return self.info.lifecycle == Lifecycle.RETIRED


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `model_events`: one thing that changed."""

    kind: Kind
    occurred_at: datetime
    model_id: str | None = None
    """None for an event of the whole catalog or of the job itself."""
    changes: Changes = field(default_factory=dict)
    payload: JsonObject | None = None
    """The model's object after the event; of `schema_changed`, the objects that changed, by id."""
    source: str = ""
    run_id: int | None = None
    id: int | None = None
    baseline: bool = False
    """Whether the event belongs to a model of the source's first list."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A row of `sources`."""

    name: str
    base_url: str
    scope: Identity = Identity()
    baseline_at: datetime | None = None
    """The first complete walk; None before it."""
    last_synced_at: datetime | None = None
    """The last run whose result was applied, held removals included; None before it."""
    clock_offset_seconds: int | None = None
    """How far the host's clock was ahead of the server's at the last run; None if unknown."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """The recorded state on which the decisions of a run depend."""

    source: SourceRecord
    models: Mapping[str, ModelRecord]
    """Every row of the source, removed ones included, by id."""
    held: bool = False
    """Whether a run was held since the last one that succeeded."""
    failure_announced: bool = False
    """Whether a `sync_failed` event was recorded after the last `sync_recovered`."""
    last_error: str | None = None
    """The `error` of the last run that was neither skipped nor stopped."""
    second_last_walk_at: datetime | None = None
    """When the second-last complete walk ended. Walks of held runs do not count. The present walk
    is the third one without a model that is missing since then."""
    latest_recorded_at: datetime | None = None
    """The latest recorded time. Later records never have an earlier time."""
    run_id: int | None = None
    """The present run; None for a dry run."""
    last_good_run_at: datetime | None = None
    """When the last applied run began, by its host's clock; never later than the present run."""
