"""A catalog that another user keeps, in a place where this user may not write."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from catalog_sync.demo import story
from support import KEY, environment, program


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """Give a file that may not be written, in a directory that may not be written."""
    made = tmp_path / "catalog.db"
    assert [report.error for _, report in story.replay(made) if report.error] == []
    directory = tmp_path / "a directory?#%41"
    directory.mkdir()
    file = made.rename(directory / "catalog.db")
    file.chmod(0o444)
    directory.chmod(0o555)
    yield file
    directory.chmod(0o755)


def run(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user who is bound by permissions, unlike the superuser."""
    bound: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed, and the superuser may write everywhere")
        bound = ["setpriv", "--bounding-set=-dac_override"]
    path = str(file).replace("%", "%25").replace("?", "%3F")
    return subprocess.run(
        [*bound, *program(*arguments)],
        env=environment(CATALOG_SYNC_DATABASE_URL=f"sqlite:///{path}", ANTHROPIC_API_KEY=KEY),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_reading_where_nothing_may_be_written(shared: Path) -> None:
    """Queries work, also while another process writes; a run reports that it cannot write."""
    before = sorted(shared.parent.iterdir())
    result = run(shared, "models")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[1].split()[0] == "claude-opus-5"
    sync = run(shared, "sync")
    assert sync.returncode == 4
    assert "may be written" in sync.stderr
    assert sorted(shared.parent.iterdir()) == before

    with closing(sqlite3.connect(shared)) as writer, writer:
        writer.execute("UPDATE models SET id = 'claude-opus-6' WHERE id = 'claude-opus-5'")
        writer.commit()
        assert shared.with_name("catalog.db-wal").stat().st_size > 0
        assert run(shared, "models").stdout.splitlines()[1].startswith("claude-opus-6 ")


def test_the_file_alone_is_complete(shared: Path, tmp_path: Path) -> None:
    """Between runs no other file is beside it: the file alone is the whole catalog."""
    assert [each.name for each in shared.parent.iterdir()] == ["catalog.db"]
    copy = shutil.copy(shared, tmp_path / "copy.db")
    with closing(sqlite3.connect(f"file:{copy}?immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM current_models").fetchone() == (10,)
