"""Database URLs: parsing, checks, and the options of the drivers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy import exc

from catalog_sync.errors import ConfigError

DRIVERS = {
    "sqlite": ("sqlite+pysqlite", None),
    "postgresql": ("postgresql+psycopg", "psycopg[binary]"),
    "postgres": ("postgresql+psycopg", "psycopg[binary]"),
    "mysql": ("mysql+pymysql", "PyMySQL"),
    "mariadb": ("mariadb+pymysql", "PyMySQL"),
}
"""By the URL's scheme: SQLAlchemy's dialect and driver, and the package to install."""
_EXPECTED = (
    "expected sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://… "
    "(CATALOG_SYNC_DATABASE_URL or the key database_url)"
)
_CONNECT_TIMEOUT_SECONDS = 10
_KEEPALIVE = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3}
"""libpq has no read timeout. With these, it detects a dead host within a minute and a half."""
_WORDS = {"1": True, "true": True, "yes": True, "on": True}
_WORDS |= {"0": False, "false": False, "no": False, "off": False}
_Conversion: TypeAlias = tuple[Callable[[str], Any], str]
_NUMBER: _Conversion = (int, "a number")
_FLAG: _Conversion = (lambda text: _WORDS[text.lower()], "true or false")
_CONVERTED = {
    **dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), _NUMBER),
    "max_allowed_packet": _NUMBER,
    **dict.fromkeys(("ssl_disabled", "ssl_verify_cert", "ssl_verify_identity"), _FLAG),
}
"""Options that PyMySQL does not read as text: the conversion, and what it expects."""
_MYSQL_OPTIONS = {
    *_CONVERTED,
    *("bind_address", "charset", "collation", "program_name", "unix_socket"),
    *("ssl_ca", "ssl_capath", "ssl_cert", "ssl_check_hostname", "ssl_cipher", "ssl_key"),
}
_TLS_FILES = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "sslrootcert", "sslcert", "sslkey")
_SECRET_LENGTH = 16
"""The length from which the value of any option may be a misplaced secret."""
_SECRET_OPTION = re.compile(r"pass(?!file)|secret|scram|token|^options$")
_MULTIPLE_HOSTS = re.compile(
    r"^(postgres(?:ql)?(?:\+psycopg)?://(?:[^/@?]*@)?)([^/?@]*,[^/?@]*)(.*)$"
)


def parse(url: str) -> sa.URL:
    """Parse a database URL and set the program's driver. Raises ConfigError."""
    hosts: list[str] = []
    if found := _MULTIPLE_HOSTS.match(url):  # SQLAlchemy expects them as options
        url, hosts = f"{found[1]}{found[3]}", found[2].split(",")
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
        _ = parsed.port
    except (exc.SQLAlchemyError, ValueError):
        raise ConfigError("database_url: not a database URL", _EXPECTED) from None
    if "@" in (parsed.host or ""):
        raise ConfigError(
            "database_url: more than one @; write an @ in a password as %40", _EXPECTED
        )
    if backend not in DRIVERS:
        raise ConfigError(f"database_url: {backend} is not supported", _EXPECTED)
    dialect, _package = DRIVERS[backend]
    if "+" in parsed.drivername and not dialect.endswith(f"+{parsed.get_driver_name()}"):
        raise ConfigError(
            f"database_url: the driver {parsed.get_driver_name()} is not supported",
            f"write {backend}://",
        )
    in_memory = parsed.query.get("mode") == "memory" or ":memory:" in (parsed.database or "")
    if backend == "sqlite" and (in_memory or not parsed.database):
        raise ConfigError("database_url: an SQLite database needs a file", _EXPECTED)
    if backend == "sqlite" and "?" in url and "uri" not in parsed.query:
        raise ConfigError(
            "database_url: a ? ends the path of an SQLite file",
            "write %3F for a ? in its path; options need a URI: sqlite:///file:PATH?mode=ro&uri=true",
        )
    if backend in {"mysql", "mariadb"} and not parsed.database:
        raise ConfigError("database_url: no database is named", _EXPECTED)
    parsed = parsed.set(drivername=dialect)
    return parsed.update_query_dict({"host": hosts}) if hosts else parsed


def connect_options(parsed: sa.URL, silence_seconds: int) -> tuple[sa.URL, dict[str, Any]]:
    """Return a server's URL without the converted options, and the driver's arguments.

    `silence_seconds` is MariaDB's timeout for an answer. Raises ConfigError for an option that is
    unknown or not safe.
    """
    options: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT_SECONDS}
    if parsed.get_backend_name() == "postgresql":
        # No prepared statements: a pooler may run the next transaction on another connection.
        options |= {"prepare_threshold": None, **_KEEPALIVE}
        converted = {"prepare_threshold": _NUMBER}
        encoding, needed = "client_encoding", "utf8"
    else:
        options |= {"read_timeout": silence_seconds, "write_timeout": silence_seconds}
        converted = _CONVERTED
        encoding, needed = "charset", "utf8mb4"
        if unknown := sorted(parsed.query.keys() - _MYSQL_OPTIONS):
            raise ConfigError(
                f"database_url: the option {unknown[0]} is not supported",
                f"expected one of: {', '.join(sorted(_MYSQL_OPTIONS))}",
            )
        if parsed.password:  # PyMySQL would encode it in Latin-1; other clients send UTF-8
            options["password"] = str(parsed.password).encode(errors="surrogateescape")
    given = str(parsed.query.get(encoding, needed))
    if given.lower().replace("-", "") not in {"utf8", "utf8mb3", "utf8mb4"}:
        raise ConfigError(
            f"database_url: {encoding}={given} cannot encode every character",
            f"write {encoding}={needed}, or leave it out",
        )
    for name in parsed.query:
        options.pop(name, None)  # the user's value wins
        if name in converted:
            convert, expected = converted[name]
            try:
                options[name] = convert(str(parsed.query[name]))
            except (KeyError, ValueError):
                raise ConfigError(f"database_url: {name}: expected {expected}") from None
    options[encoding] = needed
    return parsed.difference_update_query([*converted, encoding]), options


def check_options(engine: sa.Engine) -> None:
    """Refuse options that libpq does not know. Raises ConfigError."""
    if engine.dialect.name != "postgresql":
        return
    from psycopg import pq  # noqa: PLC0415  # an optional driver

    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    for name in engine.url.query:
        if name not in known:
            raise ConfigError(
                f"database_url: {name} is not an option of PostgreSQL's client library",
                "see the parameter key words in libpq's documentation",
            )


def display_url(url: sa.URL) -> str:
    """Return the part of a database URL without secrets, for messages."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    hosts = url.query.get("host", ())
    listed = ",".join((hosts,) if isinstance(hosts, str) else hosts)
    port = f":{url.port}" if url.port else ""
    host = f"{url.host}{port}" if url.host else listed or f"localhost{port}"
    return f"{url.get_backend_name()}://{host}/{url.database or ''}"


def secrets(url: sa.URL) -> list[str]:
    """Return the secrets of a URL: passwords, and options that may hold one."""
    options = [
        text
        for name, value in url.query.items()
        for text in ((value,) if isinstance(value, str) else value)
        if _SECRET_OPTION.search(name.lower())
        or (len(text) >= _SECRET_LENGTH and name not in _TLS_FILES)
    ]
    return [str(text) for text in (url.password, *options) if text and len(str(text)) > 3]  # noqa: PLR2004


def suspect_files(url: sa.URL) -> list[str]:
    """Return the missing TLS files of a URL; all of its TLS files if none is missing."""
    files = [str(url.query[name]) for name in _TLS_FILES if name in url.query]
    return [file for file in files if not Path(file).exists()] or files


def without_secrets(error: BaseException, url: sa.URL) -> str:
    """Return the text of a driver's error with the URL's secrets redacted."""
    text = str(error.args[-1] if error.args else error)  # PyMySQL: (code, message)
    if isinstance(error, OSError) and error.filename:
        return f"{error.strerror}: {error.filename}"
    for secret in secrets(url):
        text = text.replace(secret, "***")
    return text
