"""Proxies between the program and PostgreSQL: PgBouncer, and one that loses answers."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from conftest import need
from receivers import PATIENCE_SECONDS

COMMIT = b"COMMIT\0"
WRITE = re.compile(rb"INSERT INTO|UPDATE \w+ SET|DELETE FROM")
CONFIG = """
[databases]
* = host={host} port={port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
"""


def through(url: str, port: int) -> str:
    """Return the database URL that goes through a port of this machine."""
    changed = sa.make_url(url).set(host="127.0.0.1", port=port)
    return changed.render_as_string(hide_password=False)


@contextmanager
def pgbouncer(url: str, pool_size: int) -> Iterator[str]:
    """Start PgBouncer in transaction mode in front of a database; yields the URL through it."""
    program = need("pgbouncer")
    server = sa.make_url(url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen_port = free.getsockname()[1]
    directory = Path(tempfile.mkdtemp())  # not tmp_path, which others may not enter
    directory.chmod(0o755)
    config = directory / "pgbouncer.ini"
    text = CONFIG.format(
        host=server.host,
        port=server.port or 5432,
        user=server.username,
        listen_port=listen_port,
        pool_size=pool_size,
    )
    config.write_text(text, encoding="utf-8")
    user = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
    with (directory / "log").open("w") as log:
        process = subprocess.Popen([program, *user, config], stdout=log, stderr=log)
    try:
        for _ in range(PATIENCE_SECONDS * 50):
            with suppress(OSError), socket.create_connection(("127.0.0.1", listen_port)):
                break
            assert process.poll() is None, (directory / "log").read_text(encoding="utf-8")
            time.sleep(0.02)
        yield through(url, listen_port)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory)


class CommitProxy:
    """A proxy in front of PostgreSQL that can lose the answer to one COMMIT.

    `lose(n)`: the n-th COMMIT of a transaction that writes, counted from now, is carried out by the
    server, but its connection closes before the answer arrives. `lost` says whether that happened.
    """

    def __init__(self, url: str) -> None:
        server = sa.make_url(url)
        self._target = (server.host or "127.0.0.1", server.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self.lost = False
        self._left = 0
        self.url = through(url, self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, number: int) -> None:
        """Lose the answer to the COMMIT of this number, counted from now; 0 loses none."""
        with self._lock:
            self.lost, self._left = False, number

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        losing = threading.Event()
        answers = threading.Thread(target=self._answer, args=(client, server, losing), daemon=True)
        answers.start()
        with client, server, suppress(OSError):
            sent = b""
            while data := client.recv(65536):
                sent += data
                if COMMIT in data:
                    if WRITE.search(sent) and self._loses():
                        losing.set()
                    sent = b""
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
            answers.join()

    def _loses(self) -> bool:
        with self._lock:
            self._left -= 1
            self.lost |= self._left == 0
            return self._left == 0

    @staticmethod
    def _answer(client: socket.socket, server: socket.socket, losing: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if losing.is_set():
                    break
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()
