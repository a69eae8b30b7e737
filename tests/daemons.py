"""The daemon as a process with a log that tests can wait for; and a database that goes down."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx

from receivers import PATIENCE_SECONDS
from support import environment, program

Entry = Mapping[str, Any]


class Daemon:
    """`catalog-sync run` in the current directory; the context manager ends the process.

    `log` holds the JSON objects of its lines, `printed` the other lines, `output` all lines.
    """

    def __init__(self, *options: str, **variables: str) -> None:
        self.output: list[str] = []
        self.log: list[Entry] = []
        self.printed: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            program("--log-format", "json", *options, "run"),
            # Loading all certificates takes a while, and no test needs them.
            env=environment(
                **{
                    "ANTHROPIC_API_KEY": "sandbox-key",
                    "SSL_CERT_FILE": "",
                    "SSL_CERT_DIR": str(Path.cwd()),
                    **variables,
                }
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.output.append(line)
                try:
                    self.log.append(json.loads(line))
                except ValueError:
                    self.printed.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, count: int = 1, *, after: int = 0, **facts: Any) -> list[Entry]:
        """Wait for `count` entries with these facts behind the first `after` ones; return them."""

        def found() -> list[Entry]:
            return [entry for entry in self.log[after:] if facts.items() <= entry.items()]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count or self._ended, PATIENCE_SECONDS)
            assert len(found()) >= count, (facts, self.log[-5:], self.printed)
            return found()

    def wait_until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition is true."""
        with self._changed:
            for _ in range(PATIENCE_SECONDS * 50):
                if condition():
                    return
                self._changed.wait(0.02)
        raise AssertionError((condition, self.log[-5:], self.printed))

    def runs(self, status: str, count: int = 1, *, after: int = 0) -> list[Entry]:
        """Wait for runs that ended with a status."""
        return self.wait_for(count, after=after, message="run ended", status=status)

    def get(self, path: str) -> httpx.Response:
        """Send a request to its listener, at the port that it logged last."""
        port = self.wait_for(message="listening")[-1]["port"]
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=30)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal to stop and return its exit code."""
        self.send(number)
        return self.exit_code()

    def exit_code(self) -> int:
        """Wait for its end."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join()
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.exit_code()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Gate:
    """A proxy of a TCP server that can be closed and opened; closed, the server seems down."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open = True
        self._sockets: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if not self._open:
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self._sockets |= {client, server}
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close every connection and refuse new ones."""
        self._open = False
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        """Accept connections again."""
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._listening.close()
        for each in self._sockets:
            each.close()
