from __future__ import annotations

import shlex
from pathlib import Path

from schemas.system import ROOT, pip_install


def test_a_checkout_is_installed_with_the_extra_from_where_it_lies() -> None:
    assert (ROOT / "pipelines/cli.py").is_file()
    assert shlex.split(pip_install("queue")) == ["pip", "install", "-e", f"{ROOT}[queue]"]


def test_a_path_with_a_space_is_one_argument(tmp_path: Path) -> None:
    root = tmp_path / "my tools"
    root.mkdir()
    (root / "setup.py").touch()
    assert shlex.split(pip_install("review", root))[-1] == f"{root}[review]"


def test_the_installed_product_is_named(tmp_path: Path) -> None:
    assert pip_install("queue", tmp_path) == "pip install 'docyard[queue]'"
