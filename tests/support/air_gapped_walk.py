"""Every command once, in small, as one process and its children: `python air_gapped_walk.py FOLDER BUNDLE`.

All it may write lies in FOLDER. `test_air_gap.py` runs it without a network, and looks at the files it touched.
"""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
from pathlib import Path

from click.testing import CliRunner

from pipelines.cli import main
from tests.support.scripted_llm import scripted_llm
from tests.support.small_drains import MODEL
from tests.support.small_runs import classify_arguments, documents, write_jsonl

MULTI_PROCESSING = ("--", "--direct_running_mode=multi_processing", "--direct_num_workers=1")


def docyard(*arguments: object) -> str:
    result = CliRunner().invoke(main, list(map(str, arguments)), env={"DOCYARD_REVIEW_PASSWORD": "a long password"})
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    print(arguments[0], "ok", flush=True)
    return result.stdout


def raise_loopback() -> None:
    """A network namespace begins with a loopback that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def walk(folder: Path, bundle: Path) -> None:
    warehouse = folder / "warehouse"
    source = write_jsonl(folder / "in.jsonl", documents(24))
    docyard("sample", folder / "sample", "--documents", 100)
    docyard(*classify_arguments(source, bundle, warehouse))
    docyard(*classify_arguments(source, bundle, warehouse, "2026-02-01"), *MULTI_PROCESSING)
    run_id = max(path.name for path in (warehouse / "runs").iterdir())
    for looking in (("runs",), ("show",), ("verify", run_id)):
        docyard(*looking, "--warehouse", warehouse)
    docyard("doctor", bundle)
    labelled = write_jsonl(folder / "labelled.jsonl", [{"text": "refund my card", "label": "billing"}] * 3)
    docyard("evaluate", bundle, labelled, "--json", "--html", folder / "page.html")
    with scripted_llm() as llm:
        drained = folder / "drain.toml"
        drained.write_text(f"warehouse = '{warehouse}'\n[llm]\nbase_url = '{llm.url}'\nmodel = '{MODEL}'\n")
        docyard("queue", "drain", "--config", drained)
        assert llm.log
    docyard("review", "add-user", "eve", "--role", "auditor", "--warehouse", warehouse)
    serve_and_stop(folder, warehouse)
    docyard("label-studio", "export", folder / "tasks.json", "--document-type", "ticket", "--warehouse", warehouse)
    docyard("resolve", "--sql", folder / "views.sql", "--warehouse", warehouse)
    docyard("audit", "verify", "--warehouse", warehouse)
    docyard("audit", "export", folder / "trail.csv", "--warehouse", warehouse)
    docyard("erase", "--older-than", "0", "--warehouse", warehouse)


def serve_and_stop(folder: Path, warehouse: Path) -> None:
    config = folder / "review.toml"
    config.write_text(f"warehouse = '{warehouse}'\n[server]\nport = 0\n")
    command = [sys.executable, "-m", "pipelines.cli", "review", "serve", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        with urllib.request.urlopen(f"{server.stdout.readline().split()[2]}log-in") as page:
            assert "Log in" in page.read().decode()
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    print("review ok", flush=True)


if __name__ == "__main__":
    if "--own-network" in sys.argv:
        raise_loopback()
    walk(Path(sys.argv[1]), Path(sys.argv[2]))
    json.dump("done", sys.stdout)
