"""A reader never sees a half-written file."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from catalog_sync.files import atomic_write


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    """The content is written exactly, a shorter one leaves no tail, and no other file is left."""
    path = tmp_path / "out.prom"
    for content in (b"first \r\n\x00\xff", b"2", b""):
        atomic_write(path, [content])
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


def test_everybody_may_read_it(tmp_path: Path) -> None:
    """The mode is 0644, whatever the umask and the mode of the old file."""
    path = tmp_path / "out.prom"
    path.touch(mode=0o600)
    before = os.umask(0o077)
    try:
        atomic_write(path, [b"content"])
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_link_is_replaced(tmp_path: Path) -> None:
    """The target of a link is not touched: a user of the directory cannot redirect the write."""
    target, path = tmp_path / "target", tmp_path / "out.prom"
    target.write_bytes(b"theirs")
    path.symlink_to(target)
    atomic_write(path, [b"ours"])
    assert (target.read_bytes(), path.read_bytes()) == (b"theirs", b"ours")
    assert not path.is_symlink()


def test_a_failure_leaves_no_trace(tmp_path: Path) -> None:
    """A failed write raises OSError and leaves neither a new nor a temporary file."""
    directory = tmp_path / "out.prom"
    directory.mkdir()
    (directory / "theirs").touch()
    with pytest.raises(IsADirectoryError):
        atomic_write(directory, [b"content"])
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "missing" / "out.prom", [b"content"])
    with pytest.raises(NotADirectoryError):
        atomic_write(directory / "theirs" / "out.prom", [b"content"])
    assert list(tmp_path.rglob("*")) == [directory, directory / "theirs"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_interrupted_write_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """On a full disk, or when the process is stopped, the old file stays unchanged."""
    path = tmp_path / "out.prom"
    atomic_write(path, [b"old"])

    def fail(_descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        atomic_write(path, [b"new"])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_sees_one_content_or_the_other(tmp_path: Path) -> None:
    """A reader sees one complete content while several processes write."""
    path = tmp_path / "out.prom"
    contents = [bytes([letter]) * 100_000 for letter in b"abc"]
    atomic_write(path, [contents[0]])

    def write(content: bytes) -> None:
        for _ in range(20):
            atomic_write(path, [content])

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]
