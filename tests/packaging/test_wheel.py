"""The wheel, built from a copy of the tree: it holds every file, and drain and review run from what it holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.support.small_runs import classify_arguments, documents, write_jsonl

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LAYERS = (
    *("schemas", "warehouse", "models", "data_quality", "extraction"),
    *("transforms", "escalation", "pipelines"),
)
LEFT_OUT = ("models/bundles/",)  # megabytes that are handed out beside the product


def _files_of_the_tree() -> set[str]:
    files = (path for layer in LAYERS for path in (ROOT / layer).rglob("*") if path.is_file())
    names = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    return {name for name in names if not name.startswith(LEFT_OUT)}


def _integrations() -> set[str]:
    """Distributions of their own, which stand beside the product."""
    files = (path for path in (ROOT / "integrations").rglob("*") if path.is_file())
    names = {path.relative_to(ROOT) for path in files}
    made = {name for name in names for part in name.parts if part == "__pycache__" or part.endswith(".egg-info")}
    return {name.as_posix() for name in names - made}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the wheel and the sdist."""
    tree = tmp_path_factory.mktemp("tree")
    beside = {"setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt"}
    for name in _files_of_the_tree() | _integrations() | beside:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    # Not by pip, which would fetch the build's requirements into an environment of its own.
    ended = subprocess.run(
        [sys.executable, "setup.py", "-q", "sdist", "bdist_wheel"],
        cwd=tree, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return tree / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [path] = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that sees the wheel's files before any others."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return {**os.environ, "PYTHONPATH": str(folder)}


def run(environment: dict[str, str], folder: Path, *arguments: object) -> str:
    """The output of a command of the wheel, started where the tree is not."""
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_it_holds_every_file_of_the_packages_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == _files_of_the_tree()


def test_the_sdist_holds_what_the_wheel_needs_and_the_integrations(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert _files_of_the_tree() | _integrations() | {"setup.py", "pyproject.toml", "constraints.txt"} <= held
    assert not any(name.startswith(("tests/", "models/bundles/")) for name in held)


def test_a_missing_extra_of_it_is_installed_by_the_products_name(installed: dict[str, str], tmp_path: Path) -> None:
    program = "from schemas.system import pip_install; print(pip_install('review'))"
    said = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=installed, capture_output=True, text=True)
    assert said.stdout.strip() == "pip install 'docyard[review]'"


def test_drain_and_review_run_from_it(installed: dict[str, str], tiny_bundle_unchanged: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", documents(12))
    warehouse = tmp_path / "warehouse"
    place = ("--warehouse", warehouse)
    run(installed, tmp_path, *classify_arguments(source, tiny_bundle_unchanged, warehouse))
    assert "in_review" in run(installed, tmp_path, "queue", "to-people", *place)
    run(installed, tmp_path, "review", "add-user", *place, "pat", "--role", "auditor", "--no-password")
    run(installed, tmp_path, "resolve", *place, "--sql", tmp_path / "views.sql")
    assert "CREATE VIEW decisions" in (tmp_path / "views.sql").read_text(encoding="utf-8")
    assert "as they were written" in run(installed, tmp_path, "audit", "verify", *place)
    config = tmp_path / "review.toml"
    config.write_text(f"warehouse = '{warehouse}'\n[server]\nport = 0\ntrusted_user_header = 'x-user'\n")
    server = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "review", "serve", "--config", str(config)],
        cwd=tmp_path, env=installed, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        said = server.stdout.readline()
        found = re.search(r"http://[\d.:]+", said)
        assert found, said + server.stdout.read()
        with httpx.Client(base_url=found[0], headers={"x-user": "pat"}, trust_env=False) as client:
            for path in ("/", "/trail", "/help"):
                assert client.get(path).status_code == 200, path
            for file in (ROOT / "escalation/web/static").iterdir():
                if file.suffix != ".txt":
                    assert client.get(f"/static/{file.name}").content == file.read_bytes()
    finally:
        server.terminate()
        server.communicate(timeout=30)
