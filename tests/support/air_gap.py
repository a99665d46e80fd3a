"""Runs a command where nobody answers, and tells what it touched: addresses, names, files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNSHARE = ("unshare", "--map-root-user", "--net")
SYSTEM_CALLS = "connect,sendto,sendmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink"
STRACE = ("strace", "-f", "-qq", "-y", "--seccomp-bpf", "-s", "300", "-e", f"trace={SYSTEM_CALLS}", "-o")

# Python imports a module of this name before anything else, in worker processes too.
AUDIT = """
import os, sys
def write_down(event, arguments, log=os.environ["DOCYARD_AUDIT_LOG"]):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        found = repr(arguments[1])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"):
        found = repr(arguments[0])
    else:
        return
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{event} {found}\\n".encode())
    os.close(descriptor)
sys.addaudithook(write_down)
"""
LOOPBACK = re.compile(r"'(127\.0\.0\.1|::1|localhost)'|b'(127\.0\.0\.1|::1|localhost)'|^\S+ (None|'/|b'/|b?'\\x00)")


def permitted(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


@dataclass(frozen=True)
class Watched:
    """The traces that a command left.

    Attributes:
        place: the folder that it was given for all that it writes.
        home: HOME, in which nothing lay.
        here: the working directory, likewise.
        temporary: TMPDIR, likewise.
        output: its standard output.
        audit: requests to Python's own sockets.
        trace: the system calls; None where strace or a network namespace is not permitted.
    """

    place: Path
    home: Path
    here: Path
    temporary: Path
    output: str
    audit: list[str]
    trace: list[str] | None


def watch(folder: Path, command: Callable[[Path, bool], list[str]]) -> Watched:
    """Runs a command of Python in a network of its own, under strace; without either where that is not permitted.

    Args:
        folder: for all that the run needs.
        command: the arguments for Python, made of the folder it is given and whether the network is its own.
    """
    place, home, here, temporary, hook = (folder / name for name in ("place", "home", "here", "temporary", "hook"))
    for path in (place, home, here, temporary, hook):
        path.mkdir()
    (hook / "sitecustomize.py").write_text(AUDIT)
    traced, own_network = permitted(*STRACE, os.devnull), permitted(*UNSHARE)
    whole = traced and own_network
    arguments = [sys.executable, *command(place, own_network)]
    if whole:
        arguments = [*STRACE, str(folder / "trace"), *arguments]
    if own_network:
        arguments = [*UNSHARE, *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "GX_", "HF_"))}
    environment = kept | {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONPATH": f"{hook}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DOCYARD_AUDIT_LOG": str(folder / "audit"),
    }
    ended = subprocess.run(
        arguments, cwd=here, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    trace = whole_calls((folder / "trace").read_text(errors="replace").splitlines()) if whole else None
    audit = folder / "audit"
    return Watched(
        place, home, here, temporary, ended.stdout, audit.read_text().splitlines() if audit.exists() else [], trace
    )


_UNFINISHED, _RESUMED = " <unfinished ...>", re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")


def whole_calls(trace: list[str]) -> list[str]:
    """The calls, those put together that another thread interrupted."""
    begun: dict[str, str] = {}
    calls = []
    for line in trace:
        if line.endswith(_UNFINISHED):
            begun[line.split()[0]] = line.removesuffix(_UNFINISHED)
        elif resumed := _RESUMED.match(line):
            calls.append(begun.pop(resumed[1], "") + resumed[2])
        else:
            calls.append(line)
    return [*calls, *begun.values()]


_ADDRESS = re.compile(r'sa_family=AF_INET6?\b.*?htons\((\d+)\).*?(?:inet_addr\("|AF_INET6, ")([^"]+)"')
_NEAR = ("127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::")  # the last two ask which address would be bound


def left_behind(watched: Watched) -> list[str]:
    """Files that lie where the command was not told to write: HOME, the working directory, the temporary folder."""
    return [str(path) for folder in (watched.home, watched.here, watched.temporary) for path in folder.rglob("*")]


def reaching_out(trace: list[str]) -> list[str]:
    """The calls to an address beyond loopback, or to a name server wherever it is."""
    found = ((line, _ADDRESS.search(line)) for line in trace)
    return [line for line, to in found if to and (to[2] not in _NEAR or to[1] == "53")]


_MADE = re.compile(r'\b(?:creat|mkdir|mkdirat|rename|renameat2?|link|linkat|symlink)\(.*"([^"]+)".* = 0$')
_OPENED = re.compile(r'\bopen(?:at)?\(.*"[^"]+", \S*(?:O_WRONLY|O_RDWR|O_CREAT)\S*.* = \d+<([^>]+)>$')


def written(trace: list[str], here: str) -> list[str]:
    """The files opened for writing, and the names made, by calls that succeeded."""
    paths = []
    for line in trace:
        if opened := _OPENED.search(line):
            paths.append(opened[1])
        elif made := _MADE.search(line):
            folders = re.findall(r"(?:AT_FDCWD|\d+)<([^>]*)>", line)
            paths.append(os.path.normpath(os.path.join(folders[-1] if folders else here, made[1])))  # noqa: PTH118
    return paths


def written_elsewhere(trace: list[str], here: str, allowed: tuple[str, ...]) -> list[str]:
    """Paths written outside the allowed folders, except devices and this process's own entries in /proc."""
    own = ("/dev/", "/proc/", "pipe:", "socket:", "anon_inode:", "/memfd:")
    return [path for path in written(trace, here) if not path.startswith((*allowed, *own))]
