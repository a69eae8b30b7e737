"""Secrets that authenticate a source: where each comes from, and how it is read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from catalog_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from catalog_sync.config.settings import SourceSettings

CREDENTIAL_KEYS = (
    "api_key_env",
    "api_key_file",
    "api_key_command",
    "auth_token_env",
    "auth_token_file",
    "auth_token_command",
)
"""The keys of a source that name its credential, of which at most one may be given."""
_COMMAND_SECONDS = 10
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Credential:
    """The header that authenticates a source's requests."""

    header: Literal["x-api-key", "authorization"]
    value: str = field(repr=False)
    origin: str
    """What an error may name: the variable, file or program, never the value."""


def read_credential(source: SourceSettings, directory: Path) -> Credential:
    """Read a source's secret from its variable, file or command.

    Args:
        source: The source, of which at most one of CREDENTIAL_KEYS is set.
        directory: The directory to which relative files are relative.

    Raises:
        ConfigError: The secret is missing, empty or not a header value.
    """
    default = "ANTHROPIC_API_KEY" if source.api == "anthropic" else "OPENAI_API_KEY"
    key = next((key for key in CREDENTIAL_KEYS if getattr(source, key) is not None), "")
    named = getattr(source, key) if key else default
    key = key or "api_key_env"
    where = f"source {source.name}: {key}"
    if key.endswith("_env"):
        origin, secret = named, os.environ.get(named, "")
        missing, advice = f"{named} is not set or empty", f"set {named}"
    elif key.endswith("_file"):
        path = directory / os.path.expanduser(os.path.expandvars(named))  # noqa: PTH111  # never raises
        origin, secret = f"the file {path}", _read_file(path, where)
        missing, advice = f"the file {path} is empty", "write the key into it"
    else:
        origin, secret = f"the program {named[0]}", _run_command(named, where)
        missing, advice = f"the program {named[0]} printed nothing", "run it by hand"
    secret = secret.strip()
    if not secret:
        raise ConfigError(f"{where}: no key: {missing}", advice)
    if not _HEADER_VALUE.fullmatch(secret):
        raise ConfigError(
            f"source {source.name}: {origin} holds characters that no key has",
            "expected printable ASCII on one line",
        )
    if key.startswith("auth_token") or source.api == "openai":
        return Credential("authorization", f"Bearer {secret}", origin)
    return Credential("x-api-key", secret, origin)


def _read_file(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"{where} {path} cannot be read: {reason}") from error


def _run_command(command: Sequence[str], where: str) -> str:
    """Return what a program prints. Its output, errors included, is never shown."""
    import subprocess  # noqa: PLC0415  # only sources with a command pay for it

    program = f"{where}: the program {command[0]}"
    try:
        done = subprocess.run(  # noqa: S603  # the user's own command, without a shell
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        printed = done.stdout.decode("utf-8-sig")
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{program} did not end within {_COMMAND_SECONDS} s") from None
    except OSError as error:
        raise ConfigError(f"{program} cannot be started: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{program} did not print text") from None
    if done.returncode:
        raise ConfigError(f"{program} failed with exit code {done.returncode}", "run it by hand")
    return printed
