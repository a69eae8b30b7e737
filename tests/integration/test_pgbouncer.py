"""Behind PgBouncer in transaction mode every transaction may get another server connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from catalog_sync.app import App
from catalog_sync.db import engine as db_engine
from catalog_sync.demo.sandbox import Sandbox
from conftest import empty_database
from daemons import Daemon
from poolers import pgbouncer
from support import model, settings_for

ROUNDS = 8
"""More often than the driver sees a statement before it prepares it on the server."""


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an empty database on PostgreSQL, without the pooler."""
    with empty_database("postgresql", tmp_path) as url:
        yield url


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox([model("claude-one"), model("claude-two")]) as sandbox:
        yield sandbox


def test_clients_share_one_server_connection(direct: str, sandbox: Sandbox) -> None:
    """Two processes whose transactions alternate on one server connection both succeed."""
    with pgbouncer(direct, pool_size=1) as url, ExitStack() as stack:
        apps = [stack.enter_context(App(settings_for(url, sandbox.url))) for _ in range(2)]
        for number in range(ROUNDS):
            one = model("claude-one", display_name=f"One {number}")
            sandbox.models = [one, model("claude-two")]
            for app in apps:
                reports = app.sync()
                assert [(report.status, report.error) for report in reports] == [
                    ("succeeded", None)
                ]
                assert [record.info.id for record in app.models()] == ["claude-one", "claude-two"]
                assert app.status().ok


def test_a_daemon_behind_a_pooler(direct: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """A daemon with two sources works behind PgBouncer without any setting."""
    with pgbouncer(direct, pool_size=2) as url:
        config = tmp_path / "catalog-sync.toml"
        lines = [f'database_url = "{url}"', 'jitter = "0s"']
        for name, every in {"a": 2, "b": 3}.items():
            lines += ["[[sources]]", f'name = "{name}"', f'every = "{every}s"']
            lines += [f'base_url = "{sandbox.url}"', 'api_key_env = "ANTHROPIC_API_KEY"']
        config.write_text("\n".join(lines), encoding="utf-8")
        with Daemon("--config", str(config)) as daemon:
            engine = db_engine.create_engine(direct)
            count = sa.text("SELECT count(*) FROM sync_runs WHERE status = 'succeeded'")

            def enough() -> bool:
                with engine.connect() as connection:
                    if not sa.inspect(connection).has_table("sync_runs"):
                        return False
                    return connection.scalar(count) >= ROUNDS

            daemon.wait_until(enough)
            failed = sa.text("SELECT error FROM sync_runs WHERE status = 'failed'")
            with engine.connect() as connection:
                assert connection.execute(failed).all() == []
            engine.dispose()
            assert daemon.end() == 0
            assert [e for e in daemon.log if e.get("level") not in {"info", "INFO"}] == []
