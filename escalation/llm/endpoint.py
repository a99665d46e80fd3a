"""One call to an OpenAI-compatible endpoint, directly or by a proxy of the environment.

The variables are those of other programs: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in either case. A server on
this machine is always asked directly.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from escalation.llm.refusals import CallFailedError, error_inside, http_failure, words_of
from schemas.codes import ItemCode
from schemas.errors import ConfigError

MAX_ANSWER_BYTES = 2**20
_PROXY_SCHEMES = ("http", "https")


class Endpoint:
    """An endpoint that can be asked from several threads.

    `base_url` ends where /chat/completions follows; `timeout_seconds` are for a whole call, however slowly the answer
    trickles in.

    Raises:
        ConfigError: no requests can be made with this URL, key, or the proxies and certificates of the environment.
    """

    def __init__(self, base_url: str, api_key: str, timeout_seconds: float) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self.route = route_to(base_url)
        self.host = self.route.host
        self._timeout = timeout_seconds
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        try:
            httpx.URL(self._url)
            # Redirects are not followed: they would carry texts elsewhere. The environment's certificates are used,
            # but not its proxies: the route has them.
            self._client = httpx.Client(
                headers=headers,
                timeout=timeout_seconds,
                limits=httpx.Limits(max_connections=None, keepalive_expiry=20),
                verify=httpx.create_ssl_context(trust_env=True),
                proxy=self.route.proxy or None,
                trust_env=False,
            )
        except Exception as error:  # of many kinds: URLs, names, files of certificates
            raise ConfigError(
                f"no request can be made to {self.host} ({type(error).__name__}); check llm.base_url, the key, and "
                "the environment's proxies and SSL_CERT_FILE"
            ) from None

    def close(self) -> None:
        self._client.close()

    def ask(self, body: bytes) -> Any:
        """Sends one request; returns the completion, decoded.

        Raises:
            CallFailedError: this call failed; another may not.
            ConfigError: no request can be sent.
        """
        try:
            status, headers, content = self._send(body)
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError) as error:
            raise ConfigError(
                f"no request can be sent to {self.route} ({type(error).__name__}); check llm.base_url and the key"
            ) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            name = f"not_reached_{type(error).__name__}"  # nothing of the document was sent
            raise CallFailedError(ItemCode.RETRY_CONNECTION, name, words=str(error), costs_attempt=False) from None
        except httpx.TimeoutException:
            raise CallFailedError(ItemCode.RETRY_TIMEOUT, "timeout", perhaps_billed=True) from None
        except Exception as error:  # a transport fails in many ways
            raise CallFailedError(ItemCode.RETRY_CONNECTION, type(error).__name__, perhaps_billed=True) from None
        try:
            return _read(status, headers, content)
        except CallFailedError:
            raise
        except Exception as error:  # whatever a server sends must not end the drain
            raise CallFailedError(
                ItemCode.RETRY_INVALID_ANSWER, type(error).__name__, http_status=status, perhaps_billed=True
            ) from None

    def _send(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        give_up_at = time.monotonic() + self._timeout
        with self._client.stream("POST", self._url, content=body) as response:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if time.monotonic() > give_up_at:
                    raise httpx.ReadTimeout("the answer trickles")
                if len(content) > MAX_ANSWER_BYTES:
                    raise httpx.DecodingError("the answer does not end")
        return response.status_code, response.headers, bytes(content)


def _read(status: int, headers: Mapping[str, str], content: bytes) -> Any:
    if status != 200:
        raise http_failure(status, headers, content)
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError):
        raise CallFailedError(
            ItemCode.RETRY_INVALID_ANSWER,
            "invalid_json",
            http_status=200,
            perhaps_billed=True,
            words=words_of(None, content),
            advice="its answer is not JSON; check llm.base_url, which may lead to a page for people",
        ) from None
    failure = error_inside(payload, headers)
    if failure is not None:
        raise failure
    return payload


@dataclass(frozen=True)
class Route:
    """The real way of a request's bytes: directly to the endpoint, or by a proxy."""

    host: str  # of the endpoint, with its port if it has one
    proxy: str  # a URL, which may hold a password; "" for none

    def __str__(self) -> str:
        if not self.proxy:
            return self.host
        return f"{self.host} by the proxy {urlsplit(self.proxy).netloc.rpartition('@')[2]}"


def route_to(base_url: str) -> Route:
    """The way to an endpoint as the environment has it."""
    try:
        parts = urlsplit(base_url)
        host, netloc = parts.hostname or "", parts.netloc.rpartition("@")[2]
        port = parts.port
    except ValueError:
        raise ConfigError("llm.base_url: expected a URL such as https://llm.example/v1; this one cannot be") from None
    if is_loopback(host) or _excepted(host, port):
        return Route(netloc, "")
    names = (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    for name in names:
        if value := os.environ.get(name, "").strip():
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
        with contextlib.suppress(ValueError):
            if address is not None and address in ipaddress.ip_network(entry, strict=False):
                return True
        domain = entry.lstrip("*").strip(".")
        if address is None and domain and (name == domain or name.endswith(f".{domain}")):
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
