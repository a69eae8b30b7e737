"""Settings: the tables of the configuration, their defaults and their checks.

Settings name secrets. `SourceSettings.credential()` reads one when a run needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from msgspec import Struct, field
from msgspec.structs import force_setattr, replace

from catalog_sync.cancel import CancelToken
from catalog_sync.config import credentials, values
from catalog_sync.config.schedule import Schedule
from catalog_sync.config.values import Duration, SecretStr
from catalog_sync.domain import kinds
from catalog_sync.domain.model import Event
from catalog_sync.domain.successor import NEAR
from catalog_sync.errors import ConfigError

DEFAULT_EVERY = timedelta(minutes=15)
DEFAULT_BASE_URLS = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com"}
DEFAULT_VERSION = "2026-10-21"  # as SDK 2.12 sends; the first version with lifecycle fields
_OPENAI_IGNORED = ("created", "created_at", "permission")
"""Paths whose values compatible servers generate for each request."""
WORDS: Mapping[str, Iterable[str]] = {
    "api": DEFAULT_BASE_URLS,
    "lifecycle": kinds.Lifecycle,
    "events": kinds.Kind,
    "fail_on": kinds.Verdict,
}
"""The allowed words of the keys that have a fixed set."""


def _cron(value: str) -> str:
    Schedule(DEFAULT_EVERY, value)
    return value


class _Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration. `checks` validate and convert its values."""

    checks: ClassVar[Mapping[str, values.Check]] = {}

    def __post_init__(self) -> None:
        """Check the types and run the checks. Raises ValueError: ".KEY: what was expected"."""
        for key, value in values.typed(self):
            force_setattr(self, key, value)
        for key, check in self.checks.items():
            if (value := getattr(self, key)) is not None:
                force_setattr(self, key, values.checked(f".{key}", check, value))

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """Return a copy with some values changed."""
        return replace(self, **update)


class SourceSettings(_Table, frozen=True, kw_only=True):
    """One `[[sources]]` table: an API, and a key for it."""

    checks: ClassVar[Mapping[str, values.Check]] = {
        "name": values.name,
        "base_url": values.http_url("https://api.anthropic.com"),
        "api_key_command": values.command,
        "auth_token_command": values.command,
        "headers": values.headers,
        "deadline": values.deadline,
        "every": values.duration,
        "cron": _cron,
    }

    name: values.Name
    """The source's name in the column `source` and in every message."""
    api: Literal["anthropic", "openai"] = "anthropic"
    """The format of the API's answers."""
    base_url: str = ""
    """The address of the API; by default the vendor's."""
    api_key_env: values.Variable | None = None
    """The environment variable with the key. Default: ANTHROPIC_API_KEY, or OPENAI_API_KEY."""
    api_key_file: values.File | None = None
    """A file with the key, relative to the configuration file; `~` and variables are expanded."""
    api_key_command: values.Command | None = None
    """A program that prints the key, and its arguments; executed for each run, without a shell."""
    auth_token_env: values.Variable | None = None
    """The environment variable with a bearer token, for gateways."""
    auth_token_file: values.File | None = None
    """A file with a bearer token."""
    auth_token_command: values.Command | None = None
    """A program that prints a bearer token, and its arguments."""
    anthropic_version: values.Header = DEFAULT_VERSION
    """The header `anthropic-version`."""
    lifecycle: tuple[kinds.Lifecycle, ...] = ()
    """The API's filter; empty means the API's default, active and deprecated."""
    headers: Mapping[str, values.Secret] = field(default_factory=dict)
    """Extra request headers; their values are secrets."""
    exclude: tuple[str, ...] = ()
    """Globs of ids that are never recorded; case-sensitive."""
    ignore: tuple[str, ...] = ()
    """Paths whose changes are not recorded as events, such as "pricing.*"; `*` spans levels."""
    page_size: values.UpToThousand = 1000
    """Models per page."""
    deadline: Duration = timedelta(seconds=60)
    """The time limit for the walk over all pages, including retries."""
    every: Duration | None = None
    """How often the daemon syncs this source; by default the top-level schedule."""
    cron: str | None = None
    """A crontab line in place of `every`."""

    def __post_init__(self) -> None:
        """Check the table. Raises ValueError."""
        if not self.base_url:
            force_setattr(self, "base_url", DEFAULT_BASE_URLS.get(self.api, ""))
        if self.api == "openai":
            force_setattr(self, "ignore", tuple(dict.fromkeys((*_OPENAI_IGNORED, *self.ignore))))
        super().__post_init__()
        if self.every is not None and self.cron is not None:
            raise ValueError("every and cron exclude each other; expected one of them")
        given = self._given_credentials()
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; expected one of them")

    def _given_credentials(self) -> dict[str, Any]:
        values = {key: getattr(self, key) for key in credentials.CREDENTIAL_KEYS}
        return {key: value for key, value in values.items() if value is not None}

    def credential(self, cancel: CancelToken | None = None) -> credentials.Credential:
        """Read the source's secret. Raises ConfigError if no secret can be used."""
        given = self._given_credentials()
        return credentials.read_credential(self.name, self.api, given, cancel or CancelToken())


class AlertSettings(_Table, frozen=True, kw_only=True):
    """One `[[alerts]]` table: a channel, and the events that are sent to it."""

    checks: ClassVar[Mapping[str, values.Check]] = {
        "name": values.name,
        "url": values.secret,
        "webhook": values.secret_url,
    }

    name: values.Name
    """The channel's name in messages and in `alert_deliveries`."""
    url: values.Secret | None = None
    """An Apprise URL. It contains tokens, so only its scheme and host are ever shown."""
    webhook: values.Secret | None = None
    """The URL to which JSON is posted, signed as Standard Webhooks specify."""
    secret_env: values.Variable | None = None
    """The environment variable with the webhook's signing secret: "whsec_" and base64."""
    events: tuple[kinds.Kind, ...] = kinds.DEFAULT_ALERT_KINDS
    """The kinds of events that are sent."""
    models: tuple[str, ...] = ()
    """Globs of ids; empty means every model. Events without a model are always sent."""
    sources: tuple[str, ...] = ()
    """Names of sources; empty means every source."""

    def __post_init__(self) -> None:
        """Check the table. Raises ValueError."""
        super().__post_init__()
        if (self.url is None) is (self.webhook is None):
            raise ValueError("expected either url or webhook")
        if self.secret_env is not None and self.webhook is None:
            raise ValueError("secret_env is for a webhook")

    def matches(self, event: Event) -> bool:
        """Whether the channel gets the event. The models of a first list are not sent."""
        return (
            event.kind in self.events
            and not event.baseline
            and (not self.sources or event.source in self.sources)
            and (
                event.model_id is None
                or not self.models
                or any(fnmatchcase(event.model_id, glob) for glob in self.models)
            )
        )

    def secret(self) -> str | None:
        """Read the signing secret. None without one. Raises ConfigError if it is unusable."""
        if self.secret_env is None:
            return None
        return credentials.read_signing_secret(self.name, self.secret_env)


class CheckSettings(_Table, frozen=True, kw_only=True):
    """The `[check]` table: defaults of `catalog-sync check`."""

    checks: ClassVar[Mapping[str, values.Check]] = {"within": values.duration}

    within: Duration = NEAR
    """A retirement within this time is a problem."""
    fail_on: tuple[kinds.Verdict, ...] = kinds.DEFAULT_FAIL_ON
    """Verdicts that make the check fail; any other except `fine` is a warning."""
    ignore: tuple[str, ...] = ()
    """Globs of ids that are skipped."""
    exclude: tuple[str, ...] = ()
    """Files that are not scanned, as .gitignore patterns."""


class Settings(_Table, frozen=True, kw_only=True, dict=True):
    """The whole configuration; every key has a default, and an unknown one is refused."""

    checks: ClassVar[Mapping[str, values.Check]] = {
        "database_url": values.secret,
        "retirement_reminders": values.each(values.duration),
        "retention": values.duration,
        "heartbeat_url": values.secret_url,
        "every": values.duration,
        "cron": _cron,
        "timezone": values.time_zone,
        "jitter": values.jitter,
        "http_listen": values.address,
        "max_age": values.duration,
        "public_url": values.http_url("https://example.com/models"),
    }

    database_url: values.Secret = field(default_factory=lambda: SecretStr("sqlite:///catalog.db"))
    """A URL of sqlite, postgresql, mysql or mariadb; it may contain a password."""
    every: Duration = DEFAULT_EVERY
    """How often the daemon syncs."""
    cron: str | None = None
    """A crontab line in place of `every`, read in `timezone`."""
    timezone: str = "UTC"
    """An IANA time zone, for `cron`."""
    jitter: Duration = timedelta(seconds=30)
    """The maximum random delay of a run; at most a tenth of the interval."""
    retirement_reminders: tuple[Duration, ...] = tuple(timedelta(days=n) for n in (90, 30, 7, 1))
    """How long before a retirement date a `retiring` event is recorded."""
    failure_alert_after: values.Count = 3
    """The number of failed runs in a row that records a `sync_failed` event."""
    delivery_attempts: values.UpToThousand = 20
    """How often an alert is sent before it counts as failed; 20 take about three days."""
    retention: Duration = timedelta(days=400)
    """How long runs without events and delivered alerts are kept."""
    parallel: values.UpToThousand = 16
    """The maximum number of sources that are synced at the same time."""
    heartbeat_url: values.Secret | None = None
    """A URL to ping at the start, success and failure of a run; its path is a secret."""
    http_listen: values.Listen | None = None
    """HOST:PORT on which the daemon serves /metrics and /healthz; unset: no server."""
    max_age: Duration | None = None
    """The allowed age of a source's last success; by default three intervals."""
    public_url: str | None = None
    """The URL of the published site, for absolute links."""
    site_title: values.Title = "Model catalog"
    """The title of the published site."""
    sources: tuple[SourceSettings, ...]
    """The APIs to sync."""
    alerts: tuple[AlertSettings, ...] = ()
    """The channels to send alerts to."""
    check: CheckSettings = field(default_factory=CheckSettings)
    """Defaults of `catalog-sync check`."""

    def __post_init__(self) -> None:
        """Check the whole. Raises ValueError."""
        super().__post_init__()
        if not self.sources:
            raise ValueError(".sources: expected at least one table")
        for key in ("sources", "alerts"):
            names = [table.name for table in getattr(self, key)]
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f".{key}: the name {name!r} is used twice")
        known = {source.name for source in self.sources}
        for alert in self.alerts:
            if unknown := sorted(set(alert.sources) - known):
                raise ValueError(f".alerts: {alert.name}: no source is named {unknown[0]!r}")

    @property
    def file(self) -> Path | None:
        """The configuration file; None where there was none."""
        return self.__dict__.get("_file")

    def credential(
        self, source: SourceSettings, cancel: CancelToken | None = None
    ) -> credentials.Credential:
        """Read a source's secret. Raises ConfigError naming the file, the key and the problem."""
        try:
            return source.credential(cancel)
        except ConfigError as error:
            raise ConfigError(f"{self.file}: {error}" if self.file else str(error)) from None

    def schedule(self, source: SourceSettings) -> Schedule:
        """Return the schedule of a source: its own, or the top-level one."""
        if source.every or source.cron:
            return Schedule(source.every or DEFAULT_EVERY, source.cron, self.timezone)
        return Schedule(self.every, self.cron, self.timezone)

    def max_age_of(self, source: SourceSettings, synced_at: datetime) -> timedelta:
        """Return how old a success at `synced_at` may become."""
        return self.max_age or self.schedule(source).max_age(synced_at)
