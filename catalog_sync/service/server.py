"""A waitress server for a WSGI application, which another thread can stop."""

from __future__ import annotations

import socket
import threading
from typing import Any, Self
from wsgiref.types import WSGIApplication

from waitress import create_server, wasyncore

_POLL_SECONDS = 1.0
_DRAIN_SECONDS = 1.0
"""How long `close` waits for answers in progress."""
_MEMORY_BYTES = 2**30
"""Answers wait in memory: waitress leaves temporary files open when it closes a connection."""


class Server:
    """Serves a WSGI application from `start`, which `with` calls, until `close`.

    The host `::` accepts IPv4 too, and port 0 chooses a free port. `limits` are options of
    waitress. Raises OSError if the address cannot be bound.
    """

    def __init__(
        self, address: tuple[str, int], application: WSGIApplication, **limits: int
    ) -> None:
        host, port = address
        listening = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if ":" in host else socket.AF_INET,
            backlog=128,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
        self.port = int(listening.getsockname()[1])
        self._channels: dict[int, Any] = {}
        self._server = create_server(
            application,
            map=self._channels,
            sockets=[listening],
            ident=None,
            clear_untrusted_proxy_headers=True,
            inbuf_overflow=_MEMORY_BYTES,
            outbuf_overflow=_MEMORY_BYTES,
            **limits,
        )
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    def start(self) -> None:
        """Answer requests, in a thread. A second call does nothing."""
        if self._thread.ident is None:
            self._thread.start()

    def join(self) -> None:
        """Wait until another thread closes the server."""
        self._thread.join()

    def close(self) -> None:
        """Close the port and all connections."""
        self._closing.set()
        if self._thread.is_alive():
            self._server.pull_trigger()
            self._thread.join()
        self._server.task_dispatcher.shutdown(timeout=_DRAIN_SECONDS)
        wasyncore.close_all(self._channels)

    def _serve(self) -> None:
        while not self._closing.is_set():
            wasyncore.loop(_POLL_SECONDS, use_poll=True, map=self._channels, count=1)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
