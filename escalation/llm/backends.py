"""The LLM that is asked, of the configuration or embedded, and the name under which its answers are kept."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from escalation.clock import SECOND
from escalation.llm.budget import cap_of, price_of
from escalation.llm.calls import Asker
from escalation.llm.embedded import MODEL, embedded_server
from escalation.llm.endpoint import Endpoint
from escalation.llm.prompt import request_settings
from schemas.drain_config import EMBEDDED, DrainConfig, LlmConfig
from schemas.errors import ConfigError

KEY_VARIABLE = "DOCYARD_LLM_API_KEY"


def resolved(config: DrainConfig) -> DrainConfig:
    """The configuration as it is used.

    The embedded model has a name, and answers by schema only: so small a model says anything but a letter unless it is
    held to one. A model that thinks gives no probabilities, so that it does not answer by letter. An address may end
    with what follows it.
    """
    llm = config.llm
    if llm.base_url == EMBEDDED:
        llm = replace(
            llm, model=MODEL, answer="schema", max_tokens_field="max_tokens", thinking=False, send_temperature=True
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


def setup_of(llm: LlmConfig, key: str) -> str:
    """A hash of what all requests of a backend have in common, the key included: 16 hexadecimal digits.

    A call that succeeded with it shows that the set-up works. It says nothing about the key: keys are long and random.
    """
    parts = [llm.base_url, llm.model, llm.answer, request_settings(llm), key]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def api_key(config: DrainConfig) -> str:
    """The key of the environment; "" for none, and for the embedded model.

    Raises:
        ConfigError: it cannot be a key.
    """
    key = "" if config.llm.base_url == EMBEDDED else os.environ.get(KEY_VARIABLE, "")
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise ConfigError(
            f"{KEY_VARIABLE}: expected printable ASCII characters without spaces or line breaks around them; set it to "
            "the key alone"
        )
    return key


@contextlib.contextmanager
def open_endpoint(config: DrainConfig) -> Iterator[Endpoint]:
    """The endpoint, ready to be asked; the embedded model is started for it.

    Raises:
        ConfigError: the embedded model is not installed, or the key, a proxy or a certificate cannot be used.
        EndpointError: it does not start.
    """
    with contextlib.ExitStack() as stack:
        embedded = config.llm.base_url == EMBEDDED
        url = stack.enter_context(embedded_server()) if embedded else config.llm.base_url
        endpoint = Endpoint(url, api_key(config), config.llm.timeout_seconds)
        stack.callback(endpoint.close)
        yield endpoint


def asker_of(config: DrainConfig, endpoint: str, purpose: str, batch_id: str | None = None) -> Asker:
    """In whose name this process makes calls.

    Args:
        config: settings of the LLM that is asked.
        endpoint: the way the requests go.
        purpose: of the calls.
        batch_id: of the batch they go into; whoever sends a batch has the key.
    """
    return Asker(
        backend=backend_name(config.llm),
        endpoint=endpoint,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        purpose=purpose,
        price=price_of(config, batch=batch_id is not None),
        cap=cap_of(config),
        lease_micros=round(config.queue.lease_seconds * SECOND),
        setup=setup_of(config.llm, "" if batch_id is not None else api_key(config)),
        batch_id=batch_id,
    )
