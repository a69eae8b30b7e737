"""How long `check --scan` takes to look through a tree, beside `grep -rFl` and `git grep -Fl`.

Run: python tests/benchmarks/scan.py [FILES]

Each round runs all of them in turn, so that a noisy machine is noisy to each; printed are medians
and the ratio to `git grep`. "check" is the whole process, with its start and the database.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from catalog_sync.check.ids import IdPattern
from catalog_sync.check.scan import scan
from catalog_sync.demo import story
from catalog_sync.demo.history import steps

ROUNDS = 5
NOW = datetime.now(UTC)
LINE = "def handler(request, client):  # one of many lines that say nothing of a model\n"
IGNORED = "".join(f"*.{end}\nbuild-{end}/\n" for end in ("pyc", "pyo", "so", "o", "log", "tmp"))


def tree(directory: Path, files: int) -> int:
    """A repository whose every twentieth file names a model; returns its size in bytes."""
    directory.joinpath(".gitignore").write_text(IGNORED, encoding="utf-8")
    size = 0
    for number in range(files):
        text = LINE * (50 + number % 200)
        if number % 20 == 0:
            text += 'MODEL = "claude-opus-4-1-20250805"\n'
        file = directory / f"package{number // 50}" / f"module{number}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        size += len(text)
    for command in (["init", "--quiet"], ["add", "."]):
        subprocess.run(["git", *command], cwd=directory, check=True)
    return size


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(files: int) -> None:
    held = {model["id"] for step in steps() for model in step.models}
    with tempfile.TemporaryDirectory() as top:
        directory = Path(top, "repository")
        directory.mkdir()
        size = tree(directory, files)
        database = story.new_file(Path(top))
        list(story.replay(database))
        url = f"sqlite:///{database.resolve()}"
        environment = {**os.environ, "CATALOG_SYNC_DATABASE_URL": url}
        check = [sys.executable, "-m", "catalog_sync", "check", "--scan", str(directory)]

        def run(*command: str) -> Callable[[], object]:
            return lambda: subprocess.run(
                command, cwd=directory, env=environment, capture_output=True, check=False
            )

        works = {
            "git grep": run("git", "grep", "-Fl", "claude-"),
            "grep -r": run("grep", "-rFl", "claude-", "."),
            "scan": lambda: scan([str(directory)], IdPattern(held), NOW.date()),
            "check": run(*check),
        }
        times: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(ROUNDS):
            for name, work in works.items():
                times[name].append(seconds(work))
    print(f"{files} files, {size / 1e6:.0f} MB, median of {ROUNDS} rounds")
    base = statistics.median(times["git grep"])
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:9} {median * 1000:8.1f} ms  {median / base:5.1f} x git grep")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
