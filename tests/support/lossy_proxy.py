"""A proxy on loopback that loses answers: the server did what it was asked, and the client hears nothing."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

from tests.support.serving import serving


class LossyProxy(socketserver.ThreadingTCPServer):
    """Attributes: to_lose: answers that are still to be lost; each costs the client its connection."""

    daemon_threads = True

    def __init__(self, server_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.server_port = server_port
        self.to_lose = 0

    @property
    def url(self) -> str:
        """The address to name in place of the server's."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def lossy_proxy(server_port: int) -> Iterator[LossyProxy]:
    """A proxy before the server on a port; it loses nothing until it is told to."""
    with serving(LossyProxy(server_port)) as proxy:
        yield proxy


class _Connection(socketserver.BaseRequestHandler):
    server: LossyProxy

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.server_port)) as upstream:
            sender = threading.Thread(target=_forward, args=(self.request, upstream), daemon=True)
            sender.start()
            with contextlib.suppress(OSError):
                while answer := upstream.recv(65_536):
                    if self.server.to_lose > 0:
                        self.server.to_lose -= 1
                        break
                    self.request.sendall(answer)
            with contextlib.suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            sender.join()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while content := source.recv(65_536):
            target.sendall(content)
