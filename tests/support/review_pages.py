"""A browser without a screen for the tests of the pages: Starlette's client, forms as the pages hold them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import sqlalchemy as sa
from starlette.testclient import TestClient

from escalation.web.app import make_app
from escalation.web.rendering import COOKIE, App
from schemas.review_config import ReviewConfig
from tests.support.queue_databases import NOON
from tests.support.review_cases import CONFIG, PASSWORD

HOST = "http://127.0.0.1:8300"
_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    now: int = NOON

    def __call__(self) -> int:
        return self.now


def browser(
    engine: sa.Engine, config: ReviewConfig = CONFIG, clock: Callable[[], int] | None = None, address: str = "127.0.0.1"
) -> TestClient:
    """A browser that has not logged in."""
    return browser_of(App(engine, config, clock or Clock()), address)


def browser_of(app: App, address: str = "127.0.0.1") -> TestClient:
    """A browser that has not logged in to the server of this application."""
    return TestClient(
        make_app(app),
        base_url=HOST,
        headers={"Sec-Fetch-Site": "same-origin"},
        follow_redirects=False,
        client=(address, 50000),
    )


def log_in(client: TestClient, name: str, password: str = PASSWORD) -> httpx.Response:
    return client.post("/log-in", data={"name": name, "password": password})


def logged_in(
    engine: sa.Engine, name: str, config: ReviewConfig = CONFIG, clock: Callable[[], int] | None = None
) -> TestClient:
    client = browser(engine, config, clock)
    assert log_in(client, name).status_code == 303
    assert client.cookies.get(COOKIE)
    return client


def token(client: TestClient) -> str:
    found = _TOKEN.search(client.get("/help").text)
    assert found
    return found.group(1)


def send(client: TestClient, path: str, **form: str) -> httpx.Response:
    """Sends a form as the page would."""
    return client.post(path, data={"csrf": token(client), **form})


def holding(
    engine: sa.Engine, name: str, config: ReviewConfig = CONFIG, clock: Callable[[], int] | None = None
) -> TestClient:
    """A browser of a person who has claimed the item `a`."""
    client = logged_in(engine, name, config, clock)
    send(client, "/items/a/claim")
    return client
