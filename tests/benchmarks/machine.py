"""The benchmarks' environments, databases, API, and measured processes. Linux only.

The standard library is all that is imported here: Linux counts the memory of a process as the peak
of what it starts as well.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "benchmarks"
LOCKED = ["--constraint", f"{ROOT}/requirements.lock"]
PACKAGES = {
    "bare script": ["httpx", "orjson", "psycopg[binary]"],
    "catalog-sync": [*LOCKED, "--editable", f"{ROOT}[postgres]"],
    "SDK + SQLAlchemy": ["anthropic", "sqlalchemy", "psycopg[binary]"],
    "dlt": ["dlt[sqlalchemy,postgres]"],
    "sqlite-utils": ["httpx", "sqlite-utils"],
}
SCRIPTS = {
    "bare script": "bare.py",
    "SDK + SQLAlchemy": "sdk.py",
    "dlt": "dlt_merge.py",
    "sqlite-utils": "sqlite_utils_upsert.py",
}
CLEAN = "DROP SCHEMA IF EXISTS public, main, main_staging CASCADE; CREATE SCHEMA public"
WRITTEN = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"
EXECUTE = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    for statement in sys.argv[2].split(";"):
        cursor = connection.execute(statement)
    print(cursor.fetchone()[0] if cursor.description else "")
"""


@dataclass(frozen=True)
class Usage:
    """The resources that one process used."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    written_kb: float
    """To files, or to the write-ahead log of PostgreSQL, which other clients fill as well."""


def python_of(program: str) -> str:
    """Return the interpreter of a program's environment, which is made on demand."""
    directory, packages = BUILD / program.replace(" ", ""), PACKAGES[program]
    python, done = directory / "bin" / "python", directory / "packages"
    if not done.exists() or done.read_text(encoding="utf-8") != str(packages):
        print(f"installing {program}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", directory], check=True)
        uv = shutil.which("uv")
        pip = (
            [uv, "pip", "install", "--compile-bytecode", "--python", python]
            if uv
            else [python, "-m", "pip", "install"]
        )
        subprocess.run([*pip, "--quiet", *packages], check=True)
        done.write_text(str(packages), encoding="utf-8")
    return str(python)


class Database:
    """A database of a kind, with a working directory for the programs that fill it."""

    def __init__(self, kind: str, server: str) -> None:
        self.kind, self.server = kind, server
        self.directory = Path(tempfile.mkdtemp(prefix="benchmark_"))
        self.url = f"sqlite:///{self.directory}/catalog.db"
        if kind == "postgresql":
            self.name = f"benchmark_{uuid.uuid4().hex[:8]}"
            self.execute(f"CREATE DATABASE {self.name}", server)
            self.url = f"{server.rsplit('/', 1)[0]}/{self.name}"

    def execute(self, statements: str, url: str | None = None) -> str:
        """Execute statements; returns the first value of the last one."""
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.directory / "catalog.db")) as file, file:
                return str((file.execute(statements).fetchone() or [""])[0])
        command = [python_of("bare script"), "-c", EXECUTE, url or self.url, statements]
        return subprocess.check_output(command, text=True).strip()

    def empty(self) -> None:
        """Remove everything that a program left."""
        shutil.rmtree(self.directory)
        self.directory.mkdir()
        if self.kind == "postgresql":
            self.execute(CLEAN)

    def drop(self) -> None:
        """Remove the database."""
        if self.kind == "postgresql":
            self.execute(f"DROP DATABASE {self.name} WITH (FORCE)", self.server)
        shutil.rmtree(self.directory)

    def command(self, program: str, api_url: str) -> list[str]:
        """Return the command line by which a program syncs into this database."""
        python = python_of(program)
        if program == "catalog-sync":
            variables = (f"ANTHROPIC_BASE_URL={api_url}", f"CATALOG_SYNC_DATABASE_URL={self.url}")
            return ["env", *variables, str(Path(python).with_name(program)), "sync"]
        return [python, str(HERE / "programs" / SCRIPTS[program]), api_url, self.url]

    def start(self, command: list[str]) -> int:
        """Start a process in the working directory, with nothing of the caller's environment."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "ANTHROPIC_API_KEY": "benchmark",
            "RUNTIME__DLTHUB_TELEMETRY": "false",
        }
        log = os.open(self.directory / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        # posix_spawn, not Popen: wait4 and its resource usage are the caller's.
        command = ["/usr/bin/env", f"--chdir={self.directory}", *command]
        files = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        process = os.posix_spawn(command[0], command, environment, file_actions=files)
        os.close(log)
        return process

    def finish(self, process: int) -> os.struct_rusage:  # type: ignore[name-defined]
        """Wait for a process; one that failed ends the benchmark."""
        _, status, usage = os.wait4(process, 0)
        if status:
            log = (self.directory / "log").read_text(encoding="utf-8")
            raise SystemExit(f"a program failed:\n{log[-2000:]}")
        return usage

    def measure(self, command: list[str]) -> Usage:
        """Run a process to its end, and say what it took."""
        postgresql = self.kind == "postgresql"
        before = int(self.execute(WRITTEN)) if postgresql else 0
        started = time.perf_counter()
        process = self.start(command)
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        seconds = time.perf_counter() - started
        counters = Path(f"/proc/{process}/io").read_text(encoding="ascii").split()
        usage = self.finish(process)
        written = counters[counters.index("wchar:") + 1]
        written = int(self.execute(WRITTEN)) - before if postgresql else int(written)
        cpu = usage.ru_utime + usage.ru_stime
        return Usage(seconds, cpu, usage.ru_maxrss / 1024, written / 1024)


@contextmanager
def databases(kind: str, server: str, count: int) -> Iterator[list[Database]]:
    """Yield empty databases of a kind."""
    made = [Database(kind, server) for _ in range(count)]
    try:
        yield made
    finally:
        for database in made:
            database.drop()


@contextmanager
def api(models: int, latency: float = 0.0) -> Iterator[str]:
    """Start the API as a separate process and yield its URL."""
    command = [sys.executable, HERE / "api.py", f"--models={models}", f"--latency={latency}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()
