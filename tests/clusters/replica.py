"""A storm of runs on a PostgreSQL primary with a late replica, and a failover, by hand.

Run: .venv/bin/python tests/clusters/replica.py [ROUNDS]

Needs Debian's postgresql. It starts both servers on loopback, as the user postgres, and stops them.
In every round the list changes, and four `catalog-sync sync` start at once while others read from
the replica, which is seconds behind. Then the primary dies and the replica takes its place. At the
end every change must be recorded once and sent under one id, and no lease may be left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path

import psycopg

from catalog_sync.db import engine as db_engine
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.errors import DatabaseError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from receivers import Receiver, write_config  # what the tests share
from support import model

PROCESSES = 4
PRIMARY, REPLICA = 24300, 24301  # below the ports that the system gives to clients
DELAY_SECONDS = 3
PATIENCE_SECONDS = 300  # of a busy machine
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
shared_buffers = 32MB
hot_standby = on
max_standby_streaming_delay = 0
"""
BOTH = f"127.0.0.1:{PRIMARY},127.0.0.1:{REPLICA}"
WRITER = f"postgresql://postgres@{BOTH}/postgres?target_session_attrs=read-write"


def url(port: int) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"


class Servers:
    """The primary and its replica, in a temporary directory."""

    def __init__(self, directory: Path) -> None:
        versions = Path("/usr/lib/postgresql").glob("*/bin")
        self._bin = max(versions, key=lambda path: int(path.parent.name))
        self._directory = directory
        self._user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def _command(self, program: str, *words: str) -> None:
        command = [*self._user, str(self._bin / program), *words]
        log = self._directory / "commands.log"
        with log.open("a") as output:
            made = subprocess.run(
                command,
                stdout=output,
                stderr=output,
                check=False,
                timeout=PATIENCE_SECONDS,
                cwd="/",
            )
        assert made.returncode == 0, log.read_text()[-2000:]

    def _control(self, name: str, *words: str) -> None:
        data = str(self._directory / name)
        self._command("pg_ctl", "-D", data, "-w", "-t", str(PATIENCE_SECONDS), *words)

    def start(self) -> None:
        """Start the primary, copy it, and start the copy as its late replica."""
        data = {name: self._directory / name for name in ("primary", "replica")}
        self._command("initdb", "-D", str(data["primary"]), "-U", "postgres", "-A", "trust", "-N")
        with (data["primary"] / "postgresql.conf").open("a") as file:
            file.write(f"{SETTINGS}port = {PRIMARY}\n")
        self._control("primary", "-l", str(self._directory / "primary.log"), "start")
        source = ("-h", "127.0.0.1", "-p", str(PRIMARY), "-U", "postgres")
        copy = ("-D", str(data["replica"]), "-R", "-X", "stream", "-c", "fast")
        self._command("pg_basebackup", *source, *copy)
        with (data["replica"] / "postgresql.conf").open("a") as file:
            file.write(f"port = {REPLICA}\nrecovery_min_apply_delay = '{DELAY_SECONDS}s'\n")
        self._control("replica", "-l", str(self._directory / "replica.log"), "start")

    def catch_up(self) -> None:
        """Wait until the replica shows what the primary has written so far."""
        [(written,)] = query(PRIMARY, "SELECT pg_current_wal_lsn()")
        end = time.monotonic() + PATIENCE_SECONDS
        while query(REPLICA, f"SELECT pg_last_wal_replay_lsn() < '{written}'") == [(True,)]:
            assert time.monotonic() < end, "the replica does not follow"
            time.sleep(0.1)

    def fail_over(self) -> None:
        """End the primary without a word and promote the replica."""
        self._control("primary", "-m", "immediate", "stop")
        self._control("replica", "promote")

    def stop(self) -> None:
        for name in ("replica", "primary"):
            if (self._directory / name / "postmaster.pid").exists():
                self._control(name, "-m", "immediate", "stop")


@contextmanager
def servers() -> Iterator[Servers]:
    """Start both servers, and stop them at the end."""
    directory = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        shutil.chown(directory, "postgres")
    made = Servers(directory)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(directory, ignore_errors=True)


def query(port: int, statement: str) -> list[tuple]:
    with psycopg.connect(url(port), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def models(number: int) -> list[dict]:
    """A list in which every number changes one model and adds one."""
    added = [model(f"claude-new-{each}") for each in range(number)]
    return [model("claude-one", display_name=f"One {number}"), *added]


def run(commands: list[tuple[str, str]]) -> list[tuple[int, str]]:
    """Run commands at once, each on the database of a URL; return exit codes and last lines."""
    variables = {**os.environ, "ANTHROPIC_API_KEY": "sandbox-key"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "catalog_sync", *words.split()],
            env={**variables, "CATALOG_SYNC_DATABASE_URL": url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for url, words in commands
    ]
    ended = []
    for process in processes:
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        ended.append((process.returncode, errors.strip()))
    return ended


def conflict_text() -> str:
    """Return what a query on the replica says when the primary removes rows that it may read."""
    engine = db_engine.create_engine(url(REPLICA))
    try:
        with db_engine.read_transaction(engine) as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sync_runs")
            query(PRIMARY, "UPDATE sync_runs SET pages = pages")
            query(PRIMARY, "VACUUM sync_runs")
            connection.exec_driver_sql(f"SELECT pg_sleep({DELAY_SECONDS + 5})")
            return "no conflict"
    except DatabaseError as error:
        return str(error)
    finally:
        engine.dispose()


def main(rounds: int) -> None:
    with ExitStack() as stack:
        made = stack.enter_context(servers())
        sandbox = stack.enter_context(Sandbox(models(0)))
        receiver = stack.enter_context(Receiver())
        stack.enter_context(chdir(stack.enter_context(tempfile.TemporaryDirectory())))
        hook = f'name = "hook"\nwebhook = "{receiver.url}"\nevents = ["added", "updated"]'
        write_config(sandbox.url, hook)
        reading = [(url(REPLICA), words) for words in ("models", "events", "status")]
        broken: dict[str, bool] = {}
        for number in range(rounds + 1):
            sandbox.models = models(number)
            ended = run([(WRITER, "sync")] * PROCESSES + (reading if number else []))
            codes = Counter(code for code, _ in ended)
            print(f"round {number}: exit codes {dict(codes)}", flush=True)
            broken[f"round {number}: {ended}"] = set(codes) != {0}
            if number == 0:  # commands that read before the first run was recorded say so, exit 1
                made.catch_up()
        [(code, line)] = run([(url(REPLICA), "sync")])
        broken[f"sync on the replica: {code} {line}"] = code != 4 or "read-only" not in line
        conflict = conflict_text()
        broken[f"conflict: {conflict}"] = "the replica must follow its primary" not in conflict
        made.fail_over()
        sandbox.models = models(rounds + 1)
        ended = run([(WRITER, "sync")] * PROCESSES)
        broken[f"after the failover: {ended}"] = {code for code, _ in ended} != {0}
        run([(WRITER, "sync")])  # delivers what is left
        report(receiver, rounds + 1, broken)


def report(receiver: Receiver, rounds: int, broken: dict[str, bool]) -> None:
    """Print what was found; exit 1 when a promise was broken."""
    wanted = {("added", f"claude-new-{number}"): 1 for number in range(rounds)}
    wanted |= {("added", "claude-one"): 1, ("updated", "claude-one"): rounds}
    events = query(REPLICA, "SELECT kind, model_id, count(*) FROM model_events GROUP BY 1, 2")
    found = {(kind, model_id): count for kind, model_id, count in events}
    sent = {each.id: each.json["data"]["events"] for each in receiver.received}
    notified = Counter((one["kind"], one["model_id"]) for each in sent.values() for one in each)
    notified[("added", "claude-one")] += 1  # the first list makes no alert
    leases = query(REPLICA, "SELECT name FROM sources WHERE lease_run_id IS NOT NULL")
    broken |= {
        f"events {found}": found != wanted,
        f"sent {dict(notified)}": notified != wanted,
        f"leases left {leases}": bool(leases),
    }
    for what, wrong in broken.items():
        print("BROKEN" if wrong else "kept", what)
    sys.exit(any(broken.values()))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
