"""No command leaves the machine, looks up a name, or leaves anything outside the folders that it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.air_gap import (
    LOOPBACK,
    ROOT,
    Watched,
    left_behind,
    reaching_out,
    watch,
    whole_calls,
    written,
    written_elsewhere,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """Every command but those that train."""
    script, bundle = ROOT / "tests/support/air_gapped_walk.py", ROOT / "tests/tiny_bundle"

    def walk(place: Path, own_network: bool) -> list[str]:
        return [str(script), str(place), str(bundle), *(["--own-network"] if own_network else [])]

    found = watch(tmp_path_factory.mktemp("air_gap"), walk)
    assert found.output.endswith('"done"')
    return found


def test_nothing_lies_in_the_home_folder_the_working_directory_or_the_temporary_folder(walked: Watched) -> None:
    assert left_behind(walked) == []


def test_no_name_is_looked_up_and_only_loopback_is_reached(walked: Watched) -> None:
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
def trace(walked: Watched) -> list[str]:
    if walked.trace is None:
        pytest.skip("this machine permits no strace in a network namespace of its own")
    return walked.trace


def test_no_system_call_reaches_beyond_loopback(trace: list[str]) -> None:
    assert reaching_out(trace) == []
    assert any("sa_family=AF_INET" in line for line in trace), "the drain asks an LLM on loopback"


def test_no_system_call_writes_outside_the_folders_that_were_given(walked: Watched, trace: list[str]) -> None:
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
