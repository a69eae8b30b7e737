"""The directory of a published site, on a real disk: whole files, and no other file touched."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event
from catalog_sync.errors import OutputError
from catalog_sync.files import atomic_write
from catalog_sync.site.content import MAX_CHANGES
from catalog_sync.site.write import publish
from published import BASELINE, Site, catalog, contents, record

SITE = Path("site")
FILES = (
    *("events.json", "models.json", "models.csv", "renovate.json", "badge.json", "feed.xml"),
    *("retirements.ics", "changes.html", "index.html"),
)


def write(site: Site | None = None, path: Path = SITE) -> tuple[str, ...]:
    site = site or catalog()
    _, written = publish(path, site.content, site.events)
    return tuple(name for name, changed in written.items() if changed)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_files_that_a_web_server_can_read() -> None:
    """The directory is created with its parents; its files are 0644 whatever the umask."""
    before = os.umask(0o077)
    try:
        assert write(path=Path("a/b/site")) == FILES
    finally:
        os.umask(before)
    assert {file.name for file in Path("a/b/site").iterdir()} == set(FILES)
    assert {mode(file) for file in Path("a/b/site").iterdir()} == {0o644}
    assert mode(Path("a/b/site")) == 0o755
    assert mode(Path("a")) == 0o700


def test_an_unchanged_file_is_not_written() -> None:
    """An unchanged file keeps its inode and time; only a changed one is replaced."""
    write()
    before = {file.name: file.stat() for file in SITE.iterdir()}
    index = before["index.html"]
    assert write() == ()
    (SITE / "models.json").write_bytes(b"{}")
    assert write() == ("models.json",)
    after = (SITE / "index.html").stat()
    assert (after.st_ino, after.st_mtime_ns) == (index.st_ino, index.st_mtime_ns)
    assert (SITE / "models.json").stat().st_ino != before["models.json"].st_ino


def test_a_changed_mode_and_a_link() -> None:
    """Another mode, or a link in place of a file, is replaced; the target of the link stays."""
    write()
    (SITE / "models.json").chmod(0o600)
    Path("other.html").write_bytes(b"other")
    (SITE / "index.html").unlink()
    (SITE / "index.html").symlink_to(Path("other.html").absolute())
    assert write() == ("models.json", "index.html")
    assert not (SITE / "index.html").is_symlink()
    assert mode(SITE / "models.json") == 0o644
    assert Path("other.html").read_bytes() == b"other"


def test_other_files_stay() -> None:
    """No file is removed, and none is left behind."""
    SITE.mkdir()
    others = {".catalog-sync-x1y2.tmp": b"1", "CNAME": b"2", "models.json.bak": b"3"}
    for name, content in others.items():
        (SITE / name).write_bytes(content)
    write()
    assert {file.name for file in SITE.iterdir()} == {*others, *FILES}


def test_a_reader_never_sees_half_a_file() -> None:
    """A reader that opened a file before it was replaced sees the old content to its end."""
    write()
    content = (SITE / "index.html").read_bytes()
    with (SITE / "index.html").open("rb") as reader:
        assert "index.html" in write(contents([]))
        assert reader.read() == content


def test_a_failure_leaves_the_file_as_it_was() -> None:
    """If a file cannot be written, the old one stays and nothing is left behind."""
    file = Path("file")
    atomic_write(file, [b"old"], unless_equal=True)

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        atomic_write(file, chunks(), unless_equal=True)
    assert file.read_bytes() == b"old"
    script = (
        "import resource\n"
        "from pathlib import Path\n"
        "from catalog_sync.files import atomic_write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "atomic_write(Path('file'), [b'x' * 2000], unless_equal=True)\n"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert "File too large" in done.stderr
    assert file.read_bytes() == b"old"
    assert list(Path().iterdir()) == [file]


def test_a_directory_in_place_of_a_file() -> None:
    """A directory named index.html is an error that names it."""
    (SITE / "index.html").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"cannot be written to site: index\.html is a directory"):
        write()


@pytest.mark.parametrize("path", ["file/site", "dangling", "n" * 300])
def test_a_path_where_no_directory_can_be(path: str) -> None:
    """A path through a file, a link to nothing and a name too long are errors of one line."""
    Path("file").touch()
    Path("dangling").symlink_to("nowhere")
    with pytest.raises(OutputError, match="the site cannot be written to") as caught:
        write(path=Path(path))
    assert "\n" not in str(caught.value)


def test_events_are_not_kept_in_memory() -> None:
    """Memory does not grow with the number of events."""
    one = record("a")

    def events(number: int) -> Iterator[Event]:
        for count in range(number):
            at = BASELINE + timedelta(minutes=count)
            payload = {**one.info.payload, "padding": f"{count}" * 200}
            yield Event(Kind.UPDATED, at, "a", {}, payload, "anthropic", count, count)

    peaks = []
    for number in (MAX_CHANGES + 1_000, MAX_CHANGES + 6_000):
        tracemalloc.start()
        publish(SITE, contents([one]).content, events(number))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
