"""Which files are looked into, and where in them ids stand: on a real file system, beside git."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import unicodedata
from pathlib import Path

import pytest

from catalog_sync.check import scan_text
from catalog_sync.check.ids import IdPattern
from catalog_sync.check.scan import Scan, scan
from catalog_sync.errors import ConfigError
from support import environment

ID = "claude-opus-4-20250514"
OTHER = "claude-haiku-4-5-20251001"
LONG = f"proxy/{'x' * 220}/{ID}"
"""As long as an id may be, with another one in it."""
MENTIONS = IdPattern([ID, OTHER, LONG])


def look(*paths: str | Path) -> Scan:
    return scan([str(path) for path in paths], MENTIONS)


def write(name: str, content: str | bytes = ID) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def places(content: str | bytes) -> list[tuple[int, int, int, str]]:
    write("one.txt", content)
    found = look("one.txt").found
    return [(one.place.line, one.place.column, one.place.unit, one.place.model_id) for one in found]


def paths(*named: str | Path) -> list[str]:
    return [one.path for one in look(*named).found]


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
        (f"\n😀 {ID}".encode("utf-16"), (2, 3, 4)),
        (b"\xfe\xff" + f"\n😀 {ID}".encode("utf-16-be"), (2, 3, 4)),
        (f"\n😀 {ID}".encode("utf-32"), (2, 3, 4)),
        (b"\xff\xfe\x00\xd8" + f" {ID}".encode("utf-16-le"), (1, 3, 3)),
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
        "UTF-16",
        "UTF-16, big end first",
        "UTF-32",
        "half of a surrogate pair",
        "a late NUL is no sign",
    ],
)
def test_where_it_stands(content: str | bytes, where: tuple[int, int, int]) -> None:
    """Lines and columns count from 1, in characters and in UTF-16 units, whatever the encoding."""
    assert places(content) == [(*where, ID)]


def test_a_line_of_many() -> None:
    """Each id of a line has its own column."""
    assert [place[1] for place in places(f"é {ID}, é {OTHER}")] == [3, 29]


def test_binary_files() -> None:
    """A file with a NUL among its first bytes is binary, and so is counted and passed over."""
    write("data.bin", b"\x00" + ID.encode())
    result = look("data.bin")
    assert (result.found, result.files, result.binary) == ((), 1, 1)


def test_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a long file is cut into pieces, its ids are found once, whole, and in their place.

    Beside it, each line is looked for on its own.
    """
    monkeypatch.setattr(scan_text, "_PIECE_BYTES", 1499)
    chance = random.Random(7)
    words = [
        ID,
        OTHER,
        LONG,
        f"x{ID}",
        f"{ID}-x",
        "é😀",
        "\n",
        "filler " * 9,
        "claude-opus-4-1 ",
        "日本",
    ]
    for _ in range(40):
        content = " ".join(chance.choices(words, k=400))
        wanted = [
            (number, line[:begin].count("") if begin else 1, found)
            for number, line in enumerate(content.split("\n"), 1)
            for begin, found in _ids(line)
        ]
        assert [(place[0], place[1], place[3]) for place in places(content)] == wanted
        recoded = [(p[0], p[1], p[3]) for p in places(content.encode("utf-16"))]
        assert recoded == wanted


def _ids(line: str) -> list[tuple[int, str]]:
    raw = line.encode()
    return [
        (len(raw[:begin].decode()), raw[begin:end].decode()) for begin, end in MENTIONS.within(raw)
    ]


def test_a_long_line_takes_little_memory() -> None:
    """A file of one line is read in pieces, however long it is."""
    import tracemalloc

    write("long.txt", b"word " * 4_000_000 + ID.encode())
    tracemalloc.start()
    try:
        (found,) = look("long.txt").found
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.place.column == 20_000_001
    assert peak < 8_000_000


# --- which files -------------------------------------------------------------------------------


def test_a_folder_is_looked_through() -> None:
    """All below it in the order of paths, hidden files too; but no `.git`, directory or file."""
    for name in ["b/z.py", "b.py", "b/.env", "a", ".git/x", "b/sub/.git", "b/sub/deep/x.toml"]:
        write(name)
    assert paths(".") == ["a", "b/.env", "b/sub/deep/x.toml", "b/z.py", "b.py"]
    assert paths("b/") == paths("./b") == paths("b", "b/z.py") == sorted(paths("b"))
    assert paths("b.py", "a") == ["a", "b.py"]
    assert paths(Path("b").absolute())[0] == str(Path("b/.env").absolute())


def test_links_are_not_followed() -> None:
    """Neither one to a file, nor to a directory, nor one that ends nowhere or in a circle."""
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
    assert look("in").unreadable == ()
    assert paths("in/file.py") == ["in/file.py"]  # the user named it
    assert paths("in/directory") == ["in/directory/x.py"]


def test_only_files_are_opened() -> None:
    """A pipe, a socket or a device would wait for ever; it is passed over."""
    write("in/x.py")
    os.mkfifo("in/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("in/socket")
        assert paths("in") == ["in/x.py"]
    for named in ("in/pipe", os.devnull):
        with pytest.raises(ConfigError, match="neither a file nor a directory"):
            look(named)


def test_what_became_a_pipe_is_not_waited_for() -> None:
    """A file that is replaced between the listing and the opening does not stop the scan."""
    from catalog_sync.check.scan import _VANISHED, _open

    os.mkfifo("pipe")
    write("file")
    Path("link").symlink_to("file")
    for name in ("pipe", "link", "missing"):
        with pytest.raises(OSError, match=r".") as caught:
            _open(name)
        assert caught.value.errno in _VANISHED


@pytest.mark.parametrize("named", ["missing", "missing/", "a.py/x", "broken", "circle", "x" * 5000])
def test_a_missing_path_is_an_error(named: str) -> None:
    """What the user named and is not there is said, not passed over."""
    write("a.py")
    Path("broken").symlink_to("missing")
    Path("circle").symlink_to("circle")
    with pytest.raises(ConfigError, match="--scan"):
        look("a.py", named)


def test_odd_names() -> None:
    """Line breaks, control characters and bytes that are no text are names like others."""
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
    """What may not be read is told of, and the rest is looked into."""
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
    """A directory so deep that its path cannot be named is told of, whoever runs it."""
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


# --- .gitignore --------------------------------------------------------------------------------

RULES = [
    "*.log",
    "!keep.log",
    "build/",
    "/top.txt",
    "a/*",
    "!a/b.txt",
    "**/deep",
    "b/**/x.txt",
    "!build/",
    "*",
    "!*/",
    "!*.txt",
    "# no rule",
    "",
    "!",
    "\\#odd",
    "[z-a]",
    "[a",
    "[[:alpha:]]x",
    "trailing.txt  ",
    "b/",
    "/b",
    "!/b/c",
    "debug.log\r",
    "a/**",
    "!a/**",
    "/*",
    "**/c/**",
    "a/**/b.txt",
    "*/",
    "\\!x",
    "dee?",
    "[b-d].txt",
    "[!b-d].txt",
]
FOLDERS = ["", "a/", "b/", "a/b/", "b/c/", "a/build/", "b/deep/", "b/c/deep/"]
NAMES = ["x.txt", "b.txt", "top.txt", "debug.log", "keep.log", "#odd", "trailing.txt", "deep"]


def test_gitignore_means_what_git_means() -> None:
    """Nested files, negations, anchors and nonsense: the same files as git lists, at random."""
    chance = random.Random(11)
    git("init", "--quiet")
    for directory in FOLDERS:
        Path(directory or ".").mkdir(parents=True, exist_ok=True)
    for file in [Path(directory, name) for directory in FOLDERS for name in NAMES]:
        if not file.is_dir():
            write(str(file))
    for _ in range(60):
        for directory in FOLDERS:
            file = Path(directory, ".gitignore")
            if chance.random() < (0.9 if not directory else 0.3):
                rules = chance.sample(RULES, k=chance.randint(1, 5))
                write(str(file), "\n".join([f"# {ID}", *rules]))
            else:
                file.unlink(missing_ok=True)
        listed = git("ls-files", "-z", "--others", "--exclude-standard").split("\0")
        said = [Path(directory, ".gitignore") for directory in FOLDERS]
        rules = {str(file): file.read_text() for file in said if file.exists()}
        assert sorted(paths(".")) == sorted(filter(None, listed)), rules
        below = [path for path in listed if path.startswith("b/c/")]
        if below:  # where git passes over the directory itself, naming it says otherwise
            assert sorted(paths("b/c")) == sorted(below), rules


def test_gitignore_above_the_folder() -> None:
    """The rules of the repository hold below it, and those outside of it do not."""
    write(".gitignore", "*.py")
    write("repository/.git/HEAD", "")
    write("repository/.gitignore", "*.log")
    write("repository/src/x.log")
    write("repository/src/x.py")
    assert paths("repository/src") == ["repository/src/x.py"]
    os.chdir("repository/src")
    assert paths(".") == ["x.py"]


def test_a_repository_within_has_its_own_rules() -> None:
    """What a repository ignores says nothing of a submodule's files."""
    write(".git/HEAD", "")
    write(".gitignore", "*.py")
    write("module/.git", "gitdir: elsewhere")
    write("module/x.py")
    write("x.py")
    assert paths(".") == ["module/x.py"]


def test_what_is_named_is_looked_into() -> None:
    """A file or a directory that the user names is not ignored; its own rules hold."""
    write(".git/HEAD", "")
    write(".gitignore", "build/\n*.log")
    write("build/out.log")
    write("build/sub/x.py")
    write("build/.gitignore", "*.tmp")
    write("build/x.tmp")
    write("x.log")
    assert paths(".") == []
    assert paths("x.log") == ["x.log"]
    assert paths("build") == ["build/out.log", "build/sub/x.py"]
    assert paths("build/sub") == ["build/sub/x.py"]


def test_a_gitignore_that_is_none() -> None:
    """One that is a link, a directory, a pipe or no text has no rules, and stops nothing."""
    for name in ("link", "directory", "pipe", "bytes"):
        write(f"{name}/x.py")
    Path("link/.gitignore").symlink_to("../rules")
    write("rules", "*.py")
    Path("directory/.gitignore").mkdir()
    os.mkfifo("pipe/.gitignore")
    write("bytes/.gitignore", b"\xff\xfe\x00*.py")
    assert paths("link", "directory", "pipe", "bytes") == [
        "bytes/x.py",
        "directory/x.py",
        "link/x.py",
        "pipe/x.py",
    ]
