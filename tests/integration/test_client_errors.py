"""The client's behaviour when the network, the server or the time fails, over real sockets."""

from __future__ import annotations

import email.utils
import logging
import os
import re
import socket
import socketserver
import threading
import time
import traceback
from concurrent.futures import Future
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from catalog_sync.cancel import CancelToken
from catalog_sync.client.anthropic import AnthropicApi
from catalog_sync.client.exchange import Response
from catalog_sync.client.models import ModelsClient, delay_seconds
from catalog_sync.config.settings import DEFAULT_VERSION
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.errors import (
    ConfigError,
    DeadlineError,
    OverloadedError,
    RefusedError,
    SourceError,
    StoppedError,
    UnauthorizedError,
    UnreachableError,
)
from support import KEY, Answer, Request, ScriptedServer, model, page, with_tls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Transport = Callable[[ScriptedServer], ScriptedServer]

EXTRA = "it's-extra\\secret"
HEADERS = {"x-api-key": KEY, "x-extra": EXTRA}
TOKEN = "gateway-token-77c1"
GOOD = page([model("a")])
AT_ONCE = {"retry-after-ms": "1"}
HANG_SECONDS = 4.0  # of an immediate operation: after this time it counts as a hang


def connect(
    url: str,
    seconds: float = 20,
    headers: Mapping[str, str] = HEADERS,
    cancel: CancelToken | None = None,
) -> nullcontext[ModelsClient]:
    deadline = timedelta(seconds=seconds)
    client = ModelsClient(
        url,
        headers,
        api=AnthropicApi(DEFAULT_VERSION),
        deadline=deadline,
        credential_origin="MY_KEY",
        cancel=cancel or CancelToken(),
    )
    return nullcontext(client)


def walk_error(*answers: Any, seconds: float = 20) -> SourceError:
    """The error of a walk over these answers."""
    with (
        ScriptedServer(list(answers)) as server,
        connect(server.url, seconds) as client,
        pytest.raises(SourceError) as caught,
    ):
        client.walk()
    return caught.value


def api_error(type_: str, message: str, request_id: str | None = "req_1") -> dict[str, Any]:
    error = {"type": type_, "message": message}
    return {"type": "error", "error": error, "request_id": request_id}


@dataclass(frozen=True)
class Raw:
    """An answer of exactly these bytes, after which the server hangs up."""

    answer: bytes

    def __call__(self, wfile: Any) -> None:
        wfile.write(self.answer)


def started(call: Callable[[], Any]) -> Future[Any]:
    """Begin `call` in a thread, so that a hang fails a test instead of stopping all of them."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  # any exception is the outcome
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


@pytest.fixture(autouse=True)
def bare_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy or certificates of the host: loading them would take most of the time."""
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


# Retries


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529, 599])
def test_statuses_tried_again(status: int) -> None:
    """A busy or broken server gets four retries at most; its last answer is the error."""
    answer = Answer(api_error("overloaded_error", "Overloaded"), status, AT_ONCE)
    with ScriptedServer([answer]) as server, connect(server.url) as client:
        with pytest.raises(OverloadedError, match=f"HTTP {status}: overloaded_error: Overloaded"):
            client.walk()
        assert len(server.requests) == 5


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 410, 413, 422])
def test_statuses_not_tried_again(status: int) -> None:
    """A refusal that a retry would not change is final at once."""
    with ScriptedServer([Answer({}, status, AT_ONCE)]) as server, connect(server.url) as client:
        with pytest.raises((RefusedError, UnauthorizedError), match=f"page 1: HTTP {status}"):
            client.walk()
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("coding", "body"),
    [("gzip", b"<html>"), ("br", b"\x0b"), ("identity", b" " * (32 * 2**20 + 1))],
    ids=["broken", "unknown", "too long"],
)
def test_status_counts_without_its_body(coding: str, body: bytes) -> None:
    """A refusal is retried and reported by its status, also if its body cannot be read."""
    busy = Answer(body, 529, AT_ONCE | {"content-encoding": coding})
    wrong = Answer(body, 401, {"content-encoding": coding})
    with ScriptedServer([busy, wrong]) as server, connect(server.url) as client:
        with pytest.raises(UnauthorizedError, match="HTTP 401: Unauthorized; check MY_KEY"):
            client.walk()
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "should_retry", "requests"),
    [(400, "true", 5), (404, "true", 5), (503, "false", 1), (429, "false", 1), (503, "maybe", 5)],
)
def test_server_decides_on_retries(status: int, should_retry: str, requests: int) -> None:
    """`x-should-retry` is obeyed for any status; values other than true and false are ignored."""
    answer = Answer({}, status, AT_ONCE | {"x-should-retry": should_retry})
    with ScriptedServer([answer]) as server, connect(server.url) as client:
        with pytest.raises(SourceError, match=f"HTTP {status}"):
            client.walk()
        assert len(server.requests) == requests


def test_each_request_has_its_own_retries() -> None:
    """Four retries are allowed per request, not per walk."""
    busy = [Answer({}, 529, AT_ONCE)] * 4
    answers = [*busy, page([model("b")], has_more=True), *busy, GOOD]
    with ScriptedServer(answers) as server, connect(server.url) as client:
        assert list(client.walk().models) == ["b", "a"]
        assert len(server.requests) == 10


@pytest.mark.parametrize(
    "broken",
    [
        None,
        Raw(b"HTTP/1.1 200 OK\r\ncontent-le"),
        Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"),
    ],
    ids=["before the answer", "within the headers", "within the body"],
)
def test_lost_connection_is_tried_again(broken: Any) -> None:
    """A server that hangs up, at any time, is tried again over a new connection."""
    with ScriptedServer([broken, GOOD]) as server, connect(server.url) as client:
        assert list(client.walk().models) == ["a"]
        assert (len(server.requests), server.connections) == (2, 2)


@pytest.fixture
def retries() -> Iterator[list[str]]:
    """The reasons for the retries in the client's log."""
    reasons: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reasons.append(record.fields["reason"])

    logger, collector = logging.getLogger("catalog_sync.client.models"), Collector()
    level = logger.level
    logger.addHandler(collector)
    logger.setLevel(logging.INFO)
    yield reasons
    logger.removeHandler(collector)
    logger.setLevel(level)


def test_refused_connection(retries: list[str]) -> None:
    """A refused connection is retried while the deadline allows; the error is one line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    seconds = 1.0  # enough for the first retry, after half a second, and not for the second
    with connect(url, seconds) as client, pytest.raises(UnreachableError) as caught:
        client.walk()
    assert str(caught.value).startswith(f"page 1: {url}: no answer: Connection refused; check")
    assert retries == [f"{url}: no answer: Connection refused"]


def delay(headers: Mapping[str, str] | None = None, attempt: int = 1) -> float:
    """The seconds that the client waits after this many attempts."""
    return delay_seconds(attempt, Response(429, "", httpx.Headers(headers), b"").retry_after)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "50"}, 0.05),
        ({"retry-after-ms": "1500.5"}, 1.5005),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "50", "retry-after": "7"}, 0.05),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
    ],
    ids=str,
)
def test_server_names_the_wait(headers: dict[str, str], seconds: float) -> None:
    """The wait is the one that the server asks for: `retry-after-ms` before `retry-after`."""
    assert delay(headers) == pytest.approx(seconds)


def test_server_names_a_date() -> None:
    """`retry-after` may be an HTTP date."""
    date = email.utils.formatdate(time.time() + 1000, usegmt=True)
    assert 900 < delay({"retry-after": date}) < 1001


@pytest.mark.parametrize("attempt", [1, 2, 3, 4, 5, 20])
@pytest.mark.parametrize("headers", [None, {}], ids=["no answer", "an answer"])
def test_wait_grows(headers: dict[str, str] | None, attempt: int) -> None:
    """Otherwise it doubles from half a second to eight, less up to a quarter of jitter."""
    longest = min(0.5 * 2 ** min(attempt - 1, 10), 8.0)
    waits = {delay(headers, attempt) for _ in range(50)}
    assert 0.75 * longest <= min(waits) < max(waits) <= longest


@pytest.mark.parametrize(
    "value",
    [
        "nan",
        "inf",
        "-inf",
        "0",
        "-5",
        "",
        "soon",
        "1,5",
        "Wed, 99 Oct 2026 07:28:00 GMT",
        "Wed, 21 Oct 2015 07:28:00 GMT",
        "Wed, 21 Oct 99999999999 07:28:00 GMT",
    ],
)
@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
def test_senseless_wait_is_ignored(header: str, value: str) -> None:
    """A wait that is no number, no future date or not finite is ignored."""
    assert 0 < delay({header: value}) <= 0.5


def test_wait_beyond_any_clock() -> None:
    """Any finite wait is limited to one that the host supports."""
    assert 3600 < delay({"retry-after": "1e300"}) <= threading.TIMEOUT_MAX


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_wait_past_the_deadline(form: str) -> None:
    """A wait beyond the deadline fails at once, and the error names it."""
    date = email.utils.formatdate(time.time() + 3600, usegmt=True)
    retry_after = "3600" if form == "seconds" else date
    answer = Answer(api_error("rate_limit_error", "Slow"), 429, {"retry-after": retry_after})
    with ScriptedServer([answer]) as server, connect(server.url) as client:
        future = started(client.walk)
        error = future.exception(HANG_SECONDS)
        assert isinstance(error, OverloadedError)
        assert "rate_limit_error: Slow" in str(error)
        assert "to be tried in " in str(error)
        assert len(server.requests) == 1


# Time: each phase in which a server can make a client wait

HEAD = b"HTTP/1.1 200 OK\r\n"
WHOLE = b'{"data":[],"has_more":false}'
PHASES = {
    "silence": (b"", b""),
    "status line": (b"HTTP/1.1 200 O", b"K"),
    "headers": (HEAD + b"x-a: ", b"a"),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "body": (HEAD + b"content-length: 99999\r\n\r\n[", b" "),
    "chunks": (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "body of unknown length": (HEAD + b"\r\n" + WHOLE, b""),
}
"""The server's first bytes, and the bytes that it sends for ever."""


class Tunnel(socketserver.StreamRequestHandler):
    """One connection through a proxy that speaks CONNECT."""

    def handle(self) -> None:
        host, _, port = self.rfile.readline().split()[1].decode().partition(":")
        while self.rfile.readline().strip():
            pass
        with socket.create_connection((host, int(port))) as far:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=self.copy, args=(far, self.connection), daemon=True)
            back.start()
            self.copy(self.connection, far)
            back.join()

    @staticmethod
    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture(params=["http", "https", "https through a proxy"])
def transport(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Transport]:
    """Turn a plain server into one that is reached in each way in turn."""
    if request.param == "http":
        yield lambda server: server
        return
    certificate = request.getfixturevalue("certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with ExitStack() as stack:
        if request.param.endswith("proxy"):
            proxy = stack.enter_context(Proxy(("127.0.0.1", 0), Tunnel))
            thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
            thread.start()
            stack.callback(thread.join)
            stack.callback(proxy.shutdown)
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.server_address[1]}")
        yield lambda server: with_tls(server, certificate)


class Stalling:
    """A server that sends a beginning and then the same bytes again and again.

    Before that it gives the `first` answers in turn.
    """

    def __init__(self, transport: Transport, start: bytes, again: bytes, *first: Any) -> None:
        self.asked = threading.Event()
        self._left = threading.Event()

        def stall(wfile: Any) -> None:
            wfile.write(start)
            self.asked.set()
            while not self._left.wait(0.01):
                wfile.write(again)

        self._server = transport(ScriptedServer([*first, stall]))
        self.url = self._server.url
        self.requests = self._server.requests

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._server.__exit__()


@pytest.mark.parametrize("phase", PHASES)
def test_deadline(phase: str, transport: Transport) -> None:
    """The deadline ends the walk, however a server stalls, and however it is reached."""
    with Stalling(transport, *PHASES[phase]) as server, connect(server.url, 0.3) as client:
        error = started(client.walk).exception(HANG_SECONDS)
        assert isinstance(error, DeadlineError), error
        assert "page 1: not finished after 0.3 s" in str(error)


@pytest.mark.parametrize("phase", PHASES)
def test_cancel(phase: str, transport: Transport) -> None:
    """Cancelling ends the walk at once, however a server stalls, and however it is reached."""
    cancel = CancelToken()
    with (
        Stalling(transport, *PHASES[phase]) as server,
        connect(server.url, cancel=cancel) as client,
    ):
        future = started(client.walk)
        assert server.asked.wait(HANG_SECONDS)
        cancel.cancel()
        assert isinstance(error := future.exception(HANG_SECONDS), StoppedError), error


def test_deadline_is_for_the_walk() -> None:
    """The deadline is for all pages together, however fast each of them arrives."""
    names = iter(range(1000))

    def endless(_request: Request) -> Any:
        threading.Event().wait(0.01)
        return page([model(str(next(names)))], has_more=True)

    with ScriptedServer(endless) as server, connect(server.url, 0.3) as client:
        with pytest.raises(DeadlineError):
            client.walk()
        assert len(server.requests) < 100


def test_cancel_while_waiting_to_try_again() -> None:
    """Cancelling does not wait for the next attempt."""
    cancel = CancelToken()
    answered = threading.Event()

    def busy(_request: Request) -> Answer:
        answered.set()
        return Answer({}, 503, {"retry-after": "15"})

    with ScriptedServer(busy) as server, connect(server.url, cancel=cancel) as client:
        future = started(client.walk)
        assert answered.wait(HANG_SECONDS)
        cancel.cancel()
        assert isinstance(future.exception(HANG_SECONDS), StoppedError)
        assert len(server.requests) == 1


def test_cancelled_client_asks_nothing() -> None:
    """After cancelling, no request is sent."""
    cancel = CancelToken()
    with ScriptedServer([GOOD]) as server, connect(server.url, cancel=cancel) as client:
        cancel.cancel()
        for call in (client.walk, lambda: client.confirm_absent(["a"], [])):
            with pytest.raises(StoppedError):
                call()
        assert server.requests == []


# TLS


def test_tls(transport: Transport) -> None:
    """A trusted server is walked over one connection, directly or through a proxy."""
    answers = [page([model("b")], has_more=True), GOOD]
    with transport(ScriptedServer(answers)) as server, connect(server.url) as client:
        assert list(client.walk().models) == ["b", "a"]
        assert server.connections == 1


def test_untrusted_certificate(certificate: tuple[Path, Path]) -> None:
    """An untrusted certificate is one clear line, and no request is sent."""
    with (
        with_tls(ScriptedServer([GOOD]), certificate) as server,
        connect(server.url, 0.3) as client,
    ):
        with pytest.raises(
            UnreachableError, match=r"TLS: self-signed certificate; check"
        ) as caught:
            client.walk()
        assert server.url in str(caught.value)
        assert server.requests == []


@pytest.mark.parametrize("ending", [DeadlineError, StoppedError])
def test_silence_instead_of_tls(ending: type[SourceError]) -> None:
    """Deadline and cancelling hold while a server does not answer the TLS handshake."""
    cancel = CancelToken()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        seconds = 0.3 if ending is DeadlineError else 20
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with connect(url, seconds, cancel=cancel) as client:
            future = started(client.walk)
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.recv(1)  # the client has begun the TLS handshake
                if ending is StoppedError:
                    cancel.cancel()
                assert isinstance(error := future.exception(HANG_SECONDS), ending), error


# Words


@pytest.mark.parametrize("header", ["x-api-key", "authorization"])
def test_wrong_key(header: str) -> None:
    """The error of a wrong key has the API's text, its request id, and the variable to check."""
    with Sandbox(api_key="another") as sandbox:
        value = KEY if header == "x-api-key" else f"Bearer {KEY}"
        with (
            connect(sandbox.url, headers={header: value}) as client,
            pytest.raises(UnauthorizedError) as caught,
        ):
            client.walk()
    text = str(caught.value)
    assert "HTTP 401: authentication_error: invalid x-api-key (request req_" in text
    assert text.endswith("check MY_KEY")


LITELLM = {"error": {"message": "No connected db.", "type": "no_db", "param": None, "code": "400"}}


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (
            Answer(api_error("permission_error", "Not yours."), 403),
            UnauthorizedError,
            "HTTP 403: permission_error: Not yours. (request req_1); check MY_KEY",
        ),
        (
            Answer(api_error("invalid_request_error", "limit: no"), 400),
            RefusedError,
            "HTTP 400: invalid_request_error: limit: no (request req_1); check MY_KEY",
        ),
        (
            Answer(api_error("api_error", "Broken", None), 500, AT_ONCE | {"request-id": "req_2"}),
            OverloadedError,
            "HTTP 500: api_error: Broken (request req_2)",
        ),
        (Answer(LITELLM, 400), RefusedError, "HTTP 400: no_db: No connected db.; check MY_KEY"),
        (
            Answer({"detail": "No model"}, 404),
            RefusedError,
            "HTTP 404: No model (URL: {url}/v1/models); check",
        ),
        (
            Answer({"error": "no such route"}, 404),
            RefusedError,
            "HTTP 404: no such route (URL: {url}/v1/models); check",
        ),
        (Answer({"message": "Forbidden"}, 403), UnauthorizedError, "HTTP 403: Forbidden; check"),
        (
            Answer({"detail": [{"loc": ["query", "limit"], "msg": "at most 100"}]}, 422),
            RefusedError,
            "HTTP 422: query.limit: at most 100; check",
        ),
        (Answer({"errors": [{"message": "No"}]}, 422), RefusedError, "HTTP 422: No; check"),
        (Answer({"errors": {"limit": ["No"]}}, 422), RefusedError, "HTTP 422: limit: No; check"),
        (
            Answer({"error": "invalid_token", "error_description": "It ended"}, 401),
            UnauthorizedError,
            "HTTP 401: It ended; check",
        ),
        (Answer({"error_code": 5, "error_msg": "No"}, 422), RefusedError, "HTTP 422: No; check"),
        (Answer({"code": 5, "msg": "No"}, 422), RefusedError, "HTTP 422: No; check"),
        (Answer({"title": "Bad", "detail": "No"}, 422), RefusedError, "HTTP 422: No; check"),
        (Answer({"error": {"detail": {"reason": "No"}}}, 422), RefusedError, "HTTP 422: No; check"),
        (Answer([{"error": {"message": "No"}}], 422), RefusedError, "HTTP 422: No; check"),
        (Answer("No such plan", 402), RefusedError, "HTTP 402: No such plan; check"),
        (Answer(b"No\nsuch plan", 402), RefusedError, "HTTP 402: No such plan; check"),
        (Answer(b'\xef\xbb\xbf{"error": "No"}', 402), RefusedError, "HTTP 402: No; check"),
        (Answer(b"<html>Bad gateway", 502, AT_ONCE), OverloadedError, "HTTP 502: Bad Gateway"),
        (Answer(b"", 404), RefusedError, "HTTP 404: Not Found (URL: {url}/v1/models); check"),
        (
            Answer(b"\xff\x00", 404),
            RefusedError,
            "HTTP 404: Not Found (URL: {url}/v1/models); check",
        ),
        (
            Answer([{"error": 1}], 404),
            RefusedError,
            "HTTP 404: Not Found (URL: {url}/v1/models); check",
        ),
        (Answer({"error": {"message": 1, "type": None}}, 404), RefusedError, "HTTP 404: Not Found"),
        (
            Answer({"error": {}, "request_id": ["x"]}, 404),
            RefusedError,
            "HTTP 404: Not Found (URL: {url}/v1/models);",
        ),
        (
            Raw(b"HTTP/1.1 404\r\ncontent-length: 0\r\n\r\n"),
            RefusedError,
            "HTTP 404 (URL: {url}/v1/models); check",
        ),
    ],
    ids=lambda value: repr(getattr(value, "body", ""))[:40],
)
def test_words_of_a_refusal(answer: Any, error: type[SourceError], text: str) -> None:
    """The server's text is quoted, whatever its shape; a 404 names the requested URL."""
    with (
        ScriptedServer([answer]) as server,
        connect(server.url) as client,
        pytest.raises(SourceError) as caught,
    ):
        client.walk()
    assert type(caught.value) is error
    assert str(caught.value).startswith(f"page 1: {text.replace('{url}', server.url)}")


@pytest.mark.parametrize(
    "words",
    [
        "two\nlines\r\nand more",
        "\x1b[31mred\x1b]0;title\x07",
        "a\u202eb\u2028c\x85d\x00e",
        "x" * 10**5,
    ],
    ids=["lines", "escapes", "invisible", "long"],
)
def test_one_line(words: str) -> None:
    """A server's text cannot break the line, move the cursor or fill the screen."""
    odd = [model("good"), model("odd", display_name=None, id=words)]
    for answer in (
        Answer(api_error(words, words, words), 400),
        Answer({"detail": words}, 403),
        page(odd),
        page([], has_more=True, first_id="a", last_id=words[:1000]),
    ):
        text = str(walk_error(answer))
        assert text.isprintable()
        assert len(text) <= 1000
        assert "; " in text[-100:]  # the advice is not cut


def test_version_is_no_secret() -> None:
    """The server's text about the API version is quoted unchanged."""
    answer = Answer(api_error("invalid_request_error", '"2026-10-21" is no valid version'), 400)
    assert '"2026-10-21" is no valid version' in str(walk_error(answer))


# Secrets


def echoes(secret: str) -> dict[str, list[Any]]:
    """Answers that repeat a secret, by the place of the secret."""
    said = f"before {secret} after"
    line = said.encode()
    return {
        "message": [Answer(api_error("authentication_error", said), 401)],
        "type": [Answer(api_error(said, ""), 400)],
        "request id": [Answer(api_error("x", "y", said), 400)],
        "request id header": [Answer({}, 400, {"request-id": secret})],
        "detail": [Answer({"detail": said}, 404)],
        "refused for good": [Answer({"error": said}, 529, AT_ONCE)],
        "reason phrase": [Raw(b"HTTP/1.1 400 " + line + b"\r\ncontent-length: 0\r\n\r\n")],
        "location": [Answer({}, 302, {"location": f"http://{secret}:x/"})],
        "status line": [Raw(line + b"\r\n\r\n")],
        "header line": [Raw(HEAD + line + b"\r\n\r\n")],
        "header value": [Raw(HEAD + b"x: " + line + b"\x00\r\n\r\n")],
        "chunk": [Raw(HEAD + b"transfer-encoding: chunked\r\n\r\n" + line + b"\r\n")],
        "coding": [Answer(GOOD, headers={"content-encoding": f"gzip, {secret}"})],
        "no JSON": [line],
        "cursor": [page([model("a")], has_more=True, last_id=said)] * 2,
        "id": [page([model(said, display_name=None)])],
        "id twice": [page([model(said), model(said, line="x")])],
        "field": [page([model("a", **{said: "\0"})])],
        "model's field": [{**model("a"), said: "\0"}],
        "time": [page([model("a", created_at=said)])],
        "organisation": [
            Answer(page([model("b")], has_more=True), headers={"anthropic-organization-id": "o"}),
            Answer(GOOD, headers={"anthropic-organization-id": secret}),
        ],
    }


def said_by(error: BaseException) -> str:
    """The texts of an error and its causes, for a person and in a traceback."""
    words = traceback.format_exception(error)
    cause: BaseException | None = error
    while cause is not None:
        words += [str(cause), repr(cause)]
        cause = cause.__cause__
    return "\n".join(words)


@pytest.mark.parametrize("place", echoes(""))
@pytest.mark.parametrize("secret", [KEY, TOKEN, EXTRA], ids=["key", "token", "extra header"])
def test_no_secret_in_errors(secret: str, place: str) -> None:
    """A server that repeats a credential or an extra header's value gets it into no error."""
    headers = HEADERS | {"authorization": f"Bearer {TOKEN}"}
    answers = echoes(secret)[place]
    server = ScriptedServer([GOOD, *answers, *answers])
    with server, connect(server.url, 0.3, headers) as client:
        client.walk()  # the deadline also covers the requests that follow
        error = started(client.walk).exception(HANG_SECONDS)
    assert isinstance(error, SourceError)
    shown = said_by(error)
    assert secret not in shown
    assert secret.replace("\\", "") not in shown.replace("\\", "")  # nor in any escaped form


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTPS_PROXY": "gopher://user:hunter2@proxy:1"},
        {"ALL_PROXY": "http://user:hunter2@proxy:x"},
        {"HTTP_PROXY": "http://user:hunter2/slash@proxy:1"},
        {"SSL_CERT_FILE": "/does/not/exist-hunter2"},
    ],
    ids=str,
)
def test_unusable_environment(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unusable proxy settings are a configuration error without the password."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=next(iter(variables))) as caught:
        connect("https://127.0.0.1")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


# Closure: nothing of the layers below escapes

LENGTH = b"content-length: 28\r\n\r\n"
MALFORMED = {
    "nothing": b"",
    "zeros": b"\0" * 1000,
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/0.9": WHOLE,
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "no status": b"HTTP/1.1\r\n\r\n",
    "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
    "status 099": b"HTTP/1.1 099 Low\r\n\r\n",
    "status 999": b"HTTP/1.1 999 High\r\n" + LENGTH + WHOLE,
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "header without colon": HEAD + b"nonsense\r\n\r\n",
    "header without name": HEAD + b": x\r\n\r\n",
    "header of control characters": HEAD + b"x: \x00\x01\r\n\r\n",
    "folded header": HEAD + b" x: y\r\n\r\n",
    "endless header": HEAD + b"x: " + b"y" * 300_000 + b"\r\n\r\n",
    "many headers": HEAD + b"x: y\r\n" * 50_000 + b"\r\n",
    "headers cut": HEAD + b"x: y",
    "body cut": HEAD + b"content-length: 99\r\n\r\n" + WHOLE,
    "body too long": HEAD + b"content-length: 5\r\n\r\n" + WHOLE,
    "two lengths": HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n" + WHOLE,
    "length of letters": HEAD + b"content-length: x\r\n\r\n",
    "negative length": HEAD + b"content-length: -1\r\n\r\n",
    "huge length": HEAD + b"content-length: " + b"9" * 30 + b"\r\n\r\n" + WHOLE,
    "chunks of letters": HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
    "huge chunk": HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\nabc",
    "chunks cut": HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nab",
    "unknown transfer": HEAD + b"transfer-encoding: gzip\r\n\r\n" + WHOLE,
    "no gzip": HEAD + b"content-encoding: gzip\r\n" + LENGTH + WHOLE,
    "no deflate": HEAD + b"content-encoding: deflate\r\n" + LENGTH + WHOLE,
    "gzip cut": HEAD + b"content-encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00",
    "no gzip twice": HEAD + b"content-encoding: gzip, deflate\r\n" + LENGTH + WHOLE,
    "switching protocols": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "only interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "no content with body": b"HTTP/1.1 204 No Content\r\n" + LENGTH + WHOLE,
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "odd cookies": HEAD + b"set-cookie: a; expires=x; version=y; port=z; domain=..\r\n\r\n[]",
    "odd location": b"HTTP/1.1 302 Found\r\nlocation: tel:\xff\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_malformed_answer(answer: bytes) -> None:
    """Any bytes at all cause a SourceError, or an unknown result of a request by id."""
    with ScriptedServer([GOOD, Raw(answer)]) as server, connect(server.url, 0.3) as client:
        client.walk()  # the deadline also covers the following requests
        assert client.confirm_absent(["a"], ["b"])["a"] in {"unknown", "answering"}
        with pytest.raises(SourceError) as caught:
            client.walk()
    assert not re.search(r"Error|Exception|bytearray|b'", str(caught.value))


@pytest.mark.parametrize("cookie", ["é=b", "a=é", "a=b; expires=Wed, 21 Ost 2026 07:28:00 GMT"])
def test_odd_cookie(cookie: str) -> None:
    """A cookie that no client can read or send back affects no request."""
    first = Answer(page([model("b")], has_more=True), headers={"set-cookie": cookie})
    with ScriptedServer([first, GOOD]) as server, connect(server.url) as client:
        assert list(client.walk().models) == ["b", "a"]


@pytest.mark.parametrize(
    "host", ["a..b", ".", "x" * 64 + ".test", "256.256.256.256", "\u2603.test", "xn--a"]
)
def test_host_that_cannot_be(host: str) -> None:
    """A base_url with an invalid host name is an error that names it, not a crash."""
    with connect(f"http://{host}", 0.3) as client:
        with pytest.raises(SourceError, match="page 1: ") as caught:
            client.walk()
        assert host in str(caught.value)
        assert client.confirm_absent(["a"], ["b"]) == {"a": "unknown"}


# Confirmation by id


@pytest.mark.parametrize(
    ("answer", "absence"),
    [
        (Answer(api_error("not_found_error", "model: x"), 404), "gone"),
        (Answer(b"<html>", 404), "gone"),
        (Answer({"detail": "Not Found"}, 404), "gone"),
        (model("x"), "answering"),
        (model("x", lifecycle="deprecated"), "answering"),
        (model("x", lifecycle="retired"), "retired"),
        ({"id": "x", "object": "model", "owned_by": "somebody"}, "answering"),
        ({"id": "x", "lifecycle": ["retired"]}, "answering"),
        (model("x-20260101"), "unknown"),
        (model("x", id=["x"]), "unknown"),
        ({"lifecycle": "retired"}, "unknown"),
        ({"error": {"code": "model_not_found"}}, "unknown"),
        (["x"], "unknown"),
        ("x", "unknown"),
        (b"<html>", "unknown"),
        (b"", "unknown"),
        (b'{"id": "x"', "unknown"),
        (Answer(model("x"), 203), "unknown"),
        (Answer({}, 400), "unknown"),
        (Answer({}, 401), "unknown"),
        (Answer({}, 403), "unknown"),
        (Answer({}, 410), "unknown"),
        (Answer({}, 429, {"retry-after": "3600"}), "unknown"),
        (Answer({}, 500, AT_ONCE), "unknown"),
        (Answer(model("x"), 302, {"location": "/v1/models/b"}), "unknown"),
        (None, "unknown"),
        (Raw(HEAD + b"content-length: 99\r\n\r\n"), "unknown"),
        (Answer(b" " * (32 * 2**20 + 1)), "unknown"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_confirm(answer: Any, absence: str) -> None:
    """404 means gone, the model's own object means listed or retired, all else is unknown."""
    lost = answer is None or isinstance(answer, Raw)
    seconds = 0.5 if lost else 20  # too short to try again

    def decide(request: Request) -> Any:
        by_path = {"/v1/models": GOOD, "/v1/models/a": model("a"), "/v1/models/x": answer}
        return by_path.get(request.path, Answer({}, 404))

    with ScriptedServer(decide) as server, connect(server.url, seconds) as client:
        client.walk()
        assert client.confirm_absent(["x"], ["a"]) == {"x": absence}


def test_confirm_retries() -> None:
    """A request by id is retried like any request, before it counts as unanswered."""
    busy = Answer({}, 529, AT_ONCE)
    answers = [Answer({}, 404), busy, model("a"), busy, busy, Answer({}, 404)]
    with ScriptedServer(answers) as server, connect(server.url) as client:
        assert client.confirm_absent(["x"], ["a"]) == {"x": "gone"}


def test_confirm_within_the_walks_deadline() -> None:
    """Requests by id share the walk's deadline; those that remain are unknown."""
    with (
        Stalling(lambda server: server, b"", b"", GOOD) as server,
        connect(server.url, 0.5) as client,
    ):
        client.walk()
        answers = started(lambda: client.confirm_absent("xyz", "a")).result(HANG_SECONDS)
        assert answers == dict.fromkeys("xyz", "unknown")
        assert len(server.requests) == 2  # the list, and a control
