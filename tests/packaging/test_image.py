"""The Dockerfile agrees with what it copies and installs; that it builds is not tested here, which needs Docker."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.review_config import ServerConfig

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")


def stage(name: str) -> str:
    """The lines of one of its stages."""
    [found] = re.findall(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_build_copies_every_package_and_every_file_that_it_needs() -> None:
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", stage("build"), re.M) for name in line.split()}
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"benchmarks"}
    assert copied == packages | {
        *("constraints.txt", "setup.py", "pyproject.toml", "MANIFEST.in"),
        *("README.md", "CHANGELOG.md", "LICENSE"),
    }
    assert all((ROOT / name).exists() for name in copied)
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent == copied


def test_the_extras_that_it_installs_exist() -> None:
    [extras] = re.findall(r"^ARG EXTRAS=(\S+)$", stage("build"), re.M)
    assert all(f'"{extra}":' in SETUP for extra in extras.split(","))


def test_the_worker_starts_by_the_boot_program_of_the_beam_that_is_installed() -> None:
    [installed] = re.findall(r"^apache-beam==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert f"_sdk:{installed} AS beam\n" in DOCKERFILE
    assert 'ENTRYPOINT ["/opt/apache/beam/boot"]' in stage("worker")


def test_no_image_runs_as_root_or_holds_what_compiles() -> None:
    assert re.search(r"^USER 10001:10001$", stage("base"), re.M)
    assert DOCKERFILE.count("USER ") == 1
    for name in ("base", "worker", "review", "docyard"):
        assert not re.search("apt-get|gcc|build-essential", stage(name))


def test_the_health_check_asks_the_port_of_the_review_server() -> None:
    assert f"http://127.0.0.1:{ServerConfig().port}/healthz" in stage("review")
