"""A name and a home folder for a process whose user has neither: containers run commands under any number."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

NOWHERE = "/nonexistent"


def settle_home() -> None:
    """Gives a process without a home folder one that is not there, and one without a user name its user's number.

    Libraries look for a home folder on being imported, and some fail where there is none: Great Expectations does, at
    the end of a run. In a folder that is not there they find nothing and leave nothing, and nobody else can put
    anything there for them to find.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = NOWHERE
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = f"uid{os.getuid()}"
