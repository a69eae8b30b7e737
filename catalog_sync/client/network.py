"""Connections: one pool and one TLS context per process, deadlines and hanging up.

httpx's timeouts cover one read or write each. The deadline of a whole exchange, and its
cancellation, are enforced here, at each operation of the socket.
"""

from __future__ import annotations

import atexit
import os
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlencode, urlsplit

import httpcore
import httpx
from httpcore._backends.sync import SyncStream  # no public way to wrap a socket

from catalog_sync.client import proxies
from catalog_sync.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from catalog_sync.cancel import CancelToken

_CONNECT_SECONDS: Final = 5.0  # as the official SDK
_SILENCE_SECONDS: Final = 30.0
"""How long a server may be silent, within the deadline, before a request fails."""
_WRITE_BYTES: Final = 64 * 1024
_TLS_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
_PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")


class Operation:
    """The exchange of a thread: its deadline, its cancellation, and the socket that it uses.

    Args:
        left: Returns the seconds left, or raises DeadlineError.
        cancel: The token that ends the exchange.
    """

    def __init__(self, left: Callable[[], float], cancel: CancelToken) -> None:
        self._left = left
        self._cancel = cancel
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        _thread.operation = self
        return self

    def __exit__(self, *_: object) -> None:
        self.use(None)
        _thread.operation = None

    def check(self) -> float:
        """Return the seconds left. Raises DeadlineError or StoppedError if it must end."""
        self._cancel.check()
        return self._left()

    def use(self, used: socket.socket | None) -> None:
        """Store the socket that the exchange is about to wait for."""
        with self._lock:
            self._socket = used

    def hang_up(self) -> None:
        """Wake the thread that waits for the socket. Closing the socket alone would not."""
        with self._lock:
            if self._socket is not None:
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class _Thread(threading.local):
    operation: Operation | None = None


_thread = _Thread()


def _wait_for(used: socket.socket, longest: float) -> float:
    """Store the socket that this thread's exchange waits for. Return the allowed seconds."""
    if _thread.operation is None:
        return longest
    _thread.operation.use(used)
    return min(_thread.operation.check(), longest)


class _Stream(httpcore.NetworkStream):
    """A connection that enforces the deadline of its exchange at each operation."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _wait_for(self._socket, _SILENCE_SECONDS))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        for start in range(0, len(buffer), _WRITE_BYTES):
            longest = _wait_for(self._socket, _SILENCE_SECONDS)
            self._stream.write(buffer[start : start + _WRITE_BYTES], longest)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        # TLS takes the socket away until the handshake is over. A duplicate can still end it.
        with self._socket.dup() as handle:
            longest = _wait_for(handle, _CONNECT_SECONDS)
            stream = _Stream(self._stream.start_tls(ssl_context, server_hostname, longest))
            _wait_for(stream._socket, longest)
        return stream

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens connections that can be closed at any time."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        error: OSError | None = None
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as unknown:
            raise httpcore.ConnectError(str(unknown)) from unknown
        for family, kind, protocol, _, address in addresses:
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(_wait_for(connection, _CONNECT_SECONDS))
                connection.connect(address)
                _wait_for(connection, 0)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as failed:
                connection.close()
                error = failed
            except BaseException:
                connection.close()
                raise
            else:
                return _Stream(SyncStream(connection))
        if isinstance(error, TimeoutError):
            raise httpcore.ConnectTimeout(str(error)) from error
        raise httpcore.ConnectError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a URL: directly, or through a proxy."""

    client: httpx.Client
    variable: str | None = None
    """The environment variable that names the proxy; None without one."""

    @property
    def via(self) -> str:
        """The part of an error that names the proxy."""
        return f" through the proxy of {self.variable}" if self.variable else ""

    def advice(self, error: Exception) -> str | None:
        """Return the advice for a failed connection. None keeps the error's own advice."""
        failed = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError))
        if self.variable and failed:
            return f"check {self.variable}, or name the host in NO_PROXY"
        return None


def origin(url: str) -> str:
    """Return scheme, host and port of a URL: the part that may be shown."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "…", parts.port
    except ValueError:
        return "a URL"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}"


def with_query(url: str, query: Sequence[tuple[str, str]]) -> str:
    """Return `url` with a query."""
    return f"{url}?{urlencode(query)}" if query else url


def route_to(url: str, *, direct: bool = False) -> Route:
    """Return how `url` is reached. Raises ConfigError if the environment cannot be used."""
    secure = url.lower().startswith("https:")
    variable, proxy = (None, None) if direct else proxies.proxy_of(url)
    encrypted = secure or (proxy is not None and proxy.startswith("https:"))
    files = tuple(os.environ.get(name) for name in _TLS_VARIABLES) if encrypted else None
    with _lock:
        try:
            return Route(_client(proxy, files), variable)
        except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
            raise _unusable(error, variable) from None  # it may quote a proxy's password


def check_environment(url: str, *, direct: bool = False) -> None:
    """Raise ConfigError if the environment's proxy or TLS settings cannot be used for `url`."""
    route_to(url, direct=direct)
    for variable, proxy in () if direct else proxies.proxies():
        try:
            httpx.Proxy(proxy)
        except (ValueError, httpx.InvalidURL) as error:
            raise _unusable(error, variable) from None


class _NoCookies(CookieJar):
    """A cookie jar that stores nothing. The API has no sessions, and sources must not share any."""

    def extract_cookies(self, response: object, request: object) -> None:
        pass


_lock = threading.Lock()


@lru_cache(maxsize=16)
def _client(proxy: str | None, tls_files: tuple[str | None, ...] | None) -> httpx.Client:
    """Return the process's connections, directly or through a proxy."""
    transport = httpx.HTTPTransport(
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if tls_files is None else _tls(tls_files),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        proxy=proxy,
    )
    if not hasattr(transport._pool, "_network_backend"):  # noqa: SLF001  # no public way
        raise AssertionError("this version of httpx keeps its network backend elsewhere")
    transport._pool._network_backend = _Backend()  # noqa: SLF001
    client = httpx.Client(
        transport=transport,
        trust_env=False,
        timeout=None,  # noqa: S113  # see _Stream
        cookies=_NoCookies(),
        event_hooks={"response": [_forget_location]},
    )
    atexit.register(client.close)  # a socket left open is a ResourceWarning at exit
    return client


def _forget_location(response: httpx.Response) -> None:
    """Remove the target of a redirect. httpx would parse it, and fail if it is not a URL."""
    response.headers.pop("location", None)


@lru_cache(maxsize=1)
def _tls(files: tuple[str | None, ...]) -> ssl.SSLContext:
    del files  # what httpx and ssl read from the environment; here it is the key of the cache
    return httpx.create_ssl_context()


def _unusable(error: Exception, variable: str | None) -> ConfigError:
    """Return the error of unusable settings. It names the variable, not its value."""
    if isinstance(error, ImportError):
        return ConfigError(
            f"{variable} names a SOCKS proxy, for which a package is missing",
            "install it: pip install 'httpx[socks]'",
        )
    if isinstance(error, OSError):
        names = [name for name in _TLS_VARIABLES if os.environ.get(name)]
        broken = [name for name in names if not os.access(os.environ[name], os.R_OK)] or names
        reason = error.strerror or "not a certificate"
        return ConfigError(f"{' or '.join(broken)} cannot be used: {reason}", "correct or unset it")
    return ConfigError(
        f"the proxy in {variable} cannot be used",
        f"expected a URL with one of {', '.join(_PROXY_SCHEMES)}",
    )
