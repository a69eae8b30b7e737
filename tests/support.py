"""Small stand-ins: objects of the API, a scripted server, and the program itself."""

from __future__ import annotations

import json
import os
import shlex
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from catalog_sync.config.settings import Settings, SourceSettings
from catalog_sync.config.values import SecretStr

KEY = "sk-ant-test-4f1c9a27"
"""Looks like a key, but is not one."""


def model(id_: str, **fields: Any) -> dict[str, Any]:
    """An API object in the newest shape; `fields` replace or add."""
    return {
        "type": "model",
        "id": id_,
        "display_name": id_.replace("-", " ").title(),
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        **fields,
    }


def page(models: Iterable[Mapping[str, Any]], *, has_more: bool = False, **fields: Any) -> dict:
    """A List Models answer; `fields` replace or add."""
    data = list(models)
    return {
        "data": data,
        "has_more": has_more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        **fields,
    }


@dataclass(frozen=True)
class Request:
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    """Names in lower case."""


@dataclass(frozen=True)
class Answer:
    """The server's answer: a JSON value, or bytes as they are."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class ScriptedServer:
    """A real HTTP/1.1 server on loopback whose answers a function (or a list of them) decides.

    `requests` keeps what came in. A list is answered in turn, its last answer again and again. A
    function may also return None, to hang up without an answer, or a callable that writes to the
    connection's raw file itself.
    """

    def __init__(self, answer: Callable[[Request], Any] | list[Any]) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        outer = self
        if isinstance(answer, list):
            script = list(answer)

            def decide(_request: Request) -> Any:
                return script.pop(0) if len(script) > 1 else script[0]

        else:
            decide = answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                outer.connections += 1

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                headers = {key.lower(): value for key, value in self.headers.items()}
                request = Request(parts.path, parse_qsl(parts.query), headers)
                outer.requests.append(request)
                said = decide(request)
                if said is None:
                    self.close_connection = True
                    return
                if callable(said):
                    said(self.wfile)
                    self.close_connection = True
                    return
                said = said if isinstance(said, Answer) else Answer(said)
                raw = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
                self.send_response_only(said.status)  # no Date: a test moves its own clock
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(raw)))
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_: object) -> None:
                pass  # a client that hung up is a test's doing

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def settings_for(
    database_url: str, base_url: str, *, name: str = "anthropic", key: str = "sandbox-key", **source
) -> Settings:
    """Settings with one source whose key is `key`. The environment is not changed."""
    os.environ["CATALOG_SYNC_TEST_KEY"] = key  # the next test starts without it
    values = {"name": name, "base_url": base_url, "api_key_env": "CATALOG_SYNC_TEST_KEY", **source}
    return Settings(database_url=SecretStr(database_url), sources=(SourceSettings(**values),))


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, which the clean-environment fixture has cleaned, and more."""
    return {**os.environ, **variables}


def program(*arguments: str) -> list[str]:
    """The command line of the installed program."""
    return [sys.executable, "-m", "catalog_sync", *arguments]


def run(*arguments: str, timeout: float = 60, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, as a separate process, in the current directory."""
    return subprocess.run(
        program(*arguments),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def complaint(result: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """Return the one line of a failed command, after checking that there is no other."""
    assert result.returncode == exit_code, result.stderr
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("catalog-sync: ")
    return line


def run_all(*command_lines: str, **variables: str) -> list[subprocess.CompletedProcess[str]]:
    """Run the program once for each, all at the same time."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda line: run(*shlex.split(line), **variables), command_lines))


def with_tls(server: Any, certificate: tuple[Path, Path]) -> Any:
    """Serve a server's answers by TLS. It must not have been started."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server._server.socket = context.wrap_socket(
        server._server.socket, server_side=True, do_handshake_on_connect=False
    )
    server.url = server.url.replace("http:", "https:")
    return server
