"""The directory of a published site, on a real disk: whole files, nobody else's touched."""

from __future__ import annotations

import fcntl
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from catalog_sync.errors import OutputError
from catalog_sync.site.write import Directory

SITE = Path("site")
FILES = {"models.json": b"[]\n", "index.html": b"<!DOCTYPE html>\n"}


def publish(files=FILES, path: Path = SITE) -> list[str]:
    with Directory(path) as directory:
        return directory.write(files)


def found(path: Path = SITE) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_files_that_a_web_server_can_read() -> None:
    """The directory is made, with those above it; its files are 0644 whatever the umask says."""
    before = os.umask(0o077)
    try:
        assert publish(path=Path("a/b/site")) == list(FILES)
    finally:
        os.umask(before)
    assert found(Path("a/b/site")) == FILES
    assert {mode(file) for file in Path("a/b/site").iterdir()} == {0o644}
    assert mode(Path("a/b/site")) == 0o755
    assert mode(Path("a")) == 0o700


def test_what_has_not_changed_is_not_written() -> None:
    """A file that is as it should be keeps its inode and time; only a changed one is replaced."""
    publish()
    before = {file.name: file.stat() for file in SITE.iterdir()}
    assert publish() == []
    assert publish({**FILES, "models.json": b"{}\n"}) == ["models.json"]
    assert (SITE / "index.html").stat() == before["index.html"]
    assert (SITE / "models.json").stat().st_ino != before["models.json"].st_ino


def test_a_file_that_was_tampered_with_is_made_good() -> None:
    """Another mode, or a link in a file's place, is replaced; where it led to nothing changes."""
    publish()
    (SITE / "models.json").chmod(0o600)
    other = Path("other.html")
    other.write_bytes(FILES["index.html"])
    (SITE / "index.html").unlink()
    (SITE / "index.html").symlink_to(other.absolute())
    assert publish() == list(FILES)
    assert not (SITE / "index.html").is_symlink()
    assert mode(SITE / "models.json") == 0o644
    publish({"index.html": b"new"})
    assert other.read_bytes() == FILES["index.html"]


def test_foreign_files_stay_and_what_a_dead_process_left_goes() -> None:
    """Nothing is removed but what a process that was killed staged: not a metrics file's, say."""
    SITE.mkdir()
    foreign = {".catalog-sync-x1y2.tmp": b"1", "CNAME": b"2", "models.json.bak": b"3", ".tmp": b"4"}
    for name, content in {**foreign, ".catalog-sync-site-x1y2.tmp": b"half"}.items():
        (SITE / name).write_bytes(content)
    publish()
    assert found() == {**foreign, **FILES}


def test_a_reader_never_sees_half_a_file() -> None:
    """A file that is open while it is replaced stays what it was, to its end."""
    publish()
    with (SITE / "index.html").open("rb") as reader:
        assert publish({"index.html": b"x" * 100_000}) == ["index.html"]
        assert reader.read() == FILES["index.html"]


def test_one_process_at_a_time() -> None:
    """While a process publishes, the directory is locked; afterwards it is not."""
    with Directory(SITE):
        number = os.open(SITE, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(number)


def test_a_full_disk_leaves_the_site_as_it_was() -> None:
    """When one file cannot be written, none has been replaced, and no litter is left."""
    publish()
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from catalog_sync.publish import Directory\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with Directory(Path('site')) as directory:\n"
        "    directory.write({'models.json': b'new', 'index.html': b'x' * 2000})\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert "OutputError: site cannot be published to: File too large" in done.stderr
    assert found() == FILES


def test_a_folder_in_the_place_of_a_file() -> None:
    """A directory named index.html is an error that says so, before anything else is replaced."""
    (SITE / "index.html").mkdir(parents=True)
    with pytest.raises(
        OutputError, match=r"site cannot be published to: index\.html is a directory"
    ):
        publish()
    assert [file.name for file in SITE.iterdir()] == ["index.html"]


@pytest.mark.parametrize("path", ["file/site", "dangling", "n" * 300])
def test_a_place_where_no_folder_can_be(path: str) -> None:
    """A path through a file, a link to nothing and a name too long are errors of one line."""
    Path("file").touch()
    Path("dangling").symlink_to("nowhere")
    with pytest.raises(OutputError, match="cannot be published to") as caught:
        publish(path=Path(path))
    assert "\n" not in str(caught.value)
