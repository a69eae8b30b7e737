"""Values of the configuration: their types in the schema, and the checks that convert them.

A check takes a value from a file or a program and returns the converted one. Its ValueError states
what was expected, and never repeats the value, which may be a misplaced secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.structs import fields

from catalog_sync.clock import parse_duration

Check: TypeAlias = Callable[[Any], Any]
_LONGEST = timedelta(days=3660)  # times further away may overflow a datetime
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9.-]*)):(\d{1,5})", re.ASCII)
_LAST_PORT = 65_535
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110, token
KEY_PREFIXES = ("sk-", "sk_", "whsec_")


class SecretStr:
    """Text that no repr, log or traceback shows; `get_secret_value()` returns it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._text

    def __repr__(self) -> str:
        return f"SecretStr('{'*' * 10 if self._text else ''}')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretStr) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    """A name or an address; empty for all IPv4 addresses of the host."""
    port: int
    """0 takes a free one."""


_END = r"$(?!\n)"  # in Python, $ also matches before a line end
VARIABLE = rf"^(?!sk_|whsec_)[A-Za-z_][A-Za-z0-9_]*{_END}"
FILE = r"^(?!sk-|sk_|whsec_)[^\x00]+$"
HEADER = rf"^[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?{_END}"
EXPECTED = {
    VARIABLE: "the name of an environment variable, not a key",
    FILE: "the path of a file, not a key",
    HEADER: "a value of printable ASCII characters",
}
"""The expectation behind each pattern, for errors."""
Variable = Annotated[str, Meta(pattern=VARIABLE)]
File = Annotated[str, Meta(pattern=FILE)]
Header = Annotated[str, Meta(pattern=HEADER)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Title = Annotated[str, Meta(min_length=1, max_length=100)]
Command = Annotated[tuple[str, ...], Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
UpToThousand = Annotated[int, Meta(ge=1, le=1000)]
if TYPE_CHECKING:
    Duration: TypeAlias = timedelta
    Secret: TypeAlias = SecretStr
    Listen: TypeAlias = Address
else:  # msgspec leaves `Any` to the checks, which also run for settings built by a program
    _DURATION = r"^\s*\d{1,9}(\.\d{1,6})?(ms|s|m|h|d|w)\s*$"
    Duration = Annotated[Any, Meta(extra_json_schema={"type": "string", "pattern": _DURATION})]
    Secret = Annotated[Any, Meta(extra_json_schema={"type": "string"})]
    Listen = Annotated[Any, Meta(extra_json_schema={"type": "string"})]


def text(value: Any) -> str:
    """Check that a value is a string."""
    if not isinstance(value, str):
        raise ValueError("expected a valid string")  # noqa: TRY004  # all checks raise ValueError
    return value


def secret(value: Any) -> SecretStr:
    """Wrap a secret."""
    if hasattr(value, "get_secret_value"):  # also another library's SecretStr
        value = value.get_secret_value()
    return SecretStr(text(value))


def duration(value: Any, *, zero: bool = False, longest: timedelta = _LONGEST) -> timedelta:
    """Convert a duration."""
    length = value if isinstance(value, timedelta) else parse_duration(str(value))
    if not length and not zero:
        raise ValueError("expected a duration longer than zero")
    if length > longest:
        most = "ten years" if longest == _LONGEST else "a day"
        raise ValueError(f"expected a duration of at most {most}")
    return length


jitter: Check = partial(duration, zero=True)
deadline: Check = partial(duration, longest=timedelta(days=1))


def time_zone(value: str) -> str:
    """Check the name of a time zone."""
    if value == "UTC":
        return value
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415  # UTC needs no table

    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError('expected an IANA time zone such as "Europe/Berlin"') from None
    return value


def address(value: Any) -> Address:
    """Convert HOST:PORT."""
    if isinstance(value, Address):
        return value
    match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[3]) > _LAST_PORT:
        raise ValueError('expected HOST:PORT, such as "127.0.0.1:9464" or "[::1]:9464"')
    return Address(match[1] or match[2] or "", int(match[3]))


def http_url(example: str, *, plain: bool = True) -> Check:
    """Return a check of an http or https URL; a `plain` one has no user, query or fragment."""

    def check(value: Any) -> str:
        url = text(value)
        try:
            parts = urlsplit(url)
            host, _port = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        usable = parts.scheme in {"http", "https"} and host and url.isprintable() and " " not in url
        if usable and not (plain and ("@" in parts.netloc or parts.query or parts.fragment)):
            return url.rstrip("/") if plain else url
        besides = ", without query, fragment, spaces, user name or password" if plain else ""
        raise ValueError(f"expected a URL such as {example}{besides}")

    return check


def secret_url(value: Any) -> SecretStr:
    """Check a URL that holds a token."""
    wrapped = secret(value)
    http_url("https://example.com/models", plain=False)(wrapped.get_secret_value())
    return wrapped


def headers(value: Mapping[str, Any]) -> Mapping[str, SecretStr]:
    """Check extra request headers and wrap their values."""
    for name in value:
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a header name")
    return {name: checked(f".{name}", _header_value, each) for name, each in value.items()}


def _header_value(value: Any) -> SecretStr:
    wrapped = secret(value)
    if not re.search(HEADER, wrapped.get_secret_value()):
        raise ValueError(f"expected {EXPECTED[HEADER]}")
    return wrapped


def name(value: str) -> str:
    """Check the name of a source or channel."""
    if value != value.strip() or not value.isprintable():
        raise ValueError("expected printable characters without surrounding spaces")
    if value.startswith(KEY_PREFIXES):
        raise ValueError("expected a name, not a key")
    return value


def command(value: tuple[str, ...]) -> tuple[str, ...]:
    """Check a program and its arguments."""
    if any("\x00" in word for word in value) or not value[0].strip():
        raise ValueError("expected a program and its arguments")
    if value[0].startswith(KEY_PREFIXES):
        raise ValueError("expected a program and its arguments, not a key")
    return value


def typed(table: Struct) -> Iterator[tuple[str, Any]]:
    """Yield the keys of a table with their values, which a program may have passed unchecked."""
    for key, type_ in _types(type(table)).items():
        try:
            yield key, convert(getattr(table, key), type_)
        except ValidationError as error:
            raise ValueError(f".{key}: {error}") from None


@lru_cache
def _types(table: type[Struct]) -> Mapping[str, Any]:
    return {key.name: key.type for key in fields(table)}


def each(check: Check) -> Check:
    """Return a check of every item of a list."""
    return lambda value: tuple(
        checked(f"[{number}]", check, item) for number, item in enumerate(value)
    )


def checked(place: str, check: Check, value: Any) -> Any:
    """Return the checked value. The error begins with its path, such as `.headers.x`."""
    try:
        return check(value)
    except ValueError as error:
        reason = str(error)
        separator = "" if reason[:1] in {"[", "."} else ": "
        raise ValueError(f"{place}{separator}{reason}") from None


def looks_secret(value: str) -> bool:
    """Whether text looks more like a key than like the name of a variable, file or program."""
    return value.startswith(KEY_PREFIXES) or any(
        len(part) > 19  # noqa: PLR2004  # shorter keys are rare
        and re.search(r"\d", part)
        and (re.search(r"[a-z]", part) or "_" not in part)
        and re.fullmatch(r"[\w+=.~-]+", part)
        for part in re.split(r"[/\s]", value)
    )
