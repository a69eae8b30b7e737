"""Messages on their way to real receivers: webhooks, mail, chat, and the heartbeat."""

from __future__ import annotations

import json
import logging
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_plus

import pytest
import requests
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.zulip import NotifyZulip
from markdown_it import MarkdownIt
from pydantic import SecretStr
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from catalog_sync.alerts import channels, chat
from catalog_sync.alerts.channels import Channel, SendResult
from catalog_sync.alerts.delivery import open_channel
from catalog_sync.alerts.message import Message, compose
from catalog_sync.app import App, RunOptions
from catalog_sync.cancel import CancelToken
from catalog_sync.clock import utc_now
from catalog_sync.config.settings import AlertSettings, Settings
from catalog_sync.demo.sandbox import Sandbox
from catalog_sync.domain.kinds import Kind
from catalog_sync.domain.model import Event
from catalog_sync.errors import ConfigError, DatabaseError, StoppedError
from receivers import (
    PATIENCE_SECONDS,
    MailServer,
    Received,
    Receiver,
    Reply,
    closed_port,
)
from support import model, settings_for, with_tls

# Apprise imports it where the mail plugin may sign mails.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
SECRET = "whsec_c2VjcmV0IG9mIG5vYm9keQ=="
PATH = "/T0KEN-in-the-path?key=T0KEN-in-the-query"
ODD = "R&D <beta>"


def event(number: int = 1, **fields: object) -> Event:
    payload = model(f"m-{number}", **fields)
    return Event(Kind.ADDED, NOW, f"m-{number}", {}, payload, "anthropic", 7, number)


def message(*events: Event, message_id: str = "msg_1") -> Message:
    return compose(message_id, events or [event()], 7)


ODD_MESSAGE = message(event(display_name=ODD), event(2, display_name=ODD))
ODD_LINES = [f"{ODD} is new (m-{n}): released 2026-01-01." for n in (1, 2)] + ["Source: anthropic"]


def webhook(url: str, **fields: str) -> Channel:
    return open_channel(AlertSettings(name="hook", webhook=SecretStr(url), **fields))


def service(url: str) -> Channel:
    return open_channel(AlertSettings(name="team", url=SecretStr(url)))


def send(channel: Channel, sent: Message | None = None) -> SendResult:
    return channel.send(sent or message(), utc_now(), CancelToken())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as running:
        yield running


@pytest.fixture
def signed(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Channel:
    """A webhook with a secret."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    return webhook(receiver.url + PATH, secret_env="HOOK_SECRET")


# --- webhook: what is sent ---------------------------------------------------------------------


def test_signature(signed: Channel, receiver: Receiver) -> None:
    """A receiver that has the secret can verify the message with the standard's library."""
    assert send(signed, ODD_MESSAGE).error is None
    got = receiver.last
    assert Webhook(SECRET).verify(got.body, dict(got.headers)) == ODD_MESSAGE.body
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body + b" ", dict(got.headers))
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_c29tZWJvZHkgZWxzZQ==").verify(got.body, dict(got.headers))


def test_request(signed: Channel, receiver: Receiver) -> None:
    """A webhook is one POST of UTF-8 JSON to its exact URL, with the program's user agent."""
    send(signed, message(event(display_name="五")))
    (got,) = receiver.received
    assert got.path == PATH
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"].startswith("catalog-sync/")
    assert "五" in got.text


def test_identity(signed: Channel, receiver: Receiver) -> None:
    """At each attempt the id and the body are the same, and the time is that of the attempt."""
    for at in (NOW, NOW + timedelta(hours=3, microseconds=999_999)):
        signed.send(message(message_id="msg_7"), at, CancelToken())
    first, second = receiver.received
    assert (first.id, first.body) == (second.id, second.body) == ("msg_7", second.body)
    seconds = [int(got.headers["webhook-timestamp"]) for got in receiver.received]
    assert seconds == [int(NOW.timestamp()), int(NOW.timestamp()) + 3 * 3600]


def test_without_a_secret(receiver: Receiver) -> None:
    """A webhook without a secret is sent unsigned, and still has an id."""
    assert send(webhook(receiver.url)).error is None
    assert receiver.last.id == "msg_1"
    assert "webhook-signature" not in receiver.last.headers


# --- webhook: what becomes of it ---------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_accepted(signed: Channel, receiver: Receiver, status: int) -> None:
    """Any 2xx accepts a message."""
    receiver.replies = [Reply(status)]
    assert send(signed) == SendResult()


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirect(signed: Channel, receiver: Receiver, status: int) -> None:
    """A redirect is a refusal, and is not followed."""
    receiver.replies = [Reply(status, {"location": f"{receiver.url}/elsewhere"}), Reply()]
    outcome = send(signed)
    assert (outcome.error is not None, outcome.refused, outcome.final) == (True, True, False)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("location", ["http://[nowhere", "http://a:b/", "mailto:a@b"])
def test_redirect_to_nowhere(signed: Channel, receiver: Receiver, location: str) -> None:
    """A redirect is a refusal also if its target is no URL."""
    receiver.replies = [Reply(302, {"location": location}), Reply()]
    outcome = send(signed)
    assert (outcome.refused, outcome.final) == (True, False)
    assert "HTTP 302" in str(outcome.error)


@pytest.mark.parametrize(
    ("status", "refused", "final"),
    [
        *((status, True, False) for status in (400, 401, 403, 404, 405, 413, 418, 422, 451)),
        (410, True, True),
        *((status, False, False) for status in (408, 409, 425, 429, 500, 501, 502, 503, 504, 599)),
    ],
)
def test_refusals(
    signed: Channel, receiver: Receiver, status: int, refused: bool, final: bool
) -> None:
    """A 4xx refuses, 410 for good; 408, 409, 425, 429 and 5xx ask to try later, with a reason."""
    receiver.replies = [Reply(status)]
    outcome = send(signed)
    assert (outcome.refused, outcome.final) == (refused, final)
    assert outcome.error is not None
    assert str(status) in outcome.error


def hang_up_rudely(connection: BinaryIO) -> None:
    raw = connection._sock
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize(
    "reply",
    [
        None,
        hang_up_rudely,
        lambda connection: connection.write(b"SSH-2.0-OpenSSH_9.6\r\n"),
        lambda connection: connection.write(b"HTTP/1.1 200"),
        lambda connection: connection.write(b"HTTP/1.1 OK OK\r\n\r\n"),
        lambda connection: connection.write(b"HTTP/1.1 200 OK\r\n" + b"x-y: z\r\n" * 50_000),
    ],
    ids=["nothing", "reset", "other protocol", "cut", "no status", "endless headers"],
)
def test_no_answer(signed: Channel, receiver: Receiver, reply: object) -> None:
    """An answer that is not HTTP is a failure that is tried again, never an exception."""
    receiver.replies = [reply]
    outcome = send(signed)
    assert outcome.error is not None
    assert (outcome.refused, outcome.final, outcome.retry_after) == (False, False, None)


def test_endless_body(signed: Channel, receiver: Receiver) -> None:
    """The attempt does not wait for the receiver's answer after its status."""
    stop = threading.Event()

    def babble(connection: BinaryIO) -> None:
        connection.write(b"HTTP/1.1 202 Accepted\r\ncontent-type: text/plain\r\n\r\n")
        while not stop.is_set():
            connection.write(b"bla " * 1000)

    receiver.replies = [babble]
    assert send(signed) == SendResult()
    stop.set()


def test_timeout() -> None:
    """A receiver that is silent, or sends an endless answer slowly, is given up and tried again."""
    stop = threading.Event()

    def drip(connection: BinaryIO) -> None:
        connection.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        while not stop.wait(0.5):
            connection.write(b".")
            connection.flush()

    def decide(got: Received) -> object:
        return drip if got.path == "/drip" else Reply(after=stop)

    with Receiver(decide=decide) as slow, ThreadPoolExecutor(2) as threads:
        urls = (f"{slow.url}/hush", f"{slow.url}/drip")
        sent = [threads.submit(send, webhook(url)) for url in urls]
        _, hanging = wait(sent, timeout=16)
        stop.set()
    assert not hanging
    for future in sent:
        outcome = future.result()
        assert outcome.error is not None
        assert (outcome.refused, outcome.final) == (False, False)


@pytest.mark.parametrize("status", [429, 503, 404])
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", None),
        ("-5", None),
        (format_datetime(NOW - timedelta(minutes=9), usegmt=True), None),
        ("soon", None),
        ("", None),
        ("Mon, 99 Jun 2026 14:00:30 GMT", None),
        ("9" * 5000, None),
    ],
)
def test_retry_after(
    signed: Channel, receiver: Receiver, status: int, text: str, seconds: int | None
) -> None:
    """A receiver may state how long to wait; an invalid statement is ignored."""
    receiver.replies = [Reply(status, {"retry-after": text})]
    wait = send(signed).retry_after
    assert wait == (None if seconds is None else timedelta(seconds=seconds))


def test_retry_after_a_date(signed: Channel, receiver: Receiver) -> None:
    """A receiver may state a date after which to try again."""
    until = format_datetime(utc_now() + timedelta(minutes=9), usegmt=True)
    receiver.replies = [Reply(503, {"retry-after": until})]
    wait = send(signed).retry_after
    assert wait is not None
    assert timedelta(minutes=8) < wait <= timedelta(minutes=9)


# --- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "  ",
        "hunter2",
        "whsec_",
        "whsec_hunter2!",
        "whsec_hunter",
        "aHVudGVyMg==",
        "WHSEC_aHVudGVyMg==",
    ],
)
def test_bad_secret(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error of a missing or invalid signing secret names its variable, never its value."""
    if value is not None:
        monkeypatch.setenv("HOOK_SECRET", value)
    with pytest.raises(ConfigError) as caught:
        webhook("https://example.com/", secret_env="HOOK_SECRET")
    assert "hook" in str(caught.value)
    assert "HOOK_SECRET" in str(caught.value)
    assert value in {None, "", "whsec_"} or value not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply(404),
        Reply(500),
        Reply(302, {"location": f"http://127.0.0.1:1{PATH}"}),
        Reply(400, reason=f"cannot POST {PATH} {SECRET}"),
        Reply(503, {"retry-after": PATH}),
        None,
    ],
    ids=["404", "500", "302", "echo", "retry-after", "no answer"],
)
def test_the_url_is_not_shown(
    signed: Channel,
    receiver: Receiver,
    reply: Reply | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Only scheme and host of a webhook are shown, whatever its receiver answers."""
    caplog.set_level(logging.DEBUG, "catalog_sync")
    receiver.replies = [reply]
    outcome = send(signed)
    assert signed.place == receiver.url
    shown = f"{outcome} {signed.place} {[r for r in caplog.records if 'catalog_sync' in r.name]}"
    assert "T0KEN" not in shown
    assert SECRET not in shown
    assert "127.0.0.1" in (outcome.error or "")


# --- Apprise: mail -----------------------------------------------------------------------------


class _Text(HTMLParser):
    """The text of HTML in a mail program, line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = [""]

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in {"br", "p", "div", "li"}:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        self.lines[-1] += re.sub(r"\s+", " ", data) if data.strip() else ""


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    return found.get_content()


def test_mail(mail: MailServer) -> None:
    """A mail has a subject that states the event, a line per event, and unchanged names."""
    assert send(service(mail.url), message(event(display_name=ODD))) == SendResult()
    (got,) = mail.mails
    assert got["subject"] == f"New model: {ODD} (m-1)"
    assert got["to"] == "a@example.com"
    assert part(got, "plain").splitlines() == [ODD_LINES[0], ODD_LINES[2]]


def test_html_mail(mail: MailServer) -> None:
    """If HTML is requested, both parts keep a line per event and unchanged names."""
    assert send(service(f"{mail.url}&format=html"), ODD_MESSAGE) == SendResult()
    (got,) = mail.mails
    assert got["subject"] == "2 new models"
    shown = _Text()
    shown.feed(part(got, "html"))
    assert [each for each in shown.lines if each] == ODD_LINES
    assert part(got, "plain").split() == " ".join(ODD_LINES).split()


def test_refused_mail(mail: MailServer) -> None:
    """A mail that the server refuses temporarily is tried again, and arrives once accepted."""
    mail.reply = "451 greylisted"
    outcome = send(service(mail.url))
    assert outcome.error is not None
    assert (outcome.refused, outcome.final) == (False, False)
    mail.reply = None
    assert send(service(mail.url)) == SendResult()
    assert len(mail.mails) == 1


# --- Apprise: chat -----------------------------------------------------------------------------

MATTERMOST = "3ccdd113474722377935511fc85d3dd4"


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("begin", "again", "pause", "accepted"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n" * 50, 0.0, False),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.5, False),
        (b"", b"H", 0.5, False),
        (OK + b"x-slow: ", b".", 0.5, False),
        (OK, b"x: y\r\n", 0.5, False),
        (OK + b"\r\n", b".", 0.5, True),
        (OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n.\r\n", 0.5, True),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 50, 0.0, True),
        (OK + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n", 0.5, True),
    ],
    ids=["100s", "100", "status", "header", "headers", "body", "chunk", "trailers", "trailer"],
)
def test_a_service_that_never_ends_its_answer(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, again: bytes, pause: float, accepted: bool
) -> None:
    """At the deadline the connection is closed and its thread ends; a status that came counts."""
    monkeypatch.setattr(channels, "SEND_TIMEOUT", timedelta(seconds=1.5))
    closed = threading.Event()

    def babble(connection: BinaryIO) -> None:
        with suppress(OSError):
            connection.write(begin)
            while True:
                connection.write(again)
                time.sleep(pause)
        closed.set()

    before = set(threading.enumerate())
    with Receiver(babble) as endless:
        begun = time.monotonic()
        outcome = send(service(f"json://127.0.0.1:{endless.port}/T0KEN"))
        assert time.monotonic() - begun < 8
        assert (outcome.error is None) is accepted
        assert accepted or "no answer (not within 10 s)" in str(outcome.error)
        assert closed.wait(PATIENCE_SECONDS)
        assert {each for each in threading.enumerate() if "(work)" in each.name} <= before


def test_a_mail_server_that_never_ends_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of another protocol is given up too: its connection and its thread end."""
    monkeypatch.setattr(chat, "_LONGEST_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        port = server.getsockname()[1]
        url = f"mailto://127.0.0.1:{port}?mode=insecure&from=b@x.io&to=a@x.io"
        sent = threads.submit(send, service(url))
        connection, _ = server.accept()
        with connection, suppress(OSError):
            while True:
                connection.sendall(b"220-and so on\r\n")
                time.sleep(0.1)
        assert sent.result().error == f"mailto://127.0.0.1:{port}: no answer in 1 s"


def test_json_service(receiver: Receiver) -> None:
    """A service with a title and a text gets subject and lines with unchanged names."""
    assert send(service(f"json://127.0.0.1:{receiver.port}/x"), ODD_MESSAGE) == SendResult()
    assert receiver.last.path == "/x"
    assert receiver.last.json["title"] == "2 new models"
    assert receiver.last.json["message"].split("\n") == ODD_LINES


def test_chat(receiver: Receiver) -> None:
    """A chat without titles gets the subject as its first line, with unchanged names."""
    channel = service(f"mmost://127.0.0.1:{receiver.port}/{MATTERMOST}")
    assert send(channel, message(event(display_name=ODD))) == SendResult()
    assert receiver.last.path == f"/hooks/{MATTERMOST}"
    lines = receiver.last.json["text"].splitlines()
    assert lines == [f"New model: {ODD} (m-1)", ODD_LINES[0], ODD_LINES[2]]


@pytest.mark.parametrize("name", [ODD, "*b* _i_ `c` [l](x)", "my_model_3", "a < b > c & d"])
def test_markdown_chat(receiver: Receiver, name: str) -> None:
    """A chat that takes Markdown shows subject and lines with unchanged names."""
    channel = service(f"mmost://127.0.0.1:{receiver.port}/{MATTERMOST}?format=markdown")
    assert send(channel, message(event(display_name=name))) == SendResult()
    shown = _Text()
    shown.feed(MarkdownIt("commonmark").render(receiver.last.json["text"]))
    lines = [each.replace("\u200b", "") for each in shown.lines if each]
    assert f"New model: {name} (m-1)" in lines[0]
    assert f"{name} is new (m-1): released 2026-01-01." in " ".join(lines)


def test_long_message(receiver: Receiver) -> None:
    """A message longer than the service accepts arrives completely, line by line."""
    receiver._decide = lambda got: Reply(400 if len(got.json["text"]) > 4000 else 200)
    channel = service(f"mmost://127.0.0.1:{receiver.port}/{MATTERMOST}")
    long = message(*(event(n, display_name="N" * 300) for n in range(20)))
    assert send(channel, long) == SendResult()
    sent = "\n".join(got.json["text"] for got in receiver.received)
    assert [f"(m-{n}): released" in sent for n in range(20)] == [True] * 20


@pytest.mark.parametrize(
    ("status", "refused", "final"),
    [
        *((status, True, False) for status in (302, 400, 404)),
        (410, True, True),
        *((status, False, False) for status in (429, 500)),
    ],
)
def test_refused_chat(receiver: Receiver, status: int, refused: bool, final: bool) -> None:
    """A chat's refusal counts like a webhook's, and states the HTTP status, not the URL."""
    receiver.replies = [Reply(status, {"retry-after": "60"}), Reply()]
    channel = service(f"json://127.0.0.1:{receiver.port}/T0KEN")
    outcome = send(channel)
    assert str(outcome.error).startswith(f"json://127.0.0.1:{receiver.port}: HTTP {status} ")
    assert "T0KEN" not in str(outcome.error)
    assert (outcome.refused, outcome.final) == (refused, final)
    assert outcome.retry_after == timedelta(minutes=1)
    assert send(channel) == SendResult()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("option", ["", "?redirect=yes"])
def test_redirect_of_a_chat(receiver: Receiver, status: int, option: str) -> None:
    """A redirect of a chat is a refusal, and no request is sent to its target."""
    with Receiver() as elsewhere:
        receiver.replies = [Reply(status, {"location": f"{elsewhere.url}/page"})]
        outcome = send(service(f"json://127.0.0.1:{receiver.port}/T0KEN{option}"))
        assert (outcome.refused, len(receiver.received), elsewhere.received) == (True, 1, [])


@pytest.mark.parametrize("status", [200, 500])
def test_endless_answer_of_a_chat(receiver: Receiver, status: int) -> None:
    """Only the beginning of a chat's answer is read, and its status counts."""
    written = [0]

    def babble(connection: BinaryIO) -> None:
        connection.write(b"HTTP/1.1 %d X\r\n\r\n" % status)
        with suppress(OSError):
            while written[0] < 64_000_000:
                written[0] += connection.write(b"bla " * 1000)

    receiver.replies = [babble]
    outcome = send(service(f"json://127.0.0.1:{receiver.port}"))
    assert (outcome.error is None) is (status == 200)
    assert written[0] < 64_000_000


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("json://127.0.0.1:{port}/T0KEN", "Connection refused"),
        (
            "mailto://me:T0KEN@127.0.0.1:{port}?mode=insecure&from=b@x.io&to=a@x.io",
            "Connection refused",
        ),
        ("json://nowhere.invalid/T0KEN", "the host name is unknown"),
        ("http://127.0.0.1:{port}/T0KEN", "Connection refused"),
    ],
)
def test_reason(url: str, reason: str) -> None:
    """A receiver that cannot be reached is reported with the reason, without the URL's secrets."""
    address = url.format(port=closed_port())
    outcome = send(webhook(address) if url.startswith("http:") else service(address))
    assert reason in str(outcome.error)
    assert "T0KEN" not in str(outcome.error)
    assert (outcome.refused, outcome.final) == (False, False)


@pytest.mark.parametrize(("option", "accepted"), [("", False), ("?verify=no", True)])
def test_certificate_of_a_chat(certificate: tuple[Path, Path], option: str, accepted: bool) -> None:
    """A chat's certificate is verified, unless its URL says `verify=no`."""
    with with_tls(Receiver(), certificate) as receiver:
        outcome = send(service(f"jsons://127.0.0.1:{receiver.port}/x{option}"))
    assert (outcome.error is None) is accepted
    assert accepted or "TLS: self-signed certificate" in str(outcome.error)


def test_other_requests_are_untouched(receiver: Receiver) -> None:
    """Requests that a host program makes with `requests` still follow redirects."""
    service(f"json://127.0.0.1:{receiver.port}")
    with Receiver() as elsewhere:
        receiver.replies = [Reply(302, {"location": elsewhere.url})]
        elsewhere.replies = [Reply(204)]
        found = requests.post(receiver.url, timeout=9, allow_redirects=False)
        assert found.headers["location"] == elsewhere.url


def test_severity_and_no_logo(receiver: Receiver) -> None:
    """A chat gets the severity, and no picture from another server."""
    removed = message(replace(event(), kind=Kind.REMOVED))
    assert send(service(f"json://127.0.0.1:{receiver.port}"), removed) == SendResult()
    assert receiver.last.json["type"] == "failure"
    assert send(service(f"mmost://127.0.0.1:{receiver.port}/{MATTERMOST}"), removed).error is None
    assert "icon_url" not in receiver.last.json
    assert "http" not in receiver.last.text


ROCKET = f"{'a' * 24}/{'b' * 64}"


@pytest.mark.parametrize(
    "url",
    [
        f"mmost://127.0.0.1:PORT/{MATTERMOST}",
        f"mmost://127.0.0.1:PORT/{MATTERMOST}?format=markdown",
        f"rocket://{ROCKET}@127.0.0.1:PORT/%23models",
        f"discord://{'4' * 18}/{'J' * 68}",
        f"discord://{'4' * 18}/{'J' * 68}?format=markdown",
        f"zulip://bot@org/{'a' * 32}/models",
    ],
)
def test_no_ping_in_a_chat(receiver: Receiver, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every chat a name pings nobody, links nowhere, and can be read unchanged."""
    monkeypatch.setattr(NotifyDiscord, "notify_url", receiver.url)
    monkeypatch.setattr(NotifyZulip, "notify_url", receiver.url)
    names = (ODD, "@everyone", "@**all**", "<@&42> <#42> #general", "[x](http://e.example)")
    events = [event(n, display_name=name) for n, name in enumerate(names)]
    assert send(service(url.replace("PORT", str(receiver.port))), message(*events)) == SendResult()
    [got] = receiver.received
    text = unquote_plus(got.text) if "zulip" in url else json.dumps(got.json, ensure_ascii=False)
    assert not re.search(r"@(everyone|\*|&)|<[@#]|#general|\]\(|://", text)
    shown = text.replace("\u200b", "").replace("\\", "")
    assert [name for name in names if name not in shown] == []


def test_stop_while_a_receiver_hangs() -> None:
    """A stop ends an attempt at once, also of a chat whose plugin cannot be stopped."""
    never = threading.Event()
    with Receiver(Reply(after=never)) as silent, ThreadPoolExecutor(2) as threads:
        cancel = CancelToken()
        channels = [webhook(silent.url), service(f"json://127.0.0.1:{silent.port}")]
        sent = [threads.submit(each.send, message(), utc_now(), cancel) for each in channels]
        assert silent.wait_for(2)
        cancel.cancel()
        _, hanging = wait(sent, timeout=3)
        never.set()
    assert not hanging
    assert all(isinstance(each.exception(), StoppedError) for each in sent)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "T0KEN",
        "example.com/T0KEN",
        "nosuchservice://T0KEN/T0KEN",
        "slak://xoxb-1234-T0KEN/#general",
        "slack://T0KEN",
        "mailto://me:T0KEN@",
        "json://",
        "mmost://127.0.0.1",
        "http://T0KEN@[",
    ],
)
def test_bad_url(url: str) -> None:
    """The error of a URL that Apprise cannot use names its channel, without the tokens."""
    with pytest.raises(ConfigError) as caught:
        service(url)
    assert "team" in str(caught.value)
    assert "t0ken" not in str(caught.value).lower()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("json://me:T0KEN@chat.example:8080/T0KEN", "json://chat.example:8080"),
        ("mailto://me:T0KEN@mail.example?to=a@example.com", "mailto://mail.example"),
        (f"mmosts://chat.example/{MATTERMOST}", "mmosts://chat.example"),
        (f"rocket://{ROCKET}@chat.example/%23models", "rocket://chat.example"),
        ("json://[::1]:8080/T0KENT0KEN", "json://[::1]:8080"),
        ("slack://xoxb-1234-1234-4ddbc191d40ee098cbaae6f3523ada2d/#general", "slack://"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general", "slack://"),
        ("pbul://a6k4abnck26hdh8aa3edhoovddeulw3n", "pbul://"),
        ("join://abcdefghijklmnopqrstuvwxyzabcdef/device", "join://"),
        ("tgram://123456789:abcdefg_hijklmnop/12315544/", "tgram://"),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV", "discord://"),
    ],
)
def test_place(url: str, place: str) -> None:
    """Only scheme and host of a service are shown; a token in place of the host is not."""
    shown = service(url).place
    assert shown.startswith(place)
    for secret in re.findall(r"\w{8,}", url.partition("://")[2].replace("example", "")):
        assert secret.lower() not in shown.lower()


# --- heartbeat ---------------------------------------------------------------------------------


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox([model(f"m-{n}") for n in range(9)]) as running:
        yield running


def watched(sandbox: Sandbox, url: str | None, **source: str) -> Settings:
    settings = settings_for("sqlite:///catalog.db", sandbox.url, **source)
    heartbeat = SecretStr(url) if url else None
    return settings.model_copy(update={"heartbeat_url": heartbeat})


def pings(receiver: Receiver) -> list[tuple[str, str]]:
    return [(got.path, got.text) for got in receiver.received]


def test_heartbeat_of_a_good_run(sandbox: Sandbox, receiver: Receiver) -> None:
    """A run pings its start, and its end with the summary."""
    with App(watched(sandbox, f"{receiver.url}/ping/T0KEN")) as app:
        app.sync()
    (start, _), (end, summary) = pings(receiver)
    assert (start, end) == ("/ping/T0KEN/start", "/ping/T0KEN")
    assert "baseline of 9 models" in summary


def test_heartbeat_starts_first(sandbox: Sandbox, receiver: Receiver) -> None:
    """The start is pinged before the run ends."""
    with App(watched(sandbox, receiver.url)) as app:
        app.sync(on_page=lambda *_: receiver.wait_for(1))
    assert [path for path, _ in pings(receiver)] == ["/start", "/"]


def test_a_watchdog_that_hangs(sandbox: Sandbox, receiver: Receiver) -> None:
    """A watchdog that accepts and never answers delays no run."""
    never = threading.Event()
    receiver.replies = [Reply(after=never)]
    walked: list[float] = []
    begun = time.monotonic()
    with App(watched(sandbox, receiver.url)) as app:
        app.sync(on_page=lambda *_: walked.append(time.monotonic() - begun))
    took = time.monotonic() - begun
    never.set()
    assert len(walked) == 1
    assert took < 8  # an exchange with a watchdog may take ten seconds


def test_heartbeat_of_two_sources(sandbox: Sandbox, receiver: Receiver) -> None:
    """A run over several sources has one start and one end, with a line for each."""
    settings = watched(sandbox, receiver.url)
    two = (settings.sources[0], settings.sources[0].model_copy(update={"name": "other"}))
    with App(settings.model_copy(update={"sources": two})) as app:
        app.sync()
    assert [path for path, _ in pings(receiver)] == ["/start", "/"]
    assert [line.partition(":")[0] for line in receiver.last.text.splitlines()] == [
        "anthropic",
        "other",
    ]


@pytest.mark.parametrize(
    ("url", "start", "end"),
    [("/uuid/", "/uuid/start", "/uuid"), ("/uuid?rid=1", "/uuid/start?rid=1", "/uuid?rid=1")],
)
def test_heartbeat_paths(
    sandbox: Sandbox, receiver: Receiver, url: str, start: str, end: str
) -> None:
    """The ping is added to the path; a query stays unchanged."""
    with App(watched(sandbox, receiver.url + url)) as app:
        app.sync()
    assert [path for path, _ in pings(receiver)] == [start, end]


def test_heartbeat_of_a_failed_run(sandbox: Sandbox, receiver: Receiver) -> None:
    """A failed run pings the failure with its error, which contains no key."""
    with App(watched(sandbox, receiver.url, key="sk-ant-wrong")) as app:
        (report,) = app.sync()
    assert report.status == "failed"
    assert pings(receiver) == [("/start", ""), ("/fail", report.error)]
    assert "sk-ant-wrong" not in receiver.last.text


def test_heartbeat_of_a_held_run(sandbox: Sandbox, receiver: Receiver) -> None:
    """A held run pings the failure, with the command that releases it."""
    with App(watched(sandbox, receiver.url)) as app:
        app.sync()
        sandbox.models = sandbox.models[:1]
        app.sync()
    assert [path for path, _ in pings(receiver)][2:] == ["/start", "/fail"]
    assert "catalog-sync sync --source anthropic --accept-removals" in receiver.last.text


def test_heartbeat_of_a_source_that_hides_no_other(sandbox: Sandbox, receiver: Receiver) -> None:
    """Sources that are synced one by one share a watchdog: a failure lasts until it is over."""
    settings = watched(sandbox, receiver.url)
    broken = settings.sources[0].model_copy(
        update={"name": "broken", "base_url": "http://127.0.0.1:1", "deadline": timedelta(0, 0.1)}
    )
    with App(settings.model_copy(update={"sources": (settings.sources[0], broken)})) as app:
        app.sync(names=["anthropic"])
        app.sync(names=["broken"])
        app.sync(names=["anthropic"])
    assert [path for path, _ in pings(receiver)[1::2]] == ["/", "/fail", "/fail"]
    assert [line.partition(":")[0] for line in receiver.last.text.splitlines()] == [
        "anthropic",
        "source broken",
    ]


def test_heartbeat_of_a_stopped_run(sandbox: Sandbox, receiver: Receiver) -> None:
    """A run that does not begin because of a stop pings nothing."""
    with App(watched(sandbox, receiver.url)) as app:
        app.stop()
        app.sync()
    assert pings(receiver) == []


def test_heartbeat_without_a_database(sandbox: Sandbox, receiver: Receiver) -> None:
    """A run that cannot use its database pings the failure."""
    settings = watched(sandbox, receiver.url)
    nowhere = SecretStr("sqlite:///no-such-directory/catalog.db")
    with (
        pytest.raises(DatabaseError) as caught,
        App(settings.model_copy(update={"database_url": nowhere})) as app,
    ):
        app.sync()
    assert pings(receiver)[-1:] == [("/fail", str(caught.value))]


def test_heartbeat_of_one_bad_source_among_two(sandbox: Sandbox, receiver: Receiver) -> None:
    """One failed source makes the run a failure."""
    settings = watched(sandbox, receiver.url)
    bad = settings.sources[0].model_copy(
        update={"name": "bad", "base_url": f"{sandbox.url}/nowhere"}
    )
    with App(settings.model_copy(update={"sources": (*settings.sources, bad)})) as app:
        app.sync()
    assert [path for path, _ in pings(receiver)] == ["/start", "/fail"]


def test_skipped_pings_nothing(sandbox: Sandbox, receiver: Receiver) -> None:
    """A skipped run pings nothing."""
    with App(watched(sandbox, receiver.url)) as app:
        app.sync()
        (report,) = app.sync(RunOptions(if_older_than=timedelta(days=1)))
    assert report.status == "skipped"
    assert len(receiver.received) == 2


def test_dry_run_pings_nothing(sandbox: Sandbox, receiver: Receiver) -> None:
    """A dry run pings nothing."""
    with App(watched(sandbox, receiver.url)) as app:
        app.sync(RunOptions(dry_run=True))
    assert receiver.received == []


@pytest.mark.parametrize("reply", [Reply(500), Reply(404), Reply(302), None])
def test_dead_heartbeat(
    sandbox: Sandbox,
    receiver: Receiver,
    reply: Reply | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A heartbeat that cannot be reached is logged without its path, and has no other effect."""
    receiver.replies = [reply]
    with App(watched(sandbox, f"{receiver.url}/T0KEN")) as app:
        (report,) = app.sync()
    assert report.status == "succeeded"
    logged = [each for each in caplog.records if each.name.startswith("catalog_sync")]
    assert [each.getMessage() for each in logged if each.levelname == "WARNING"] == [
        "heartbeat not accepted"
    ] * 2
    assert all("T0KEN" not in str(vars(each)) for each in logged)
