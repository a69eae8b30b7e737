"""Find and read the configuration file; report what is wrong with it by file and key."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from catalog_sync.config.settings import (
    ENV_PREFIX,
    AlertSettings,
    Settings,
    SourceSettings,
    _base_url,
    _env,
)
from catalog_sync.errors import ConfigError

FILE_NAME = "catalog-sync.toml"


def load(path: Path | None = None) -> Settings:
    """Read the configuration: `path`, else the first file found, else the defaults alone.

    Looked for are CATALOG_SYNC_CONFIG, ./catalog-sync.toml, the user's configuration directory and
    /etc/catalog-sync. Raises ConfigError naming the file (or variable), the key and what was
    expected; secrets are not read yet.
    """
    file = _find(path)
    data = _read(file) if file else {}
    try:
        data |= EnvSettingsSource(Settings)()  # the environment wins
        data.setdefault("sources", [_default_source()])
        settings = Settings(**data)
    except ValidationError as error:
        raise ConfigError(_explain(error, file)) from None  # the cause may quote a secret
    except SettingsError as error:
        match = re.search(r'field "(\w+)"', str(error))
        variable = f"{ENV_PREFIX}{match[1].upper()}" if match else f"{ENV_PREFIX}*"
        raise ConfigError(f"{variable}: expected a JSON array") from None
    settings._file = file  # noqa: SLF001
    return settings


def _find(path: Path | None) -> Path | None:
    named = _env("CATALOG_SYNC_CONFIG")
    if path is not None or named:
        return path or Path(named)
    places = (Path(), platformdirs.user_config_path("catalog-sync"), Path("/etc/catalog-sync"))
    return next((place / FILE_NAME for place in places if _is_file(place / FILE_NAME)), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a directory that we may not look into holds no file for us
        return False


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"configuration file {file} cannot be read: {error.strerror}") from error
    except UnicodeError as error:
        raise ConfigError(f"configuration file {file} is not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"configuration file {file} is not TOML: {error}") from error


def _default_source() -> dict[str, Any]:
    """Return the source that the official SDK's variables describe, its precedence included."""
    source: dict[str, Any] = {"name": "anthropic"}
    if base_url := _env("ANTHROPIC_BASE_URL"):
        try:
            source["base_url"] = _base_url(base_url)
        except ValueError as error:
            raise ConfigError(f"ANTHROPIC_BASE_URL: {error}") from None
    if _env("ANTHROPIC_AUTH_TOKEN") and not _env("ANTHROPIC_API_KEY"):
        source["auth_token_env"] = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105  # a name, not the token
    return source


def _explain(error: ValidationError, file: Path | None) -> str:
    """Return one line: the file or the variable, the key, what was expected. Never the value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    parts = list(first["loc"])
    variable = f"{ENV_PREFIX}{parts[0]}".upper() if parts else ""
    origin = variable if _env(variable) else str(file or "configuration")
    named = parts[1:] if origin == variable else parts  # a variable is its key's name
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in named)
    if first["type"] == "extra_forbidden":
        owner: type[BaseModel] = Settings
        if len(parts) > 1:
            owner = AlertSettings if parts[0] == "alerts" else SourceSettings
        close = difflib.get_close_matches(str(parts[-1]), owner.model_fields, n=1)
        reason = "unknown key" + (f"; did you mean {close[0]}?" if close else "")
    else:
        reason = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        reason = reason.replace("a valid tuple", "a list").replace("Field required", "missing")
    return ": ".join(part for part in (origin, key.removeprefix("."), reason) if part)
