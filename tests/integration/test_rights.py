"""The rights that the documentation names are enough, and a missing one is an ordinary error."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from catalog_sync.app import App
from catalog_sync.config.settings import AlertSettings, Settings
from catalog_sync.config.values import SecretStr
from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.errors import DatabaseError
from catalog_sync.queries.metrics import exposition
from receivers import Receiver
from support import model, run, settings_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "database-rights.md"
servers = pytest.mark.parametrize("database_url", ["postgresql", "mariadb"], indirect=True)


class Rights:
    """The documented roles, in a separate database; `grant` gives one what the table says."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._postgresql = self._url.get_backend_name() == "postgresql"
        self._suffix = uuid.uuid4().hex[:8]
        self._root = db_engine.create_engine(url)
        self._made: list[str] = []

    def grant(self, role: str) -> str:
        """Create a role with its documented rights alone; return the URL of its connections."""
        name = f"{role}_{self._suffix}"
        kind = "ROLE" if self._postgresql else "USER"
        end = "LOGIN" if self._postgresql else "IDENTIFIED BY 'secret'"
        self._execute(f"CREATE {kind} {name} {end}", *self._documented(role, name))
        self._made.append(name)
        return self._url.set(username=name, password="secret").render_as_string(False)

    def _documented(self, role: str, name: str) -> list[str]:
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
            cells = line.split("|")
            if line.startswith(f"| `{role}`"):
                statements = re.findall(r"`([^`]+)`", cells[3 if self._postgresql else 4])
                database = str(self._url.database)
                return [
                    s.replace(role, name).replace("catalog.*", f"{database}.*") for s in statements
                ]
        raise KeyError(role)

    def _execute(self, *statements: str) -> None:
        with self._root.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def close(self) -> None:
        for name in self._made:
            if self._postgresql:
                self._execute(f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")
            else:
                self._execute(f"DROP USER {name}")
        self._root.dispose()


@pytest.fixture
def rights(database_url: str) -> Iterator[Rights]:
    rights = Rights(database_url)
    yield rights
    rights.close()


def settings(url: str, sandbox: Sandbox, receiver: Receiver) -> Settings:
    """Settings with one source, and a webhook for new models."""
    hook = AlertSettings(name="hook", webhook=SecretStr(receiver.url))
    return msgspec.structs.replace(settings_for(url, sandbox.url), alerts=(hook,))


@servers
def test_documented_rights_are_enough(rights: Rights) -> None:
    """Three roles with the documented rights set up, sync, deliver, forget and read."""
    owner = db_engine.create_engine(rights.grant("catalog_owner"))
    assert migrate.upgrade(owner) == (None, migrate.HEAD)
    owner.dispose()
    writer, reader = rights.grant("catalog_writer"), rights.grant("catalog_reader")
    with Sandbox([model("a")]) as sandbox, Receiver() as receiver:
        with App(settings(writer, sandbox, receiver)) as app:
            assert app.sync()[0].error is None
            sandbox.models = [model("b"), model("a", display_name="Another")]
            assert app.sync()[0].error is None
            assert app.deliver().delivered == 1
            assert app.requeue() == (0, 0)
            with pytest.raises(sa.exc.DBAPIError), app.engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE theirs (id INTEGER)")
        with App(settings(reader, sandbox, receiver)) as app:
            assert len(app.models()) == 2
            assert len(list(app.events())) == 3
            assert app.status().ok
            assert b"catalog_sync_database_up 1.0" in exposition(app.snapshot())
            [report] = app.sync()
            assert isinstance(report.cause, DatabaseError)
            assert re.search(r"denied.*; grant the right to the user", str(report.error))
    for command in ("show a", "check a", "alerts list"):
        made = run(*command.split(), CATALOG_SYNC_DATABASE_URL=reader)
        assert (made.returncode, made.stderr) == (0, ""), command
    words = ("sources", "forget", "anthropic", "--yes")
    config = Path("other.toml")
    config.write_text('[[sources]]\nname = "other"\nbase_url = "http://127.0.0.1:9"\n', "utf-8")
    made = run("--config", str(config), *words, CATALOG_SYNC_DATABASE_URL=writer)
    assert (made.returncode, made.stderr) == (0, "")


@servers
def test_a_first_command_without_the_right_to_set_up(rights: Rights) -> None:
    """A role that may not create tables gets the reason from the first command."""
    url = rights.grant("catalog_writer")
    with Sandbox() as sandbox, App(settings_for(url, sandbox.url)) as app:
        with pytest.raises(DatabaseError, match=r"denied.*; grant the right to the user"):
            app.sync()
        assert app.models() == []
