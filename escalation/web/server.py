"""Serves the pages until a signal ends it, and keeps up with the queue meanwhile."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
import uvicorn

from escalation.review.upkeep import keep_up_until, prepare
from escalation.web.app import make_app
from escalation.web.desk import Desk, make_templates
from schemas.errors import ConfigError
from schemas.review_config import ReviewConfig

BUSY_SECONDS = 2

logger = logging.getLogger(__name__)


def serve(engine: sa.Engine, config: ReviewConfig, say: Callable[[str], None]) -> None:
    """Serves; `say` gets one line once pages can be asked for.

    Raises:
        BundleError: a bundle that the configuration names is missing or changed.
        ConfigError: the address cannot be listened on.
    """
    upkeep = prepare(engine, config)
    wait_shortly(engine)
    listening = _listen(config)
    host, port = listening.getsockname()[:2]
    server = uvicorn.Server(
        uvicorn.Config(
            make_app(Desk(engine, config, make_templates())),
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=5,
            lifespan="off",
        )
    )
    stop = threading.Event()
    keeper = threading.Thread(target=keep_up_until, args=(stop, engine, config), name="upkeep")
    keeper.start()
    shown = f"[{host}]" if ":" in host else host
    say(f"review at http://{shown}:{port}{config.server.base_path}/ ({upkeep.taken_in:,} new items); Ctrl-C ends it")
    try:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C is how it is meant to end
            server.run(sockets=[listening])
    finally:
        stop.set()
        keeper.join()
        listening.close()


def wait_shortly(engine: sa.Engine) -> None:
    """From now on, no page waits longer for a lock than people wait for a page; they get their form back instead."""

    def limit(connection: Any, _: object) -> None:
        if engine.dialect.name == "sqlite":
            connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        else:
            connection.execute(f"SET lock_timeout = '{BUSY_SECONDS}s'")
            connection.commit()

    sa.event.listen(engine, "connect", limit)
    engine.dispose()


def _listen(config: ReviewConfig) -> socket.socket:
    server = config.server
    try:
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        listening = socket.create_server((server.host, server.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"server: cannot listen on {server.host} port {server.port}: {error.strerror}; choose another"
        ) from None
    # asyncio does so only for sockets of its own; without it every page waits 40 ms for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
