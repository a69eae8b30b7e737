"""Proxies of the environment: HTTP_PROXY, ALL_PROXY and NO_PROXY, and the proxy of a URL."""

from __future__ import annotations

import ipaddress
import os
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies

_SCHEMES = ("http", "https", "all")


def proxy_of(url: str) -> tuple[str | None, str | None]:
    """Return the variable that names the proxy of a URL, and the proxy's URL."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return None, None
    found = getproxies()
    entries = [entry.strip().lower() for entry in found.get("no", "").split(",")]
    if any(_matches(entry, host, port) for entry in entries if entry):
        return None, None
    for scheme in (parts.scheme.lower(), "all"):
        if proxy := found.get(scheme):
            return _named(scheme, proxy)
    return None, None


def proxies() -> list[tuple[str, str]]:
    """Return the variables that name proxies, and the proxies' URLs."""
    found = getproxies().items()
    return [_named(scheme, url) for scheme, url in found if scheme in _SCHEMES and url]


def _named(scheme: str, proxy: str) -> tuple[str, str]:
    variable = f"{scheme}_proxy"
    variable = variable if variable in os.environ else variable.upper()
    return variable, proxy if "://" in proxy else f"http://{proxy}"


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
