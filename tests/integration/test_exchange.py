"""One request under a total deadline: its end, its body, its way."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from catalog_sync.cancel import CancelToken
from catalog_sync.client import network
from catalog_sync.client.exchange import Deadline, Response, exchange
from catalog_sync.errors import (
    BadAnswerError,
    ConfigError,
    DeadlineError,
    StoppedError,
    UnreachableError,
)
from support import Answer, ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

AT_ONCE_SECONDS = 3.0
"""The limit for immediate operations on a busy machine."""


@pytest.fixture(autouse=True)
def bare_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the host's."""
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def get(url: str, *, seconds: float = 20, cancel: CancelToken | None = None, **options: Any):
    deadline = Deadline.after(timedelta(seconds=seconds))
    options = {"headers": {}, "max_bytes": 1000, **options}
    return exchange("GET", url, deadline=deadline, cancel=cancel or CancelToken(), **options)


def test_connection_is_shared() -> None:
    """Requests of the whole process share the connections to a server."""
    with ScriptedServer([{}]) as server:
        for _ in range(3):
            thread = threading.Thread(target=get, args=(server.url,))
            thread.start()
            thread.join()
        assert (len(server.requests), server.connections) == (3, 1)


def test_cancel_during_connect() -> None:
    """Cancelling ends an exchange at once, also while the server's host does not answer."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # the kernel queues no more than this
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        cancel = CancelToken()
        threading.Timer(0.2, cancel.cancel).start()
        started = time.monotonic()
        with pytest.raises(StoppedError):
            get(f"http://127.0.0.1:{full.getsockname()[1]}", cancel=cancel)
        assert time.monotonic() - started < AT_ONCE_SECONDS
        for each in waiting:
            each.close()


@pytest.mark.parametrize("ending", [DeadlineError, StoppedError])
def test_server_that_does_not_read(ending: type[Exception]) -> None:
    """The deadline and cancelling end an exchange whose body the server does not read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cancel = CancelToken()
        if ending is StoppedError:
            threading.Timer(0.2, cancel.cancel).start()
        started = time.monotonic()
        with pytest.raises(ending):
            exchange(
                "POST",
                f"http://127.0.0.1:{listener.getsockname()[1]}",
                headers={},
                content=bytes(50_000_000),
                deadline=Deadline.after(timedelta(seconds=0.5 if ending is DeadlineError else 20)),
                cancel=cancel,
                max_bytes=0,
            )
        assert time.monotonic() - started < AT_ONCE_SECONDS


@pytest.mark.parametrize("status", [200, 404])
def test_no_body_is_read(status: int) -> None:
    """With `max_bytes=0` the status is the answer, however long or invalid the body is."""

    def endless(wfile: Any) -> None:
        wfile.write(b"HTTP/1.1 %d X\r\ncontent-encoding: gzip\r\n\r\nno gzip" % status)
        threading.Event().wait(AT_ONCE_SECONDS)

    with ScriptedServer([endless]) as server:
        started = time.monotonic()
        assert get(server.url, max_bytes=0).status == status
        assert time.monotonic() - started < AT_ONCE_SECONDS


def test_refusal_is_cut() -> None:
    """A refusal has the beginning of its body, however long the body is."""
    with ScriptedServer([Answer(b"x" * 1_000_000, 404)]) as server:
        response = get(server.url, max_bytes=10)
    assert (response.status, response.is_success) == (404, False)
    assert set(response.body) == {ord("x")}
    assert len(response.body) < 100_000


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(b"plain", mtime=0)),
        ("x-gzip", gzip.compress(b"plain", mtime=0)),
        ("X-GZIP", gzip.compress(b"plain", mtime=0)),
        ("deflate", zlib.compress(b"plain")),
        ("gzip, identity", gzip.compress(b"plain", mtime=0)),
        ("", b"plain"),
        ("identity", b"plain"),
        ("none", b"plain"),
        ("utf-8", b"plain"),
        ("UTF-8", b"plain"),
        ("binary", b"plain"),
    ],
)
def test_encodings(coding: str, body: bytes) -> None:
    """Gzip has two names, and words that name no compression mark a plain body."""
    with ScriptedServer([Answer(body, headers={"content-encoding": coding})]) as server:
        assert get(server.url).body == b"plain"


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br"])
def test_encodings_that_were_not_asked_for(coding: str) -> None:
    """A compression that was not requested, and several of them, are refused."""
    with (
        ScriptedServer([Answer(b"x", headers={"content-encoding": coding})]) as server,
        pytest.raises(BadAnswerError, match="encoding that was not requested"),
    ):
        get(server.url)


# Headers


def response(**headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(200, "OK", named, b"")


def test_server_time() -> None:
    """The server's time is its Date, plus the age of an answer that a cache kept."""
    assert response().server_at is None
    assert response(date="soon").server_at is None
    date = "Sun, 15 Nov 2026 08:00:00 GMT"
    assert response(date=date).server_at == datetime(2026, 11, 15, 8, tzinfo=UTC)
    assert response(date=date, age="60").server_at == datetime(2026, 11, 15, 8, 1, tzinfo=UTC)
    assert response(date=date, age="old").server_at == datetime(2026, 11, 15, 8, tzinfo=UTC)


def test_retry_after_date() -> None:
    """A date to wait for is compared with the server's own clock, if the server states it."""
    date = datetime(2020, 1, 1, tzinfo=UTC)
    until = format_datetime(date + timedelta(seconds=90), usegmt=True)
    asked = response(date=format_datetime(date, usegmt=True), retry_after=until)
    assert asked.retry_after == timedelta(seconds=90)
    assert response(retry_after=until).retry_after is None  # long past by this host's clock


# The environment


@pytest.mark.parametrize(
    "no_proxy",
    [
        "[::1]",
        "::1",
        "[::1]:80",
        "fd00::/8, ::/64",
        "localhost,[::1]",
        "10.0.0.0/8,fd00::/8,::1/128",
        "*",
    ],
)
def test_no_proxy_for_ipv6(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY names IPv6 addresses with and without brackets, and networks."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:1")
    assert network.route_to("http://[::1]:80/")[1] == "HTTP_PROXY"
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert network.route_to("http://[::1]:80/")[1] is None


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("example.com", "example.com", True),
        ("example.com", "www.example.com", True),
        ("example.com", "wwwexample.com", False),
        (".example.com", "www.example.com", True),
        ("*.example.com", "www.example.com", True),
        ("Example.COM", "example.com", True),
        ("http://example.com", "example.com", True),
        ("example.com:8080", "example.com", False),
        ("other.com", "example.com", False),
        ("", "example.com", False),
        (",", "example.com", False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY names hosts, domains, addresses and networks."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (network.route_to(f"http://{host}/")[1] is None) is direct


def test_refused_by_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that a proxy refuses names the proxy's variable."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(UnreachableError, match=r"through the proxy of ALL_PROXY.*check ALL_PROXY"):
        get("http://api.example")


def test_socks_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy names the package that it needs."""
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"ALL_PROXY.*httpx\[socks\]"):
        get("https://api.example")


def test_key_log_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A TLS variable that names no usable file is named."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "missing" / "keys"))
    with pytest.raises(ConfigError, match="SSLKEYLOGFILE cannot be used: No such file"):
        get("https://api.example")


def test_file_without_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of certificates that holds none is named, in words."""
    monkeypatch.setenv("SSL_CERT_FILE", __file__)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    with pytest.raises(ConfigError, match="SSL_CERT_FILE cannot be used: no certificate;"):
        get("https://api.example")


def test_httpx_without_its_command_line() -> None:
    """Httpx is loaded without its command line, and keeps it for others."""
    code = (
        "import sys, catalog_sync.client.exchange; print('rich' in sys.modules); import httpx._main"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
