"""Logs, as a process writes them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

OURS = """
import logging
from catalog_sync import logs
logs.configure({style!r}, verbose={verbose})
ours = logging.getLogger("catalog_sync.sync")
"""


def written(style: str, code: str, *, verbose: bool = True) -> list[str]:
    """The lines that a logging process writes to standard error; it prints nothing else."""
    script = OURS.format(style=style, verbose=verbose) + code
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_text() -> None:
    """A line of text is a time, a level, a message, and facts as words."""
    (line,) = written("text", "ours.info('run ended', extra=logs.fields(run_id=7, source='a'))")
    time, rest = line.split(" ", 1)
    assert len(time) == len("2026-07-24T18:12:21Z")
    assert time.endswith("Z")
    assert rest == "INFO run ended run_id=7 source=a"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("", '""'),
        ("a\nb", r'"a\nb"'),
        ("\x1b[2J", r'"\u001b[2J"'),
        ("été", "été"),
        (True, "True"),
    ],
)
def test_facts_are_single_words(value: object, word: str) -> None:
    """A fact is one word: what would break the line or its words is quoted."""
    (line,) = written("text", f"ours.info('fact', extra=logs.fields(fact={value!r}))")
    assert line.endswith(f" INFO fact fact={word}")


@pytest.mark.parametrize("style", ["text", "json"])
def test_messages_are_single_lines(style: str) -> None:
    """A server's identity can neither forge a line of the log nor move a cursor."""
    lines = written(
        style, r"ours.warning('identity changed: %s', 'org\x1b[2J\r\n2026 INFO forged')"
    )
    assert len(lines) == 1
    assert lines[0].isprintable()
    assert "forged" in lines[0]


def test_json() -> None:
    """A line of JSON is one object, the facts beside time, level and message."""
    code = "ours.warning('%s ended', 'run', extra=logs.fields(models=10, error='a\\nb', name='é'))"
    (line,) = written("json", code)
    entry = json.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "warning",
        "message": "run ended",
        "models": 10,
        "error": "a\nb",
        "name": "é",
    }
    assert "é" in line


def test_json_of_anything() -> None:
    """A fact that JSON cannot represent is written as text, and does not stop the program."""
    code = "import datetime; ours.info('x', extra=logs.fields(at=datetime.date(2026, 7, 24)))"
    (line,) = written("json", code)
    assert json.loads(line)["at"] == "2026-07-24"


TRACEBACK = "try:\n    1 / 0\nexcept ZeroDivisionError:\n    ours.exception('broke')\n"


def test_traceback() -> None:
    """An exception is logged with its traceback: below the line, or inside the object."""
    lines = written("text", TRACEBACK)
    assert lines[0].rstrip().endswith("ERROR broke")
    assert lines[-1] == "ZeroDivisionError: division by zero"
    (line,) = written("json", TRACEBACK)
    assert json.loads(line)["traceback"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("verbose", "levels"), [(False, ["WARNING", "ERROR"]), (True, ["INFO", "WARNING", "ERROR"])]
)
def test_verbose(verbose: bool, levels: list[str]) -> None:
    """Only warnings are shown, or with `verbose` everything."""
    code = "ours.info('x'); ours.warning('x'); ours.error('x')"
    assert [line.split()[1] for line in written("text", code, verbose=verbose)] == levels


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("level", ["debug", "warning", "error"])
def test_only_our_own(style: str, level: str) -> None:
    """A library's log is not shown, whatever its level: it may contain secrets and is no JSON."""
    assert written(style, f"logging.getLogger('httpx').{level}('x-api-key: secret')") == []


def test_once() -> None:
    """A program with its own logging does not get this program's lines twice."""
    code = "logging.basicConfig(level=logging.DEBUG, format='root %(message)s'); ours.info('once')"
    (line,) = written("text", code)
    assert line.endswith(" INFO once")
