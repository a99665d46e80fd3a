from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.web.monitoring import TOKEN_VARIABLE
from schemas.errors import ConfigError
from tests.support.read_metrics import read_metrics
from tests.support.review_cases import fill, in_review
from tests.support.review_pages import browser

TOKEN = "a-token-long-enough"

pytestmark = pytest.mark.databases("sqlite")


def test_health_is_told_without_log_in_under_any_name_and_fails_with_the_database(
    queue: sa.Engine, tmp_path: Path
) -> None:
    answered = browser(queue).get("/healthz", headers={"host": "10.0.0.7:8300"})
    assert (answered.status_code, answered.text) == (200, "ok\n")
    without_database = sa.create_engine(f"sqlite:///{tmp_path}/missing/queue.sqlite")
    assert browser(without_database).get("/healthz").status_code == 503


def test_metrics_are_told_only_to_who_brings_the_token(queue: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(queue, in_review("a"), in_review("b"))
    assert browser(queue).get("/metrics").status_code == 404
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    client = browser(queue)
    for refused in ("", f"Bearer {TOKEN}x", TOKEN, "Bearer "):
        assert client.get("/metrics", headers={"authorization": refused}).status_code == 401
    answered = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    found = read_metrics(answered.text)
    assert found["docyard_queue_items", "ticket", "in_review"] == 2
    assert found["docyard_review_open_items", "first"] == 2
    assert found["docyard_review_requests_total", "GET", "4xx"] == 4


def test_a_token_that_can_be_guessed_is_refused(queue: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "secret")
    with pytest.raises(ConfigError, match="16 characters"):
        browser(queue)
