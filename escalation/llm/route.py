"""The way to an endpoint: direct, or by a proxy of the environment. A server on this machine is always asked directly.

The variables are those of other programs: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from schemas.errors import ConfigError

_PROXY_SCHEMES = ("http", "https")


@dataclass(frozen=True)
class Route:
    """The real way of a request's bytes: directly to the endpoint, or by a proxy.

    Attributes:
        host: of the endpoint, with its port if it has one.
        proxy: URL of the proxy, which may hold a password; "" where there is none.
    """

    host: str
    proxy: str

    def __str__(self) -> str:
        """Names the host, and the proxy without its password."""
        if not self.proxy:
            return self.host
        return f"{self.host} by the proxy {urlsplit(self.proxy).netloc.rpartition('@')[2]}"


def route_to(base_url: str) -> Route:
    """The way to an endpoint as the environment has it.

    Raises:
        ConfigError: the URL cannot be one, or the proxy that the environment names cannot be used.
    """
    try:
        parts = urlsplit(base_url)
        host, netloc = parts.hostname or "", parts.netloc.rpartition("@")[2]
        port = parts.port
    except ValueError:
        raise ConfigError("llm.base_url: expected a URL such as https://llm.example/v1; this one cannot be") from None
    if is_loopback(host) or _excepted(host, port):
        return Route(netloc, "")
    for variable in (f"{parts.scheme}_proxy", "all_proxy"):
        for name in (variable, variable.upper()):
            value = os.environ.get(name, "").strip()
            if value:
                return Route(netloc, _checked(name, value))
    return Route(netloc, "")


def is_loopback(host: str) -> bool:
    """True for a host that is this machine: localhost, 127.0.0.0/8, ::1, or no certain address: 0.0.0.0 and ::."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    if address is None:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or address.is_unspecified


def _excepted(host: str, port: int | None) -> bool:
    """True where NO_PROXY names the host: by name, by a domain it lies in, by address, or by a network of addresses."""
    name, address = host.rstrip(".").lower(), _address(host)
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    for entry in (part.strip().lower() for part in listed.split(",")):
        if entry == "*":
            return True
        entry, wanted_port = _split_port(entry)
        if not entry or (wanted_port is not None and wanted_port != port):
            continue
        if address is not None:
            try:
                if address in ipaddress.ip_network(entry, strict=False):
                    return True
            except ValueError:
                continue
        domain = entry.lstrip("*").strip(".")
        if domain and (name == domain or name.endswith(f".{domain}")):
            return True
    return False


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        inner, _, rest = entry[1:].partition("]")
        return inner, int(rest[1:]) if rest[:1] == ":" and rest[1:].isdigit() else None
    name, colon, port = entry.partition(":")
    return (name, int(port)) if colon and port.isascii() and port.isdigit() else (entry, None)


def _checked(variable: str, value: str) -> str:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable, parts = False, None
    if not usable:
        scheme = parts.scheme if parts else "a malformed URL"
        raise ConfigError(
            f"{variable}: expected the URL of a proxy such as http://proxy.example:3128, found {scheme}; set another "
            "one, unset it, or name the endpoint's host in NO_PROXY"
        )
    return url


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    with contextlib.suppress(OSError, ValueError):  # as resolvers read 127.1 and 2130706433
        return ipaddress.IPv4Address(socket.inet_aton(host))
    return None
