"""The listener against good scrapers and bad clients, over real sockets."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from catalog_sync.service import http
from catalog_sync.service.http import Listener

if TYPE_CHECKING:
    from collections.abc import Mapping

METRICS = b"# TYPE up gauge\nup 1.0\n"
HEALTHY = {"ok": True, "sources": []}
STALE = {"ok": False, "reason": "source ☃: last success 3 h ago, expected every 45 min"}
SECRET = "sk-ant-api03-c0ffee"
GET = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def listener(
    *,
    told: Callable[[], bytes] = lambda: METRICS,
    health: Callable[[], tuple[bool, Mapping[str, Any]]] = lambda: (True, HEALTHY),
    host: str = "127.0.0.1",
) -> Listener:
    return Listener((host, 0), metrics=told, health=health)


@pytest.fixture(autouse=True)
def log() -> Iterator[list[logging.LogRecord]]:
    """Collect what the listener logs, and check that threads and clients left nothing else."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("catalog_sync.service.http")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@pytest.fixture
def port() -> Iterator[int]:
    """Yield the port of a listener that is well."""
    with listener() as running:
        yield running.port


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the listener wait for no client for long."""
    monkeypatch.setattr(http, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(http, "_LINGER_SECONDS", 0.2)


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection((host, port), timeout=30)


def rest(connection: socket.socket) -> bytes:
    """Return all that comes until the other side hangs up, rudely or not."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def say(port: int, words: bytes) -> bytes:
    """Send raw bytes, and return the whole answer."""
    with connect(port) as connection:
        connection.sendall(words)
        return rest(connection)


def ask(port: int, method: str, path: str, **options: Any) -> tuple[int, dict[str, str], bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, **options)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read()


# --- what it answers ---------------------------------------------------------------------------


def test_metrics_are_answered(port: int) -> None:
    """`/metrics` is what it was given, in the format that every scraper reads, never cached."""
    status, headers, body = ask(port, "GET", "/metrics")
    assert (status, body) == (200, METRICS)
    assert headers["content-type"] == EXPOSITION
    assert headers["content-length"] == str(len(METRICS))
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    assert ask(port, "GET", "/metrics?name[]=up&x=%00")[0] == 200


@pytest.mark.parametrize(("well", "said", "status"), [(True, HEALTHY, 200), (False, STALE, 503)])
def test_health_is_answered(well: bool, said: dict[str, Any], status: int) -> None:
    """`/healthz` is 200 or 503, and the same JSON object either way."""
    with listener(health=lambda: (well, said)) as running:
        answered, headers, body = ask(running.port, "GET", "/healthz")
    assert (answered, json.loads(body)) == (status, said)
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert body.isascii()


def test_head_has_no_body(port: int) -> None:
    """HEAD answers as GET does, without the body."""
    for path in ("/metrics", "/healthz", "/"):
        status, headers, body = ask(port, "GET", path)
        bare = ask(port, "HEAD", path)
        assert bare == (status, headers | {"date": bare[1]["date"]}, b"")
        assert headers["content-length"] == str(len(body))


@pytest.mark.parametrize("path", ["/", "/metrics/", "/Metrics", "/healthz/x", "/%2e"])
def test_there_is_nothing_else(port: int, path: str) -> None:
    """Any other path is 404, and says what there is."""
    status, _, body = ask(port, "GET", path)
    assert (status, body) == (404, b"Not Found; there are /metrics and /healthz\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "get"])
def test_only_reading_is_allowed(port: int, method: str) -> None:
    """Every other method is 405 and names the two, whatever body comes with it."""
    status, headers, _ = ask(port, method, "/metrics", body=b"x" * 500_000)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_common_clients_read_it(port: int) -> None:
    """A client that keeps connections alive, and one of HTTP/1.0, are answered again and again."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        answers = [client.get("/metrics", headers={"accept": "*/*"}) for _ in range(3)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, METRICS)] * 3
    old = say(port, b"GET /metrics HTTP/1.0\r\n\r\n")
    assert old.startswith(b"HTTP/1.1 200 ")
    assert old.endswith(b"\r\n\r\n" + METRICS)


def test_ipv6() -> None:
    """It answers on an IPv6 address."""
    try:
        running = listener(host="::1")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with running, connect(running.port, "::1") as connection:
        connection.sendall(GET)
        assert rest(connection).endswith(METRICS)


def test_every_address() -> None:
    """`::` takes clients of IPv4 too."""
    try:
        running = listener(host="::")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with running:
        assert say(running.port, GET).endswith(METRICS)


# --- what it was given fails -------------------------------------------------------------------


def test_an_error_tells_no_secret(log: list[logging.LogRecord]) -> None:
    """What a function raises is 500 or 503; the client learns nothing, the log its class alone."""

    def fail() -> Any:
        raise ValueError(f"no: {SECRET}")

    with listener(told=fail, health=fail) as running:
        status, _, body = ask(running.port, "GET", "/metrics")
        assert (status, body) == (500, b"internal error\n")
        status, _, body = ask(running.port, "GET", "/healthz")
        assert status == 503
        assert json.loads(body) == {"ok": False, "reason": "internal error"}
    logged = [(record.levelname, record.getMessage(), record.fields) for record in log]
    assert logged == [
        ("WARNING", "/metrics has no answer", {"error": "ValueError"}),
        ("WARNING", "/healthz has no answer", {"error": "ValueError"}),
    ]
    assert [record.exc_info for record in log] == [None, None]


def test_health_that_is_no_json_is_unhealthy(log: list[logging.LogRecord]) -> None:
    """What cannot be written as JSON is an error like any other."""
    with listener(health=lambda: (True, {"at": object()})) as running:
        assert ask(running.port, "GET", "/healthz")[0] == 503
    assert len(log) == 1


def test_slow_answers_do_not_gather() -> None:
    """While eight answers are being made, the ninth client is told at once to come back."""
    has_baseline, go_on = threading.Semaphore(0), threading.Event()

    def slow() -> bytes:
        has_baseline.release()
        go_on.wait(30)
        return METRICS

    with listener(told=slow) as running, ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(ask, running.port, "GET", "/metrics") for _ in range(8)]
        for _ in waiting:
            assert has_baseline.acquire(timeout=30)
        assert ask(running.port, "GET", "/metrics")[0] == 503
        status, _, body = ask(running.port, "GET", "/healthz")
        assert (status, json.loads(body)) == (503, {"ok": False, "reason": "busy"})
        assert ask(running.port, "GET", "/")[0] == 404
        go_on.set()
        assert [each.result()[0] for each in waiting] == [200] * 8
        assert ask(running.port, "GET", "/healthz")[0] == 200


# --- bad clients -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nx: " + b"y" * 60_000 + b"\r\n\r\n", 431),
        (b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 4_000 + b"\r\n", 431),
        (b"GET /" + b"y" * 100_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"y" * 100_000, 414),
        (b"GET /metrics HTTP/9.9\r\n\r\n", 505),
        (b"GET /metrics HTTP/x\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"a b c d e\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"POST\r\n\r\n", 400),
        (b"\x1b[31m\xff /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /\x1b[31m\xff HTTP/1.1\r\n\r\n", 404),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else value,
)
def test_nonsense_is_refused(port: int, words: bytes, status: int) -> None:
    """What is too long, or no HTTP, is refused in a word that repeats nothing; all else goes on."""
    answer = say(port, words)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in answer
    assert b"\x1b" not in answer
    assert b"yyy" not in answer
    assert ask(port, "GET", "/metrics")[0] == 200


def test_a_second_request_is_not_read(port: int) -> None:
    """Of several requests sent at once the first is answered, whole, and then it hangs up."""
    answer = say(port, GET * 50)
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert answer.endswith(METRICS)


@pytest.mark.parametrize("words", [b"", b"G", b"GET /metrics HTTP/1.1\r\nhost", GET[:-2]])
def test_half_a_request_has_no_answer(port: int, words: bytes) -> None:
    """Who stops in the middle is not answered, as if the other half had been known."""
    with connect(port) as connection:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection) == b""


@pytest.mark.usefixtures("impatient")
def test_a_trickle_is_cut_off(port: int) -> None:
    """Who sends a byte now and then does not stay, and keeps nobody waiting meanwhile."""
    with connect(port) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nx: ")
        slow.settimeout(0.05)
        served = 0
        while True:
            served += ask(port, "GET", "/metrics")[0] == 200
            try:
                slow.sendall(b"y")
                if slow.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    assert served


@pytest.mark.usefixtures("impatient")
def test_a_silent_client_is_cut_off(port: int) -> None:
    """Who connects and says nothing is hung up on."""
    with connect(port) as silent:
        assert rest(silent) == b""


@pytest.mark.usefixtures("impatient")
def test_a_client_that_takes_nothing_is_cut_off(log: list[logging.LogRecord]) -> None:
    """Who asks and then reads nothing holds no thread: more than a socket's buffer is given up."""
    with listener(told=lambda: b"x" * 30_000_000) as running, connect(running.port) as greedy:
        greedy.sendall(GET)
        wait_for(lambda: handlers() == 0, after=lambda: handlers() > 0)
        assert len(rest(greedy)) < 30_000_000
    assert log == []


def test_nobody_is_kept_out(port: int) -> None:
    """However many connections are held open, a newcomer is served: the oldest has to go."""
    with ExitStack() as held:
        idle = [held.enter_context(connect(port)) for _ in range(100)]
        assert ask(port, "GET", "/metrics")[0] == 200
        assert rest(idle[0]) == b""
        wait_for(lambda: handlers() <= 32)
        assert ask(port, "GET", "/metrics")[0] == 200


def test_who_hangs_up_is_no_news(
    log: list[logging.LogRecord], capfd: pytest.CaptureFixture[str]
) -> None:
    """A client that resets the connection, before or while it is answered, is not even logged."""
    asked, go_on = threading.Event(), threading.Event()

    def slow() -> bytes:
        asked.set()
        go_on.wait(30)
        return b"x" * 10_000_000

    with listener(told=slow) as running:
        for words in (b"", b"GET /met", GET):
            with connect(running.port) as rude:
                rude.sendall(words)
                if words == GET:
                    assert asked.wait(30)
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        go_on.set()
        wait_for(lambda: handlers() == 0)
    assert log == []
    assert capfd.readouterr() == ("", "")


# --- begin and end -----------------------------------------------------------------------------


def test_a_taken_port_is_an_error(port: int) -> None:
    """A port on which somebody listens raises OSError, at once."""
    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        Listener(("127.0.0.1", port), metrics=bytes, health=lambda: (True, {}))


@pytest.mark.parametrize("host", ["256.1.1.1", "a..b", "é" * 300, "::x"])
def test_a_host_that_is_none_is_an_error(host: str) -> None:
    """What is no address of this machine raises OSError, with words for a person."""
    with pytest.raises(OSError) as caught:
        listener(host=host)
    assert caught.value.strerror


def test_the_port_is_taken_at_once_and_given_back() -> None:
    """Before `start` the port is taken already; after `close`, however often, it is free."""
    running = listener()
    port = running.port
    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        Listener(("127.0.0.1", port), metrics=bytes, health=lambda: (True, {}))
    running.start()
    running.start()
    assert say(port, GET).endswith(METRICS)
    running.close()
    running.close()
    with Listener(("127.0.0.1", port), metrics=lambda: b"again\n", health=lambda: (True, {})):
        assert say(port, GET).endswith(b"again\n")


def test_one_that_was_never_started_can_be_closed() -> None:
    """`close` without `start` gives the port back, and waits for nothing."""
    unused = listener()
    unused.close()
    with pytest.raises(ConnectionRefusedError):
        connect(unused.port)


def test_closing_waits_for_nobody() -> None:
    """`close` hangs up on silent clients, and does not wait for an answer that is being made."""
    asked, go_on = threading.Event(), threading.Event()

    def slow() -> bytes:
        asked.set()
        go_on.wait(30)
        return METRICS

    running = listener(told=slow)
    running.start()
    with connect(running.port) as silent, connect(running.port) as waiting:
        waiting.sendall(GET)
        assert asked.wait(30)
        running.close()
        assert not go_on.is_set()
        assert (rest(silent), rest(waiting)) == (b"", b"")
        go_on.set()
        wait_for(lambda: handlers() == 0)


def handlers() -> int:
    """Return how many threads deal with a client just now."""
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def wait_for(condition: Callable[[], bool], *, after: Callable[[], bool] = lambda: True) -> None:
    """Wait until the condition holds, once the other did; half a minute at most."""
    turn = threading.Event()
    for wanted in (after, condition):
        for _ in range(3_000):
            if wanted():
                break
            turn.wait(0.01)
        else:
            pytest.fail("waited in vain")
