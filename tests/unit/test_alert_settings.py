"""Configuration of alerts: what a channel may say, and what a mistake in it gets."""

from __future__ import annotations

import base64
import re
import tomllib
import traceback
from pathlib import Path

import pytest

from catalog_sync.config.load import load
from catalog_sync.config.settings import AlertSettings, Settings
from catalog_sync.domain.kinds import Kind
from catalog_sync.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "config" / "catalog-sync.toml"
FILE = "catalog-sync.toml"
CHANNEL = '[[alerts]]\nname = "a"\n'
HOOK = CHANNEL + 'webhook = "https://example.com/models"\n'
HIDDEN = "hunter2-for-nobody"
NEWS = ("added", "deprecated", "rescheduled", "retiring", "retired", "removed", "returned")


def loaded(text: str, file: str = FILE) -> Settings:
    Path(file).write_text(text, encoding="utf-8")
    return load()


def only(settings: Settings) -> AlertSettings:
    (alert,) = settings.alerts
    return alert


def refused(text: str) -> str:
    """What the program says of a file that it cannot use."""
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert caught.value.exit_code == 2
    return str(caught.value)


def url_of(alert: AlertSettings) -> str | None:
    address = alert.url or alert.webhook
    return address.get_secret_value() if address else None


# --- what may be said --------------------------------------------------------------------------


def test_nobody_is_told_by_default() -> None:
    """Without a word of configuration there is no channel and no heartbeat."""
    settings = load()
    assert settings.alerts == ()
    assert settings.heartbeat_url is None
    assert settings.delivery_attempts == 20


def test_a_channel_needs_a_name_and_an_address() -> None:
    """A channel that says no more is told the news of every model of every source, unsigned."""
    alert = only(loaded(HOOK))
    assert (alert.name, alert.events, alert.models, alert.sources) == ("a", NEWS, (), ())
    assert alert.secret() is None


def test_a_whole_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key of a channel is taken as written, and channels keep their order."""
    secret = "whsec_" + base64.b64encode(HIDDEN.encode()).decode()
    monkeypatch.setenv("HOOK_SECRET", secret)
    settings = loaded(
        """
        delivery_attempts = 3
        heartbeat_url = "https://hc.example.com/ping/1?x=y"
        [[sources]]
        name = "b"
        [[alerts]]
        name = "hook"
        webhook = "http://10.0.0.1:8080/models?x=y"
        secret_env = "HOOK_SECRET"
        events = ["updated", "sync_held"]
        models = ["claude-*", "*-[0-9]"]
        sources = ["b"]
        [[alerts]]
        name = "the team's chat"
        url = "slack://TokenA/TokenB/TokenC"
        """
    )
    assert settings.delivery_attempts == 3
    assert settings.heartbeat_url is not None
    assert settings.heartbeat_url.get_secret_value() == "https://hc.example.com/ping/1?x=y"
    hook, team = settings.alerts
    assert (hook.name, team.name) == ("hook", "the team's chat")
    assert url_of(hook) == "http://10.0.0.1:8080/models?x=y"
    assert url_of(team) == "slack://TokenA/TokenB/TokenC"
    assert hook.secret() == secret
    assert (hook.events, hook.models) == (("updated", "sync_held"), ("claude-*", "*-[0-9]"))
    assert hook.sources == ("b",)


def test_every_kind_can_be_asked_for() -> None:
    """A channel can be told every kind of event that there is."""
    kinds = [kind.value for kind in Kind]
    assert only(loaded(HOOK + f"events = {kinds}")).events == tuple(kinds)


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of alerts can be overridden by variables, as all top-level keys."""
    monkeypatch.setenv("CATALOG_SYNC_DELIVERY_ATTEMPTS", "7")
    monkeypatch.setenv("CATALOG_SYNC_HEARTBEAT_URL", "https://hc.example.com/ping/2")
    monkeypatch.setenv("CATALOG_SYNC_ALERTS", '[{"name": "b", "url": "json://example.com"}]')
    settings = loaded("delivery_attempts = 3\n" + HOOK)
    assert settings.delivery_attempts == 7
    assert settings.heartbeat_url is not None
    assert settings.heartbeat_url.get_secret_value().endswith("/2")
    assert (only(settings).name, url_of(only(settings))) == ("b", "json://example.com")


# --- the example -------------------------------------------------------------------------------


def test_the_example_with_its_channels() -> None:
    """What the example only mentions can be used as it stands there: channels and heartbeat.

    The values that it gives as defaults are the defaults.
    """
    text = EXAMPLE.read_text(encoding="utf-8")
    text = text.replace("# heartbeat_url =", "heartbeat_url =")
    before, table, rest = text.partition("# [[alerts]]\n")
    channels, _, _ = rest.partition("\n\n")
    settings = loaded(before + re.sub(r"^# ?", "", table + channels, flags=re.MULTILINE))
    assert settings.heartbeat_url is not None
    team, hook = settings.alerts
    assert (url_of(team), team.webhook) == ("slack://TokenA/TokenB/TokenC", None)
    assert (hook.url, hook.secret_env) == (None, "HOOK_SECRET")
    said = tomllib.loads(Path(FILE).read_text(encoding="utf-8"))["alerts"]
    assert {key for each in said for key in each} == AlertSettings.model_fields.keys()
    plain = only(loaded(HOOK))
    for key in ("events", "models", "sources"):
        assert getattr(team, key) == getattr(plain, key)
    for kind in Kind:
        assert re.search(rf"\b{kind.value}\b", channels)


# --- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (CHANNEL, "alerts[0]", "either url or webhook"),
        (HOOK + "url = 'json://example.com'", "alerts[0]", "either url or webhook"),
        ("[[alerts]]\nwebhook = 'https://example.com'", "alerts[0].name", "missing"),
        ("[[alerts]]\nname = ''\nurl = 'json://h'", "alerts[0].name", "1 character"),
        ("[[alerts]]\nname = ' a'\nurl = 'json://h'", "alerts[0].name", "without blanks"),
        (f"[[alerts]]\nname = '{'a' * 65}'\nurl = 'json://h'", "alerts[0].name", "64 characters"),
        (CHANNEL + "webhook = 'example.com/models'", "alerts[0].webhook", "a URL such as"),
        (CHANNEL + "webhook = 'ftp://example.com'", "alerts[0].webhook", "a URL such as"),
        (CHANNEL + "webhook = 'https:///models'", "alerts[0].webhook", "a URL such as"),
        (CHANNEL + "webhook = 'https://[::1/models'", "alerts[0].webhook", ""),
        (CHANNEL + "webhook = ['https://example.com']", "alerts[0].webhook", "string"),
        (HOOK + "events = ['addded']", "alerts[0].events[0]", "'added'"),
        (HOOK + "events = 'added'", "alerts[0].events", "a list"),
        (HOOK + "models = 'claude-*'", "alerts[0].models", "a list"),
        (HOOK + "sources = ['anthropic', 'b']", "alerts", "no source is named 'b'"),
        (HOOK + "secret_env = ''", "alerts[0].secret_env", "expected the name"),
        (HOOK + "secret = 'whsec_'", "alerts[0].secret", "did you mean secret_env?"),
        (HOOK + "event = ['added']", "alerts[0].event", "did you mean events?"),
        (CHANNEL + "url = 'json://h'\nsecret_env = 'S'", "alerts[0]", "for a webhook"),
        ("heartbeat_url = 'hc.example.com/ping'", "heartbeat_url", "a URL such as"),
        ("delivery_attempts = 0", "delivery_attempts", "greater than or equal to 1"),
        ("delivery_attempts = 1001", "delivery_attempts", "less than or equal to 1000"),
        ("delivery_attempts = 'often'", "delivery_attempts", "integer"),
        ("[alerts]\nname = 'a'", "alerts", "a list"),
    ],
)
def test_a_mistake(text: str, key: str, expected: str) -> None:
    """A mistake is refused by the file's name and its key, with what was expected."""
    said = refused(text)
    assert said.startswith(f"{FILE}: {key}: ")
    assert expected in said
    assert "\n" not in said


@pytest.mark.parametrize("key", ["webhook", "heartbeat_url"])
@pytest.mark.parametrize(
    "address",
    [
        "https://example.com:99999/models",
        "https://example.com:port/models",
        "https://exa mple.com/models",
        " https://example.com/models",
        "https://example.com/models\\u0007",
    ],
    ids=["a port too high", "a port that is none", "a blank", "a blank before it", "a control"],
)
def test_an_address_that_nobody_could_reach(key: str, address: str) -> None:
    """An address to which nothing can ever be sent is told at once, not by lost alerts."""
    if key == "webhook":
        assert "alerts[0].webhook" in refused(f'{CHANNEL}webhook = "{address}"')
    else:
        assert "heartbeat_url" in refused(f'heartbeat_url = "{address}"')


def test_a_name_used_twice() -> None:
    """Two channels of one name are refused by it: deliveries are told apart by nothing else."""
    assert refused(HOOK + HOOK) == f"{FILE}: alerts: the name 'a' is used twice"


# --- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "not set or empty"),
        ("  ", "not set or empty"),
        (base64.b64encode(HIDDEN.encode()).decode(), "no signing secret"),
        (f"whsec_{HIDDEN}!", "no signing secret"),
        ("whsec_", "no signing secret"),
        ("whsec_ä", "no signing secret"),
    ],
)
def test_a_missing_or_impossible_secret(
    monkeypatch: pytest.MonkeyPatch, value: str | None, reason: str
) -> None:
    """A signing secret that cannot sign is refused by channel and variable, and not repeated.

    It is read when a channel is opened, so that questions need none.
    """
    if value is not None:
        monkeypatch.setenv("HOOK_SECRET", value)
    alert = only(loaded(HOOK + 'secret_env = "HOOK_SECRET"'))
    with pytest.raises(ConfigError) as caught:
        alert.secret()
    for word in ("channel a", "HOOK_SECRET", reason, "whsec_"):
        assert word in str(caught.value)
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "text",
    [
        f"{CHANNEL}webhook = 'ftp://{HIDDEN}'",
        f"{CHANNEL}webhook = 'https://example.com/{HIDDEN}'\nurl = 'json://{HIDDEN}'",
        f"{CHANNEL}webhook = ['{HIDDEN}']",
        f"{CHANNEL}webhook = 'https://[{HIDDEN}'",
        f"{CHANNEL}webhook = 'https://example.com:{HIDDEN}/'\nevents = [1]",
        f"{HOOK}secret_env = ['{HIDDEN}']",
        f"{HOOK}url = ['{HIDDEN}']",
        f"heartbeat_url = '{HIDDEN}'",
    ],
)
def test_no_mistake_repeats_a_value(text: str) -> None:
    """Whatever is wrong, an address is not repeated, nor shown in a traceback."""
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))


def test_settings_show_no_address() -> None:
    """Neither the settings nor a channel shows where messages go."""
    settings = loaded(
        f"heartbeat_url = 'https://hc.example.com/{HIDDEN}'\n"
        f"{CHANNEL}url = 'json://example.com/{HIDDEN}'\n"
        f"[[alerts]]\nname = 'b'\nwebhook = 'https://example.com/{HIDDEN}'\n"
    )
    assert "'b'" in repr(settings)
    for shown in (repr(settings), str(settings), repr(settings.alerts), settings.model_dump_json()):
        assert HIDDEN not in shown
