"""The rules of a warehouse for its own decisions: `governance.toml` in its folder."""

from __future__ import annotations

from typing import Annotated

from schemas.configuration import Within, parse_toml, read_values, validated
from schemas.errors import ConfigError

GOVERNANCE_FILE = "governance.toml"


@validated
class Governance:
    """Rules that the people of a warehouse gave themselves."""

    approvals: Annotated[int, Within("[1, 9]")] = 1
    """People who must stand behind a promotion, its proposer included, before runs use the bundle."""


def parse_governance(content: bytes, where: str) -> Governance:
    """Reads the rules from the content of their file.

    Args:
        content: TOML.
        where: name of the file, for messages.

    Raises:
        ConfigError: the content is not TOML, a key is unknown, or a value cannot be used.
    """
    try:
        values = parse_toml(content)
    except ValueError as error:
        raise ConfigError(f"{where}: not a readable TOML file: {error}") from None
    return read_values(Governance, values, where)
