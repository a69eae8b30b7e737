"""Configuration: the valid files and variables, and the errors for mistakes."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from catalog_sync.cancel import CancelToken
from catalog_sync.config.load import load
from catalog_sync.config.settings import AlertSettings, CheckSettings, Settings, SourceSettings
from catalog_sync.config.values import SecretStr
from catalog_sync.domain.kinds import Kind
from catalog_sync.errors import ConfigError, StoppedError
from config_schema import schema
from support import KEY

EXAMPLE = Path(__file__).parents[2] / "config" / "catalog-sync.toml"
FILE = "catalog-sync.toml"
SOURCE = '[[sources]]\nname = "a"\n'
SECRET = "sk-ant-hunter2-for-nobody"


def write(text: str, file: str | Path = FILE) -> Path:
    path = Path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def only(settings: Settings) -> SourceSettings:
    (source,) = settings.sources
    return source


def database_of(settings: Settings) -> str:
    return settings.database_url.get_secret_value()


def start(text: str) -> None:
    """Load a file and read its secrets, as a run does."""
    settings = load(write(text))
    for source in settings.sources:
        source.credential()


def refused(text: str) -> str:
    """The error for a file that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        start(text)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_schema_is_current() -> None:
    """The published JSON Schema is generated from the settings, and accepts the example."""
    file = EXAMPLE.with_name("catalog-sync.schema.json")
    generated = json.loads(json.dumps(schema()))
    assert json.loads(file.read_text(encoding="utf-8")) == generated
    check = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(file)]
    assert subprocess.run([*check, EXAMPLE], check=False, capture_output=True).returncode == 0
    bad = write(SOURCE + "page_size = 0")
    assert subprocess.run([*check, bad], check=False, capture_output=True).returncode == 1


# --- defaults and the example ------------------------------------------------------------------


def test_nothing_but_a_key_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file: one source, `anthropic`, and an SQLite file in the current directory."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    settings = load()
    assert database_of(settings) == "sqlite:///catalog.db"
    assert settings.retirement_reminders == tuple(timedelta(days=n) for n in (90, 30, 7, 1))
    assert settings.failure_alert_after == 3
    source = only(settings)
    assert source == SourceSettings(name="anthropic")
    assert source.base_url == "https://api.anthropic.com"
    assert source.anthropic_version == "2026-10-21"
    assert (source.lifecycle, source.exclude, source.headers) == ((), (), {})
    assert (source.page_size, source.deadline) == (1000, timedelta(seconds=60))
    credential = source.credential()
    assert (credential.header, credential.value) == ("x-api-key", KEY)
    assert credential.origin == "ANTHROPIC_API_KEY"


def test_example_holds_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """The values of the example configuration are the defaults."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    example, default = load(write(EXAMPLE.read_text(encoding="utf-8"), "example.toml")), load()
    assert only(example).credential() == only(default).credential()
    assert only(example).api_key_env == "ANTHROPIC_API_KEY"
    sources = (only(example).model_copy(update={"api_key_env": None}),)
    assert example.model_copy(update={"sources": sources}) == default


def test_example_names_every_key() -> None:
    """The example names every key, and no other."""
    named = re.findall(r"^(?:# )?([a-z_]+) = ", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)
    tables = re.findall(
        r"^(?:# )?\[{1,2}([a-z_]+)\]", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE
    )
    keys = [
        model.__struct_fields__
        for model in (Settings, SourceSettings, AlertSettings, CheckSettings)
    ]
    assert {*named, *tables} == set().union(*keys)


def test_example_without_its_comment_signs() -> None:
    """The commented parts of the example are valid, and its defaults are the real ones."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    shown = [re.sub(r"^# (?=\[\[|[a-z_]+ = )", "", line) for line in lines]
    text = re.sub(r"(?m)^(\w+_(?:file|command) = )", r"# \1", "\n".join(shown))
    text = text.replace("cron = ", "# cron = ")  # every and cron exclude each other
    settings = load(write(text))
    assert [source.name for source in settings.sources] == ["anthropic", "gateway"]
    assert settings.heartbeat_url is not None
    assert settings.public_url == "https://example.com/models"
    team, hook = settings.alerts
    assert team == AlertSettings(name="team", url=team.url)
    assert hook == AlertSettings(name="hook", webhook=hook.webhook, secret_env="HOOK_SECRET")


def test_a_whole_file() -> None:
    """Every key of a file is read, also for several sources."""
    settings = load(
        write("""
            database_url = "postgresql://catalog@db/catalog"
            retirement_reminders = ["2w", "1.5d", "12h"]
            failure_alert_after = 1

            [[sources]]
            name = "one"
            base_url = "http://127.0.0.1:8080/anthropic/"
            auth_token_env = "GATEWAY_TOKEN"
            anthropic_version = "2023-06-01"
            lifecycle = ["active", "deprecated", "retired"]
            headers = { anthropic-workspace-id = "wrkspc_1" }
            exclude = ["*canary*"]
            page_size = 20
            deadline = "90s"

            [[sources]]
            name = "two"
            api_key_file = "key"
        """)
    )
    assert database_of(settings) == "postgresql://catalog@db/catalog"
    assert settings.retirement_reminders == (
        timedelta(weeks=2),
        timedelta(hours=36),
        timedelta(hours=12),
    )
    assert settings.failure_alert_after == 1
    one, two = settings.sources
    assert one == SourceSettings(
        name="one",
        base_url="http://127.0.0.1:8080/anthropic",
        auth_token_env="GATEWAY_TOKEN",
        anthropic_version="2023-06-01",
        lifecycle=("active", "deprecated", "retired"),
        headers={"anthropic-workspace-id": SecretStr("wrkspc_1")},
        exclude=("*canary*",),
        page_size=20,
        deadline=timedelta(seconds=90),
    )
    assert two == SourceSettings(name="two", api_key_file="key")


# --- where the file is looked for --------------------------------------------------------------


def test_file_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--config` wins over CATALOG_SYNC_CONFIG, then the current and the user's directory."""

    def say(name: str, file: Path) -> Path:
        return write(f'database_url = "sqlite:////{name}"', file)

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    say("user", tmp_path / "home" / "catalog-sync" / FILE)
    assert database_of(load()) == "sqlite:////user"
    say("here", tmp_path / FILE)
    assert database_of(load()) == "sqlite:////here"
    monkeypatch.setenv("CATALOG_SYNC_CONFIG", str(say("variable", tmp_path / "other.toml")))
    assert database_of(load()) == "sqlite:////variable"
    assert database_of(load(say("option", tmp_path / "option.toml"))) == "sqlite:////option"


def test_a_named_file_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named file is not replaced by another place or by the defaults."""
    write('database_url = "sqlite:///here"')
    missing = tmp_path / "missing.toml"
    refusal = f"{missing} cannot be read: No such file or directory; correct "
    with pytest.raises(ConfigError, match=re.escape(f"{refusal}--config")):
        load(missing)
    monkeypatch.setenv("CATALOG_SYNC_CONFIG", str(missing))
    with pytest.raises(ConfigError, match=re.escape(f"{refusal}CATALOG_SYNC_CONFIG")):
        load()


def test_a_file_named_by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may name the configuration file by a string."""
    monkeypatch.setenv("CATALOG_SYNC_CONFIG", str(write('database_url = "sqlite:///other"')))
    file = write('database_url = "sqlite:///here"', "named.toml")
    assert database_of(load(str(file))) == "sqlite:///here"


def test_a_key_for_the_name_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret in the place of the configuration file's name is not repeated."""
    monkeypatch.setenv("CATALOG_SYNC_CONFIG", "sk-ant-api03-abcdefgh")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load()
    assert "abcdefgh" not in "".join(traceback.format_exception(caught.value))


def test_an_empty_variable_names_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty CATALOG_SYNC_CONFIG counts as unset."""
    monkeypatch.setenv("CATALOG_SYNC_CONFIG", "")
    assert load() == load(write(""))


def test_a_place_that_cannot_be_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration directory that may not be read counts as missing."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/" + "x" * 5000)
    assert database_of(load()) == "sqlite:///catalog.db"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b'database_url = "\xff"', "is not UTF-8", id="not UTF-8"),
        pytest.param(b"database_url = ", "is not TOML: Invalid value (at", id="not TOML"),
        pytest.param(b"a = 1\na = 2", "is not TOML: Cannot overwrite a value", id="a key twice"),
    ],
)
def test_unreadable_file(tmp_path: Path, content: bytes, reason: str) -> None:
    """A file that is no TOML is refused with its name and the place of the mistake."""
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(f"configuration file {file} {reason}")):
        load(file)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A directory in place of the file is refused with its name."""
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path} cannot be read: Is a directory")):
        load(tmp_path)


@pytest.mark.parametrize("directory", ["elsewhere", "/elsewhere/deep"])
def test_paths_in_a_file_are_relative_to_it(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative paths written in a file are relative to that file; those of variables are not."""
    place = tmp_path / directory.strip("/") if directory.startswith("/") else Path(directory)
    file = write("", place / FILE)
    cases = {
        "sqlite:///catalog.db": f"sqlite:///{place}/catalog.db",
        "sqlite+pysqlite:///../c.db": f"sqlite+pysqlite:///{place}/../c.db",
        "sqlite:///file:c.db?mode=ro&uri=true": f"sqlite:///file:{place}/c.db?mode=ro&uri=true",
        "sqlite:////var/c.db": "sqlite:////var/c.db",
        "sqlite:///:memory:": "sqlite:///:memory:",
        "postgresql://h/catalog.db": "postgresql://h/catalog.db",
    }
    for said, meant in cases.items():
        assert database_of(load(write(f'database_url = "{said}"', file))) == meant
    monkeypatch.setenv("CATALOG_SYNC_DATABASE_URL", "sqlite:///here.db")
    assert database_of(load(file)) == "sqlite:///here.db"
    monkeypatch.delenv("CATALOG_SYNC_DATABASE_URL")
    assert database_of(load(write("every = '1h'", file))) == "sqlite:///catalog.db"
    write(KEY, "key")
    monkeypatch.setenv("CATALOG_SYNC_SOURCES", '[{"name": "a", "api_key_file": "key"}]')
    assert only(load(file)).credential().value == KEY


def test_byte_order_mark() -> None:
    """A byte order mark, as Windows editors write it, is accepted in the file and in key files."""
    Path("key").write_text(KEY, encoding="utf-8-sig")
    Path(FILE).write_text(SOURCE + 'api_key_file = "key"', encoding="utf-8-sig")
    assert only(load()).credential().value == KEY


def test_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a home directory, as in a container, there is no user configuration."""
    monkeypatch.setattr("pathlib.Path.home", NotImplemented)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert load().file is None


# --- the environment ---------------------------------------------------------------------------


def test_variables_override_top_level_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """CATALOG_SYNC_… overrides any top-level key of the file; a list is written as JSON."""
    file = write(
        'database_url = "sqlite:///file"\nfailure_alert_after = 9\nretirement_reminders = []\n'
        + SOURCE
    )
    monkeypatch.setenv("CATALOG_SYNC_DATABASE_URL", "sqlite:///variable")
    monkeypatch.setenv("CATALOG_SYNC_FAILURE_ALERT_AFTER", "2")
    monkeypatch.setenv("CATALOG_SYNC_RETIREMENT_REMINDERS", '["10d"]')
    settings = load(file)
    assert database_of(settings) == "sqlite:///variable"
    assert settings.failure_alert_after == 2
    assert settings.retirement_reminders == (timedelta(days=10),)
    assert only(settings).name == "a"
    monkeypatch.setenv("CATALOG_SYNC_SOURCES", '[{"name": "b", "page_size": 7}]')
    assert only(load(file)) == SourceSettings(name="b", page_size=7)


def test_empty_variables_override_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as unset."""
    monkeypatch.setenv("CATALOG_SYNC_DATABASE_URL", "")
    assert database_of(load(write('database_url = "sqlite:///file"'))) == "sqlite:///file"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("FAILURE_ALERT_AFTER", "often", "expected a valid integer"),
        ("FAILURE_ALERT_AFTER", "0", "expected greater than or equal to 1"),
        ("RETIREMENT_REMINDERS", "90d", "expected a JSON array"),
        ("RETIREMENT_REMINDERS", '["90"]', "expected a duration such as"),
        ("RETIREMENT_REMINDERS", "[" * 100_000, "expected a JSON array"),
        ("SOURCES", f"[{SECRET}", "expected a JSON array"),
        ("SOURCES", "[]", "at least one"),
        ("SOURCES", '[{"name": "a", "page_size": 0}]', "[0].page_size: expected greater than"),
        ("SOURCES", '[{"name": "a", "nam": 1}]', "[0].nam: unknown key; did you mean name?"),
    ],
)
def test_bad_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    """A bad variable is refused with its name, the key inside it and what was expected."""
    file = write("failure_alert_after = 5")
    monkeypatch.setenv(f"CATALOG_SYNC_{variable}", value)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).startswith(f"CATALOG_SYNC_{variable}")
    assert expected in str(caught.value)
    assert FILE not in str(caught.value)
    assert SECRET not in str(caught.value)


def test_building_settings_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `load` reads the environment: settings built by a program ignore it."""
    monkeypatch.setenv("CATALOG_SYNC_DATABASE_URL", "sqlite:///variable")
    settings = Settings(sources=(SourceSettings(name="a"),))
    assert database_of(settings) == "sqlite:///catalog.db"


# --- the default source and the official SDK's variables ---------------------------------------


@pytest.mark.parametrize(
    ("variables", "header", "value", "origin"),
    [
        ({"API_KEY": KEY}, "x-api-key", KEY, "API_KEY"),
        ({"AUTH_TOKEN": KEY}, "authorization", f"Bearer {KEY}", "AUTH_TOKEN"),
        ({"API_KEY": KEY, "AUTH_TOKEN": "token"}, "x-api-key", KEY, "API_KEY"),
        ({"API_KEY": "", "AUTH_TOKEN": KEY}, "authorization", f"Bearer {KEY}", "AUTH_TOKEN"),
        ({"API_KEY": f" {KEY}\n"}, "x-api-key", KEY, "API_KEY"),
    ],
)
def test_default_credential(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    header: str,
    value: str,
    origin: str,
) -> None:
    """ANTHROPIC_API_KEY comes before ANTHROPIC_AUTH_TOKEN, which is sent as a bearer token."""
    for name, content in variables.items():
        monkeypatch.setenv(f"ANTHROPIC_{name}", content)
    settings = load()
    credential = only(settings).credential()
    assert (credential.header, credential.value) == (header, value)
    assert credential.origin == f"ANTHROPIC_{origin}"


@pytest.mark.parametrize(
    ("said", "base_url"),
    [
        ("https://gateway.example/anthropic/", "https://gateway.example/anthropic"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("", "https://api.anthropic.com"),
        ("  ", "https://api.anthropic.com"),
    ],
)
def test_default_base_url(monkeypatch: pytest.MonkeyPatch, said: str, base_url: str) -> None:
    """ANTHROPIC_BASE_URL is the address of the default source; an empty one counts as unset."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", said)
    assert only(load()).base_url == base_url
    assert only(load(write("failure_alert_after = 1"))).base_url == base_url


def test_bad_default_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad ANTHROPIC_BASE_URL is refused with its name, and a password in it is not repeated."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"https://user:{SECRET}@gateway.example")
    with pytest.raises(
        ConfigError, match=r"^ANTHROPIC_BASE_URL: .*user name or password"
    ) as caught:
        load()
    assert SECRET not in str(caught.value)


def test_configured_sources_are_taken_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official SDK's base_url and token are for the default source alone."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://gateway.example")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", KEY)
    source = only(load(write('[[sources]]\nname = "anthropic"')))
    assert source.base_url == "https://api.anthropic.com"
    with pytest.raises(ConfigError, match="No API key: set ANTHROPIC_API_KEY"):
        source.credential()


# --- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "suggestion"),
    [
        ("databse_url = 'x'", "databse_url", "database_url"),
        ("retirement_reminder = []", "retirement_reminder", "retirement_reminders"),
        ("zzz = 1", "zzz", None),
        (
            SOURCE + "api_key = 'x'",
            "sources[0].api_key",
            "api_key_env",
        ),
        (SOURCE + "[[sources]]\nname = 'b'\nzzz = 1", "sources[1].zzz", None),
        (SOURCE + "header = {}", "sources[0].header", "headers"),
    ],
)
def test_unknown_key(text: str, key: str, suggestion: str | None) -> None:
    """An unknown key is refused with the file, the key and the closest valid key."""
    reason = f"{FILE}: {key}: unknown key"
    assert refused(text) == (f"{reason}; did you mean {suggestion}?" if suggestion else reason)


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("database_url = 3", "database_url", "a valid string"),
        ("retirement_reminders = '90d'", "retirement_reminders", "a list"),
        ("retirement_reminders = ['1d', '90']", "retirement_reminders[1]", "a duration such as"),
        ("retirement_reminders = [90]", "retirement_reminders[0]", "a duration such as"),
        ("retirement_reminders = ['0s']", "retirement_reminders[0]", "longer than zero"),
        ("retirement_reminders = ['9999w']", "retirement_reminders[0]", "at most ten years"),
        ("failure_alert_after = 0", "failure_alert_after", "greater than or equal to 1"),
        ("failure_alert_after = 1.5", "failure_alert_after", "expected"),
        ("failure_alert_after = true", "failure_alert_after", "expected"),
        ("sources = 3", "sources", "a list"),
        ("sources = []", "sources", "at least one"),
        ("[sources]\nname = 'a'", "sources", "a list"),
        ("[[sources]]", "sources[0].name", "missing"),
        ("[[sources]]\nname = ''", "sources[0].name", "at least 1 character"),
        ("[[sources]]\nname = ' a'", "sources[0].name", "without surrounding spaces"),
        ('[[sources]]\nname = "a\\n"', "sources[0].name", "printable"),
        ('[[sources]]\nname = "a\\u001bb"', "sources[0].name", "printable"),
        (f"[[sources]]\nname = '{'a' * 65}'", "sources[0].name", "at most 64"),
        ("[[sources]]\nname = 3", "sources[0].name", "a valid string"),
        (SOURCE + "base_url = 3", "sources[0].base_url", "a valid string"),
        (SOURCE + "base_url = 'api.example'", "sources[0].base_url", "a URL such as"),
        (SOURCE + "base_url = 'ftp://api.example'", "sources[0].base_url", "a URL such as"),
        (SOURCE + "base_url = 'https://'", "sources[0].base_url", "a URL such as"),
        (SOURCE + "base_url = 'https://h:99999'", "sources[0].base_url", "a URL such as"),
        (SOURCE + "base_url = 'https://[::1'", "sources[0].base_url", "a URL such as"),
        (SOURCE + "base_url = 'https://h/?key=1'", "sources[0].base_url", "without query"),
        (SOURCE + "base_url = 'https://h/a b'", "sources[0].base_url", "spaces"),
        (SOURCE + 'base_url = "https://h/\\u200b"', "sources[0].base_url", "a URL such as"),
        (SOURCE + "base_url = 'https://h/#x'", "sources[0].base_url", "without query"),
        (SOURCE + "anthropic_version = 2026-10-21", "sources[0].anthropic_version", "string"),
        (SOURCE + "anthropic_version = ''", "sources[0].anthropic_version", "printable ASCII"),
        (SOURCE + "api_key_env = ''", "sources[0].api_key_env", ""),
        (SOURCE + "api_key_env = 3", "sources[0].api_key_env", "expected a valid string"),
        (SOURCE + "api_key_command = 'vault'", "sources[0].api_key_command", "expected a list"),
        (SOURCE + "api_key_file = ''", "sources[0].api_key_file", ""),
        (SOURCE + 'api_key_file = "a\\u0000b"', "sources[0].api_key_file", ""),
        (SOURCE + "lifecycle = 'active'", "sources[0].lifecycle", "a list"),
        (
            SOURCE + "lifecycle = ['gone']",
            "sources[0].lifecycle[0]",
            "'active', 'deprecated' or 'retired'",
        ),
        (SOURCE + "exclude = '*'", "sources[0].exclude", "a list"),
        (SOURCE + "exclude = [1]", "sources[0].exclude[0]", "a valid string"),
        (SOURCE + "page_size = 0", "sources[0].page_size", "greater than or equal to 1"),
        (SOURCE + "page_size = 1001", "sources[0].page_size", "less than or equal to 1000"),
        (SOURCE + "page_size = true", "sources[0].page_size", "a valid integer"),
        (SOURCE + "page_size = '20'", "sources[0].page_size", "a valid integer"),
        (SOURCE + "deadline = 60", "sources[0].deadline", "a duration such as"),
        (SOURCE + "deadline = '0s'", "sources[0].deadline", "longer than zero"),
        (SOURCE + "deadline = '25h'", "sources[0].deadline", "at most a day"),
        (SOURCE + "headers = {x = 1}", "sources[0].headers.x", "a valid string"),
        (SOURCE + "headers = {'x y' = '1'}", "sources[0].headers", "'x y' is not a header name"),
        (SOURCE + 'headers = {x = "a\\nb"}', "sources[0].headers.x", "printable ASCII"),
        (SOURCE + 'headers = {x = "a\\n"}', "sources[0].headers.x", "printable ASCII"),
        (SOURCE + 'anthropic_version = "1\\n"', "sources[0].anthropic_version", "printable ASCII"),
        (SOURCE + 'api_key_env = "A\\n"', "sources[0].api_key_env", "expected the name"),
    ],
)
def test_bad_value(text: str, key: str, expected: str) -> None:
    """A bad value is refused with the file, the key and what was expected."""
    said = refused(text)
    assert said.startswith((f"{FILE}: {key}: ", f"{FILE}: {key}; "))
    assert expected in said


@pytest.mark.parametrize(
    ("build", "key"),
    [
        (lambda: SourceSettings(name=3), "name"),
        (lambda: SourceSettings(name="a", exclude="*canary*"), "exclude"),
        (lambda: SourceSettings(name="a", page_size=0), "page_size"),
        (lambda: AlertSettings(name="a", url="json://h", events=["aded"]), "events"),
        (lambda: AlertSettings(name="a", url="json://h", models="claude-*"), "models"),
        (lambda: Settings(sources=(SourceSettings(name="a"),), parallel="4"), "parallel"),
        (lambda: Settings(sources=(SourceSettings(name="a"),), check=None), "check"),
    ],
)
def test_bad_values_of_a_program(build: Callable[[], object], key: str) -> None:
    """A value of a wrong type is refused in a program too, such as text in place of a list."""
    with pytest.raises(ValueError, match=rf"^\.{key}: "):
        build()


def test_limits_are_included() -> None:
    """The largest and the smallest allowed values are accepted."""
    name = "n" * 64
    for size, deadline in ((1, "1ms"), (1000, "24h")):
        text = f"retirement_reminders = ['3660d']\n[[sources]]\nname = '{name}'\n"
        settings = load(write(f"{text}page_size = {size}\ndeadline = '{deadline}'"))
        assert settings.retirement_reminders == (timedelta(days=3660),)
        assert (only(settings).name, only(settings).page_size) == (name, size)


def test_a_name_used_twice() -> None:
    """Two sources of one name are refused."""
    assert refused(SOURCE + SOURCE) == f"{FILE}: sources: the name 'a' is used twice"


@pytest.mark.parametrize(
    "keys",
    [
        ("api_key_env", "api_key_file"),
        ("api_key_env", "auth_token_env"),
        ("api_key_file", "auth_token_env"),
    ],
)
def test_one_credential(keys: tuple[str, str]) -> None:
    """A source has one credential: two keys for it are refused, and both are named."""
    text = SOURCE + "".join(f"{key} = 'X'\n" for key in keys)
    expected = f"{FILE}: sources[0]: {keys[0]} and {keys[1]} exclude each other"
    assert refused(text).startswith(expected)


# --- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"databse_url = '{SECRET}'", id="unknown key"),
        pytest.param(f"database_url = ['{SECRET}']", id="bad database_url"),
        pytest.param(SOURCE + f"api_key = '{SECRET}'", id="a key in the file"),
        pytest.param(SOURCE + f"api_key_env = '{SECRET}'", id="a key for its variable's name"),
        pytest.param(SOURCE + f"auth_token_env = '{SECRET}'", id="a token for its variable's name"),
        pytest.param(SOURCE + f"api_key_file = '{SECRET}'", id="a key for its file's name"),
        pytest.param(SOURCE + f"headers = '{SECRET}'", id="bad headers"),
        pytest.param(SOURCE + f'headers = {{x = "{SECRET}\\n"}}', id="bad header"),
        pytest.param(SOURCE + f"headers = {{x = ['{SECRET}']}}", id="a header that is a list"),
        pytest.param(SOURCE + f"base_url = 'https://u:{SECRET}@h'", id="a password in base_url"),
        pytest.param(SOURCE + f"base_url = 'https://{SECRET}@h'", id="a user name in base_url"),
        pytest.param(SOURCE + f"base_url = 'https://h/?key={SECRET}'", id="a query in base_url"),
        pytest.param(SOURCE + f"anthropic_version = '{SECRET}é'", id="bad version"),
        pytest.param(f"database_url = '{SECRET}", id="not TOML"),
        pytest.param(f"sk-ant-{SECRET} = 1", id="a key for a key's name"),
    ],
)
def test_no_error_repeats_a_value(text: str) -> None:
    """No error or traceback repeats the content of the file."""
    with pytest.raises(ConfigError) as caught:
        start(text)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_settings_show_no_secret() -> None:
    """Neither the settings nor a source shows a password, or the value of a header."""
    settings = load(
        write(
            f"database_url = 'mysql://u:{SECRET}@h/d'\n{SOURCE}headers = {{x-secret = '{SECRET}'}}"
        )
    )
    source = only(settings)
    for text in (repr(settings), str(settings), repr(source), str(source), f"{source.headers}"):
        assert SECRET not in text
    assert "x-secret" in repr(source)
    assert source.headers["x-secret"].get_secret_value() == SECRET


def test_credential_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential shows its origin, and never itself."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    credential = only(load()).credential()
    assert KEY not in f"{credential!r} {credential}"
    assert "ANTHROPIC_API_KEY" in repr(credential)


@pytest.mark.parametrize(
    ("keys", "variable"),
    [
        ("api_key_env = 'MY_KEY'", "MY_KEY"),
        ("auth_token_env = 'MY_TOKEN'", "MY_TOKEN"),
    ],
)
@pytest.mark.parametrize("value", [None, "", " \n"])
def test_missing_variable(
    monkeypatch: pytest.MonkeyPatch, keys: str, variable: str, value: str | None
) -> None:
    """A source with a missing or blank key is refused with its name and the variable's."""
    if value is not None:
        monkeypatch.setenv(variable, value)
    said = refused(SOURCE + keys)
    assert said.startswith("source a: ")
    assert said.endswith(f": no key: {variable} is not set or empty; set {variable}")


def test_no_credential_at_all() -> None:
    """Without any key the error names the variable to set, and the demo, which needs no key."""
    with pytest.raises(ConfigError) as caught:
        only(load()).credential()
    advice = "set ANTHROPIC_API_KEY (or try `catalog-sync demo`, which needs none)"
    assert str(caught.value) == f"No API key: {advice}"
    assert refused(SOURCE) == f"source a: no API key: {advice}"


@pytest.mark.parametrize("value", [f"{SECRET}\nx", f"{SECRET}é", f"{SECRET}\x1b"])
def test_impossible_key(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A key that no header can hold is refused with the variable's name, without the key."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", value)
    said = refused(SOURCE)
    assert said.startswith("source a: ANTHROPIC_API_KEY holds characters that no key has")
    assert SECRET not in said


def test_secrets_are_not_read_before_they_are_needed() -> None:
    """Settings load without any secret: only a run needs one."""
    assert only(load(write(SOURCE + "api_key_file = '/nonexistent'"))).name == "a"


def test_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`api_key_file` is relative to the configuration file, and may name `~` and variables."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SECRETS", str(tmp_path / "secrets"))
    places = {
        "key": tmp_path / "etc" / "key",
        "../up": tmp_path / "up",
        "~/key": tmp_path / "home" / "key",
        "$SECRETS/key": tmp_path / "secrets" / "key",
        str(tmp_path / "absolute"): tmp_path / "absolute",
    }
    for number, (said, place) in enumerate(places.items()):
        write(f"sk-{number}\n", place)
        file = write(f"{SOURCE}api_key_file = '{said}'", tmp_path / "etc" / FILE)
        for named in (file, Path(os.path.relpath(file))):
            settings = load(named)
            credential = only(settings).credential()
            assert (credential.header, credential.value) == ("x-api-key", f"sk-{number}")
            assert place.name in credential.origin


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param("missing", "No such file or directory", id="missing"),
        pytest.param(".", "Is a directory", id="a directory"),
        pytest.param("binary", "not a text file", id="binary"),
        pytest.param("empty", "empty", id="empty"),
        pytest.param("~nobody-of-this-name/key", "", id="the home of nobody"),
    ],
)
def test_unusable_key_file(said: str, reason: str) -> None:
    """A key file without a key is refused with the names of source and file."""
    Path("binary").write_bytes(SECRET.encode() + b"\xff\x00")
    Path("empty").write_bytes(b" \n")
    text = refused(f'{SOURCE}api_key_file = "{said}"')
    assert text.startswith("source a: ")
    assert reason in text
    assert SECRET not in text


COMMANDS = {
    "api_key_command": ("x-api-key", KEY),
    "auth_token_command": ("authorization", f"Bearer {KEY}"),
}


@pytest.mark.parametrize("key", COMMANDS)
def test_key_command(key: str) -> None:
    """A program can print the key: it runs without a shell, and again for each run."""
    code = "import pathlib; p = pathlib.Path('n'); p.touch(); print(p.read_text() + 'KEY')"
    source = only(load(write(f"{SOURCE}{key} = {json.dumps([sys.executable, '-c', code])}")))
    credential = source.credential()
    assert (credential.header, credential.value) == (
        COMMANDS[key][0],
        COMMANDS[key][1][: -len(KEY)] + "KEY",
    )
    write("NEW-", "n")
    assert source.credential().value.endswith("NEW-KEY")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (f"print('{SECRET}'); raise SystemExit(3)", "failed with exit code 3"),
        (f"import sys; sys.exit('{SECRET}')", "failed with exit code 1"),
        ("", "printed nothing"),
        ("import sys; sys.stdout.buffer.write(b'\\xff')", "did not print text"),
        (f"print('{SECRET} two\\nlines')", "holds characters that no key has"),
    ],
)
def test_a_command_that_prints_no_key(code: str, reason: str) -> None:
    """A program that prints no key is refused with source and key, without its output."""
    text = refused(f"{SOURCE}api_key_command = {json.dumps([sys.executable, '-c', code])}")
    assert text.startswith("source a: ")
    assert reason in text
    assert SECRET not in text


def test_a_missing_command() -> None:
    """A missing program is refused with its name."""
    text = refused(f'{SOURCE}api_key_command = ["no-such-program"]')
    assert "api_key_command: the program no-such-program cannot be started: No such file" in text


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "AKIAIOSFODNN7EXAMPLE",
        "f47ac10b58cc4372a567",
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        SOURCE + "api_key_env = '{}'",
        SOURCE + "auth_token_env = '{}'",
        SOURCE + "api_key_file = '{}'",
        SOURCE + "auth_token_file = '{}'",
        SOURCE + "api_key_command = ['{}']",
    ],
)
def test_a_secret_in_the_place_of_its_name(text: str, secret: str) -> None:
    """A key in place of the name of a variable, file or program is not repeated."""
    said = refused(text.format(secret))
    assert secret not in said
    if "_env" in text:
        assert "expected the name of an environment variable" in said


@pytest.mark.parametrize(
    "secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZI"]
)
def test_a_signing_secret_in_the_place_of_its_name(secret: str) -> None:
    """A signing secret in place of the name of its variable is not repeated."""
    with pytest.raises(ConfigError) as caught:
        only_alert(f"{HOOK}secret_env = '{secret}'").secret()
    assert secret not in str(caught.value)
    assert "expected the name of an environment variable" in str(caught.value)


def test_other_apis() -> None:
    """`api = "openai"` uses OpenAI with a bearer token by default, and ignores generated paths."""
    source = only(load(write(SOURCE + 'api = "openai"\nignore = ["pricing.*"]')))
    assert source.base_url == "https://api.openai.com"
    assert source.ignore == ("created", "created_at", "permission", "pricing.*")
    with pytest.raises(ConfigError, match="set OPENAI_API_KEY"):
        source.credential()


# --- publishing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["example.com", "ftp://h", "https://", f"https://u:{SECRET}@h", "https://h/?a", "https://h/#a"],
)
def test_bad_public_url(url: str) -> None:
    """An invalid web address is refused, and a password in it is not repeated."""
    said = refused(f"public_url = '{url}'")
    assert said.startswith(f"{FILE}: public_url: expected a URL such as https://example.com/models")
    assert SECRET not in said


def test_public_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """The site's address may end in a slash, and its variable overrides it."""
    text = "public_url = 'https://example.com/models/'"
    assert load(write(text)).public_url == "https://example.com/models"
    monkeypatch.setenv("CATALOG_SYNC_PUBLIC_URL", "http://localhost:8000")
    assert load(write(text)).public_url == "http://localhost:8000"


# --- alerts ------------------------------------------------------------------------------------

CHANNEL = '[[alerts]]\nname = "a"\n'
HOOK = CHANNEL + 'webhook = "https://example.com/models"\n'
NEWS = ("added", "deprecated", "rescheduled", "retiring", "retired", "removed", "returned")


def load_text(text: str) -> Settings:
    return load(write(text))


def only_alert(text: str) -> AlertSettings:
    (alert,) = load(write(text)).alerts
    return alert


def url_of(alert: AlertSettings) -> str | None:
    address = alert.url or alert.webhook
    return address.get_secret_value() if address else None


def test_no_alerts_by_default() -> None:
    """By default there is no channel and no heartbeat."""
    settings = load()
    assert settings.alerts == ()
    assert settings.heartbeat_url is None
    assert settings.delivery_attempts == 20


def test_a_channel_needs_a_name_and_an_address() -> None:
    """A channel without further keys gets the default events of every model, unsigned."""
    alert = only_alert(HOOK)
    assert (alert.name, alert.events, alert.models, alert.sources) == ("a", NEWS, (), ())
    assert alert.secret() is None


def test_a_whole_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key of a channel is read, and channels keep their order."""
    secret = "whsec_" + base64.b64encode(SECRET.encode()).decode()
    monkeypatch.setenv("HOOK_SECRET", secret)
    settings = load_text(
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
    """A channel can get every kind of event."""
    kinds = [kind.value for kind in Kind]
    assert only_alert(HOOK + f"events = {kinds}").events == tuple(kinds)


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of alerts can be overridden by variables, like all top-level keys."""
    monkeypatch.setenv("CATALOG_SYNC_DELIVERY_ATTEMPTS", "7")
    monkeypatch.setenv("CATALOG_SYNC_HEARTBEAT_URL", "https://hc.example.com/ping/2")
    monkeypatch.setenv("CATALOG_SYNC_ALERTS", '[{"name": "b", "url": "json://example.com"}]')
    settings = load_text("delivery_attempts = 3\n" + HOOK)
    assert settings.delivery_attempts == 7
    assert settings.heartbeat_url is not None
    assert settings.heartbeat_url.get_secret_value().endswith("/2")
    assert (settings.alerts[0].name, url_of(settings.alerts[0])) == ("b", "json://example.com")


# --- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        (CHANNEL, "alerts[0]", "either url or webhook"),
        (HOOK + "url = 'json://example.com'", "alerts[0]", "either url or webhook"),
        ("[[alerts]]\nwebhook = 'https://example.com'", "alerts[0].name", "missing"),
        ("[[alerts]]\nname = ''\nurl = 'json://h'", "alerts[0].name", "1 character"),
        (
            "[[alerts]]\nname = ' a'\nurl = 'json://h'",
            "alerts[0].name",
            "surrounding spaces",
        ),
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
    """A mistake is refused with the file, the key and what was expected."""
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
def test_an_unusable_address(key: str, address: str) -> None:
    """An unusable address is refused at loading, before an alert is lost."""
    if key == "webhook":
        assert "alerts[0].webhook" in refused(f'{CHANNEL}webhook = "{address}"')
    else:
        assert "heartbeat_url" in refused(f'heartbeat_url = "{address}"')


def test_a_channel_name_used_twice() -> None:
    """Two channels with one name are refused, because deliveries are stored by name."""
    assert refused(HOOK + HOOK) == f"{FILE}: alerts: the name 'a' is used twice"


# --- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "not set or empty"),
        ("  ", "not set or empty"),
        (base64.b64encode(SECRET.encode()).decode(), "no signing secret"),
        (f"whsec_{SECRET}!", "no signing secret"),
        ("whsec_", "no signing secret"),
        ("whsec_ä", "no signing secret"),
    ],
)
def test_a_missing_or_impossible_secret(
    monkeypatch: pytest.MonkeyPatch, value: str | None, reason: str
) -> None:
    """An unusable signing secret is refused with channel and variable, and not repeated.

    It is read only when a channel is opened.
    """
    if value is not None:
        monkeypatch.setenv("HOOK_SECRET", value)
    alert = only_alert(HOOK + 'secret_env = "HOOK_SECRET"')
    with pytest.raises(ConfigError) as caught:
        alert.secret()
    for word in ("channel a", "HOOK_SECRET", reason, "whsec_"):
        assert word in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "text",
    [
        f"{CHANNEL}webhook = 'ftp://{SECRET}'",
        f"{CHANNEL}webhook = 'https://example.com/{SECRET}'\nurl = 'json://{SECRET}'",
        f"{CHANNEL}webhook = ['{SECRET}']",
        f"{CHANNEL}webhook = 'https://[{SECRET}'",
        f"{CHANNEL}webhook = 'https://example.com:{SECRET}/'\nevents = [1]",
        f"{HOOK}secret_env = ['{SECRET}']",
        f"{HOOK}url = ['{SECRET}']",
        f"heartbeat_url = '{SECRET}'",
    ],
)
def test_no_mistake_repeats_a_value(text: str) -> None:
    """No error or traceback repeats an address."""
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_settings_show_no_address() -> None:
    """Neither the settings nor a channel shows the addresses of receivers."""
    settings = load_text(
        f"heartbeat_url = 'https://hc.example.com/{SECRET}'\n"
        f"{CHANNEL}url = 'json://example.com/{SECRET}'\n"
        f"[[alerts]]\nname = 'b'\nwebhook = 'https://example.com/{SECRET}'\n"
    )
    assert "'b'" in repr(settings)
    for shown in (repr(settings), str(settings), repr(settings.alerts), f"{settings}"):
        assert SECRET not in shown


def test_a_stopped_run_ends_its_command(tmp_path: Path) -> None:
    """A run that is stopped while a program prints its key ends that program at once."""
    text = f'{SOURCE}api_key_command = ["sleep", "60"]\n'
    source = only(load(write(text, tmp_path / FILE)))
    cancel, began = CancelToken(), time.monotonic()
    threading.Timer(0.2, cancel.cancel).start()
    with pytest.raises(StoppedError):
        source.credential(cancel)
    assert time.monotonic() - began < 8  # not the ten seconds that a program has
