from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mounts import SCENARIOS

pytestmark = pytest.mark.slow

_NAMESPACE = ("unshare", "--map-root-user", "--mount")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Scenario → what went wrong; all of them run in a namespace where they may mount what nobody else sees."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare(1) here, so that nothing can be mounted in a namespace of its own")
    tried = subprocess.run([*_NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], check=False, capture_output=True)
    if tried.returncode:
        pytest.skip(f"this machine lets nobody mount in a namespace of their own: {tried.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("mounts")
    command = [*_NAMESPACE, sys.executable, "-m", "tests.support.mounts", str(folder)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[2]
    )
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_of_mounts(results: dict[str, str], scenario: str) -> None:
    assert results[scenario] == ""
