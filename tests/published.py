"""Catalogs to publish in tests: a plain one, and one with hostile names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event, ModelInfo, ModelRecord, SourceRecord
from catalog_sync.site.content import History, SiteContent
from catalog_sync.site.write import publish
from support import model

BASELINE = datetime(2026, 2, 1, 18, tzinfo=UTC)
NOW = datetime(2026, 7, 1, 18, tzinfo=UTC)
PRIVATE = "https://gateway.internal.example"


def day(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}T18:00Z")


def record(id_: str, source: str = "anthropic", *, seen=BASELINE, removed=None, **fields: Any):
    info = ModelInfo.from_payload(model(id_, **fields))
    return ModelRecord(source, info, seen, NOW, removed, removed)


def many_records(number: int) -> list[ModelRecord]:
    """Return listed models of several years; the first eight of them retire soon."""
    capabilities = ["batch", "citations", "effort", "image_input", "pdf_input", "thinking"]
    return [
        record(
            f"vendor/some-model-{each}",
            created_at=f"20{26 - each // 60 % 20:02}-03-01T00:00:00Z",
            retires_at=f"2027-01-{10 + each}T00:00:00Z" if each < 8 else None,
            capabilities={name: {"supported": True} for name in capabilities},
        )
        for each in range(number)
    ]


def added(found: ModelRecord) -> Event:
    payload = found.info.payload
    seen_at = found.first_seen_at
    return Event(
        Kind.ADDED, seen_at, found.info.id, {}, payload, found.source, baseline=seen_at == BASELINE
    )


def later_event(found: ModelRecord, kind: Kind, at: str, **changes: Any) -> Event:
    return Event(kind, day(at), found.info.id, changes, found.info.payload, found.source)


def source(name: str = "anthropic", *, baseline=BASELINE, synced=NOW) -> SourceRecord:
    return SourceRecord(name, PRIVATE, baseline_at=baseline, last_synced_at=synced)


@dataclass(frozen=True)
class Site:
    """A catalog with its events."""

    models: tuple[ModelRecord, ...]
    events: tuple[Event, ...]
    sources: tuple[SourceRecord, ...]
    title: str = "Model catalog"
    public_url: str | None = None
    chosen: tuple[str, ...] = ()

    @property
    def content(self) -> SiteContent:
        return SiteContent(self.models, self.sources, self.title, self.public_url, self.chosen)

    @property
    def history(self) -> History:
        history = History()
        for event in self.events:
            history.add(event)
        return history


def render(site: Site) -> dict[str, bytes]:
    """Publish a site, and return its files by name."""
    with TemporaryDirectory() as directory:
        _, written = publish(Path(directory), site.content, iter(site.events))
        return {name: Path(directory, name).read_bytes() for name in written}


def contents(
    models: Iterable[ModelRecord],
    events: Iterable[Event] | None = None,
    sources: Iterable[SourceRecord] = (),
    **fields: Any,
) -> Site:
    """The models, their `added` events unless others are given, with ids as a database has them."""
    models = tuple(models)
    events = map(added, models) if events is None else events
    numbered = tuple(replace(event, run_id=1, id=number) for number, event in enumerate(events, 1))
    return Site(models, numbered, tuple(sources) or (source(),), **fields)


def catalog() -> Site:
    """Five models of two sources, each at another stage of its life."""
    opus = record("claude-opus-5", seen=day("2026-06-20"), created_at="2026-06-19T00:00:00Z")
    dated = {"deprecated_at": "2026-05-01T00:00:00Z", "retires_at": "2026-09-01T00:00:00Z"}
    late = record("claude-late", lifecycle="deprecated", max_tokens=64000, **dated)
    old = record("claude-old", removed=day("2026-04-20"), created_at="2024-03-07T00:00:00Z")
    unknown = record("local/llama", "gateway", created_at="1970-01-01T00:00:00Z", lifecycle=None)
    small = record("local/phi", "gateway", max_tokens=4096, created_at="2025-11-01T00:00:00Z")
    models = [opus, late, small, old, unknown]
    events = [
        *map(added, (late, small, old, unknown)),
        later_event(old, Kind.REMOVED, "2026-04-20"),
        later_event(
            late, Kind.DEPRECATED, "2026-05-01", lifecycle={"old": "active", "new": "deprecated"}
        ),
        added(opus),
    ]
    return contents(models, events, [source(), source("gateway")])


HOSTILE = {
    "<script>alert(1)</script>": "</title><img src=x onerror=alert(1)>",
    "a b/c?d#e%20'\"": 'turn \u202e and \u2066 bell \u0007 line\r\nBEGIN:VEVENT "q" {{ 7*7 }}',
    "]]>&amp;--><!--": "]]></content></style></script><script>alert(1)</script>",
    "=1+1": "=cmd|' /C calc'!A0",
    "long" + "x" * 251: "W" * 2000,
    "комма, точка; \\n": "\ufffe\ufdd0 👩\u200d💻 R&D <beta>, a;b\\c",
    "شكرا": "non\u0085break\u2028line \x1b[31m",
    "blank": "   ",
}


def hostile() -> Site:
    """Names that could break out of their place, and dates that could break the timeline."""
    odd = {"lifecycle": "<b>odd</b>", "line": '"><script>alert(1)</script>'}
    models = [
        record(id_, display_name=name, retires_at="2026-08-01T00:00:00Z", **odd)
        for id_, name in HOSTILE.items()
    ]
    models += [
        record("tomorrow", created_at="2999-01-01T00:00:00Z"),
        record("yesterday", created_at="1000-01-01T00:00:00Z", max_tokens=2**63 - 1),
        record("never", retires_at="9999-12-31T00:00:00Z"),
        record("gone", "<i>gw</i> ☃", removed=NOW - timedelta(days=3), lifecycle="retired"),
    ]
    events = [
        Event(e.kind, e.occurred_at + timedelta(hours=1), e.model_id, {}, e.payload, e.source)
        for e in map(added, models)
    ]
    return contents(models, events, [source("<i>gw</i> ☃"), source()])
