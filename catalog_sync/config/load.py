"""Find and read the configuration file. Errors name the file and the key.

This module and `credentials` are the only readers of the environment.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from catalog_sync.config.credentials import expanded
from catalog_sync.config.settings import (
    DEFAULT_BASE_URLS,
    WORDS,
    AlertSettings,
    CheckSettings,
    Settings,
    SourceSettings,
)
from catalog_sync.config.values import EXPECTED, KEY_PREFIXES, http_url
from catalog_sync.errors import ConfigError
from catalog_sync.redact import REDACTED
from catalog_sync.text import did_you_mean

ENV_PREFIX = "CATALOG_SYNC_"
FILE_NAME = "catalog-sync.toml"
_TABLES = {"sources": SourceSettings, "alerts": AlertSettings, "check": CheckSettings}
_REASONS = {
    r"Expected `int` >= (\d+)": "expected greater than or equal to {}",
    r"Expected `int` <= (\d+)": "expected less than or equal to {}",
    r"Expected `str` of length >= 1": "expected at least 1 character",
    r"Expected `str` of length <= (\d+)": "expected at most {} characters",
    r"Expected `array` of length >= 1": "expected at least 1 item",
    r"Expected `str\b": "expected a valid string",
    r"Expected `int\b": "expected a valid integer",
    r"Expected `bool\b": "expected true or false",
    r"Expected `array\b": "expected a list",
    r"Expected `object\b": "expected a table",
}
"""msgspec's errors in the words of TOML, the most specific first."""
_SQLITE_FILE = re.compile(r"(sqlite(?:\+\w+)?:///)(file:)?(?!/|:memory:)([^?]+)(.*)", re.DOTALL)


def load(path: str | os.PathLike[str] | None = None) -> Settings:
    """Read the configuration: `path`, else the first file found, else the defaults.

    The files are CATALOG_SYNC_CONFIG, ./catalog-sync.toml, and catalog-sync.toml in the user's
    configuration directory and in /etc/catalog-sync. Secrets are not read.

    Raises:
        ConfigError: Names the file or variable, the key and what was expected.
    """
    file = _find(Path(path) if path is not None else None)
    data = _read(file) if file else {}
    _resolve_paths(data, file.parent if file else Path())
    variables = dict(_variables())
    data |= variables
    data.setdefault("sources", [_default_source()])
    try:
        settings = msgspec.convert(data, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), file, variables)) from None  # it may quote a secret
    if "every" in data and "cron" in data:
        reason = "every and cron exclude each other; expected one of them"
        raise ConfigError(_explain(reason, file, variables))
    msgspec.structs.force_setattr(settings, "_file", file)
    return settings


def ignoring_base_url(settings: Settings) -> list[str]:
    """Return the sources that use the API's own address although ANTHROPIC_BASE_URL names another.

    The variable is that of the default source, and has no effect on a `[[sources]]` table.
    """
    default = DEFAULT_BASE_URLS["anthropic"]
    if _env("ANTHROPIC_BASE_URL").rstrip("/") in ("", default):
        return []
    return [source.name for source in settings.sources if source.base_url == default]


def _find(path: Path | None) -> Path | None:
    if path is not None or (named := _env("CATALOG_SYNC_CONFIG")):
        return path or Path(named)
    for place in _places():
        with suppress(OSError):  # such as a directory that may not be searched
            if place.is_file():
                return place
    return None


def _places() -> Iterator[Path]:
    yield Path(FILE_NAME)
    import platformdirs  # noqa: PLC0415  # only where no file is named

    with suppress(RuntimeError, KeyError, OSError):  # no home directory, as in a container
        yield platformdirs.user_config_path("catalog-sync") / FILE_NAME
    yield Path("/etc/catalog-sync", FILE_NAME)


def _read(file: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  # not needed without a file

    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = f"configuration file {_unless_key(str(file))} cannot be read: {error.strerror}"
        origin = "CATALOG_SYNC_CONFIG" if str(file) == _env("CATALOG_SYNC_CONFIG") else "--config"
        raise ConfigError(reason, f"correct {origin}, or the file's permissions") from None
    except UnicodeError as error:
        raise ConfigError(f"configuration file {file} is not UTF-8", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"configuration file {file} is not TOML: {error}") from error
    except RecursionError:
        raise ConfigError(f"configuration file {file}: values are nested too deeply") from None


def _resolve_paths(data: dict[str, Any], directory: Path) -> None:
    """Make the relative paths in a file relative to its directory, not to the current one."""
    if directory == Path():
        return
    url = data.get("database_url")
    if isinstance(url, str) and (match := _SQLITE_FILE.fullmatch(url)):
        scheme, uri, path, options = match.groups()
        data["database_url"] = f"{scheme}{uri or ''}{directory / path}{options}"
    sources = data.get("sources")
    for source in sources if isinstance(sources, list) else []:
        for key in ("api_key_file", "auth_token_file"):
            path = source.get(key) if isinstance(source, dict) else None
            if isinstance(path, str) and path and not path.startswith("sk-"):
                source[key] = str(directory / expanded(path))


def _variables() -> Iterator[tuple[str, Any]]:
    """Yield the top-level keys that variables override. Numbers and JSON are decoded."""
    for key in msgspec.structs.fields(Settings):
        variable = ENV_PREFIX + key.name.upper()
        value: Any = _env(variable)
        if not value:
            continue
        if isinstance(key.default, int) and re.fullmatch(r"[+-]?\d+", value, re.ASCII):
            value = int(value)
        elif key.name in _TABLES or isinstance(key.default, tuple):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                kind = "object" if key.name == "check" else "array"
                raise ConfigError(f"{variable}: expected a JSON {kind}") from None
        yield key.name, value


def _default_source() -> dict[str, Any]:
    """Return the source that the official SDK's variables describe, with the SDK's precedence."""
    source: dict[str, Any] = {"name": "anthropic"}
    if base_url := _env("ANTHROPIC_BASE_URL"):
        try:
            source["base_url"] = http_url("https://api.anthropic.com")(base_url)
        except ValueError as error:
            raise ConfigError(f"ANTHROPIC_BASE_URL: {error}") from None
    if _env("ANTHROPIC_AUTH_TOKEN") and not _env("ANTHROPIC_API_KEY"):
        source["auth_token_env"] = "ANTHROPIC_AUTH_TOKEN"  # noqa: S105  # a name, not the token
    return source


def _explain(message: str, file: Path | None, variables: dict[str, Any]) -> str:
    """Return msgspec's error as one line: file or variable, key, expectation; never the value."""
    reason, _, path = message.partition(" - at `$")
    path = path.rstrip("`")
    if match := re.match(r"((?:\.\w+|\[\d+\])(?:\.[\w-]+|\[\d+\])*): ", reason):
        path, reason = path + match[1], reason[match.end() :]
    if match := re.match(r"Object contains unknown field `(.*)`", reason, re.DOTALL):
        owner = _TABLES.get(re.split(r"[.\[]", path.removeprefix("."))[0], Settings)
        close = did_you_mean(match[1], owner.__struct_fields__)
        reason = f"unknown key; {close}" if close else "unknown key"
        path += f".{_unless_key(match[1])}"
    elif reason.startswith("Expected `str` matching regex"):
        expected = next(text for pattern, text in EXPECTED.items() if repr(pattern) in reason)
        reason = f"expected {expected}"
    elif reason.startswith("Invalid enum value"):
        *others, last = (f"'{word}'" for word in WORDS[re.findall(r"[a-z_]+", path)[-1]])
        reason = f"expected {', '.join(others)} or {last}"
    elif match := re.match(r"Object missing required field `(\w+)`", reason):
        path, reason = f"{path}.{match[1]}", "missing"
    else:
        found = ((re.match(pattern, reason), words) for pattern, words in _REASONS.items())
        reason = next((words.format(*match.groups()) for match, words in found if match), reason)
    path = path.removeprefix(".")
    top = re.split(r"[.\[]", path)[0]
    origin = str(file or "configuration")
    if top in variables:
        origin, path = f"{ENV_PREFIX}{top.upper()}", path[len(top) :].removeprefix(".")
    return ": ".join(part for part in (origin, path, reason) if part)


def _unless_key(name: str) -> str:
    """Redact a name that is a misplaced API key."""
    return REDACTED if name.startswith(KEY_PREFIXES) else name


def _env(name: str) -> str:
    """Return a variable without surrounding spaces. An empty one counts as unset, as in the SDK."""
    return os.environ.get(name, "").strip()
