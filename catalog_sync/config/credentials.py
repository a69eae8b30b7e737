"""Reads the secrets of sources and webhooks from variables, files and commands."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from catalog_sync.cancel import CancelToken
from catalog_sync.config.values import HEADER, looks_secret
from catalog_sync.errors import ConfigError

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


@dataclass(frozen=True, slots=True)
class Credential:
    """The header that authenticates a source's requests."""

    header: Literal["x-api-key", "authorization"]
    value: str = field(repr=False)
    origin: str
    """The variable, file or program, for errors. Never the value."""


def read_credential(
    name: str, api: str, given: Mapping[str, Any], cancel: CancelToken
) -> Credential:
    """Read a source's secret from its variable, file or command. Raises ConfigError.

    Args:
        name: The source.
        api: Its API, which determines the default variable and the header.
        given: At most one of `CREDENTIAL_KEYS`, with its value.
        cancel: Ends a command.
    """
    default = "ANTHROPIC_API_KEY" if api == "anthropic" else "OPENAI_API_KEY"
    [(key, named)] = (given or {"api_key_env": default}).items()
    where = f"source {name}: {key}"
    if key.endswith("_env"):
        origin, secret = named, os.environ.get(named, "")
        missing, advice = f"{named} is not set or empty", f"set {named}"
        if looks_secret(named):
            missing, advice = "no such variable", "expected the name of an environment variable"
    elif key.endswith("_file"):
        path = expanded(named)
        shown = "" if looks_secret(named) else f" {path}"
        origin, secret = f"the file{shown}", _read_file(path, f"{where}{shown}")
        missing, advice = f"the file{shown} is empty", "write the key into it"
    else:
        program = "the program" if looks_secret(named[0]) else f"the program {named[0]}"
        origin, secret = program, _run_command(named, f"{where}: {program}", cancel)
        missing, advice = f"{program} printed nothing", "run it by hand"
    secret = secret.strip()
    if not secret and named == "ANTHROPIC_API_KEY":
        who = "No" if name == "anthropic" else f"source {name}: no"
        help_ = "(or try `catalog-sync demo`, which needs none)"
        raise ConfigError(f"{who} API key: set ANTHROPIC_API_KEY {help_}")
    if not secret:
        raise ConfigError(f"{where}: no key: {missing}", advice)
    if not re.search(HEADER, secret):
        raise ConfigError(
            f"source {name}: {origin} holds characters that no key has",
            "expected printable ASCII on one line",
        )
    if key.startswith("auth_token") or api == "openai":
        return Credential("authorization", f"Bearer {secret}", origin)
    return Credential("x-api-key", secret, origin)


def read_signing_secret(name: str, variable: str) -> str:
    """Read the signing secret of the channel `name` from a variable. Raises ConfigError."""
    secret = os.environ.get(variable, "").strip()
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if secret.startswith("whsec_") and key:
        return secret
    expected = 'expected "whsec_" and base64'
    if not secret and looks_secret(variable):
        expected = "expected the name of an environment variable"
        raise ConfigError(f"alert channel {name}: secret_env: no such variable", expected)
    reason = "holds no signing secret" if secret else "is not set or empty"
    raise ConfigError(f"alert channel {name}: {variable} {reason}", expected)


def expanded(file: str) -> Path:
    """Return a path with its `~` and variables expanded."""
    return Path(os.path.expanduser(os.path.expandvars(file)))  # noqa: PTH111  # never raises


def _read_file(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"{where} cannot be read: {reason}") from None  # it may quote the path


def _run_command(command: Sequence[str], program: str, cancel: CancelToken) -> str:
    """Return a program's output. It may contain secrets, so errors never show it."""
    import subprocess  # noqa: PLC0415  # only needed for sources with a command

    try:
        with (
            subprocess.Popen(  # noqa: S603  # the user's own command, without a shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as process,
            cancel.on_cancel(process.kill),
        ):
            try:
                output, _ = process.communicate(timeout=_COMMAND_SECONDS)
            except BaseException:
                process.kill()
                raise
        if process.returncode < 0:  # Ctrl-C also ends it, perhaps before `cancel` is cancelled
            cancel.sleep(0.1)
        printed = output.decode("utf-8-sig")
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{program} did not end within {_COMMAND_SECONDS} s") from None
    except OSError as error:
        raise ConfigError(f"{program} cannot be started: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{program} did not print text") from None
    if process.returncode:
        code = process.returncode
        raise ConfigError(f"{program} failed with exit code {code}", "run it by hand")
    return printed
