"""Which files are searched, and the positions of ids: on a real file system, with git."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import unicodedata
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from catalog_sync.check import scan as scan_module
from catalog_sync.check.ids import IdPattern
from catalog_sync.check.scan import MAX_BYTES, Scan, scan
from catalog_sync.errors import ConfigError
from support import environment

if TYPE_CHECKING:
    from collections.abc import Sequence

ID = "claude-opus-4-20250514"
OTHER = "claude-haiku-4-5-20251001"
LONG = f"proxy/{'x' * 220}/{ID}"
"""As long as an id may be, and contains another id."""
IDS = IdPattern([ID, OTHER, LONG])


TODAY = date(2026, 6, 15)


def look(*paths: str | Path, exclude: Sequence[str] = ()) -> Scan:
    return scan([str(path) for path in paths], IDS, TODAY, exclude=exclude)


def write(name: str, content: str | bytes = ID) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def places(content: str | bytes) -> list[tuple[int, int, int, str]]:
    write("one.txt", content)
    found = look("one.txt").found
    return [(one.line, one.column, one.unit, one.model_id) for one in found]


def paths(*named: str | Path, exclude: Sequence[str] = ()) -> list[str]:
    return [one.path for one in look(*named, exclude=exclude).found]


def git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        env=environment(GIT_CONFIG_GLOBAL=os.devnull, GIT_CONFIG_SYSTEM=os.devnull),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


# --- lines and columns -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (ID, (1, 1, 1)),
        (f"\n\n  {ID}\n", (3, 3, 3)),
        (f"\r\n\t{ID}\r\n", (2, 2, 2)),
        (f"é😀 {ID}", (1, 4, 5)),
        (f"é\né {ID}".encode("latin-1"), (2, 3, 3)),
        (b"\xff\xf0 " + ID.encode(), (1, 4, 4)),
        (f"é {ID}".encode("utf-8-sig"), (1, 3, 3)),
        ("x" * 9000 + f"\x00 {ID}", (1, 9003, 9003)),
    ],
    ids=[
        "alone",
        "third line",
        "carriage returns and tabs",
        "beyond the basic plane",
        "Latin-1",
        "no encoding at all",
        "UTF-8 with a mark",
        "a late NUL is no sign",
    ],
)
def test_where_it_stands(content: str | bytes, where: tuple[int, int, int]) -> None:
    """Lines and columns count from 1, in characters and in UTF-16 units; UTF-8 or Latin-1."""
    assert places(content) == [(*where, ID)]


def test_a_line_of_many() -> None:
    """Each id of a line has its own column."""
    assert [place[1] for place in places(f"é {ID}, é {OTHER}")] == [3, 29]


def test_lines_and_columns_of_many() -> None:
    """Every id of a long text has the line and column that a search by lines gives it."""
    chance = random.Random(7)
    words = [ID, OTHER, LONG, f"x{ID}", f"{ID}-x", "é😀", "\n", "filler " * 9, "日本"]
    for _ in range(40):
        content = " ".join(chance.choices(words, k=400))
        wanted = [
            (number, begin + 1, model_id)
            for number, line in enumerate(content.split("\n"), 1)
            for begin, model_id in _ids(line)
        ]
        assert [(place[0], place[1], place[3]) for place in places(content)] == wanted


def _ids(line: str) -> list[tuple[int, str]]:
    return [(begin, line[begin:end]) for begin, end in IDS.find(line)]


def test_binary_files() -> None:
    """A file with a NUL among its first bytes is binary, and is not searched."""
    write("data.bin", b"\x00" + ID.encode())
    result = look("data.bin")
    assert (result.found, result.files) == ([], 1)


def test_a_large_file_is_named() -> None:
    """A file above 16 MiB is not searched, and a note says so; one below is searched whole."""
    tail = f"\n{ID}".encode()
    write("in/below.txt", b"x" * (MAX_BYTES - len(tail)) + tail)
    write("in/above.txt", b"x" * MAX_BYTES + tail)
    result = look("in")
    assert [(one.path, one.line) for one in result.found] == [("in/below.txt", 2)]
    assert result.notes == ["in/above.txt: larger than 16 MiB, not searched"]


@pytest.mark.parametrize(
    "comment",
    [
        "# catalog-sync: ignore",
        "// catalog-sync: ignore",
        "/* catalog-sync: ignore */",
        "<!-- catalog-sync: ignore until=2026-06-15 -->",
        "-- catalog-sync:ignore until=2026-06-16",
        "; Catalog-Sync: ignore",
        "{# catalog-sync: ignore until=2027-01-31 #}",
        "/*catalog-sync: ignore until=2027-01-31*/",
        "# a pinned fixture, catalog-sync: ignore, noqa",
    ],
)
def test_an_ignoring_comment(comment: str) -> None:
    """A comment ignores its own line, up to its last day, in any syntax."""
    write("x.txt", f"{ID}\n{ID} {OTHER} {comment}\n{comment} {ID}\n{OTHER}")
    assert [(one.line, one.model_id) for one in look("x.txt").found] == [(1, ID), (4, OTHER)]


@pytest.mark.parametrize(
    ("comment", "notes"),
    [
        ("# catalog-sync: ignore until=2026-06-14", 0),
        ("# catalog-sync: ignored", 0),
        ("# catalog-sync: ignore-next-line", 0),
        ("# catalog-sync: ignore until=soon", 1),
        ("# catalog-sync: ignore until=", 1),
        ("# catalog-sync: ignore until=\xff", 1),
    ],
)
def test_a_comment_that_does_not_ignore(comment: str, notes: int) -> None:
    """A past or missing date ignores nothing; an invalid date is named."""
    write("x.txt", f"{ID} {comment}".encode("latin-1"))
    result = look("x.txt")
    assert [one.line for one in result.found] == [1]
    assert len(result.notes) == notes


# --- which files -------------------------------------------------------------------------------


def test_outside_git() -> None:
    """Outside git every file below a directory except `.git` is searched, in order of paths."""
    for name in ["b/z.py", "b.py", "b/.env", "a", "b/sub/deep/x.toml"]:
        write(name)
    write("b/.gitignore", "z.py")
    write("b/sub/.git/x")
    assert paths(".") == ["a", "b/.env", "b/sub/deep/x.toml", "b/z.py", "b.py"]
    assert paths("b/") == paths("./b") == paths("b", "b/z.py") == sorted(paths("b"))
    assert paths("b.py", "a") == ["a", "b.py"]
    assert paths(Path("b").absolute())[0] == str(Path("b/.env").absolute())


def test_links_are_not_followed() -> None:
    """No link is followed: to a file, to a directory, to nothing or in a circle."""
    write("outside/x.py")
    write("in/real.py")
    for name, target in {
        "file.py": "../outside/x.py",
        "directory": "../outside",
        "circle": ".",
        "nowhere": "missing",
        "self": "self",
    }.items():
        Path("in", name).symlink_to(target)
    assert paths("in") == ["in/real.py"]
    assert look("in").unreadable == []
    assert paths("in/file.py") == ["in/file.py"]  # the user named it
    assert paths("in/directory") == ["in/directory/x.py"]


def test_only_files_are_opened() -> None:
    """A pipe, a socket or a device is not opened: reading it could block for ever."""
    write("in/x.py")
    os.mkfifo("in/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("in/socket")
        assert paths("in") == ["in/x.py"]
    for named in ("in/pipe", os.devnull):
        with pytest.raises(ConfigError, match="neither a file nor a directory"):
            look(named)


def test_what_became_a_pipe_is_not_waited_for() -> None:
    """A file that was replaced since its directory was listed does not stop the search."""
    os.mkfifo("pipe")
    write("file")
    Path("link").symlink_to("file")
    for name in ("pipe", "link", "missing"):
        assert scan_module._read(name) is None


@pytest.mark.parametrize("named", ["missing", "missing/", "a.py/x", "broken", "circle", "x" * 5000])
def test_a_missing_path_is_an_error(named: str) -> None:
    """A missing path that the user named is an error."""
    write("a.py")
    Path("broken").symlink_to("missing")
    Path("circle").symlink_to("circle")
    with pytest.raises(ConfigError, match="--scan"):
        look("a.py", named)


def test_odd_names() -> None:
    """Names may contain line breaks, control characters and bytes that are no text."""
    names = [
        "a\nb",
        "::error::x",
        "\x1b[2J",
        os.fsdecode(b"bad\xff"),
        unicodedata.lookup("SNOWMAN"),
    ]
    for name in names:
        write(f"in/{name}")
    assert {Path(path).name for path in paths("in")} == set(names)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission() -> None:
    """Unreadable files are reported, and the rest is searched."""
    write("in/x.py")
    write("in/closed.py").chmod(0)
    write("in/directory/y.py").parent.chmod(0)
    try:
        result = look("in")
    finally:
        Path("in/directory").chmod(0o755)
    assert [path for path, _ in result.unreadable] == ["in/closed.py", "in/directory"]
    assert [one.path for one in result.found] == ["in/x.py"]


def test_a_path_that_is_too_long() -> None:
    """A directory whose path is too long is reported."""
    write("in/x.py")
    here = os.open("in", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    result = look("in")
    assert [one.path for one in result.found] == ["in/x.py"]
    assert [reason for _, reason in result.unreadable] == ["File name too long"]
    subprocess.run(["rm", "-r", "in"], check=True)


# --- git -----------------------------------------------------------------------------------------


@pytest.fixture
def repository() -> None:
    git("init", "--quiet")


@pytest.mark.usefixtures("repository")
def test_git_decides() -> None:
    """Tracked files are searched, also ignored ones; untracked ones if they are not ignored."""
    for name in [
        "tracked.log",
        "new.py",
        "new.log",
        "build/x.py",
        "é\n.py",
        "sub/x.py",
        "sub/y.tmp",
    ]:
        write(name)
    write(".gitignore", "*.log\nbuild/\n")
    write("sub/.gitignore", "*.tmp")
    write(".git/info/exclude", "excluded.py")
    write("excluded.py")
    git("add", "--force", "tracked.log")
    assert paths(".") == ["new.py", "sub/x.py", "tracked.log", "é\n.py"]
    assert paths("sub") == ["sub/x.py"]
    os.chdir("sub")
    assert paths(".") == ["x.py"]
    assert paths("..") == ["../new.py", "../sub/x.py", "../tracked.log", "../é\n.py"]


@pytest.mark.usefixtures("repository")
def test_what_is_named_is_searched() -> None:
    """A named file or directory is searched although git ignores it."""
    write(".gitignore", "build/\n*.log")
    write("build/sub/x.py")
    write("x.log")
    assert paths(".") == []
    assert paths("x.log") == ["x.log"]
    assert paths("build") == ["build/sub/x.py"]
    assert paths("build/sub") == ["build/sub/x.py"]


@pytest.mark.usefixtures("repository")
def test_repositories_within() -> None:
    """A repository within a repository has its own rules."""
    write(".gitignore", "*.py")
    for name in ("module", "module/inner"):
        git("init", "--quiet", name)
        write(f"{name}/x.py")
    write("x.py")
    assert paths(".") == ["module/inner/x.py", "module/x.py"]


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("left", [None, "gitdir: /gone"])
def test_a_submodule_without_its_repository(left: str | None) -> None:
    """The files of a submodule whose `.git` was not copied are searched, as outside git."""
    git("init", "--quiet", "module")
    write("module/deep/x.py")
    git("-C", "module", "add", ".")
    git("-C", "module", "-c", "user.name=a", "-c", "user.email=a", "commit", "--quiet", "-mx")
    git("add", "module")
    shutil.rmtree("module/.git")
    if left is not None:
        write("module/.git", left)
    assert paths(".") == paths("module") == ["module/deep/x.py"]


@pytest.mark.usefixtures("repository")
def test_deleted_and_replaced_files() -> None:
    """A tracked file that was deleted is no error, and no link leads out of the directory."""
    for name in ("in/gone.py", "in/file.py", "in/sub/x.py", "outside/x.py"):
        write(name)
    git("add", ".")
    Path("in/gone.py").unlink()
    Path("in/file.py").unlink()
    Path("in/file.py").symlink_to("../outside/x.py")
    Path("in/sub").rename("moved")
    Path("in/sub").symlink_to("../outside")
    result = look("in")
    assert (result.found, result.unreadable) == ([], [])


@pytest.mark.usefixtures("repository")
def test_an_untrusted_checkout_runs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A repository's configuration makes `check` run no program, for any owner of the files."""
    write("x.py")
    git("add", ".")
    trap = Path("trap").absolute()
    trap.write_text("#!/bin/sh\ntouch ran\n", encoding="utf-8")
    trap.chmod(0o755)
    for key in (
        "core.fsmonitor",
        "core.pager",
        "pager.ls-files",
        "alias.ls-files",
        "core.sshCommand",
        "core.editor",
        "filter.x.clean",
        "filter.x.process",
        "diff.external",
        "credential.helper",
        "core.alternateRefsCommand",
        "uploadpack.packObjectsHook",
    ):
        git("config", key, str(trap))
    git("config", "core.hooksPath", str(trap.parent))
    for hook in ("post-index-change", "fsmonitor-watchman", "query-watchman"):
        trap.with_name(hook).write_bytes(trap.read_bytes())
        trap.with_name(hook).chmod(0o755)
        Path(".git/hooks", hook).write_bytes(trap.read_bytes())
        Path(".git/hooks", hook).chmod(0o755)
    write(".gitattributes", "* filter=x diff=x")
    assert "x.py" in paths(".")
    assert not Path("ran").exists()
    assert caplog.text == ""


def test_a_bare_repository_among_the_files() -> None:
    """A directory that looks like a bare repository is searched as a directory."""
    git("init", "--quiet", "--bare", "in")
    write("in/x.py")
    assert "in/x.py" in paths("in")


@pytest.mark.usefixtures("repository")
def test_a_hook_of_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that git sets for a hook (as for pre-commit) change nothing."""
    write("sub/x.py")
    git("init", "--quiet", "other")
    git("add", "sub")
    monkeypatch.setenv("GIT_DIR", str(Path("other/.git").absolute()))
    monkeypatch.setenv("GIT_INDEX_FILE", "nowhere/index")
    monkeypatch.setenv("GIT_PREFIX", "sub/")
    assert paths("sub") == ["sub/x.py"]


@pytest.mark.usefixtures("repository")
def test_a_broken_repository(caplog: pytest.LogCaptureFixture) -> None:
    """If git cannot list the files, the log says why, and every file is searched."""
    write("x.py")
    write(".git/index", "nonsense")
    assert paths(".") == ["x.py"]
    assert "git cannot list the files" in caplog.text


def test_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git on the search path every file is searched."""
    write("x.py")
    write(".gitignore", "x.py")
    monkeypatch.setenv("PATH", "")
    assert paths(".") == ["x.py"]


# --- exclude -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "left"),
    [
        (["CHANGELOG.md"], ["docs/x.md", "tests/fixtures/a/x.json", "tests/x.py"]),
        (["/x.py", "*.json"], ["CHANGELOG.md", "docs/CHANGELOG.md", "docs/x.md", "tests/x.py"]),
        (["tests/fixtures/**"], ["CHANGELOG.md", "docs/CHANGELOG.md", "docs/x.md", "tests/x.py"]),
        (["tests/", "docs"], ["CHANGELOG.md"]),
        (
            ["*.md", "!docs/*.md"],
            ["docs/CHANGELOG.md", "docs/x.md", "tests/fixtures/a/x.json", "tests/x.py"],
        ),
    ],
)
def test_exclude(patterns: list[str], left: list[str]) -> None:
    """Patterns have the meaning of .gitignore, relative to the current directory."""
    for name in [
        "CHANGELOG.md",
        "docs/CHANGELOG.md",
        "docs/x.md",
        "tests/fixtures/a/x.json",
        "tests/x.py",
    ]:
        write(name)
    assert paths(".", exclude=patterns) == left
    assert paths(Path.cwd(), exclude=patterns) == [str(Path(name).absolute()) for name in left]
    os.chdir("docs")
    assert paths("../docs", exclude=["/x.md"]) == ["../docs/CHANGELOG.md"]


def test_a_named_file_is_not_excluded() -> None:
    """`exclude` leaves out files that were found, not files that were named."""
    write("docs/x.md")
    assert paths("docs/x.md", exclude=["docs/"]) == ["docs/x.md"]


def test_a_bad_pattern() -> None:
    """An invalid pattern is an error of usage."""
    with pytest.raises(ConfigError, match="--exclude"):
        look(".", exclude=["!"])
