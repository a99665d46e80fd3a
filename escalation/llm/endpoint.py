"""One call to an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from escalation.llm.refusals import CallFailedError, error_inside, http_failure, words_of
from escalation.llm.route import route_to
from schemas.codes import ItemCode
from schemas.errors import ConfigError, DocyardError

MAX_ANSWER_BYTES = 2**20


@dataclass(frozen=True)
class Completion:
    """An answer of the endpoint: decoded JSON."""

    payload: Any
    http_status: int


class Endpoint:
    """An endpoint that can be asked from several threads.

    Args:
        base_url: up to where /chat/completions follows.
        api_key: "" for none.
        timeout_seconds: for a whole call, however slowly the answer trickles in.

    Attributes:
        host: of the endpoint.
        route: the host, and the proxy on the way to it.

    Raises:
        ConfigError: no requests can be made with this URL, key, or the proxies and certificates of the environment.
    """

    def __init__(self, base_url: str, api_key: str, timeout_seconds: float) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self.route = route_to(base_url)
        self.host = self.route.host
        self._timeout = timeout_seconds
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
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
        except DocyardError:
            raise
        except Exception as error:  # of many kinds: URLs, names, files of certificates
            raise ConfigError(
                f"no request can be made to {self.host} ({type(error).__name__}); check llm.base_url, the key, and "
                "the environment's proxies and SSL_CERT_FILE"
            ) from None

    def close(self) -> None:
        """Ends its connections."""
        self._client.close()

    def ask(self, body: bytes) -> Completion:
        """Sends one request.

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
            raise CallFailedError(
                ItemCode.RETRY_CONNECTION,
                f"not_reached_{type(error).__name__}",
                words=str(error),
                costs_attempt=False,  # nothing of the document was sent
            ) from None
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


def _read(status: int, headers: Mapping[str, str], content: bytes) -> Completion:
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
    return Completion(payload, 200)
