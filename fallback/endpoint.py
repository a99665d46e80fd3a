"""One call to an OpenAI-compatible endpoint, and what each way of failing means for the item and for the drain."""

from __future__ import annotations

import datetime
import email.utils
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from schemas.errors import EndpointError
from schemas.queue import ItemCode

MAX_ANSWER_BYTES = 2**20
_QUOTA_WORDS = ("insufficient_quota", "billing_hard_limit", "billing_not_active", "exceeded your current quota")


@dataclass(frozen=True)
class Completion:
    """What came back: decoded JSON."""

    payload: Any
    http_status: int


class CallFailedError(Exception):
    """The call gave nothing to read.

    Attributes:
        code: what the item waits for, or why people take over.
        error: a short code for the record.
        http_status: if there was one.
        retry_after: seconds the endpoint asks to wait, or None.
        perhaps_billed: whether it may have cost something all the same.
    """

    def __init__(
        self,
        code: ItemCode,
        error: str,
        *,
        http_status: int | None = None,
        retry_after: float | None = None,
        perhaps_billed: bool = False,
    ) -> None:
        super().__init__(error)
        self.code = code
        self.error = error
        self.http_status = http_status
        self.retry_after = retry_after
        self.perhaps_billed = perhaps_billed


class Endpoint:
    """An endpoint that can be asked from several threads.

    Args:
        base_url: up to where /chat/completions follows.
        api_key: "" for none.
        timeout_seconds: for a whole call, however slowly the answer trickles in.
        direct: whether to pass by the environment's proxies, as for a server on loopback.
    """

    def __init__(self, base_url: str, api_key: str, timeout_seconds: float, direct: bool = False) -> None:
        self.base_url = base_url.rstrip("/")
        self.host = urlsplit(base_url).netloc
        self._timeout = timeout_seconds
        headers = {"Content-Type": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        # Redirects are not followed: they would carry texts elsewhere.
        self._client = httpx.Client(
            headers=headers,
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=None, keepalive_expiry=20),
            trust_env=not direct,
        )

    def close(self) -> None:
        """Ends its connections."""
        self._client.close()

    def ask(self, body: bytes) -> Completion:
        """Sends one request.

        Raises:
            CallFailedError: this call failed; another may not.
            EndpointError: no call can succeed before somebody mends something.
        """
        give_up_at = time.monotonic() + self._timeout
        try:
            with self._client.stream("POST", f"{self.base_url}/chat/completions", content=body) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if time.monotonic() > give_up_at:
                        raise httpx.ReadTimeout("the answer trickles")
                    if len(content) > MAX_ANSWER_BYTES:
                        raise httpx.DecodingError("the answer does not end")
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise CallFailedError(ItemCode.RETRY_CONNECTION, f"not_reached_{type(error).__name__}") from None
        except httpx.TimeoutException:
            raise CallFailedError(ItemCode.RETRY_TIMEOUT, "timeout", perhaps_billed=True) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise CallFailedError(ItemCode.RETRY_CONNECTION, type(error).__name__, perhaps_billed=True) from None
        if response.status_code != 200:
            raise self._failure(response, bytes(content))
        try:
            return Completion(json.loads(content), 200)
        except (ValueError, RecursionError):
            raise CallFailedError(
                ItemCode.RETRY_INVALID_ANSWER, "invalid_json", http_status=200, perhaps_billed=True
            ) from None

    def _failure(self, response: httpx.Response, content: bytes) -> CallFailedError:
        status = response.status_code
        words = content[:4096].decode("utf-8", "replace").lower()
        if status in (401, 403):
            raise EndpointError(
                f"{self.host} refuses the key ({status}); set DOCYARD_LLM_API_KEY to one that is valid there"
            )
        if status == 402 or (status == 429 and any(word in words for word in _QUOTA_WORDS)):
            raise EndpointError(f"{self.host} says that the quota is used up ({status}); add to it, then drain again")
        if status in (404, 405) or status // 100 == 3:
            raise EndpointError(f"{self.base_url}/chat/completions answers {status}; check llm.base_url and llm.model")
        wait = retry_after(response.headers.get("Retry-After"))
        if status == 429:
            return CallFailedError(ItemCode.RETRY_RATE_LIMITED, "rate_limited", http_status=status, retry_after=wait)
        if status >= 500 or status in (408, 409, 425):
            return CallFailedError(ItemCode.RETRY_SERVER_ERROR, "server_error", http_status=status, retry_after=wait)
        return CallFailedError(ItemCode.REQUEST_REJECTED, "request_rejected", http_status=status)


def retry_after(value: str | None) -> float | None:
    """The seconds a Retry-After header asks for, given as a number or as a date; None where it says nothing."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds()) if when.tzinfo else None
