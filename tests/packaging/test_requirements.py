"""Promises of each extra: its commands load with only its requirements, whatever else is installed here."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

_PROGRAM = """
import importlib, sys
class OfOthers:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {others!r}:
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, OfOthers())
for module in {module!r}.split():
    importlib.import_module(module)
"""


def installed_with(extra: str) -> set[str]:
    """The distributions that `docyard[extra]` brings, and what those need in turn."""
    waiting, found = [Requirement(f"docyard[{extra}]")], set[tuple[str, str]]()
    while waiting:
        wanted = waiting.pop()
        for chosen in wanted.extras | {""}:
            place = canonicalize_name(wanted.name), chosen
            if place in found:
                continue
            found.add(place)
            try:
                needed = importlib.metadata.requires(place[0]) or ()
            except importlib.metadata.PackageNotFoundError:  # of another platform, or left out
                continue
            requirements = [Requirement(line) for line in needed]
            waiting += [each for each in requirements if not each.marker or each.marker.evaluate({"extra": chosen})]
    return {name for name, _ in found}


def load(extra: str, module: str) -> subprocess.CompletedProcess[str]:
    own = installed_with(extra)
    others = {
        name
        for name, distributions in importlib.metadata.packages_distributions().items()
        if not own & {canonicalize_name(distribution) for distribution in distributions}
    }
    program = _PROGRAM.format(others=others, module=module)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("extra", "module"),
    [
        ("", "pipelines.classify"),
        ("queue", "pipelines.queue_jobs"),
        ("review", "escalation.web.app escalation.evidence.erasure escalation.outcomes.label_studio"),
    ],
)
def test_a_command_needs_no_more_than_its_extra(extra: str, module: str) -> None:
    ended = load(extra, module)
    assert ended.returncode == 0, ended.stderr


def test_what_another_extra_brings_is_not_there() -> None:
    assert "argon2" in load("queue", "escalation.people.accounts").stderr
