"""Shared fixtures: a clean environment, and a database of each kind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.text import one_line

SERVERS = {
    "postgresql": os.environ.get(
        "CATALOG_SYNC_TEST_POSTGRESQL", "postgresql://postgres@127.0.0.1:5432/postgres"
    ),
    "mariadb": os.environ.get("CATALOG_SYNC_TEST_MARIADB", "mysql://root@127.0.0.1:3306/test"),
}
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores SIGINT, and so would the programs under test.
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Where the servers are promised, a test that skips for want of one has failed.
REQUIRED = os.environ.get("CATALOG_SYNC_TEST_REQUIRE_SERVERS") == "1"
# Prometheus's own judge of metrics and rules, which comes with it.
PROMTOOL = os.environ.get("CATALOG_SYNC_TEST_PROMTOOL", "promtool")


def need(tool: str) -> str:
    """Return the path of a program; without it the test is skipped, or fails if it is promised."""
    beside_python = Path(sys.executable).parent
    found = shutil.which(tool) or shutil.which(tool, path=beside_python)
    if found is None:
        reason = f"{tool} is not installed"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests do not see the key, the configuration or the directory of the user who runs them."""
    for name in os.environ:
        if name.startswith(("ANTHROPIC_", "CATALOG_SYNC_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.chdir(tmp_path)


@contextmanager
def empty_database(kind: str, directory: Path) -> Iterator[str]:
    """Yield the URL of an empty database of a kind, as a user would write it."""
    if kind == "sqlite":
        yield f"sqlite:///{directory}/catalog.db"
        return
    server = db_engine.create_engine(SERVERS[kind])
    # Another default of the server: the tables must state their own character set.
    options = " CHARACTER SET latin1" if kind == "mariadb" else ""
    name = f"catalog_sync_test_{uuid.uuid4().hex[:12]}"
    autocommit = server.execution_options(isolation_level="AUTOCOMMIT")
    try:
        with autocommit.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}{options}"))
    except sa.exc.OperationalError as error:
        server.dispose()
        reason = f"no {kind} server answers: {one_line(str(error.orig))}"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    url = sa.make_url(SERVERS[kind]).set(database=name)
    yield url.render_as_string(hide_password=False)
    with autocommit.connect() as connection:
        force = " WITH (FORCE)" if kind == "postgresql" else ""
        connection.execute(sa.text(f"DROP DATABASE {name}{force}"))
    server.dispose()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an empty database, of each kind in turn."""
    with empty_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    """Yield an engine on an empty database that has the schema."""
    engine = db_engine.create_engine(database_url)
    copy_schema(engine)
    yield engine
    engine.dispose()


def copy_schema(engine: sa.Engine) -> None:
    """Set a database up: the first of a kind by the migrations, others with a copy of the first.

    On MariaDB the migrations take seconds.
    """
    kind = engine.dialect.name
    if kind in {"mysql", "mariadb"}:
        if statements := _copies.get(kind):
            with engine.connect() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)
                connection.commit()
            engine.dispose()
            return
        migrate.ensure_schema(engine)
        _copies[kind] = list(_statements_of(engine))
        return
    file = Path(engine.url.database or "")
    if kind == "sqlite" and kind in _copies:
        file.write_bytes(_copies[kind])
        return
    migrate.ensure_schema(engine)
    if kind == "sqlite":
        engine.dispose()
        _copies[kind] = file.read_bytes()


_copies: dict[str, Any] = {}


def _statements_of(engine: sa.Engine) -> Iterator[str]:
    yield "SET foreign_key_checks = 0"
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SHOW FULL TABLES").all()
        for name, type_ in sorted(rows, key=lambda row: row[1] == "VIEW"):
            word = "VIEW" if type_ == "VIEW" else "TABLE"
            row = connection.exec_driver_sql(f"SHOW CREATE {word} {name}").one()
            yield row[1].replace("%", "%%")
    yield f"INSERT INTO catalog_sync_version VALUES ('{migrate.HEAD}')"


@pytest.fixture
def promtool() -> str:
    """Give the path of promtool."""
    return need(PROMTOOL)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    paths = directory / "certificate.pem", directory / "key.pem"
    curve = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", str(paths[0]), "-keyout", str(paths[1])]
    command = [
        need("openssl"),
        "req",
        "-x509",
        "-nodes",
        "-days",
        "2",
        "-newkey",
        *curve,
        *names,
        *files,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return paths
