"""The docstring of `errors` draws the tree of the error classes."""

from __future__ import annotations

import inspect
import re

import pytest

from catalog_sync import errors
from catalog_sync.errors import CatalogSyncError
from catalog_sync.text import one_line

CLASSES = {
    name: each
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, BaseException)
}


def drawn() -> dict[str, tuple[str | None, int | None]]:
    """The tree of the module's docstring: name → parent, and the exit code where one is stated."""
    tree: dict[str, tuple[str | None, int | None]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"([ │├└─]+)(\w+Error)\b(?: +(?:exit (\d): )?.+)?", line)
        if not match:
            continue
        depth = len(match[1])
        above = [(at, name) for at, name in above if at < depth]
        parent = above[-1][1] if above else None
        tree[match[2]] = (parent, int(match[3]) if match[3] else None)
        above.append((depth, match[2]))
    return tree


def test_the_tree_is_drawn() -> None:
    """The docstring draws every error under its parent, and no other."""
    real = {name: each.__bases__[0].__name__ for name, each in CLASSES.items()}
    assert {name: parent or "Exception" for name, (parent, _) in drawn().items()} == real


def test_exit_codes_are_drawn() -> None:
    """Each branch has the exit code that the docstring states, down to its last leaf."""
    tree = drawn()
    for name, each in CLASSES.items():
        if each is CatalogSyncError:
            continue
        branch = name
        while tree[branch][1] is None:
            branch = tree[branch][0] or ""
        assert each.exit_code == tree[branch][1], name


@pytest.mark.parametrize("each", CLASSES.values(), ids=lambda each: each.__name__)
def test_every_error_says_what_happened(each: type[CatalogSyncError]) -> None:
    """Every error has its own sentence, and reads as one line: what happened, what to do."""
    assert (each.__doc__ or "").strip().split("\n")[0].rstrip().endswith(".")
    error = each("it\nbroke")
    assert str(error) == ("it broke; " + each.advice if each.advice else "it broke")
    assert str(each("it broke", "look here")) == "it broke; look here"
    assert str(each("it broke", "")) == "it broke"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("a\nb\r\nc\td", "a b c d"),
        ("  around  and   between ", "around and between"),
        ("\x1b[2Jgone\x07", "[2Jgone"),
        ("a\x00b", "a b"),
        ("a\u2028b\u2029c\x85d", "a b c d"),
        ("right\u202eto left", "right to left"),
        ("\ud83c", ""),
        ("R&D <beta> 🎼 موسيقى", "R&D <beta> 🎼 موسيقى"),
        ("", ""),
    ],
)
def test_one_line(text: str, line: str) -> None:
    """Foreign text cannot move a cursor or forge a line; names stay unchanged."""
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("length", "limit", "expected"),
    [(1000, 1000, "x" * 1000), (1001, 1000, "x" * 999 + "…"), (9, 3, "xx…"), (3, 3, "xxx")],
)
def test_one_line_is_short(length: int, limit: int, expected: str) -> None:
    """Foreign text is cut at the limit, and the cut is visible."""
    assert one_line("x" * length, limit) == expected


def test_one_line_without_a_limit() -> None:
    """Without a limit no text is cut."""
    assert one_line("x" * 5000, None) == "x" * 5000


def test_errors_are_short() -> None:
    """An error's text is at most a thousand characters long, whatever the server's text is."""
    assert len(str(CatalogSyncError("x" * 100_000, "look here"))) == 1000
