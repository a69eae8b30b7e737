"""The values that travel through the house: frozen, without behaviour towards the outside.

Null always means that the API did not say. Instants are aware and in UTC. JSON objects are treated
as frozen although Python cannot say so: whoever needs another one builds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from catalog_sync.clock import format_instant, parse_rfc3339

if TYPE_CHECKING:
    from catalog_sync.errors import CatalogSyncError

__all__ = [
    "ENDED",
    "ID_MAX_LENGTH",
    "INTERRUPTED",
    "Absence",
    "AlertRule",
    "Batch",
    "Catalog",
    "Changes",
    "Delivery",
    "DeliveryCounts",
    "Event",
    "JsonObject",
    "Judgement",
    "Kind",
    "Message",
    "ModelInfo",
    "ModelRecord",
    "Outcome",
    "Page",
    "RunRecord",
    "RunReport",
    "RunStatus",
    "Scope",
    "Snapshot",
    "SourceRecord",
    "SourceSnapshot",
    "SourceState",
    "SourceStatus",
    "Standing",
    "Status",
    "Verdict",
]

JsonObject: TypeAlias = Mapping[str, Any]
Changes: TypeAlias = Mapping[str, Mapping[str, Any]]
"""What an event changed: a value's path (`capabilities.effort.max.supported`) → `old`, `new`."""

ID_MAX_LENGTH = 255
"""Characters in a model's id: the longest key that every supported database indexes."""

_MAX_DEPTH = 28  # MariaDB keeps 32 levels of JSON, and an event wraps an object in a few
_INT64_MAX = 2**63 - 1
_FIRST_YEAR = 1000  # MariaDB documents DATETIME from the year 1000 on


class Kind(StrEnum):
    """What an event says. Past participles; `retiring` is the reminder that a date comes closer."""

    ADDED = "added"
    UPDATED = "updated"
    DEPRECATED = "deprecated"
    RETIRED = "retired"
    RETIRING = "retiring"
    REMOVED = "removed"
    RETURNED = "returned"
    SCHEMA_CHANGED = "schema_changed"
    SYNC_FAILED = "sync_failed"
    SYNC_RECOVERED = "sync_recovered"
    SYNC_HELD = "sync_held"


class RunStatus(StrEnum):
    """How a pass over one source ended; `running` until it did."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    HELD = "held"
    FAILED = "failed"
    SKIPPED = "skipped"


ENDED = (RunStatus.SUCCEEDED, RunStatus.HELD, RunStatus.FAILED)
"""How a pass ends that was really made."""


INTERRUPTED = "interrupted"
"""The `error` of a pass whose process was told to stop, or died."""


class Verdict(StrEnum):
    """What `check` says of a model, the gravest last; `fine` alone is no problem."""

    FINE = "fine"
    DEPRECATED = "deprecated"
    RETIRING = "retiring"  # its retirement date is near
    OVERDUE = "overdue"  # its retirement date has passed, and the API has not said that it is done
    UNKNOWN = "unknown"  # no source ever listed it
    RETIRED = "retired"
    REMOVED = "removed"


class Absence(StrEnum):
    """What the API said of a model, asked by id, that its own list no longer showed."""

    GONE = "gone"  # 404
    ANSWERING = "answering"  # 200: the list is wrong
    RETIRED = "retired"  # 200, with `lifecycle` `retired`: it left the list because it retired
    UNKNOWN = "unknown"  # anything else: no answer is no news


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
class Scope:
    """Who answered, by the answer's headers; null where a server does not say."""

    organization_id: str | None = None
    workspace_id: str | None = None

    def __str__(self) -> str:
        return f"{self.organization_id or '-'}/{self.workspace_id or '-'}"

    @classmethod
    def parse(cls, text: str | None) -> Scope:
        """Return the scope that `str` wrote; null is the unknown one."""
        organization_id, _, workspace_id = (text or "-/-").partition("/")
        return cls(
            None if organization_id == "-" else organization_id,
            None if workspace_id == "-" else workspace_id,
        )

    def known_by(self, other: Scope) -> Scope:
        """Return this scope, with what it leaves open taken from `other`."""
        return Scope(
            self.organization_id or other.organization_id, self.workspace_id or other.workspace_id
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of List Models."""

    models: tuple[ModelInfo, ...]
    has_more: bool
    first_id: str | None
    last_id: str | None
    scope: Scope = Scope()


@dataclass(frozen=True, slots=True)
class Catalog:
    """What a complete walk saw; a partial one cannot exist as a value."""

    models: Mapping[str, ModelInfo]
    """By id, in the order of the list: newest first."""
    pages: int
    scope: Scope = Scope()


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
        """Whether the catalogue still holds the model; missing is not yet removed."""
        return self.removed_at is None

    @property
    def retired(self) -> bool:
        """Whether the API itself said that the model is retired."""
        return self.info.lifecycle == "retired"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a model stands in one source that lists it, or did."""

    verdict: Verdict
    record: ModelRecord


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a model can be depended on, over all sources that were asked about."""

    model_id: str
    verdict: Verdict
    """The gravest of its standings; `unknown` without any."""
    standings: tuple[Standing, ...] = ()
    """The gravest first."""
    successor: str | None = None
    """The newest model of its line, where one is listed that is newer and fine; else null."""
    closest: tuple[str, Verdict] | None = None
    """Of an unknown model, the known one that may be meant; null where none is close."""


@dataclass(frozen=True, slots=True)
class Event:
    """A row of `model_events`: one thing that changed."""

    kind: Kind
    occurred_at: datetime
    model_id: str | None = None
    """Null for an event of the whole catalogue or of the job itself."""
    changes: Changes = field(default_factory=dict)
    payload: JsonObject | None = None
    """The model's object after the event; of `schema_changed`, each id's object."""
    source: str = ""
    run_id: int | None = None
    id: int | None = None
    """Null until stored."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """A row of `sources`: what is known of a source beyond its models."""

    name: str
    base_url: str
    scope: Scope = Scope()
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
    third_walk_at: datetime | None = None
    """When the last complete walk but one ended: what was missing by then has now missed three."""
    last_instant: datetime | None = None
    """The latest time of all that is known; null at the beginning. What is new comes after it."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """Which events a channel is told. Empty globs and sources admit everything."""

    channel: str
    kinds: frozenset[Kind]
    models: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """What a channel is sent: the events of one run, in the forms that services take."""

    message_id: str
    """The same at every attempt, so that a receiver can drop repeats."""
    subject: str
    text: str
    """A line per event, capped."""
    markdown: str
    body: JsonObject
    """For webhooks; holds every event."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of sending a message."""

    error: str | None = None
    """Null when the channel accepted it."""
    refused: bool = False
    """The receiver answered no, and will likely say no again."""
    final: bool = False
    """The receiver is gone for good (410)."""
    retry_after: timedelta | None = None
    """How long the receiver asks to wait; null when it does not say."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of `alert_deliveries`, with its event."""

    id: int
    channel: str
    status: str
    attempts: int
    """How often it was sent, since `alerts retry` if that was used."""
    event: Event
    next_attempt_at: datetime | None = None
    delivered_at: datetime | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """The deliveries that travel in one message: those of one run to one channel."""

    channel: str
    run_id: int
    deliveries: tuple[Delivery, ...]

    @property
    def events(self) -> tuple[Event, ...]:
        """What the message tells, in the order in which it happened."""
        return tuple(delivery.event for delivery in self.deliveries)

    @property
    def attempts(self) -> int:
        """How often the message was sent."""
        return max(delivery.attempts for delivery in self.deliveries)


@dataclass(frozen=True, slots=True)
class DeliveryCounts:
    """How alerts stand: `delivered` by this pass, the others as the table holds them."""

    delivered: int = 0
    pending: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A row of `sync_runs`, as far as the health of its source needs it."""

    status: RunStatus
    started_at: datetime
    finished_at: datetime | None = None
    """Null while it is running."""
    error: str | None = None

    @property
    def duration(self) -> timedelta | None:
        """How long it took, by a clock that may have been set back; null while it is running."""
        if self.finished_at is None:
            return None
        return max(self.finished_at - self.started_at, timedelta())

    @property
    def interrupted(self) -> bool:
        """Whether its process was told to stop, or died."""
        return self.status is RunStatus.FAILED and self.error == INTERRUPTED


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How fresh a source is."""

    name: str
    last_success_at: datetime | None = None
    """The last pass that was applied; null before the first."""
    max_age: timedelta | None = None
    """How old that may be; null before the first."""
    fresh: bool = False
    held: bool = False
    """Whether a pass waits for a person."""
    last_run: RunRecord | None = None
    """The last one that ended and was not skipped; null when there was none."""


@dataclass(frozen=True, slots=True)
class Status:
    """Whether the sync is alive: what `status`, /healthz and the metrics answer from."""

    at: datetime
    sources: tuple[SourceStatus, ...]
    deliveries: DeliveryCounts

    @property
    def fresh(self) -> bool:
        """Whether every source is."""
        return all(source.fresh for source in self.sources)

    @property
    def ok(self) -> bool:
        """Whether nobody need look: all fresh, none held, no alert failed."""
        held = any(source.held for source in self.sources)
        return self.fresh and not held and not self.deliveries.failed

    def to_json(self) -> dict[str, Any]:
        """Return the object that `status --json` prints."""
        return {
            "ok": self.ok,
            "sources": [
                {
                    "name": source.name,
                    "last_success_at": source.last_success_at
                    and format_instant(source.last_success_at),
                    "fresh": source.fresh,
                    "held": source.held,
                }
                for source in self.sources
            ],
            "deliveries": {"pending": self.deliveries.pending, "failed": self.deliveries.failed},
        }


@dataclass(frozen=True, slots=True)
class SourceSnapshot:
    """How one source stands, as its metrics tell it."""

    status: SourceStatus
    runs: Mapping[str, int] = field(default_factory=dict)
    """Passes by `status`; what is not named has none, here and below."""
    models: Mapping[str, int] = field(default_factory=dict)
    """Every model ever recorded: `listed`, `missing` (not confirmed gone) or `removed`."""
    lifecycles: Mapping[str, int] = field(default_factory=dict)
    """Models not removed: `active`, `deprecated`, `retired`, `unknown` (unsaid) or `other`."""
    next_retirement_at: datetime | None = None
    """The earliest one ahead of a model not removed; null when none is known."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How everything stands at one moment, as metrics tell it."""

    sources: tuple[SourceSnapshot, ...] = ()
    deliveries: Mapping[str, int] = field(default_factory=dict)
    """By `status`: `pending`, `delivered`, `failed`."""
    oldest_pending_at: datetime | None = None
    """When the oldest event happened that a channel still waits for; null when none does."""
    database_up: bool = True
    """Whether the database could be asked; if not, nothing else here says anything."""


@dataclass(frozen=True, slots=True)
class RunReport:
    """What one pass over one source did."""

    source: str
    status: RunStatus
    started_at: datetime
    run_id: int | None = None
    """Null where no run was recorded: a dry run, or a database that could not be used."""
    baseline: bool = False
    pages: int | None = None
    """Null when no complete walk was made; so are `models`."""
    models: int | None = None
    events: tuple[Event, ...] = ()
    error: str | None = None
    cause: CatalogSyncError | None = None
    """The error behind `error`, for its exit code and its traceback; null when nothing failed."""
    duration: timedelta = timedelta()

    def to_json(self) -> dict[str, Any]:
        """Return the object that `sync --json` prints: ids by kind, field paths of the schema."""
        ids: dict[str, list[str]] = {kind.value: [] for kind in _REPORTED_KINDS}
        for event in self.events:
            if event.kind is Kind.SCHEMA_CHANGED:
                ids[event.kind.value] += list(event.changes)
            elif event.kind in _REPORTED_KINDS and event.model_id is not None:
                ids[event.kind.value].append(event.model_id)
        return {
            "run_id": self.run_id,
            "source": self.source,
            "status": self.status.value,
            "baseline": self.baseline,
            "pages": self.pages,
            "models": self.models,
            **ids,
            "error": self.error,
            "started_at": format_instant(self.started_at),
            "duration_seconds": round(self.duration.total_seconds(), 3),
        }


_REPORTED_KINDS = (
    Kind.ADDED,
    Kind.UPDATED,
    Kind.DEPRECATED,
    Kind.RETIRED,
    Kind.RETIRING,
    Kind.REMOVED,
    Kind.RETURNED,
    Kind.SCHEMA_CHANGED,
)
