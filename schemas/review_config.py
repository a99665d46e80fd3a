"""The configuration of the review by people: one TOML file, or flags."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator

from schemas.configuration import DatabaseUrl, FolderText, PathText, Within, load_values, read_toml, validated
from schemas.errors import ConfigError
from schemas.examples_config import ExamplesConfig

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _base_path(path: str) -> str:
    if path and not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", path):
        raise ValueError(
            f'expected a path such as "/review", without a slash at its end, or "" for none, found {path!r}'
        )
    return path


def _url_here(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = not url or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    except ValueError:  # brackets that do not close
        usable = False
    if not usable:
        raise ValueError("expected an http:// address on this machine, such as http://127.0.0.1:9000/")
    return url


def _hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or "*" in names:
        raise ValueError("expected the names people use, without *")
    return names


@validated
class ServerConfig:
    """The server of the pages, and the proxy or log-in that vouches for people."""

    host: str = "127.0.0.1"
    """Address to listen on. An address that other machines reach needs `https`."""
    port: Annotated[int, Within("[0, 65536)")] = 8300
    """Port to listen on; 0 for any free one."""
    allowed_hosts: Annotated[tuple[str, ...], AfterValidator(_hosts)] = ("127.0.0.1", "localhost", "[::1]")
    """Names under which browsers may ask for the pages, without the port."""
    base_path: Annotated[str, AfterValidator(_base_path)] = ""
    """Path below which a proxy offers the pages, such as `/review`. Links, redirects and the cookie carry it; the proxy
    may remove it from the address or leave it."""
    https: bool = False
    """People reach the pages through a proxy that speaks HTTPS; the cookie is then sent over HTTPS only."""
    trusted_user_header: str = ""
    """Header in which that proxy names the person it has authenticated, instead of passwords; `""` for passwords."""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1",)
    """Addresses from which the header is believed."""

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.https:
            raise ValueError(
                f".host: {self.host!r} can be reached from other machines, and passwords would cross the network "
                "in the clear; put a proxy with HTTPS in front and set server.https = true"
            )


@validated
class SessionConfig:
    """Limits of a session's length and of failed log-ins."""

    idle_minutes: Annotated[float, Within("(0, 1440]")] = 30.0
    """Time without a request after which a session ends."""
    max_hours: Annotated[float, Within("(0, 168]")] = 12.0
    """Time after which a session ends in any case."""
    max_failures: Annotated[int, Within("[1, 1000]")] = 5
    """Wrong passwords for one name that block it."""
    max_client_failures: Annotated[int, Within("[1, 100000]")] = 50
    """Wrong passwords from one address that block it. Behind a proxy all people have the proxy's address: raise it."""
    failure_minutes: Annotated[float, Within("(0, 1440]")] = 15.0
    """Time for which a failure counts."""


@validated
class FourEyesConfig:
    """The items that two people must judge."""

    labels: tuple[str, ...] = ()
    """Two people judge an item for which one of these is suggested or given."""
    share: Annotated[float, Within("[0, 1]")] = 0.0
    """Two people judge this share of all other items, drawn by a hash of the item's key."""


@validated
class DueConfig:
    """Time limits, and the reaction to their end."""

    claim_minutes: Annotated[float, Within("(0, 1440]")] = 30.0
    """Length of a claim."""
    hours: Annotated[float, Within("(0, 8760]")] = 48.0
    """Time from reaching people until an item is due."""
    max_defer_days: Annotated[float, Within("(0, 366]")] = 30.0
    """Longest time for which an item can be postponed."""
    check_seconds: Annotated[float, Within("(0, 3600]")] = 10.0
    """Time between the server's checks for new, withdrawn and overdue items."""
    notify_command: tuple[str, ...] = ()
    """Program and arguments that are told of overdue items, by JSON on standard input."""
    notify_url: Annotated[str, AfterValidator(_url_here)] = ""
    """Address on this machine, `http://127.0.0.1:…`, to which the same JSON is posted."""
    notify_seconds: Annotated[float, Within("(0, 300]")] = 10.0
    """Longest time either may take."""


@validated
class ReviewConfig:
    """Everything that decides what the review does."""

    warehouse: FolderText = "warehouse"
    """Folder or URI of the published tables."""
    database: DatabaseUrl = ""
    """URL of the queue, as `queue.database`; `""` for `queue.sqlite` in the warehouse."""
    bundles: tuple[PathText, ...] = ()
    """Folders of ModelBundles all of whose labels people may choose; without one, candidates the queue has seen."""
    examples: tuple[ExamplesConfig, ...] = ()
    """`[[examples]]`: labelled texts, the nearest of which a person may see with a document; a file for each document
    type."""
    reuse_decisions: bool = True
    """A judgement also settles other items that wait with the same document and text."""
    server: ServerConfig = ServerConfig()
    """The server of the pages."""
    sessions: SessionConfig = SessionConfig()
    """Limits of sessions and failed log-ins."""
    four_eyes: FourEyesConfig = FourEyesConfig()
    """The items that two people must judge."""
    due: DueConfig = DueConfig()
    """Time limits."""


def load_review_config(
    path: Path | None, *, host: str | None = None, port: int | None = None, **overrides: Any
) -> ReviewConfig:
    """Reads the TOML file at `path`, if any, and lays flags that were given (not None) over it.

    Args:
        path: of the file.
        host: instead of `server.host`.
        port: instead of `server.port`.
        overrides: keys of the top level.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown or missing, or a value cannot be used.
    """
    server = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    given: dict[str, Any] = {key: value for key, value in overrides.items() if value is not None}
    return load_values(ReviewConfig, path, given | ({"server": server} if server else {}))


def load_annotators(path: Path) -> dict[str, str]:
    """Reads the accounts of Label Studio's annotators: a TOML file with one table, `[annotators]`.

    Returns:
        Mail address, or number in Label Studio -> name of the account.

    Raises:
        ConfigError: the file is missing or not TOML, or holds anything else.
    """
    values = read_toml(path)
    table = values.get("annotators")
    if set(values) != {"annotators"} or not isinstance(table, dict):
        raise ConfigError(f'{path}: expected one table, [annotators], with lines such as 7 = "anna"')
    for given, account in table.items():
        if not isinstance(account, str):
            raise ConfigError(f"{path}: annotators.{given}: expected the name of an account, found {account!r}")
    return table
