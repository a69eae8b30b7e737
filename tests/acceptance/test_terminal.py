"""The program at a terminal: tables that fit, progress, colour."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from catalog_sync.app import App
from catalog_sync.demo import story
from catalog_sync.demo.history import steps
from support import (
    KEY,
    Answer,
    Request,
    ScriptedServer,
    environment,
    model,
    page,
    program,
    run,
    settings_for,
)

NEWEST = steps()[-1].models
LISTED = [listed["id"] for listed in NEWEST]
DEPRECATED = "claude-sonnet-4-5-20250929"
CONTROL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[^\[\]])")
COLOUR = re.compile(r"\x1b\[[\d;]*\b(3[0-8]|4[0-8]|9[0-7])[\d;]*m")


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs of the tests see only the terminal that a test gives them."""
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("history") / "catalog.db"
    assert [report.error for _, report in story.replay(file) if report.error] == []
    return file


@pytest.fixture
def history(replayed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a catalog with a past, only for reading."""
    monkeypatch.setenv("CATALOG_SYNC_DATABASE_URL", f"sqlite:///{replayed}")


@dataclass(frozen=True)
class Screen:
    sent: str
    """All bytes that the terminal got, control sequences included."""
    piped: str
    """The standard output, if that was a pipe beside the terminal."""
    exit_code: int

    @property
    def text(self) -> str:
        """The visible text, in the order in which it arrived."""
        return CONTROL.sub("", self.sent)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines() if line.strip()]


def at_terminal(
    *arguments: str,
    columns: int = 80,
    piped: bool = False,
    watch: Callable[[str], object] = len,
    **variables: str,
) -> Screen:
    """Run the program at a separate terminal; `watch` is called with all output so far.

    `piped` sends standard output through a pipe, so that the terminal gets only the rest.
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    process = subprocess.Popen(
        program(*arguments),
        env=environment(**variables),
        stdin=follower,
        stdout=subprocess.PIPE if piped else follower,
        stderr=follower,
    )
    os.close(follower)
    sent = b""
    with process:
        try:
            while more := _read(leader):
                sent += more
                watch(sent.decode(errors="ignore"))
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(leader)
        out = process.stdout.read().decode() if process.stdout else ""
    return Screen(sent.decode(), out, process.returncode)


def _read(terminal: int) -> bytes:
    ready, _, _ = select.select([terminal], [], [], 60)
    assert ready, "the program has been silent for a minute"
    try:
        return os.read(terminal, 65536)
    except OSError:  # on Linux, the end: all writers have closed it
        return b""


def screens(*commands: str, columns: int) -> list[Screen]:
    """Run several commands at once, each at a separate terminal."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda c: at_terminal(*c.split(), columns=columns), commands))


def synced(models: list[dict[str, Any]]) -> None:
    """Fill ./catalog.db inside this process, as a preparation."""
    with (
        ScriptedServer([page(models)]) as server,
        App(settings_for("sqlite:///catalog.db", server.url, key=KEY)) as app,
    ):
        assert [report.error for report in app.sync()] == [None]


# --- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 40])
def test_tables_fit(columns: int, history: None) -> None:
    """No line is wider than the terminal, and each id is whole on one line, to be copied."""
    commands = ("models", "models --all", "events", f"show {DEPRECATED}")
    shown = screens(*commands, columns=columns)
    assert [screen.exit_code for screen in shown] == [0, 0, 0, 0]
    assert [line for screen in shown for line in screen.lines if len(line) > columns] == []
    for screen in shown[:3]:
        assert [id_ for id_ in LISTED if id_ not in screen.text.split()] == []
    assert DEPRECATED in shown[3].text.split()


@pytest.mark.parametrize("columns", [80, 40])
def test_nothing_is_cut(columns: int, history: None) -> None:
    """A line without enough room is continued below: no column and no word is lost."""
    models, events = screens("models", "events", columns=columns)
    names = Counter(word for listed in NEWEST for word in listed["display_name"].split())
    assert names - Counter(models.text.split()) == Counter()
    assert {"name", "lifecycle", "retires", "first", "seen"} <= set(models.text.split())
    # A word may be folded too: count all characters after the time.
    piped = "".join(line.partition("  ")[2] for line in run("events").stdout.splitlines())
    assert Counter("".join(piped.split())) - Counter("".join(events.text.split())) == Counter()


@pytest.mark.parametrize("columns", [80, 40])
def test_words_are_not_torn(columns: int, history: None) -> None:
    """A line is folded between words, so that each can be read and copied."""
    shown = screens("events", f"show {DEPRECATED}", columns=columns)
    for word in ("deprecated_at:", "2026-11-10;"):
        assert [word in screen.text.split() for screen in shown] == [True, True]
    assert "clear_tool_uses_20250919)," in shown[1].text.split()


def test_ids_are_whole_beside_sources(
    replayed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With several sources, too, an id in the text of an event is whole on one line."""
    file = shutil.copy(replayed, tmp_path / "catalog.db")
    with (
        ScriptedServer([page([model("another")])]) as server,
        App(settings_for(f"sqlite:///{file}", server.url, name="gateway", key=KEY)) as app,
    ):
        assert [report.error for report in app.sync()] == [None]
    monkeypatch.setenv("CATALOG_SYNC_DATABASE_URL", f"sqlite:///{file}")
    named = set(re.findall(r"successor: (\S+)", run("events").stdout))
    shown = at_terminal("events", columns=80)
    assert named
    assert named | {"gateway"} <= set(shown.text.split())


def test_what_has_no_room_is_left_out(history: None) -> None:
    """`models --all` keeps a model on a line of 80 columns; a wider terminal shows all columns."""
    narrow, wide = (at_terminal("models", "--all", columns=columns) for columns in (80, 130))
    assert len(narrow.lines) == len(wide.lines) == len(LISTED) + 4 + 1
    assert narrow.lines[0].split() == ["id", "name", "lifecycle", "retires", "removed"]
    assert " created " in wide.lines[0]
    assert " first seen " in wide.lines[0]


def test_times_are_the_readers_own(history: None) -> None:
    """A terminal shows times in its zone; a pipe, JSON and CSV show UTC.

    A date of the API stays the day that the API stated.
    """
    away = {"TZ": "Pacific/Kiritimati"}  # fourteen hours ahead
    events = at_terminal("events", "--kind", "deprecated", columns=200, **away)
    assert events.lines[1].startswith("2026-11-11 08:00 ")
    models = at_terminal("models", columns=200, **away)
    (line,) = [line for line in models.lines if DEPRECATED in line]
    assert line.split()[-4:] == ["deprecated", "2025-09-29", "2027-02-19", "2026-02-02"]
    for format_ in ("table", "json", "csv"):
        piped = run("events", "--kind", "deprecated", "--format", format_, **away).stdout
        assert "2026-11-10T18:00:00Z" in piped


def test_a_time_that_the_local_zone_lacks() -> None:
    """A model that never retires (9999-12-31T23:59:59Z) is shown in every time zone."""
    synced([model("m", retires_at="9999-12-31T23:59:59Z")])
    for command in (["models"], ["show", "m"]):
        shown = at_terminal(*command, columns=200, TZ="Asia/Tokyo")
        assert shown.exit_code == 0
        assert "9999-12-31" in shown.text


def test_header(history: None) -> None:
    """A table has a header row, on a terminal and in a pipe."""
    models, events = screens("models", "events", columns=120)
    assert models.lines[0].split()[:3] == ["id", "name", "lifecycle"]
    assert events.lines[0].split() == ["when", "kind", "model", "what"]
    assert run("models").stdout.split()[:3] == ["id", "name", "lifecycle"]


def test_an_explicit_table(history: None) -> None:
    """With an explicit `--format table` a model is on one line and nothing is cut."""
    screen = at_terminal("models", "--format", "table", columns=40)
    assert len(screen.text.splitlines()) == len(LISTED) + 1
    assert [line.split()[0] for line in screen.lines[1:]] == LISTED


def test_a_terminal_without_a_width(history: None) -> None:
    """COLUMNS=0 is ignored: the table has the width of the terminal."""
    screen = at_terminal("models", columns=120, COLUMNS="0")
    assert screen.lines == at_terminal("models", columns=120).lines


def test_colours_of_words(history: None) -> None:
    """Deprecated is yellow and removed is red, on a terminal; NO_COLOR is respected."""
    shown = at_terminal("models", columns=120).sent
    assert "\x1b[33mdeprecated" in shown
    assert "\x1b[31mremoved" in at_terminal("events", columns=120).sent
    assert not COLOUR.search(at_terminal("models", columns=120, NO_COLOR="1").sent)


def test_colours_fit_dark_and_light_terminals(history: None) -> None:
    """Only bold, red and yellow of the terminal's own palette are used, and no grey."""
    shown = screens("models --all", "events", "status", f"show {DEPRECATED}", columns=80)
    codes = {code for screen in shown for code in re.findall(r"\x1b\[([\d;]*)m", screen.sent)}
    assert {number for code in codes for number in code.split(";")} == {"0", "1", "31", "33"}


@pytest.mark.parametrize("columns", [80, 40])
def test_long_ids_are_not_cut(columns: int) -> None:
    """An id that is longer than a line is continued below: none of its characters is lost."""
    # Letters that no other text on the screen has, each run of them different.
    letters = "ABCDEFGHIJKLMNOPQRSUVWXY"
    long, longest = ((letters * 11)[start : start + n] for start, n in ((0, 64), (3, 255)))
    synced([model(id_, display_name="name") for id_ in (long, longest)])
    models, shown = screens("models", f"show {longest}", columns=columns)
    assert "".join(c for c in models.text if c in letters) == long + longest
    assert longest in "".join(c for c in shown.text.replace("Z", "") if c in letters)


def test_odd_names() -> None:
    """A name can neither colour the terminal, nor move its cursor, nor set its title."""
    synced([model("odd", display_name="\x1b[31mred\x1b[2J\x1b]0;gotcha\x07\x9b5A\r\n\x08")])
    for format_ in ((), ("--format", "csv"), ("--json",)):
        screen = at_terminal("models", *format_, columns=120)
        assert not COLOUR.search(screen.sent)
        assert not set(screen.text) & set("\x1b\x07\x08\x9b")
        assert set(re.findall(r"\x1b\[[\d;]*([@-~])", screen.sent)) <= {"m"}
        assert "gotcha" in screen.text
    raw = run("models", "--format", "csv").stdout
    assert "\x1b[31mred" in raw


def test_markup_is_text() -> None:
    """A name that looks like markup is shown unchanged, on a terminal too."""
    synced([model("[/x]", display_name="[red]R&D[/red] :smile:")])
    screens_ = [at_terminal(*c, columns=120) for c in (["models"], ["events"], ["show", "[/x]"])]
    assert [screen.exit_code for screen in screens_] == [0, 0, 0]
    assert "[red]R&D[/red] :smile:" in screens_[0].text


def test_a_source_named_like_markup(walk: Walk) -> None:
    """A source named `[/x]` is synced at a terminal, under its name."""
    url = os.environ["ANTHROPIC_BASE_URL"]
    Path("catalog-sync.toml").write_text(
        f'[[sources]]\nname = "[/x]"\nbase_url = "{url}"\n', encoding="utf-8"
    )

    def look(sent: str) -> None:
        if "[/x]: 4 models on 2 pages" in sent:
            walk.go_on.set()

    screen = at_terminal("sync", watch=look)
    assert screen.exit_code == 0
    assert "[/x]: succeeded" in screen.text


# --- colour ------------------------------------------------------------------------------------


def test_bold_on_a_terminal_only(history: None) -> None:
    """A terminal gets emphasis; a dumb one, and a pipe in any environment, do not."""
    assert "\x1b[1m" in at_terminal("models").sent
    assert "\x1b" not in at_terminal("models", TERM="dumb").sent
    assert "\x1b" not in run("models", FORCE_COLOR="1").stdout


# --- progress ----------------------------------------------------------------------------------


class Walk:
    """An API of three pages, whose last page waits until a test has checked the screen."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, request: Request) -> Any:
        after = dict(request.query).get("after_id")
        if after is None:
            return page([model("a"), model("b")], has_more=True)
        if after == "b":
            return page([model("c"), model("d")], has_more=True)
        assert self.go_on.wait(30)
        return page([model("e")])


@pytest.fixture
def walk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    answer = Walk()
    with ScriptedServer(answer) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        yield answer
        answer.go_on.set()


def test_progress_on_a_terminal(walk: Walk) -> None:
    """A walk of several pages shows its progress on stderr, and erases it at the end."""

    def look(sent: str) -> None:
        if "4 models on 2 pages" in sent:
            walk.go_on.set()

    screen = at_terminal("sync", piped=True, watch=look)
    assert screen.exit_code == 0
    assert walk.go_on.is_set()
    assert re.match(r"anthropic: succeeded: baseline of 5 models .+\n", screen.piped)
    assert screen.sent.endswith("\x1b[2K")


def test_a_walk_that_waits() -> None:
    """A walk that waits for its next attempt shows that on a terminal, from the first second."""
    calls: list[Request] = []

    def answer(request: Request) -> Any:
        calls.append(request)
        if len(calls) == 1:
            return Answer({}, 529, {"retry-after": "2"})
        return page([model("a")])

    with ScriptedServer(answer) as server:
        screen = at_terminal("sync", ANTHROPIC_BASE_URL=server.url, ANTHROPIC_API_KEY=KEY)
    assert screen.exit_code == 0
    assert "walking the list" in screen.text
    assert "HTTP 529: waiting 2 s to try again" in screen.text


def test_progress_stays_on_one_line() -> None:
    """A long reason to wait is cut to the width of the terminal, and leaves nothing behind."""
    calls: list[Request] = []

    def answer(request: Request) -> Any:
        calls.append(request)
        return None if len(calls) == 1 else page([model("a")])

    with ScriptedServer(answer) as server:
        screen = at_terminal(
            "sync", columns=50, ANTHROPIC_BASE_URL=server.url, ANTHROPIC_API_KEY=KEY
        )
    assert screen.exit_code == 0
    assert "no answer" in screen.text
    assert screen.sent.count("\x1b[1A") == 1  # at the end; more lines would be erased by moving up


def test_no_colour(walk: Walk) -> None:
    """NO_COLOR is respected: the progress has no colour."""
    walk.go_on.set()
    assert COLOUR.search(at_terminal("sync").sent)
    assert not COLOUR.search(at_terminal("sync", NO_COLOR="1").sent)


def test_no_progress_in_a_pipe(walk: Walk) -> None:
    """A log contains no progress, however many pages there are."""
    walk.go_on.set()
    result = run("sync", FORCE_COLOR="1")
    assert (result.returncode, result.stderr) == (0, "")


def test_an_error_on_a_terminal(walk: Walk) -> None:
    """At a terminal an error is one line too, without remains of the progress above it."""
    screen = at_terminal("sync", ANTHROPIC_API_KEY="")
    assert screen.exit_code == 2
    _, _, left = screen.sent.rpartition("\x1b[2K")
    assert re.fullmatch(r"catalog-sync: .+ANTHROPIC_API_KEY.+\r\n", left)
