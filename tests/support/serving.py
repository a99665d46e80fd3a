"""A server of the standard library that answers from a thread of its own while a test asks it."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from typing import TypeVar

_S = TypeVar("_S", bound=socketserver.BaseServer)


@contextlib.contextmanager
def serving(server: _S) -> Iterator[_S]:
    """Serves until the block ends, and closes the server."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
