"""Alert rules: which event is sent to which channel, and which rules are refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from catalog_sync.app import App
from catalog_sync.config.load import load
from catalog_sync.config.settings import AlertSettings
from catalog_sync.config.values import SecretStr
from catalog_sync.domain.incidents import recovery_event
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Catalog, Event, ModelInfo, SourceRecord, SourceState
from catalog_sync.domain.reconcile import Absences, reconcile
from catalog_sync.errors import ConfigError
from support import model

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
ABOUT_THE_JOB = (Kind.SCHEMA_CHANGED, Kind.SYNC_FAILED, Kind.SYNC_HELD, Kind.SYNC_RECOVERED)
"""Kinds of events that have no model."""
DEFAULT = {"added", "deprecated", "rescheduled", "retiring", "retired", "removed", "returned"}


def event(kind: Kind = Kind.ADDED, id_: str = "claude-opus-5") -> Event:
    return Event(kind, NOW, None if kind in ABOUT_THE_JOB else id_, payload=model(id_))


def sent(
    rule: AlertSettings, *events: Event, source: str = "anthropic", baseline: bool = False
) -> list[Event]:
    """Return the events that the rule's channel gets."""
    said = [replace(event, source=source, baseline=baseline) for event in events]
    return [event for event, each in zip(events, said, strict=True) if rule.matches(each)]


def rule(
    *kinds: Kind, name: str = "team", models: tuple[str, ...] = (), sources: tuple[str, ...] = ()
) -> AlertSettings:
    url = SecretStr("json://localhost")
    return AlertSettings(
        name=name, url=url, events=kinds or tuple(Kind), models=models, sources=sources
    )


def configured(text: str) -> Any:
    """Load a configuration with a source and these lines."""
    Path("catalog-sync.toml").write_text(
        f'[[sources]]\nname = "anthropic"\n{text}', encoding="utf-8"
    )
    return load()


# --- kinds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_kinds(kind: Kind) -> None:
    """A channel gets the kinds that it names, and no other."""
    everything = [event(each) for each in Kind]
    assert sent(rule(kind), *everything) == [event(kind)]


def test_default_kinds() -> None:
    """A channel that names no kinds gets the events of models, and no events of the job."""
    settings = configured('[[alerts]]\nname = "team"\nwebhook = "http://127.0.0.1/x"\n')
    assert set(settings.alerts[0].events) == DEFAULT


def test_every_kind_can_be_named() -> None:
    """A rule can name every kind of event."""
    kinds = ", ".join(f'"{kind}"' for kind in Kind)
    text = f'[[alerts]]\nname = "team"\nwebhook = "http://127.0.0.1/x"\nevents = [{kinds}]\n'
    assert set(configured(text).alerts[0].events) == {kind.value for kind in Kind}


# --- globs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("globs", "id_", "matches"),
    [
        ((), "anything", True),
        (("claude-*",), "claude-opus-5", True),
        (("claude-*",), "a-claude-opus-5", False),
        (("claude-*",), "Claude-opus-5", False),
        (("CLAUDE-*",), "claude-opus-5", False),
        (("claude-opus-5",), "claude-opus-5", True),
        (("claude-opus-5",), "claude-opus-5 ", False),
        (("claude-?pus-5",), "claude-opus-5", True),
        (("claude-[so]*",), "claude-sonnet-5", True),
        (("claude-[so]*",), "claude-haiku-5", False),
        (("claude-opus-*", "*sonnet*"), "claude-sonnet-5", True),
        (("claude-opus-*", "*sonnet*"), "claude-haiku-5", False),
        (("anthropic/*",), "anthropic/claude/5", True),
    ],
)
def test_globs(globs: tuple[str, ...], id_: str, matches: bool) -> None:
    """A model's events are sent if any glob matches its whole id, with case; no globs match all."""
    assert sent(rule(models=globs), event(id_=id_)) == ([event(id_=id_)] if matches else [])


@pytest.mark.parametrize("kind", ABOUT_THE_JOB)
def test_events_without_a_model(kind: Kind) -> None:
    """Globs do not apply to events without a model; kinds and sources do."""
    narrow = ("no-such-model",)
    assert sent(rule(kind, models=narrow), event(kind)) == [event(kind)]
    assert sent(rule(Kind.ADDED, models=narrow), event(kind)) == []
    assert sent(rule(kind, models=narrow, sources=("other",)), event(kind)) == []


# --- sources -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "matches"),
    [
        ((), True),
        (("anthropic",), True),
        (("gateway", "anthropic"), True),
        (("gateway",), False),
        (("Anthropic",), False),
        (("anthro*",), False),
    ],
)
def test_sources(sources: tuple[str, ...], matches: bool) -> None:
    """A channel gets the events of the sources that it names exactly; no names match all."""
    assert bool(sent(rule(sources=sources), event())) is matches


# --- several -----------------------------------------------------------------------------------


def test_each_event_and_matching_channel() -> None:
    """Each channel gets the events that its own rule matches, whatever other channels get."""
    opus, sonnet = event(id_="claude-opus-5"), event(Kind.REMOVED, "claude-sonnet-4")
    rules = [
        rule(name="all"),
        rule(name="opus", models=("*opus*",)),
        rule(Kind.REMOVED, name="gone"),
    ]
    got = {each.name: sent(each, opus, sonnet) for each in rules}
    assert got == {"all": [opus, sonnet], "opus": [opus], "gone": [sonnet]}


# --- a baseline --------------------------------------------------------------------------------


def test_baseline_is_silent() -> None:
    """The models of a first list are not sent; their later events are."""
    listed = {id_: ModelInfo.from_payload(model(id_)) for id_ in ("a", "b")}
    source = SourceRecord("anthropic", "https://api.example")
    found = reconcile(SourceState(source, {}), Catalog(listed, 1), NOW, Absences())
    assert [each.kind for each in found.events] == [Kind.ADDED, Kind.ADDED]
    assert all(each.baseline for each in found.events)
    assert not any(map(rule().matches, found.events))


def test_recovery_at_a_baseline_is_sent() -> None:
    """A source that failed before its first list, and was announced, is announced to work again."""
    source = SourceRecord("anthropic", "https://api.example")
    recovered = recovery_event(SourceState(source, {}, failure_announced=True), NOW)
    assert recovered is not None
    assert sent(rule(), recovered) == [recovered]


# --- what a configuration may not say ----------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('name = "x"', ["url", "webhook"]),
        ('name = "x"\nurl = "json://127.0.0.1"\nwebhook = "http://127.0.0.1"', ["url", "webhook"]),
        ('webhook = "http://127.0.0.1"', ["name"]),
        ('name = "x"\nwebhook = "http://127.0.0.1"\nevents = ["born"]', ["events", "added"]),
        ('name = "x"\nwebhook = "http://127.0.0.1"\nsources = ["nope"]', ["x", "nope"]),
        ('name = "x"\nwebhook = "http://127.0.0.1"\nevent = ["added"]', ["event", "events"]),
        ('name = "x"\nurl = "json://127.0.0.1"\nsecret_env = "HOOK"', ["secret_env", "webhook"]),
        (
            'name = "x"\nwebhook = "http://127.0.0.1"\n[[alerts]]\nname = "x"\nurl = "json://h"',
            ["x", "twice"],
        ),
    ],
)
def test_refused(lines: str, words: list[str]) -> None:
    """An invalid rule is refused when it is loaded, with its name and the reason: exit 2."""
    with pytest.raises(ConfigError) as caught:
        configured(f"[[alerts]]\n{lines}\n")
    assert caught.value.exit_code == 2
    assert all(word in str(caught.value) for word in ["catalog-sync.toml", "alerts", *words])


@pytest.mark.parametrize(
    "url",
    [
        "example.com/T0KEN",
        "ftp://example.com/T0KEN",
        "https:///T0KEN",
        "http://[T0KEN",
        "http://example.com:99999/T0KEN",
        "http://example.com:port/T0KEN",
        "http://exam ple.com/T0KEN",
        "http://example.com/T0KEN\\n",
    ],
)
@pytest.mark.parametrize("key", ["webhook", "heartbeat_url"])
def test_refused_addresses(key: str, url: str) -> None:
    """A URL that no message can be sent to is refused at loading, and not shown."""
    line = f'{key} = "{url}"'
    text = f'[[alerts]]\nname = "x"\n{line}\n' if key == "webhook" else ""
    Path("catalog-sync.toml").write_text(
        f"{'' if text else line}\n[[sources]]\nname = 'anthropic'\n{text}", encoding="utf-8"
    )
    with pytest.raises(ConfigError) as caught, App(load()) as app:
        app.channels()
    assert caught.value.exit_code == 2
    assert key in str(caught.value)
    assert "T0KEN" not in str(caught.value)
