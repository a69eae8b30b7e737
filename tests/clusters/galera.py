"""A storm of runs on a three-node Galera cluster, by hand: it starts the nodes on loopback.

Run: .venv/bin/python tests/clusters/galera.py [ROUNDS] [--empty]

Needs Debian's mariadb-server, galera-4 and rsync. In every round the list changes, and eight
`catalog-sync sync` start at once, spread over the nodes. At the end every change must be recorded
once and sent once, every run must have succeeded or been skipped, and no lease may be left. One
process makes the tables before the storm; with --empty the first storm has to.
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

import pymysql

from catalog_sync.demo.sandbox import Sandbox

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from receivers import Receiver, write_config  # what the tests share
from support import model

NODES = 3
PROCESSES = 8
FIRST_PORT = 24100  # below the ports that the system gives to clients
PROVIDER = "/usr/lib/galera/libgalera_smm.so"
START_SECONDS = 120


class Node:
    """One mariadbd that replicates with the others."""

    def __init__(self, number: int, directory: Path) -> None:
        self.port, self.group = FIRST_PORT + number, FIRST_PORT + 100 + 10 * number
        self.url = f"mysql://root@127.0.0.1:{self.port}/catalog"
        # Not in the data directory, which the first transfer of state replaces.
        self.log = directory / f"log{number}"
        data = directory / f"data{number}"
        user = f"--user={directory.owner()}"
        subprocess.run(
            [
                *("mariadb-install-db", "--no-defaults", user, f"--datadir={data}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        others = ",".join(f"127.0.0.1:{FIRST_PORT + 100 + 10 * n}" for n in range(NODES))
        provider = f"gmcast.listen_addr=tcp://127.0.0.1:{self.group}"
        provider += f";ist.recv_addr=127.0.0.1:{self.group + 1};gcache.size=32M"
        options = {
            "datadir": data,
            "port": self.port,
            "socket": directory / f"socket{number}",
            "pid-file": directory / f"pid{number}",
            "bind-address": "127.0.0.1",
            "binlog-format": "ROW",
            "innodb-autoinc-lock-mode": 2,
            "innodb-buffer-pool-size": "64M",
            "wsrep-on": "ON",
            "wsrep-provider": PROVIDER,
            "wsrep-provider-options": provider,
            "wsrep-cluster-address": f"gcomm://{others if number else ''}",
            "wsrep-node-address": f"127.0.0.1:{self.group}",
            "wsrep-sst-method": "rsync",
            "wsrep-sst-receive-address": f"127.0.0.1:{self.group + 2}",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        with self.log.open("w") as log:
            command = ["mariadbd", "--no-defaults", user, *words]
            self.process = subprocess.Popen(command, stderr=log)

    def query(self, statement: str, database: str | None = "catalog") -> tuple:
        """Execute a statement and return its rows."""
        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def wait(self, nodes: int) -> None:
        """Wait until the node is ready, in a cluster of so many."""
        end = time.monotonic() + START_SECONDS
        wanted = {"wsrep_ready": "ON", "wsrep_cluster_size": str(nodes)}
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                status = dict(self.query("SHOW STATUS LIKE 'wsrep%'", None))
            except pymysql.Error:
                status = {}
            if wanted.items() <= status.items():
                return
            time.sleep(0.2)
        raise SystemExit(self.log.read_text()[-3000:])


@contextmanager
def cluster() -> Iterator[list[Node]]:
    """Start the nodes one after the other; yields them with an empty database."""
    directory = Path(tempfile.mkdtemp())
    if os.geteuid() == 0:  # the transfer of state between nodes does not work as root
        shutil.chown(directory, "mysql")
    nodes: list[Node] = []
    try:
        for number in range(NODES):
            nodes.append(Node(number, directory))
            nodes[-1].wait(number + 1)
            print(f"node {number} is ready", flush=True)
        nodes[0].query("CREATE DATABASE catalog", None)
        yield nodes
    finally:
        for node in reversed(nodes):
            node.process.terminate()
            try:
                node.process.wait(30)
            except subprocess.TimeoutExpired:  # a node that could not join waits for ever
                node.process.kill()
        shutil.rmtree(directory, ignore_errors=True)


def models(number: int) -> list[dict]:
    """A list in which every number changes one model and adds one."""
    added = [model(f"claude-new-{each}") for each in range(number)]
    return [model("claude-one", display_name=f"One {number}"), *added]


def sync(urls: list[str]) -> Counter:
    """Run one process for each URL at once; return how often each exit code came."""
    command = [sys.executable, "-m", "catalog_sync", "sync"]
    common = {**os.environ, "ANTHROPIC_API_KEY": "sandbox-key"}
    processes = [
        subprocess.Popen(
            command,
            env={**common, "CATALOG_SYNC_DATABASE_URL": url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for url in urls
    ]
    codes: Counter = Counter()
    for process in processes:
        _, errors = process.communicate()
        codes[process.returncode] += 1
        if process.returncode:
            print(errors.strip().splitlines()[-1])
    return codes


def main(rounds: int, *, empty: bool) -> None:
    with ExitStack() as stack:
        nodes = stack.enter_context(cluster())
        sandbox = stack.enter_context(Sandbox(models(0)))
        receiver = stack.enter_context(Receiver())
        stack.enter_context(chdir(stack.enter_context(tempfile.TemporaryDirectory())))
        hook = f'name = "hook"\nwebhook = "{receiver.url}"\nevents = ["added", "updated"]'
        write_config(sandbox.url, hook)
        codes: Counter = Counter() if empty else sync([nodes[0].url])
        for number in range(rounds + 1):
            sandbox.models = models(number)
            codes += sync([nodes[n % NODES].url for n in range(PROCESSES)])
            print(f"round {number}: exit codes {dict(codes)}", flush=True)
        codes += sync([nodes[0].url])  # delivers what is left
        report(nodes[0], receiver, rounds, codes)


def report(node: Node, receiver: Receiver, rounds: int, codes: Counter) -> None:
    """Print what was found; exit 1 when a promise was broken."""
    events = node.query("SELECT kind, model_id, count(*) FROM model_events GROUP BY kind, model_id")
    found = {(kind, model_id): count for kind, model_id, count in events}
    wanted = {("added", f"claude-new-{number}"): 1 for number in range(rounds)}
    wanted |= {("added", "claude-one"): 1, ("updated", "claude-one"): rounds}
    sent = {each.id: each.json["data"]["events"] for each in receiver.received}
    notified = Counter(
        (event["kind"], event["model_id"]) for each in sent.values() for event in each
    )
    notified[("added", "claude-one")] += 1  # the first list makes no alert
    runs = dict(node.query("SELECT status, count(*) FROM sync_runs GROUP BY status"))
    leases = node.query("SELECT name FROM sources WHERE lease_run_id IS NOT NULL")
    broken = {
        f"exit codes {dict(codes)}": set(codes) != {0},
        f"events {found}": found != wanted,
        f"sent {dict(notified)}": notified != wanted,
        f"runs {runs}": set(runs) != {"succeeded"},
        f"leases left {leases}": bool(leases),
    }
    for what, wrong in broken.items():
        print("BROKEN" if wrong else "kept", what)
    sys.exit(any(broken.values()))


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    main(*(numbers or [5]), empty="--empty" in sys.argv)
