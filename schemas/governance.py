"""The rules of a warehouse for its own decisions: `governance.toml` in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from schemas.configuration import Within, read_toml, read_values, validated

GOVERNANCE_FILE = "governance.toml"


@validated
class Governance:
    """Rules that the people of a warehouse gave themselves."""

    approvals: Annotated[int, Within("[1, 9]")] = 1
    """People who must stand behind a promotion, its proposer included, before runs use the bundle."""


def load_governance(root: Path) -> Governance:
    """Reads the rules of the warehouse in `root`; the defaults where it has no such file.

    Raises:
        ConfigError: the file is not TOML, a key is unknown, or a value cannot be used.
    """
    path = root / GOVERNANCE_FILE
    return read_values(Governance, read_toml(path), str(path)) if path.exists() else Governance()
