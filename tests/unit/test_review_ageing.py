from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import sqlalchemy as sa

from escalation.review.upkeep import run_upkeep
from schemas.errors import ConfigError
from schemas.review_config import DueConfig, ReviewConfig
from tests.support.queue_databases import NOON
from tests.support.review_cases import HOUR, actions, fill, in_review, review_row

LATE = NOON + 49 * HOUR


def hook(folder: Path, ends_with: int = 0) -> tuple[ReviewConfig, Path]:
    """A command that writes down what it is told."""
    told = folder / "told.jsonl"
    code = f"import sys; open({str(told)!r}, 'a').write(sys.stdin.read() + chr(10)); sys.exit({ends_with})"
    return ReviewConfig(due=DueConfig(notify_command=(sys.executable, "-c", code))), told


def test_an_overdue_item_is_told_of_once_and_without_its_text(queue: sa.Engine, tmp_path: Path) -> None:
    config, told = hook(tmp_path)
    fill(queue, in_review("a", text="the secret of a"), config=config)
    assert not told.exists()
    assert run_upkeep(queue, config, LATE)["notified"] == 1
    assert run_upkeep(queue, config, LATE + HOUR)["notified"] == 0
    (line,) = told.read_text().splitlines()
    message = json.loads(line)
    due_at = NOON + 48 * HOUR
    assert message["items"] == [{"item_key": "a", "document_type": "ticket", "stage": "first", "due_at": due_at}]
    assert "secret" not in line
    assert actions(queue, "a") == ["review_opened", "overdue"]
    assert actions(queue)[-1] == "notified"


def test_a_hook_that_fails_is_called_again(queue: sa.Engine, tmp_path: Path) -> None:
    failing, told = hook(tmp_path, ends_with=3)
    fill(queue, in_review("a"), config=failing)
    assert run_upkeep(queue, failing, LATE)["notified"] == 0
    assert actions(queue)[-1] == "notify_failed"
    working, _ = hook(tmp_path)
    assert run_upkeep(queue, working, LATE)["notified"] == 1
    assert len(told.read_text().splitlines()) == 2
    assert review_row(queue, "a")["notified_at"] == LATE


def test_a_hook_that_hangs_is_given_up(queue: sa.Engine) -> None:
    due = DueConfig(notify_command=(sys.executable, "-c", "import time; time.sleep(60)"), notify_seconds=0.3)
    config = ReviewConfig(due=due)
    fill(queue, in_review("a"), config=config)
    assert run_upkeep(queue, config, LATE)["notified"] == 0
    assert actions(queue)[-1] == "notify_failed"


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    heard: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(302 if self.path == "/away" else 204)
            if self.path == "/away":
                self.send_header("Location", "http://192.0.2.1/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_address_on_this_machine_is_told_too(queue: sa.Engine, listener: tuple[str, list[bytes]]) -> None:
    url, heard = listener
    config = ReviewConfig(due=DueConfig(notify_url=f"{url}/due"))
    fill(queue, in_review("a"), config=config)
    assert run_upkeep(queue, config, LATE)["notified"] == 1
    assert json.loads(heard[0])["event"] == "overdue"


def test_an_address_that_sends_elsewhere_is_not_followed(queue: sa.Engine, listener: tuple[str, list[bytes]]) -> None:
    url, _ = listener
    config = ReviewConfig(due=DueConfig(notify_url=f"{url}/away"))
    fill(queue, in_review("a"), config=config)
    assert run_upkeep(queue, config, LATE)["notified"] == 0


@pytest.mark.parametrize("url", ["http://example.org/", "https://127.0.0.1/", "file:///etc/passwd"])
def test_an_address_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="notify_url"):
        ReviewConfig(due=DueConfig(notify_url=url))
