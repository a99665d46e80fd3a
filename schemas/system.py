"""The machine and its user: paths as people write them, a home folder, advice to install an extra."""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import os
import re
import shlex
from pathlib import Path

from schemas.errors import ConfigError

_VARIABLE = re.compile(r"(?:^|/)\$(?:[A-Za-z_]\w*|\{\w+\})(?=/|$)|\$\{\w+\}")
_SQLITE = "sqlite:///"


def expand_path(path: str, where: str) -> str:
    """The path with `~` or `~user` at its beginning written out; a URI as it is.

    Args:
        path: as it was given.
        where: name of the setting or argument, for messages.

    Raises:
        ConfigError: the home folder is not known, or the path holds a variable such as $HOME.
    """
    if "://" in path:
        return path
    if (variable := _VARIABLE.search(path)) and not os.path.lexists(path):
        raise ConfigError(
            f"{where}: variables such as {variable[0].lstrip('/')} are not filled in, found {path!r}; write it out"
        )
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser changes the rest of the text
    if expanded.startswith("~"):
        raise ConfigError(f"{where}: no home folder is known for {path.split('/')[0]!r}; write the path out")
    return expanded


def expand_database(url: str, where: str) -> str:
    """The URL of a database; the path in one of SQLite as `expand_path` gives it.

    Raises:
        ConfigError: as `expand_path`.
    """
    if not url.startswith(_SQLITE):
        return url
    path, mark, query = url.removeprefix(_SQLITE).partition("?")
    return _SQLITE + expand_path(path, where) + mark + query


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


ROOT = Path(__file__).parents[1]


def pip_install(extra: str, root: Path = ROOT) -> str:
    """The command that adds an extra, to be typed in any folder.

    It installs from where Docyard came from: a checkout, a wheel or folder, or else an index, which has it by name.

    Args:
        extra: its name in setup.py.
        root: the folder that holds our packages.

    Source of the origin: https://packaging.python.org/en/latest/specifications/direct-url/
    """
    if (root / "setup.py").is_file():
        return f"pip install -e {shlex.quote(f'{root}[{extra}]')}"
    for found in importlib.metadata.distributions(name="docyard", path=[str(root)]):
        if origin := found.read_text("direct_url.json"):
            about = json.loads(origin)
            vcs = f"{about['vcs_info']['vcs']}+" if "vcs_info" in about else ""
            place = f"docyard[{extra}] @ {vcs}{about['url']}"
            return f"pip install {shlex.quote(place)}"
    return f"pip install 'docyard[{extra}]'"
