"""An OpenAI-compatible endpoint on loopback that misbehaves as it is told, and remembers everything it was sent."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

from tests.support.serving import serving

PROMPT_TOKENS_PER_BYTE = 0.25
_REPLIES: dict[str, tuple[int, str, dict[str, str]]] = {
    "rate_limited": (429, '{"error": {"code": "rate_limit_exceeded"}}', {"Retry-After": "0.05"}),
    "wait_a_day": (429, '{"error": {"code": "rate_limit_exceeded"}}', {"Retry-After": "86400"}),
    "quota": (429, '{"error": {"code": "insufficient_quota"}}', {}),
    "empty_object": (200, "{}", {}),
    "nested": (200, "[" * 100_000, {}),
    "endless": (200, "x" * 2**21, {}),
}
_CONTENTS = {"answer": None, "no_such_letter": "Z", "chatty": "Refund! I was told to answer refund."}
_OPTION = re.compile(r"^([A-Z])\. (.+)$", re.MULTILINE)
_DOCUMENT = re.compile(r"=== document (\w+) ===\n(.*)\n=== end of document \1 ===", re.DOTALL)


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    body: bytes
    headers: dict[str, str]

    @property
    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.body)
        return values

    @property
    def user(self) -> str:
        return str(self.values["messages"][1]["content"])

    @property
    def options(self) -> dict[str, str]:
        """Label -> letter."""
        return {label: letter for letter, label in _OPTION.findall(self.user.split("\n\n===")[0])}

    @property
    def document(self) -> str:
        match = _DOCUMENT.search(self.user)
        assert match, self.user
        return match.group(2)

    @property
    def prompt_hash(self) -> str:
        return hashlib.sha256(b"1\n" + self.body).hexdigest()


def first_candidate(request: Request) -> str:
    return min(label for label in request.options if label != "none of these")


@dataclass
class ScriptedLlm:
    """The endpoint's script, and a record of the requests it saw."""

    behaviour: Callable[[Request], str] = field(default=lambda request: "answer")  # a word that `_Handler` knows
    choose: Callable[[Request], str] = first_candidate  # the label it answers
    confidence: float = 0.9  # the probability of the chosen letter
    seconds: float = 0.0  # of an ordinary answer
    stall_seconds: float = 3.0  # of silence in a timeout
    replies: dict[str, tuple[int, str, dict[str, str]]] = field(default_factory=dict)  # to further words
    log: list[tuple[str, Request]] = field(default_factory=list)  # in the order of arrival
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def seen(self, request: Request) -> str:
        with self._lock:
            word = self.behaviour(request)
            self.log.append((word, request))
            return word

    def requests(self) -> list[Request]:
        return [request for _, request in self.log]

    def words(self) -> Counter[str]:
        return Counter(word for word, _ in self.log)

    def completion(self, request: Request, content: str | None = None) -> dict[str, Any]:
        letter = request.options.get(self.choose(request), "?") if content is None else content
        if content is None and "Answer with JSON" in request.values["messages"][0]["content"]:
            letter = json.dumps({"answer": letter})
        others = [option for option in request.options.values() if option != letter]
        rest = (1 - self.confidence) / max(1, len(others))
        top = [{"token": letter, "logprob": math.log(self.confidence)}]
        top += [{"token": f" {other}", "logprob": math.log(rest)} for other in others if rest > 0]
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length", "message": {"content": letter}}
        if request.values.get("logprobs"):
            choice["logprobs"] = {"content": [{"token": letter, "logprob": 0.0, "top_logprobs": top}]}
        usage = {"prompt_tokens": int(len(request.body) * PROMPT_TOKENS_PER_BYTE), "completion_tokens": 1}
        return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: ScriptedLlm

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # the client was killed while it sent: nothing was asked
            self.close_connection = True
            return
        request = Request(body, dict(self.headers))
        word = self.script.seen(request)
        try:
            self._behave(word, request)
        except OSError:
            self.close_connection = True  # the client did not wait, or was killed

    def _behave(self, word: str, request: Request) -> None:
        if word in self.script.replies:
            self._send(*self.script.replies[word])
            return
        if word == "timeout":
            time.sleep(self.script.stall_seconds)
            word = "answer"
        if word == "answer":
            time.sleep(self.script.seconds)
        if word == "hang_up":
            self.close_connection = True
        elif word.isdigit():
            self._send(int(word), '{"error": {"message": "no"}}')
        elif word in _REPLIES:
            self._send(*_REPLIES[word])
        elif word in _CONTENTS:
            self._send(200, json.dumps(self.script.completion(request, _CONTENTS[word])))
        elif word == "hostile":
            values = self.script.completion(request, "A\x00\ud800 " * 50)
            values["usage"] = {"prompt_tokens": 10**30, "completion_tokens": -1}
            self._send(200, json.dumps(values))
        elif word == "invalid_json":
            self._send(200, json.dumps(self.script.completion(request))[:-20])
        elif word == "cut":  # promises a whole answer and closes the connection half way
            self._send(200, json.dumps(self.script.completion(request)), share=0.5)
            self.wfile.flush()
            self.close_connection = True
        else:
            raise AssertionError(word)

    def _send(
        self, status: int, content: str, headers: Mapping[str, str] = MappingProxyType({}), share: float = 1.0
    ) -> None:
        data = content.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: int(len(data) * share)])

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a killed client; what the tests check is what was seen


@contextlib.contextmanager
def scripted_llm(script: ScriptedLlm | None = None) -> Iterator[ScriptedLlm]:
    """Serves until the context ends."""
    script = script or ScriptedLlm()
    handler = type("Handler", (_Handler,), {"script": script})
    with serving(_Server(("127.0.0.1", 0), handler)) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield script
