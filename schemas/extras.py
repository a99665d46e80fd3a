"""Advice to install a missing extra: from the checkout that runs, or into the installed product."""

from __future__ import annotations

import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]


def pip_install(extra: str, root: Path = ROOT) -> str:
    """The command that adds an extra, to be typed in any folder.

    Args:
        extra: its name in setup.py.
        root: the folder that holds our packages.
    """
    if (root / "setup.py").is_file():
        return f"pip install -e {shlex.quote(f'{root}[{extra}]')}"
    return f"pip install 'docyard[{extra}]'"
