"""Receivers of alerts in tests: a real HTTP receiver and a real mail server, on loopback."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, Self

from aiosmtpd.controller import Controller

PATIENCE_SECONDS = 30
"""How long a test waits for a message. Only a failing test waits this long."""


@dataclass(frozen=True)
class Received:
    """A request as it came in."""

    path: str
    """With its query."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(frozen=True)
class Reply:
    """A reply of the receiver."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    """The reason phrase of the status. None is the usual one."""
    after: threading.Event | None = None
    """Not before this is set."""


Decision = Reply | Callable[[BinaryIO], None] | None
"""A reply, a function that writes to the raw connection, or None to hang up without an answer."""


class Receiver:
    """A real HTTP receiver that keeps its requests.

    `replies` are sent in turn, the last one again and again; assign new ones at any time. A
    function of the request may replace them.
    """

    def __init__(self, *replies: Decision, decide: Callable[[Received], Decision] | None = None):
        self.replies: list[Decision] = list(replies) or [Reply()]
        self.received: list[Received] = []
        self._decide = decide
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                said = outer._next(Received(self.path, headers, body))
                self.close_connection = not isinstance(said, Reply)
                if isinstance(said, Reply):
                    if said.after is not None:
                        said.after.wait(PATIENCE_SECONDS)
                    self.send_response(said.status, said.reason)
                    for name, value in said.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", "0")
                    self.end_headers()
                elif said is not None:
                    said(self.wfile)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # a sender that hung up is a test's doing

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def _next(self, received: Received) -> Decision:
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()
            if self._decide is None:
                return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return self._decide(received)

    @property
    def ids(self) -> list[str]:
        """The webhook-id of each request."""
        return [received.id for received in self.received]

    @property
    def last(self) -> Received:
        return self.received[-1]

    def wait_for(self, requests: int, seconds: float = PATIENCE_SECONDS) -> bool:
        """Wait until this many requests arrived. Returns False if they did not."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.received) >= requests, seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class MailServer:
    """A real SMTP server that keeps the mails it accepts; `reply` refuses them when it is set."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.reply: str | None = None
        self._socket = socket.create_server(("127.0.0.1", 0))
        port = self._socket.getsockname()[1]
        self._controller = _OnSocket(self, self._socket, hostname="127.0.0.1", port=port)
        self.url = f"mailto://127.0.0.1:{port}?mode=insecure&from=sync@example.com&to=a@example.com"
        """As Apprise wants it."""

    async def handle_DATA(  # noqa: N802  # aiosmtpd calls it so
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        if self.reply is not None:
            return self.reply
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


class _OnSocket(Controller):
    """Listens on a socket that is already there, for aiosmtpd itself takes no free port."""

    def __init__(self, handler: MailServer, listening: socket.socket, **options: Any) -> None:
        super().__init__(handler, **options)
        self._listening = listening

    def _create_server(self) -> Any:
        return self.loop.create_server(self._factory_invoker, sock=self._listening)


def closed_port() -> int:
    """A port of loopback without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def write_config(base_url: str, *channels: str, top: str = "") -> None:
    """Write the configuration of one source; `channels` are the lines of an alert's table each."""
    text = f'{top}\n[[sources]]\nname = "anthropic"\nbase_url = "{base_url}"\n'
    text += "".join(f"[[alerts]]\n{lines}\n" for lines in channels)
    Path("catalog-sync.toml").write_text(text, encoding="utf-8")
