"""Connections: one pool and one TLS context per process; proxies, deadlines, cancellation.

httpx's timeouts cover single reads and writes. This module enforces the deadline of a whole
exchange, and its cancellation, at each operation of the socket.
"""

from __future__ import annotations

import atexit
import ipaddress
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, Self
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpcore
import httpx
from httpcore._backends.sync import SyncStream  # no public way to wrap a socket

from catalog_sync.cancel import CancelToken
from catalog_sync.errors import ConfigError
from catalog_sync.text import install_command

_CONNECT_SECONDS: Final = 5.0  # as the official SDK
_SILENCE_SECONDS: Final = 30.0
"""How long a server may be silent, within the deadline, before a request fails."""
_WRITE_BYTES: Final = 64 * 1024
_TLS_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
_PROXY_VARIABLES: Final = (
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD",
)  # fmt: skip
_lock = threading.Lock()


class _Thread(threading.local):
    operation: Operation | None = None


_thread = _Thread()


class Operation:
    """The exchange of a thread: its deadline, its cancellation and its socket.

    `left` returns the remaining seconds, or raises DeadlineError.
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
        self._use(None)
        _thread.operation = None

    def check(self) -> float:
        """Return the remaining seconds. Raises DeadlineError or StoppedError if it must end."""
        self._cancel.check()
        return self._left()

    def wait_for(self, used: socket.socket) -> float:
        """Register the socket that the thread will wait for. Returns the remaining seconds."""
        self._use(used)
        return self.check()

    def _use(self, used: socket.socket | None) -> None:
        with self._lock:
            self._socket = used

    def hang_up(self) -> None:
        """Wake the thread that waits for the socket."""
        with self._lock:
            if self._socket is not None:
                abort(self._socket)


def abort(used: socket.socket) -> None:
    """Wake the threads that wait for a socket, and make its later close a reset.

    Without a reset, a peer that waits for buffer space may notice the close only minutes later.
    """
    with suppress(OSError):
        used.shutdown(socket.SHUT_RDWR)
        used.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _seconds(used: socket.socket, longest: float) -> float:
    """Return how long this thread may wait for a socket."""
    operation = _thread.operation
    return longest if operation is None else min(operation.wait_for(used), longest)


class _Stream(httpcore.NetworkStream):
    """A connection that enforces the deadline of its exchange, whatever timeout httpx passes."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.get_extra_info("socket")

    def read(self, max_bytes: int, *_: Any, **__: Any) -> bytes:
        return self._stream.read(max_bytes, _seconds(self._socket, _SILENCE_SECONDS))

    def write(self, buffer: bytes, *_: Any, **__: Any) -> None:
        for start in range(0, len(buffer), _WRITE_BYTES):
            longest = _seconds(self._socket, _SILENCE_SECONDS)
            self._stream.write(buffer[start : start + _WRITE_BYTES], longest)

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, *_: Any, **__: Any
    ) -> httpcore.NetworkStream:
        # The handshake detaches the socket. A duplicate of it can still end the handshake.
        with self._socket.dup() as handle:
            longest = _seconds(handle, _CONNECT_SECONDS)
            stream = _Stream(self._stream.start_tls(ssl_context, server_hostname, longest))
            _seconds(stream._socket, longest)
        return stream

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Opens connections that can be closed at any time."""

    def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.NetworkStream:
        error: OSError | None = None
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as unknown:
            raise httpcore.ConnectError(str(unknown)) from unknown
        for family, kind, protocol, _name, address in addresses:
            connection = socket.socket(family, kind, protocol)
            try:
                connection.settimeout(_seconds(connection, _CONNECT_SECONDS))
                connection.connect(address)
                _seconds(connection, 0)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as failed:
                connection.close()
                error = failed
            except BaseException:
                connection.close()
                raise
            else:
                return _Stream(SyncStream(connection))
        raise httpcore.ConnectError(str(error)) from error


# --- routes ----------------------------------------------------------------------------------


def origin(url: str) -> str:
    """Return scheme, host and port of a URL: the part that may be shown."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "…", parts.port
    except ValueError:
        return "a URL"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}"


def route_to(
    url: str, *, direct: bool = False, verify: bool = True
) -> tuple[httpx.HTTPTransport, str | None]:
    """Return the connections for `url`, and the environment variable of the proxy, if any.

    `direct` uses no proxy, and `verify` checks certificates. Raises ConfigError if the
    environment's settings cannot be used.
    """
    variable, proxy = (None, None) if direct else _proxy_of(url)
    encrypted = url.lower().startswith("https:") or (proxy or "").startswith("https:")
    files = tuple(os.environ.get(name) for name in _TLS_VARIABLES) if encrypted else None
    with _lock:
        try:
            return _connections(proxy, files, verify), variable
        except ImportError:
            text = f"{variable} names a SOCKS proxy, for which a package is missing"
            raise ConfigError(text, install_command("httpx[socks]")) from None
        except OSError as error:
            names = [name for name in _TLS_VARIABLES if os.environ.get(name)]
            broken = [name for name in names if not os.access(os.environ[name], os.R_OK)] or names
            reason = "no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            text = f"{' or '.join(broken)} cannot be used: {reason}"
            raise ConfigError(text, "correct or unset it") from None


@lru_cache(maxsize=16)
def _connections(
    proxy: str | None, tls_files: tuple[str | None, ...] | None, verify: bool
) -> httpx.HTTPTransport:
    """Return the process's connections, direct or through a proxy.

    Not an `httpx.Client`: that keeps cookies, which sources must not share, and parses redirects.
    """
    transport = httpx.HTTPTransport(
        verify=_tls(tls_files, verify),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        proxy=proxy,
    )
    if not hasattr(transport._pool, "_network_backend"):  # noqa: SLF001  # no public way
        raise AssertionError("this version of httpx keeps its network backend elsewhere")
    transport._pool._network_backend = _Backend()  # noqa: SLF001
    atexit.register(transport.close)  # a socket left open is a ResourceWarning at exit
    return transport


if hasattr(os, "register_at_fork"):  # on a shared connection, answers would get mixed up
    os.register_at_fork(after_in_child=_connections.cache_clear)


@lru_cache(maxsize=3)  # `files` is only in its key: httpx and ssl read the environment themselves
def _tls(files: tuple[str | None, ...] | None, verify: bool) -> ssl.SSLContext:
    if files is None:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used
    return httpx.create_ssl_context(verify)


# --- proxies of the environment: HTTP_PROXY, ALL_PROXY and NO_PROXY --------------------------


def _proxy_of(url: str) -> tuple[str | None, str | None]:
    """Return the variable that names the proxy of a URL, and the proxy's URL.

    Raises ConfigError for any proxy that cannot be used: the next URL may need it.
    """
    usable, exceptions = _proxies(tuple(map(os.environ.get, _PROXY_VARIABLES)))
    if not usable:
        return None, None
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return None, None
    if any(_matches(entry, host, port) for entry in exceptions):
        return None, None
    return usable.get(parts.scheme.lower()) or usable.get("all") or (None, None)


@lru_cache(maxsize=1)
def _proxies(variables: tuple[str | None, ...]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Return variable and URL of each proxy, and the entries of NO_PROXY."""
    del variables  # only the key of the cache: reading the whole environment takes long
    found = getproxies()
    usable = {
        name: _usable(name, found[name]) for name in ("http", "https", "all") if found.get(name)
    }
    entries = (entry.strip().lower() for entry in found.get("no", "").split(","))
    return usable, [entry for entry in entries if entry]


def _usable(name: str, proxy: str) -> tuple[str, str]:
    variable = f"{name}_proxy"
    variable = variable if variable in os.environ else variable.upper()
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        httpx.Proxy(proxy)
    except (ValueError, httpx.InvalidURL):
        raise ConfigError(  # from None: the cause may quote the proxy's password
            f"the proxy in {variable} cannot be used",
            "expected a URL with one of http, https, socks5, socks5h",
        ) from None
    return variable, proxy


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Whether an entry of NO_PROXY covers a host. As in curl, an entry may be a network."""
    if entry == "*":
        return True
    entry = entry.partition("://")[2] or entry
    name, colon, number = entry.rpartition(":")
    if colon and number.isdecimal() and (":" not in name or name.endswith("]")):
        if port != int(number):
            return False
        entry = name
    entry = entry.strip("[]")
    with suppress(ValueError):
        network = ipaddress.ip_network(entry, strict=False)
        with suppress(ValueError):
            return ipaddress.ip_address(host) in network
        return False
    entry = entry.removeprefix("*").removeprefix(".")
    return host == entry or host.endswith(f".{entry}")
