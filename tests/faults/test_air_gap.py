"""No command leaves the machine, looks up a name, or leaves anything outside the folders that it was given."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

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
class Walk:
    """The state of the machine before every command ran once, and after.

    Attributes:
        place: the folder that holds all that the commands were told to write, and nothing else.
        home: HOME, in which nothing lay.
        here: the working directory, likewise.
        temporary: TMPDIR, likewise.
        audit: requests to Python's own sockets.
        trace: the system calls; None where strace or a network namespace is not permitted.
    """

    place: Path
    home: Path
    here: Path
    temporary: Path
    audit: list[str]
    trace: list[str] | None


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    folder = tmp_path_factory.mktemp("air_gap")
    place, home, here, temporary, hook = (folder / name for name in ("place", "home", "here", "temporary", "hook"))
    for path in (place, home, here, temporary, hook):
        path.mkdir()
    (hook / "sitecustomize.py").write_text(AUDIT)
    traced, own_network = permitted(*STRACE, os.devnull), permitted(*UNSHARE)
    whole = traced and own_network
    command = [sys.executable, str(Path(__file__).with_name("air_gapped_walk.py")), str(place)]
    command += [str(ROOT / "tests/tiny_bundle"), *(["--own-network"] if own_network else [])]
    if whole:
        command = [*STRACE, str(folder / "trace"), *command]
    if own_network:
        command = [*UNSHARE, *command]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_", "GX_", "HF_"))}
    environment = kept | {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONPATH": f"{hook}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DOCYARD_AUDIT_LOG": str(folder / "audit"),
    }
    ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith('"done"')
    trace = whole_calls((folder / "trace").read_text(errors="replace").splitlines()) if whole else None
    return Walk(place, home, here, temporary, (folder / "audit").read_text().splitlines(), trace)


def test_nothing_lies_in_the_home_folder_the_working_directory_or_the_temporary_folder(walked: Walk) -> None:
    for folder in (walked.home, walked.here, walked.temporary):
        assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == []


def test_no_name_is_looked_up_and_only_loopback_is_reached(walked: Walk) -> None:
    assert any(line.startswith("socket.connect") for line in walked.audit), "the drain asks an LLM on loopback"
    assert [line for line in walked.audit if not LOOPBACK.search(line)] == []


def test_the_check_sees_a_name_and_an_address_elsewhere() -> None:
    for line in (
        "socket.getaddrinfo 'mobile.events.data.microsoft.com'",
        "socket.connect ('192.0.2.1', 443)",
        "socket.gethostbyname 'metadata.google.internal'",
    ):
        assert not LOOPBACK.search(line)
    for line in ("socket.connect ('127.0.0.1', 80)", "socket.connect '/run/x.sock'", "socket.getaddrinfo None"):
        assert LOOPBACK.search(line)


@pytest.fixture(scope="module")
def trace(walked: Walk) -> list[str]:
    if walked.trace is None:
        pytest.skip("this machine permits no strace in a network namespace of its own")
    return walked.trace


def test_no_system_call_reaches_beyond_loopback(trace: list[str]) -> None:
    assert reaching_out(trace) == []
    assert any("sa_family=AF_INET" in line for line in trace), "the drain asks an LLM on loopback"


def test_no_system_call_writes_outside_the_folders_that_were_given(walked: Walk, trace: list[str]) -> None:
    allowed = (str(walked.place), str(walked.temporary), str(walked.place.with_name("audit")))
    assert written_elsewhere(trace, str(walked.here), allowed) == []
    assert any(path.startswith(str(walked.place)) for path in written(trace, str(walked.here)))


def test_the_checks_see_what_a_system_call_does() -> None:
    dns = 'connect(3<socket:[1]>, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0'
    far = 'connect(3, {sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, "2001:db8::1", &a)}, 28) = -1 E'
    near = 'connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = 0'
    assert reaching_out([dns, far, near]) == [dns, far]
    calls = [
        '7 openat(AT_FDCWD</here>, "x", O_WRONLY|O_CREAT, 0600) = 3</here/x>',
        '7 openat(6</home/.cache>, "deviceid", O_RDWR|O_CREAT|O_EXCL, 0600) = 7</home/.cache/deviceid>',
        '7 openat(AT_FDCWD</here>, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3</etc/hosts>',
        '7 mkdir("/home/.config", 0700) = 0',
        '7 mkdir("/home/.config", 0700) = -1 EEXIST (File exists)',
        '7 rename("/given/a", "/elsewhere/b") = 0',
        '7 openat(AT_FDCWD</here>, "/dev/null", O_RDWR) = 3</dev/null>',
    ]
    cut = ['8 mkdir("/home/x", 0700 <unfinished ...>', "9 brk(0) = 0", "8 <... mkdir resumed>) = 0"]
    assert written(whole_calls(cut), "/here") == ["/home/x"]
    assert written(calls, "/here") == ["/here/x", "/home/.cache/deviceid", "/home/.config", "/elsewhere/b", "/dev/null"]
    assert written_elsewhere(calls, "/here", ("/given", "/home")) == ["/here/x", "/elsewhere/b"]


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
