"""The HTTP server of /metrics and /healthz against good scrapers and bad clients."""

from __future__ import annotations

import gzip
import json
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from catalog_sync.service.http import Listener

HEALTHY = {"ok": True, "sources": []}
STALE = {"ok": False, "reason": "source \u2603: stale"}
SECRET = "sk-ant-api03-c0ffee"
GET = b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


class Broken:
    """A collector that fails."""

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        raise ValueError(f"no: {SECRET}")


def metrics() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("answer", "The answer.", registry=registry).set(42)
    return registry


def listener(
    *,
    registry: CollectorRegistry | None = None,
    health: Callable[[], tuple[bool, Mapping[str, Any]]] = lambda: (True, HEALTHY),
    host: str = "127.0.0.1",
) -> Listener:
    return Listener((host, 0), metrics=registry or metrics(), health=health)


@pytest.fixture
def port() -> Iterator[int]:
    with listener() as running:
        yield running.port


def ask(port: int, method: str, path: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, **options)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read()


def say(port: int, request: bytes, host: str = "127.0.0.1") -> bytes:
    """Send raw bytes and return the whole answer."""
    with socket.create_connection((host, port), timeout=30) as connection:
        received = b""
        with suppress(ConnectionError):  # a refusal may reset the connection
            connection.sendall(request)
            while chunk := connection.recv(65536):
                received += chunk
        return received


def test_metrics_are_served(port: int) -> None:
    """/metrics is Prometheus's text format, never cached, and does not name the server."""
    status, headers, body = ask(port, "GET", "/metrics")
    assert status == 200
    assert b"answer 42.0" in body
    assert headers["content-type"].startswith("text/plain; version=")
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    assert ask(port, "GET", "/metrics?name[]=answer&x=%00")[0] == 200


@pytest.mark.parametrize(("well", "shown", "status"), [(True, HEALTHY, 200), (False, STALE, 503)])
def test_health_is_served(well: bool, shown: dict[str, Any], status: int) -> None:
    """/healthz is 200 or 503, with the same JSON object either way."""
    with listener(health=lambda: (well, shown)) as running:
        answered, headers, body = ask(running.port, "GET", "/healthz")
    assert (answered, json.loads(body)) == (status, shown)
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"


def test_head_has_no_body(port: int) -> None:
    """HEAD is answered as GET, without the body."""
    for path in ("/metrics", "/healthz", "/"):
        status, headers, body = ask(port, "GET", path)
        head_status, head_headers, head_body = ask(port, "HEAD", path)
        assert (head_status, head_body) == (status, b"")
        assert head_headers["content-length"] == headers["content-length"] == str(len(body))


@pytest.mark.parametrize("path", ["/", "/metrics/", "/Metrics", "/healthz/x", "/favicon.ico"])
def test_other_paths_are_not_found(port: int, path: str) -> None:
    """Any other path is 404, and names the two."""
    status, _, body = ask(port, "GET", path)
    assert (status, body) == (404, b"Not Found; there are /metrics and /healthz\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_only_reading_is_allowed(port: int, method: str) -> None:
    """Any other method is 405 and names those that are allowed."""
    status, headers, _ = ask(port, method, "/metrics", body=b"x" * 1000)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_common_clients_read_it(port: int) -> None:
    """A client that keeps its connection, and one of HTTP/1.0, are answered."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        answers = [client.get("/metrics", headers={"accept": "*/*"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert say(port, b"GET /metrics HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 ")


def test_a_scraper_chooses_the_format(port: int) -> None:
    """A scraper gets OpenMetrics and compression if it asks for them, as Prometheus does."""
    accepted = {"accept": "application/openmetrics-text; version=1.0.0", "accept-encoding": "gzip"}
    _, headers, body = ask(port, "GET", "/metrics", headers=accepted)
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert gzip.decompress(body).endswith(b"answer 42.0\n# EOF\n")


@pytest.mark.parametrize(("host", "client"), [("::1", "::1"), ("::", "127.0.0.1")])
def test_ipv6(host: str, client: str) -> None:
    """The server listens on IPv6 addresses; `::` accepts IPv4 too."""
    try:
        running = listener(host=host)
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with running:
        assert b"answer 42.0" in say(running.port, GET, client)


def test_an_error_shows_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """An exception is 500; client and log get only its class."""
    registry = CollectorRegistry()
    registry.register(Broken())

    def fail() -> Any:
        raise ValueError(f"no: {SECRET}")

    with listener(registry=registry, health=fail) as running:
        for path in ("/metrics", "/healthz"):
            assert ask(running.port, "GET", path)[::2] == (500, b"internal error\n")
    logged = [record for record in caplog.records if record.name.endswith("service.http")]
    assert [record.fields for record in logged] == [{"error": "ValueError"}] * 2
    assert all(record.exc_info is None for record in logged)
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "request_",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
    ],
)
def test_a_bad_request_is_refused(port: int, request_: bytes) -> None:
    """An invalid or too large request is refused; the next client is answered."""
    assert say(port, request_)[9:10] in {b"4", b"5", b""}
    assert ask(port, "GET", "/metrics")[0] == 200


def test_slow_clients_do_not_delay_a_scrape(port: int) -> None:
    """A hundred clients that send nothing, or half a request, or read no answer, delay no other."""
    with ExitStack() as held:
        for number in range(100):
            client = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            client.sendall((b"", b"GET /met", GET)[number % 3])
        assert ask(port, "GET", "/metrics")[0] == 200
        assert ask(port, "GET", "/healthz")[0] == 200


def test_a_used_port_is_an_error(port: int) -> None:
    """An address that is in use raises OSError."""
    with pytest.raises(OSError, match="Address already in use"):
        Listener(("127.0.0.1", port), metrics=metrics(), health=lambda: (True, HEALTHY))


def test_closing_frees_the_port() -> None:
    """After `close` the port is free and open connections are closed; nothing was logged."""
    running = listener()
    running.start()
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as client:
        assert ask(running.port, "GET", "/metrics")[0] == 200
        running.close()
        assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port))
    assert logging.getLogger("waitress").level == logging.NOTSET
