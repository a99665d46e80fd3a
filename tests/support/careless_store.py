"""A store that speaks S3 and breaks its promises: it ignores conditions, or answers every request with one error."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.serving import serving

_TIME = "2026-01-31T12:00:00.000Z"


class CarelessStore(ThreadingHTTPServer):
    """Attributes: objects: content by path; error: status, code and more XML of every answer, if not None."""

    daemon_threads = True

    def __init__(self, error: tuple[int, str, str] | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.error = error

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def careless_store(error: tuple[int, str, str] | None = None) -> Iterator[CarelessStore]:
    """A store that lets every writer win; with an error, one that answers nothing else."""
    with serving(CarelessStore(error)) as server:
        yield server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CarelessStore

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self._failed():
            return
        source = self.headers["x-amz-copy-source"]
        if source is not None:
            content = self.server.objects["/" + unquote(source).lstrip("/")]
        self.server.objects[unquote(urlsplit(self.path).path)] = content
        tag = _tag(content)
        body = "" if source is None else f"<CopyObjectResult><ETag>{escape(tag)}</ETag></CopyObjectResult>"
        self._answer(200, body.encode(), {"ETag": tag, "x-amz-version-id": "1"})

    def do_GET(self) -> None:
        if self._failed():
            return
        path, query = unquote(urlsplit(self.path).path), parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self._answer(200, self._listing(path.strip("/"), query.get("prefix", [""])[0]))
        elif path in self.server.objects:
            content = self.server.objects[path]
            self._answer(200, content, {"ETag": _tag(content), "Last-Modified": "Sat, 31 Jan 2026 12:00:00 GMT"})
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Deletes several objects."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
        if self._failed():
            return
        bucket = urlsplit(self.path).path.strip("/")
        keys = [part.split("</Key>")[0] for part in body.split("<Key>")[1:]]
        for key in keys:
            self.server.objects.pop(f"/{bucket}/{key}", None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def log_message(self, *arguments: Any) -> None:
        """Keeps quiet."""

    def _listing(self, bucket: str, prefix: str) -> bytes:
        root = f"/{bucket}/"
        contents = "".join(
            f"<Contents><Key>{escape(path.removeprefix(root))}</Key><LastModified>{_TIME}</LastModified>"
            f"<ETag>{escape(_tag(content))}</ETag><Size>{len(content)}</Size></Contents>"
            for path, content in sorted(self.server.objects.items())
            if path.startswith(root + prefix)
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>".encode()

    def _failed(self) -> bool:
        if self.server.error is None:
            return False
        status, code, more = self.server.error
        self._answer(status, f"<Error><Code>{code}</Code><Message>no</Message>{more}</Error>".encode())
        return True

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _tag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'
