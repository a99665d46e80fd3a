"""Who is asked: an endpoint of the configuration or the embedded model, and under which name its answers are kept."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from fallback.budget import cap_of, price_of
from fallback.calls import Asker
from fallback.clock import SECOND
from fallback.embedded import MODEL, embedded_server
from fallback.endpoint import Endpoint
from schemas.errors import ConfigError
from schemas.fallback_config import EMBEDDED, DrainConfig, LlmConfig

KEY_VARIABLE = "DOCYARD_LLM_API_KEY"


def resolved(config: DrainConfig) -> DrainConfig:
    """The configuration as it is used: the embedded model has a name, and answers by schema alone.

    So small a model says anything but a letter unless it is held to one.
    """
    if config.llm.base_url != EMBEDDED:
        return config
    return replace(config, llm=replace(config.llm, model=MODEL, answer="schema", max_tokens_field="max_tokens"))


def backend_name(llm: LlmConfig) -> str:
    """What an answer depends on besides its prompt: model, place and kind of answer. Qualifications go by it."""
    parts = urlsplit(llm.base_url)
    place = EMBEDDED if llm.base_url == EMBEDDED else f"{parts.netloc}{parts.path.rstrip('/')}"
    return f"{place}/{llm.model}#{llm.answer}"


@contextlib.contextmanager
def open_endpoint(config: DrainConfig) -> Iterator[Endpoint]:
    """The endpoint, ready to be asked; the embedded model is started for it.

    Raises:
        ConfigError: the embedded model is not installed, or the key cannot be one.
        EndpointError: it does not start.
    """
    with contextlib.ExitStack() as stack:
        embedded = config.llm.base_url == EMBEDDED
        url = stack.enter_context(embedded_server()) if embedded else config.llm.base_url
        key = "" if embedded else os.environ.get(KEY_VARIABLE, "")
        if not key.isascii() or not key.isprintable():
            raise ConfigError(f"{KEY_VARIABLE}: expected printable ASCII characters; set it to the key alone")
        endpoint = Endpoint(url, key, config.llm.timeout_seconds, direct=embedded)
        stack.callback(endpoint.close)
        yield endpoint


def asker_of(config: DrainConfig, endpoint_host: str, purpose: str, batch_id: str | None = None) -> Asker:
    """In whose name this process makes calls."""
    return Asker(
        backend=backend_name(config.llm),
        endpoint=endpoint_host,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        purpose=purpose,
        price=price_of(config, batch=batch_id is not None),
        cap=cap_of(config),
        lease_micros=round(config.queue.lease_seconds * SECOND),
        batch_id=batch_id,
    )
