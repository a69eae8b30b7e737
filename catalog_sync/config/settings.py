"""Configuration: a TOML file, and the environment, of which this module is the only reader.

Secrets are named here, not read: `SourceSettings.credential()` reads one when a pass needs it.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from catalog_sync.clock import parse_duration
from catalog_sync.config.credentials import CREDENTIAL_KEYS, Credential, read_credential
from catalog_sync.config.schedule import Schedule
from catalog_sync.domain.kinds import DEFAULT_ALERT_KINDS, DEFAULT_FAIL_ON, Kind, Lifecycle, Verdict
from catalog_sync.errors import ConfigError

ENV_PREFIX = "CATALOG_SYNC_"
DEFAULT_EVERY = timedelta(minutes=15)
DEFAULT_BASE_URL = "https://api.anthropic.com"  # as the official SDK
DEFAULT_VERSION = "2026-10-21"  # what SDK 2.12 sends; the first with lifecycle fields
T = TypeVar("T", "SourceSettings", "AlertSettings")
_LONGEST = timedelta(days=3660)  # what a calendar can be moved by without falling off its end
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9.-]*)):(\d{1,5})", re.ASCII)
_LAST_PORT = 65_535
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110, a token
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?", re.ASCII)


def _length(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError('expected a duration such as "90s", "15m", "12h" or "7d"')  # noqa: TRY004
    length = parse_duration(value)
    if length > _LONGEST:
        raise ValueError("expected a duration of at most ten years")
    return length


def _duration(value: object) -> timedelta:
    length = _length(value)
    if not length:
        raise ValueError("expected a duration of more than nothing")
    return length


def _at_most_a_day(length: timedelta) -> timedelta:
    if length > timedelta(days=1):
        raise ValueError("expected a duration of at most a day")
    return length


def _cron(value: str) -> str:
    Schedule(DEFAULT_EVERY, value)
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError('expected an IANA time zone such as "Europe/Berlin"') from None
    return value


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    """A name or an address; empty for all of the machine's IPv4 addresses."""
    port: int
    """0 takes a free one."""


def _address(value: object) -> Address:
    if isinstance(value, Address):
        return value
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[3]) > _LAST_PORT:
        raise ValueError('expected HOST:PORT, such as "127.0.0.1:9464" or "[::1]:9464"')
    return Address(match[1] or match[2] or "", int(match[3]))


def _base_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or not value.isprintable():
        raise ValueError("expected a URL such as https://api.anthropic.com")
    if "@" in parts.netloc:
        raise ValueError("a user name or password in the URL; name the key with api_key_env")
    if parts.query or parts.fragment or " " in value:
        raise ValueError("expected a URL without query, fragment and blanks")
    return value.rstrip("/")


def _public_url(value: str) -> str:
    try:
        return _base_url(value)
    except ValueError:
        raise ValueError(
            "expected a URL such as https://example.com/models, without user, query and fragment"
        ) from None


def _header_value(value: str) -> str:
    if not _HEADER_VALUE.fullmatch(value):
        raise ValueError("expected a value of printable ASCII characters")
    return value


def _headers(value: Mapping[str, SecretStr]) -> Mapping[str, SecretStr]:
    for name, secret in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no header name")
        if not _HEADER_VALUE.fullmatch(secret.get_secret_value()):
            raise ValueError(f"{name}: expected a value of printable ASCII characters")
    return value


def _webhook(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in {"http", "https"} or not host or not url.isprintable() or " " in url:
        raise ValueError("expected a URL such as https://example.com/models")
    return value


def _name(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError("expected printable characters without blanks around them")
    return value


def _variable_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value, re.ASCII):
        raise ValueError("expected the name of an environment variable, not a key")
    return value


def _file_name(value: str) -> str:
    if not value or "\x00" in value or value.startswith("sk-"):
        raise ValueError("expected the path of a file, not a key")
    return value


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number")  # noqa: TRY004  # pydantic wants ValueError
    return value


def _some(tables: tuple[T, ...]) -> tuple[T, ...]:
    if not tables:
        raise ValueError("expected at least one table")
    return tables


def _unique(tables: tuple[T, ...]) -> tuple[T, ...]:
    names = [table.name for table in tables]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the name {name!r} is used twice")
    return tables


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Jitter = Annotated[timedelta, BeforeValidator(_length)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
Command = Annotated[tuple[str, ...], Field(min_length=1)]
Count = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1)]


class SourceSettings(BaseModel):
    """One `[[sources]]` table: a key, and what it is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_name)]
    api: Literal["anthropic", "openai"] = "anthropic"
    """The shape of the API's answers."""
    base_url: Annotated[str, AfterValidator(_base_url)] = DEFAULT_BASE_URL
    api_key_env: VariableName | None = None
    """The environment variable with the key; ANTHROPIC_API_KEY when nothing else is named."""
    api_key_file: Annotated[str, AfterValidator(_file_name)] | None = None
    """A file with the key; `~` and variables are expanded, relative to the configuration file."""
    auth_token_env: VariableName | None = None
    """The variable with a bearer token, for gateways that want one."""
    auth_token_file: Annotated[str, AfterValidator(_file_name)] | None = None
    """A file with the bearer token, found as `api_key_file` is."""
    api_key_command: Command | None = None
    """A program and its arguments that print the key; run anew for each run, without a shell."""
    auth_token_command: Command | None = None
    """A program and its arguments that print the bearer token."""
    anthropic_version: Annotated[str, AfterValidator(_header_value)] = DEFAULT_VERSION
    lifecycle: tuple[Lifecycle, ...] = ()
    """The API's own filter; empty asks for its default, active and deprecated."""
    headers: Annotated[Mapping[str, SecretStr], AfterValidator(_headers)] = Field(
        default_factory=dict
    )
    """Extra request headers; their values are secrets."""
    exclude: tuple[str, ...] = ()
    """Globs of ids that are never recorded; case matters."""
    ignore: tuple[str, ...] = ()
    """Paths whose changes make no event, such as "pricing.*"; `*` spans levels."""
    page_size: Annotated[int, Field(ge=1, le=1000, strict=True)] = 1000
    deadline: Annotated[Duration, AfterValidator(_at_most_a_day)] = timedelta(seconds=60)
    """For a whole walk, retries included."""
    every: Duration | None = None
    """How often the daemon syncs this source; null where `cron` or the top level says it."""
    cron: Annotated[str, AfterValidator(_cron)] | None = None
    """A crontab's line in place of `every`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.every is not None and self.cron is not None:
            raise ValueError("every and cron exclude each other; expected one of them")
        named = [key for key in CREDENTIAL_KEYS if getattr(self, key) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} exclude each other; expected one of them")
        return self

    def credential(self, directory: Path) -> Credential:
        """Read the source's secret; relative files are looked for in `directory`.

        Raises ConfigError when it is missing, empty or no header value.
        """
        return read_credential(self, directory)


class AlertSettings(BaseModel):
    """One `[[alerts]]` table: a channel, and what it is told."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_name)]
    url: SecretStr | None = None
    """Any Apprise URL; it holds tokens, so that only its scheme and host are ever shown."""
    webhook: Annotated[SecretStr, AfterValidator(_webhook)] | None = None
    """Where JSON is posted, signed as Standard Webhooks describe."""
    secret_env: VariableName | None = None
    """The variable with the webhook's signing secret: "whsec_" and base64."""
    events: tuple[Kind, ...] = DEFAULT_ALERT_KINDS
    models: tuple[str, ...] = ()
    """Globs of ids; empty is every model. Events without a model pass them all."""
    sources: tuple[str, ...] = ()
    """Names of sources; empty is every source."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.url is None) is (self.webhook is None):
            raise ValueError("expected either url or webhook")
        if self.secret_env is not None and self.webhook is None:
            raise ValueError("secret_env is for a webhook")
        return self

    def secret(self) -> str | None:
        """Read the signing secret; null for a channel that has none.

        Raises ConfigError when it is missing or not "whsec_" and base64.
        """
        if self.secret_env is None:
            return None
        secret = _env(self.secret_env)
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if not secret.startswith("whsec_") or not key:
            reason = "holds no signing secret" if secret else "is not set or empty"
            raise ConfigError(
                f"alert channel {self.name}: {self.secret_env} {reason}",
                'expected "whsec_" and base64',
            )
        return secret


class CheckSettings(BaseModel):
    """The `[check]` table: defaults of `catalog-sync check`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    within: Duration = timedelta(days=60)
    """A retirement date that is nearer than this is a problem."""
    fail_on: tuple[Verdict, ...] = DEFAULT_FAIL_ON
    """Verdicts that make the check fail; any other except `fine` is a warning."""
    ignore: tuple[str, ...] = ()
    """Globs of ids that are left out."""
    exclude: tuple[str, ...] = ()
    """Files that are not scanned, as patterns of .gitignore."""


class Settings(BaseSettings):
    """The whole configuration; every key has a default, and an unknown one is refused."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
    )

    database_url: SecretStr = SecretStr("sqlite:///catalog.db")
    """Any of sqlite, postgresql, mysql and mariadb; it may hold a password."""
    retirement_reminders: tuple[Duration, ...] = tuple(timedelta(days=n) for n in (90, 30, 7, 1))
    """How long before a retirement date a `retiring` event is recorded."""
    failure_alert_after: Count = 3
    """Consecutive failed passes of a source before the `sync_failed` event."""
    delivery_attempts: Annotated[Count, Field(le=1000)] = 20
    """How often an alert is sent before it counts as failed; 20 take about three days."""
    retention: Duration = timedelta(days=400)
    """How long runs without events and delivered outbox entries are kept."""
    parallel: Annotated[Count, Field(le=1000)] = 16
    """Sources that are synced at the same time."""
    heartbeat_url: Annotated[SecretStr, AfterValidator(_webhook)] | None = None
    """Pinged at the start, success and failure of a pass; its path is a secret."""
    every: Duration = DEFAULT_EVERY
    """How often the daemon syncs."""
    cron: Annotated[str, AfterValidator(_cron)] | None = None
    """A crontab's line in place of `every`, read in `timezone`."""
    timezone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    jitter: Jitter = timedelta(seconds=30)
    """How much later a pass may come, drawn at random; at most a tenth of the interval."""
    http_listen: Annotated[Address, BeforeValidator(_address)] | None = None
    """Where the daemon serves /metrics and /healthz; null: nowhere."""
    max_age: Duration | None = None
    """How old a source's last success may be; null is three intervals."""
    public_url: Annotated[str, AfterValidator(_public_url)] | None = None
    """Where the published site can be read, for absolute links; null: links are relative."""
    sources: Annotated[tuple[SourceSettings, ...], AfterValidator(_some), AfterValidator(_unique)]
    alerts: Annotated[tuple[AlertSettings, ...], AfterValidator(_unique)] = ()
    check: CheckSettings = CheckSettings()

    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """The configuration file; null where there was none."""
        return self._file

    @property
    def directory(self) -> Path:
        """Where the configuration file lies; relative secret files are looked for there."""
        return self._file.parent if self._file else Path()

    def credential(self, source: SourceSettings) -> Credential:
        """Read a source's secret. Raises ConfigError naming the file, the key and what it lacks."""
        try:
            return source.credential(self.directory)
        except ConfigError as error:
            raise ConfigError(f"{self._file}: {error}" if self._file else str(error)) from None

    @model_validator(mode="after")
    def _known_sources(self) -> Self:
        known = {source.name for source in self.sources}
        for alert in self.alerts:
            if unknown := sorted(set(alert.sources) - known):
                raise ValueError(f"alerts: {alert.name}: no source is named {unknown[0]!r}")
        return self

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        if "every" in self.model_fields_set and self.cron is not None:
            raise ValueError("every and cron exclude each other; expected one of them")
        return self

    def schedule(self, source: SourceSettings | None = None) -> Schedule:
        """Return when the daemon syncs a source, or those that say nothing of their own."""
        if source is not None and (source.every or source.cron):
            return Schedule(source.every or DEFAULT_EVERY, source.cron, self.timezone)
        return Schedule(self.every, self.cron, self.timezone)

    def max_age_of(self, source: SourceSettings, synced_at: datetime) -> timedelta:
        """Return how old a source's success of `synced_at` may become."""
        return self.max_age or self.schedule(source).max_age(synced_at)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Building a value reads nothing; `load` is where the environment comes in."""
        return (init_settings,)


def _env(name: str) -> str:
    """Return a variable without blanks around it; an empty one counts as unset, as in the SDK."""
    return os.environ.get(name, "").strip()
