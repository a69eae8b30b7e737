"""How long `models`, `show` and `events` take, beside sqlite3 alone that selects the same rows.

Run: python tests/benchmarks/reading.py [MODELS] [EVENTS]

Each round runs all of them in turn, so that a noisy machine is noisy to each; printed are medians
and the ratio to the plain SELECT of the same rows, each of them a process of its own.
"""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from catalog_sync.db import engine as db_engine
from catalog_sync.db import migrate
from catalog_sync.demo.history import moments

ROUNDS = 3
START = datetime(2020, 1, 1, tzinfo=UTC)
SELECTS = {
    "models": "SELECT * FROM current_models",
    "events": "SELECT * FROM model_events ORDER BY id",
    "show": "SELECT * FROM model_events WHERE model_id = 'model-000000' ORDER BY id DESC",
}
COMMANDS = {
    "models": "models",
    "models --format json": "models",
    "models --as-of 2026-11-01 --format json": "events",
    "show model-000000": "show",
    "events": "events",
    "events (at a terminal)": "events",
    "events --since 2026-11-01": "show",
    "events --format csv": "events",
    "events --format json": "events",
}
PLAIN = """
import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]):
    print(*row)
"""


def fill(file: Path, models: int, events: int) -> None:
    """Write a history in which every model is changed again and again, one a minute."""
    engine = db_engine.create_engine(f"sqlite:///{file}")
    migrate.ensure_schema(engine)
    engine.dispose()
    sample = moments()[-1].models[0]
    objects = [
        sample | {"id": f"model-{n:06}", "display_name": f"Model {n}"} for n in range(models)
    ]
    texts = [json.dumps(each) for each in objects]
    changes = json.dumps({"display_name": {"old": "A name", "new": "Another name"}})
    with closing(sqlite3.connect(file)) as connection, connection:
        now = f"{START:%Y-%m-%d %H:%M:%S.%f}"
        connection.execute(
            "INSERT INTO sources (name, base_url, baseline_at, last_synced_at) "
            "VALUES ('s', '', ?, ?)",
            (now, now),
        )
        connection.execute(
            "INSERT INTO sync_runs VALUES (1, 's', 'succeeded', 1, ?, ?, 1, 1, 0, 0, 0, 0, null)",
            (now, now),
        )
        connection.executemany(
            "INSERT INTO models (source, id, display_name, created_at, type, payload, "
            "first_seen_at, last_seen_at) VALUES ('s', ?, ?, ?, 'model', ?, ?, ?)",
            [
                (each["id"], each["display_name"], now, text, now, now)
                for each, text in zip(objects, texts, strict=True)
            ],
        )
        connection.executemany(
            "INSERT INTO model_events (run_id, source, model_id, kind, occurred_at, changes, "
            "payload) VALUES (1, 's', ?, ?, ?, ?, ?)",
            (
                (
                    objects[n % models]["id"],
                    "added" if n < models else "updated",
                    f"{START + n * timedelta(minutes=1):%Y-%m-%d %H:%M:%S.%f}",
                    "{}" if n < models else changes,
                    texts[n % models],
                )
                for n in range(events)
            ),
        )


def seconds(words: list[str], environment: dict[str, str], *, terminal: bool) -> float:
    """Run a process, at a terminal or into a pipe, read all that it prints, and time it."""
    leader, follower = pty.openpty() if terminal else os.pipe()
    started = time.perf_counter()
    with subprocess.Popen(words, stdout=follower, env=environment) as process:
        os.close(follower)
        with suppress(OSError):  # a terminal's end
            while os.read(leader, 1 << 20):
                pass
        os.close(leader)
        assert process.wait() == 0
    return time.perf_counter() - started


def main(models: int, events: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "catalog.db")
        fill(file, models, events)
        environment = {
            **os.environ,
            "CATALOG_SYNC_DATABASE_URL": f"sqlite:///{file}",
            "COLUMNS": "80",
        }
        times: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for select in SELECTS.values():
                words = [sys.executable, "-c", PLAIN, str(file), select]
                times.setdefault(select, []).append(seconds(words, environment, terminal=False))
            for command in COMMANDS:
                words = [sys.executable, "-m", "catalog_sync", *command.partition(" (")[0].split()]
                spent = seconds(words, environment, terminal="(" in command)
                times.setdefault(command, []).append(spent)
    medians = {name: statistics.median(measured) for name, measured in times.items()}
    print(f"{models} models, {events} events, median of {ROUNDS} rounds")
    for command, beside in COMMANDS.items():
        ratio = medians[command] / medians[SELECTS[beside]]
        print(f"  {command:<42} {medians[command]:7.2f} s  {ratio:6.1f} x its SELECT")


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    main(*(numbers or [1000, 100_000]))
