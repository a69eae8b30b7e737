"""Database URLs: parsing, checks, and the options of the drivers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from catalog_sync.errors import ConfigError

DRIVERS = {
    "sqlite": ("sqlite", "pysqlite", None),
    "postgresql": ("postgresql+psycopg", "psycopg", "psycopg[binary]"),
    "postgres": ("postgresql+psycopg", "psycopg", "psycopg[binary]"),
    "mysql": ("mysql+pymysql", "pymysql", "PyMySQL"),
    "mariadb": ("mariadb+pymysql", "pymysql", "PyMySQL"),
}
"""By the URL's scheme: SQLAlchemy's name, the driver, the package to install."""
_EXPECTED = (
    "expected sqlite:///FILE, postgresql://USER:PASSWORD@HOST/DATABASE or mysql://… "
    "(CATALOG_SYNC_DATABASE_URL or the key database_url)"
)
_CONNECT_TIMEOUT_SECONDS = 10
_KEEPALIVE = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3}
"""libpq has no read timeout. With these, it detects a dead host within a minute and a half."""
_MYSQL_NUMBERS = ("connect_timeout", "read_timeout", "write_timeout", "max_allowed_packet")
_MYSQL_FLAGS = ("ssl_check_hostname", "ssl_disabled", "ssl_verify_cert", "ssl_verify_identity")
_MYSQL_TEXTS = (
    *("bind_address", "charset", "collation", "program_name", "unix_socket"),
    *("ssl_ca", "ssl_capath", "ssl_cert", "ssl_cipher", "ssl_key"),
)
_TLS_FILES = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "sslrootcert", "sslcert", "sslkey")
_SECRET_LENGTH = 16
"""The length from which the value of any option may be a misplaced secret."""
_SECRET_OPTION = re.compile(r"pass(?!file)|secret|scram|token|^options$")
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_MULTIPLE_HOSTS = re.compile(
    r"^(postgres(?:ql)?(?:\+psycopg)?://(?:[^/@?]*@)?)([^/?@]*,[^/?@]*)(.*)$"
)


def parse(url: str) -> sa.URL:
    """Parse a database URL and set the program's driver. Raises ConfigError."""
    url, hosts = _hosts_of(url)
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
    dialect, driver, _package = DRIVERS[backend]
    if "+" in parsed.drivername and parsed.get_driver_name() != driver:
        raise ConfigError(
            f"database_url: the driver {parsed.get_driver_name()} is not supported",
            f"write {backend}://",
        )
    parsed = parsed.set(drivername=dialect)
    if hosts:
        parsed = parsed.update_query_dict({"host": hosts})
    if backend == "sqlite":
        _check_sqlite(url, parsed)
    if backend in {"mysql", "mariadb"} and not parsed.database:
        raise ConfigError("database_url: no database is named", _EXPECTED)
    return _with_encoding(parsed)


def _with_encoding(parsed: sa.URL) -> sa.URL:
    """Refuse an encoding that is not UTF-8. MariaDB's client needs an explicit one."""
    names = {"mysql": "charset", "mariadb": "charset", "postgresql": "client_encoding"}
    if (name := names.get(parsed.get_backend_name())) is None:
        return parsed
    needed = "utf8mb4" if name == "charset" else "utf8"
    given = str(parsed.query.get(name, needed))
    if given.lower().replace("-", "") not in {needed, "utf8", "utf8mb3"}:
        raise ConfigError(
            f"database_url: {name}={given} cannot encode every character",
            f"write {name}={needed}, or leave it out",
        )
    return parsed.update_query_dict({name: needed}) if name == "charset" else parsed


def _hosts_of(url: str) -> tuple[str, list[str]]:
    """Extract several hosts in libpq's syntax from a URL. SQLAlchemy expects them as options."""
    if (found := _MULTIPLE_HOSTS.match(url)) is None:
        return url, []
    before, hosts, after = found.groups()
    return f"{before}{after}", hosts.split(",")


def _check_sqlite(url: str, parsed: sa.URL) -> None:
    if parsed.database in {None, "", ":memory:"}:
        raise ConfigError("database_url: an SQLite database needs a file", _EXPECTED)
    if "?" in url and "uri" not in parsed.query:
        raise ConfigError(
            "database_url: a ? ends the path of an SQLite file",
            "write %3F for a ? in its path; options need a URI: sqlite:///file:PATH?mode=ro&uri=true",
        )


def connect_options(parsed: sa.URL, silence_seconds: int) -> tuple[sa.URL, dict[str, Any]]:
    """Return a server's URL without the converted options, and the driver's arguments.

    `silence_seconds` is MariaDB's timeout for an answer. Raises ConfigError for an option that is
    unknown or not safe.
    """
    options: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT_SECONDS}
    if parsed.get_backend_name() == "postgresql":
        # No prepared statements: a pooler may run the next transaction on another connection.
        options |= {"client_encoding": "utf8", "prepare_threshold": None, **_KEEPALIVE}
        for name in ("autocommit", "context", "cursor_factory", "row_factory"):
            if name in parsed.query:
                raise ConfigError(f"database_url: the option {name} is not supported", "remove it")
        if "prepare_threshold" in parsed.query:
            given = _number("prepare_threshold", parsed.query["prepare_threshold"], none=True)
            parsed = parsed.difference_update_query(["prepare_threshold"])
            options["prepare_threshold"] = given
    else:
        options |= {"read_timeout": silence_seconds, "write_timeout": silence_seconds}
        options |= _mysql_options(parsed)
        parsed = parsed.difference_update_query([*_MYSQL_NUMBERS, *_MYSQL_FLAGS])
    for name in parsed.query:  # the user's value wins
        options.pop(name, None)
    return parsed, options


def _mysql_options(parsed: sa.URL) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parsed.query.items():
        if name in _MYSQL_NUMBERS:
            options[name] = _number(name, value)
        elif name in _MYSQL_FLAGS:
            options[name] = _flag(name, value)
        elif name not in _MYSQL_TEXTS:
            known = ", ".join(sorted((*_MYSQL_NUMBERS, *_MYSQL_FLAGS, *_MYSQL_TEXTS)))
            raise ConfigError(
                f"database_url: the option {name} is not supported", f"expected one of: {known}"
            )
    return options


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


def _number(name: str, value: Any, *, none: bool = False) -> int | None:
    if none and str(value).lower() in {"none", ""}:
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ConfigError(f"database_url: {name}: expected a number") from None


def _flag(name: str, value: Any) -> bool:
    word = str(value).lower()
    if word not in (*_TRUE, *_FALSE):
        raise ConfigError(f"database_url: {name}: expected true or false")
    return word in _TRUE


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
