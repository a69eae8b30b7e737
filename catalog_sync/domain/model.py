"""The values that travel through the house: frozen, without behaviour towards the outside.

Null always means that the API did not say. Instants are aware and in UTC. JSON objects are treated
as frozen although Python cannot say so: whoever needs another one builds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from catalog_sync.clock import parse_rfc3339

if TYPE_CHECKING:
    from catalog_sync.domain.kinds import Kind

JsonObject: TypeAlias = Mapping[str, Any]
Changes: TypeAlias = Mapping[str, Mapping[str, Any]]
"""What an event changed: a value's path (`capabilities.effort.max.supported`) → `old`, `new`."""
ID_MAX_LENGTH = 255
"""Characters in a model's id: the longest key that every supported database indexes."""
_MAX_DEPTH = 28  # MariaDB keeps 32 levels of JSON, and an event wraps an object in a few
_INT64_MAX = 2**63 - 1
_FIRST_YEAR = 1000  # MariaDB documents DATETIME from the year 1000 on


def _instant(value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("expected an RFC 3339 time")  # noqa: TRY004  # pydantic wants ValueError
    moment = parse_rfc3339(value)
    if moment.year < _FIRST_YEAR:
        raise ValueError(f"a date before the year {_FIRST_YEAR}, which databases cannot keep")
    return moment


Instant = Annotated[datetime, BeforeValidator(_instant)]
Tokens = Annotated[int, Field(ge=0, le=_INT64_MAX)]


def _leaves(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield every key and every plain value of a JSON value, each with the path to it."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"an object nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{path}: a key", key
            yield from _leaves(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]", depth + 1)
    else:
        yield path, value


def _unstorable(value: Any) -> str | None:
    """Say why no database keeps a plain value as it is; null when one does."""
    if isinstance(value, str):
        if "\x00" in value:
            return "a NUL character"
        if any("\ud800" <= c <= "\udfff" for c in value):
            return "half of a surrogate pair"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is not finite"
    return None


class ModelInfo(BaseModel):
    """A model as the API describes it. Required are the fields of the first API version alone."""

    model_config = ConfigDict(frozen=True, strict=True, hide_input_in_errors=True)

    id: Annotated[str, Field(min_length=1, max_length=ID_MAX_LENGTH)]
    """Compared exactly: case and trailing blanks matter."""
    display_name: str
    created_at: Instant
    """Release time; an epoch value when the API does not know it."""
    type: str
    """`model`, stored as sent."""
    lifecycle: str | None = None
    """`active`, `deprecated` or `retired`; null before API version 2026-10-21 and from gateways."""
    deprecated_at: Instant | None = None
    retires_at: Instant | None = None
    """Planned retirement; can be revised. A past one means overdue: only `lifecycle` says done."""
    line: str | None = None
    max_input_tokens: Tokens | None = None
    max_tokens: Tokens | None = None
    payload: JsonObject
    """The whole object as received, fields that this program does not know included."""

    @model_validator(mode="before")
    @classmethod
    def _keep_payload(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise ValueError("expected an object")  # noqa: TRY004  # pydantic wants ValueError
        for path, value in _leaves(data, "object"):
            if reason := _unstorable(value):
                raise ValueError(f"{path}: {reason}")
        return {**data, "payload": data}

    @classmethod
    def from_payload(cls, payload: Any) -> Self:
        """Return the model that an API object describes; ValueError says what is wrong."""
        try:
            return cls.model_validate(payload)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            reason = first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{place}: {reason}" if place else reason) from None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answered, by the answer's headers; null where a server does not say."""

    organization_id: str | None = None
    workspace_id: str | None = None

    def __str__(self) -> str:
        return f"{self.organization_id or '-'}/{self.workspace_id or '-'}"

    @classmethod
    def parse(cls, text: str | None) -> Identity:
        """Return the scope that `str` wrote; null is the unknown one."""
        organization_id, _, workspace_id = (text or "-/-").partition("/")
        return cls(
            None if organization_id == "-" else organization_id,
            None if workspace_id == "-" else workspace_id,
        )

    def filled_from(self, other: Identity) -> Identity:
        """Return this scope, with what it leaves open taken from `other`."""
        return Identity(
            self.organization_id or other.organization_id, self.workspace_id or other.workspace_id
        )


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a complete walk saw; a partial one cannot exist as a value."""

    models: Mapping[str, ModelInfo]
    """By id, in the order of the list: newest first."""
    pages: int
    scope: Identity = Identity()
    server_at: datetime | None = None
    """The server's clock: the `Date` of the last answer. None if it did not say."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A row of `models`: what the API said last, and when it was seen."""

    source: str
    info: ModelInfo
    first_seen_at: datetime
    last_seen_at: datetime
    missing_since: datetime | None = None
    """The first complete walk that missed it since it was last there; null while it is seen."""
    removed_at: datetime | None = None
    """When it was confirmed gone; null while it is listed."""

    @property
    def listed(self) -> bool:
        """Whether the catalog still holds the model; missing is not yet removed."""
        return self.removed_at is None

    @property
    def retired(self) -> bool:
        """Whether the API itself said that the model is retired."""
        return self.info.lifecycle == "retired"


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `model_events`: one thing that changed."""

    kind: Kind
    occurred_at: datetime
    model_id: str | None = None
    """Null for an event of the whole catalog or of the job itself."""
    changes: Changes = field(default_factory=dict)
    payload: JsonObject | None = None
    """The model's object after the event; of `schema_changed`, each id's object."""
    source: str = ""
    run_id: int | None = None
    id: int | None = None
    """None until stored."""
    baseline: bool = False
    """Whether the event belongs to a model of the source's first list, which is no news."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A row of `sources`: what is known of a source beyond its models."""

    name: str
    base_url: str
    scope: Identity = Identity()
    baseline_at: datetime | None = None
    """The first complete walk; null before it."""
    last_synced_at: datetime | None = None
    """The last pass whose result was applied, held removals included; null before it."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """All that the decisions of a pass need to know of the past."""

    source: SourceRecord
    models: Mapping[str, ModelRecord]
    """Every row of the source, removed ones included, by id."""
    held: bool = False
    """Whether a pass was held since the last one that succeeded."""
    failure_announced: bool = False
    """Whether a `sync_failed` event stands without its `sync_recovered`."""
    last_error: str | None = None
    """The `error` of the last run that was not skipped."""
    second_last_walk_at: datetime | None = None
    """When the last complete walk but one ended: what was missing by then has now missed three."""
    latest_recorded_at: datetime | None = None
    """The latest time of all that is known; null at the beginning. What is new comes after it."""
