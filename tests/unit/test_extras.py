from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from schemas.system import ROOT, pip_install


def test_a_checkout_is_installed_with_the_extra_from_where_it_lies() -> None:
    assert (ROOT / "pipelines/cli.py").is_file()
    assert shlex.split(pip_install("queue")) == ["pip", "install", "-e", f"{ROOT}[queue]"]


def test_a_path_with_a_space_is_one_argument(tmp_path: Path) -> None:
    root = tmp_path / "my tools"
    root.mkdir()
    (root / "setup.py").touch()
    assert shlex.split(pip_install("review", root))[-1] == f"{root}[review]"


def test_the_product_from_an_index_is_named(tmp_path: Path) -> None:
    assert pip_install("queue", tmp_path) == "pip install 'docyard[queue]'"


@pytest.mark.parametrize(
    ("origin", "where"),
    [
        ({"url": "file:///tmp/docyard.whl", "archive_info": {}}, "file:///tmp/docyard.whl"),
        (
            {"url": "https://git.example/docyard", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            "git+https://git.example/docyard",
        ),
    ],
)
def test_an_installed_wheel_or_repository_is_installed_again_from_where_it_came(
    tmp_path: Path, origin: dict[str, object], where: str
) -> None:
    about = tmp_path / "docyard-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: docyard\nVersion: 0.1.0\n")
    (about / "direct_url.json").write_text(json.dumps(origin))
    assert shlex.split(pip_install("queue", tmp_path)) == ["pip", "install", f"docyard[queue] @ {where}"]
