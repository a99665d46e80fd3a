"""The configuration of `docyard review`: one TOML file as frozen dataclasses."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from schemas.errors import ConfigError
from schemas.paths import DatabaseUrl, PathText
from schemas.run_config import build, check_ranges, merge, read_toml

_BASE_PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class ServerConfig:
    """The server of the pages, and the proxy or log-in that vouches for people.

    Attributes:
        host: address to listen on.
        port: 0 for any free one.
        allowed_hosts: names under which browsers may ask for the pages.
        base_path: path below which a proxy offers the pages, such as "/review"; "" for the top of its host.
        https: people reach the pages through a proxy that speaks HTTPS; cookies are then sent over HTTPS only.
        trusted_user_header: header in which a proxy names the person it has authenticated; "" for passwords.
        trusted_proxies: addresses from which that header is believed.
    """

    host: str = "127.0.0.1"
    port: int = 8300
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    base_path: str = ""
    https: bool = False
    trusted_user_header: str = ""
    trusted_proxies: tuple[str, ...] = ("127.0.0.1",)


@dataclass(frozen=True)
class SessionConfig:
    """Limits of a session's length and of failed log-ins.

    Attributes:
        idle_minutes: without a request, after which a session ends.
        max_hours: after which it ends in any case.
        max_failures: wrong passwords for one name, within `failure_minutes`.
        max_client_failures: likewise from one address.
    """

    idle_minutes: float = 30.0
    max_hours: float = 12.0
    max_failures: int = 5
    max_client_failures: int = 50
    failure_minutes: float = 15.0


@dataclass(frozen=True)
class FourEyesConfig:
    """The items that two people must judge.

    Attributes:
        labels: an item for which one of these is suggested or given.
        share: of all other items, drawn by a hash of the item's key, in [0, 1].
    """

    labels: tuple[str, ...] = ()
    share: float = 0.0


@dataclass(frozen=True)
class DueConfig:
    """Time limits, and the reaction to their end.

    Attributes:
        claim_minutes: length of a claim.
        hours: from reaching people until an item is due.
        max_defer_days: longest time an item can be put off.
        check_seconds: time between the server's looks for new, overdue and withdrawn items.
        notify_command: program and arguments that get a JSON object of overdue items on standard input.
        notify_url: address on this machine to which the same object is posted.
        notify_seconds: longest time either may take.
    """

    claim_minutes: float = 30.0
    hours: float = 48.0
    max_defer_days: float = 30.0
    check_seconds: float = 10.0
    notify_command: tuple[str, ...] = ()
    notify_url: str = ""
    notify_seconds: float = 10.0


@dataclass(frozen=True)
class ReviewConfig:
    """Everything that decides what the review does.

    Attributes:
        warehouse: folder of the published tables.
        database: URL of the queue; "" for queue.sqlite in the warehouse.
        bundles: folders of ModelBundles; people may choose among all their labels, not only the candidates.
        reuse_decisions: True where a judgement also settles other items that wait with the same document and text.
    """

    warehouse: PathText = "warehouse"
    database: DatabaseUrl = ""
    bundles: tuple[PathText, ...] = ()
    reuse_decisions: bool = True
    server: ServerConfig = field(default_factory=ServerConfig)
    sessions: SessionConfig = field(default_factory=SessionConfig)
    four_eyes: FourEyesConfig = field(default_factory=FourEyesConfig)
    due: DueConfig = field(default_factory=DueConfig)

    def __post_init__(self) -> None:
        _check(self)


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
        ConfigError: the file is missing or no TOML, a key is unknown, or a value cannot be used.
    """
    values = {} if path is None else read_toml(path)
    server = {key: value for key, value in {"host": host, "port": port}.items() if value is not None}
    given: dict[str, Any] = {key: value for key, value in overrides.items() if value is not None}
    return build(ReviewConfig, merge(values, given | ({"server": server} if server else {})), where="")


def load_annotators(path: Path) -> dict[str, str]:
    """Reads which account belongs to an annotator of Label Studio: a TOML file with one table, `[annotators]`.

    Returns:
        Mail address, or number in Label Studio -> name of the account.

    Raises:
        ConfigError: the file is missing or no TOML, or holds anything else.
    """
    values = read_toml(path)
    table = values.get("annotators")
    if set(values) != {"annotators"} or not isinstance(table, dict):
        raise ConfigError(f'{path}: expected one table, [annotators], with lines such as 7 = "anna"')
    for given, account in table.items():
        if not isinstance(account, str):
            raise ConfigError(f"{path}: annotators.{given}: expected the name of an account, found {account!r}")
    return table


def _check(config: ReviewConfig) -> None:
    if not config.warehouse:
        raise ConfigError("warehouse: expected a folder, found an empty string")
    server = config.server
    check_ranges("server", server, port="[0, 65536)")
    check_ranges(
        "sessions",
        config.sessions,
        idle_minutes="(0, 1440]",
        max_hours="(0, 168]",
        max_failures="[1, 1000]",
        max_client_failures="[1, 100000]",
        failure_minutes="(0, 1440]",
    )
    check_ranges("four_eyes", config.four_eyes, share="[0, 1]")
    check_ranges(
        "due",
        config.due,
        claim_minutes="(0, 1440]",
        hours="(0, 8760]",
        max_defer_days="(0, 366]",
        check_seconds="(0, 3600]",
        notify_seconds="(0, 300]",
    )
    if server.host not in LOOPBACK and not server.https:
        raise ConfigError(
            f"server.host: {server.host!r} can be reached from other machines, and passwords would cross the network "
            "in the clear; put a proxy with HTTPS in front and set server.https = true"
        )
    if not server.allowed_hosts or "*" in server.allowed_hosts:
        raise ConfigError("server.allowed_hosts: expected the names people use, without *")
    if server.base_path and not _BASE_PATH.fullmatch(server.base_path):
        raise ConfigError(
            f'server.base_path: expected a path such as "/review", without a slash at its end, or "" for none, found '
            f"{server.base_path!r}"
        )
    url = config.due.notify_url
    if url and (urlsplit(url).scheme != "http" or urlsplit(url).hostname not in LOOPBACK):
        raise ConfigError("due.notify_url: expected an http:// address on this machine, such as http://127.0.0.1:9000/")
