"""Values of the configuration: their types in the schema, and the checks that convert them.

A check takes a value of a file or a program and returns the converted one. It raises ValueError
with what was expected. It never repeats the value, which may be a misplaced secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta

from catalog_sync.clock import parse_duration

Check: TypeAlias = Callable[[Any], Any]
_LONGEST = timedelta(days=3660)  # a later date may exceed the calendar
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9.-]*)):(\d{1,5})", re.ASCII)
_LAST_PORT = 65_535
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110, token
HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?", re.ASCII)
_KEY_PREFIXES = ("sk-", "sk_", "whsec_")


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


if TYPE_CHECKING:
    Duration: TypeAlias = timedelta

    class Secret(Protocol):
        """A secret: `SecretStr`, or the class of this name in another library."""

        def get_secret_value(self) -> str:
            """Return the text."""

    Listen: TypeAlias = Address
else:  # msgspec leaves `Any` to the checks, which also run for settings built by a program
    _DURATION = r"^\s*\d{1,9}(\.\d{1,6})?(ms|s|m|h|d|w)\s*$"
    Duration = Annotated[Any, Meta(extra_json_schema={"type": "string", "pattern": _DURATION})]
    Secret = Annotated[Any, Meta(extra_json_schema={"type": "string"})]
    Listen = Annotated[Any, Meta(extra_json_schema={"type": "string"})]


def word_type(words: Iterable[str]) -> Any:
    """Return the type of one of a few words, which a check converts."""
    return Annotated[Any, Meta(extra_json_schema={"enum": [str(word) for word in words]})]


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


def jitter(value: Any) -> timedelta:
    """Convert a duration, which may be zero."""
    length = value if isinstance(value, timedelta) else parse_duration(str(value))
    if length > _LONGEST:
        raise ValueError("expected a duration of at most ten years")
    return length


def duration(value: Any) -> timedelta:
    """Convert a duration greater than zero."""
    length = jitter(value)
    if not length:
        raise ValueError("expected a duration of more than nothing")
    return length


def at_most_a_day(value: Any) -> timedelta:
    """Convert a duration of at most a day."""
    length = duration(value)
    if length > timedelta(days=1):
        raise ValueError("expected a duration of at most a day")
    return length


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
    """Return a check of an http or https URL.

    Args:
        example: A URL to show as what was expected.
        plain: Whether user, password, query and fragment are refused.
    """

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
        besides = ", without query, fragment, blanks, user name or password" if plain else ""
        raise ValueError(f"expected a URL such as {example}{besides}")

    return check


def secret_url(value: Any) -> SecretStr:
    """Check a URL that holds a token."""
    wrapped = secret(value)
    http_url("https://example.com/models", plain=False)(wrapped.get_secret_value())
    return wrapped


def header_value(value: Any) -> str:
    """Check the value of a header."""
    if not HEADER_VALUE.fullmatch(text(value)):
        raise ValueError("expected a value of printable ASCII characters")
    return str(value)


def headers(value: Mapping[str, Any]) -> Mapping[str, SecretStr]:
    """Check extra request headers and wrap their values."""
    wrapped = {}
    for name, each in value.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no header name")
        try:
            wrapped[name] = secret(each)
            header_value(wrapped[name].get_secret_value())
        except ValueError as error:
            raise ValueError(f".{name}: {error}") from None
    return wrapped


def name(value: str) -> str:
    """Check the name of a source or channel."""
    if value != value.strip() or not value.isprintable():
        raise ValueError("expected printable characters without blanks around them")
    if value.startswith(_KEY_PREFIXES):
        raise ValueError("expected a name, not a key")
    return value


def variable(value: str) -> str:
    """Check the name of an environment variable."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value, re.ASCII) or value.lower().startswith(
        _KEY_PREFIXES
    ):
        raise ValueError("expected the name of an environment variable, not a key")
    return value


def file_name(value: str) -> str:
    """Check the path of a file."""
    if not value or "\x00" in value or value.startswith(_KEY_PREFIXES):
        raise ValueError("expected the path of a file, not a key")
    return value


def command(value: tuple[str, ...]) -> tuple[str, ...]:
    """Check a program and its arguments."""
    if any("\x00" in word for word in value) or not value[0].strip():
        raise ValueError("expected a program and its arguments")
    if value[0].startswith(_KEY_PREFIXES):
        raise ValueError("expected a program and its arguments, not a key")
    return value


def word(words: Iterable[str]) -> Check:
    """Return a check that a value is one of a few words; a word of an enumeration becomes it."""
    known = {str(each): each for each in words}
    *others, last = map(repr, known)

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"expected {', '.join(others)} or {last}")
        return known[value]

    return check


def each(check: Check) -> Check:
    """Return a check of every item of a list."""

    def check_all(value: Any) -> tuple[Any, ...]:
        checked = []
        for number, item in enumerate(value):
            try:
                checked.append(check(item))
            except ValueError as error:
                raise ValueError(f"[{number}]: {error}") from None
        return tuple(checked)

    return check_all


def looks_secret(value: str) -> bool:
    """Whether text looks more like a key than like the name of a variable, file or program."""
    return value.startswith(_KEY_PREFIXES) or any(
        len(part) > 19  # noqa: PLR2004  # shorter keys are rare
        and re.search(r"\d", part)
        and (re.search(r"[a-z]", part) or "_" not in part)
        and re.fullmatch(r"[\w+=.~-]+", part)
        for part in re.split(r"[/\s]", value)
    )
